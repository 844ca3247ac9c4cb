"""Clipping in exact integers: every privacy unit's vector is cut to a norm that is known in advance.

The input is the table of (unit, group) pairs: one entry for each group that a unit touches after the
filter, entries of one unit adjacent, *each pair at most once*. Values are fixed point, f fraction bits,
and every row's value is within ±1 (±2^f on the grid), so an entry of m rows has |v| <= m·2^f.

**Weighted clipping.** Let s = ⌈√(Σ_g m_g²)⌉ over the groups of one unit. If s <= C the unit is left
alone: its L2 norm is at most √(Σ (m_g·2^f)²) <= s·2^f <= C·2^f. Otherwise each v becomes v·C/s rounded
*towards zero*, so |v'| <= |v|·C/s, and the norm is at most (C/s)·2^f·√(Σ m_g²) <= C·2^f. The weight
depends on the rows of this unit alone, so taking a unit out changes no other unit's entries, and the sum
over units moves by exactly that unit's vector: L2 sensitivity C·2^f for each statistic. All that this uses is
‖v‖ <= s·2^f before weighting; so it holds as well for several values a group, as the counts of rows by range
(`unit_norms`, `weigh_down`), as long as their norm in a group is at most m_g·2^f.

**Joint clipping.** Several statistics may be one vector v, a cell for each (statistic, group). In sixteenths of a
row let q = ⌈16·|v| / 2^f⌉ in each cell and s = ⌈√(Σ q²)⌉ over all cells of the unit: then ‖v‖ <= s·2^f / 16. If
s <= J the unit is left alone, else each v becomes v·J/s rounded towards zero; either way the norm of the whole
vector is at most J·2^f / 16, by the same two steps as above. Sums of values near the middle of their range are
short beside the counts, so one vector costs less than its parts, each clipped for the worst case.

**Clipped indicators** (counting distinct units). A unit that touches t groups has 2^f in each: norm²
t·2^2f. If t > B each becomes ⌊√(2^2f·B/t)⌋, so norm² is at most t·(2^2f·B/t) = B·2^2f.

Ranges keep every intermediate below 2^63 (so int64 never wraps) and every number under a square root
up to 2^62 (so the float estimate is off by one at most, and is corrected): fewer than 2^24 rows a unit,
f <= 16, C and B <= 2^20, J <= 2^22, and at most 64 statistics: Σ q² <= 64·(16·2^24)². An error here
depends on the data, so it must be impossible by then: preparation and the plan's checks keep the same
limits, and what is raised here is the last line, not a message to anyone.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Integers: TypeAlias = NDArray[np.int64]

MAX_UNIT_ROWS = 2**24 - 1
MAX_FRACTION_BITS = 16
MAX_BOUND = 2**20
MAX_JOINT_NORM = 2**22
SIXTEENTHS = 16
"""Of a row: what norms of joint vectors are counted in."""
_MAX_JOINT = 2**31
"""No unit's joint norm is larger: √64 statistics of 16·2^24."""
_ROOT_LIMIT = 2**62


class ClippingRangeError(OverflowError):
    """An argument is outside the range for which the arithmetic is exact."""


class ClippingInputError(ValueError):
    """The table is not what it has to be; the norm could not be claimed."""


def clip_weighted(
    unit_codes: Integers, row_counts: Integers, values: Integers, bound: int, fraction_bits: int
) -> Integers:
    """One statistic's values, scaled down so that each unit's L2 norm is at most bound·2^fraction_bits.

    Args:
        unit_codes: k codes, non-decreasing.
        row_counts: k counts >= 1, below 2^24 in total for each unit.
        values: k fixed-point values, |value| <= row count · 2^fraction_bits.
        bound: C, from 1 to 2^20: in rows.
        fraction_bits: f, from 0 to 16.

    Returns:
        k new values; those of units within the bound are unchanged.

    Raises:
        ClippingRangeError: bound, fraction_bits, or a unit's rows are out of range.
        ClippingInputError: not int64, unsorted units, counts below 1, values out of bounds, unequal lengths.
    """
    _check_parameters(bound, fraction_bits)
    norms = unit_norms(unit_codes, row_counts)
    _check_values(values, row_counts, fraction_bits)
    return weigh_down(values, norms, bound)


