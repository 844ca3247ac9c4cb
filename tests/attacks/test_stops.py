"""Stops that stop: whatever a job is doing, nothing of it is released once its stop is recorded, and nodes prove it."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import Connection, select
from yingbi.api.audit import check_chain
from yingbi.api.problem import Problem
from yingbi.api.stop_proofs import verify_proof
from yingbi.api.v1.audit_pb2 import AuditRow
from yingbi.api.v1.stop_pb2 import SignedStop, StopRecord

from enclave_sim.stops import about_charge, stop_of
from gateway.governance.callers import Role
from gateway.governance.stops import AGREEMENT, DATASET, JOB, ORGANISATION, SUSPENSION, Scope
from gateway.jobs import states
from gateway.storage import audit, stops
from gateway.storage.tables import releases
from tests.attacks.living_zone import GUARDED, LivingZone, Person, live
from tests.attacks.three_enclaves import Trio

LANES = 5
LONGEST_WAIT = 0.5


def run(
    trio: Trio, scenario: Callable[[LivingZone], Awaitable[None]], developers: int = 1, seconds: float = 300
) -> None:
    """A scenario in a zone of its own, which ends with it. `seconds` are for the slowest machine."""

    async def all_of_it() -> None:
        zone = await live(trio, developers)
        try:
            await asyncio.wait_for(scenario(zone), seconds)
        finally:
            await zone.stopping.close()
            await zone.kill()

    asyncio.run(all_of_it())


async def refused(call: Awaitable[object]) -> Problem:
    with pytest.raises(Problem) as raised:
        await call
    return raised.value


@pytest.fixture
def count(long_form: bool) -> int:
    return 1000 if long_form else 100


@pytest.mark.requirement("AGR-05", "MON-01")
def test_random_stops_in_every_state_leave_nothing_to_be_released(trio: Trio, count: int) -> None:
    """Several people ask and stop at once, each stop after a moment of its own; what is stopped is drawn too."""
    drawn, at_stop = random.Random(17), Counter[str]()

    async def scenario(zone: LivingZone) -> None:
        left, organisations = iter(range(count)), iter(zone.developers[LANES:])

        async def lane(who: Person) -> None:
            for _ in left:
                scope = drawn.choices([JOB, DATASET, AGREEMENT, SUSPENSION, ORGANISATION], [6, 2, 1, 1, 1])[0]
                asking = next(organisations) if scope == ORGANISATION else who
                is_agreed = scope in (AGREEMENT, SUSPENSION)
                dataset = "visits" if is_agreed else drawn.choice(["visits", "visits", GUARDED])
                agreement = await zone.agree(asking) if is_agreed else ""
                try:
                    job = (await zone.submit(asking, dataset, agreement)).job
                except Problem as problem:
                    if problem.code != "dataset_cut_off":
                        raise
                    # Another lane's, which it lifts soon.
                    await asyncio.sleep(0.05)
                    continue
                if drawn.random() < 0.1:
                    await zone.ended([job], states.ENDED | {states.WAITING})
                await asyncio.sleep(drawn.uniform(0, LONGEST_WAIT))
                named = {JOB: job, DATASET: dataset, AGREEMENT: agreement, SUSPENSION: agreement}
                subject = named.get(scope, asking.caller.organisation)
                at_stop[states.name_of((await zone.record(job)).state)] += 1
                await _stop(zone, scope, subject, asking)

        async def _stop(zone: LivingZone, scope: Scope, subject: str, asking: Person) -> None:
            by = {
                JOB: drawn.choice([asking, zone.people[Role.OPERATOR], zone.people[Role.PROVIDER]]),
                DATASET: zone.people[drawn.choice([Role.PROVIDER, Role.SUPERVISOR, Role.OPERATOR])],
                AGREEMENT: zone.people[Role.SUPERVISOR],
                SUSPENSION: zone.people[drawn.choice([Role.PROVIDER, Role.SUPERVISOR])],
                ORGANISATION: zone.people[Role.COORDINATOR],
            }[scope]
            try:
                record = await _stopped(zone, by, scope, subject)
            except Problem as problem:
                if (problem.code, scope) != ("wrong_state", JOB):
                    raise
                return
            _check_proofs(zone, record)
            for job in record.jobs:
                assert (await zone.record(job)).state == states.CANCELLED
            if scope == DATASET:
                await zone.lift(by, record)
            if scope == SUSPENSION:
                await zone.step(by, "resume", subject)

        await asyncio.gather(*map(lane, zone.developers[:LANES]))
        await zone.database.run(_check_record, count)
        _check_journals(zone)

    run(trio, scenario, developers=LANES + count, seconds=3 * count)
    # Stops met jobs in every state, and no job failed by one.
    assert {"waiting for approval", "running", "succeeded"} <= set(at_stop), at_stop
    assert "failed" not in at_stop


async def _stopped(zone: LivingZone, by: Person, scope: Scope, subject: str) -> StopRecord:
    if scope != SUSPENSION:
        return await zone.stop(by, scope, subject)
    await zone.step(by, "suspend", subject)
    (record,) = await zone.stops_of(subject)
    return record


def _check_proofs(zone: LivingZone, record: StopRecord) -> None:
    assert [each.node for each in record.nodes] == ["node-1", "node-2", "node-3"]
    for each, enclave in zip(record.nodes, zone.trio.enclaves, strict=True):
        assert each.HasField("proof"), record
        verify_proof(each.proof, each.node, record.digest, enclave.identity.public_signing_key)


def _check_record(connection: Connection, count: int) -> None:
    """The record is whole, says what the tables say, and has no release after a stop that hit its job."""
    rows = audit.page(connection, 0, 100_000)
    check_chain(rows)
    assert list(audit.differences(connection)) == []
    hit = {job for row in rows if row.action.startswith("stop.") for job in _details(row).get("jobs", [])}
    after: dict[str, list[int]] = {}
    for row in rows:
        if row.action == "job.state":
            after.setdefault(row.subject, []).append(_details(row)["state"])
    assert len(hit) > count // 4
    for job in hit:
        assert after[job][-1] == states.CANCELLED
        assert states.SUCCEEDED not in after[job]
    assert not hit & set(connection.execute(select(releases.c.job)).scalars())


def _details(row: AuditRow) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row.details) if row.details else {}
    return found


def _check_journals(zone: LivingZone) -> None:
    """In no enclave's own journal does a step follow a stop that covers its job and was not lifted by then."""
    for enclave in zone.trio.enclaves:
        charges = {str(each["job"]): each for each in enclave.journal.records if each["kind"] == "charge"}
        told = 0
        for number, record in enumerate(enclave.journal.records):
            told += record["kind"] == "stop"
            if record["kind"] in ("charge", "contribution", "open"):
                charge = about_charge(charges[str(record["job"])])
                assert stop_of(enclave.journal.records[:number], charge) is None, record
        assert told


