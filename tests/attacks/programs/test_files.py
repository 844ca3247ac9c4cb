"""A program reads, lists, makes and mounts nothing: there is no file system, and nothing opens."""

from __future__ import annotations

from pathlib import Path

import pytest

from enclave_sim.sandbox import Sandbox
from tests.attacks.programs.attempts import FAILED, SUCCEEDED, inside, program, without_sandbox

ATTACKS = {
    "read a host's file": "return open(SECRET_FILE).read() == SECRET",
    "read it by a raw call": """
        descriptor = syscall(257, -100, SECRET_FILE.encode(), 0)
        return SECRET.encode() in os.read(descriptor, 100)""",
    "read it through a symbolic link": """
        link = SECRET_FILE + "-link"
        os.symlink(SECRET_FILE, link)
        try: return open(link).read() == SECRET
        finally: os.unlink(link)""",
    "climb out of the root": """
        os.chdir("../" * 40 + os.path.dirname(SECRET_FILE))
        return open("secret").read() == SECRET""",
    "learn that a file exists": "return os.path.exists(SECRET_FILE)",
    "list the root": "return len(os.listdir('/')) > 0",
    "make a file": """
        with open(SECRET_FILE + "-made", "w") as made: made.write("1")
        os.unlink(SECRET_FILE + "-made")
        return True""",
    "make a file in shared memory": """
        with open("/dev/shm/yingbi-attack", "w") as made: made.write("1")
        os.unlink("/dev/shm/yingbi-attack")
        return True""",
    "load a module that was not loaded": """
        sys.modules.pop("this", None)
        import xml.dom.minidom, wave
        return True""",
    "open a device": "return len(open('/dev/zero', 'rb').read(4)) == 4",
    "read its own /proc": "return 'Name' in open('/proc/self/status').read()",
    "read its own memory map": "return 'r-xp' in open('/proc/self/maps').read()",
    "read the machine's counters": "return 'cpu' in open('/proc/stat').read() and os.getloadavg()",
    "read /sys": "return len(os.listdir('/sys')) > 0",
    "ask for the free space": "return os.statvfs('/').f_blocks > 0",
    "ask for free memory": "return syscall(99, ctypes.create_string_buffer(200)) == 0",
    "an io_uring": "return syscall(425, 1, ctypes.create_string_buffer(200)) >= 0 or ctypes.get_errno() != errno.EPERM",
}


@pytest.mark.parametrize("attempt", ATTACKS.values(), ids=ATTACKS.keys())
def test_files(sandbox: Sandbox, secret_file: Path, attempt: str) -> None:
    source = program(attempt, secret_file)
    assert without_sandbox(source) == [SUCCEEDED]
    assert inside(sandbox, source) == [FAILED]
