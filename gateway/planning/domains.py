"""What is publicly known of an expression's values: a finite list, an interval, or nothing.

A domain is what the declaration and the text of the query say, never what is stored: a stored value may lie
outside. Sums clip such values to the interval, and groups leave rows with them out. NULL is in no domain.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from yingbi.api.v1.dataset_pb2 import ColumnDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_TIMESTAMP,
    ColumnType,
    Value,
)

from enclave_sim.plan import values as constants
from enclave_sim.plan.values import PythonValue

MAX_LISTED = 100_000
"""Whole numbers of an interval that are few enough to make groups by."""

MAX_MAPPED = 10_000
"""Combinations of listed operands that a function is computed for."""


@dataclass(frozen=True)
class Domain:
    """The finite list of values if there is one, else an interval (`lower` <= `upper`), one end of it, or nothing.

    A list of numbers has its smallest and largest as its interval. The ends of an interval of dates are days,
    of timestamps microseconds, since 1970-01-01. `lower == upper` is possible: a constant.
    """

    values: tuple[PythonValue, ...] | None = None
    lower: float | None = None
    upper: float | None = None
    integral: bool = False
    """Whether all values are whole numbers."""
    kind: ColumnType.ValueType = COLUMN_TYPE_INT64
    """The type of what `listed` gives of an interval."""

    def listed(self, limit: int = MAX_LISTED) -> tuple[PythonValue, ...] | None:
        """All values, when they are at most `limit`: the list, or the whole numbers of an integral interval."""
        if self.values is not None:
            return self.values if len(self.values) <= limit else None
        if not self.integral or self.lower is None or self.upper is None:
            return None
        first, last = math.ceil(self.lower), math.floor(self.upper)
        if last - first + 1 > limit:
            return None
        return tuple(_of_kind(number, self.kind) for number in range(first, last + 1))

    def bounds(self) -> tuple[float, float] | None:
        """Both ends of the interval, if there are any."""
        return None if self.lower is None or self.upper is None else (self.lower, self.upper)


_WHOLE_KINDS = (COLUMN_TYPE_INT64, COLUMN_TYPE_DATE, COLUMN_TYPE_TIMESTAMP)
TRUTH = Domain(values=(False, True), kind=COLUMN_TYPE_BOOL)


def declared(column: ColumnDeclaration) -> Domain:
    """What a declaration says of its column."""
    bounds = (column.lower, column.upper) if column.HasField("lower") and column.HasField("upper") else None
    if column.values:
        known = listing([constants.to_python(value) for value in column.values], column.type)
        if bounds is None:
            return known
        lower, upper = bounds
        return Domain(known.values, lower, upper, known.integral, column.type)
    if column.type == COLUMN_TYPE_BOOL:
        return TRUTH
    return interval(*bounds, column.type) if bounds is not None else Domain(kind=column.type)


def listing(items: Iterable[PythonValue], kind: ColumnType.ValueType) -> Domain:
    """The domain of these values, each once."""
    listed = tuple(dict.fromkeys(items))
    ends = [number for number in (number_of(item) for item in listed) if number is not None]
    if not ends:
        return Domain(values=listed, kind=kind)
    return Domain(listed, min(ends), max(ends), all(float(end).is_integer() for end in ends), kind)


def interval(lower: float | None, upper: float | None, kind: ColumnType.ValueType, *, integral: bool = False) -> Domain:
    """The domain of the values from `lower` to `upper`, where known; whole numbers for every type but float64."""
    whole = kind in _WHOLE_KINDS
    low = None if lower is None else _whole(lower, math.ceil) if whole else _finite(lower)
    high = None if upper is None else _whole(upper, math.floor) if whole else _finite(upper)
    if low is not None and high is not None and low > high:
        return Domain(kind=kind)
    return Domain(None, low, high, integral or (whole and (low is not None or high is not None)), kind)


def union(domains: Sequence[Domain], kind: ColumnType.ValueType) -> Domain:
    """What is known of a value that comes from one of several expressions of one type."""
    if all(domain.values is not None for domain in domains):
        return listing((value for domain in domains for value in domain.values or ()), kind)
    some = [domain for domain in domains if domain.values != ()]
    lower = least([domain.lower for domain in some])
    upper = greatest([domain.upper for domain in some])
    return interval(lower, upper, kind, integral=all(domain.integral for domain in some))


def least(ends: Sequence[float | None]) -> float | None:
    """The smallest end; None when one of them is not known."""
    known = [end for end in ends if end is not None]
    return min(known) if known and len(known) == len(ends) else None


def greatest(ends: Sequence[float | None]) -> float | None:
    """The largest end; None when one of them is not known."""
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def mapped(
    function: Callable[..., PythonValue | None], domains: Sequence[Domain], kind: ColumnType.ValueType, *, limit: int
) -> Domain | None:
    """The results for all combinations of listed operands; None when the operands are no short lists."""
    lists = [domain.listed(limit) for domain in domains]
    if any(items is None for items in lists) or math.prod(len(items or ()) for items in lists) > MAX_MAPPED:
        return None
    results = (function(*operands) for operands in product(*(items or () for items in lists)))
    return listing((result for result in results if result is not None), kind)


def narrowed(domain: Domain, lower: float | None, upper: float | None) -> Domain:
    """What is left of a domain between two ends, which belong to it; all of it when nothing would be left."""
    if domain.values is not None:
        kept = [item for item in domain.values if _between(number_of(item), lower, upper)]
        return listing(kept, domain.kind) if kept else domain
    lows = [end for end in (lower, domain.lower) if end is not None]
    highs = [end for end in (upper, domain.upper) if end is not None]
    low, high = max(lows, default=None), min(highs, default=None)
    if low is not None and high is not None and low > high:
        return domain
    return interval(low, high, domain.kind, integral=domain.integral)


def chosen(domain: Domain, items: Sequence[PythonValue]) -> Domain:
    """What is left of a domain when only these values remain; all of it when nothing would be left."""
    kept = list(items)
    if domain.values is not None:
        kept = [item for item in domain.values if item in set(items)]
    elif domain.lower is not None or domain.upper is not None:
        kept = [item for item in items if _between(number_of(item), domain.lower, domain.upper)]
    return listing(kept, domain.kind) if kept else domain


def number_of(item: PythonValue) -> float | None:
    """Where a value stands on its type's axis; None for a truth value or a string."""
    match item:
        case bool() | str():
            return None
        case int() | float():
            return item
        case datetime.datetime():
            return constants.from_python(item).timestamp_micros
        case datetime.date():
            return constants.from_python(item).date_days


def _between(number: float | None, lower: float | None, upper: float | None) -> bool:
    return number is not None and (lower is None or lower <= number) and (upper is None or number <= upper)


def _of_kind(number: int, kind: ColumnType.ValueType) -> PythonValue:
    if kind == COLUMN_TYPE_FLOAT64:
        return float(number)
    if kind == COLUMN_TYPE_DATE:
        return constants.to_python(Value(date_days=number))
    if kind == COLUMN_TYPE_TIMESTAMP:
        return constants.to_python(Value(timestamp_micros=number))
    return number


def _whole(end: float, rounded: Callable[[float], int]) -> int:
    return rounded(max(min(end, constants.MAX_INT64), constants.MIN_INT64))


def _finite(end: float) -> float:
    largest = 1.7976931348623157e308
    return float(max(min(end, largest), -largest))
