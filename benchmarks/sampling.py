"""What a cell of noise costs, by OpenDP and by the vector sampler: `python -m benchmarks.sampling`.

Both are timed in turns in one run, the median of `ROUNDS`; machines are noisy, so trust the ratio first.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from enclave_sim.privacy.sampling import sample_by_opendp
from enclave_sim.privacy.vector_sampling import sample_vector

SIGMAS = (2, 1000, 10**6, 10**9, 2**53)
ROUNDS = 5
OPENDP_CELLS = 2_000
VECTOR_CELLS = 100_000


def main() -> None:
    """Run and print."""
    table = Table(title="microseconds a cell", caption=f"OpenDP {OPENDP_CELLS} cells, vector {VECTOR_CELLS}")
    for heading in ("sigma", "OpenDP", "vector", "ratio", "vector, all cells"):
        table.add_column(heading, justify="right")
    for sigma in SIGMAS:
        opendp, vector = compared(sigma)
        seconds = f"{vector * VECTOR_CELLS:.3f} s"
        table.add_row(f"{sigma:,}", f"{opendp * 1e6:.2f}", f"{vector * 1e6:.3f}", f"{opendp / vector:.0f}", seconds)
    Console().print(table)


def compared(sigma: int) -> tuple[float, float]:
    """Seconds a cell of each sampler."""
    opendp, vector = [], []
    for _ in range(ROUNDS):
        opendp.append(timed(sample_by_opendp, OPENDP_CELLS, sigma))
        vector.append(timed(sample_vector, VECTOR_CELLS, sigma))
    return statistics.median(opendp), statistics.median(vector)


def timed(sample: Callable[[int, int], list[int]], cells: int, sigma: int) -> float:
    """Seconds a cell, after a short call that fills caches."""
    sample(1, sigma)
    start = time.perf_counter()
    sample(cells, sigma)
    return (time.perf_counter() - start) / cells


if __name__ == "__main__":
    main()
