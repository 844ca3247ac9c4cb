"""The functions of `Call` as SQL, made total.

A function may take two steps: an `intermediate` of its operands, which gets a name, and `call_sql` of that. The
first computes in a type that nothing overflows, or cuts to the range where the function has a value; the
second cuts to the result's type. Integers go by HUGEINT, which holds every sum and product of two int64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from yingbi.api.v1.plan_pb2 import Call, ColumnType

from enclave_sim.engine.protocol import EngineError

_Types: TypeAlias = Sequence[ColumnType.ValueType]
_Function: TypeAlias = Call.Function.ValueType

_INT64 = ColumnType.COLUMN_TYPE_INT64
_FLOAT64 = ColumnType.COLUMN_TYPE_FLOAT64
_STRING = ColumnType.COLUMN_TYPE_STRING
_DATE = ColumnType.COLUMN_TYPE_DATE
_TIMESTAMP = ColumnType.COLUMN_TYPE_TIMESTAMP

_MAX_INT64 = "9223372036854775807"
_MIN_INT64 = "(-9223372036854775808)"
_MAX_DOUBLE = "1.7976931348623157e308"
_TWO_63 = "9223372036854775808e0"
_DAY = "86400000000"
_HOUR = "3600000000"
_MINUTE = "60000000"
_FIRST_DAY, _LAST_DAY = -719162, 2932896
"""0001-01-01 and 9999-12-31, in days since 1970-01-01. The first is a Monday."""
_EPOCH = "CAST('1970-01-01' AS DATE)"
_UPPER, _LOWER = "'ABCDEFGHIJKLMNOPQRSTUVWXYZ'", "'abcdefghijklmnopqrstuvwxyz'"
_LARGEST_PLACE = 2**32 - 1
"""Largest argument of DuckDB's substring; no string is so long."""


def intermediate(function: _Function, types: _Types, names: Sequence[str]) -> str | None:
    """The SQL of what `call_sql` takes in the operands' place, or None where it takes the operands."""
    kind = types[0] if types else None
    if function in _DATE_PARTS and kind in (_DATE, _TIMESTAMP):
        return _proper_day(names[0] if kind == _DATE else _day(names[0]))
    if function == Call.FUNCTION_TO_STRING and kind == _DATE:
        return _proper_day(names[0])
    if function == Call.FUNCTION_TO_INT64 and kind == _FLOAT64:
        return f"round({names[0]})"
    if kind == _INT64 and function in _INT64_ARITHMETIC:
        return _INT64_ARITHMETIC[function](*(f"CAST({name} AS HUGEINT)" for name in names))
    if kind == _FLOAT64 and function in _FLOAT64_FUNCTIONS:
        return _FLOAT64_FUNCTIONS[function](*names)
    return None


def call_sql(call: Call, types: _Types, names: Sequence[str]) -> str:
    """The SQL of a call; `names` are those of its operands, or the one of its intermediate."""
    function, kind = call.function, types[0] if types else None
    if function in _DATE_PARTS:
        return _DATE_PARTS[function](names[0])
    if kind == _INT64 and function in _INT64_ARITHMETIC:
        return _cut_int64(names[0])
    if kind == _FLOAT64 and function in _FLOAT64_FUNCTIONS:
        return cut_float64(names[0])
    if function == Call.FUNCTION_SUBSTRING:
        return _substring(call, names[0])
    if function in _CONVERSIONS:
        return _CONVERSIONS[function](kind, names[0])
    if function in _OTHERS:
        return _OTHERS[function](*names)
    raise EngineError(f"the plan has a call of an unknown function: {function}")


def _cut_int64(name: str) -> str:
    return (
        f"(CASE WHEN {name} > {_MAX_INT64} THEN {_MAX_INT64} WHEN {name} < {_MIN_INT64} THEN {_MIN_INT64}"
        f" ELSE TRY_CAST({name} AS BIGINT) END)"
    )


