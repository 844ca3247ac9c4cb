"""The process that every block's process is forked from. It never reads a program or a row.

It starts as a new interpreter with an empty environment, leaves all namespaces of the host, loads the packages that
programs may use, and then gives up the file system and all rights but the one to make process namespaces. It checks
each step by its effect. From then on it does what the host says over one socket: fork with an input and an output,
kill.

Two processes: the first makes the namespaces and waits; the second, the first of the new process namespace, is the
zygote. With it everything in the namespace ends.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from enclave_sim import kernel
from enclave_sim.sandbox import preload
from enclave_sim.sandbox.frozen_clock import frozen_clock, mappings
from enclave_sim.sandbox.harness import Confinement, run_block
from enclave_sim.sandbox.system_calls import allow_list

UNSHARED, MAPPED, RUN, KILL, DONE = b"unshared", b"mapped", b"run", b"kill", b"done"
LONGEST_MESSAGE = 1 << 16
# Of the zygote's user namespace: 0 is whoever started it, and this one nobody else, where the host is root.
OWN_ID = 1

NAMESPACES = {
    "user": kernel.CLONE_NEWUSER,
    "mnt": kernel.CLONE_NEWNS,
    "pid": kernel.CLONE_NEWPID,
    "net": kernel.CLONE_NEWNET,
    "ipc": kernel.CLONE_NEWIPC,
    "uts": kernel.CLONE_NEWUTS,
    "cgroup": kernel.CLONE_NEWCGROUP,
}


class NotHeldError(Exception):
    """A step was taken and had no effect."""


def main(descriptor: int, settings: str) -> None:
    """Set up, tell the host how it went, serve. `settings`: JSON; see `start_zygote`."""
    with socket.socket(fileno=descriptor) as host:
        try:
            _leave_namespaces(host)
            zygote = os.fork()
        except Exception as error:
            _tell_failure(host, error)
            return
        if zygote:
            host.close()
            os.waitpid(zygote, 0)
            return
        try:
            confinement, layers = _set_up(json.loads(settings))
        except Exception as error:
            _tell_failure(host, error)
            return
        host.send(json.dumps({"layers": layers, "modules": preload.versions()}).encode())
        serve(host, confinement)


def _tell_failure(host: socket.socket, error: Exception) -> None:
    host.send(json.dumps({"failed": f"{error}"[:1000]}).encode())


def _leave_namespaces(host: socket.socket) -> None:
    before = _namespaces()
    kernel.unshare(sum(NAMESPACES.values()))
    host.send(UNSHARED)
    if host.recv(LONGEST_MESSAGE) != MAPPED:
        raise NotHeldError("the host could not map the user")
    after = _namespaces()
    if kept := [name for name in NAMESPACES if before[name] == after[name]]:
        raise NotHeldError(f"still in the host's namespaces: {', '.join(kept)}")


def _namespaces() -> dict[str, int]:
    """Those that the next child is in."""
    files = {name: f"/proc/self/ns/{name}" for name in NAMESPACES}
    files["pid"] = "/proc/self/ns/pid_for_children"
    # That of children has no file yet when none was born: then it is not the host's.
    found = {}
    for name, file in files.items():
        try:
            found[name] = Path(file).stat().st_ino
        except FileNotFoundError:
            found[name] = 0
    return found


def _set_up(settings: dict[str, Any]) -> tuple[Confinement, list[str]]:
    """Raises OSError, NotHeldError, ImportError."""
    preload.load(settings["packages"])
    confinement = _confinement(settings)
    layers = [f"namespace {name}" for name in NAMESPACES]
    _empty_root()
    layers.append("empty root")
    _limits_for_all()
    if settings["own_uid"]:
        _own_uid()
        layers.append("own uid")
    _give_up_rights()
    layers += ["no capabilities", "no new privileges", "not dumpable"]
    version = kernel.landlock_version()
    _landlock(version)
    layers.append(f"landlock {version}")
    return confinement, [*layers, "rlimits", "frozen clock", "seccomp allow-list", "no writable code"]


def _confinement(settings: dict[str, Any]) -> Confinement:
    """While /proc is there."""
    if any("w" in mapping.protection and "x" in mapping.protection for mapping in mappings()):
        raise NotHeldError("a library mapped memory that is both writable and executable")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    taken = pages * resource.getpagesize()
    return Confinement(frozen_clock(), settings["seconds"], taken + settings["memory_bytes"], allow_list())


def _empty_root() -> None:
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    # Over a folder that every Linux has and that nothing more is read from.
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("none", "/proc", "tmpfs", flags, "size=4k,nr_inodes=1,mode=555")
    os.chdir("/proc")
    kernel.pivot_root(".", ".")
    kernel.detach(".")
    os.chdir("/")
    kernel.mount("none", "/", None, flags | kernel.MS_REMOUNT | kernel.MS_RDONLY)
    if any(Path("/").iterdir()) or not os.statvfs("/").f_flag & os.ST_RDONLY:
        raise NotHeldError("the root is not empty and read-only")


def _limits_for_all() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o777)


def _own_uid() -> None:
    os.setgroups([])
    os.setresgid(OWN_ID, OWN_ID, OWN_ID)
    kernel.drop_bounding_set()
    kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
    os.setresuid(OWN_ID, OWN_ID, OWN_ID)
    if (os.getresuid(), os.getresgid(), os.getgroups()) != ((OWN_ID,) * 3, (OWN_ID,) * 3, []):
        raise NotHeldError("still the host's user")


def _give_up_rights() -> None:
    with contextlib.suppress(PermissionError):
        kernel.drop_bounding_set()
    kernel.keep_capabilities(1 << kernel.CAP_SYS_ADMIN)
    if kernel.capabilities() != 1 << kernel.CAP_SYS_ADMIN:
        raise NotHeldError("capabilities were kept")
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    if kernel.prctl(kernel.PR_GET_NO_NEW_PRIVS) != 1 or kernel.prctl(kernel.PR_GET_DUMPABLE) != 0:
        raise NotHeldError("privileges can be gained, or memory be dumped")
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)


def _landlock(version: int) -> None:
    kernel.landlock_deny_all(version)
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY))
    except PermissionError:
        return
    raise NotHeldError("Landlock lets folders be opened")


def serve(host: socket.socket, confinement: Confinement) -> None:
    """Fork and kill as the host says, until it closes the socket."""
    gc.collect()
    gc.freeze()  # so that the collector of a child touches no page that it shares with the zygote
    own = os.pidfd_open(os.getpid())
    while True:
        message, descriptors, _flags, _address = socket.recv_fds(host, LONGEST_MESSAGE, 2)
        if message != RUN or len(descriptors) != 2:
            return
        # A process namespace for the next child: children of this one are in the zygote's again before.
        kernel.setns(own, kernel.CLONE_NEWPID)
        kernel.unshare(kernel.CLONE_NEWPID)
        child = os.fork()
        if child == 0:
            run_block(confinement, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        message = host.recv(LONGEST_MESSAGE)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if message != KILL:
            return
        host.send(DONE)


def start() -> None:
    """The interpreter's entry point."""
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    main(int(sys.argv[1]), sys.argv[2])
