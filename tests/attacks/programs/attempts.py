"""An attack: a program that reports whether it succeeded, run without the sandbox and inside.

Without the sandbox it runs in a disposable process of the same user, all blocks one after another as a naive runner
would, with a victim as its parent, which holds what is to be stolen. Every program bounds itself: 20 processes, 64 MiB,
two seconds, loopback only.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent

from enclave_sim.sandbox import Sandbox

# In the file, the environment and the open descriptor of the victim, and nowhere in a program: there in two parts.
SECRET = "canary" + "-4b7d01c9"
VARIABLE = "YINGBI_VICTIM"
NO_TABLES = struct.pack("<I", 0)

SUCCEEDED, FAILED = (1.0,), (0.0,)

_COMMON = """
import ctypes, errno, mmap, os, pickle, resource, signal, socket, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
SECRET = "canary" + "-" + "4b7d01c9"
SECRET_FILE = {file!r}

def syscall(number, *arguments):
    ctypes.set_errno(0)
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return libc.syscall(ctypes.c_long(number), *given)

def run(tables):
    try:
        return [1.0 if attempt() else 0.0]
    except Exception:
        return [0.0]
"""
_ALONE = """
import struct, sys
namespace = {"__name__": "program"}
exec(compile(sys.stdin.buffer.read(), "program.py", "exec"), namespace)
for block in range(int(sys.argv[1])):
    print(namespace["run"]({})[0], flush=True)
"""


def program(attempt: str, file: Path | str = "") -> bytes:
    """A program that returns 1 where `attempt` (the body of a function) returns something true, else 0."""
    body = indent(dedent(attempt).strip("\n"), "    ")
    return (_COMMON.replace("{file!r}", repr(str(file))) + f"\ndef attempt():\n{body}\n").encode()


def without_sandbox(source: bytes, blocks: int = 1, seconds: float = 30) -> list[tuple[float, ...]]:
    """What it returns in a process of its own; fewer results than blocks where it ended that process."""
    inherited = [int(os.environ[VARIABLE + "_FD"])] if VARIABLE + "_FD" in os.environ else []
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, str(blocks)],
        input=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=inherited,
        start_new_session=True,
        timeout=seconds,
        check=False,
    )
    results: list[tuple[float, ...]] = []
    for line in done.stdout.decode(errors="replace").splitlines():
        try:
            results.append((float(line),))
        except ValueError:
            continue
    return results


def inside(sandbox: Sandbox, source: bytes, blocks: int = 1) -> list[tuple[float, ...] | None]:
    """What comes out of the sandbox."""
    return list(sandbox.run(source, [NO_TABLES] * blocks, 1, slots=False))


def still_works(sandbox: Sandbox) -> bool:
    """An honest program gets its answer."""
    return inside(sandbox, b"def run(tables): return [7]") == [(7.0,)]
