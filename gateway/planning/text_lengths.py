"""Text that a query goes through: refused with its place where it is more than an enclave accepts."""

from __future__ import annotations

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_STRING, Expression, Plan

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.text_work import (
    TextWorkError,
    check_expression_work,
    kept_work,
    require_work,
    rows_of,
    total_work,
)
from gateway.planning.compiler import too_complex
from gateway.planning.scope import Scope
from gateway.planning.sql import Source

_HINT = (
    "Use fewer text functions, each on a short part, SUBSTRING(x, 1, 50), that a subquery cuts out; or ask in several "
    "queries. LOWER and UPPER cost most, and LIKE with many _."
)


def refuse_long_texts(scope: Scope, node: exp.Expr, expression: Expression) -> None:
    """Refuse an expression that alone goes through more text of one unit than a plan may.

    Raises:
        Problem: REFUSED "too_much_text", or "too_complex" for one text that is put together and too long.
    """
    # While FROM is read there is no relation yet; what that leaves is seen in the plan.
    if scope.relation.WhichOneof("kind") is None or COLUMN_TYPE_STRING not in scope.columns().values():
        return
    try:
        check_expression_work(expression, rows_of(scope.relation, scope.declaration), "expression")
    except TextWorkError as error:
        raise _too_much_text(scope.source, node, error) from error
    except PlanError as error:
        raise too_complex(scope, node) from error


def refuse_much_text(scope: Scope, select: exp.Select, plan: Plan) -> None:
    """Refuse a draft whose parts together go through more text of one unit than a plan may.

    Raises:
        Problem: REFUSED "too_much_text", at the clause that has most of it.
    """
    try:
        require_work(total_work(plan, scope.declaration), "plan")
    except TextWorkError as error:
        raise _too_much_text(scope.source, _heaviest(scope, select, plan), error) from error


def _heaviest(scope: Scope, select: exp.Select, plan: Plan) -> exp.Expr:
    over = rows_of(plan.relation, scope.declaration)
    keys = sum(kept_work(key.expression, over) for key in plan.group_by)
    rest = total_work(plan, scope.declaration) - over.work - keys
    parts: dict[exp.Expr | None, int] = {
        select.args.get("where") or select.args.get("from_"): over.work,
        select.args.get("group"): keys,
        select.expressions[0]: rest,
    }
    return max(filter(None, parts), key=lambda part: parts[part])


def _too_much_text(source: Source, at: exp.Expr, error: TextWorkError) -> Problem:
    return source.refuse(
        "too_much_text",
        f"One unit's texts are gone through in {error.work:,} steps of about a byte here; {error.most:,} are allowed, "
        "so that the time taken tells nothing of them.",
        at=at,
        hint=_HINT,
    )
