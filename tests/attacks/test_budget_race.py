"""Two simultaneous requests that together exceed the budget: exactly one is answered, every time.

Real gateway, real sockets, real enclave. The race is decided at the gateway's ledger, whatever the number of
nodes, so one node serves 40 races; `--long` runs 200, with three.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest
import yingbi
from yingbi.api import zcdp
from yingbi.api.problem import Problem

from tests.zones import Zone, add_visits

pytestmark = [pytest.mark.xdist_group("race"), pytest.mark.timeout(900)]

RACES, LONG_RACES = 40, 200
# Of what is left: two of these do not fit, one does.
SHARE = 0.55
Callers: TypeAlias = "tuple[yingbi.Zone, yingbi.Zone]"
# A dataset serves until its budget is nearly gone.
SMALLEST_RHO_UNITS = 10**6


@pytest.fixture(scope="module")
def race_zone(tmp_path_factory: pytest.TempPathFactory, long_form: bool) -> Iterator[Zone]:
    """A zone for races only."""
    base = tmp_path_factory.mktemp("race")
    zone = Zone(base / "zone", base / "config")
    assert zone.run("init", zone.root, "--auto-approve", "--nodes", "3" if long_form else "1").code == 0
    zone.up()
    yield zone
    zone.down()


def test_exactly_one_of_two_requests_that_exceed_the_budget_is_answered(
    race_zone: Zone, tmp_path: Path, long_form: bool
) -> None:
    races = LONG_RACES if long_form else RACES
    with yingbi.connect(folder=race_zone.root) as first, yingbi.connect(folder=race_zone.root) as second:
        outcomes = list(itertools.islice(_races(race_zone, tmp_path, (first, second)), races))
    assert len(outcomes) == races
    assert set(outcomes) == {("answered", "budget_exceeded")}


def _races(zone: Zone, folder: Path, callers: Callers) -> Iterator[tuple[str, ...]]:
    """What two simultaneous requests came to, sorted, again and again."""
    for number in itertools.count():
        name = f"visits{number}"
        add_visits(zone, folder, name, epsilon=1e6)
        while (left := _left(callers[0], name)) >= SMALLEST_RHO_UNITS:
            yield _race(callers, name, zcdp.epsilon_of(int(left * SHARE), 1e-7))


def _left(caller: yingbi.Zone, dataset: str) -> int:
    budget = caller.dataset(dataset).budget
    assert budget.spent_rho_units <= budget.limit_rho_units
    return budget.limit_rho_units - budget.spent_rho_units


def _race(callers: Callers, dataset: str, epsilon: float) -> tuple[str, ...]:
    together = threading.Barrier(2, timeout=60)

    def ask(caller: yingbi.Zone, alias: str) -> str:
        question = caller.dataset(dataset).sql(f"SELECT COUNT(*) AS {alias} FROM visits")
        together.wait()
        try:
            question.run(epsilon=epsilon, progress=False)
        except Problem as problem:
            return problem.code
        return "answered"

    with ThreadPoolExecutor(2) as threads:
        return tuple(sorted(threads.map(ask, callers, "ab")))
