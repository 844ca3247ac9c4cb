"""Killing a step by SIGKILL before each of its changes to the disk, in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from enclave_sim.attestation.simulated import SimulatedBackend
from tests.forks import forked

_CHANGES = [
    *((Path, name) for name in ("mkdir", "rename", "touch", "unlink", "write_bytes", "write_text")),
    (shutil, "rmtree"),
    (SimulatedBackend, "counter"),
]


def kill_everywhere(prepare: Callable[[int], Callable[[], object]], check: Callable[[int], object]) -> int:
    """Take a step that `prepare` readies, killed before its first change, its second, and so on until it is not.

    After each, `check` is called. Both get the number of the change. Returns how many changes the step makes.
    """
    for number in count():
        step = prepare(number)
        was_killed = _killed(step, number)
        check(number)
        if not was_killed:
            return number
    raise AssertionError


def _killed(step: Callable[[], object], number: int) -> bool:
    def killed_on_the_way() -> int:
        _kill_at(number)
        step()
        return 0

    code = forked(killed_on_the_way)
    assert code in (0, -signal.SIGKILL), "the step failed by itself"
    return code != 0


def _kill_at(number: int) -> None:
    """In the child only: nothing is put back."""
    calls = count()
    for owner, name in _CHANGES:
        setattr(owner, name, _counting(getattr(owner, name), calls, number))


def _counting(original: Callable[..., Any], calls: Iterator[int], number: int) -> Callable[..., Any]:
    def counting(*arguments: Any, **named: Any) -> Any:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    return counting
