"""How long a stop takes, until the last process is gone: `python -m benchmarks.stops [COUNT]`.

A zone of three nodes, real processes. Each stop hits a program that never ends, which runs in a sandbox at each node,
at a moment of its own. Measured, in seconds, from the call on: until it is recorded, until the last node signed, and
until no sandbox process below any node is left, as the process table tells. Prints p50, p90 and p99 of each.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import yingbi
from rich.console import Console
from rich.table import Table
from yingbi.zone import Zone

from benchmarks.end_to_end import _data, command

COUNT = 50
PROGRAM = b"""
def run(tables):
    while True:
        pass
"""


def main() -> None:
    """Run and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zone = folder / "zone"
        os.environ.update(XDG_CONFIG_HOME=str(folder / "config"), YINGBI_ZONE=str(zone))
        try:
            command("init", zone, "--auto-approve")
            command("up", zone, "--detach")
            command("dataset", "add", zone, _data(folder))
            with yingbi.connect(folder=zone) as developer, yingbi.connect(folder=zone, role="operator") as operator:
                measured = [_stop(developer, operator, number) for number in range(count)]
        finally:
            command("down", zone)
    _print(measured)


def _stop(developer: Zone, operator: Zone, number: int) -> tuple[float, float, float]:
    program = developer.dataset("small").program(PROGRAM, "x: float[0,1]", blocks=20, seconds=5.0 + number / 1000)
    job = program.submit(1.0)
    _wait_for(3)
    time.sleep(random.uniform(0, 2))
    began = time.time()
    stopped = operator.stop("job", job.id, "benchmark")
    while _sandboxes():
        time.sleep(0.005)
    gone = time.time()
    signed = [each.at.timestamp() for each in stopped.nodes if each.at is not None]
    assert len(signed) == 3, "a node did not sign in time"
    return stopped.at.timestamp() - began, max(signed) - began, gone - began


def _wait_for(least: int) -> None:
    """Until so many blocks run: processes that a sandbox's second process forked."""
    give_up = time.monotonic() + 60
    while len(_sandboxes()) < 3 * least:
        assert time.monotonic() < give_up, "no sandbox started"
        time.sleep(0.01)


def _sandboxes() -> list[int]:
    """Processes of sandboxes below the zone's nodes, which have its folder in their arguments."""
    lines, parents = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            process = int(folder.name)
            lines[process] = (folder / "cmdline").read_bytes()
            parents[process] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])

    def is_ours(process: int) -> bool:
        while process in parents:
            if os.environ["YINGBI_ZONE"].encode() in lines[process]:
                return True
            process = parents[process]
        return False

    found = (process for process, line in lines.items() if b"enclave_sim.sandbox.zygote import start" in line)
    return list(filter(is_ours, found))


def _print(measured: list[tuple[float, float, float]]) -> None:
    table = Table(title=f"{len(measured)} stops of a running program, seconds")
    for heading in ("until", "p50", "p90", "p99"):
        table.add_column(heading, justify="left" if heading == "until" else "right")
    names = ("it is recorded", "the last node signed", "the last process is gone")
    for name, values in zip(names, zip(*measured, strict=True), strict=True):
        ranked = sorted(values)
        shares = [ranked[min(len(ranked) - 1, int(share * len(ranked)))] for share in (0.5, 0.9, 0.99)]
        table.add_row(name, *(f"{value:.3f}" for value in shares))
    Console().print(table)


if __name__ == "__main__":
    main()
