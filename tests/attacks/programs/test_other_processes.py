"""A program makes no process and no thread, runs nothing, and touches no other process."""

from __future__ import annotations

import pytest

from enclave_sim.sandbox import Sandbox
from tests.attacks.programs.attempts import FAILED, SUCCEEDED, inside, program, still_works, without_sandbox

# Without the sandbox their parent is a victim of its own, which they start; inside, whatever they can name.
VICTIM = """
try:
    victim = os.fork()
    if victim == 0:
        time.sleep(5)
        os._exit(0)
except OSError:
    victim = 0
"""
ATTACKS = {
    "twenty forks": """
        children = []
        for _ in range(20):
            child = os.fork()
            if child == 0: os._exit(0)
            children.append(child)
        for child in children: os.waitpid(child, 0)
        return True""",
    "clone": """
        child = syscall(56, 17, 0, 0, 0, 0)
        if child == 0: os._exit(0)
        return child > 0 and os.waitpid(child, 0)[0] == child""",
    "clone3": """
        ctypes.set_errno(0)
        return syscall(435, ctypes.create_string_buffer(88), 8) == -1 and ctypes.get_errno() == errno.EINVAL""",
    "a thread": """
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join(2)
        return True""",
    "a shell": "return subprocess.run(['/bin/sh', '-c', 'exit 7'], check=False).returncode == 7",
    "posix_spawn": "return os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)[1] == 0",
    "a memory file that is run": """
        descriptor = os.memfd_create("shell")
        os.write(descriptor, open("/bin/true", "rb").read())
        return subprocess.run([f"/proc/self/fd/{descriptor}"], pass_fds=[descriptor], check=False).returncode == 0""",
    "a daemon": """
        child = os.fork()
        if child == 0:
            os.setsid()
            os._exit(0)
        return os.waitpid(child, 0)[0] == child""",
    "signal a process": VICTIM + "os.kill(victim or 1, signal.SIGKILL)\nreturn os.waitpid(victim, 0)[0] == victim",
    "signal its parent": "return os.kill(os.getppid(), 0) is None",
    "signal its parent by number": "return syscall(62, int(os.environ.get('NOBODY', libc.getppid())), 0) == 0",
    "signal everybody": "return syscall(62, 0, 0) == 0",
    "a process descriptor": "return syscall(434, libc.getpid(), 0) >= 0",
    "trace a process": VICTIM
    + """
try: return syscall(101, 16, victim or 1, 0, 0) == 0
finally:
    if victim: os.kill(victim, signal.SIGKILL)""",
    "be traced by its parent": "return syscall(101, 0, 0, 0, 0) == 0",
    "read another's memory": """
        buffer = ctypes.create_string_buffer(b"x" * 16)
        local = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 16)
        return syscall(310, os.getpid(), local, 1, local, 1, 0) == 16""",
    "read memory by /proc": "return open('/proc/self/mem', 'rb') is not None",
    "a user namespace": "return syscall(272, 0x10000000) == 0",
    "enter a namespace": "return syscall(308, -1, 0) == -1 and ctypes.get_errno() == errno.EBADF",
    "mount": """
        return syscall(165, b'none', b'/nowhere', b'tmpfs', 0, None) == -1 and ctypes.get_errno() == errno.ENOENT""",
    "change the root": "return syscall(161, b'/nowhere') == -1 and ctypes.get_errno() == errno.ENOENT",
    "become another user": "return syscall(117, -1, -1, -1) == 0",
    "prctl: allow core dumps": "return syscall(157, 4, 1, 0, 0, 0) == 0",
    "prctl: read the time-stamp counter again": "return syscall(157, 26, 1, 0, 0, 0) == 0",
    "prctl: be traced": "return syscall(157, 0x59616D61, -1, 0, 0, 0) == 0 or ctypes.get_errno() != errno.EPERM",
    "another filter": "return syscall(317, 2, 0, ctypes.byref(ctypes.c_uint(0x7FFF0000))) == 0",
    "priority": "return os.nice(1) > -100",
    "raise limits": """
        return resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)) is None""",
    "choose processors": "return os.sched_setaffinity(0, os.sched_getaffinity(0)) is None",
    "keyrings": "return syscall(250, 0, -3, 1) != -1 or ctypes.get_errno() != errno.EPERM",
    "bpf": "return syscall(321, 99, None, 0) == -1 and ctypes.get_errno() == errno.EINVAL",
    "performance counters": "return syscall(298, None, 0, -1, -1, 0) == -1 and ctypes.get_errno() == errno.EFAULT",
    "userfaultfd": "return syscall(323, 1) >= 0",
}


@pytest.mark.parametrize("attempt", ATTACKS.values(), ids=ATTACKS.keys())
def test_processes(sandbox: Sandbox, attempt: str) -> None:
    source = program(attempt)
    assert without_sandbox(source) == [SUCCEEDED]
    assert inside(sandbox, source) == [FAILED]


@pytest.mark.parametrize("number", [0, 1, -1])
def test_killing_ends_nobody_else(sandbox: Sandbox, number: int) -> None:
    """`kill(0)` once reached a zygote, and `kill(-1)` would reach all of a user. Not tried without the sandbox."""
    source = program(f"return syscall(62, {number}, 9) == 0")
    assert inside(sandbox, source) == [FAILED]
    assert still_works(sandbox)
