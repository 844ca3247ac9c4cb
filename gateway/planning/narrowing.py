"""What a condition says of the columns of the rows that fulfil it.

`WHERE value BETWEEN 50 AND 100` leaves values between 50 and 100 only: SUM(value) may be clipped to that, with
less noise. `WHERE rank <= 3` leaves three rows of a unit. All of it is read off the plan, and so public.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    Call,
    Comparison,
    Conjunction,
    Expression,
    Relation,
    Selection,
    Value,
)

from enclave_sim.plan import values
from enclave_sim.privacy.clipping import MAX_UNIT_ROWS
from gateway.planning import domains
from gateway.planning.domains import Domain
from gateway.planning.scope import Attribute, Part, Scope

_MIRRORED = {
    Comparison.OPERATOR_EQUAL: Comparison.OPERATOR_EQUAL,
    Comparison.OPERATOR_LESS: Comparison.OPERATOR_GREATER,
    Comparison.OPERATOR_LESS_OR_EQUAL: Comparison.OPERATOR_GREATER_OR_EQUAL,
    Comparison.OPERATOR_GREATER: Comparison.OPERATOR_LESS,
    Comparison.OPERATOR_GREATER_OR_EQUAL: Comparison.OPERATOR_LESS_OR_EQUAL,
}


def select_rows(scope: Scope, condition: Expression) -> Scope:
    """The rows for which a condition is true; one selection for several conditions in turn."""
    below = scope.relation
    if below.HasField("selection"):
        both = Conjunction(operands=[*conjuncts_of(below.selection.condition), *conjuncts_of(condition)])
        selection = Selection(input=below.selection.input, condition=Expression(conjunction=both))
    else:
        selection = Selection(input=below, condition=condition)
    return narrowed(replace(scope, relation=Relation(selection=selection)), condition)


def narrowed(scope: Scope, condition: Expression) -> Scope:
    """The scope as it is known where the condition is true."""
    known: dict[str, Domain] = {}
    for attribute in (*scope.attributes, *scope.hidden):
        known[attribute.name] = attribute.domain
    for part in conjuncts_of(condition):
        _apply(known, part)
    present = {name for part in conjuncts_of(condition) for name in _present(part)}
    parts = tuple(_with_domains(part, known, present) for part in scope.parts)
    hidden = tuple(replace(attribute, domain=known[attribute.name]) for attribute in scope.hidden)
    ranks = [a for a in (*(a for part in parts for a in part.columns.values()), *hidden) if a.repeats is not None]
    max_rows = min([scope.max_rows, *(_rows(rank) for rank in ranks)])
    join_rows = min([scope.join_rows, *(_rows(rank) for rank in ranks if rank.repeats == 1)])
    bound = {
        key: replace(term, domain=known.get(term.expression.column.name, term.domain))
        for key, term in scope.bound.items()
    }
    return replace(scope, parts=parts, hidden=hidden, max_rows=max_rows, join_rows=join_rows, bound=bound)


def conjuncts_of(condition: Expression) -> Iterable[Expression]:
    """The conditions that a condition joins by AND; itself where it joins none."""
    if condition.HasField("conjunction"):
        for operand in condition.conjunction.operands:
            yield from conjuncts_of(operand)
    else:
        yield condition


def _apply(known: dict[str, Domain], condition: Expression) -> None:
    kind = condition.WhichOneof("kind")
    if kind == "comparison":
        _compare(known, condition.comparison)
    elif kind == "membership" and condition.membership.operand.HasField("column"):
        name = condition.membership.operand.column.name
        items = [values.to_python(value) for value in condition.membership.values]
        _learn(known, name, domains.chosen(known[name], items))
    elif kind == "column":
        name = condition.column.name
        _learn(known, name, domains.chosen(known[name], [True]))
    elif kind == "negation" and condition.negation.operand.HasField("column"):
        name = condition.negation.operand.column.name
        _learn(known, name, domains.chosen(known[name], [False]))


def _present(condition: Expression) -> list[str]:
    """Columns that have a value where the condition is true."""
    match condition.WhichOneof("kind"):
        case "comparison":
            sides = [condition.comparison.left, condition.comparison.right]
        case "membership":
            sides = [condition.membership.operand]
        case "pattern":
            sides = [condition.pattern.operand]
        case "negation" if condition.negation.operand.HasField("null_test"):
            sides = [condition.negation.operand.null_test.operand]
        case _:
            sides = [condition]
    return [side.column.name for side in sides if side.HasField("column")]


def _learn(known: dict[str, Domain], name: str, domain: Domain) -> None:
    """A list of values stays whole: declared keys without rows are in the answer like any other."""
    if known[name].values is None:
        known[name] = domain


def _compare(known: dict[str, Domain], comparison: Comparison) -> None:
    left, right, operator = comparison.left, comparison.right, comparison.operator
    if left.HasField("literal"):
        left, right, operator = right, left, _MIRRORED.get(operator, Comparison.OPERATOR_NOT_EQUAL)
    if not right.HasField("literal") or operator == Comparison.OPERATOR_NOT_EQUAL:
        return
    if left.HasField("call") and left.call.function == Call.FUNCTION_YEAR:
        _in_years(known, left.call.operands[0], operator, right.literal.int64_value)
    if left.HasField("column"):
        _between(known, left, operator, right.literal)


def _between(
    known: dict[str, Domain], column: Expression, operator: Comparison.Operator.ValueType, literal: Value
) -> None:
    name, item = column.column.name, values.to_python(literal)
    if operator == Comparison.OPERATOR_EQUAL:
        _learn(known, name, domains.chosen(known[name], [item]))
        return
    end = domains.number_of(item)
    if end is None:
        return
    step = 0 if column.column.type == COLUMN_TYPE_FLOAT64 else 1
    if operator in (Comparison.OPERATOR_LESS, Comparison.OPERATOR_LESS_OR_EQUAL):
        high = end - step if operator == Comparison.OPERATOR_LESS else end
        _learn(known, name, domains.narrowed(known[name], None, high))
    else:
        low = end + step if operator == Comparison.OPERATOR_GREATER else end
        _learn(known, name, domains.narrowed(known[name], low, None))


def _in_years(
    known: dict[str, Domain], operand: Expression, operator: Comparison.Operator.ValueType, year: int
) -> None:
    """YEAR(date) = 2020 and the like, which leave the days of some years."""
    if not operand.HasField("column"):
        return
    if operator == Comparison.OPERATOR_EQUAL:
        _in_years(known, operand, Comparison.OPERATOR_GREATER_OR_EQUAL, year)
        operator = Comparison.OPERATOR_LESS_OR_EQUAL
    first, comparison = year, Comparison.OPERATOR_GREATER_OR_EQUAL
    if operator in (Comparison.OPERATOR_LESS_OR_EQUAL, Comparison.OPERATOR_GREATER):
        first = year + 1
    if operator in (Comparison.OPERATOR_LESS, Comparison.OPERATOR_LESS_OR_EQUAL):
        comparison = Comparison.OPERATOR_LESS
    if 1 <= first <= 9999:
        is_date = known[operand.column.name].kind == operand.column.type and operand.column.type == _DATE
        text = f"{first:04}-01-01"
        _between(known, operand, comparison, values.parse_date(text) if is_date else values.parse_timestamp(text))


_DATE = values.type_of(values.parse_date("1970-01-01"))


def _with_domains(part: Part, known: dict[str, Domain], present: set[str]) -> Part:
    columns = {
        key: replace(column, domain=known[column.name], nullable=column.nullable and column.name not in present)
        for key, column in part.columns.items()
    }
    return replace(part, columns=columns)


def _rows(rank: Attribute) -> int:
    """How many rows of one unit are left, by the ranks that are: at most `repeats` for each."""
    lower, upper = rank.domain.bounds() or (1, MAX_UNIT_ROWS)
    return max(math.floor(upper) - math.ceil(lower) + 1, 1) * (rank.repeats or 1)
