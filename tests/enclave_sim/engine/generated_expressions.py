"""Invented values and expressions: every type, every node and function of the language."""

import datetime
import math
from collections.abc import Sequence

from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import Call, Expression

from enclave_sim.plan.functions import OF_ONE_TYPE, SIGNATURES
from enclave_sim.plan.values import TYPE_NAMES, PythonValue

from .expressions import (
    OPERATORS,
    all_of,
    any_of,
    call,
    case,
    column,
    compare,
    is_null,
    like,
    literal,
    look_up,
    negated,
    one_of,
)

# Few values of each type, so that rows agree with constants often; the odd ones among them.
CONSTANTS: dict[str, list[PythonValue]] = {
    "bool": [False, True],
    "int64": [-(2**63), -(2**53) - 1, -1, 0, 1, 2, 7, 2**53 + 1, 2**63 - 1],
    "float64": [-1.7e308, -1.5, -0.0, 5e-324, 0.1, 0.5, 1.0, 3.25, float(2**53), 1e16, 2.0**63, 1.7e308],
    "string": ["", "a", "A", "b'", '"', "$p0", "影壁", "\uffee", "😀", "a\0", " 7", "+12", "true", "1970-01-01"],
    "date": [
        datetime.date(1, 1, 1),
        datetime.date(1969, 12, 31),
        datetime.date(1970, 1, 1),
        datetime.date(2024, 2, 29),
        datetime.date(9999, 12, 31),
    ],
    "timestamp": [
        datetime.datetime(1, 1, 1),
        datetime.datetime(1969, 12, 31, 23, 59, 59, 999999),
        datetime.datetime(2020, 2, 29, 1, 2, 3),
        datetime.datetime(9999, 12, 31, 23, 59, 59, 999999),
    ],
}
# What a row may have and a plan may not say; dates as days and timestamps as microseconds.
STORED_ONLY: dict[str, list[float | int | None]] = {
    "bool": [None],
    "int64": [None],
    "float64": [None, math.nan, math.inf, -math.inf, 0.0, 1.7976931348623157e308],
    "string": [None],
    "date": [None, -(2**31), 2**31 - 1, -719163, 2932897],
    "timestamp": [None, -(2**63), 2**63 - 1, -719163 * 86400 * 10**6 + 5, 2932897 * 86400 * 10**6],
}
PATTERNS = ["", "%", "_", "a%", "%a", "%_", "__%", "%'", "影_", "%😀%", "a_", "+%2", "\\%", "[a]%", "%7%%"]
KINDS = list(CONSTANTS)
NUMERIC = ["int64", "float64"]


def _calls() -> dict[str, list[tuple[str, list[str]]]]:
    """For each type the functions that give it, with the types of their operands."""
    calls: dict[str, list[tuple[str, list[str]]]] = {kind: [] for kind in KINDS}
    for function, signatures in SIGNATURES.items():
        for operands, result in signatures.items():
            calls[TYPE_NAMES[result]].append((_name(function), [TYPE_NAMES[operand] for operand in operands]))
    calls["string"].append(("concatenate", ["string"] * 2))
    for kind in KINDS:
        calls[kind] += [(_name(function), [kind, kind]) for function in OF_ONE_TYPE]
    return {kind: sorted(known) for kind, known in calls.items()}


def _name(function: Call.Function.ValueType) -> str:
    return Call.Function.Name(function).removeprefix("FUNCTION_").lower()


CALLS = _calls()


@st.composite
def expressions(draw: st.DrawFn, columns: Sequence[str], kind: str, depth: int = 2) -> Expression:
    """An expression of the type over the columns, nested as deep as this."""
    if not depth or draw(st.integers(0, 2)) == 0:
        return draw(_leaves(columns, kind))
    if kind == "bool" and draw(st.integers(0, 3)):
        return draw(_predicates(columns, depth))
    if draw(st.integers(0, 5)) == 0:
        return draw(_cases(columns, kind, depth))
    if draw(st.integers(0, 5)) == 0:
        return draw(_look_ups(columns, kind, depth))
    return draw(_calls_of(columns, kind, depth))


