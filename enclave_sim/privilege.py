"""An enclave's process gives up every right that it does not need, before it holds a secret.

Each measure is taken, tried by its effect, and then said to hold; what this machine does not give is missing, with the
reason, and the enclave runs without it: whoever appraises its evidence sees which hold (`yingbi.api.configuration`).

All of it comes before the libraries are loaded, some of which start threads: namespaces, capabilities and Landlock are
a thread's own, and threads inherit them.

Sandboxes for programs need rights that are given up here. They are started by another process, which holds nothing:
`enclave_sim.sandbox.launcher`.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from yingbi.api import configuration

from enclave_sim import kernel
from enclave_sim.enclave_calls import enclave_calls

FIRST_USER = 0x7100_0000
"""The own users of enclaves are from here on, 2**24 of them: above those of people, containers and sandboxes."""
_USERS = 1 << 24

_SYS_PTRACE = 101
_NO_PROGRAM = "/there is no such program"
_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime"),
    *("/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies", "/etc/nsswitch.conf", "/etc/passwd"),
    *("/proc/self", "/proc/sys", "/proc/meminfo", "/proc/cpuinfo", "/sys/devices/system", "/sys/fs/cgroup"),
    *("/dev/urandom", "/dev/random", "/dev/zero"),
)
"""What an interpreter and its libraries read of a Linux system."""
_PACKAGES = ("enclave_sim", "yingbi", "google.protobuf", "numpy", "pyarrow", "duckdb", "cryptography", "gmpy2", "cbor2")


class NotHeldError(Exception):
    """A measure was taken and had no effect, or cannot be taken here."""


@dataclass(frozen=True)
class Privileges:
    """What came of it: the measures that hold, and of the others why they do not."""

    held: tuple[str, ...]
    missing: dict[str, str]

    def __str__(self) -> str:
        """One line for the node's log."""
        without = "; ".join(f"{name} ({why})" for name, why in self.missing.items()) or "nothing"
        return f"holds: {', '.join(self.held)}. Missing: {without}"


def own_user(folder: Path) -> int:
    """The user id of the enclave of a folder: the same at every start, another for each folder of a machine."""
    digest = hashlib.sha256(os.fsencode(folder.resolve())).digest()
    return FIRST_USER + int.from_bytes(digest[:4], "big") % _USERS


def writable_paths() -> list[Path]:
    """Where an enclave's process may write: the folder that it is in, which it may have no other path to."""
    return [Path(), Path("/dev/null")]


def give_up(folder: Path) -> Privileges:
    """Keep, of this process's rights, those to compute and to use `folder` and the descriptors that it has.

    It goes into `folder`, which afterwards may be reached as "." only: its parents may be closed to its own user.
    Call it with one thread. There is no way back.
    """
    readable, writable = _readable_paths(folder), writable_paths()
    user = own_user(folder)
    os.chdir(folder)
    steps: list[tuple[str, Callable[[], None]]] = [
        (configuration.NO_CORE_DUMPS, _no_core_dumps),
        (configuration.LOCKED_MEMORY, _lock_memory),
        (configuration.OWN_NETWORK, _own_network),
        (configuration.OWN_USER, lambda: _become(user)),
        (configuration.NO_CAPABILITIES, _no_capabilities),
        (configuration.NO_NEW_PRIVILEGES, _no_new_privileges),
        # After whatever changes who the process is, since that makes the kernel forget this.
        (configuration.NOT_DUMPABLE, _not_dumpable),
        (configuration.OWN_FILES, lambda: _own_files(readable, writable)),
        (configuration.SYSTEM_CALLS, _system_calls),
    ]
    missing: dict[str, str] = {}
    for name, take in steps:
        try:
            take()
        except (OSError, ValueError, NotHeldError) as error:
            missing[name] = str(error)
    return Privileges(tuple(name for name in configuration.MEASURES if name not in missing), missing)


def _no_core_dumps() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _lock_memory() -> None:
    """Whatever the process touches stays in memory: keys may lie anywhere in it.

    Only without a limit: with one, the process would have no more memory than that.
    """
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    if os.geteuid() == 0:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    if resource.getrlimit(resource.RLIMIT_MEMLOCK) != unlimited:
        raise NotHeldError("the limit of locked memory is not unlimited")
    kernel.lock_memory(kernel.MCL_CURRENT | kernel.MCL_FUTURE | kernel.MCL_ONFAULT)


def _own_network() -> None:
    """A network without a device. The sockets that were inherited stay what they are."""
    before = _network()
    # There are machines on which the second half of it fails.
    if why := _why_not(_leave_network):
        raise NotHeldError(why)
    _leave_network()
    if _network() == before:
        raise NotHeldError("the network is still the host's")


def _network() -> int:
    return Path("/proc/self/ns/net").stat().st_ino


