"""A plan as a picture: what is done to the rows, step by step, down to the numbers that are opened. Pure.

Every step is a box of short lines. Lines are keys of the console's sentences and what fills them in, so that the same
boxes make the picture and its text.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from yingbi.api import zcdp
from yingbi.api.v1.plan_pb2 import Call, Comparison, Expression, Plan, Relation, Statistic, Value
from yingbi.cells import MARGINAL_KINDS, Layout, PlanError, constants
from yingbi.display import key_text, shown_source

WIDTH, LINE, TITLE, GAP, PADDING = 720, 22, 26, 30, 12
MOST_LINES = 6
MOST_MARKS = 92
"""That a line of the picture holds; letters of Chinese count twice. The text beside it has everything."""

UNKNOWN = "⁇"
"""In place of what this version does not know."""

STATISTIC_NAMES = {
    "row_count": "plan.row_count",
    "non_null_count": "plan.non_null_count",
    "bounded_sum": "plan.bounded_sum",
    "distinct_units": "plan.distinct_units",
    "range_counts": "plan.range_counts",
    "unit_norms": "plan.unit_norms",
    "block_outputs": "plan.block_outputs",
    "model_vector": "plan.model_vector",
}
_OPERATORS: dict[Comparison.Operator.ValueType, str] = {
    Comparison.OPERATOR_EQUAL: "=",
    Comparison.OPERATOR_NOT_EQUAL: "<>",
    Comparison.OPERATOR_LESS: "<",
    Comparison.OPERATOR_LESS_OR_EQUAL: "<=",
    Comparison.OPERATOR_GREATER: ">",
    Comparison.OPERATOR_GREATER_OR_EQUAL: ">=",
}


@dataclass(frozen=True)
class Line:
    """A sentence by its key, and what fills it in."""

    key: str
    parts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Box:
    """A step: its title's key, and its lines."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Placed:
    """A box at its place in the picture, and what stands in it: all in the picture's units."""

    box: Box
    top: int
    height: int
    texts: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Picture:
    """All boxes from top to bottom."""

    boxes: tuple[Placed, ...]
    height: int


def picture(boxes: tuple[Box, ...], say: Callable[..., str]) -> Picture:
    """The boxes with their sentences in a language, each at its place."""
    placed, top = [], PADDING
    for box in boxes:
        texts = [fit(say(line.key, **line.parts)) for line in box.lines[:MOST_LINES]]
        if len(box.lines) > MOST_LINES:
            texts[-1] = "…"
        rows = tuple((top + TITLE + PADDING + LINE * (row + 1) - 6, text) for row, text in enumerate(texts))
        height = TITLE + 2 * PADDING + LINE * len(texts)
        placed.append(Placed(box, top, height, rows))
        top += height + GAP
    return Picture(tuple(placed), top - GAP + PADDING)


def fit(text: str) -> str:
    """As much of a line as the picture holds."""
    room = MOST_MARKS
    for place, mark in enumerate(text):
        room -= 2 if unicodedata.east_asian_width(mark) in "WF" else 1
        if room < 0:
            return text[: place - 1] + "…"
    return text


@lru_cache(maxsize=128)
def boxes_of(serialized: bytes) -> tuple[Box, ...]:
    """The steps of a serialized plan; none for a plan that this version cannot read."""
    plan = Plan.FromString(serialized)
    try:
        layout = Layout.of(plan)
    except PlanError:
        return ()
    return (
        Box("plan.tables", tuple(_tables(plan))),
        Box("plan.rows", tuple(_rows(plan)) or (Line("plan.all_rows"),)),
        Box("plan.clipping", tuple(_clipping(plan))),
        Box("plan.groups", tuple(_groups(plan, layout))),
        Box("plan.noise", tuple(_noise(plan, layout))),
        Box("plan.opened", (Line("plan.cells", {"cells": f"{layout.length:,}", "parties": plan.noise.parties}),)),
    )


def sensitivity(plan: Plan, statistic: Statistic) -> float:
    """How far one person can move a statistic's vector (Euclidean norm), in its own unit: what its price counts with.

    The price of a Gaussian with standard deviation s is rho = D^2 / (2 s^2), s being that of the shares which nobody
    curious knows. It is rounded up, and so is what is read off it here.
    """
    price = statistic.rho_units or _price_of_joint(plan, statistic)
    shares = plan.noise.parties - plan.noise.curious
    return math.sqrt(2 * price / zcdp.RHO_UNITS * shares) * statistic.sigma * 2.0**-plan.fraction_bits


def _price_of_joint(plan: Plan, statistic: Statistic) -> int:
    """The first statistic of a joint vector has the price of all."""
    if not plan.clipping.joint_norm or statistic.WhichOneof("kind") not in MARGINAL_KINDS:
        return 0
    return next((each.rho_units for each in plan.statistics if each.WhichOneof("kind") in MARGINAL_KINDS), 0)


def _tables(plan: Plan) -> Iterator[Line]:
    named = [step.scan.table for step in _steps(plan.relation) if step.HasField("scan")]
    named += [table.table for table in plan.program.tables]
    for name in dict.fromkeys(named):
        yield Line("plan.table", {"table": name})
    if plan.HasField("program"):
        yield Line("plan.program", {"blocks": plan.program.blocks, "hash": plan.program.sha256.hex()[:16]})


