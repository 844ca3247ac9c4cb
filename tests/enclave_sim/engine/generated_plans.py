"""Invented tables and plans over them: all types, odd values, every node of the language."""

import datetime
import math
from dataclasses import dataclass
from fractions import Fraction

import pyarrow as pa
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import Expression, GroupKey, Plan, Statistic

from enclave_sim.plan.values import PythonValue
from enclave_sim.sealed.schema import ARROW_TYPES, UNIT_COLUMN

from .drawn import (
    DISTINCT_UNITS,
    OPERATORS,
    ROW_COUNT,
    all_of,
    any_of,
    bounded_sum,
    column,
    column_type,
    compare,
    is_null,
    key,
    literal,
    negated,
    non_null,
    one_of,
    plan,
)

# Few values of each type, so that rows agree with constants often; the odd ones among them.
VALUES: dict[str, list[PythonValue]] = {
    "b:bool": [False, True],
    "i:int64": [-(2**63), -(2**53) - 1, -1, 0, 1, 2, 7, 2**53 + 1, 2**63 - 1],
    "j:int64": [0, 1, 2, 3],
    "x:float64": [-math.inf, -1.7e308, -1.5, -0.0, 0.0, 5e-324, 0.1, 0.5, 1.0, 3.25, 1e16, math.inf],
    "y:float64": [-1.0, 0.3, 2.5, 299.99],
    "s:string": ["", "a", "A", "b'", '"', "$p0", "影壁", "\uffee", "😀", "a\0"],
    "d:date": [
        datetime.date(1, 1, 1),
        datetime.date(1969, 12, 31),
        datetime.date(1970, 1, 1),
        datetime.date(9999, 12, 31),
    ],
    "t:timestamp": [
        datetime.datetime(1, 1, 1),
        datetime.datetime(1969, 12, 31, 23, 59, 59, 999999),
        datetime.datetime(2020, 2, 29, 1, 2, 3),
    ],
}
NUMERIC = [title for title in VALUES if title.endswith(("int64", "float64"))]
KEYS = [title for title in VALUES if not title.endswith("float64")]


@dataclass(frozen=True)
class Case:
    """A plan and the rows to run it on."""

    asked: Plan
    table: pa.Table


def _stored(title: str) -> st.SearchStrategy[PythonValue | None]:
    odd: list[PythonValue | None] = [None, math.nan] if title.endswith("float64") else [None]
    return st.sampled_from(VALUES[title] + odd)


@st.composite
def tables(draw: st.DrawFn, sizes: tuple[int, ...] = (0, 1, 6, 12), units: int = 6) -> pa.Table:
    """As many rows as one of `sizes` says, of up to `units` units."""
    size = draw(st.sampled_from(sizes))
    owners = sorted(draw(st.lists(st.integers(0, units - 1), min_size=size, max_size=size)))
    columns = {UNIT_COLUMN: pa.array(owners, pa.int64())}
    for title in VALUES:
        name, kind = title.split(":")
        stored = draw(st.lists(_stored(title), min_size=size, max_size=size))
        columns[name] = pa.array(stored, ARROW_TYPES[column_type(kind)])
    return pa.table(columns)


@st.composite
def _comparisons(draw: st.DrawFn) -> Expression:
    title = draw(st.sampled_from(list(VALUES)))
    alike = [other for other in VALUES if other.split(":")[1] == title.split(":")[1]]
    right = draw(st.one_of(st.sampled_from(VALUES[title]).map(literal), st.sampled_from(alike).map(column)))
    return compare(title, draw(st.sampled_from(list(OPERATORS))), right)


@st.composite
def _memberships(draw: st.DrawFn) -> Expression:
    title = draw(st.sampled_from(list(VALUES)))
    return one_of(title, *draw(st.lists(st.sampled_from(VALUES[title]), min_size=1, max_size=4)))


def filters() -> st.SearchStrategy[Expression]:
    leaves = st.one_of(
        _comparisons(),
        _memberships(),
        st.sampled_from(list(VALUES)).map(is_null),
        st.sampled_from([literal(True), literal(False), column("b:bool")]),
    )
    return st.recursive(
        leaves,
        lambda below: st.one_of(
            below.map(negated),
            st.lists(below, min_size=1, max_size=3).map(lambda operands: all_of(*operands)),
            st.lists(below, min_size=1, max_size=3).map(lambda operands: any_of(*operands)),
        ),
        max_leaves=6,
    )


@st.composite
def _bounded_sums(draw: st.DrawFn) -> Statistic:
    title = draw(st.sampled_from(NUMERIC))
    bounds = st.one_of(
        st.sampled_from([-8000.0, -1.0, 0.0, 0.1, 1.0, 300.0, 1e300]),
        st.floats(-1e300, 1e300, allow_nan=False),
    )
    lower, upper = sorted(draw(st.lists(bounds, min_size=2, max_size=2, unique=True)))
    centre = draw(st.sampled_from([0.0, lower / 2 + upper / 2]))
    return bounded_sum(title, lower, upper, centre, _half_range(lower, upper, centre))


def _half_range(lower: float, upper: float, centre: float) -> float:
    """The least double that covers both bounds from the centre."""
    needed = max(abs(Fraction(lower) - Fraction(centre)), abs(Fraction(upper) - Fraction(centre)))
    half_range = float(needed)
    return half_range if Fraction(half_range) >= needed else math.nextafter(half_range, math.inf)


def _statistics() -> st.SearchStrategy[Statistic]:
    return st.one_of(
        st.just(ROW_COUNT),
        st.just(DISTINCT_UNITS),
        st.sampled_from(list(VALUES)).map(non_null),
        _bounded_sums(),
    )


@st.composite
def _keys(draw: st.DrawFn) -> list[GroupKey]:
    titles = draw(st.lists(st.sampled_from(KEYS), max_size=2, unique=True))
    return [key(title, *draw(_declared(title))) for title in titles]


def _declared(title: str) -> st.SearchStrategy[list[PythonValue]]:
    """All values, as is usual, or a few in any order."""
    few = st.lists(st.sampled_from(VALUES[title]), min_size=1, max_size=4, unique=True)
    return st.one_of(st.just(VALUES[title]), few)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    return plan(
        *draw(st.lists(_statistics(), min_size=1, max_size=4)),
        where=draw(st.one_of(st.none(), filters())),
        by=draw(_keys()),
        max_rows=draw(st.integers(1, 12)),
        max_groups=draw(st.integers(1, 4)),
        fraction_bits=draw(st.sampled_from([0, 3, 16])),
    )


@st.composite
def _tight_plans(draw: st.DrawFn) -> Plan:
    """Every kind of statistic over all values of one key, and bounds that a unit with many rows exceeds."""
    title = draw(st.sampled_from(KEYS))
    return plan(
        ROW_COUNT,
        DISTINCT_UNITS,
        draw(st.sampled_from(list(VALUES)).map(non_null)),
        draw(_bounded_sums()),
        by=[key(title, *VALUES[title])],
        max_rows=draw(st.integers(1, 3)),
        max_groups=1,
        fraction_bits=draw(st.sampled_from([3, 16])),
    )


def cases() -> st.SearchStrategy[Case]:
    """Anything."""
    return st.builds(Case, plans(), tables())


def tight_cases() -> st.SearchStrategy[Case]:
    """Two units that exceed the bounds, so that what is not clipped breaks a claim."""
    return st.builds(Case, _tight_plans(), tables((12,), units=2))
