"""From a statistic's term to the grid: the last operation on a value before it is added up."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import BoundedSum, RangeCounts

from enclave_sim.engine.scratch import Scratch
from enclave_sim.privacy.clipping import Integers

Floats: TypeAlias = NDArray[np.float64]

_scratch = Scratch()
_SMALL = 2.0**-900


def steps(statistic: BoundedSum, term: Floats, fraction_bits: int) -> Floats:
    """Each row's term in grid steps: whole numbers within ±2^fraction_bits, 0 where there is none (NaN).

    floor((clip(x) - centre) / half_range · 2^f + 1/2). An int64 may have been rounded to a double before it is
    clipped: rounding keeps order and the bounds are doubles, so the result is the same as clipping first.

    The result is in memory that this thread's next call uses again.
    """
    top = float(1 << fraction_bits)
    result = _clip(term, statistic.lower, statistic.upper)
    result -= statistic.centre
    divisor, factor = scale_of(statistic, fraction_bits)
    result /= divisor
    if factor != 1:
        result *= factor
    result += 0.5
    np.floor(result, out=result)
    _keep_within(result, top)
    return result


def scale_of(statistic: BoundedSum, fraction_bits: int) -> tuple[float, float]:
    """What a term less its centre is divided by, and then multiplied by, to be in grid steps."""
    top = float(1 << fraction_bits)
    if statistic.half_range > _SMALL:
        # The same doubles in one step: a power of two scales exactly; what that makes of a ratio too small to be
        # a normal double is lost in the 1/2 that is added.
        return statistic.half_range / top, 1.0
    return statistic.half_range, top


def leaves(statistic: RangeCounts, term: Floats) -> Integers:
    """The leaf that each row's term lies in; any for NaN.

    min(floor((clip(x) - lower) / (upper - lower) · leaves), leaves - 1), rounded after each step.
    """
    count = statistic.branching**statistic.levels
    result = _clip(term, statistic.lower, statistic.upper, np.fmax)
    result -= statistic.lower
    result /= statistic.upper - statistic.lower
    result *= count
    np.floor(result, out=result)
    np.minimum(result, count - 1, out=result)
    return result.astype(np.int64)


def _clip(term: Floats, lower: float, upper: float, larger: np.ufunc = np.maximum) -> Floats:
    result: Floats = _scratch.array("term", len(term), np.float64)
    larger(term, lower, out=result)
    np.minimum(result, upper, out=result)
    return result


def _keep_within(result: Floats, top: float) -> None:
    """0 for NaN, and nothing beyond ±top: half_range covers both bounds, or the plan would have been refused."""
    # NaN is the least and greatest of all that it is among, and not within.
    if len(result) and not (-top <= result.min() <= result.max() <= top):
        np.nan_to_num(result, copy=False, nan=0.0)
        np.clip(result, -top, top, out=result)
