"""What the sandbox costs: `python -m benchmarks.sandbox`.

A numpy function over 200 blocks without slots, beside the same in this process and beside bare forks of a process with
the same packages; what two sandboxes at once, slots and more packages cost; how long a zygote takes to start, with all
packages and without those that only programs that name them get; how much memory a block has of its own. On a busy
machine, trust the ratios first.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from enclave_sim.sandbox import Limits, Sandbox, preload, zygote_process
from enclave_sim.sandbox.blocks import pack_tables, unpack
from enclave_sim.sandbox.limits import OPTIONAL
from enclave_sim.sandbox.sandbox import NO_TABLES

BLOCKS = 200
SLOTS = 10
ROWS = 1000
STARTS = 3
PROGRAM = b"""
import numpy as np
def run(tables):
    return [np.mean(np.log1p(tables["people"]["age"].to_numpy()))]
"""
NOTHING = b"def run(tables): return [0]"


def main() -> None:
    """Run and print."""
    limits = Limits(seconds=0.2, packages=())
    people = pack_tables({"people": pa.table({"age": np.linspace(0, 100, ROWS)})})
    table = Table(title=f"{BLOCKS} blocks of {ROWS} rows, milliseconds a block")
    table.add_column("")
    table.add_column("mean", justify="right")
    with Sandbox(limits) as sandbox:
        list(sandbox.run(PROGRAM, [people] * 5, 1, slots=False))
        rows: list[tuple[str, Callable[[], object], int]] = [
            ("here, without any process", lambda: [_here(people) for _ in range(BLOCKS)], BLOCKS),
            ("sandbox, a program that does nothing", lambda: _run(sandbox, NOTHING, NO_TABLES), BLOCKS),
            ("sandbox", lambda: _run(sandbox, PROGRAM, people), BLOCKS),
            (
                f"sandbox, in slots of {limits.seconds:g} s",
                lambda: list(sandbox.run(PROGRAM, [people] * SLOTS, 1)),
                SLOTS,
            ),
        ]
        for name, action, count in rows:
            table.add_row(name, f"{_timed(action) / count * 1000:.1f}")
        with Sandbox(limits) as other:
            table.add_row(
                "two sandboxes at once", f"{_timed(lambda: _both(sandbox, other, people)) / BLOCKS * 1000:.1f}"
            )
        memory = _private_memory(sandbox, people)
    with Sandbox(replace(limits, packages=OPTIONAL)) as full:
        table.add_row(
            "sandbox, with scipy and scikit-learn", f"{_timed(lambda: _run(full, PROGRAM, people)) / BLOCKS * 1000:.1f}"
        )
        proof = _timed(full.prove)
    preload.load(limits.packages)
    table.add_row("a bare fork with the same packages", f"{_timed(_forks) / BLOCKS * 1000:.1f}")
    console = Console()
    console.print(table)
    console.print(f"memory of its own a block: {memory / 1e6:.1f} MB")
    for name, packages in (("numpy, pandas and pyarrow", ()), ("all packages", OPTIONAL)):
        seconds = _start(replace(limits, packages=packages))
        console.print(f"start and self-test, {name}: {seconds:.2f} s (median of {STARTS})")
    console.print(f"one that was kept, its self-test: {proof * 1000:.0f} ms")


def _here(block: bytes) -> float:
    ages = unpack(block)["people"].to_pandas()["age"].to_numpy()
    return float(np.mean(np.log1p(ages)))


def _run(sandbox: Sandbox, program: bytes, block: bytes, count: int = BLOCKS) -> None:
    if None in list(sandbox.run(program, itertools.repeat(block, count), 1, slots=False)):
        raise RuntimeError("a block had no result")


def _both(one: Sandbox, other: Sandbox, block: bytes) -> None:
    """Half of the blocks each."""
    with ThreadPoolExecutor(2) as both:
        done = both.map(lambda each: _run(each, PROGRAM, block, BLOCKS // 2), (one, other))
    list(done)


def _forks() -> None:
    for _ in range(BLOCKS):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)


def _start(limits: Limits) -> float:
    return statistics.median(_timed(lambda: Sandbox(limits).close()) for _ in range(STARTS))


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _private_memory(sandbox: Sandbox, block: bytes) -> int:
    """Bytes that a block's process does not share, after it computed what the others do; 0 where it cannot be read."""
    import threading

    running = PROGRAM + b"compute = run\ndef run(tables):\n    compute(tables)\n    while True: pass\n"
    thread = threading.Thread(target=lambda: list(sandbox.run(running, [block], 1, slots=False)))
    sandbox.limits = Limits(seconds=2)
    thread.start()
    time.sleep(1)
    zygote = sandbox._zygote
    if not isinstance(zygote, zygote_process.ZygoteProcess):
        return 0
    process = zygote.process.pid
    try:
        for _generation in range(2):
            process = int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except (OSError, IndexError):
        lines = []
    thread.join()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    main()
