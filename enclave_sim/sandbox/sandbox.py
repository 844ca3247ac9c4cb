"""Run programs that nobody trusts, on one block of rows at a time.

What comes out of a run, and when, is decided here: for each block either exactly the declared count of finite numbers
or None, and with `slots` at times that are fixed before the first block is read. What a program wrote besides, how it
ended, how long it took: none of it is kept. A program therefore tells about a block no more than its numbers, or that
there are none, which the caller replaces by the declared default.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import select
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from enclave_sim.sandbox.canaries import CANARIES, PROGRAM
from enclave_sim.sandbox.harness import MODEL, pack_input
from enclave_sim.sandbox.limits import Limits, Profile, SandboxUnavailableError
from enclave_sim.sandbox.system_calls import allow_list
from enclave_sim.sandbox.zygote_process import StartZygote, Zygote, ZygoteLostError, start_zygote

# For the self-test, however short the slots are, and for ending what runs where there are no slots.
CANARY_SECONDS = 20.0
ENDING_SECONDS = 10.0

_PIPE_BYTES = 1 << 20
"""What a process without rights may ask for: with more of it, who writes and who reads wait less for each other."""

Numbers = tuple[float, ...]


class EndedError(Exception):
    """Another thread ended the run: it has no results, and none that stand for them."""


class Sandbox:
    """One zygote, and what it forks. One run at a time; not for several threads."""

    def __init__(self, limits: Limits | None = None, start: StartZygote = start_zygote) -> None:
        """Start it and prove that it holds on this machine; raises SandboxUnavailableError."""
        self.limits = limits or Limits()
        self._start = start
        self._lost = False
        self._ended = threading.Event()
        self._closing = threading.Lock()
        self._zygote, self.profile = self._started()

    def run(
        self, program: bytes, blocks: Iterable[bytes], width: int, *, slots: bool = True
    ) -> Iterator[Numbers | None]:
        """For each block what the program's `run(tables)` returned: `width` finite floats, or None for anything else.

        With `slots`, block i is read at its slot's start and its result comes at `(i + 1) * limits.seconds` after the
        first is asked for, never earlier, whatever the program does; so B blocks take B slots. Without, a result comes
        as soon as the program ends: that time is a channel, so this is for made-up data and for measuring.

        Nothing is tried twice. Should the zygote be lost, which no program should be able to bring about, all further
        blocks of this run have no result, at the same times; the next run begins with a new one, or raises
        SandboxUnavailableError.

        Raises EndedError, within the slot, once it was `end`ed.
        """
        if self._lost:
            self._restart()
        start = time.monotonic()
        waiting = iter(blocks)
        slot = 0
        while True:
            begin = start + slot * self.limits.seconds if slots else time.monotonic()
            try:
                block = next(waiting)
            except StopIteration:
                return
            end = begin + self.limits.seconds
            deadline = begin + self.limits.running_seconds
            result = self._run_block(program, block, width, deadline, end if slots else deadline + ENDING_SECONDS)
            slot += 1
            if slots:
                _sleep_until(end, self._ended)
            self._check_not_ended()
            yield result

    def run_model(
        self, model: bytes, rows: Sequence[bytes | memoryview], length: int, seconds: float
    ) -> memoryview | None:
        """What a model says of batches of rows (`model_runner`, in pieces): `length` bytes, or None for anything else.

        As soon as they are there, within `seconds`. A checked model's work is the same for every row, but for the ways
        through its trees.
        """
        if self._lost:
            self._restart()
        if len(model) + sum(map(len, rows)) > self.limits.block_bytes:
            return None
        deadline = time.monotonic() + seconds
        given = [*pack_input(model, b"", length, MODEL), *rows]
        try:
            written = _output(self._zygote, given, length, deadline, deadline + ENDING_SECONDS)
        except ZygoteLostError:
            self._lose()
            return None
        return written if len(written) == length else None

    def prove(self) -> None:
        """That it still holds on this machine; raises SandboxUnavailableError."""
        if self._lost:
            self._restart()
        elif self._prove(self._zygote) != self.profile:
            raise SandboxUnavailableError("its isolation is not what it was")

    def close(self) -> None:
        """End its processes. After it, nothing runs any more."""
        self.end()

    @property
    def ended(self) -> bool:
        """Nothing can be run here any more."""
        return self._ended.is_set()

    def end(self) -> None:
        """As `close`, from any thread while another one runs something, which raises EndedError then."""
        with self._closing:
            if not self._ended.is_set():
                self._ended.set()
                self._zygote.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run_block(self, program: bytes, block: bytes, width: int, deadline: float, end: float) -> Numbers | None:
        if self._lost or width < 1 or len(program) + len(block) > self.limits.block_bytes:
            return None
        try:
            return _numbers(_output(self._zygote, pack_input(program, block, width), 8 * width, deadline, end), width)
        except ZygoteLostError:
            self._lose()
            return None

    def _lose(self) -> None:
        self._check_not_ended()
        self._lost = True
        self._zygote.abandon()

    def _check_not_ended(self) -> None:
        if self._ended.is_set():
            raise EndedError

    def _restart(self) -> None:
        self._check_not_ended()
        with self._closing:
            self._zygote.close()
            self._zygote, profile = self._started()
        self._check_not_ended()
        if profile != self.profile:
            self._zygote.close()
            raise SandboxUnavailableError("its isolation is not what it was")
        self._lost = False

    def _started(self) -> tuple[Zygote, Profile]:
        zygote = self._start(self.limits)
        try:
            return zygote, self._prove(zygote)
        except BaseException:
            zygote.close()
            raise

    def _prove(self, zygote: Zygote) -> Profile:
        """Let a program try what no program may, and see all of it fail; raises SandboxUnavailableError."""
        deadline = time.monotonic() + CANARY_SECONDS
        given = pack_input(PROGRAM, NO_TABLES, len(CANARIES))
        try:
            written = _output(zygote, given, 8 * len(CANARIES), deadline, deadline + ENDING_SECONDS)
        except ZygoteLostError as error:
            raise SandboxUnavailableError("its first process ended during the self-test") from error
        held = _numbers(written, len(CANARIES))
        if held is None:
            raise SandboxUnavailableError("the self-test did not end")
        if escaped := [name for name, result in zip(CANARIES, held, strict=True) if result != 1.0]:
            raise SandboxUnavailableError(f"the self-test could do what no program may: {', '.join(escaped)}")
        layers, modules = tuple(sorted(zygote.layers)), tuple(sorted(zygote.modules))
        facts = [layers, modules, list(CANARIES), hashlib.sha256(allow_list()).hexdigest()]
        return Profile(hashlib.sha256(json.dumps(facts).encode()).hexdigest(), layers, modules)


# A block without tables.
NO_TABLES = bytes(4)


def _output(
    zygote: Zygote, given: Sequence[bytes | memoryview], length: int, deadline: float, end: float
) -> memoryview:
    """What a block's process wrote until it ended or had to: at most one byte more than `length`.

    It is killed at `deadline`, and nothing of it is left at `end`, or ZygoteLostError is raised.
    """
    received = _sealed(given)
    output, result = os.pipe()
    if length >= _PIPE_BYTES:
        # Where it is not granted, the pipe stays as it is.
        with contextlib.suppress(OSError):
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    try:
        try:
            zygote.fork(received, result)
        finally:
            os.close(received)
            os.close(result)
        room = memoryview(bytearray(length + 1))
        size = _read(output, room, deadline)
        zygote.kill(end - time.monotonic())
        # What it wrote between the last look and its end belongs to it as well.
        size += _rest(output, room[size:])
        return room[:size]
    finally:
        os.close(output)


def _sealed(pieces: Sequence[bytes | memoryview]) -> int:
    """A descriptor of memory that holds them and that nobody can change any more."""
    descriptor = os.memfd_create("block", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def _read(descriptor: int, room: memoryview, deadline: float) -> int:
    """How much of the room was written to until the deadline."""
    size = 0
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while size < len(room):
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(math.ceil(left * 1000)):
            break
        part = os.readv(descriptor, [room[size:]])
        if not part:
            break
        size += part
    return size


def _rest(descriptor: int, room: memoryview) -> int:
    """How much of the room is filled by what is left in a pipe that nobody can write to any more."""
    size = 0
    while size < len(room):
        part = os.readv(descriptor, [room[size:]])
        if not part:
            break
        size += part
    return size


def _numbers(written: memoryview, width: int) -> Numbers | None:
    """The one way from a program's bytes to numbers: never more, never fewer, never anything else."""
    if len(written) != 8 * width:
        return None
    values: Numbers = struct.unpack(f"<{width}d", written)
    return values if all(map(math.isfinite, values)) else None


def _sleep_until(moment: float, ended: threading.Event) -> None:
    ended.wait(max(moment - time.monotonic(), 0.0))
