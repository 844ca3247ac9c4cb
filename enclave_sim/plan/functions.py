"""Which operands the functions of the plan language take, and what they give: its proto's comments as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    Call,
    ColumnType,
    UnitMeasure,
)

from enclave_sim.plan import values
from enclave_sim.plan.errors import PlanError, require

Type: TypeAlias = ColumnType.ValueType
_Signatures: TypeAlias = Mapping[tuple[Type, ...], Type]

_INT64_OR_FLOAT64: _Signatures = {
    (COLUMN_TYPE_INT64,): COLUMN_TYPE_INT64,
    (COLUMN_TYPE_FLOAT64,): COLUMN_TYPE_FLOAT64,
}
_TWO_NUMBERS: _Signatures = {
    (COLUMN_TYPE_INT64, COLUMN_TYPE_INT64): COLUMN_TYPE_INT64,
    (COLUMN_TYPE_FLOAT64, COLUMN_TYPE_FLOAT64): COLUMN_TYPE_FLOAT64,
}
_FLOAT64: _Signatures = {(COLUMN_TYPE_FLOAT64,): COLUMN_TYPE_FLOAT64}
_STRING: _Signatures = {(COLUMN_TYPE_STRING,): COLUMN_TYPE_STRING}
_PART_OF_DAY: _Signatures = {(COLUMN_TYPE_TIMESTAMP,): COLUMN_TYPE_INT64}
_PART_OF_DATE: _Signatures = {(COLUMN_TYPE_DATE,): COLUMN_TYPE_INT64, **_PART_OF_DAY}
_FIRST_DAY: _Signatures = {(COLUMN_TYPE_DATE,): COLUMN_TYPE_DATE, (COLUMN_TYPE_TIMESTAMP,): COLUMN_TYPE_DATE}

SIGNATURES: Mapping[Call.Function.ValueType, _Signatures] = {
    Call.FUNCTION_ADD: _TWO_NUMBERS,
    Call.FUNCTION_SUBTRACT: _TWO_NUMBERS,
    Call.FUNCTION_MULTIPLY: _TWO_NUMBERS,
    Call.FUNCTION_DIVIDE: {(COLUMN_TYPE_FLOAT64, COLUMN_TYPE_FLOAT64): COLUMN_TYPE_FLOAT64},
    Call.FUNCTION_MODULO: {(COLUMN_TYPE_INT64, COLUMN_TYPE_INT64): COLUMN_TYPE_INT64},
    Call.FUNCTION_NEGATE: _INT64_OR_FLOAT64,
    Call.FUNCTION_ABSOLUTE: _INT64_OR_FLOAT64,
    Call.FUNCTION_FLOOR: _FLOAT64,
    Call.FUNCTION_CEILING: _FLOAT64,
    Call.FUNCTION_ROUND: _FLOAT64,
    Call.FUNCTION_SQUARE_ROOT: _FLOAT64,
    Call.FUNCTION_NATURAL_LOGARITHM: _FLOAT64,
    Call.FUNCTION_TO_FLOAT64: {
        (COLUMN_TYPE_INT64,): COLUMN_TYPE_FLOAT64,
        (COLUMN_TYPE_BOOL,): COLUMN_TYPE_FLOAT64,
    },
    Call.FUNCTION_TO_INT64: {
        (COLUMN_TYPE_FLOAT64,): COLUMN_TYPE_INT64,
        (COLUMN_TYPE_BOOL,): COLUMN_TYPE_INT64,
        (COLUMN_TYPE_STRING,): COLUMN_TYPE_INT64,
    },
    Call.FUNCTION_TO_STRING: {
        (COLUMN_TYPE_INT64,): COLUMN_TYPE_STRING,
        (COLUMN_TYPE_BOOL,): COLUMN_TYPE_STRING,
        (COLUMN_TYPE_DATE,): COLUMN_TYPE_STRING,
    },
    Call.FUNCTION_TO_DATE: {(COLUMN_TYPE_TIMESTAMP,): COLUMN_TYPE_DATE},
    Call.FUNCTION_LOWER: _STRING,
    Call.FUNCTION_UPPER: _STRING,
    Call.FUNCTION_TRIM: _STRING,
    Call.FUNCTION_LENGTH: {(COLUMN_TYPE_STRING,): COLUMN_TYPE_INT64},
    Call.FUNCTION_SUBSTRING: {(COLUMN_TYPE_STRING, COLUMN_TYPE_INT64, COLUMN_TYPE_INT64): COLUMN_TYPE_STRING},
    Call.FUNCTION_YEAR: _PART_OF_DATE,
    Call.FUNCTION_QUARTER: _PART_OF_DATE,
    Call.FUNCTION_MONTH: _PART_OF_DATE,
    Call.FUNCTION_DAY: _PART_OF_DATE,
    Call.FUNCTION_DAY_OF_WEEK: _PART_OF_DATE,
    Call.FUNCTION_DAY_OF_YEAR: _PART_OF_DATE,
    Call.FUNCTION_HOUR: _PART_OF_DAY,
    Call.FUNCTION_MINUTE: _PART_OF_DAY,
    Call.FUNCTION_TRUNCATE_TO_YEAR: _FIRST_DAY,
    Call.FUNCTION_TRUNCATE_TO_QUARTER: _FIRST_DAY,
    Call.FUNCTION_TRUNCATE_TO_MONTH: _FIRST_DAY,
    Call.FUNCTION_TRUNCATE_TO_WEEK: _FIRST_DAY,
    Call.FUNCTION_DAYS_BETWEEN: {(COLUMN_TYPE_DATE, COLUMN_TYPE_DATE): COLUMN_TYPE_INT64},
}
"""The functions of a fixed number of operands: what they give for each list of types that they take."""

OF_ONE_TYPE = frozenset({Call.FUNCTION_LEAST, Call.FUNCTION_GREATEST, Call.FUNCTION_COALESCE})
"""Two or more operands of one type, whichever it is, to that type."""


def result_of(function: Call.Function.ValueType, operands: Sequence[Type], path: str) -> Type:
    """The type of a call with operands of these types.

    Raises:
        PlanError: the function is not known or does not take them.
    """
    if function in OF_ONE_TYPE or function == Call.FUNCTION_CONCATENATE:
        wanted = COLUMN_TYPE_STRING if function == Call.FUNCTION_CONCATENATE else None
        require(len(operands) >= 2, f"{path}.operands", "must be two or more")
        require(len(set(operands)) == 1, f"{path}.operands", f"must be of one type, not {_names(operands)}")
        require(wanted in (None, operands[0]), f"{path}.operands", f"must be strings, not {_names(operands)}")
        return operands[0]
    signatures = SIGNATURES.get(function)
    if signatures is None:
        raise PlanError(f"{path}.function", "is not known")
    result = signatures.get(tuple(operands))
    if result is None:
        takes = " or ".join(_names(signature) for signature in signatures)
        raise PlanError(f"{path}.operands", f"must be {takes}, not {_names(operands)}")
    return result


def measured(function: UnitMeasure.Function.ValueType, argument: Type | None, path: str) -> Type:
    """The type of a measure over an argument of this type, or over none.

    Raises:
        PlanError: the function is not known or does not take it.
    """
    match function:
        case UnitMeasure.FUNCTION_COUNT_ROWS:
            require(argument is None, f"{path}.argument", "must be absent")
            return COLUMN_TYPE_INT64
        case UnitMeasure.FUNCTION_COUNT | UnitMeasure.FUNCTION_COUNT_DISTINCT:
            _require_argument(argument, path)
            return COLUMN_TYPE_INT64
        case UnitMeasure.FUNCTION_SUM | UnitMeasure.FUNCTION_MEAN:
            numeric = _require_argument(argument, path) in values.NUMERIC
            require(numeric, f"{path}.argument", "must be int64 or float64")
            return COLUMN_TYPE_FLOAT64
        case UnitMeasure.FUNCTION_MINIMUM | UnitMeasure.FUNCTION_MAXIMUM:
            return _require_argument(argument, path)
        case _:
            raise PlanError(f"{path}.function", "is not known")


def _require_argument(argument: Type | None, path: str) -> Type:
    if argument is None:
        raise PlanError(f"{path}.argument", "is missing")
    return argument


def _names(types: Sequence[Type]) -> str:
    return f"({', '.join(values.type_name(each) for each in types)})"