def cut_float64(name: str) -> str:
    """A float64 that may be NaN or infinite as one that is neither: NULL, and the largest of its sign."""
    # First what nearly all are. NaN is the largest number to DuckDB, and so in no branch; nor is NULL.
    return (
        f"(CASE WHEN isfinite({name}) THEN {name} WHEN {name} < 0 THEN -{_MAX_DOUBLE}"
        f" WHEN NOT isnan({name}) THEN {_MAX_DOUBLE} END)"
    )


def _modulo(dividend: str, divisor: str) -> str:
    # The smallest integer has no quotient by -1, and every remainder by -1 is 0, or NULL.
    safe = f"(CASE WHEN {divisor} IN (0, -1) THEN NULL ELSE {divisor} END)"
    return f"(CASE WHEN {divisor} = -1 THEN {dividend} - {dividend} ELSE {dividend} % {safe} END)"


def _day(micros: str) -> str:
    """The day of a timestamp, rounded down, as // rounds towards zero."""
    return f"({micros} // {_DAY} - CASE WHEN {micros} % {_DAY} < 0 THEN 1 ELSE 0 END)"


def _within_day(micros: str) -> str:
    return f"(({micros} % {_DAY} + {_DAY}) % {_DAY})"


def _proper_day(day: str) -> str:
    """A day as INTEGER, NULL outside the years 1 to 9999."""
    return f"(CASE WHEN {day} BETWEEN {_FIRST_DAY} AND {_LAST_DAY} THEN TRY_CAST({day} AS INTEGER) END)"


def _date(day: str) -> str:
    return f"({_EPOCH} + {day})"


def _first(day: str, month: str) -> str:
    return f"CAST(make_date(year({_date(day)}), {month}, 1) - {_EPOCH} AS INTEGER)"


def _substring(call: Call, text: str) -> str:
    start, length = (min(part.literal.int64_value, _LARGEST_PLACE) for part in call.operands[1:])
    # Numbers of the plan by their value, never their text.
    return f"substring({text}, {int(start)}, {int(length)})"


def _to_int64(kind: ColumnType.ValueType | None, name: str) -> str:
    match kind:
        case ColumnType.COLUMN_TYPE_FLOAT64:
            return (
                f"(CASE WHEN {name} >= {_TWO_63} THEN {_MAX_INT64} WHEN {name} <= -{_TWO_63} THEN {_MIN_INT64}"
                f" ELSE TRY_CAST({name} AS BIGINT) END)"
            )
        case ColumnType.COLUMN_TYPE_STRING:
            return f"(CASE WHEN regexp_full_match({name}, '[+-]?[0-9]{{1,18}}') THEN TRY_CAST({name} AS BIGINT) END)"
        case _:
            return f"CAST({name} AS BIGINT)"


def _to_string(kind: ColumnType.ValueType | None, name: str) -> str:
    return f"CAST({_date(name) if kind == _DATE else name} AS VARCHAR)"


_DATE_PARTS: Mapping[_Function, Callable[[str], str]] = {
    Call.FUNCTION_YEAR: lambda day: f"year({_date(day)})",
    Call.FUNCTION_QUARTER: lambda day: f"quarter({_date(day)})",
    Call.FUNCTION_MONTH: lambda day: f"month({_date(day)})",
    Call.FUNCTION_DAY: lambda day: f"day({_date(day)})",
    Call.FUNCTION_DAY_OF_WEEK: lambda day: f"dayofweek({_date(day)})",
    Call.FUNCTION_DAY_OF_YEAR: lambda day: f"dayofyear({_date(day)})",
    Call.FUNCTION_TRUNCATE_TO_YEAR: lambda day: _first(day, "1"),
    Call.FUNCTION_TRUNCATE_TO_QUARTER: lambda day: _first(day, f"(quarter({_date(day)}) * 3 - 2)"),
    Call.FUNCTION_TRUNCATE_TO_MONTH: lambda day: _first(day, f"month({_date(day)})"),
    Call.FUNCTION_TRUNCATE_TO_WEEK: lambda day: f"({day} - ({day} - {_FIRST_DAY}) % 7)",
}
"""Of a proper day."""