@pytest.mark.requirement("MON-01")
def test_a_dataset_that_is_cut_off_says_by_whom_and_since_when(trio: Trio) -> None:
    async def scenario(zone: LivingZone) -> None:
        who, supervisor = zone.developers[0], zone.people[Role.SUPERVISOR]
        waiting = (await zone.submit(who, GUARDED)).job
        cut_off = await zone.stop(supervisor, DATASET, GUARDED)
        assert list(cut_off.jobs) == [waiting]
        failure = (await zone.record(waiting)).message.failure
        assert "a-supervisor of supervisor" in failure.message
        problem = await refused(zone.submit(who, GUARDED))
        assert (problem.code, problem.field) == ("dataset_cut_off", "dataset")
        assert "a-supervisor of supervisor on 20" in problem.message
        assert "a test" in problem.message
        await zone.submit(who, "visits")
        assert (await refused(zone.lift(zone.people[Role.PROVIDER], cut_off))).code == "may_not_lift"
        lifted = await zone.lift(supervisor, cut_off)
        assert all(each.HasField("lift_proof") for each in lifted.nodes)
        assert lifted.HasField("lifted")
        assert (await zone.submit(who, GUARDED)).job
        # The word that lifted the first cut-off does not lift the second.
        again = await zone.stop(supervisor, DATASET, GUARDED)
        assert again.digest != cut_off.digest
        assert (await refused(zone.lift(supervisor, cut_off))).code == "lifted_already"
        assert (await refused(zone.submit(who, GUARDED))).code == "dataset_cut_off"

    run(trio, scenario)


