"""`yingbi up`, `down`, `status`: a zone's processes, each known by its id and its start time.

A process id may be given to another program after a crash, so an id counts only together with the time the
process began, as the kernel keeps it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO

import grpc
from google.protobuf.empty_pb2 import Empty
from yingbi.api.problem import Kind, Problem
from yingbi.api.uninterrupted import uninterrupted
from yingbi.api.v1.dataset_pb2 import Zone
from yingbi.api.v1.dataset_pb2_grpc import DatasetServiceStub

from gateway.zone import client, console, swap
from gateway.zone.folder import ZoneFolder
from gateway.zone.lock import only_one

START_SECONDS = 60.0
STOP_SECONDS = 5.0


@dataclass(frozen=True)
class ZoneProcess:
    """A process of the zone. `started` is in clock ticks since the machine booted."""

    role: str
    name: str
    pid: int
    started: int

    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return start_time(self.pid) == self.started


@dataclass(frozen=True)
class ZoneStatus:
    """Where the gateway listens and where the console is, if they run, and which processes run."""

    gateway: str | None
    processes: list[ZoneProcess]
    console: str | None = None


def start_time(pid: int) -> int | None:
    """When the process began (proc(5), field 22 of stat), or None where there is none or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def status(folder: ZoneFolder) -> ZoneStatus:
    """What runs of the zone now."""
    alive = [process for process in _recorded(folder) if process.is_alive()]
    addresses = _addresses(folder)
    running = {process.role for process in alive}
    return ZoneStatus(
        addresses["gateway"] if addresses and "gateway" in running else None,
        alive,
        console.address(folder) if console.ROLE in running else None,
    )


def start(folder: ZoneFolder, port: int | None, *, detach: bool, say: Callable[[str], None]) -> dict[str, str]:
    """As `_start`, one command at a time."""
    with only_one(folder, "up"):
        return _start(folder, port, detach=detach, say=say)


def _start(folder: ZoneFolder, port: int | None, *, detach: bool, say: Callable[[str], None]) -> dict[str, str]:
    """Start gateway, nodes, enclaves and console; returns the addresses of gateway and console once all are there.

    Raises Problem where the zone runs already or something does not come up; then nothing is left running.
    """
    alive = [process for process in _recorded(folder) if process.is_alive()]
    if sum(process.role != console.ROLE for process in alive) == 1 + 2 * len(folder.node_names):
        raise Problem(
            Kind.REFUSED, "already_up", f"The zone in {folder.root} is running.", hint=f"yingbi down {folder.root}"
        )
    stop(folder)
    finish_change(folder, say)
    folder.run.mkdir(exist_ok=True)
    folder.logs.mkdir(exist_ok=True)
    (folder.run / "addresses.json").unlink(missing_ok=True)
    try:
        with console.listen(folder, say) as listening:
            # Before the gateway starts: passkeys are made for this origin.
            origin = console.name_origin(folder, listening)
            gateway = _start_gateway(folder, port, detach=detach)
            addresses = _wait_for_gateway(folder, gateway, port)
            nodes = [_start_node(folder, name, addresses["nodes"], detach=detach) for name in folder.node_names]
            pages = _start_console(folder, addresses["gateway"], listening.fileno(), detach=detach)
        say("waiting for the enclaves")
        _wait_for_enclaves(folder, nodes)
        _write_addresses_into_profiles(folder, {"address": addresses["gateway"], "console": origin})
        _wait_for_nodes(folder)
        return {"gateway": addresses["gateway"], "console": _wait_for_console(folder, pages)}
    except BaseException:
        stop(folder)
        raise


def finish_change(folder: ZoneFolder, say: Callable[[str], None]) -> None:
    """Complete a change of the zone's nodes or key that was killed in the middle. Nothing of the zone may run."""
    if swap.finish(folder):
        say("completed a change of the zone's nodes or key that was interrupted")


def stop(folder: ZoneFolder) -> list[ZoneProcess]:
    """End what runs of the zone, by process id. Returns what was ended."""
    alive = [process for process in _recorded(folder) if process.is_alive()]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in alive:
            if process.is_alive():
                os.kill(process.pid, number)
        give_up = time.monotonic() + STOP_SECONDS
        while time.monotonic() < give_up and any(process.is_alive() for process in alive):
            time.sleep(0.02)
    _record(folder, [])
    return alive


def wait(folder: ZoneFolder, say: Callable[[str], None]) -> None:
    """Stay until interrupted; tell when a process ends. Raises Problem when the gateway does."""
    known = status(folder).processes
    while any(process.role == "gateway" for process in known):
        time.sleep(0.3)
        alive = [process for process in known if process.is_alive()]
        for process in known:
            if process not in alive:
                say(f"{process.role} {process.name} (process {process.pid}) has ended")
        known = alive
    raise Problem(
        Kind.FAILED, "gateway_ended", "The gateway has ended by itself.", hint=f"see {folder.logs / 'gateway.log'}"
    )


def _start_gateway(folder: ZoneFolder, port: int | None, *, detach: bool) -> ZoneProcess:
    command = ["-m", "gateway.app", str(folder.gateway), "--ready", str(folder.run / "addresses.json")]
    if port is not None:
        command += ["--port", str(port)]
    return _spawn(folder, "gateway", "gateway", command, detach=detach)


def _start_node(folder: ZoneFolder, name: str, address: str, *, detach: bool) -> ZoneProcess:
    pid_file = folder.run / f"{name}.enclave.pid"
    pid_file.unlink(missing_ok=True)
    command = ["-m", "enclave_sim.node", str(folder.node(name)), address, "--enclave-pid-file", str(pid_file)]
    return _spawn(folder, "node", name, command, detach=detach)


