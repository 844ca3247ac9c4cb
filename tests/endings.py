"""Every test run ends, and a test that does not is named. A plugin of pytest, which tests/conftest.py loads.

Where a worker of pytest-xdist dies – killed by the kernel for its memory, crashed in a library, ended below – its tests
go to the others, and to the worker that replaces it: see `Refilling`. A test that takes longer than its timeout is
interrupted, again and again until it ends: after the first time, `finally` may still wait for a thread that does not
end. A test that cannot be interrupted, being in a call that never comes back to Python, ends its worker
(`faulthandler_timeout`), with the stacks of all threads.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from xdist.scheduler import LoadGroupScheduling  # type: ignore[import-untyped]

AGAIN_SECONDS = float(os.environ.get("YINGBI_AGAIN_SECONDS", "20"))
"""From one interruption of a test to the next."""

_SETTINGS = pytest.StashKey[Any]()


class Refilling(LoadGroupScheduling):  # type: ignore[misc]
    """Gives the tests of a dead worker to others, but for the one that it died of.

    A worker waits with a test until it has the next one as well, or hears that there is none. That of pytest-xdist 3.8
    is given one unit when it replaces another one, and may be given units that are done already: it would wait for
    ever, with the last tests of the run. This one is given units until it has tests to begin with.
    """

    def remove_node(self, node: Any) -> str | None:
        """See LoadScopeScheduling. The test that is returned is not run again: it could end every worker."""
        workload = self.assigned_work.pop(node)
        begun = [(unit, name) for unit in workload.values() for name, is_done in unit.items() if not is_done]
        if not begun:
            return None
        unit: dict[str, bool]
        died_of: str
        unit, died_of = begun[0]
        unit[died_of] = True
        self.workqueue.update({scope: unit for scope, unit in workload.items() if not all(unit.values())})
        for other in self.assigned_work:
            self._reschedule(other)
        return died_of

    def _reschedule(self, node: Any) -> None:
        while self.workqueue and not node.shutting_down and self._pending_of(self.assigned_work[node]) <= 2:
            self._assign_work_unit(node)
        super()._reschedule(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadGroupScheduling | None:
    """Of `--dist loadgroup`, which is what `make test` asks for."""
    return Refilling(config, log) if config.getvalue("dist") == "loadgroup" else None


class TakesTooLongError(BaseException):
    """A test is interrupted. Nobody takes it for a failure that is worth trying again, as hypothesis does others."""


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Any:
    """Have the alarm come again. Who cancels it cancels all of them."""
    item.stash[_SETTINGS] = settings
    done = yield
    if signal.getitimer(signal.ITIMER_REAL)[0]:
        signal.signal(signal.SIGALRM, _interrupting(signal.getsignal(signal.SIGALRM)))
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, AGAIN_SECONDS)
    return done


def _interrupting(handler: Any) -> Callable[[int, FrameType | None], None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except pytest.fail.Exception as failed:
            raise TakesTooLongError(str(failed)) from None

    return interrupt


def pytest_exception_interact(node: object) -> None:
    """A failure cancels what limits its test, for debuggers; what follows it, its fixtures' ends, is limited anew."""
    if not isinstance(node, pytest.Item) or node.config.getvalue("usepdb"):
        return
    if _SETTINGS in node.stash and not node.stash[_SETTINGS].func_only:
        node.ihook.pytest_timeout_set_timer(item=node, settings=node.stash[_SETTINGS])
    seconds = float(node.config.getini("faulthandler_timeout") or 0)
    if seconds > 0:
        leaves = bool(node.config.getini("faulthandler_exit_on_timeout"))
        faulthandler.dump_traceback_later(seconds, file=_stderr(node.config), exit=leaves)


def _stderr(config: pytest.Config) -> Any:
    """That of the process, as it was before pytest began to keep what tests print."""
    from _pytest.faulthandler import fault_handler_stderr_fd_key

    return config.stash.get(fault_handler_stderr_fd_key, sys.__stderr__)
