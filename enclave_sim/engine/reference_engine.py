"""The reference engine: the meaning of a plan in plain Python. Slow and obviously right; for tests.

No numpy, no SQL, one row after another; all it shares with the other engines is reading the plan. What the
parts of a plan mean is in `reference_relations`, `reference_expressions` and `reference_functions`; here are
groups, statistics and clipping.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from yingbi.api.v1.plan_pb2 import BoundedSum, Clipping, Plan, RangeCounts, Statistic, UnitNorms

from enclave_sim.engine.plan_reading import key_question, scalar, tables_read, unit_keys_of
from enclave_sim.engine.protocol import Cancelled, EngineError, OpenTable, UnitKeys, never
from enclave_sim.engine.reference_expressions import Row, evaluate
from enclave_sim.engine.reference_models import unit_vector
from enclave_sim.engine.reference_relations import rows_of, stored
from enclave_sim.plan.sensitivity import cells_of, is_joint, width

_Cells: TypeAlias = dict[tuple[int, int], int]
"""What one unit has of one statistic, by group and cell within the group."""


@dataclass
class _Unit:
    """One unit's rows in each of a statistic's groups, and its cells of each statistic before clipping."""

    rows: dict[int, dict[int, int]] = field(default_factory=dict)
    cells: dict[int, _Cells] = field(default_factory=dict)
    # For unit_norms: rows by the values of the statistic's keys, or their vector's cells, in grid steps.
    combinations: dict[int, dict[tuple[object, ...], list[int]]] = field(default_factory=dict)
    # For model_vector: each row's terms.
    terms: dict[int, list[list[Any]]] = field(default_factory=dict)


class ReferenceEngine:
    """An `Engine`."""

    def contribution(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = never) -> list[int]:
        """See `Engine`. `cancelled` is asked first, and before every row of the relation."""
        if cancelled():
            raise Cancelled
        tables = {name: stored(name, list(types), open_table) for name, types in tables_read(plan, open_table).items()}
        vectors = [[0] * cells_of(plan, statistic) for statistic in plan.statistics]
        for rows in rows_of(plan.relation, tables).of_units.values():
            unit = _Unit()
            for row in rows:
                if cancelled():
                    raise Cancelled
                _add(plan, row, unit)
            for position, combinations in unit.combinations.items():
                norms = plan.statistics[position].unit_norms
                vectors[position][_norm_cell(norms, combinations, plan.fraction_bits)] += 1 << plan.fraction_bits
            for position, terms in unit.terms.items():
                own = unit_vector(plan.statistics[position].model_vector, terms, plan.fraction_bits)
                vectors[position] = [before + part for before, part in zip(vectors[position], own, strict=True)]
            joint = _joint_norm(plan, unit)
            for position, statistic in enumerate(plan.statistics):
                cells = unit.cells.get(position, {})
                if is_joint(plan, statistic):
                    clipped = _weighed(cells, plan.clipping.joint_norm, joint)
                else:
                    rows_by_group = unit.rows.get(position, {})
                    clipped = _clip(statistic, cells, rows_by_group, plan.clipping, plan.fraction_bits)
                for (group, node), value in clipped.items():
                    vectors[position][group * width(statistic) + node] += value
        return [value for vector in vectors for value in vector]

    def unit_keys(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = never) -> UnitKeys:
        """See `Engine`."""
        if cancelled():
            raise Cancelled
        asked = key_question(plan)
        tables = {name: stored(name, list(types), open_table) for name, types in tables_read(asked, open_table).items()}
        pairs = [
            (unit, tuple(evaluate(key.expression, row) for key in asked.group_by))
            for unit, rows in rows_of(asked.relation, tables).of_units.items()
            for row in rows
        ]
        return unit_keys_of([unit for unit, _ in pairs], [key for _, key in pairs])


def _add(plan: Plan, row: Row, unit: _Unit) -> None:
    places = _places(plan, row)
    if places is None:
        return
    for position, statistic in enumerate(plan.statistics):
        group = _group(plan, statistic, places)
        rows = unit.rows.setdefault(position, {})
        rows[group] = rows.get(group, 0) + 1
        if statistic.HasField("filter") and evaluate(statistic.filter, row) is not True:
            continue
        if statistic.HasField("unit_norms"):
            _add_combination(statistic.unit_norms, row, unit.combinations.setdefault(position, {}), plan.fraction_bits)
            continue
        if statistic.HasField("model_vector"):
            terms = [evaluate(term, row) for term in statistic.model_vector.terms]
            unit.terms.setdefault(position, []).append(terms)
            continue
        cells = unit.cells.setdefault(position, {})
        for node, value in _values(statistic, row, plan.fraction_bits).items():
            cells[group, node] = cells.get((group, node), 0) + value


def _add_combination(
    norms: UnitNorms, row: Row, combinations: dict[tuple[object, ...], list[int]], fraction_bits: int
) -> None:
    combination = tuple(evaluate(key, row) for key in norms.keys)
    own = [_first_cell(each, row, fraction_bits) for each in norms.vector] or [1]
    before = combinations.get(combination, [0] * len(own))
    combinations[combination] = [old + new for old, new in zip(before, own, strict=True)]


def _first_cell(statistic: Statistic, row: Row, fraction_bits: int) -> int:
    passes: bool = not statistic.HasField("filter") or evaluate(statistic.filter, row) is True
    return _values(statistic, row, fraction_bits).get(0, 0) if passes else 0


def _places(plan: Plan, row: Row) -> list[int] | None:
    """The place of each key's value among those that are listed, or None where one is not."""
    places = []
    for key in plan.group_by:
        listed = [scalar(value) for value in key.values]
        value = evaluate(key.expression, row)
        if value is None or value not in listed:
            return None
        places.append(listed.index(value))
    return places


