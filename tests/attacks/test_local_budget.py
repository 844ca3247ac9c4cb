"""A gateway that overspends: design section 3, every node keeps its own copy of the budget."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from yingbi.api import zcdp
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from enclave_sim import jobs
from enclave_sim.budget import budget_of
from enclave_sim.engine.protocol import never
from enclave_sim.plan.sensitivity import total_rho_units
from tests.attacks.three_enclaves import DELTA, Trio, bring, refusal, visits_declaration, visits_of


def _small(epsilon: float) -> DatasetDeclaration:
    return visits_declaration("small", epsilon=epsilon)


def _alone(epsilon: float, dataset: str = "small") -> DatasetDeclaration:
    """About nobody that another dataset is about."""
    return _about("other people", epsilon, dataset)


def _about(namespace: str, epsilon: float, dataset: str) -> DatasetDeclaration:
    declaration = visits_declaration(dataset, epsilon=epsilon)
    declaration.unit_namespace = namespace.replace(" ", "-")
    return declaration


def _add(trio: Trio, declaration: DatasetDeclaration) -> None:
    trio.add(declaration, [visits_of(node) for node in range(3)])


def _spend(trio: Trio, epsilon: float, numbers: Sequence[int]) -> None:
    for number in numbers:
        plan = trio.plan(epsilon=epsilon, dataset="small")
        trio.contribute(f"job-{number}", trio.task(plan, request_id=f"request-{number}"))


def _refused(trio: Trio, epsilon: float) -> set[str]:
    plan = trio.plan(epsilon=epsilon, dataset="small")
    task = trio.task(plan, request_id="too much")
    return {refusal(jobs.contribute, enclave, "job-too-much", task, never) for enclave in trio.enclaves}


def test_each_enclave_refuses_beyond_its_own_limit(trio: Trio) -> None:
    """Whatever the gateway's ledger says; and the whole budget may be spent, to the last unit."""
    _add(trio, _small(1.0))
    _spend(trio, 1.0, [1])
    limit = zcdp.bought(1.0, DELTA)[0]
    spent = trio.spent("small")
    assert 0.99 * limit < spent[0] <= limit
    assert spent == [spent[0]] * 3
    assert _refused(trio, 1.0) == {"budget_exceeded"}
    assert trio.spent("small") == spent


def test_what_is_spent_stays_spent_when_an_enclave_starts_anew(trio: Trio) -> None:
    """Charges are on disk before they take effect."""
    _add(trio, _small(1.0))
    _spend(trio, 0.5, [1, 2])
    spent = trio.spent("small")
    trio.load()
    assert trio.spent("small") == spent
    assert _refused(trio, 1.0) == {"budget_exceeded"}


def test_a_charge_stays_where_the_job_is_cancelled(trio: Trio) -> None:
    """After data was unsealed, nothing gives budget back."""
    _add(trio, _small(1.0))
    _spend(trio, 0.5, [1])
    spent = trio.spent("small")
    for enclave in trio.enclaves:
        jobs.cancel(enclave, "job-1")
    trio.load()
    assert trio.spent("small") == spent


def test_one_dataset_pays_for_no_other(trio: Trio) -> None:
    """Budgets are by dataset, where it has a unit namespace of its own."""
    _add(trio, _alone(1.0))
    _spend(trio, 1.0, [1])
    assert trio.spent("visits") == [0, 0, 0]
    trio.run("job-2", trio.task(trio.plan(), request_id="request-2"))
    assert trio.spent("visits") == [total_rho_units(trio.plan())] * 3


@pytest.mark.parametrize("change", ["epsilon", "delta"])
def test_adding_the_data_again_raises_no_budget(trio: Trio, change: str) -> None:
    """Neither by ε nor by the δ that turns ε into ρ; nothing is sealed."""
    _add(trio, _small(1.0))
    raised = _small(1.0)
    if change == "epsilon":
        raised.budget_epsilon = 1.01
    else:
        raised.budget_delta = 1e-5
    shards = sorted((trio.enclaves[0].shards / "small").iterdir())
    reply = bring(trio.enclaves[0], raised, [visits_of(0)])
    assert reply is not None
    assert reply.failure.code == "budget_raised"
    assert sorted((trio.enclaves[0].shards / "small").iterdir()) == shards


def test_adding_the_data_again_keeps_what_is_spent(trio: Trio) -> None:
    """Budgets survive versions; a lower one holds at once and for good."""
    _add(trio, _small(2.0))
    _spend(trio, 1.0, [1])
    spent = trio.spent("small")
    _add(trio, _small(2.0))
    assert trio.spent("small") == spent
    _add(trio, _small(1.5))
    assert trio.spent("small") == spent
    lowered = budget_of(trio.enclaves[0].journal.records, "small")
    assert lowered is not None
    assert lowered.limit.rho_units == zcdp.bought(1.5, DELTA)[0]
    assert _refused(trio, 1.45) == {"budget_exceeded"}
    reply = bring(trio.enclaves[0], _small(2.0), [visits_of(0)])
    assert reply is not None
    assert reply.failure.code == "budget_raised"
    trio.load()
    assert _refused(trio, 1.45) == {"budget_exceeded"}


def test_a_budget_lowered_below_what_is_spent_stops_everything(trio: Trio) -> None:
    """It neither fails nor starts from nothing."""
    _add(trio, _small(2.0))
    _spend(trio, 1.9, [1])
    spent = trio.spent("small")
    _add(trio, _small(0.5))
    trio.load()
    assert trio.spent("small") == spent
    assert _refused(trio, 0.01) == {"budget_exceeded"}


def test_datasets_about_the_same_people_share_what_the_first_may_spend(trio: Trio) -> None:
    """Each has enough of its own; a gateway that spends both is refused by every enclave, also after a restart."""
    _add(trio, _about("patients", 1.0, "labs"))
    _add(trio, _about("patients", 5.0, "small"))
    plan = trio.plan(epsilon=0.9, dataset="labs")
    trio.contribute("job-labs", trio.task(plan, request_id="labs"))
    assert _refused(trio, 0.9) == {"budget_exceeded"}
    trio.load()
    assert _refused(trio, 0.9) == {"budget_exceeded"}
    assert trio.spent("small") == [0, 0, 0]
    _spend(trio, 0.05, [1])


def test_the_dataset_sealed_first_fixes_the_limit_though_another_is_asked_first(trio: Trio) -> None:
    """And adding the larger one again changes nothing."""
    _add(trio, _about("patients", 1.0, "labs"))
    _add(trio, _about("patients", 5.0, "small"))
    assert _refused(trio, 1.1) == {"budget_exceeded"}
    _add(trio, _about("patients", 4.0, "small"))
    assert _refused(trio, 1.1) == {"budget_exceeded"}
    _spend(trio, 0.9, [1])


def test_no_dataset_leaves_its_namespace(trio: Trio) -> None:
    """Other people's budget would pay for what is asked about these; nothing is sealed."""
    _add(trio, _about("patients", 1.0, "small"))
    shards = sorted((trio.enclaves[0].shards / "small").iterdir())
    reply = bring(trio.enclaves[0], _about("people", 1.0, "small"), [visits_of(0)])
    assert reply is not None
    assert reply.failure.code == "namespace_changed"
    assert sorted((trio.enclaves[0].shards / "small").iterdir()) == shards
