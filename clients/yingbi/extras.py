"""Libraries that come with an extra of the package: what is said where one is missing, and frames of pandas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    ColumnType,
)

if TYPE_CHECKING:
    from types import ModuleType

    import pandas

# What holds NULL.
_DTYPES: Mapping[ColumnType.ValueType, Any] = {
    COLUMN_TYPE_BOOL: "boolean",
    COLUMN_TYPE_INT64: "Int64",
    COLUMN_TYPE_FLOAT64: "float64",
    COLUMN_TYPE_STRING: "object",
    COLUMN_TYPE_DATE: "object",
    COLUMN_TYPE_TIMESTAMP: "datetime64[us]",
}


def pandas_extra(extra: str = "pandas", instead: str = "") -> ModuleType:
    """pandas; UNAVAILABLE "pandas_missing" where it is not installed.

    Args:
        extra: of this package, which has it.
        instead: what needs none.
    """
    try:
        import pandas as pd
    except ImportError as error:
        hint = f"pip install 'yingbi[{extra}]'" + (f", or {instead}, which needs none" if instead else "")
        raise Problem(Kind.UNAVAILABLE, "pandas_missing", "pandas is not installed.", hint=hint) from error
    return pd


def learn_extra(importing: Callable[[], Any]) -> Any:
    """What an import gives; UNAVAILABLE "scikit_learn_missing" where it is not installed."""
    try:
        return importing()
    except ImportError as error:
        raise Problem(
            Kind.UNAVAILABLE,
            "scikit_learn_missing",
            "scikit-learn is not installed.",
            hint="pip install 'yingbi[learn]'; predicting here needs none",
        ) from error


def typed_frame(
    pd: ModuleType, columns: Sequence[tuple[str, ColumnType.ValueType]], rows: Sequence[Sequence[object]]
) -> pandas.DataFrame:
    """Rows of cells as a frame, in types that hold NULL: Int64 and boolean; dates and texts are objects."""
    series = {
        name: pd.Series([row[place] for row in rows], dtype=_DTYPES[kind]) for place, (name, kind) in enumerate(columns)
    }
    found: pandas.DataFrame = pd.DataFrame(series)
    return found
