"""The same question to every library that installs: `python -m benchmarks.peers`.

One after another, each in a Python of its own; about 20 minutes. A whole run writes docs/peers.md and docs/peers.svg.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.data import GROUPS, LOWER, ROWS_PER_UNIT, UPPER, make_table, truth, write_table
from benchmarks.peers.environments import cache_folder
from benchmarks.peers.plot import draw, write_plot
from benchmarks.peers.report import console_table, failures, is_complete, page, write_page
from benchmarks.peers.trials import ROOT, Task, tried

EPSILON, DELTA = 1.0, 1e-6
SEED = 1
ROWS = 1_000_000


def main() -> None:
    """Run, print and, if nothing was left out, write."""
    options = _options()
    console = Console()
    peers = [peer for peer in PEERS if not options.only or options.only.lower() in peer.name.lower()]
    if not peers:
        raise SystemExit(f"no library is called {options.only}; there are {', '.join(peer.name for peer in PEERS)}")
    with tempfile.TemporaryDirectory(prefix="yingbi-peers-") as name:
        scratch = Path(name)
        table = make_table(options.rows, SEED)
        write_table(table, scratch / "visits.parquet")
        task = _task(scratch, options.rows, options.trials)
        exact, outcomes = truth(table), []
        del table
        for peer in peers:
            console.print(f"{peer.name} …")
            outcomes.append(tried(peer, task, exact, options.environments, options.timeout))
    console.print(console_table(outcomes), *failures(outcomes), sep="\n")
    folder = options.docs or (ROOT / "docs" if is_complete(outcomes) and options.rows == ROWS else None)
    if folder is None:
        console.print("Not written to docs/: that needs every library and the full number of rows, or --docs.")
    else:
        write_page(page(outcomes, task), folder)
        write_plot(draw(outcomes), folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"default {ROWS:,}; {ROWS_PER_UNIT} for each unit")
    parser.add_argument("--trials", type=int, default=3, help="answers of each library (default 3)")
    parser.add_argument("--only", metavar="NAME", help="part of a library's name")
    parser.add_argument("--timeout", type=float, default=900, metavar="SECONDS", help="for each library (default 900)")
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="write page and plot there, whatever was run")
    parser.add_argument("--environments", type=Path, default=cache_folder(), metavar="FOLDER", help="kept there")
    return parser.parse_args()


def _task(scratch: Path, rows: int, trials: int) -> Task:
    return Task(
        data=str(scratch / "visits.parquet"),
        scratch=str(scratch),
        rows=rows,
        units=rows // ROWS_PER_UNIT,
        groups=GROUPS,
        lower=LOWER,
        upper=UPPER,
        epsilon=EPSILON,
        delta=DELTA,
        trials=trials,
    )


if __name__ == "__main__":
    main()
