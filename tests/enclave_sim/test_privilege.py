"""What a process can no longer do once it has given up its rights, each beside a process that has not.

The child tries everything by its effect and tells what came of it. On machines that do not give a measure, its test is
skipped, with the reason that the enclave's own log would have.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from yingbi.api import configuration

from enclave_sim import kernel, privilege
from enclave_sim.privilege import FIRST_USER, own_user

CHILD = """
import json, os, resource, socket, stat, sys, threading
from pathlib import Path

folder, confined, outside, victim, inherited = sys.argv[1:]
told = {"missing": {}}
if confined == "confined":
    from enclave_sim import privilege
    told["missing"] = privilege.give_up(Path(folder)).missing
else:
    os.chdir(folder)
from enclave_sim import kernel
victim = int(victim)

def a_thread():
    threading.Thread(target=lambda: told.update(ran=True)).start()
    while "ran" not in told: pass

def a_child():
    if os.fork() == 0: os._exit(0)
    os.wait()

def a_core():
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (4096, 4096))
    except ValueError as error:
        raise PermissionError from error

def talk():
    with socket.socket(fileno=int(inherited)) as node:
        node.sendall(b"hello")
        node.recv(5)

def write_own():
    Path("own").write_text("x")
    Path("own").rename("kept")
    Path("kept").read_text()

attempts = {
    "write to its folder": write_own,
    "import a library": lambda: __import__("sqlite3"),
    "start a thread": a_thread,
    "talk to its node": talk,
    "open a TCP socket": lambda: socket.socket(socket.AF_INET).close(),
    "open a Unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "read another file": lambda: Path(outside).read_text(),
    "write another file": lambda: Path(outside).write_text("y"),
    "list its parent": lambda: os.listdir(".."),
    "trace another process": lambda: kernel.syscall("ptrace", 101, 16, victim, 0, 0),
    "read another process": lambda: kernel.syscall("process_vm_readv", 310, victim, None, 0, None, 0, 0),
    "open another's memory": lambda: os.open(f"/proc/{victim}/mem", os.O_RDONLY),
    "signal another process": lambda: os.kill(victim, 0),
    "make a process": a_child,
    "become dumpable": lambda: kernel.prctl(kernel.PR_SET_DUMPABLE, 1),
    "leave a core": a_core,
}
for name, attempt in attempts.items():
    try:
        attempt()
        told[name] = "done"
    except PermissionError:
        told[name] = "refused"
    except Exception as error:
        told[name] = repr(error)
told["ids"] = [*os.getresuid(), *os.getresgid(), *os.getgroups()]
lines = Path("/proc/self/status").read_text().splitlines()
told["status"] = dict(line.split(":\\t") for line in lines if ":\\t" in line)
print(json.dumps(told), flush=True)
sys.stdin.readline()
# Last: where it is not refused, nothing comes after.
try:
    os.execv(sys.executable, [sys.executable, "-c", "print('ran')"])
except PermissionError:
    print("refused")
