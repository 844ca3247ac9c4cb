"""A run of tests ends, whatever its tests do: in a run of its own, with tests that die and tests that never end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.forks import FAILED, forked
from tests.zones import quick_environment

ROOT = Path(__file__).parents[1]
CALM = 30
TESTS = f"""
import os, signal, threading, time
import pytest
from hypothesis import given, strategies as st

@pytest.mark.parametrize("number", range({CALM}))
def test_calm(number):
    with open("ran", "a") as ran:
        print(number, file=ran)
    assert number != 10 or os._exit(9)

@given(st.integers())
def test_a_property_that_never_ends(number):
    time.sleep(1000)

@pytest.fixture
def endless():
    yield
    time.sleep(1000)

def test_that_fails_before_an_end_that_does_not_come(endless):
    assert False

def test_that_waits_once_more():
    waited = threading.Event()
    try:
        waited.wait(1000)
    finally:
        waited.wait(1000)

def test_that_leaves_its_alarm_blocked():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])

def test_that_cannot_be_interrupted():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(1000)
"""
INI = "[pytest]\nfaulthandler_timeout = 4\nfaulthandler_exit_on_timeout = true\n"


def test_a_run_ends_and_names_the_tests_that_do_not(tmp_path: Path) -> None:
    """One worker dies of a test, the next one of a call that never comes back: both are replaced."""
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_these.py").write_text(TESTS)
    own = ["tests.endings", "tests.leftovers", "no:cacheprovider", "no:hypothesispytest"]
    plugins = [part for name in own for part in ("-p", name)]
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "--timeout", "1", *plugins]
    environment = {
        **quick_environment(),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "YINGBI_AGAIN_SECONDS": "1",
    }
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    summary = done.stdout[done.stdout.index("short test summary") :]
    said = dict(re.findall(r"^(?:FAILED|ERROR) test_these\.py::(\S+) - (.*)$", summary, re.MULTILINE))
    assert set(said) == {
        "test_calm[10]",
        "test_a_property_that_never_ends",
        "test_that_fails_before_an_end_that_does_not_come",
        "test_that_waits_once_more",
        "test_that_leaves_its_alarm_blocked",
        "test_that_cannot_be_interrupted",
    }
    assert "in test_that_cannot_be_interrupted" in done.stderr, "its stacks are not told"
    # Every test ran once: none is lost with its worker, and what killed one is not tried again.
    assert sorted(map(int, (tmp_path / "ran").read_text().split())) == list(range(CALM))


def test_a_fork_that_does_not_end_is_ended_and_one_that_fails_says_so() -> None:
    def never() -> int:
        while True:
            time.sleep(1)

    def fails() -> int:
        raise ValueError

    with pytest.raises(AssertionError, match="does not end"):
        forked(never, seconds=0.3)
    assert forked(fails) == FAILED
    assert forked(lambda: 3) == 3
