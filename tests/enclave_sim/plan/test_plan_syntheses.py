"""What a plan may say of a synthesis: post-processing, but for its meaning and its size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_STRING,
    Plan,
    RangeCounts,
    RowCount,
    Statistic,
    Synthesis,
    SynthesisColumn,
    SynthesisTable,
    Value,
)
from yingbi.cells import PlanError as UnreadableError
from yingbi.synthetic_marginals import check_synthesis as check_readable

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.syntheses import check_synthesis


def synthesis() -> Plan:
    """Two values or NULL, and five ranges; the pair, and the pair again, coarser."""
    values = [Value(string_value="f"), Value(string_value="m")]
    columns = [
        SynthesisColumn(name="sex", type=COLUMN_TYPE_STRING, values=values, nullable=True),
        SynthesisColumn(name="age", type=COLUMN_TYPE_FLOAT64, lower=0, upper=100, bins=5, width=20),
    ]
    tables = [
        SynthesisTable(statistic=1, columns=[0, 1], merged=[1, 1]),
        SynthesisTable(statistic=2, columns=[0, 1], merged=[1, 2], held_out=True),
    ]
    counts = [Statistic(range_counts=RangeCounts(branching=size, levels=1), sigma=100) for size in (15, 9)]
    return Plan(
        language_version=2,
        statistics=[Statistic(row_count=RowCount(), sigma=100), *counts],
        synthesis=Synthesis(columns_text="sex, age", columns=columns, tables=tables),
    )


def test_marginals_of_columns_are_accepted() -> None:
    check_synthesis(synthesis())
    check_readable(synthesis())


BROKEN: dict[str, tuple[str, Callable[[Plan], object]]] = {
    "groups": ("synthesis", lambda p: p.group_by.add()),
    "a model": ("synthesis", lambda p: p.fit.SetInParent()),
    "no text": ("synthesis.columns_text", lambda p: p.synthesis.ClearField("columns_text")),
    "one column": ("synthesis.columns", lambda p: p.synthesis.columns.pop()),
    "many columns": ("synthesis.columns", lambda p: p.synthesis.columns.extend([p.synthesis.columns[0]] * 19)),
    "one name": ("synthesis.columns", lambda p: setattr(p.synthesis.columns[1], "name", "sex")),
    "no name": ("synthesis.columns[0].name", lambda p: setattr(p.synthesis.columns[0], "name", "")),
    "a value of another type": (
        "synthesis.columns[0].values",
        lambda p: p.synthesis.columns[0].values[1].CopyFrom(Value(int64_value=1)),
    ),
    "no value": (
        "synthesis.columns[0].values",
        lambda p: p.synthesis.columns[0].values[1].CopyFrom(Value(float64_value=float("nan"))),
    ),
    "values and ranges": ("synthesis.columns[0]", lambda p: setattr(p.synthesis.columns[0], "bins", 2)),
    "no levels": ("synthesis.columns[1]", lambda p: setattr(p.synthesis.columns[1], "bins", 0)),
    "no end": ("synthesis.columns[1]", lambda p: setattr(p.synthesis.columns[1], "upper", float("inf"))),
    "no range": ("synthesis.columns[1].lower", lambda p: setattr(p.synthesis.columns[1], "upper", 0.0)),
    "no width": ("synthesis.columns[1].width", lambda p: setattr(p.synthesis.columns[1], "width", 0.0)),
    "a statistic that is not there": (
        "synthesis.tables[0].statistic",
        lambda p: setattr(p.synthesis.tables[0], "statistic", 3),
    ),
    "a statistic that is no marginal": (
        "synthesis.tables[0].statistic",
        lambda p: setattr(p.synthesis.tables[0], "statistic", 0),
    ),
    "another size": (
        "synthesis.tables[1].statistic",
        lambda p: setattr(p.statistics[2].range_counts, "branching", 10),
    ),
    "two levels": ("synthesis.tables[0].statistic", lambda p: setattr(p.statistics[1].range_counts, "levels", 2)),
    "columns out of order": ("synthesis.tables[0].columns", lambda p: p.synthesis.tables[0].columns.reverse()),
    "a column that is not there": ("synthesis.tables[0].columns", lambda p: p.synthesis.tables[0].columns.append(2)),
    "nothing merged": ("synthesis.tables[0].merged", lambda p: p.synthesis.tables[0].merged.pop()),
    "merged by 0": ("synthesis.tables[1].merged", lambda p: p.synthesis.tables[1].merged.__setitem__(1, 0)),
    "a statistic twice": ("synthesis.tables", lambda p: p.synthesis.tables.append(p.synthesis.tables[1])),
    "a column left out": ("synthesis.tables", lambda p: setattr(p.synthesis.tables[0], "held_out", True)),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_synthesis_that_means_nothing_is_refused_at_its_place(name: str) -> None:
    path, change = BROKEN[name]
    plan = synthesis()
    change(plan)
    with pytest.raises(PlanError) as caught:
        check_synthesis(plan)
    assert caught.value.path == path


READABLE = {"no text", "one name", "no name", "a statistic twice"}
"""What whoever reads an answer need not mind."""


@pytest.mark.parametrize("name", sorted(set(BROKEN) - READABLE))
def test_whoever_pays_refuses_it_too(name: str) -> None:
    plan = synthesis()
    BROKEN[name][1](plan)
    with pytest.raises((UnreadableError, ValueError)):
        check_readable(plan)
