"""CASE and the functions that choose one of their operands."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp
from yingbi.api.v1.plan_pb2 import Call, Expression

from gateway.planning import calls, literals
from gateway.planning.calls import call, conditional
from gateway.planning.compiler import Compiler
from gateway.planning.scope import Term


def case(compiler: Compiler, node: exp.Case) -> Term:
    """CASE, with or without an operand."""
    compiler.require_parts(node, frozenset({"this", "ifs", "default"}))
    ifs, default = node.args["ifs"], node.args.get("default")
    if isinstance(node.this, exp.Expr):
        subject = compiler.term(node.this)
        conditions = [compiler.compared(subject, literals.EQUAL, compiler.meaning(when.this), node) for when in ifs]
    else:
        conditions = [calls.truth(compiler.condition(when.this)) for when in ifs]
    results = [when.args["true"] for when in ifs]
    return _chosen(compiler, [condition.expression for condition in conditions], results, default, node)


def if_(compiler: Compiler, node: exp.If) -> Term:
    """IF(condition, then, otherwise)."""
    return choice(compiler, node.this, node.args["true"], node.args.get("false"), node)


def choice(compiler: Compiler, condition: exp.Expr, then: exp.Expr, otherwise: exp.Expr | None, at: exp.Expr) -> Term:
    """IF(condition, then, otherwise).

    Raises:
        Problem: a part cannot be asked, or the results are of different types.
    """
    return _chosen(compiler, [compiler.condition(condition)], [then], otherwise, at)


def _chosen(
    compiler: Compiler, conditions: list[Expression], results: list[exp.Expr], default: exp.Expr | None, at: exp.Expr
) -> Term:
    terms = compiler.unified([*results, default] if default is not None else results, at)
    branches = list(zip(conditions, terms[: len(conditions)], strict=True))
    return conditional(branches, terms[-1] if default is not None else None)


def of_one_type(function: Call.Function.ValueType) -> Callable[[Compiler, exp.Expr], Term]:
    """COALESCE, LEAST or GREATEST."""

    def rule(compiler: Compiler, node: exp.Expr) -> Term:
        compiler.require_parts(node, frozenset({"this", "expressions", "ignore_nulls"}))
        terms = compiler.unified([node.this, *node.expressions], node)
        return call(function, *terms) if len(terms) > 1 else terms[0]

    return rule


def null_if(compiler: Compiler, node: exp.Nullif) -> Term:
    """NULLIF(x, y)."""
    subject = compiler.term(node.this)
    equal = compiler.compared(subject, literals.EQUAL, compiler.meaning(node.args["expression"]), node)
    return conditional([(equal.expression, calls.null(subject.type))], subject)


def iff(compiler: Compiler, node: exp.Expr, condition: exp.Expr, then: exp.Expr, otherwise: exp.Expr) -> Term:
    """IFF(condition, then, otherwise)."""
    return choice(compiler, condition, then, otherwise, node)