def _leave_network() -> None:
    if os.geteuid() == 0:
        kernel.unshare(kernel.CLONE_NEWNET)
        return
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNET)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1\n")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1\n")


def _become(user: int) -> None:
    """A user and group that nobody else is, to whom the folder that this is in belongs."""
    if os.geteuid() != 0:
        raise NotHeldError("only root can give an enclave a user of its own")
    _need_x86_64()
    if why := _why_not(lambda: _run_without_root(user)):
        _give_folder(0, 0)
        raise NotHeldError(why)
    _give_folder(user, user)
    _change_user(user)
    if {*os.getresuid(), *os.getresgid()} != {user} or os.getgroups():
        raise NotHeldError("still the host's user")


def _change_user(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _run_without_root(user: int) -> None:
    """Whether this program can be read by `user` without capabilities; raises OSError, NotHeldError."""
    if user:
        _change_user(user)
    kernel.keep_capabilities(0)
    for path in _code_paths():
        try:
            os.close(os.open(path, os.O_RDONLY))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise NotHeldError(f"without root's rights, {path} cannot be read") from error


def _why_not(attempt: Callable[[], None]) -> str:
    """How an attempt fails that is made in a process of its own, so that nothing of it stays; empty if it succeeds."""
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        answer = ""
        try:
            attempt()
        except Exception as error:
            answer = str(error) or type(error).__name__
        os.write(said, answer.encode()[:4000])
        os._exit(0)
    os.close(said)
    with os.fdopen(heard, "rb") as file:
        why = file.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return why if status == 0 else "it could not be tried"


def _code_paths() -> list[Path]:
    """What any program here is loaded from, and what an enclave is, as far as it is installed."""
    found = [Path(sys.executable), Path(os.__file__), *(Path(entry) for entry in sys.path if entry)]
    for name in _PACKAGES:
        spec = find_spec(name)
        if spec and spec.origin:
            found += [Path(spec.origin), Path(spec.origin).parent]
    return found


def _give_folder(user: int, group: int) -> None:
    """The current folder and all in it, to this user, for them alone; whatever root has written there meanwhile, too.

    No link is followed, and no file is given that has another name elsewhere.
    """
    for _, folders, files, descriptor in os.fwalk("."):
        for name in (*folders, *files):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if (found.st_uid, found.st_gid) != (user, group) and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1):
                os.chown(name, user, group, dir_fd=descriptor, follow_symlinks=False)
    here = Path()
    os.chown(here, user, group)
    here.chmod(0o700)


def _no_capabilities() -> None:
    _need_x86_64()
    if os.geteuid() == 0 and (why := _why_not(lambda: _run_without_root(0))):
        raise NotHeldError(why)
    if os.geteuid() == 0 or kernel.capabilities():
        kernel.drop_bounding_set()
    kernel.keep_capabilities(0)
    if kernel.capabilities():
        raise NotHeldError("capabilities were kept")


def _no_new_privileges() -> None:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if kernel.prctl(kernel.PR_GET_NO_NEW_PRIVS) != 1:
        raise NotHeldError("privileges can be gained")


def _not_dumpable() -> None:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    if kernel.prctl(kernel.PR_GET_DUMPABLE) != 0:
        raise NotHeldError("memory can be dumped")


def _readable_paths(folder: Path) -> list[Path]:
    """The interpreter, its libraries, our own code; never a folder in which the enclave's own lies among others."""
    above = {folder.absolute(), *folder.absolute().parents, *folder.resolve().parents}
    code = [Path(entry) for entry in (*sys.path, sys.prefix, sys.base_prefix, sys.pycache_prefix or "") if entry]
    own = [Path(place) for name in ("enclave_sim", "yingbi") for place in _places(name)]
    return [path for path in (*code, *own, *map(Path, _SYSTEM)) if not {path, path.resolve()} & above]


def _places(package: str) -> Iterable[str]:
    spec = find_spec(package)
    return spec.submodule_search_locations or () if spec else ()


def _own_files(readable: Iterable[Path], writable: Iterable[Path]) -> None:
    _need_x86_64()
    kernel.landlock(kernel.landlock_version(), readable, writable)
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY))
    except PermissionError:
        return
    raise NotHeldError("other files can be opened")


def _system_calls() -> None:
    _need_x86_64()
    kernel.seccomp(enclave_calls(os.getpid()))
    attempts: dict[str, Callable[[], object]] = {
        "open a socket": socket.socket,
        "trace a process": lambda: kernel.syscall("ptrace", _SYS_PTRACE, 0, 0, 0, 0),
        "run a program": lambda: os.execv(_NO_PROGRAM, [_NO_PROGRAM]),  # noqa: S606
        "make a process": _fork,
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except PermissionError:
            continue
        raise NotHeldError(f"it can still {name}")


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _need_x86_64() -> None:
    if os.uname().machine != "x86_64":
        raise NotHeldError("only on x86-64")
