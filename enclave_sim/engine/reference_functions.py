"""What the functions of `Call` mean, in plain Python."""

from __future__ import annotations

import datetime
import math
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from yingbi.api.v1.plan_pb2 import Call, ColumnType

from enclave_sim.engine.protocol import EngineError, Scalar
from enclave_sim.plan.values import MAX_INT64, MIN_INT64

MAX_FLOAT64 = math.ldexp(2 - 2**-52, 1023)

_EPOCH = datetime.date(1970, 1, 1).toordinal()
_DAY = 24 * 60 * 60 * 10**6
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


def call(function: Call.Function.ValueType, first: ColumnType.ValueType, values: Sequence[Scalar]) -> Scalar:
    """The function's value on operands the first of which is of type `first`: by the rules for all, and its own."""
    if function in _CHOICES:
        present = [value for value in values if value is not None]
        return cut(_CHOICES[function](present)) if present else None
    if any(value is None for value in values):
        return None
    if function in _OF_DATES:
        days = _day_of(values[0]) if first == ColumnType.COLUMN_TYPE_TIMESTAMP else values[0]
        date = _date(days)
        return None if date is None else _OF_DATES[function](date)
    if function == Call.FUNCTION_TO_STRING:
        return _text(first, values[0])
    if function not in _FUNCTIONS:
        raise EngineError(f"the plan has a call of an unknown function: {function}")
    return cut(_FUNCTIONS[function](*values))


def cut(value: Scalar) -> Scalar:
    """NULL for NaN, and the nearest number that the type has for one beyond all of them."""
    match value:
        case bool() | str() | None:
            return value
        case int():
            return min(max(value, MIN_INT64), MAX_INT64)
        case float():
            return None if math.isnan(value) else min(max(value, -MAX_FLOAT64), MAX_FLOAT64)


def _divide(dividend: float, divisor: float) -> float | None:
    return None if divisor == 0 else dividend / divisor


def _modulo(dividend: int, divisor: int) -> int | None:
    if divisor == 0:
        return None
    rest = abs(dividend) % abs(divisor)
    return -rest if dividend < 0 else rest


def _floor(value: float) -> float:
    return float(math.floor(value)) if math.isfinite(value) else value


def _round(value: float) -> float:
    """The nearest whole number; the one further from zero of two that are as near."""
    if not math.isfinite(value):
        return value
    magnitude = abs(value)
    below = math.floor(magnitude)
    # Exact: below 2^52 a double's fraction is a double, and from there on it is 0.
    nearest = below + 1 if magnitude - below >= 0.5 else below
    return math.copysign(nearest, value)


def _square_root(value: float) -> float | None:
    return None if value < 0 else math.sqrt(value)


def _logarithm(value: float) -> float | None:
    return None if value <= 0 else math.log(value)


def _to_int64(value: bool | float | str) -> int | None:
    match value:
        case bool():
            return int(value)
        case str():
            return int(value) if _INTEGER.fullmatch(value) else None
        case _:
            within = min(max(value, -(2.0**63)), 2.0**63)
            return int(_round(within))


def _text(kind: ColumnType.ValueType, value: Any) -> str | None:
    match kind:
        case ColumnType.COLUMN_TYPE_BOOL:
            return "true" if value else "false"
        case ColumnType.COLUMN_TYPE_DATE:
            date = _date(value)
            return None if date is None else date.isoformat()
        case _:
            return str(value)


def _substring(text: str, start: int, length: int) -> str:
    return text[start - 1 : start - 1 + length]


def _day_of(micros: Any) -> int:
    """The day of a timestamp; those before 1970 are negative, and a day begins at its midnight."""
    return int(micros // _DAY)


def _date(days: Any) -> datetime.date | None:
    ordinal = days + _EPOCH
    in_range = datetime.date.min.toordinal() <= ordinal <= datetime.date.max.toordinal()
    return datetime.date.fromordinal(ordinal) if in_range else None


def _days(date: datetime.date) -> int:
    return date.toordinal() - _EPOCH


def _quarter(date: datetime.date) -> int:
    return (date.month + 2) // 3


def _first_of_quarter(date: datetime.date) -> int:
    return _days(date.replace(month=3 * _quarter(date) - 2, day=1))


_CHOICES: Mapping[Call.Function.ValueType, Callable[[list[Any]], Scalar]] = {
    Call.FUNCTION_LEAST: min,
    Call.FUNCTION_GREATEST: max,
    Call.FUNCTION_COALESCE: lambda present: present[0],
}
"""Functions that pass over NULL, of the operands that are not; there is one at least."""

_OF_DATES: Mapping[Call.Function.ValueType, Callable[[datetime.date], int]] = {
    Call.FUNCTION_YEAR: lambda date: date.year,
    Call.FUNCTION_QUARTER: _quarter,
    Call.FUNCTION_MONTH: lambda date: date.month,
    Call.FUNCTION_DAY: lambda date: date.day,
    Call.FUNCTION_DAY_OF_WEEK: lambda date: date.isoweekday() % 7,
    Call.FUNCTION_DAY_OF_YEAR: lambda date: date.timetuple().tm_yday,
    Call.FUNCTION_TRUNCATE_TO_YEAR: lambda date: _days(date.replace(month=1, day=1)),
    Call.FUNCTION_TRUNCATE_TO_QUARTER: _first_of_quarter,
    Call.FUNCTION_TRUNCATE_TO_MONTH: lambda date: _days(date.replace(day=1)),
    # The first day of year 1 is a Monday, so no week begins before it.
    Call.FUNCTION_TRUNCATE_TO_WEEK: lambda date: _days(date) - date.weekday(),
}
"""Functions of a date or timestamp that are NULL outside the years 1 to 9999."""

_FUNCTIONS: Mapping[Call.Function.ValueType, Callable[..., Scalar]] = {
    Call.FUNCTION_ADD: lambda left, right: left + right,
    Call.FUNCTION_SUBTRACT: lambda left, right: left - right,
    Call.FUNCTION_MULTIPLY: lambda left, right: left * right,
    Call.FUNCTION_DIVIDE: _divide,
    Call.FUNCTION_MODULO: _modulo,
    Call.FUNCTION_NEGATE: lambda value: -value,
    Call.FUNCTION_ABSOLUTE: abs,
    Call.FUNCTION_FLOOR: _floor,
    Call.FUNCTION_CEILING: lambda value: -_floor(-value),
    Call.FUNCTION_ROUND: _round,
    Call.FUNCTION_SQUARE_ROOT: _square_root,
    Call.FUNCTION_NATURAL_LOGARITHM: _logarithm,
    Call.FUNCTION_TO_FLOAT64: float,
    Call.FUNCTION_TO_INT64: _to_int64,
    Call.FUNCTION_TO_DATE: _day_of,
    Call.FUNCTION_LOWER: lambda text: text.translate(_LOWER),
    Call.FUNCTION_UPPER: lambda text: text.translate(_UPPER),
    Call.FUNCTION_TRIM: lambda text: text.strip(" "),
    Call.FUNCTION_LENGTH: len,
    Call.FUNCTION_SUBSTRING: _substring,
    Call.FUNCTION_CONCATENATE: lambda *texts: "".join(texts),
    Call.FUNCTION_HOUR: lambda micros: micros % _DAY // (_DAY // 24),
    Call.FUNCTION_MINUTE: lambda micros: micros % _DAY // (_DAY // (24 * 60)) % 60,
    Call.FUNCTION_DAYS_BETWEEN: lambda first, second: second - first,
}
"""Functions of operands that are not NULL, before their result is cut to its type."""
