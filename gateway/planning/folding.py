"""What the functions of the plan language give for constants, as `plan.proto` says it."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable
from typing import Any

from yingbi.api.v1.plan_pb2 import Call

from enclave_sim.plan.values import MAX_INT64, MIN_INT64, PythonValue

_LARGEST = 1.7976931348623157e308
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_UPPER = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def apply(function: Call.Function.ValueType, operands: tuple[PythonValue, ...]) -> PythonValue | None:
    """The function's value for operands that are not NULL and of its types; None for NULL."""
    return _total(_FUNCTIONS[function](*operands))


def saturated(number: int) -> int:
    """The nearest int64."""
    return max(min(number, MAX_INT64), MIN_INT64)


def _total(result: Any) -> PythonValue | None:
    if isinstance(result, float):
        if math.isnan(result):
            return None
        # Adding 0.0 turns -0.0 into 0.0.
        return max(min(result, _LARGEST), -_LARGEST) + 0.0
    if isinstance(result, int) and not isinstance(result, bool):
        return saturated(result)
    kept: PythonValue | None = result
    return kept


def _multiply(left: Any, right: Any) -> Any:
    return left * right


def _divide(left: float, right: float) -> float | None:
    return None if right == 0 else left / right


def _modulo(left: int, right: int) -> int | None:
    return None if right == 0 else int(math.copysign(1, left)) * (abs(left) % abs(right))


def _round(number: float) -> float:
    whole = float(math.trunc(number))
    return whole + math.copysign(1.0, number) if abs(number - whole) >= 0.5 else whole


def _to_int64(operand: PythonValue) -> int | None:
    if isinstance(operand, str):
        return int(operand) if _WHOLE_NUMBER.fullmatch(operand) else None
    if isinstance(operand, float):
        return int(_round(operand))
    return int(operand) if isinstance(operand, int) else None


def _to_string(operand: PythonValue) -> str:
    match operand:
        case bool():
            return "true" if operand else "false"
        case datetime.date():
            return operand.isoformat()[:10]
        case _:
            return str(operand)


def day_of(operand: datetime.date) -> datetime.date:
    """The date of a date or timestamp."""
    return operand.date() if isinstance(operand, datetime.datetime) else operand


def _first_day(operand: datetime.date, months: int) -> datetime.date:
    day = day_of(operand)
    return day.replace(month=(day.month - 1) // months * months + 1, day=1)


def _monday(operand: datetime.date) -> datetime.date | None:
    day = day_of(operand)
    ordinal = day.toordinal() - day.weekday()
    return datetime.date.fromordinal(ordinal) if ordinal >= 1 else None


_FUNCTIONS: dict[Call.Function.ValueType, Callable[..., Any]] = {
    Call.FUNCTION_ADD: lambda left, right: left + right,
    Call.FUNCTION_SUBTRACT: lambda left, right: left - right,
    Call.FUNCTION_MULTIPLY: _multiply,
    Call.FUNCTION_DIVIDE: _divide,
    Call.FUNCTION_MODULO: _modulo,
    Call.FUNCTION_NEGATE: lambda operand: -operand,
    Call.FUNCTION_ABSOLUTE: abs,
    Call.FUNCTION_FLOOR: lambda operand: float(math.floor(operand)),
    Call.FUNCTION_CEILING: lambda operand: float(math.ceil(operand)),
    Call.FUNCTION_ROUND: _round,
    Call.FUNCTION_SQUARE_ROOT: lambda operand: math.sqrt(operand) if operand >= 0 else None,
    Call.FUNCTION_NATURAL_LOGARITHM: lambda operand: math.log(operand) if operand > 0 else None,
    Call.FUNCTION_LEAST: lambda *operands: min(operands),
    Call.FUNCTION_GREATEST: lambda *operands: max(operands),
    Call.FUNCTION_COALESCE: lambda *operands: operands[0],
    Call.FUNCTION_TO_FLOAT64: float,
    Call.FUNCTION_TO_INT64: _to_int64,
    Call.FUNCTION_TO_STRING: _to_string,
    Call.FUNCTION_TO_DATE: day_of,
    Call.FUNCTION_LOWER: lambda text: text.translate(_LOWER),
    Call.FUNCTION_UPPER: lambda text: text.translate(_UPPER),
    Call.FUNCTION_TRIM: lambda text: text.strip(" "),
    Call.FUNCTION_LENGTH: len,
    Call.FUNCTION_SUBSTRING: lambda text, start, length: text[start - 1 : start - 1 + length],
    Call.FUNCTION_CONCATENATE: lambda *texts: "".join(texts),
    Call.FUNCTION_YEAR: lambda day: day.year,
    Call.FUNCTION_QUARTER: lambda day: (day.month + 2) // 3,
    Call.FUNCTION_MONTH: lambda day: day.month,
    Call.FUNCTION_DAY: lambda day: day.day,
    Call.FUNCTION_DAY_OF_WEEK: lambda day: day.isoweekday() % 7,
    Call.FUNCTION_DAY_OF_YEAR: lambda day: day.timetuple().tm_yday,
    Call.FUNCTION_HOUR: lambda instant: instant.hour,
    Call.FUNCTION_MINUTE: lambda instant: instant.minute,
    Call.FUNCTION_TRUNCATE_TO_YEAR: lambda day: _first_day(day, 12),
    Call.FUNCTION_TRUNCATE_TO_QUARTER: lambda day: _first_day(day, 3),
    Call.FUNCTION_TRUNCATE_TO_MONTH: lambda day: _first_day(day, 1),
    Call.FUNCTION_TRUNCATE_TO_WEEK: _monday,
    Call.FUNCTION_DAYS_BETWEEN: lambda first, last: (last - first).days,
}