def _group(plan: Plan, statistic: Statistic, places: list[int]) -> int:
    """The statistic's group of a row, by all keys or by those of its marginal."""
    group = 0
    for index, place in enumerate(places):
        if not statistic.HasField("marginal") or index in statistic.marginal.keys:
            group = group * len(plan.group_by[index].values) + place
    return group


def _values(statistic: Statistic, row: Row, fraction_bits: int) -> dict[int, int]:
    """What one row adds to each cell of its group, in grid steps within ±2^fraction_bits."""
    one = 1 << fraction_bits
    match statistic.WhichOneof("kind"):
        case "row_count" | "distinct_units":
            return {0: one}
        case "non_null_count":
            return {} if evaluate(statistic.non_null_count.term, row) is None else {0: one}
        case "bounded_sum":
            term = statistic.bounded_sum
            return {0: _steps(term, evaluate(term.term, row), fraction_bits)}
        case "range_counts":
            ranges = statistic.range_counts
            return dict.fromkeys(_nodes(ranges, evaluate(ranges.term, row)), one)
        case other:
            raise EngineError(f"the plan has a statistic of an unknown kind: {other}")


def _steps(term: BoundedSum, value: Any, fraction_bits: int) -> int:
    if value is None:
        return 0
    top = 1 << fraction_bits
    clipped = float(min(max(value, term.lower), term.upper))
    steps = (clipped - term.centre) / term.half_range * top + 0.5
    return math.floor(min(max(steps, -top), top))


def _nodes(ranges: RangeCounts, value: Any) -> list[int]:
    """The nodes that a value lies in, one on each level."""
    if value is None:
        return []
    leaves = ranges.branching**ranges.levels
    clipped = float(min(max(value, ranges.lower), ranges.upper))
    leaf = min(math.floor((clipped - ranges.lower) / (ranges.upper - ranges.lower) * leaves), leaves - 1)
    nodes, before = [], 0
    for level in range(1, ranges.levels + 1):
        nodes.append(before + leaf // ranges.branching ** (ranges.levels - level))
        before += ranges.branching**level
    return nodes


def _norm_cell(norms: UnitNorms, combinations: Mapping[tuple[object, ...], list[int]], fraction_bits: int) -> int:
    """Which cell of a unit_norms a unit counts in."""
    parts = [part for own in combinations.values() for part in own]
    if norms.vector:
        parts = [_sixteenths(part, fraction_bits) for part in parts]
    norm = _ceil_sqrt(sum(part**2 for part in parts))
    return next((cell for cell, edge in enumerate(norms.edges) if norm <= edge), len(norms.edges))


def _joint_norm(plan: Plan, unit: _Unit) -> int:
    """In sixteenths of a row, over all cells of the joint vector."""
    cells = [unit.cells.get(position, {}) for position, each in enumerate(plan.statistics) if is_joint(plan, each)]
    return _ceil_sqrt(sum(_sixteenths(value, plan.fraction_bits) ** 2 for own in cells for value in own.values()))


def _sixteenths(value: int, fraction_bits: int) -> int:
    """Rounded away from zero."""
    return -(-16 * abs(value) // (1 << fraction_bits))


def _clip(
    statistic: Statistic, cells: _Cells, rows: Mapping[int, int], clipping: Clipping, fraction_bits: int
) -> _Cells:
    """One unit's cells of one statistic, cut to the norm that the plan allows; `rows` are the unit's by group."""
    if statistic.HasField("distinct_units"):
        return dict.fromkeys(cells, _indicator(len(cells), clipping.max_groups, fraction_bits))
    return _weighed(cells, clipping.max_rows, _ceil_sqrt(sum(each**2 for each in rows.values())))


def _weighed(cells: _Cells, bound: int, norm: int) -> _Cells:
    return cells if norm <= bound else {cell: _scale(value, bound, norm) for cell, value in cells.items()}


def _indicator(touched: int, bound: int, fraction_bits: int) -> int:
    """Each of `touched` groups' value, so that the squares add up to bound·4^fraction_bits at most."""
    if touched <= bound:
        return 1 << fraction_bits
    return math.isqrt((bound << (2 * fraction_bits)) // touched)


def _ceil_sqrt(square: int) -> int:
    root = math.isqrt(square)
    return root if root * root == square else root + 1


def _scale(value: int, bound: int, norm: int) -> int:
    """value·bound/norm, rounded towards zero."""
    magnitude = abs(value) * bound // norm
    return magnitude if value >= 0 else -magnitude
