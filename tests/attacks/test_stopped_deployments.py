"""Deployed models under stops: what was cut off is neither deployed, approved nor used, whatever a gateway says."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, literal, select, update
from yingbi.api.problem import Problem
from yingbi.api.v1 import deployment_pb2 as messages
from yingbi.api.v1.deployment_pb2 import DeploymentTerms, PredictRequest, Provenance, SignedDeploymentTerms
from yingbi.api.v1.node_pb2 import LiftTask
from yingbi.api.v1.people_pb2 import PERSON_STATE_LEFT
from yingbi.api.v1.receipt_pb2 import Manifest, Receipt, ReceiptBody
from yingbi.deployments import deploy

from enclave_sim import deployments, stop_tasks
from gateway.governance import agreement_states
from gateway.governance.callers import Caller
from gateway.governance.stops import AGREEMENT, DATASET, JOB, ORGANISATION, Scope
from gateway.jobs import deployment_door
from gateway.jobs.stopping import Stopping
from gateway.storage import agreements, stops, tables
from gateway.storage import deployments as store
from tests.attacks.stoppable_models import (
    AGREED,
    COVERING,
    JOB_ID,
    PROVIDER_ACCOUNT,
    TRAINER,
    Stoppable,
    terms_of,
)
from tests.attacks.test_deployment_gateway import (
    ROWS,
    deployed,
    orders,
    parameters,
    recorded,
    refusal,
    run,
    seen,
    uses,
)
from tests.attacks.three_enclaves import PROVIDER
from tests.enclave_sim.test_enclave_stops import lift

covering = pytest.mark.parametrize(("scope", "subject"), list(COVERING.values()), ids=list(COVERING))
CODES = {DATASET: "dataset_cut_off", AGREEMENT: "agreement_stopped", ORGANISATION: "organisation_stopped"}


# The enclave.


@pytest.mark.requirement("AGR-05", "MON-01")
@covering
def test_an_enclave_that_was_told_predicts_nothing_through_a_gateway_that_says_nothing_of_it(
    stoppable: Stoppable, scope: Scope, subject: str
) -> None:
    zone = stoppable.zone
    deployed(zone)
    seen(zone, "clinic-1").predict(ROWS)
    stopped = stoppable.tell(scope, subject)
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "stopped"
    # The use that the gateway counted is taken back: the enclave wrote none.
    assert (recorded(zone), uses(zone)[0][2]) == (2, 2)
    if scope == DATASET:
        task = LiftTask(stop=stopped, lift=lift(stopped, PROVIDER))
        stop_tasks.lift(zone.trio.enclaves[1], task)
        seen(zone, "clinic-1").predict(ROWS)
        assert recorded(zone) == 4


@pytest.mark.requirement("MON-01")
def test_a_stop_of_something_else_leaves_a_model_as_it_is(stoppable: Stoppable) -> None:
    deployed(stoppable.zone)
    for scope, subject in ((DATASET, "others"), (AGREEMENT, "another"), (ORGANISATION, "stranger"), (JOB, JOB_ID)):
        stoppable.tell(scope, subject)
    # What was released before its job is stopped stays released.
    seen(stoppable.zone, "clinic-1").predict(ROWS)


@pytest.mark.requirement("MON-01")
def test_a_stopped_model_is_not_taken_by_its_enclave_either(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    stoppable.tell(DATASET, "visits")
    assert refusal(deployed, zone) == "stopped"
    assert seen(zone, "operator").state == "approved"
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "stopped"
    assert recorded(zone) == 0


@pytest.mark.requirement("MON-01")
def test_no_use_is_written_after_a_stop_that_came_while_the_answer_was_computed(
    stoppable: Stoppable, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = stoppable.zone
    deployed(zone)
    whole = deployments._sealed_answer

    def slow(*given: Any) -> bytes:
        computed = whole(*given)
        stoppable.tell(DATASET, "visits")
        return computed

    monkeypatch.setattr(deployments, "_sealed_answer", slow)
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "stopped"
    assert recorded(zone) == 0


def test_a_model_of_a_job_that_an_enclave_does_not_know_is_not_served_by_it(stoppable: Stoppable) -> None:
    """It could not tell which stops it is under."""
    assert refusal(deployed, stoppable.zone, node="node-1") == "not_started"


@pytest.mark.requirement("MON-01")
@pytest.mark.parametrize("named", [(), ("job-2",), (JOB_ID, "job-2")], ids=["none", "another", "one more"])
def test_terms_that_name_other_jobs_than_their_receipts_are_not_kept(
    stoppable: Stoppable, named: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway: Any = stoppable.zone.as_("developer")
    monkeypatch.setattr("yingbi.api.deployments.jobs_of", _first_says(list(named)))
    assert refusal(deploy, gateway, parameters(), "bmi-1", callers=["clinic"]) == "deployment"
    assert not gateway.list_deployments().deployments
    assert stoppable.steps() == []


def _first_says(named: list[str]) -> Callable[[Provenance | None], list[str]]:
    """The SDK of who deploys lies, and the gateway asks the receipts."""
    said = [named]
    return lambda provenance: said.pop() if said else [JOB_ID]


# The gateway.


@pytest.mark.requirement("AGR-05", "MON-01")
@covering
def test_what_was_stopped_is_not_used_and_nothing_is_counted(stoppable: Stoppable, scope: Scope, subject: str) -> None:
    zone = stoppable.zone
    deployed(zone)
    stoppable.stop(scope, subject)
    before, asked = stoppable.rows(), len(zone.nodes.asked)
    with pytest.raises(Problem) as refused:
        seen(zone, "clinic-1").predict(ROWS)
    assert refused.value.code == CODES[scope]
    assert "hanna of hospital" in refused.value.message
    assert (stoppable.rows(), len(zone.nodes.asked)) == (before, asked)
    assert uses(zone) == [("clinic", 0, 0, 0)]


@pytest.mark.requirement("AGR-05", "MON-01")
@pytest.mark.parametrize(("scope", "subject"), list(COVERING.values())[:-1], ids=list(COVERING)[:-1])
def test_what_was_stopped_is_neither_deployed_nor_approved_and_can_be_withdrawn(
    stoppable: Stoppable, scope: Scope, subject: str
) -> None:
    zone = stoppable.zone
    gateway: Any = zone.as_("developer")
    deploy(gateway, parameters(), "bmi-1", callers=["clinic"], node="node-2")
    stoppable.stop(scope, subject)
    assert refusal(deploy, gateway, parameters(), "bmi-2", callers=["clinic"]) == CODES[scope]
    assert refusal(seen(zone, "operator").approve) == CODES[scope]
    assert (seen(zone, "operator").state, zone.nodes.asked) == ("pending", [])
    assert seen(zone, "developer").withdraw().state == "withdrawn"
    assert stoppable.steps() == ["deployment.deploy", "deployment.withdraw"]


@pytest.mark.requirement("MON-01")
def test_of_a_model_of_before_terms_named_jobs_the_gateway_knows_them_by_its_receipts(
    stoppable: Stoppable, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = stoppable.zone
    with monkeypatch.context() as earlier:
        earlier.setattr("yingbi.api.deployments.jobs_of", lambda provenance: [])
        deployed(zone)
    assert not seen(zone, "operator").terms.jobs
    seen(zone, "clinic-1").predict(ROWS)
    stoppable.stop(DATASET, "visits")
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "dataset_cut_off"


@pytest.mark.requirement("MON-01")
def test_a_lifted_cut_off_works_again(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    deployed(zone)
    stopped = stoppable.stop(DATASET, "visits")
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "dataset_cut_off"
    number = stoppable.do(stops.lift, lift(stopped, PROVIDER), PROVIDER_ACCOUNT)
    # Not before every node lets it be used.
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "dataset_cut_off"
    stoppable.do(stops.open_again, number, time.time())
    seen(zone, "clinic-1").predict(ROWS)
    assert recorded(zone) == 2


@pytest.mark.requirement("AGR-05")
@pytest.mark.parametrize("state", ["SUSPENDED", "TERMINATED"])
def test_when_its_agreement_ends_a_model_answers_nobody(stoppable: Stoppable, state: str) -> None:
    zone = stoppable.zone
    deployed(zone)
    moved = update(tables.agreements).values(state=getattr(agreement_states, state))
    stoppable.do(lambda connection: connection.execute(moved))
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == f"agreement_{state.lower()}"
    assert recorded(zone) == 0


@pytest.mark.requirement("AGR-05")
def test_after_the_term_of_its_agreement_a_model_answers_nobody(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    deployed(zone)
    later = time.time() + 7200
    stoppable.zone.deployments._clock = lambda: later
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "agreement_expired"
    assert recorded(zone) == 0


@pytest.mark.requirement("AGR-05")
def test_a_model_goes_on_under_the_supplement_of_its_agreement_and_ends_with_it(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    deployed(zone)
    one = tables.agreements.c.agreement

    def supplement(connection: Connection) -> None:
        agreements.register(connection, terms_of("more", supersedes=AGREED), time.time())
        agreements.register(connection, terms_of("never", supersedes=AGREED), time.time())
        for name, state in ((AGREED, "SUPERSEDED"), ("never", "WITHDRAWN")):
            moved = update(tables.agreements).where(one == name)
            connection.execute(moved.values(state=getattr(agreement_states, state)))

    stoppable.do(supplement)
    seen(zone, "clinic-1").predict(ROWS)
    assert stoppable.do(deployment_door.hit, AGREEMENT, "more") == ["bmi-1"]
    stoppable.stop(AGREEMENT, "more")
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "agreement_stopped"


@pytest.mark.requirement("MON-01")
def test_a_removed_partners_model_answers_nobody(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    deployed(zone)
    gone = {"organisation": "institute", "kind": "developer", "title": "", "key": bytes(32), "filed": 1.0, "left": 2.0}
    stoppable.do(lambda connection: connection.execute(tables.organisations.insert().values(gone)))
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "organisation_left"
    assert recorded(zone) == 0


@pytest.mark.requirement("MON-01")
def test_who_is_removed_while_the_answer_is_computed_does_not_get_it(
    stoppable: Stoppable, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = stoppable.zone
    deployed(zone)
    whole = deployments._sealed_answer
    clinic = {"organisation": "clinic", "kind": "developer", "title": "", "key": bytes(32), "filed": 1.0}
    gone: dict[str, Any] = {
        "person": "clinic-1",
        "organisation": "clinic",
        "real_name": "",
        "duties": "",
        "state": PERSON_STATE_LEFT,
    }
    gone |= {"filed": 1.0, "left": 2.0}

    def slow(*given: Any) -> bytes:
        stoppable.do(lambda connection: connection.execute(tables.organisations.insert().values(clinic)))
        stoppable.do(lambda connection: connection.execute(tables.people.insert().values(gone)))
        return whole(*given)

    monkeypatch.setattr(deployments, "_sealed_answer", slow)
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "person_left"


def test_a_stop_first_shows_which_models_it_ends(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    deployed(zone)
    nodes: Any = zone.nodes
    nothing: Any = None
    stopping = Stopping(zone.database, nodes, nothing, nothing)
    found = run(stopping.preview(PROVIDER_ACCOUNT, DATASET, "visits"))
    assert (list(found.jobs), list(found.deployments)) == ([], ["bmi-1"])
    covered = [*COVERING.values()][:-1]
    assert [stoppable.do(deployment_door.hit, *each) for each in covered] == [["bmi-1"]] * len(covered)
    for scope, subject in ((DATASET, "others"), (ORGANISATION, "clinic"), (JOB, JOB_ID)):
        assert stoppable.do(deployment_door.hit, scope, subject) == []
    seen(zone, "operator").withdraw()
    assert stoppable.do(deployment_door.hit, DATASET, "visits") == []


@pytest.mark.requirement("MON-01")
def test_a_model_of_nobody_knows_what_does_not_keep_a_stop_from_being_shown(stoppable: Stoppable) -> None:
    deployed(stoppable.zone)
    lost = DeploymentTerms(deployment="lost", jobs=["job-0"]).SerializeToString()
    columns = [column for column in tables.deployments.c if column.name not in ("deployment", "terms")]
    copied = select(literal("lost"), literal(SignedDeploymentTerms(body=lost).SerializeToString()), *columns)
    names = ["deployment", "terms", *(column.name for column in columns)]
    stoppable.do(lambda connection: connection.execute(tables.deployments.insert().from_select(names, copied)))
    assert stoppable.do(deployment_door.hit, DATASET, "visits") == ["bmi-1"]


@pytest.mark.requirement("AGR-05")
def test_who_forges_a_receipt_of_another_organisations_job_is_told_nothing_of_it(
    stoppable: Stoppable, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway: Any = stoppable.zone.as_("developer")

    def told(job: str) -> str:
        forged = Receipt(body=ReceiptBody(manifest=Manifest(job=job, key_epoch=1)).SerializeToString())
        provenance = Provenance(receipt=forged, salt=bytes(32))
        monkeypatch.setattr("yingbi.deployments._deployable", lambda *given: (parameters(), provenance))
        with pytest.raises(Problem) as refused:
            deploy(gateway, parameters(), "bmi-1", callers=["clinic"])
        assert refused.value.code == "unknown_job"
        return str(refused.value).replace(job, "")

    nothing = told("job-0")
    assert told(JOB_ID) == nothing
    for covering in ((DATASET, "visits"), (AGREEMENT, AGREED), (ORGANISATION, TRAINER)):
        stoppable.stop(*covering)
        assert told(JOB_ID) == nothing


# What was under way.


@pytest.mark.requirement("AGR-05", "MON-01")
def test_an_answer_that_was_under_way_when_the_stop_came_is_withheld(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    deployed(zone)
    signed = stoppable.signed(DATASET, "visits")
    stoppable.while_asked(lambda: zone.database.run(stops.add, signed, PROVIDER_ACCOUNT, [], [], time.time()))
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "dataset_cut_off"
    # It was counted, as the enclave did.
    assert (recorded(zone), uses(zone)) == (2, [("clinic", 2, 2, 0)])
    assert "deployment.answer" not in stoppable.steps()


def test_an_answer_that_was_under_way_when_its_model_was_withdrawn_is_withheld(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    deployed(zone)
    withdrawn = messages.SignedDeploymentWithdrawal()
    stoppable.while_asked(lambda: zone.database.run(store.withdraw, "bmi-1", withdrawn))
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "deployment_withdrawn"


@pytest.mark.requirement("AGR-05", "MON-01")
def test_of_a_stop_among_predictions_each_is_answered_before_it_or_not_at_all(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    deployed(zone, limit=1000)
    given: list[tuple[Caller, PredictRequest]] = orders(zone, ["clinic-1", "clinic-2"] * 10)
    signed, late, numbers = stoppable.signed(DATASET, "visits"), asyncio.Event(), itertools.count()

    async def every_second_is_late() -> None:
        if next(numbers) % 2:
            await late.wait()

    async def all_at_once() -> list[Any]:
        calls = [asyncio.create_task(zone.deployments.predict(caller, request)) for caller, request in given]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        stopping = asyncio.create_task(zone.database.run(stops.add, signed, PROVIDER_ACCOUNT, [], [], time.time()))
        late.set()
        await stopping
        return await asyncio.gather(*calls, return_exceptions=True)

    stoppable.while_asked(every_second_is_late)
    answers = run(all_at_once())
    answered = sum(isinstance(each, messages.PredictionReply) for each in answers)
    assert {each.code for each in answers if isinstance(each, Problem)} <= {"dataset_cut_off"}
    actions = [row.action for row in stoppable.rows()]
    stopped = actions.index("stop.dataset")
    assert actions[:stopped].count("deployment.answer") == answered >= 1
    assert not [each for each in actions[stopped:] if each.startswith("deployment.")]
