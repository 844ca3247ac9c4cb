"""Constants of the plan language and the Python values that they stand for.

bool, int and float and str stand for themselves, `datetime.date` for a date, and a `datetime.datetime`
without time zone for a timestamp. Dates and timestamps run from year 1 to year 9999.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import TypeAlias

from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    COLUMN_TYPE_UNSPECIFIED,
    ColumnType,
    Value,
)

PythonValue: TypeAlias = bool | int | float | str | datetime.date | datetime.datetime

MIN_INT64 = -(2**63)
MAX_INT64 = 2**63 - 1
NUMERIC = frozenset({COLUMN_TYPE_INT64, COLUMN_TYPE_FLOAT64})

TYPE_NAMES: dict[int, str] = {
    COLUMN_TYPE_BOOL: "bool",
    COLUMN_TYPE_INT64: "int64",
    COLUMN_TYPE_FLOAT64: "float64",
    COLUMN_TYPE_STRING: "string",
    COLUMN_TYPE_DATE: "date",
    COLUMN_TYPE_TIMESTAMP: "timestamp",
}
"""How declarations and messages name the types."""

_TYPE_OF_KIND = {
    "bool_value": COLUMN_TYPE_BOOL,
    "int64_value": COLUMN_TYPE_INT64,
    "float64_value": COLUMN_TYPE_FLOAT64,
    "string_value": COLUMN_TYPE_STRING,
    "date_days": COLUMN_TYPE_DATE,
    "timestamp_micros": COLUMN_TYPE_TIMESTAMP,
}
_EPOCH_DAY = datetime.date(1970, 1, 1)
_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)?")


def type_of(value: Value) -> ColumnType.ValueType:
    """The type of a constant; COLUMN_TYPE_UNSPECIFIED when no kind is set."""
    kind = value.WhichOneof("kind")
    return COLUMN_TYPE_UNSPECIFIED if kind is None else _TYPE_OF_KIND[kind]


def type_name(column_type: int) -> str:
    """As people write the type: 'int64'."""
    return TYPE_NAMES.get(column_type, f"type {column_type}")


def is_valid(value: Value) -> bool:
    """Whether a kind is set and the value is one that a column may hold and compare: finite, in range."""
    kind = value.WhichOneof("kind")
    if kind == "float64_value":
        return math.isfinite(value.float64_value)
    try:
        to_python(value)
    except (OverflowError, ValueError):
        return False
    return True


def to_python(value: Value) -> PythonValue:
    """The Python value of a constant.

    Raises:
        ValueError: no kind is set.
        OverflowError: a date or timestamp outside the years 1 to 9999.
    """
    match value.WhichOneof("kind"):
        case "bool_value":
            return value.bool_value
        case "int64_value":
            return value.int64_value
        case "float64_value":
            return value.float64_value
        case "string_value":
            return value.string_value
        case "date_days":
            return _EPOCH_DAY + datetime.timedelta(days=value.date_days)
        case "timestamp_micros":
            return _EPOCH + value.timestamp_micros * _MICROSECOND
        case None:
            raise ValueError("the value has no kind")


def from_python(value: PythonValue) -> Value:
    """The constant for a Python value; an int must fit into 64 bits, a datetime must have no time zone.

    Raises:
        ValueError: it does not.
    """
    match value:
        case bool():
            return Value(bool_value=value)
        case int():
            return Value(int64_value=value)
        case float():
            return Value(float64_value=value)
        case str():
            return Value(string_value=value)
        case datetime.datetime() if value.tzinfo is None:
            return Value(timestamp_micros=(value - _EPOCH) // _MICROSECOND)
        case datetime.datetime():
            raise ValueError("a timestamp has no time zone")
        case datetime.date():
            return Value(date_days=(value - _EPOCH_DAY).days)


def parse_date(text: str) -> Value:
    """A date from 'YYYY-MM-DD'.

    Raises:
        ValueError: it is not one.
    """
    if not _DATE.fullmatch(text):
        raise ValueError(f"{text!r} is not a date; write YYYY-MM-DD")
    return from_python(datetime.date.fromisoformat(text))


def parse_timestamp(text: str) -> Value:
    """A timestamp from 'YYYY-MM-DD', or that with 'HH:MM', 'HH:MM:SS' or 'HH:MM:SS.ffffff' after it.

    Raises:
        ValueError: it is not one, or it has a time zone.
    """
    if not _TIMESTAMP.fullmatch(text):
        raise ValueError(f"{text!r} is not a timestamp; write YYYY-MM-DD HH:MM:SS without a time zone")
    return from_python(datetime.datetime.fromisoformat(text))