"""

NEEDED = ("write to its folder", "import a library", "start a thread", "talk to its node")
REFUSED = {
    "open a TCP socket": configuration.SYSTEM_CALLS,
    "open a Unix socket": configuration.SYSTEM_CALLS,
    "trace another process": configuration.SYSTEM_CALLS,
    "read another process": configuration.SYSTEM_CALLS,
    "signal another process": configuration.SYSTEM_CALLS,
    "make a process": configuration.SYSTEM_CALLS,
    "become dumpable": configuration.SYSTEM_CALLS,
    "read another file": configuration.OWN_FILES,
    "write another file": configuration.OWN_FILES,
    "list its parent": configuration.OWN_FILES,
    "open another's memory": configuration.OWN_FILES,
    "leave a core": configuration.NO_CORE_DUMPS,
}
"""What is tried, and the measure that refuses it."""


@dataclass(frozen=True)
class Tried:
    """A process that has tried everything and waits, and what it told."""

    process: subprocess.Popen[str]
    told: dict[str, Any]
    folder: Path
    # A process of the same user that has given up its capabilities and nothing else.
    victim: int

    def need(self, measure: str) -> None:
        if measure in self.told["missing"]:
            pytest.skip(f"{measure}: {self.told['missing'][measure]}")


def _tried(base: Path, how: str, *before: str) -> Iterator[Tried]:
    """Its folder holds a file, a folder with one, a link to a file outside and a second name of another one."""
    folder, outside, other = base / "enclave", base / "outside", base / "other"
    for file in (outside, other, folder / "file", folder / "jobs" / "file"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    (folder / "link").symlink_to(outside)
    (folder / "other name").hardlink_to(other)
    here, there = socket.socketpair()
    here.sendall(b"hello")
    # It allows to be traced, so that what refuses it is not the kernel's setting for all.
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    victim = subprocess.Popen([sys.executable, "-c", VICTIM], env=path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    # It waits before anybody tries to trace it: a process that is traced stops wherever it is.
    assert victim.stdout
    victim.stdout.readline()
    arguments = [str(folder), how, str(outside), str(victim.pid), str(there.fileno())]
    child = subprocess.Popen(
        [*before, sys.executable, "-c", CHILD, *arguments],
        env=path,
        pass_fds=[there.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with here, there, victim, child:
        assert child.stdout
        yield Tried(child, json.loads(child.stdout.readline() or "null"), folder, victim.pid)
        child.kill()
        victim.kill()


VICTIM = """
import ctypes, sys
from enclave_sim import kernel
kernel.keep_capabilities(0)
ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER, ANY
print(flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    yield from _tried(tmp_path_factory.mktemp("confined"), "confined")


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    yield from _tried(tmp_path_factory.mktemp("free"), "free")


@pytest.mark.parametrize("attempt", NEEDED)
def test_what_an_enclave_needs_it_keeps(confined: Tried, attempt: str) -> None:
    assert confined.told[attempt] == "done"


@pytest.mark.parametrize("attempt", REFUSED)
def test_what_it_does_not_need_it_has_given_up(confined: Tried, attempt: str) -> None:
    confined.need(REFUSED[attempt])
    assert confined.told[attempt] == "refused"


@pytest.mark.parametrize("attempt", sorted({*NEEDED, *REFUSED} - {"leave a core"}))
def test_the_control_a_process_that_gives_up_nothing_can_do_it(free: Tried, attempt: str) -> None:
    assert free.told[attempt] == "done"


def test_the_kernel_says_so_too(confined: Tried, free: Tried) -> None:
    status = confined.told["status"]
    for measure, line, value in (
        (configuration.NO_CAPABILITIES, "CapPrm", "0" * 16),
        (configuration.NO_NEW_PRIVILEGES, "NoNewPrivs", "1"),
        (configuration.SYSTEM_CALLS, "Seccomp", "2"),
    ):
        if measure not in confined.told["missing"]:
            assert (line, status[line]) == (line, value)
    assert (free.told["status"]["NoNewPrivs"], free.told["status"]["Seccomp"]) == ("0", "0")


def test_it_is_alone_in_its_network(confined: Tried, free: Tried) -> None:
    confined.need(configuration.OWN_NETWORK)
    of = [Path(f"/proc/{tried.process.pid}/ns/net").readlink() for tried in (confined, free)]
    assert of[0] != of[1] == Path("/proc/self/ns/net").readlink()


def test_its_memory_is_closed_to_its_own_user_without_roots_rights(confined: Tried) -> None:
    confined.need(configuration.NOT_DUMPABLE)
    assert _reads_memory_of(confined.victim), "the control reads nothing where it may"
    assert not _reads_memory_of(confined.process.pid)


READER = """
import os, sys
from enclave_sim import kernel
kernel.keep_capabilities(0)
try:
    os.close(os.open(f"/proc/{sys.argv[1]}/mem", os.O_RDONLY))
except PermissionError:
    sys.exit(1)
"""


def _reads_memory_of(process: int) -> bool:
    ran = subprocess.run([sys.executable, "-c", READER, str(process)], check=False)
    assert ran.returncode in (0, 1)
    return ran.returncode == 0


def test_it_runs_no_program(tmp_path: Path) -> None:
    """The control runs one."""
    ran = {}
    for how in ("confined", "free"):
        for tried in _tried(tmp_path / how, how):
            if how == "confined":
                tried.need(configuration.SYSTEM_CALLS)
            said, _ = tried.process.communicate("\n")
            ran[how] = said.strip()
    assert ran == {"confined": "refused", "free": "ran"}


def test_its_memory_is_locked_where_the_limit_allows_it(confined: Tried) -> None:
    confined.need(configuration.LOCKED_MEMORY)
    locked, resident = (int(confined.told["status"][line].split()[0]) for line in ("VmLck", "VmRSS"))
    assert locked >= resident > 0


def test_own_users_differ_by_folder_and_stay(tmp_path: Path) -> None:
    users = {own_user(tmp_path / name) for name in ("a", "b", "c")}
    assert len(users) == 3
    assert users == {own_user(tmp_path / "other" / ".." / name) for name in ("a", "b", "c")}
    assert all(FIRST_USER <= user < FIRST_USER + 2**24 for user in users)


def test_no_way_that_code_is_found_by_opens_the_other_enclaves_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the zone's folder itself, nor a link to it."""
    (tmp_path / "zone" / "node-1").mkdir(parents=True)
    (tmp_path / "code").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "zone")
    for name in ("zone", "link", "code"):
        monkeypatch.syspath_prepend(tmp_path / name)
    ours = {path for path in privilege._readable_paths(tmp_path / "zone" / "node-1") if tmp_path in path.parents}
    assert ours == {tmp_path / "code"}


