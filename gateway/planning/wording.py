"""Expressions of the plan language as people read them: close to the SQL that they came from, for notes only."""

from __future__ import annotations

from collections.abc import Sequence

from yingbi.api.v1.plan_pb2 import Call, Comparison, Conditional, Expression, Value

from enclave_sim.plan import values

_LONGEST = 80
_INFIX = {
    Call.FUNCTION_ADD: "+",
    Call.FUNCTION_SUBTRACT: "-",
    Call.FUNCTION_MULTIPLY: "*",
    Call.FUNCTION_DIVIDE: "/",
    Call.FUNCTION_MODULO: "%",
    Call.FUNCTION_CONCATENATE: "||",
}
_NAMES = {
    Call.FUNCTION_ABSOLUTE: "ABS",
    Call.FUNCTION_CEILING: "CEIL",
    Call.FUNCTION_SQUARE_ROOT: "SQRT",
    Call.FUNCTION_NATURAL_LOGARITHM: "LN",
    Call.FUNCTION_DAY_OF_WEEK: "DAYOFWEEK",
    Call.FUNCTION_DAY_OF_YEAR: "DAYOFYEAR",
}
_COMPARISONS = {
    Comparison.OPERATOR_EQUAL: "=",
    Comparison.OPERATOR_NOT_EQUAL: "<>",
    Comparison.OPERATOR_LESS: "<",
    Comparison.OPERATOR_LESS_OR_EQUAL: "<=",
    Comparison.OPERATOR_GREATER: ">",
    Comparison.OPERATOR_GREATER_OR_EQUAL: ">=",
}
_SPANS = {
    Call.FUNCTION_TRUNCATE_TO_YEAR: "year",
    Call.FUNCTION_TRUNCATE_TO_QUARTER: "quarter",
    Call.FUNCTION_TRUNCATE_TO_MONTH: "month",
    Call.FUNCTION_TRUNCATE_TO_WEEK: "week",
}
_CASTS = {
    Call.FUNCTION_TO_INT64: "BIGINT",
    Call.FUNCTION_TO_STRING: "VARCHAR",
    Call.FUNCTION_TO_DATE: "DATE",
}
# What makes a number of another type of the same number is left out.
_SILENT = frozenset({Call.FUNCTION_TO_FLOAT64})


def number(value: float) -> str:
    """A number as people write it: 18,000, 6,010.41 and 0.00229."""
    if value.is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.6g}"


def text_of(expression: Expression) -> str:
    """The expression in one line, shortened where it is long."""
    text = _text(expression)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _text(expression: Expression) -> str:  # noqa: PLR0911, PLR0912 - one for each kind
    match expression.WhichOneof("kind"):
        case "column":
            return expression.column.name
        case "literal":
            return _constant(expression.literal)
        case "comparison":
            side = expression.comparison
            return f"{_inner(side.left)} {_COMPARISONS.get(side.operator, '?')} {_inner(side.right)}"
        case "conjunction":
            return " AND ".join(_inner(operand) for operand in expression.conjunction.operands)
        case "disjunction":
            return " OR ".join(_inner(operand) for operand in expression.disjunction.operands)
        case "negation":
            return f"NOT {_inner(expression.negation.operand)}"
        case "membership":
            listed = ", ".join(_constant(value) for value in expression.membership.values[:10])
            return f"{_inner(expression.membership.operand)} IN ({listed})"
        case "null_test":
            return f"{_inner(expression.null_test.operand)} IS NULL"
        case "pattern":
            return f"{_inner(expression.pattern.operand)} LIKE {_quoted(expression.pattern.pattern)}"
        case "look_up":
            return f"LOOK_UP({_text(expression.look_up.operand)})"
        case "conditional":
            return _conditional(expression.conditional)
        case "call":
            return _call(expression.call.function, expression.call.operands)
        case None:
            return ""


def _call(function: Call.Function.ValueType, operands: Sequence[Expression]) -> str:
    if function in _SILENT and len(operands) == 1:
        return _text(operands[0])
    if function in _INFIX:
        return f" {_INFIX[function]} ".join(_inner(operand) for operand in operands)
    if function == Call.FUNCTION_NEGATE and len(operands) == 1:
        return f"-{_inner(operands[0])}"
    if function in _SPANS and len(operands) == 1:
        return f"DATE_TRUNC('{_SPANS[function]}', {_text(operands[0])})"
    if function in _CASTS and len(operands) == 1:
        return f"CAST({_text(operands[0])} AS {_CASTS[function]})"
    name = _NAMES.get(function) or Call.Function.Name(function).removeprefix("FUNCTION_")
    return f"{name}({', '.join(_text(operand) for operand in operands)})"


def _conditional(conditional: Conditional) -> str:
    branches = [f"WHEN {_text(branch.condition)} THEN {_text(branch.result)}" for branch in conditional.branches]
    otherwise = [f"ELSE {_text(conditional.otherwise)}"] if conditional.HasField("otherwise") else []
    return " ".join(["CASE", *branches, *otherwise, "END"])


def _inner(expression: Expression) -> str:
    """With brackets where it consists of parts."""
    text = _text(expression)
    kind = expression.WhichOneof("kind")
    if kind == "call" and expression.call.function in _SILENT and expression.call.operands:
        return _inner(expression.call.operands[0])
    is_infix = kind == "call" and expression.call.function in _INFIX
    is_loose = kind in ("comparison", "conjunction", "disjunction", "membership", "null_test", "pattern")
    return f"({text})" if is_infix or is_loose else text


def _constant(value: Value) -> str:
    plain = values.to_python(value)
    match plain:
        case bool():
            return str(plain).upper()
        case float():
            return number(plain).replace(",", "")
        case int():
            return str(plain)
        case _:
            return _quoted(str(plain))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
