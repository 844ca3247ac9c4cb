"""A gateway that forgets a dataset's negative list and its forms, and a developer who signs what it makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from yingbi.api.v1.dataset_pb2 import SERVICE_FORM_MODEL
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim import jobs
from enclave_sim.engine.protocol import never
from gateway.planning.query import plan_query
from tests.attacks.three_enclaves import DELTA, Trio, refusal, visits_declaration, visits_of

AGES = "SELECT clinic, AVG(age) FROM visits GROUP BY clinic"


@pytest.fixture(scope="module")
def closed(trio_template: Trio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """`listed`: nothing may read the ages. `modelled`: served to models alone."""
    trio = trio_template.copy(tmp_path_factory.mktemp("closed"))
    listed, modelled = visits_declaration("listed"), visits_declaration("modelled")
    next(column for column in listed.tables[0].columns if column.name == "age").forbidden = True
    modelled.forms.append(SERVICE_FORM_MODEL)
    for declaration in (listed, modelled):
        trio.add(declaration, [visits_of(node) for node in range(3)])
    yield trio
    trio.close()


def forgetful(trio: Trio, sql: str, dataset: str) -> Plan:
    """What a gateway makes that leaves out what is closed."""
    open_ = visits_declaration(dataset)
    return plan_query(sql, open_, dataset_version=trio.version(dataset), parties=3, epsilon=1.0, delta=DELTA)


@pytest.mark.requirement("GRD-07", "GRD-08")
@pytest.mark.parametrize("sql", [AGES, "SELECT COUNT(*) FROM visits WHERE age > 30"])
def test_enclaves_keep_the_negative_list_by_themselves(closed: Trio, sql: str) -> None:
    task = closed.task(forgetful(closed, sql, "listed"))
    for enclave in closed.enclaves:
        assert refusal(jobs.contribute, enclave, "job-1", task, never) == "bad_plan"
    assert closed.spent("listed") == [0, 0, 0]


@pytest.mark.requirement("GRD-09")
def test_enclaves_keep_the_service_forms_by_themselves(closed: Trio) -> None:
    task = closed.task(forgetful(closed, AGES, "modelled"))
    for enclave in closed.enclaves:
        assert refusal(jobs.contribute, enclave, "job-2", task, never) == "bad_plan"
    assert closed.spent("modelled") == [0, 0, 0]


def test_what_is_open_of_them_is_computed(closed: Trio) -> None:
    plan = forgetful(closed, "SELECT clinic, AVG(pain) FROM visits GROUP BY clinic", "listed")
    assert len(closed.contribute("job-3", closed.task(plan))) == 3