def conditions(columns: Sequence[str], depth: int = 2) -> st.SearchStrategy[Expression]:
    """An expression that is true, false or unknown."""
    return expressions(columns, "bool", depth)


def _leaves(columns: Sequence[str], kind: str) -> st.SearchStrategy[Expression]:
    constants = st.sampled_from(CONSTANTS[kind]).map(literal)
    alike = [title for title in columns if title.endswith(f":{kind}")]
    return st.one_of(st.sampled_from(alike).map(column), constants) if alike else constants


def every_kind(columns: Sequence[str], depth: int) -> st.SearchStrategy[Expression]:
    """An expression of any type that is more than a column or a constant, each function being as likely."""
    calls = st.sampled_from([(kind, made) for kind in KINDS for made in CALLS[kind]])
    return st.one_of(
        calls.flatmap(lambda known: _call_of(columns, *known[1], depth)),
        calls.flatmap(lambda known: _call_of(columns, *known[1], depth)),
        st.sampled_from(KINDS).flatmap(lambda kind: _cases(columns, kind, depth)),
        st.sampled_from(KINDS).flatmap(lambda kind: _look_ups(columns, kind, depth)),
        _predicates(columns, depth),
    )


def _calls_of(columns: Sequence[str], kind: str, depth: int) -> st.SearchStrategy[Expression]:
    return st.sampled_from(CALLS[kind]).flatmap(lambda known: _call_of(columns, *known, depth))


@st.composite
def _call_of(draw: st.DrawFn, columns: Sequence[str], function: str, operands: list[str], depth: int) -> Expression:
    if function == "substring":
        text = draw(expressions(columns, "string", depth - 1))
        return call(function, text, literal(draw(st.integers(1, 3))), literal(draw(st.integers(0, 3))))
    return call(function, *[draw(expressions(columns, operand, depth - 1)) for operand in operands])


@st.composite
def _cases(draw: st.DrawFn, columns: Sequence[str], kind: str, depth: int) -> Expression:
    branch = st.tuples(conditions(columns, depth - 1), expressions(columns, kind, depth - 1))
    otherwise = draw(st.one_of(st.none(), expressions(columns, kind, depth - 1)))
    return case(*draw(st.lists(branch, min_size=1, max_size=2)), otherwise=otherwise)


@st.composite
def _look_ups(draw: st.DrawFn, columns: Sequence[str], kind: str, depth: int) -> Expression:
    key = draw(st.sampled_from([each for each in KINDS if each != "float64"]))
    value = st.one_of(st.none(), st.sampled_from(CONSTANTS[kind]))
    entries = draw(st.dictionaries(st.sampled_from(CONSTANTS[key]), value, min_size=1, max_size=4))
    return look_up(draw(expressions(columns, key, depth - 1)), entries, kind)


def _predicates(columns: Sequence[str], depth: int) -> st.SearchStrategy[Expression]:
    below = conditions(columns, depth - 1)
    several = st.lists(below, min_size=1, max_size=3)
    return st.one_of(
        _comparisons(columns, depth),
        _memberships(columns, depth),
        st.sampled_from(KINDS).flatmap(lambda kind: expressions(columns, kind, depth - 1)).map(is_null),
        st.builds(like, expressions(columns, "string", depth - 1), st.sampled_from(PATTERNS)),
        below.map(negated),
        several.map(lambda operands: all_of(*operands)),
        several.map(lambda operands: any_of(*operands)),
    )


@st.composite
def _comparisons(draw: st.DrawFn, columns: Sequence[str], depth: int) -> Expression:
    kind = draw(st.sampled_from(KINDS))
    left, right = (draw(expressions(columns, kind, depth - 1)) for _ in range(2))
    return compare(left, draw(st.sampled_from(list(OPERATORS))), right)


@st.composite
def _memberships(draw: st.DrawFn, columns: Sequence[str], depth: int) -> Expression:
    kind = draw(st.sampled_from(KINDS))
    members = draw(st.lists(st.sampled_from(CONSTANTS[kind]), min_size=1, max_size=4))
    return one_of(draw(expressions(columns, kind, depth - 1)), *members)
