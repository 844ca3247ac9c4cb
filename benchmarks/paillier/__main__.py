"""Encrypt, add, send and open with every library that installs: `python -m benchmarks.paillier`.

One after another, each in a Python of its own. A whole run writes docs/paillier.md and docs/paillier.svg.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.paillier.catalogue import LIBRARIES
from benchmarks.paillier.measure import Measured, Task, measured
from benchmarks.paillier.plot import draw
from benchmarks.paillier.report import console_table, page
from benchmarks.peers.environments import cache_folder
from benchmarks.peers.trials import ROOT
from enclave_sim.paillier.packing import Layout, pack

BITS, PARTIES, COUNT = 3072, 5, 10_000
VALUE_BITS, SLOT_BITS = 32, 40
SEED = 1


def main() -> None:
    """Run, print and, if no library was left out, write."""
    options = _options()
    console = Console()
    libraries = [library for library in LIBRARIES if options.only.lower() in library.name.lower()]
    task, rows = _task(options.seconds), list[Measured]()
    with tempfile.TemporaryDirectory(prefix="yingbi-paillier-") as name:
        for library in libraries:
            console.print(f"{library.name} …")
            rows += measured(library, task, Path(name), options.environments, options.timeout)
    rows.sort(key=lambda row: not row.packed)
    console.print(console_table(rows))
    folder = options.docs or (ROOT / "docs" if len(libraries) == len(LIBRARIES) else None)
    if folder is None:
        console.print("Not written to docs/: that needs every library, or --docs.")
    else:
        (folder / "paillier.md").write_text(page(rows, task, SLOT_BITS))
        (folder / "paillier.svg").write_text(draw(rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paillier", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME", help="part of a library's name")
    parser.add_argument("--seconds", type=float, default=4, help="of encrypting, for each library (default 4)")
    parser.add_argument("--timeout", type=float, default=900, metavar="SECONDS", help="for each library (default 900)")
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="write page and plot there, whatever was run")
    parser.add_argument("--environments", type=Path, default=cache_folder(), metavar="FOLDER", help="kept there")
    return parser.parse_args()


def _task(seconds: float) -> Task:
    drawn = random.Random(SEED)
    values = [drawn.randrange(-(2 ** (VALUE_BITS - 1)), 2 ** (VALUE_BITS - 1)) for _ in range(COUNT)]
    packed = pack(values, Layout(SLOT_BITS, COUNT, BITS))
    return Task(BITS, PARTIES, seconds, [str(value) for value in values], [str(number) for number in packed])


if __name__ == "__main__":
    main()
