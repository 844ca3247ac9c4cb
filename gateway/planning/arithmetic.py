"""Arithmetic and the functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

from sqlglot import exp
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_DATE, COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, Call

from enclave_sim.plan import values
from gateway.planning import calls, domains, literals
from gateway.planning.calls import call, conditional, constant
from gateway.planning.compiler import Compiler, described
from gateway.planning.conditions import compared
from gateway.planning.literals import unwrapped
from gateway.planning.scope import Term

_ARITHMETIC: dict[type[exp.Expr], Call.Function.ValueType] = {
    exp.Add: Call.FUNCTION_ADD,
    exp.Sub: Call.FUNCTION_SUBTRACT,
    exp.Mul: Call.FUNCTION_MULTIPLY,
}
_BINARY = frozenset({"this", "expression"})
MAX_BUCKETS = 100_000


def negative(compiler: Compiler, node: exp.Neg) -> Term:
    """-x."""
    return call(Call.FUNCTION_NEGATE, compiler.number(node.this))


def arithmetic(compiler: Compiler, node: exp.Expr) -> Term:
    """x + y, x - y, x * y, and the days between two dates."""
    compiler.require_parts(node, _BINARY)
    _refuse_intervals(compiler, node)
    left, right = compiler.unified([node.this, node.args["expression"]], node)
    if left.type == COLUMN_TYPE_DATE and isinstance(node, exp.Sub):
        return call(Call.FUNCTION_DAYS_BETWEEN, right, left)
    _require_numbers(compiler, left, node)
    return call(_ARITHMETIC[type(node)], left, right)


def division(compiler: Compiler, node: exp.Expr) -> Term:
    """x / y, of float64 as in DuckDB, and x // y, the whole number below it."""
    compiler.require_parts(node, _BINARY | {"typed", "safe"})
    left, right = compiler.unified([node.this, node.args["expression"]], node)
    _require_numbers(compiler, left, node)
    quotient = call(Call.FUNCTION_DIVIDE, calls.as_float(left), calls.as_float(right))
    return quotient if isinstance(node, exp.Div) else calls.as_int(call(Call.FUNCTION_FLOOR, quotient))


def modulo(compiler: Compiler, node: exp.Mod) -> Term:
    """x % y of whole numbers, with the sign of x."""
    left, right = compiler.unified([node.this, node.args["expression"]], node)
    _require_numbers(compiler, left, node)
    if left.type != COLUMN_TYPE_INT64:
        raise compiler.source.unsupported(
            "% takes whole numbers.", at=node, hint="Use CAST(... AS BIGINT) on both sides."
        )
    return call(Call.FUNCTION_MODULO, left, right)


def _require_numbers(compiler: Compiler, left: Term, at: exp.Expr) -> None:
    if left.type not in values.NUMERIC:
        raise compiler.source.malformed(
            "type_mismatch",
            f"There is no such arithmetic with {described(left)}.",
            at=at,
            hint="Use numbers; the days between two dates are date - date.",
        )


def _refuse_intervals(compiler: Compiler, node: exp.Expr) -> None:
    for side in (node.this, node.args["expression"]):
        if isinstance(unwrapped(side), exp.Interval):
            raise compiler.source.unsupported(
                "An INTERVAL cannot be added.", at=node, hint="Compare the days between: date - date < 30."
            )


def absolute(compiler: Compiler, node: exp.Expr) -> Term:
    """ABS(x)."""
    return call(Call.FUNCTION_ABSOLUTE, compiler.number(node.this))


def sign(compiler: Compiler, node: exp.Expr) -> Term:
    """SIGN(x)."""
    term = compiler.number(node.this)
    zero = constant(0.0) if term.type == COLUMN_TYPE_FLOAT64 else constant(0)
    signs = [(literals.GREATER, 1), (literals.LESS, -1), (literals.EQUAL, 0)]
    return conditional([(compared(term, operator, zero), constant(sign)) for operator, sign in signs], None)


def whole_number(function: Call.Function.ValueType) -> Callable[[Compiler, exp.Expr], Term]:
    """FLOOR(x) or CEIL(x); an int64 stays what it is."""

    def rule(compiler: Compiler, node: exp.Expr) -> Term:
        compiler.require_parts(node, frozenset({"this"}))
        term = compiler.number(node.this)
        return term if term.type == COLUMN_TYPE_INT64 else call(function, term)

    return rule


def rounding(compiler: Compiler, node: exp.Round) -> Term:
    """ROUND(x) and ROUND(x, places)."""
    compiler.require_parts(node, frozenset({"this", "decimals"}))
    term, decimals = compiler.number(node.this), node.args.get("decimals")
    places = 0 if decimals is None else whole_constant(compiler, decimals, "ROUND", -15, 15)
    if term.type == COLUMN_TYPE_INT64 and places >= 0:
        return term
    rounded = _rounded(calls.as_float(term), places)
    return calls.as_int(rounded) if term.type == COLUMN_TYPE_INT64 else rounded


def _rounded(term: Term, places: int) -> Term:
    if places == 0:
        return call(Call.FUNCTION_ROUND, term)
    scale = constant(10.0 ** abs(places))
    there, back = Call.FUNCTION_MULTIPLY, Call.FUNCTION_DIVIDE
    if places < 0:
        there, back = back, there
    return call(back, call(Call.FUNCTION_ROUND, call(there, term, scale)), scale)