def _rows(plan: Plan) -> Iterator[Line]:
    for step in reversed(list(_steps(plan.relation))):
        match step.WhichOneof("kind"):
            case "selection":
                yield Line("plan.where", {"condition": words(step.selection.condition)})
            case "unit_join":
                join = step.unit_join
                on = words(join.condition) if join.HasField("condition") else "–"
                yield Line("plan.join", {"condition": on, "left": join.max_left_rows, "right": join.max_right_rows})
            case "unit_aggregation":
                keys = ", ".join(words(each.expression) for each in step.unit_aggregation.keys)
                yield Line("plan.per_person_and", {"keys": keys}) if keys else Line("plan.per_person")
            case "unit_ranking":
                yield Line("plan.ranked")
    if plan.HasField("evaluation"):
        yield Line("plan.model_runs")


def _clipping(plan: Plan) -> Iterator[Line]:
    own = plan.clipping
    if own.joint_norm:
        yield Line("plan.joint_norm", {"norm": f"{own.joint_norm / 16:g}"})
    elif own.max_rows:
        yield Line("plan.max_rows", {"rows": f"{own.max_rows:,}"})
    if own.max_groups:
        yield Line("plan.max_groups", {"groups": f"{own.max_groups:,}"})
    if plan.HasField("program"):
        yield Line("plan.one_block")
    for statistic in plan.statistics:
        if statistic.HasField("bounded_sum"):
            bounds = statistic.bounded_sum
            yield Line(
                "plan.bounds",
                {"term": words(bounds.term), "lower": f"{bounds.lower:g}", "upper": f"{bounds.upper:g}"},
            )
    yield Line("plan.providers", {"parties": plan.noise.parties_per_unit})


def _groups(plan: Plan, layout: Layout) -> Iterator[Line]:
    if plan.HasField("key_selection"):
        chosen = plan.key_selection
        yield Line("plan.keys_chosen", {"keys": ", ".join(map(words, chosen.keys)), "most": chosen.max_keys})
    if not plan.group_by:
        yield Line("plan.no_groups")
        return
    yield Line("plan.group_count", {"groups": f"{layout.groups:,}"})
    for key in plan.group_by:
        yield Line("plan.group_key", {"key": words(key.expression), "values": f"{len(key.values):,}"})


def _noise(plan: Plan, layout: Layout) -> Iterator[Line]:
    yield Line("plan.shares", {"parties": plan.noise.parties})
    if plan.noise.curious:
        yield Line("plan.curious", {"curious": plan.noise.curious})
    for index, statistic in enumerate(plan.statistics):
        yield Line(
            _name(statistic),
            {
                "term": _term(statistic),
                "cells": f"{layout.length_of(index):,}",
                "sensitivity": f"{sensitivity(plan, statistic):.4g}",
                "sigma": f"{layout.deviation(index):.4g}",
            },
        )


def _name(statistic: Statistic) -> str:
    if statistic.model_vector.HasField("score"):
        return "plan.model_score"
    return STATISTIC_NAMES.get(statistic.WhichOneof("kind") or "", "plan.other_statistic")


def _term(statistic: Statistic) -> str:
    kind = statistic.WhichOneof("kind")
    own = getattr(statistic, kind) if kind else None
    return words(own.term) if kind in ("non_null_count", "bounded_sum", "range_counts") and own else ""


def _steps(relation: Relation) -> Iterator[Relation]:
    """The relation and all that it is made of, the last step first."""
    waiting = [relation]
    while waiting:
        step = waiting.pop()
        kind = step.WhichOneof("kind")
        yield step
        if kind == "unit_join":
            waiting += [step.unit_join.right, step.unit_join.left]
        elif kind not in (None, "scan"):
            waiting.append(getattr(step, kind).input)


def words(expression: Expression) -> str:
    """An expression as SQL would have it; marks that would hide or reorder text by their numbers."""
    return shown_source(_words(expression))


def _words(expression: Expression) -> str:  # noqa: PLR0911, PLR0912  # one line a kind
    match expression.WhichOneof("kind"):
        case "column":
            return expression.column.name
        case "literal":
            return _value(expression.literal)
        case "comparison":
            own = expression.comparison
            return f"{_inner(own.left)} {_OPERATORS.get(own.operator, UNKNOWN)} {_inner(own.right)}"
        case "conjunction":
            return " AND ".join(map(_inner, expression.conjunction.operands))
        case "disjunction":
            return " OR ".join(map(_inner, expression.disjunction.operands))
        case "negation":
            return f"NOT {_inner(expression.negation.operand)}"
        case "membership":
            values = ", ".join(map(_value, expression.membership.values))
            return f"{_inner(expression.membership.operand)} IN ({values})"
        case "null_test":
            return f"{_inner(expression.null_test.operand)} IS NULL"
        case "pattern":
            return f"{_inner(expression.pattern.operand)} LIKE '{expression.pattern.pattern}'"
        case "look_up":
            return f"LOOKUP({_words(expression.look_up.operand)})"
        case "conditional":
            branches = expression.conditional.branches
            cases = " ".join(f"WHEN {_words(each.condition)} THEN {_words(each.result)}" for each in branches)
            rest = expression.conditional
            return f"CASE {cases}{f' ELSE {_words(rest.otherwise)}' if rest.HasField('otherwise') else ''} END"
        case "call":
            name = Call.Function.Name(expression.call.function).removeprefix("FUNCTION_")
            return f"{name}({', '.join(map(_words, expression.call.operands))})"
        case _:
            return UNKNOWN


def _inner(expression: Expression) -> str:
    simple = expression.WhichOneof("kind") in ("column", "literal", "call", "look_up", "comparison", "null_test")
    return _words(expression) if simple else f"({_words(expression)})"


def _value(value: Value) -> str:
    try:
        constant = constants([value])[0]
    except PlanError:
        return UNKNOWN
    return "'" + constant.replace("'", "''") + "'" if isinstance(constant, str) else key_text(constant)