def _start_console(folder: ZoneFolder, gateway: str, listening: int, *, detach: bool) -> ZoneProcess:
    command = console.command(folder, gateway, listening)
    return _spawn(folder, console.ROLE, "console", command, detach=detach, keep=(listening,))


def _spawn(
    folder: ZoneFolder, role: str, name: str, command: list[str], *, detach: bool, keep: tuple[int, ...] = ()
) -> ZoneProcess:
    """`keep` are descriptors that the process inherits."""
    with _log(folder, name) as log, nullcontext() if detach else _interrupts_wait():
        child = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder.root,
            pass_fds=keep,
            # In the foreground too: Ctrl-C is for `up`, which then stops them in order.
            start_new_session=True,
            # Safe: no thread has been started yet, the first gRPC channel comes later.
            preexec_fn=None if detach else partial(_end_with_parent, os.getpid()),  # noqa: PLW1509
        )
        process = ZoneProcess(role, name, child.pid, start_time(child.pid) or 0)
        _record(folder, [*_recorded(folder), process])
    return process


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Ctrl-C comes when this is over.

    Where Python calls a function in the child it runs hooks at the fork, those of `logging` among them, and an
    interrupt that is raised in one of them is lost: `up` would go on. Nor is a process started and not written down.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent(parent: int) -> None:
    """In the child: be ended by the kernel if `up` itself is killed (prctl(2), PR_SET_PDEATHSIG), or was just now."""
    import ctypes

    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _log(folder: ZoneFolder, name: str) -> IO[bytes]:
    return (folder.logs / f"{name}.log").open("ab")


def _wait_for_gateway(folder: ZoneFolder, gateway: ZoneProcess, port: int | None) -> dict[str, str]:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        if addresses := _addresses(folder):
            return addresses
        if not gateway.is_alive():
            log = folder.logs / "gateway.log"
            if port is not None and b"Failed to bind" in log.read_bytes()[-4000:]:
                raise Problem(
                    Kind.UNAVAILABLE,
                    "port_in_use",
                    f"Port {port} is in use.",
                    field="--port",
                    hint="name another port, or none: then a free one is taken",
                )
            raise _did_not_start("gateway", log)
        time.sleep(0.02)
    raise _did_not_start("gateway", folder.logs / "gateway.log")


def _wait_for_console(folder: ZoneFolder, pages: ZoneProcess) -> str:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and pages.is_alive():
        if address := console.address(folder):
            return address
        time.sleep(0.02)
    raise _did_not_start("console", folder.logs / "console.log")


def _wait_for_enclaves(folder: ZoneFolder, nodes: list[ZoneProcess]) -> None:
    """Wait until every enclave has said hello; records the enclaves."""
    waiting = {node.name: node for node in nodes}
    give_up = time.monotonic() + START_SECONDS
    while waiting and time.monotonic() < give_up:
        for name, node in list(waiting.items()):
            ready = folder.run / f"{name}.enclave.pid"
            if ready.exists() and ready.read_text().endswith("\n"):
                pid = int(ready.read_text())
                _record(folder, [*_recorded(folder), ZoneProcess("enclave", name, pid, start_time(pid) or 0)])
                del waiting[name]
            elif not node.is_alive():
                raise _did_not_start(name, folder.logs / f"{name}.log")
        time.sleep(0.02)
    for name in waiting:
        raise _did_not_start(name, folder.logs / f"{name}.log")


def _wait_for_nodes(folder: ZoneFolder) -> None:
    """Wait until the gateway knows every node."""
    give_up = time.monotonic() + START_SECONDS
    with client.connect(folder, "developer") as channel:
        datasets = DatasetServiceStub(channel)
        while time.monotonic() < give_up:
            try:
                zone = uninterrupted(lambda: datasets.GetZone(Empty(), timeout=5))
                if zone.state == "ready":
                    return
                _check_refusals(zone)
            except grpc.RpcError as error:
                problem = client.problem_of(error)
                if problem.kind is not Kind.UNAVAILABLE:
                    raise problem from error
            time.sleep(0.02)
    raise _did_not_start("a node's connection", folder.logs / "gateway.log")


def _check_refusals(zone: Zone) -> None:
    for node in zone.nodes:
        if node.refusal:
            raise Problem(Kind.FAILED, "did_not_start", f"{node.name}: {node.refusal}", hint=node.hint or None)


def _did_not_start(name: str, log: Path) -> Problem:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    reason = lines[-1] if lines else "it left no message"
    return Problem(Kind.FAILED, "did_not_start", f"{name} did not start: {reason}", hint=f"see {log}")


def _recorded(folder: ZoneFolder) -> list[ZoneProcess]:
    path = folder.run / "processes.json"
    return [ZoneProcess(**entry) for entry in json.loads(path.read_text())] if path.exists() else []


def _record(folder: ZoneFolder, processes: list[ZoneProcess]) -> None:
    folder.run.mkdir(exist_ok=True)
    temporary = folder.run / "processes.part"
    temporary.write_text(json.dumps([asdict(process) for process in processes], indent=1))
    temporary.rename(folder.run / "processes.json")


def _addresses(folder: ZoneFolder) -> dict[str, str] | None:
    path = folder.run / "addresses.json"
    return dict(json.loads(path.read_text())) if path.exists() else None


def _write_addresses_into_profiles(folder: ZoneFolder, addresses: dict[str, str]) -> None:
    for name in folder.profiles:
        path = folder.profile(name)
        profile = {**json.loads(path.read_text()), **addresses}
        temporary = path.with_suffix(".part")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(profile, indent=1))
        temporary.rename(path)
