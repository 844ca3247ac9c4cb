"""What happens in the process of one block: give up everything, run the program, write its numbers.

A program shares this process with the harness and may change it as it likes. Nothing depends on the harness: what a
program may do is decided by the kernel, and what comes out is checked by the host.
"""

from __future__ import annotations

import contextlib
import io
import math
import mmap
import os
import resource
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from enclave_sim import kernel
from enclave_sim.sandbox.frozen_clock import FrozenClock
from enclave_sim.sandbox.model_runner import run_model
from enclave_sim.sandbox.system_calls import INPUT, OUTPUT

# The input: how many numbers are wanted, the length of the program, of which kind it is, and from the next multiple of
# 64 on the program, and from the next multiple of 64 on the block.
HEADER = struct.Struct("<QQQ40x")
PYTHON, MODEL = 0, 1
# Above any descriptor that the zygote has.
_ASIDE = 200


def pack_input(program: bytes, block: bytes, width: int, kind: int = PYTHON) -> list[bytes]:
    """What a block's process reads, in pieces."""
    return [HEADER.pack(width, len(program), kind), program, bytes(-len(program) % 64), block]


@dataclass(frozen=True)
class Confinement:
    """What a block's process does to itself. `address_space`: bytes, with all that the zygote has mapped."""

    clock: FrozenClock
    seconds: int
    address_space: int
    system_calls: bytes

    def apply(self) -> None:
        """Raises OSError. What the zygote did holds as well: namespaces, root, uid, Landlock, no new privileges."""
        os.setsid()
        limits = {
            resource.RLIMIT_AS: self.address_space,
            resource.RLIMIT_CPU: self.seconds,
            **dict.fromkeys(_NOTHING_OF, 0),
        }
        for kind, limit in limits.items():
            resource.setrlimit(kind, (limit, limit))
        kernel.keep_capabilities(0)
        self.clock.install()
        kernel.seccomp(self.system_calls)


_NOTHING_OF = (
    resource.RLIMIT_NPROC,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_CORE,
    resource.RLIMIT_MEMLOCK,
    resource.RLIMIT_MSGQUEUE,
    resource.RLIMIT_SIGPENDING,
)


def run_block(confinement: Confinement, received: int, result: int) -> NoReturn:
    """Run the program that descriptor `received` holds, and write its numbers to descriptor `result`, or nothing."""
    # Not even the kind of an error may leave.
    with contextlib.suppress(BaseException):
        given = _descriptors(received, result)
        confinement.apply()
        width, length, kind = HEADER.unpack_from(given)
        program = bytes(given[HEADER.size : HEADER.size + length])
        block = given[HEADER.size + length + -length % 64 :]
        _write(run_model(program, block) if kind == MODEL else _numbers(program, block, width))
    os._exit(0)


def _descriptors(received: int, result: int) -> memoryview:
    """The input, mapped; of descriptors only OUTPUT stays open."""
    os.dup2(received, _ASIDE)
    os.dup2(result, _ASIDE + 1)
    os.dup2(_ASIDE, INPUT)
    os.dup2(_ASIDE + 1, OUTPUT)
    given = mmap.mmap(INPUT, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    os.closerange(0, OUTPUT)
    os.closerange(OUTPUT + 1, 1 << 20)
    return memoryview(given)


def _numbers(program: bytes, block: memoryview, width: int) -> bytes:
    """The program's result, as `width` finite numbers; raises anything."""
    from enclave_sim.sandbox.blocks import unpack

    sys.stdin = sys.stdout = sys.stderr = _Nowhere()
    tables = {name: table.to_pandas(use_threads=False) for name, table in unpack(block).items()}
    namespace: dict[str, Any] = {"__name__": "program"}
    exec(compile(program, "program.py", "exec"), namespace)  # noqa: S102
    run: Callable[[dict[str, Any]], Any] = namespace["run"]
    values = [float(value) for value in run(tables)]
    if len(values) != width or not all(map(math.isfinite, values)):
        raise ValueError("not the declared numbers")
    return struct.pack(f"<{width}d", *values)


def _write(packed: bytes | memoryview) -> None:
    rest = memoryview(packed)
    while rest:
        rest = rest[os.write(OUTPUT, rest) :]


class _Nowhere(io.TextIOBase):
    """So that programs that print go on working."""

    def write(self, text: str) -> int:
        return len(text)