# Puts the interpreter and these tests where everybody may read them, in a mount namespace of its own: the closed
# folders above them are covered by empty ones that are open.
OPEN_TO_ALL = """
import os, stat, subprocess, sys
from pathlib import Path
from enclave_sim import kernel

kernel.unshare(kernel.CLONE_NEWNS)
kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
kernel.mount("none", "/mnt", "tmpfs", 0, "mode=755")
bind = 0x1000
closed = []
for number, place in enumerate(dict.fromkeys([sys.base_prefix, sys.prefix, *sys.argv[1].split(os.pathsep)])):
    place = Path(place).resolve()
    if place.is_dir():
        kept = Path("/mnt", str(number))
        kept.mkdir()
        kernel.mount(str(place), str(kept), None, bind | kernel.MS_REC)
        above = [folder for folder in reversed(place.parents) if not folder.stat().st_mode & stat.S_IXOTH]
        closed += [(kept, place, above[0])] if above else []
for cover in {cover for _, _, cover in closed}:
    kernel.mount("none", str(cover), "tmpfs", 0, "mode=755")
for kept, place, _ in closed:
    place.mkdir(parents=True, exist_ok=True)
    kernel.mount(str(kept), str(place), None, bind | kernel.MS_REC)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give an enclave a user of its own")
def test_it_has_a_user_of_its_own_whose_folder_is_closed_to_others(tmp_path: Path) -> None:
    places = os.pathsep.join([*(entry for entry in sys.path if entry), str(tmp_path)])
    # The folder's parents stay closed; what is inside is given, and nothing that a link or another name leads to.
    (tmp_path / "closed").mkdir(mode=0o700)
    for tried in _tried(tmp_path / "closed", "confined", sys.executable, "-c", OPEN_TO_ALL, places):
        if tried.told is None:
            pytest.skip("this root may not mount")
        tried.need(configuration.OWN_USER)
        user = own_user(tried.folder)
        assert tried.told["ids"] == [user] * 6
        assert [tried.told[attempt] for attempt in NEEDED] == ["done"] * len(NEEDED)
        assert tried.told["read another file"] == "refused"
        assert stat.S_IMODE(tried.folder.stat().st_mode) == 0o700
        inside = [tried.folder, *(tried.folder / name for name in ("file", "jobs", "jobs/file", "kept"))]
        assert {path.stat().st_uid for path in inside} == {user}
        others = [tried.folder.parent, tried.folder.parent / "outside", tried.folder.parent / "other"]
        assert {path.stat().st_uid for path in others} == {0}
        assert not _reads_memory_of(tried.process.pid)


def test_a_machine_that_gives_nothing_is_told_of_and_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each measure stands for itself."""

    def fails(*_: object) -> None:
        raise OSError("not here")

    for step in ("_no_core_dumps", "_lock_memory", "_own_network", "_become", "_no_capabilities", "_no_new_privileges"):
        monkeypatch.setattr(privilege, step, fails)
    for step in ("_not_dumpable", "_own_files", "_system_calls"):
        monkeypatch.setattr(privilege, step, fails)
    here = Path.cwd()
    try:
        given_up = privilege.give_up(here)
    finally:
        os.chdir(here)
    assert given_up.held == ()
    assert set(given_up.missing) == set(configuration.MEASURES)
    assert str(given_up).count("not here") == len(configuration.MEASURES)


def test_the_filter_is_asked_of_the_kernel_and_not_only_made() -> None:
    """A kernel that takes it and does nothing would be seen: the effect is tried."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "seccomp", lambda program: None)
        with pytest.raises(privilege.NotHeldError, match="open a socket"):
            privilege._system_calls()
