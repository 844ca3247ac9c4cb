"""The host's end of a zygote: start it, map its user, have it fork and kill."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from enclave_sim.sandbox import cgroup
from enclave_sim.sandbox.limits import Limits, SandboxUnavailableError
from enclave_sim.sandbox.zygote import DONE, KILL, LONGEST_MESSAGE, MAPPED, OWN_ID, RUN, UNSHARED

# It loads packages, on a machine that may be busy.
START_SECONDS = 120
LEAST_ANSWER_SECONDS = 0.01
# The zygote itself, its packages, and page tables, beside what a program may use.
CGROUP_ALLOWANCE = 1 << 30
# Above the ranges that are given to containers; no user has it, and no other sandbox.
FIRST_UID = 0x7000_0000

BOOTSTRAP = """
import json, sys
sys.path[:] = json.loads(sys.argv.pop())
from enclave_sim.sandbox.zygote import start
start()
"""
# One thread: numerical libraries would start more when loaded, and programs cannot make any.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LC_ALL": "C.UTF-8",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


class ZygoteLostError(Exception):
    """The zygote ended, or does not answer."""


@dataclass
class Zygote(ABC):
    """One that is ready, wherever its process was started.

    `layers`, `modules`: what it says of itself, before any program ran.
    """

    control: socket.socket
    layers: list[str]
    modules: list[str]

    def fork(self, received: int, result: int) -> None:
        """Start a block's process with these descriptors; raises ZygoteLostError."""
        try:
            socket.send_fds(self.control, [RUN], [received, result])
        except OSError as error:
            raise ZygoteLostError("ended") from error

    def kill(self, seconds: float) -> None:
        """End the block's process and wait until nothing is left of it; raises ZygoteLostError.

        `seconds`: how long the zygote has for it.
        """
        self.control.settimeout(max(seconds, LEAST_ANSWER_SECONDS))
        try:
            self.control.send(KILL)
            if self.control.recv(LONGEST_MESSAGE) != DONE:
                raise ZygoteLostError("ended")
        except OSError as error:
            raise ZygoteLostError("does not answer") from error

    @abstractmethod
    def abandon(self) -> None:
        """Begin to end it, without waiting."""

    @abstractmethod
    def close(self) -> None:
        """End it, and with it all in its process namespace."""


StartZygote: TypeAlias = Callable[[Limits], Zygote]
"""Raises SandboxUnavailableError."""


@dataclass
class ZygoteProcess(Zygote):
    """A child of this process."""

    process: subprocess.Popen[bytes]
    group: cgroup.Cgroup | None

    def abandon(self) -> None:
        self.process.kill()

    def close(self) -> None:
        self.control.close()
        _end(self.process, self.group)


def _end(process: subprocess.Popen[bytes], group: cgroup.Cgroup | None) -> None:
    process.kill()
    process.wait()
    if group is not None:
        group.remove()


def is_supported() -> bool:
    """Whether programs can be isolated on a machine like this at all."""
    return sys.platform == "linux" and os.uname().machine == "x86_64"


def start_zygote(limits: Limits) -> ZygoteProcess:
    """Raises SandboxUnavailableError."""
    if not is_supported():
        raise SandboxUnavailableError("it needs Linux on x86-64")
    own_uid = os.geteuid() == 0
    settings = {
        "seconds": math.ceil(limits.seconds) + 1,
        "memory_bytes": limits.memory_bytes + limits.block_bytes,
        "own_uid": own_uid,
        "packages": limits.packages,
    }
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here.settimeout(START_SECONDS)
    with there:
        arguments = [str(there.fileno()), json.dumps(settings), json.dumps(sys.path)]
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", BOOTSTRAP, *arguments],
            pass_fds=[there.fileno()],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
    group = cgroup.make(limits.memory_bytes + 2 * limits.block_bytes + CGROUP_ALLOWANCE)
    try:
        said = _introduce(process, here, group, own_uid)
    except BaseException:
        here.close()
        _end(process, group)
        raise
    layers = [*said["layers"], *(["cgroup"] if group else [])]
    return ZygoteProcess(here, layers, said["modules"], process, group)


def _introduce(
    process: subprocess.Popen[bytes], control: socket.socket, group: cgroup.Cgroup | None, own_uid: bool
) -> dict[str, list[str]]:
    try:
        first = control.recv(LONGEST_MESSAGE)
        if first == UNSHARED:
            _map_user(process.pid, own_uid)
            if group is not None:
                group.add(process.pid)
            control.send(MAPPED)
            first = control.recv(LONGEST_MESSAGE)
        said: dict[str, list[str]] = json.loads(first)
    except TimeoutError as error:
        raise SandboxUnavailableError(f"its first process did not start within {START_SECONDS} s") from error
    except (OSError, ValueError) as error:
        raise SandboxUnavailableError(f"its first process could not start: {error}") from error
    if "failed" in said:
        raise SandboxUnavailableError(str(said["failed"]))
    return said


def _map_user(process: int, own_uid: bool) -> None:
    """Say who the users of its namespace are outside; raises OSError."""
    folder = Path(f"/proc/{process}")
    if not own_uid:
        with contextlib.suppress(OSError):  # kernels before 3.19 have no such file and need none
            (folder / "setgroups").write_text("deny")
    for file, host_id in (("uid_map", os.geteuid()), ("gid_map", os.getegid())):
        own = f"{OWN_ID} {FIRST_UID + os.getpid()} 1\n" if own_uid else ""
        (folder / file).write_text(f"0 {host_id} 1\n{own}")