def unit_norms(unit_codes: Integers, row_counts: Integers) -> Integers:
    """s = ⌈√(Σ_g m_g²)⌉ of each entry's unit; arguments and errors as in `clip_weighted`."""
    starts, lengths = _runs(unit_codes)
    _check_rows(row_counts, starts, len(unit_codes))
    if not len(row_counts):
        return row_counts.copy()
    return np.repeat(ceil_isqrt(np.add.reduceat(row_counts * row_counts, starts)), lengths)


def weigh_down(values: Integers, norms: Integers, bound: int) -> Integers:
    """Each value times bound/norm, rounded towards zero, where its norm is above the bound.

    For values that are not one for each (unit, group), as the nodes of range counts. The caller answers for
    the claim: the values of each unit, of one statistic (and level), have an L2 norm of at most its norm·2^f.

    Args:
        norms: as from `unit_norms`, that of each value's unit.
        bound: C, from 1 to 2^20: in rows.

    Raises:
        ClippingRangeError: bound or a norm above it is out of range.
        ClippingInputError: not int64, unequal lengths, or a value above the bound that alone breaks the claim.
    """
    _check_parameters(bound, 0)
    for column in (values, norms):
        _check_dtype(column)
    if len(values) != len(norms):
        raise ClippingInputError(f"{len(norms)} norms for {len(values)} values")
    over = norms > bound
    if not over.any():
        return values.copy()
    if int(norms.max()) > MAX_UNIT_ROWS:
        raise ClippingRangeError(f"a unit may have at most {MAX_UNIT_ROWS} rows")
    _check_values(values[over], norms[over], MAX_FRACTION_BITS)
    weighed = values.copy()
    # `//` rounds down; on magnitudes that is towards zero.
    magnitudes = np.abs(values[over]) * bound // norms[over]
    weighed[over] = np.where(values[over] < 0, -magnitudes, magnitudes)
    return weighed


def sixteenths(values: Integers, fraction_bits: int) -> Integers:
    """⌈16·|v| / 2^f⌉ of each fixed-point value of at most 2^24 rows."""
    scaled = np.abs(values) * SIXTEENTHS
    return -(-scaled >> fraction_bits)


def weigh_down_jointly(values: Integers, norms: Integers, bound: int, fraction_bits: int) -> Integers:
    """Each value times bound/norm, rounded towards zero, where its norm is above the bound.

    The caller answers for the claim: the values of each unit, of all statistics of the joint vector, have an L2
    norm of at most its norm·2^fraction_bits / 16.

    Args:
        norms: s of each value's unit, in sixteenths of a row.
        bound: J, from 1 to 2^22, in sixteenths of a row.

    Raises:
        ClippingRangeError: the bound or a norm is out of range.
        ClippingInputError: not int64, unequal lengths, or a value that alone breaks the claim.
    """
    if not 1 <= bound <= MAX_JOINT_NORM:
        raise ClippingRangeError(f"the joint norm must be from 1 to {MAX_JOINT_NORM}, not {bound}")
    _check_parameters(1, fraction_bits)
    for column in (values, norms):
        _check_dtype(column)
    if len(values) != len(norms):
        raise ClippingInputError(f"{len(norms)} norms for {len(values)} values")
    if not len(values):
        return values.copy()
    if int(norms.max()) > _MAX_JOINT:
        raise ClippingRangeError("a unit may have at most 64 statistics of 2^24 rows")
    if (values > MAX_UNIT_ROWS << fraction_bits).any() or (values < -(MAX_UNIT_ROWS << fraction_bits)).any():
        raise ClippingRangeError(f"a unit may have at most {MAX_UNIT_ROWS} rows")
    if (sixteenths(values, fraction_bits) > norms).any():
        raise ClippingInputError("a value is beyond its unit's norm")
    magnitudes = np.abs(values) * bound // np.maximum(norms, bound)
    return np.where(values < 0, -magnitudes, magnitudes)


def clip_indicator(unit_codes: Integers, bound: int, fraction_bits: int) -> Integers:
    """What each unit adds to the groups it touches, with squared L2 norm at most bound·4^fraction_bits.

    Args:
        unit_codes: k codes, non-decreasing; each unit in fewer than 2^24 groups.
        bound: B, from 1 to 2^20: groups that a unit touches at full weight.
        fraction_bits: f, from 0 to 16.

    Raises:
        ClippingRangeError: bound or fraction_bits is out of range.
        ClippingInputError: units are not int64 or not sorted.
    """
    _, lengths = _runs(unit_codes)
    return np.repeat(indicator_weights(lengths, bound, fraction_bits), lengths)


