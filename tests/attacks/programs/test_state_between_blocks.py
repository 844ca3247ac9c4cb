"""A block learns nothing of another block: what one leaves, no other finds."""

from __future__ import annotations

import pytest

from enclave_sim.sandbox import Sandbox
from tests.attacks.programs.attempts import inside, program, without_sandbox

# Each is run for two blocks and returns whether it found what an earlier run left.
ATTACKS = {
    "a module's attribute": """
        found = hasattr(sys, "left")
        sys.left = True
        return found""",
    "a class of a library": """
        found = hasattr(signal.Signals, "left")
        setattr(signal.Signals, "left", 1)
        return found""",
    "the environment": """
        found = "LEFT" in os.environ
        os.environ["LEFT"] = "1"
        return found""",
    "the environment, as C sees it": """
        found = libc.getenv(b"LEFT_C") != 0
        libc.setenv(b"LEFT_C", b"1", 1)
        return found""",
    "memory of a library": """
        import numpy
        found = numpy.random.get_state()[1][0] == 1234
        numpy.random.seed(1234)
        return found""",
    "a file": """
        try: os.close(os.open(SECRET_FILE + "-left", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            os.unlink(SECRET_FILE + "-left")
            return True
        return False""",
    "System V shared memory": """
        number = syscall(29, 0x59494E47, 4096, 0o600)
        if number >= 0:
            syscall(31, number, 0, None)
            return True
        syscall(29, 0x59494E47, 4096, 0o1600)
        return False""",
    "a System V semaphore": """
        number = syscall(64, 0x59494E47, 1, 0o600)
        if number >= 0:
            syscall(66, number, 0, 0, 0)
            return True
        syscall(64, 0x59494E47, 1, 0o1600)
        return False""",
    "a System V queue": """
        number = syscall(68, 0x59494E47, 0o600)
        if number >= 0:
            syscall(71, number, 0, 0)
            return True
        syscall(68, 0x59494E47, 0o1600)
        return False""",
    "a POSIX queue": """
        if syscall(240, b"yingbi-left", 0, 0, None) >= 0:
            syscall(241, b"yingbi-left")
            return True
        syscall(240, b"yingbi-left", 0o100, 0o600, None)
        return False""",
    "a POSIX shared memory": """
        if os.path.exists("/dev/shm/yingbi-left"):
            os.unlink("/dev/shm/yingbi-left")
            return True
        open("/dev/shm/yingbi-left", "w").close()
        return False""",
    "a descriptor left open": """
        found = False
        try: found = os.pread(90, 4, 0) == b"left"
        except OSError: pass
        descriptor = os.memfd_create("left")
        os.write(descriptor, b"left")
        os.dup2(descriptor, 90)
        return found""",
    "a signal's handler": """
        found = signal.getsignal(signal.SIGUSR1) != signal.SIG_DFL
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return found""",
    "the working directory": """
        found = os.getcwd() == "/proc"
        os.chdir("/proc")
        return found""",
    "the umask": "return os.umask(0o123) == 0o123",
}
# Each returns whether something of the machine is seen that another process could change meanwhile.
COUNTERS = {
    "numbers of processes": "return os.getpid() > 0",
    "pages in memory": """
        libc.mmap.restype = ctypes.c_void_p
        where = libc.mmap(None, ctypes.c_size_t(4096), 3, 0x22, -1, ctypes.c_long(0))
        return syscall(27, where, 4096, ctypes.create_string_buffer(1)) == 0""",
    "pages in the cache of files": """
        with open("/etc/passwd") as file: return syscall(451, file.fileno(), 0, 0, 0) != 0 or True""",
    "numbers of inodes": "return os.fstat(1).st_ino >= 0",
    "load": "return os.getloadavg() is not None",
    "faults of its pages": "return resource.getrusage(resource.RUSAGE_SELF).ru_minflt > 0",
}


@pytest.mark.parametrize("attempt", ATTACKS.values(), ids=ATTACKS.keys())
def test_nothing_is_left(sandbox: Sandbox, secret_file: object, attempt: str) -> None:
    source = program(attempt, str(secret_file))
    assert without_sandbox(source, blocks=2)[-1] == (1.0,)
    assert inside(sandbox, source, blocks=2) == [(0.0,), (0.0,)]


@pytest.mark.parametrize("attempt", COUNTERS.values(), ids=COUNTERS.keys())
def test_nothing_of_the_machine_is_seen(sandbox: Sandbox, attempt: str) -> None:
    source = program(attempt)
    assert without_sandbox(source) == [(1.0,)]
    assert inside(sandbox, source) == [(0.0,)]


def test_the_next_block_does_not_hold_the_last_ones_pages(sandbox: Sandbox) -> None:
    """A program fills 32 MiB with a mark; the next looks for it in as much fresh memory."""
    fill = """
        libc.mmap.restype = ctypes.c_void_p
        libc.malloc.restype = ctypes.c_void_p
        size = 32 << 20
        held = [libc.malloc(ctypes.c_size_t(1024)) for _ in range(1000)]
        found = any(ctypes.string_at(part, 1024).count(b"left-mark") for part in held)
        for part in held:
            ctypes.memmove(part, b"left-mark" * 100, 900)
            libc.free(ctypes.c_void_p(part))
        return found
    """
    source = program(fill)
    assert without_sandbox(source, blocks=2)[-1] == (1.0,)
    assert inside(sandbox, source, blocks=2) == [(0.0,), (0.0,)]