def test_a_lifted_dataset_is_closed_until_every_node_opens_it(trio: Trio) -> None:
    """Else a job would be charged for what one of them refuses."""

    async def scenario(zone: LivingZone) -> None:
        who, provider = zone.developers[0], zone.people[Role.PROVIDER]
        cut_off = await zone.stop(provider, DATASET, GUARDED)
        await zone.disconnect("node-3")
        zone.stopping._patience = 0.3
        assert not (await zone.lift(provider, cut_off)).HasField("lifted")
        assert (await refused(zone.submit(who, GUARDED))).code == "dataset_cut_off"
        zone.connect("node-3")
        await zone._until(lambda: "node-3" in zone.stopping._told[cut_off.number].lifted)
        await zone.submit(who, GUARDED)

    run(trio, scenario)


def test_forged_stops_stop_nothing(trio: Trio) -> None:
    async def scenario(zone: LivingZone) -> None:
        own, other = zone.developers
        job = (await zone.submit(own, GUARDED)).job
        supervisor = zone.people[Role.SUPERVISOR]
        signed = zone.signed_stop(supervisor, JOB, job)
        attempts = {
            "not_allowed": [(own, DATASET, "visits"), (zone.people[Role.OPERATOR], AGREEMENT, "pilot")],
            "unknown_job": [(other, JOB, job)],
            "unknown_agreement": [(supervisor, AGREEMENT, "nothing")],
            "unknown_organisation": [(zone.people[Role.COORDINATOR], ORGANISATION, "nobody")],
        }
        for code, tries in attempts.items():
            for who, scope, subject in tries:
                assert (await refused(zone.stop(who, scope, subject))).code == code
        unsigned = SignedStop(body=signed.body)
        for who, forged in ((supervisor, unsigned), (zone.people[Role.PROVIDER], signed)):
            assert (await refused(zone.stopping.stop(who.caller, forged))).code == "bad_signature"
        assert (await refused(zone.stopping.cancel(other.caller, job))).code == "unknown_job"
        assert (await zone.record(job)).state == states.WAITING
        assert await zone.database.run(stops.list_all) == []
        # The same stop twice is one.
        first = await zone.stopping.stop(supervisor.caller, signed)
        assert (await zone.stopping.stop(supervisor.caller, signed)).number == first.number

    run(trio, scenario, developers=2)


def test_a_gateway_killed_before_it_told_the_nodes_tells_them_first_of_all(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop was committed, and nobody was told; a job that ran goes on at no node."""

    async def scenario(zone: LivingZone) -> None:
        who, operator = zone.developers[0], zone.people[Role.OPERATOR]

        async def killed(*given: object) -> StopRecord:
            return StopRecord()

        job = (await zone.submit(who)).job
        with monkeypatch.context() as patch:
            patch.setattr(zone.stopping, "_tell", killed)
            await zone.stop(operator, JOB, job)
        await zone.kill()
        await zone.start()
        other = (await zone.submit(who)).job
        await zone.ended([other], states.ENDED)
        assert (await zone.record(other)).state == states.SUCCEEDED
        assert all(link.told[0] == "stop" for link in zone.links.values())
        (record,) = await zone.database.run(stops.list_all)
        _check_proofs(zone, record)

    run(trio, scenario)


def test_a_node_that_was_down_is_told_before_it_gets_any_task(trio: Trio) -> None:
    async def scenario(zone: LivingZone) -> None:
        who, provider = zone.developers[0], zone.people[Role.PROVIDER]
        await zone.disconnect("node-3")
        zone.stopping._patience = 0.3
        number = (await zone.stop(provider, DATASET, GUARDED)).number
        await zone._until(lambda: zone.stopping._told[number].stopped == {"node-1", "node-2"})
        zone.connect("node-3")
        await zone._until(lambda: not zone.nodes.missing())
        job = (await zone.submit(who)).job
        await zone.ended([job], states.ENDED)
        assert zone.links["node-3"].told[0] == "stop"
        (record,) = await zone.database.run(stops.list_all)
        _check_proofs(zone, record)

    run(trio, scenario)
