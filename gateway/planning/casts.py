"""CAST, TRY_CAST and ::, where they cannot fail."""

from __future__ import annotations

from sqlglot import exp
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    Call,
)

from enclave_sim.plan import values
from gateway.planning import calls, literals
from gateway.planning.calls import constant
from gateway.planning.compiler import Compiler, described
from gateway.planning.conditions import compared
from gateway.planning.scope import Term

_WHOLE = (exp.DType.BIGINT, exp.DType.INT, exp.DType.SMALLINT, exp.DType.TINYINT)
_REAL = (exp.DType.DOUBLE, exp.DType.FLOAT)
_SAME = {
    exp.DType.BOOLEAN: COLUMN_TYPE_BOOL,
    exp.DType.DATE: COLUMN_TYPE_DATE,
    exp.DType.TIMESTAMP: COLUMN_TYPE_TIMESTAMP,
    exp.DType.TIMESTAMPNTZ: COLUMN_TYPE_TIMESTAMP,
}


def cast(compiler: Compiler, node: exp.Expr) -> Term:
    """CAST(x AS type); a string that is no number is NULL, as TRY_CAST has it.

    Raises:
        Problem: there is no total cast between the types.
    """
    compiler.require_parts(node, frozenset({"this", "to", "_type", "safe"}))
    wanted, term = node.args["to"].this, compiler.term(node.this)
    if wanted in (exp.DType.TEXT, exp.DType.VARCHAR):
        return compiler.to_string(term, node)
    result = _number(wanted, term) or _other(wanted, term)
    if result is None:
        raise compiler.source.unsupported(
            f"{described(term)} cannot be cast to {node.args['to'].sql(dialect='duckdb')}.",
            at=node,
            hint="Cast numbers and strings to BIGINT, numbers to DOUBLE, whole numbers and dates to VARCHAR, "
            "timestamps to DATE.",
        )
    return result


def _number(wanted: exp.DType, term: Term) -> Term | None:
    if wanted in _WHOLE and term.type in (*values.NUMERIC, COLUMN_TYPE_BOOL, COLUMN_TYPE_STRING):
        return calls.as_int(term)
    if wanted in _REAL and term.type in (*values.NUMERIC, COLUMN_TYPE_BOOL):
        return calls.as_float(term)
    return None


def _other(wanted: exp.DType, term: Term) -> Term | None:
    if wanted == exp.DType.DATE and term.type == COLUMN_TYPE_TIMESTAMP:
        return calls.call(Call.FUNCTION_TO_DATE, term)
    if wanted == exp.DType.BOOLEAN and term.type in values.NUMERIC:
        zero = constant(0.0) if term.type == COLUMN_TYPE_FLOAT64 else constant(0)
        return calls.truth(compared(term, literals.NOT_EQUAL, zero))
    return term if _SAME.get(wanted) == term.type else None