def truncate(compiler: Compiler, node: exp.Expr) -> Term:
    """TRUNC(x)."""
    compiler.require_parts(node, frozenset({"this"}))
    term = compiler.number(node.this)
    if term.type == COLUMN_TYPE_INT64:
        return term
    negative = compared(term, literals.LESS, constant(0.0))
    return conditional([(negative, call(Call.FUNCTION_CEILING, term))], call(Call.FUNCTION_FLOOR, term))


def square_root(compiler: Compiler, node: exp.Expr) -> Term:
    """SQRT(x)."""
    return call(Call.FUNCTION_SQUARE_ROOT, calls.as_float(compiler.number(node.this)))


def natural_logarithm(compiler: Compiler, node: exp.Expr) -> Term:
    """LN(x)."""
    return call(Call.FUNCTION_NATURAL_LOGARITHM, calls.as_float(compiler.number(node.this)))


def logarithm(compiler: Compiler, node: exp.Log) -> Term:
    """LOG(x) and LOG10(x), LOG2(x), LOG(base, x)."""
    operand, base = node.this, 10.0
    if node.args.get("expression") is not None:
        operand = node.args["expression"]
        base = real_constant(compiler, node.this, "LOG")
    if base <= 0 or base == 1:
        raise compiler.source.malformed("bad_literal", "LOG has no such base.", at=node, hint="Write LOG10(x).")
    logarithm = call(Call.FUNCTION_NATURAL_LOGARITHM, calls.as_float(compiler.number(operand)))
    return call(Call.FUNCTION_DIVIDE, logarithm, constant(math.log(base)))


def power(compiler: Compiler, node: exp.Pow) -> Term:
    """POWER(x, n) for the exponents that multiplication and the square root give."""
    term = calls.as_float(compiler.number(node.this))
    exponent = real_constant(compiler, node.args["expression"], "POWER")
    if exponent == 0.5:
        return call(Call.FUNCTION_SQUARE_ROOT, term)
    if exponent not in (1, 2, 3, 4):
        raise compiler.source.unsupported(
            "POWER takes the exponents 1, 2, 3, 4 and 0.5.", at=node, hint="Write POWER(x, 2), or SQRT(x)."
        )
    product = term
    for _ in range(int(exponent) // 2):
        product = call(Call.FUNCTION_MULTIPLY, product, product) if product is term else product
    square = product
    if exponent == 3:
        return call(Call.FUNCTION_MULTIPLY, square, term)
    return call(Call.FUNCTION_MULTIPLY, square, square) if exponent == 4 else square


def width_bucket(compiler: Compiler, node: exp.WidthBucket) -> Term:
    """0 below lo, n + 1 from hi on, and between them one of n buckets of equal width."""
    compiler.require_parts(node, frozenset({"this", "min_value", "max_value", "num_buckets"}))
    term = calls.as_float(compiler.number(node.this))
    low, high = (real_constant(compiler, node.args[name], "WIDTH_BUCKET") for name in ("min_value", "max_value"))
    count = whole_constant(compiler, node.args["num_buckets"], "WIDTH_BUCKET", 1, MAX_BUCKETS)
    if not low < high:
        raise compiler.source.malformed(
            "bad_literal",
            "The first bound of WIDTH_BUCKET must be below the second.",
            at=node,
            hint="Write WIDTH_BUCKET(x, 0, 100, 10).",
        )
    share = call(
        Call.FUNCTION_DIVIDE, call(Call.FUNCTION_SUBTRACT, term, constant(low)), constant(float(high) - float(low))
    )
    scaled = call(Call.FUNCTION_FLOOR, call(Call.FUNCTION_MULTIPLY, share, constant(float(count))))
    inside = call(Call.FUNCTION_LEAST, call(Call.FUNCTION_TO_INT64, scaled), constant(count - 1))
    bucket = conditional(
        [
            (compared(term, literals.LESS, constant(low)), constant(0)),
            (compared(term, literals.GREATER_OR_EQUAL, constant(high)), constant(count + 1)),
            # Not for NULL, which LEAST passes over.
            (
                compared(term, literals.GREATER_OR_EQUAL, constant(low)),
                call(Call.FUNCTION_ADD, inside, constant(1)),
            ),
        ],
        None,
    )
    ends = term.domain.bounds()
    first, last = (_bucket(end, low, high, count) for end in ends) if ends else (0, count + 1)
    return calls.with_domain(bucket, domains.listing(range(first, last + 1), COLUMN_TYPE_INT64))


def _bucket(value: float, low: float, high: float, count: int) -> int:
    if value < low or value >= high:
        return 0 if value < low else count + 1
    return min(math.floor((value - low) / (high - low) * count), count - 1) + 1


def real_constant(compiler: Compiler, node: exp.Expr, user: str) -> float:
    """The number that a function needs as a constant.

    Raises:
        Problem: it is none.
    """
    term = compiler.term(node)
    if term.type not in values.NUMERIC or not term.expression.HasField("literal"):
        raise compiler.source.unsupported(f"{user} takes a number constant here.", at=node, hint="Write a number.")
    number = values.to_python(calls.as_float(term).expression.literal)
    return number if isinstance(number, float) else 0.0


def whole_constant(
    compiler: Compiler, node: exp.Expr, user: str, least: int, most: int, example: str | None = None
) -> int:
    """The whole number that a function needs as a constant.

    Args:
        example: what to write, for the hint; the smallest number by itself.

    Raises:
        Problem: it is none, or not from `least` to `most`.
    """
    number = real_constant(compiler, node, user)
    if not number.is_integer() or not least <= number <= most:
        raise compiler.source.unsupported(
            f"{user} takes a whole number from {least} to {most:,} here.",
            at=node,
            hint=f"Write {example or max(least, 1)}.",
        )
    return int(number)
