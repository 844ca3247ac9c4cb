"""Invented plans, with tables to run them on: every statistic over every relation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import GroupingSet, GroupKey, Plan, Statistic, UnitNorms, Value

from enclave_sim.engine.plan_reading import scalar, value_type
from enclave_sim.engine.reference_expressions import evaluate
from enclave_sim.plan.sensitivity import JOINABLE
from enclave_sim.plan.values import TYPE_NAMES, from_python, is_valid
from enclave_sim.sealed.schema import ARROW_TYPES, UNIT_COLUMN

from .drawn import DISTINCT_UNITS, ROW_COUNT, agrees, bounded_sum, counted, key, non_null, plan, range_counts
from .expressions import column_type
from .generated_expressions import CONSTANTS, KINDS, NUMERIC, conditions, every_kind, expressions
from .generated_relations import TABLES, Made, Making, relations, tables
from .relations import VISITS

_BOUNDS = st.one_of(
    st.sampled_from([-8000.0, -1.0, 0.0, 0.1, 1.0, 7.0, 300.0, 1e300]),
    st.floats(-1e300, 1e300, allow_nan=False),
)


@dataclass(frozen=True)
class Case:
    """A plan and the rows to run it on."""

    asked: Plan
    tables: dict[str, pa.Table]


@st.composite
def intervals(draw: st.DrawFn) -> tuple[float, float]:
    lower, upper = sorted(draw(st.lists(_BOUNDS, min_size=2, max_size=2, unique=True)))
    return lower, upper


@st.composite
def _bounded_sums(draw: st.DrawFn, columns: tuple[str, ...]) -> Statistic:
    lower, upper = draw(intervals())
    centre = draw(st.sampled_from([0.0, lower / 2 + upper / 2]))
    term = draw(expressions(columns, draw(st.sampled_from(NUMERIC))))
    return bounded_sum(term, lower, upper, centre, half_range_of(lower, upper, centre))


def half_range_of(lower: float, upper: float, centre: float) -> float:
    """The least double that covers both bounds from the centre."""
    needed = max(abs(Fraction(lower) - Fraction(centre)), abs(Fraction(upper) - Fraction(centre)))
    half_range = float(needed)
    return half_range if Fraction(half_range) >= needed else math.nextafter(half_range, math.inf)


@st.composite
def _range_counts(draw: st.DrawFn, columns: tuple[str, ...]) -> Statistic:
    lower, upper = draw(intervals())
    term = draw(expressions(columns, draw(st.sampled_from(NUMERIC))))
    return range_counts(term, lower, upper, draw(st.integers(2, 5)), draw(st.integers(1, 3)))


@st.composite
def _statistics(draw: st.DrawFn, columns: tuple[str, ...]) -> Statistic:
    statistic = draw(
        st.one_of(
            st.just(ROW_COUNT),
            st.just(DISTINCT_UNITS),
            st.sampled_from(KINDS).flatmap(lambda kind: expressions(columns, kind)).map(non_null),
            _bounded_sums(columns),
            _range_counts(columns),
        )
    )
    return counted(statistic, draw(conditions(columns))) if draw(st.integers(0, 3)) == 3 else statistic


@st.composite
def _perhaps_marginal(draw: st.DrawFn, statistic: Statistic, keys: int) -> Statistic:
    """The statistic, or the same by some of the keys."""
    chosen = sorted(draw(st.sets(st.integers(0, keys - 1)))) if keys else []
    if not _is_joinable(statistic) or len(chosen) == keys:
        return statistic
    found = Statistic(marginal=GroupingSet(keys=chosen))
    found.MergeFrom(statistic)
    return found


@st.composite
def _keys(draw: st.DrawFn, made: Made) -> GroupKey:
    """A key with values that rows have, as they are computed, or constants in any order."""
    kind = draw(st.sampled_from(KINDS))
    expression = draw(expressions(made.columns, kind))
    computed: set[Any] = {evaluate(expression, row) for own in made.rows.of_units.values() for row in own} - {None}
    found = [value for value in (_value(kind, value) for value in sorted(computed)) if is_valid(value)]
    constants = [from_python(value) for value in CONSTANTS[kind]]
    some = st.lists(st.sampled_from(constants), min_size=1, max_size=4, unique_by=scalar)
    return key(expression, *draw(st.one_of(st.just(found), st.just(found), some) if found else some))


def _value(kind: str, value: Any) -> Value:
    match kind:
        case "date":
            return Value(date_days=value)
        case "timestamp":
            return Value(timestamp_micros=value)
        case _:
            return from_python(value)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Anything."""
    rows = draw(tables())
    made = draw(relations(Making(rows)))
    by = draw(st.lists(_keys(made), max_size=2))
    joint_norm = draw(st.one_of(st.just(0), st.integers(1, 200)))
    statistics = draw(st.lists(_statistics(made.columns), min_size=1, max_size=3))
    asked = plan(
        *(statistics if joint_norm else [draw(_perhaps_marginal(each, len(by))) for each in statistics]),
        over=made.relation,
        by=by,
        max_rows=draw(st.integers(1, 12)),
        max_groups=draw(st.integers(1, 4)),
        joint_norm=joint_norm,
        fraction_bits=draw(st.sampled_from([0, 3, 16])),
    )
    return Case(asked, rows)


