"""One unit of extreme rows, through sealed shards and real jobs: design section 7, clipping and neighbours.

Two datasets that differ by all rows of one unit. Each statistic's exact vector, as it is before noise, may
differ by no more than the sensitivity that its price was computed from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest

from enclave_sim.plan.sensitivity import delta2_squared, groups
from tests.attacks.three_enclaves import WIDE_QUERY, Trio, visits_declaration, visits_of, visits_table

UNIT = 999_999
TOP, BOTTOM = 2**63 - 1, -(2**63)
NAN, INFINITY = float("nan"), float("inf")

Row = tuple[str | None, float | None, int | None, bool | None]

UNITS: dict[str, Sequence[Row]] = {
    "one row": [("north", 5.0, 50, True)],
    "a row in every group": [(c, 10.0, 100, n) for c in ("north", "south", "east") for n in (False, True)],
    "1000 rows in one group": [("north", 10.0, 100, True)] * 1000,
    "1000 rows over all groups": [
        (("north", "south", "east")[i % 3], 10.0 * (i % 2), 100 * (i % 2), i % 4 < 2) for i in range(1000)
    ],
    "infinities": [("north", INFINITY, TOP, True)] * 7 + [("south", -INFINITY, BOTTOM, False)] * 9,
    "no numbers": [("north", NAN, None, True)] * 50 + [("east", NAN, None, None)] * 3,
    "largest and smallest": [
        ("south", number, whole, True)
        for number in (1.7976931348623157e308, -1.7976931348623157e308, 5e-324, -0.0)
        for whole in (TOP, TOP - 1, 2**53 + 1, BOTTOM, BOTTOM + 1, -(2**53) - 1)
    ],
    "between the grid's steps": [("north", i / 13107.4, i % 101, i % 2 == 0) for i in range(500)],
    "in no group": [("elsewhere", 10.0, 100, True), (None, 10.0, 100, None)] * 100,
    "in and out of groups": [("north", 10.0, 100, True), ("elsewhere", INFINITY, TOP, None)] * 200,
}

QUERIES = [
    WIDE_QUERY,
    "SELECT clinic, COUNT(*), SUM(pain), COUNT(DISTINCT person) FROM visits WHERE pain >= 5 GROUP BY clinic",
    "SELECT COUNT(*), AVG(age), SUM(age), COUNT(DISTINCT person) FROM visits",
    "SELECT night, AVG(pain) FROM visits WHERE NOT (clinic = 'south' AND age < 50) OR age IS NULL GROUP BY night",
]


def _rows(unit: Sequence[Row]) -> pa.Table:
    clinic, pain, age, night = zip(*unit, strict=True)
    return visits_table(person=[UNIT] * len(unit), clinic=clinic, pain=pain, age=age, night=night)


@pytest.fixture(scope="module")
def neighbours(trio_template: Trio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """`visits` without the unit, and a dataset with each of `UNITS`, its rows in among the others'."""
    trio = trio_template.copy(tmp_path_factory.mktemp("neighbours"))
    others = [visits_of(node) for node in range(3)]
    for number, unit in enumerate(UNITS.values()):
        rows = _rows(unit)
        mixed = pa.concat_tables([rows.slice(0, len(unit) // 2), others[0], rows.slice(len(unit) // 2)])
        trio.add(visits_declaration(f"with{number}"), [mixed, *others[1:]])
    yield trio
    trio.close()


@pytest.fixture(scope="module")
def without(neighbours: Trio) -> dict[str, list[int]]:
    """The exact vector of each query on `visits`."""
    return {sql: neighbours.exact(neighbours.plan(sql)) for sql in QUERIES}


def _moved(trio: Trio, left: list[int], sql: str, dataset: str) -> list[tuple[int, int]]:
    """For each statistic: the squared distance between the neighbours' vectors, and the claim."""
    plan = trio.plan(sql, dataset=dataset)
    right = trio.exact(plan)
    count = groups(plan)
    return [
        (
            sum((left[cell] - right[cell]) ** 2 for cell in range(count * position, count * (position + 1))),
            delta2_squared(plan, statistic),
        )
        for position, statistic in enumerate(plan.statistics)
    ]


@pytest.mark.parametrize("sql", QUERIES)
@pytest.mark.parametrize("name", UNITS)
def test_one_unit_moves_no_statistic_further_than_claimed(
    neighbours: Trio, without: dict[str, list[int]], name: str, sql: str
) -> None:
    """Whatever its rows hold."""
    for moved, claimed in _moved(neighbours, without[sql], sql, f"with{list(UNITS).index(name)}"):
        assert moved <= claimed


def test_some_unit_moves_a_statistic_as_far_as_claimed(neighbours: Trio, without: dict[str, list[int]]) -> None:
    """So the claim is not merely large: the test above would see a weaker clipping."""
    dataset = f"with{list(UNITS).index('1000 rows in one group')}"
    reached = {moved / claimed for moved, claimed in _moved(neighbours, without[WIDE_QUERY], WIDE_QUERY, dataset)}
    assert max(reached) == 1


def test_a_unit_in_no_group_moves_nothing(neighbours: Trio, without: dict[str, list[int]]) -> None:
    """Undeclared values belong to no group, and raise nothing."""
    dataset = f"with{list(UNITS).index('in no group')}"
    assert {moved for moved, _ in _moved(neighbours, without[WIDE_QUERY], WIDE_QUERY, dataset)} == {0}


@pytest.mark.parametrize("name", UNITS)
def test_extreme_rows_neither_fail_a_job_nor_spoil_its_answer(neighbours: Trio, name: str) -> None:
    """Nothing in the data can cause an error; and no cell spills into its neighbour's slot."""
    number = list(UNITS).index(name)
    plan = neighbours.plan(dataset=f"with{number}", epsilon=5)
    body = neighbours.run(f"job-{number}", neighbours.task(plan, request_id=f"request-{number}"))
    sigmas = [statistic.sigma for statistic in plan.statistics for _ in range(groups(plan))]
    for opened, exact, sigma in zip(body.opened, neighbours.exact(plan), sigmas, strict=True):
        assert abs(opened - exact) <= 8 * math.sqrt(3) * sigma