_INT64_ARITHMETIC: Mapping[_Function, Callable[..., str]] = {
    Call.FUNCTION_ADD: lambda left, right: f"({left} + {right})",
    Call.FUNCTION_SUBTRACT: lambda left, right: f"({left} - {right})",
    Call.FUNCTION_MULTIPLY: lambda left, right: f"({left} * {right})",
    Call.FUNCTION_NEGATE: lambda value: f"(-{value})",
    Call.FUNCTION_ABSOLUTE: lambda value: f"abs({value})",
}
"""Of HUGEINTs, before the result is cut."""

_CHOICES: Mapping[_Function, str] = {
    Call.FUNCTION_LEAST: "least",
    Call.FUNCTION_GREATEST: "greatest",
    Call.FUNCTION_COALESCE: "coalesce",
}


def _choice(function: _Function) -> Callable[..., str]:
    return lambda *names: f"{_CHOICES[function]}({', '.join(names)})"


_FLOAT64_FUNCTIONS: Mapping[_Function, Callable[..., str]] = {
    Call.FUNCTION_ADD: lambda left, right: f"({left} + {right})",
    Call.FUNCTION_SUBTRACT: lambda left, right: f"({left} - {right})",
    Call.FUNCTION_MULTIPLY: lambda left, right: f"({left} * {right})",
    Call.FUNCTION_DIVIDE: lambda left, right: f"({left} / nullif({right}, 0e0))",
    Call.FUNCTION_NEGATE: lambda value: f"(-{value})",
    Call.FUNCTION_ABSOLUTE: lambda value: f"abs({value})",
    Call.FUNCTION_FLOOR: lambda value: f"floor({value})",
    Call.FUNCTION_CEILING: lambda value: f"ceil({value})",
    Call.FUNCTION_ROUND: lambda value: f"round({value})",
    Call.FUNCTION_SQUARE_ROOT: lambda value: f"sqrt(CASE WHEN {value} >= 0e0 THEN {value} END)",
    Call.FUNCTION_NATURAL_LOGARITHM: lambda value: f"ln(CASE WHEN {value} > 0e0 THEN {value} END)",
    **{function: _choice(function) for function in _CHOICES},
}
"""Of DOUBLEs, before the result is cut."""

_CONVERSIONS: Mapping[_Function, Callable[[ColumnType.ValueType | None, str], str]] = {
    Call.FUNCTION_TO_FLOAT64: lambda _, name: f"CAST({name} AS DOUBLE)",
    Call.FUNCTION_TO_INT64: _to_int64,
    Call.FUNCTION_TO_STRING: _to_string,
}

_OTHERS: Mapping[_Function, Callable[..., str]] = {
    Call.FUNCTION_MODULO: _modulo,
    Call.FUNCTION_TO_DATE: lambda micros: f"CAST({_day(micros)} AS INTEGER)",
    Call.FUNCTION_LOWER: lambda text: f"translate({text}, {_UPPER}, {_LOWER})",
    Call.FUNCTION_UPPER: lambda text: f"translate({text}, {_LOWER}, {_UPPER})",
    Call.FUNCTION_TRIM: lambda text: f"trim({text}, ' ')",
    Call.FUNCTION_LENGTH: lambda text: f"length({text})",
    Call.FUNCTION_CONCATENATE: lambda *texts: f"({' || '.join(texts)})",
    Call.FUNCTION_HOUR: lambda micros: f"({_within_day(micros)} // {_HOUR})",
    Call.FUNCTION_MINUTE: lambda micros: f"({_within_day(micros)} // {_MINUTE} % 60)",
    Call.FUNCTION_DAYS_BETWEEN: lambda first, second: f"(CAST({second} AS BIGINT) - CAST({first} AS BIGINT))",
    **{function: _choice(function) for function in _CHOICES},
}
"""Of values that need no cutting; choices, of all types but float64."""