@st.composite
def norm_cases(draw: st.DrawFn) -> Case:
    """Norms of rows, or of the vector of some statistics."""
    rows = draw(tables())
    made = draw(relations(Making(rows)))
    vector = draw(st.lists(_statistics(made.columns).filter(_is_joinable), max_size=3))
    keys = [key.expression for key in draw(st.lists(_keys(made), max_size=2))]
    edges = sorted(draw(st.sets(st.integers(1, 120), min_size=1, max_size=6)))
    norms = Statistic(unit_norms=UnitNorms(keys=keys, edges=edges, vector=vector))
    return Case(plan(norms, over=made.relation, fraction_bits=draw(st.sampled_from([0, 3, 16]))), rows)


def _is_joinable(statistic: Statistic) -> bool:
    return statistic.WhichOneof("kind") in JOINABLE


@st.composite
def _tight_plans(draw: st.DrawFn) -> Plan:
    """Every kind of statistic over all values of one key, and bounds that a unit with many rows exceeds."""
    title = draw(st.sampled_from(TABLES["visits"]))
    columns = tuple(TABLES["visits"])
    return plan(
        ROW_COUNT,
        DISTINCT_UNITS,
        draw(st.sampled_from(columns).map(non_null)),
        draw(_bounded_sums(columns)),
        draw(_range_counts(columns)),
        counted(DISTINCT_UNITS, draw(conditions(columns))),
        over=VISITS,
        by=[key(title, *CONSTANTS[title.split(":")[1]])],
        max_rows=draw(st.integers(1, 3)),
        max_groups=1,
        joint_norm=draw(st.one_of(st.just(0), st.integers(1, 40))),
        fraction_bits=draw(st.sampled_from([3, 16])),
    )


def tight_cases() -> st.SearchStrategy[Case]:
    """Two units that exceed the bounds, so that what is not clipped breaks a claim."""
    return st.builds(Case, _tight_plans(), tables((12,), units=2))


@st.composite
def computations(draw: st.DrawFn) -> Case:
    """Expressions, one a statistic, which counts the rows where the value is the reference's: all of them."""
    rows = draw(tables((12,)))
    making = Making(rows)
    found = making.made(VISITS, TABLES["visits"])
    columns, statistics = rows["visits"], []
    for expression in draw(st.lists(every_kind(found.columns, depth=2), min_size=1, max_size=8)):
        kind = TYPE_NAMES[value_type(expression)]
        title = making.title(kind)
        expected = [evaluate(expression, row) for own in found.rows.of_units.values() for row in own]
        columns = columns.append_column(title.split(":")[0], pa.array(expected, ARROW_TYPES[column_type(kind)]))
        statistics.append(counted(ROW_COUNT, agrees(expression, title)))
    return Case(plan(*statistics), {"visits": columns})


def declaration(tables: Mapping[str, pa.Table]) -> DatasetDeclaration:
    """What a provider of the tables would declare, as far as relations and statistics are concerned."""
    kinds = {stored: kind for kind, stored in ARROW_TYPES.items()}
    return DatasetDeclaration(
        tables=[
            TableDeclaration(
                name=name,
                columns=[
                    ColumnDeclaration(name=field.name, type=kinds[field.type], role=ColumnDeclaration.ROLE_ATTRIBUTE)
                    for field in table.schema
                    if field.name != UNIT_COLUMN
                ],
            )
            for name, table in tables.items()
        ]
    )
