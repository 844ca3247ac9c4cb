"""A step in a process of its own that begins with all that this one has: a fork of the worker that runs the tests.

A fork has one thread. What another thread of the worker held at that moment is never given back in it, and whoever
waits for that waits for ever; so the wait has an end, and the test says what happened.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import time
import traceback
from collections.abc import Callable

SECONDS = 60.0
"""For one step: a thousand times what it takes."""
FAILED = 70
"""The exit code of a step that raised something."""


def forked(step: Callable[[], int], seconds: float = SECONDS) -> int:
    """The exit code of a process that takes the step and ends with what it returns; -N where signal N ended it.

    What the step raises is printed, and the code is FAILED. Raises AssertionError where it has not ended after
    `seconds`.
    """
    child = os.fork()
    if child == 0:
        _take(step)
    try:
        return _ended(child, time.monotonic() + seconds)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise


def _take(step: Callable[[], int]) -> None:
    """In the child: nothing of the worker's goes on here, whatever happens."""
    code = FAILED
    try:
        # A child that is to crash prints no stacks as if the worker had crashed.
        faulthandler.disable()
        code = step()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _ended(child: int, give_up: float) -> int:
    wait = 0.0005
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        assert time.monotonic() < give_up, "a step in a process of its own does not end"
        time.sleep(wait)
        wait = min(2 * wait, 0.02)
