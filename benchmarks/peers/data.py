"""One table that every library is asked about, and what is true of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

GROUPS = 20
LOWER, UPPER = 0.0, 100.0
ROWS_PER_UNIT = 5
SPREAD = 1.0
"""The standard deviation of the logarithm of a unit's activity: half of the rows are of the busiest fifth."""


@dataclass(frozen=True)
class Truth:
    """The exact answer, by group."""

    counts: npt.NDArray[np.float64]
    sums: npt.NDArray[np.float64]

    @property
    def averages(self) -> npt.NDArray[np.float64]:
        """What AVG would be."""
        return self.sums / self.counts


def make_table(rows: int, seed: int) -> pa.Table:
    """`rows` rows of `unit`, `group` and `value`, in no order.

    Every unit has one row at least; who has the others is drawn in proportion to a log-normal activity. Groups
    are of uneven size, 1 : 2 from the first to the last; values are normal about a mean of the group's own, cut
    to [LOWER, UPPER] and rounded to hundredths.
    """
    draw = np.random.default_rng(seed)
    units = rows // ROWS_PER_UNIT
    activity = draw.lognormal(0.0, SPREAD, units)
    extra = draw.choice(units, size=rows - units, p=activity / activity.sum())
    unit = draw.permutation(np.concatenate([np.arange(units), extra]))
    sizes = np.linspace(1.0, 2.0, GROUPS)
    group = draw.choice(GROUPS, size=rows, p=sizes / sizes.sum())
    value = np.round(np.clip(draw.normal(np.linspace(35, 65, GROUPS)[group], 20), LOWER, UPPER), 2)
    return pa.table({"unit": unit, "group": group, "value": value})


def write_table(table: pa.Table, path: Path) -> None:
    """As plain Parquet, the one format that all of them read."""
    pq.write_table(table, path)


def truth(table: pa.Table) -> Truth:
    """The exact counts and sums."""
    group, value = table["group"].to_numpy(), table["value"].to_numpy()
    return Truth(
        counts=np.bincount(group, minlength=GROUPS).astype(np.float64),
        sums=np.bincount(group, weights=value, minlength=GROUPS).astype(np.float64),
    )
