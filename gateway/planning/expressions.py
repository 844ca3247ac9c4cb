"""From SQL expressions over one row to typed, total expressions of the plan language."""

from __future__ import annotations

from sqlglot import exp
from yingbi.api.v1.plan_pb2 import Expression

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.expressions import result_type
from gateway.planning.compiler import Compiler, too_complex
from gateway.planning.functions import compile_node
from gateway.planning.literals import unwrapped
from gateway.planning.scope import Scope, Term
from gateway.planning.text_lengths import refuse_long_texts

__all__ = ["Term", "compile_condition", "compile_term"]


def compile_term(scope: Scope, node: exp.Expr) -> Term:
    """The meaning of an expression over the columns of a scope, NULL alone excepted.

    Raises:
        Problem: with position, for whatever cannot be asked; "too_complex" and "too_much_text" for more than a
            plan holds.
    """
    term = Compiler(scope, compile_node).term(node)
    _check_size(scope, node, term.expression)
    name = term.label if isinstance(unwrapped(node), exp.Column) else node.sql(dialect="duckdb")
    return Term(term.expression, term.type, term.domain, name)


def compile_condition(scope: Scope, node: exp.Expr) -> Expression:
    """The meaning of a condition: an expression of type bool.

    Raises:
        Problem: as `compile_term`; MALFORMED "type_mismatch" for what is no condition.
    """
    expression = Compiler(scope, compile_node).condition(node)
    _check_size(scope, node, expression)
    return expression


def _check_size(scope: Scope, node: exp.Expr, expression: Expression) -> None:
    try:
        result_type(expression, scope.columns(), "expression")
    except PlanError as error:
        raise too_complex(scope, node) from error
    refuse_long_texts(scope, node, expression)
