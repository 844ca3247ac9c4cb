"""The functions of strings."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_STRING, Call, Expression, Pattern

from gateway.planning import calls, literals
from gateway.planning.arithmetic import whole_constant
from gateway.planning.calls import call, constant
from gateway.planning.compiler import Compiler
from gateway.planning.conditions import compared, flattened
from gateway.planning.scope import Term

_POSITION_LIMIT = 2**31 - 1


def of_string(function: Call.Function.ValueType) -> Callable[[Compiler, exp.Expr], Term]:
    """A function of one string."""

    def rule(compiler: Compiler, node: exp.Expr) -> Term:
        compiler.require_parts(node, frozenset({"this"}))
        return call(function, _string(compiler, node.this))

    return rule


def _string(compiler: Compiler, node: exp.Expr) -> Term:
    return compiler.of_type(node, COLUMN_TYPE_STRING, "no string", "Use CAST(... AS VARCHAR).")


def substring(compiler: Compiler, node: exp.Substring) -> Term:
    """SUBSTRING(x, start, length) with constants."""
    compiler.require_parts(node, frozenset({"this", "start", "length"}))
    length = node.args.get("length")
    return _cut(
        compiler,
        node.this,
        whole_constant(compiler, node.args["start"], "SUBSTRING", 1, _POSITION_LIMIT),
        _POSITION_LIMIT if length is None else whole_constant(compiler, length, "SUBSTRING", 0, _POSITION_LIMIT),
    )


def left(compiler: Compiler, node: exp.Left) -> Term:
    """LEFT(x, length) with a constant."""
    length = whole_constant(compiler, node.args["expression"], "LEFT", 0, _POSITION_LIMIT)
    return _cut(compiler, node.this, 1, length)


def _cut(compiler: Compiler, node: exp.Expr, start: int, length: int) -> Term:
    return call(Call.FUNCTION_SUBSTRING, _string(compiler, node), constant(start), constant(length))


def concat(compiler: Compiler, node: exp.Concat) -> Term:
    """CONCAT passes over NULL, unlike ||."""
    texts = [compiler.as_text(operand) for operand in node.expressions]
    whole = [
        text if text.expression.HasField("literal") else call(Call.FUNCTION_COALESCE, text, constant(""))
        for text in texts
    ]
    return call(Call.FUNCTION_CONCATENATE, *whole) if len(whole) > 1 else whole[0]


def matcher(form: str, name: str) -> Callable[..., Term]:
    """STARTS_WITH, ENDS_WITH or CONTAINS with a constant, as the pattern that says the same."""

    def rule(compiler: Compiler, node: exp.Expr, *operands: exp.Expr) -> Term:
        subject, needle = operands or (node.this, node.args["expression"])
        text, part = _string(compiler, subject), compiler.text(needle, name)
        if not set(part) & {"%", "_"}:
            return calls.truth(Expression(pattern=Pattern(operand=text.expression, pattern=form.format(part))))
        if form.startswith("{}"):
            head = call(Call.FUNCTION_SUBSTRING, text, constant(1), constant(len(part)))
            return calls.truth(compared(head, literals.EQUAL, constant(part)))
        raise compiler.source.unsupported(
            f"{name} cannot look for % or _.", at=needle, hint="Use LIKE, where they stand for any text or character."
        )

    return rule


def concatenation(compiler: Compiler, node: exp.DPipe) -> Term:
    """x || y, NULL where either is."""
    texts = [compiler.as_text(operand) for operand in flattened(node)]
    return call(Call.FUNCTION_CONCATENATE, *texts)
