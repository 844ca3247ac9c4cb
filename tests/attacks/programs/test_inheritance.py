"""A program gets nothing of its host's: no environment, no descriptors."""

from __future__ import annotations

import pytest

from enclave_sim.sandbox import Sandbox
from tests.attacks.programs.attempts import FAILED, SUCCEEDED, inside, program, without_sandbox

ATTACKS = {
    "environment": "return SECRET in os.environ.values()",
    "environment, as C sees it": """
        libc.getenv.restype = ctypes.c_char_p
        return libc.getenv(b"YINGBI_VICTIM") == SECRET.encode()""",
    "inherited descriptors": """
        for descriptor in range(3, 1024):
            try: data = os.pread(descriptor, 100, 0)
            except OSError: continue
            if SECRET.encode() in data: return True
        return False""",
    "inherited descriptors, mapped": """
        for descriptor in range(3, 1024):
            try: data = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)[:100]
            except (OSError, ValueError): continue
            if SECRET.encode() in data: return True
        return False""",
    "arguments of its process": "return '/' in open('/proc/self/cmdline').read()",
    "a copy of a descriptor": "return os.dup(int(os.environ.get('YINGBI_VICTIM_FD', 4))) >= 0",
    "a pipe": "return len(os.pipe()) == 2",
    "who it is": "return os.getuid() >= 0 and os.getpid() > 0 and libc.getpid() > 0",
    "the host's name": "return len(os.uname().nodename) > 0",
    "which processor it is on": "return syscall(309, ctypes.create_string_buffer(8), None, None) == 0",
}


@pytest.mark.parametrize("attempt", ATTACKS.values(), ids=ATTACKS.keys())
def test_inheritance(sandbox: Sandbox, attempt: str) -> None:
    source = program(attempt)
    assert without_sandbox(source) == [SUCCEEDED]
    assert inside(sandbox, source) == [FAILED]
