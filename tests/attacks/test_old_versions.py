"""A lying gateway and a developer name an old version of a dataset; its provider has closed something since."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from yingbi.api.v1.dataset_pb2 import SERVICE_FORM_MODEL, ColumnDeclaration, DatasetDeclaration

from enclave_sim import jobs
from enclave_sim.engine.protocol import never
from tests.attacks.three_enclaves import Trio, refusal, visits_declaration, visits_of

QUESTION = "SELECT AVG(age) FROM visits"


def _age(declaration: DatasetDeclaration) -> ColumnDeclaration:
    return next(column for column in declaration.tables[0].columns if column.name == "age")


def _forbidden(declaration: DatasetDeclaration) -> None:
    _age(declaration).forbidden = True


def _left_out(declaration: DatasetDeclaration) -> None:
    declaration.tables[0].columns.remove(_age(declaration))


def _graver(declaration: DatasetDeclaration) -> None:
    declaration.grade = 4


def _for_models_alone(declaration: DatasetDeclaration) -> None:
    declaration.forms.append(SERVICE_FORM_MODEL)


def _more_curious(declaration: DatasetDeclaration) -> None:
    declaration.curious_providers = 1


def _not_disjoint(declaration: DatasetDeclaration) -> None:
    declaration.units_disjoint = False


@pytest.mark.requirement("GRD-08")
@pytest.mark.parametrize("close", [_forbidden, _left_out, _graver, _for_models_alone, _more_curious, _not_disjoint])
def test_what_a_provider_closed_is_closed_whichever_version_is_named(
    trio: Trio, close: Callable[[DatasetDeclaration], None]
) -> None:
    before = trio.task(trio.plan(QUESTION))
    closed = visits_declaration()
    close(closed)
    names = [column.name for column in closed.tables[0].columns]
    trio.add(closed, [visits_of(node).select(names) for node in range(3)])
    charged = [len(enclave.journal.records) for enclave in trio.enclaves]
    for _ in range(2):
        # The enclaves know it after a restart as well.
        for enclave in trio.enclaves:
            assert refusal(jobs.contribute, enclave, "job-1", before, never) == "bad_plan"
        trio.load()
    assert [len(enclave.journal.records) for enclave in trio.enclaves] == charged


def test_what_was_not_closed_goes_on_for_the_version_that_it_was_asked_of(trio: Trio) -> None:
    """A job may wait while its dataset is added anew; and what was closed once may be opened again."""
    before = trio.task(trio.plan("SELECT COUNT(*) FROM visits"))
    closed = visits_declaration()
    _forbidden(closed)
    trio.add(closed, [visits_of(node) for node in range(3)])
    assert len(trio.contribute("job-1", before)) == 3
    trio.add(visits_declaration(), [visits_of(node) for node in range(3)])
    assert len(trio.contribute("job-2", trio.task(trio.plan(QUESTION), request_id="request-2"))) == 3
