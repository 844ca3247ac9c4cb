"""When the end of a job that was charged is seen: at the next point of a time grid, so that time tells little. Pure.

The grid has steps of 50 ms up to one second and of 5 % above (design, section 4).
"""

from __future__ import annotations

import math

STEP_SECONDS = 0.05
GROWTH = 1.05
# What a computation may take: a floor, and time for each cell; from public parameters only.
FLOOR_SECONDS = 120.0
SECONDS_PER_CELL = 0.05
# Beside that, for a model that is run on every row.
MODEL_SECONDS = 1800.0


def next_point(elapsed: float) -> float:
    """The first grid point at or after `elapsed` seconds."""
    if elapsed <= 1.0:
        return math.ceil(elapsed / STEP_SECONDS - 1e-9) * STEP_SECONDS
    return float(GROWTH ** math.ceil(math.log(elapsed) / math.log(GROWTH) - 1e-9))


def deadline(cells: int) -> float:
    """Seconds after which a job of so many cells has failed."""
    return FLOOR_SECONDS + cells * SECONDS_PER_CELL
