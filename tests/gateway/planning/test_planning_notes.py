"""Notes say what holds of this plan, in the words of its query."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from gateway.planning.notes import clipping_notes
from gateway.planning.query import plan_query

from .conftest import VERSION, nafld


def notes(sql: str, declaration: DatasetDeclaration | None = None) -> Sequence[str]:
    known = declaration or nafld()
    return clipping_notes(plan_query(sql, known, dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7), known)


# Constants that nobody declared.


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM labs WHERE test = 'HDL'",
        "SELECT COUNT(*) FROM labs WHERE 'HDL' <> test OR value > 3",
        "SELECT COUNT(*) FROM labs WHERE test IN ('hdl', 'HDL')",
        "SELECT COUNT(*) FILTER (WHERE test = 'HDL') FROM labs",
        "SELECT SUM(CASE test WHEN 'HDL' THEN value ELSE 0 END) FROM labs",
        "SELECT COUNT(*) FROM labs JOIN patients USING (id) WHERE test = 'HDL'",
    ],
)
def test_a_constant_that_is_no_declared_value_is_told(sql: str) -> None:
    assert "'HDL' is no declared value of Test." in notes(sql)


@pytest.mark.parametrize("condition", ["test = 'hdl'", "note = 'HDL'", "UPPER(test) = 'HDL'", "weeks = 3"])
def test_other_constants_are_not(condition: str) -> None:
    assert not [note for note in notes(f"SELECT COUNT(*) FROM labs WHERE {condition}") if "no declared" in note]
