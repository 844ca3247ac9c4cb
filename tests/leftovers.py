"""What no test may leave in the process that it shares with others. A plugin of pytest, which tests/conftest.py loads.

Each of these makes other tests fail, or never end, in whichever worker they happen to be.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import pytest

_known: set[str] = set()


def leftovers() -> set[str]:
    """What is not as Python begins with it, in this thread."""
    found = set()
    # A library may do so for a whole thread: onnxruntime does, with `session.set_denormal_as_zero`.
    if sys.float_info.min / 2 == 0:
        found.add("the smallest floats are taken for 0")
    if signal.SIGALRM in signal.pthread_sigmask(signal.SIG_BLOCK, []):
        found.add("SIGALRM, which ends what takes too long, is blocked")
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Any:
    """The test after which it is so fails, and no later one."""
    done = yield
    found = leftovers()
    new = found - _known
    _known.clear()
    _known.update(found)
    assert not new, f"left behind: {', '.join(sorted(new))}"
    return done