def indicator_weights(touched: Integers, bound: int, fraction_bits: int) -> Integers:
    """The same by unit: what one that touches so many groups, fewer than 2^24, adds to each of them.

    Raises:
        ClippingRangeError: bound or fraction_bits is out of range.
        ClippingInputError: not int64, or a negative number.
    """
    _check_parameters(bound, fraction_bits)
    _check_dtype(touched)
    if len(touched) and int(touched.min()) < 0:
        raise ClippingInputError("a unit touches no negative number of groups")
    # One that touches none adds to none, whatever its weight.
    squared = np.int64(bound << (2 * fraction_bits)) // np.maximum(touched, 1)
    # Within the bound the weight is 2^f and not more.
    return np.where(touched <= bound, np.int64(1 << fraction_bits), _floor_isqrt(squared))


def ceil_isqrt(squares: Integers) -> Integers:
    """⌈√x⌉ of each x, exactly.

    Raises:
        ClippingRangeError: an x is negative or above 2^62.
    """
    roots = _floor_isqrt(squares)
    return roots + (roots * roots < squares)


def _floor_isqrt(squares: Integers) -> Integers:
    if len(squares) and not 0 <= int(squares.min()) <= int(squares.max()) <= _ROOT_LIMIT:
        raise ClippingRangeError("square roots are exact from 0 to 2^62 only")
    # A float of x errs by x·2^-53 at most, so its root by 2^31·2^-54, and np.sqrt by half an ulp, 2^-23: the
    # integer below is off by one at most, and both neighbours are checked.
    roots = np.sqrt(squares).astype(np.int64)
    roots -= roots * roots > squares
    roots += (roots + 1) * (roots + 1) <= squares
    return roots


def _runs(unit_codes: Integers) -> tuple[Integers, Integers]:
    """Where each unit's entries start, and how many there are."""
    _check_dtype(unit_codes)
    if (unit_codes[1:] < unit_codes[:-1]).any():
        raise ClippingInputError("entries must be sorted by unit")
    is_start = np.ones(len(unit_codes), dtype=np.bool_)
    is_start[1:] = unit_codes[1:] != unit_codes[:-1]
    starts = np.flatnonzero(is_start).astype(np.int64)
    return starts, np.diff(starts, append=np.int64(len(unit_codes)))


def _check_parameters(bound: int, fraction_bits: int) -> None:
    if not 1 <= bound <= MAX_BOUND:
        raise ClippingRangeError(f"the bound must be from 1 to {MAX_BOUND}, not {bound}")
    if not 0 <= fraction_bits <= MAX_FRACTION_BITS:
        raise ClippingRangeError(f"fraction bits must be from 0 to {MAX_FRACTION_BITS}, not {fraction_bits}")


def _check_dtype(column: Integers) -> None:
    # A type checker does not see what a data frame holds; in floats nothing here would be exact.
    if column.dtype != np.int64 or column.ndim != 1:
        raise ClippingInputError(f"a column must be one-dimensional int64, not {column.dtype}")


def _check_rows(row_counts: Integers, starts: Integers, entries: int) -> None:
    _check_dtype(row_counts)
    if len(row_counts) != entries:
        raise ClippingInputError(f"{len(row_counts)} row counts for {entries} entries")
    if not entries:
        return
    if int(row_counts.min()) < 1:
        raise ClippingInputError("an entry must count at least one row")
    # The largest first: after that no sum of a unit's counts can wrap.
    if int(row_counts.max()) > MAX_UNIT_ROWS or int(np.add.reduceat(row_counts, starts).max()) > MAX_UNIT_ROWS:
        raise ClippingRangeError(f"a unit may have at most {MAX_UNIT_ROWS} rows")


def _check_values(values: Integers, row_counts: Integers, fraction_bits: int) -> None:
    _check_dtype(values)
    if len(values) != len(row_counts):
        raise ClippingInputError(f"{len(values)} values for {len(row_counts)} entries")
    limits = row_counts << fraction_bits
    # Not by np.abs, which leaves the smallest int64 negative.
    if ((values > limits) | (values < -limits)).any():
        raise ClippingInputError("a value is beyond its row count times 2^fraction_bits")
