"""Suspensions hold at every node, whatever the gateway makes of them afterwards, and end by their own lift alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from sqlalchemy import Connection, update
from yingbi.api import digests
from yingbi.api.stop_scopes import OF_STEP
from yingbi.api.v1.agreement_pb2 import AgreementState
from yingbi.api.v1.job_pb2 import Failure
from yingbi.api.v1.node_pb2 import StopTask
from yingbi.api.v1.stop_pb2 import StopProofBody

from enclave_sim import stop_tasks
from gateway.governance.agreement_states import ACTIVE, SUSPENDED, TERMINATED
from gateway.governance.callers import Role
from gateway.governance.stops import AGREEMENT, SUSPENSION
from gateway.jobs import records, states
from gateway.ledger import ledger
from gateway.storage import agreements, audit, stops
from gateway.storage.tables import agreements as agreement_rows
from gateway.storage.tables import stops as stop_rows
from tests.attacks.living_zone import LivingZone, live, person
from tests.attacks.test_stops import _check_proofs, refused
from tests.attacks.three_enclaves import Trio

Scenario = Callable[[LivingZone, str], Awaitable[None]]


def run(trio: Trio, scenario: Scenario) -> None:
    """A scenario in a zone of its own, with an agreement that is active."""

    async def all_of_it() -> None:
        zone = await live(trio)
        try:
            agreement = await zone.agree(zone.developers[0])
            await asyncio.wait_for(scenario(zone, agreement), 300)
        finally:
            await zone.stopping.close()
            await zone.kill()

    asyncio.run(all_of_it())


async def ended(zone: LivingZone, agreement: str) -> tuple[states.State, Failure]:
    """How a new job under the agreement ends."""
    job = (await zone.submit(zone.developers[0], "visits", agreement)).job
    await zone.ended([job], states.ENDED)
    record = await zone.record(job)
    return record.state, record.message.failure


async def state_of(zone: LivingZone, agreement: str) -> AgreementState.ValueType:
    return (await zone.database.run(agreements.life, agreement)).state


async def refusal_of(zone: LivingZone, number: int, node: str) -> None:
    """Wait until the node has said that it does not do as it was told of a stop."""
    while not any(
        each.refusal for each in (await zone.database.run(stops.describe, number)).nodes if each.node == node
    ):
        await asyncio.sleep(0.02)


def forget(connection: Connection) -> None:
    """What a gateway does that wants to know of no stop: the agreement is in force, and nothing was stopped."""
    connection.execute(update(agreement_rows).values(state=ACTIVE))
    connection.execute(update(stop_rows).values(lifted=time.time()))


@pytest.mark.requirement("AGR-05", "MON-01")
@pytest.mark.parametrize("step", ["suspend", "terminate"])
def test_enclaves_refuse_what_a_gateway_forgot(trio: Trio, step: str) -> None:
    async def scenario(zone: LivingZone, agreement: str) -> None:
        provider = zone.people[Role.PROVIDER]
        moved = await zone.step(provider, step, agreement)
        assert moved.state == (SUSPENDED if step == "suspend" else TERMINATED)
        (record,) = await zone.stops_of(agreement)
        assert record.stop.scope == (SUSPENSION if step == "suspend" else AGREEMENT)
        _check_proofs(zone, record)
        assert (await refused(zone.submit(zone.developers[0], "visits", agreement))).code.startswith("agreement_")
        await zone.database.run(forget)
        state, failure = await ended(zone, agreement)
        assert (state, failure.code) == (states.FAILED, "stopped")
        # Nothing else is hit.
        assert (await ended(zone, ""))[0] == states.SUCCEEDED

    run(trio, scenario)


@pytest.mark.requirement("AGR-05", "MON-01")
@pytest.mark.parametrize("step", ["suspend", "terminate"])
def test_the_stop_of_a_supplement_stops_what_it_came_in_the_place_of(
    trio: Trio, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """No job was charged under it: enclaves know by the stop alone that it has a predecessor."""

    async def scenario(zone: LivingZone, agreement: str) -> None:
        provider, developer = zone.people[Role.PROVIDER], zone.developers[0]
        with monkeypatch.context() as patch:
            patch.setattr(zone.runner, "start", lambda *given: None)
            job = (await zone.submit(developer, "visits", agreement)).job
        await zone.database.run(records.move, job, states.RUNNING)
        supplement = await zone.agree(developer, supersedes=agreement)
        other = await zone.agree(developer)
        without = await zone.signed_step(provider, step, supplement)
        without.stop.CopyFrom(zone.signed_stop(provider, OF_STEP[step], supplement))
        elsewhere = await zone.signed_step(provider, step, other)
        elsewhere.stop.CopyFrom(zone.signed_stop(provider, OF_STEP[step], other, [agreement]))
        for asked in (without, elsewhere):
            assert (await refused(zone.steps.take(provider.caller, asked))).code == "other_predecessors"
        await zone.step(provider, step, supplement)
        (record,) = await zone.stops_of(supplement)
        assert list(record.jobs) == [job]
        assert (await zone.record(job)).state == states.CANCELLED
        await zone.database.run(forget)
        for name, state in ((supplement, states.FAILED), (agreement, states.FAILED), (other, states.SUCCEEDED)):
            assert (await ended(zone, name))[0] == state
        if step == "suspend":
            # What ends the suspension of the one ends that of all.
            await zone.stopping.announce_lift(record.number, zone.signed_lift(provider, record))
            assert (await ended(zone, agreement))[0] == states.SUCCEEDED

    run(trio, scenario)


@pytest.mark.requirement("AGR-05")
def test_a_suspension_that_is_over_is_over_however_often_it_is_told_again(trio: Trio) -> None:
    async def scenario(zone: LivingZone, agreement: str) -> None:
        supervisor = zone.people[Role.SUPERVISOR]
        suspending = await zone.signed_step(supervisor, "suspend", agreement)
        assert (await zone.steps.take(supervisor.caller, suspending)).state == SUSPENDED
        resuming = await zone.signed_step(supervisor, "resume", agreement)
        assert (await zone.steps.take(supervisor.caller, resuming)).state == ACTIVE
        assert await zone.stops_of(agreement) == []
        # The same signed words: another's to send, or sent again, they change nothing.
        assert (await zone.steps.take(supervisor.caller, suspending)).state == ACTIVE
        assert (await ended(zone, agreement))[0] == states.SUCCEEDED
        provider = zone.people[Role.PROVIDER]
        assert (await refused(zone.steps.take(provider.caller, suspending))).code == "bad_signature"
        assert (await refused(zone.steps.take(supervisor.caller, resuming))).code == "agreement_state"

    run(trio, scenario)


@pytest.mark.requirement("AGR-05")
def test_a_stop_that_was_sent_alone_ends_no_agreement_before_its_step_does(trio: Trio) -> None:
    async def scenario(zone: LivingZone, agreement: str) -> None:
        provider, coordinator = zone.people[Role.PROVIDER], zone.people[Role.COORDINATOR]
        terminating = await zone.signed_step(provider, "terminate", agreement)
        alone = await zone.stopping.stop(provider.caller, terminating.stop)
        assert await state_of(zone, agreement) == ACTIVE
        # Another's word for it is none, and no step.
        assert (await refused(zone.steps.take(coordinator.caller, terminating))).code == "bad_signature"
        assert await state_of(zone, agreement) == ACTIVE
        for _ in range(2):
            assert (await zone.steps.take(provider.caller, terminating)).state == TERMINATED
        assert await state_of(zone, agreement) == TERMINATED
        assert [each.number for each in await zone.stops_of(agreement)] == [alone.number]

    run(trio, scenario)


@pytest.mark.requirement("AGR-05")
def test_a_lift_ends_its_own_suspension_and_no_other(trio: Trio) -> None:
    async def scenario(zone: LivingZone, agreement: str) -> None:
        supervisor, provider = zone.people[Role.SUPERVISOR], zone.people[Role.PROVIDER]
        await zone.step(supervisor, "suspend", agreement)
        first = await zone.signed_step(supervisor, "resume", agreement)
        await zone.steps.take(supervisor.caller, first)
        # Two hold at once: each organisation ends its own.
        await zone.step(supervisor, "suspend", agreement)
        await zone.step(provider, "suspend", agreement)
        for old in (first, await zone.signed_step(provider, "resume", agreement)):
            assert (await refused(zone.steps.take(supervisor.caller, old))).code in ("lifted_already", "bad_signature")
        without = await zone.signed_step(supervisor, "resume", agreement)
        without.ClearField("lift")
        assert (await refused(zone.steps.take(supervisor.caller, without))).code == "lift_needed"
        assert (await zone.step(supervisor, "resume", agreement)).state == SUSPENDED
        assert (await refused(zone.submit(zone.developers[0], "visits", agreement))).code == "agreement_suspended"
        assert (await zone.step(provider, "resume", agreement)).state == ACTIVE
        assert (await ended(zone, agreement))[0] == states.SUCCEEDED

    run(trio, scenario)


def test_who_is_no_party_suspends_nothing_and_no_step_is_taken_without_its_stop(trio: Trio) -> None:
    async def scenario(zone: LivingZone, agreement: str) -> None:
        stranger, supervisor = person("sam", Role.SUPERVISOR, "elsewhere"), zone.people[Role.SUPERVISOR]
        other = await zone.agree(zone.developers[0])
        assert (await refused(zone.step(stranger, "suspend", agreement))).code == "other_agreement"
        unsigned = await zone.signed_step(supervisor, "suspend", agreement)
        unsigned.ClearField("stop")
        elsewhere = await zone.signed_step(supervisor, "suspend", agreement)
        elsewhere.stop.CopyFrom(zone.signed_stop(supervisor, SUSPENSION, other))
        for_good = await zone.signed_step(supervisor, "suspend", agreement)
        for_good.stop.CopyFrom(zone.signed_stop(supervisor, AGREEMENT, agreement))
        for asked, code in ((unsigned, "stop_needed"), (elsewhere, "other_stop"), (for_good, "other_stop")):
            assert (await refused(zone.steps.take(supervisor.caller, asked))).code == code
        # Nor is it stopped without the step.
        assert (await refused(zone.stop(supervisor, SUSPENSION, agreement))).code == "step_needed"
        assert await state_of(zone, agreement) == ACTIVE
        assert await zone.stops_of(agreement) == []

    run(trio, scenario)


@pytest.mark.requirement("AGR-05", "AUD-03")
def test_no_crash_leaves_an_agreement_suspended_and_not_stopped(trio: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    """State, stop, ended jobs and audit rows are one transaction: it fails at the end, and none of it is there."""

    async def scenario(zone: LivingZone, agreement: str) -> None:
        supervisor = zone.people[Role.SUPERVISOR]
        monkeypatch.setattr(zone.runner, "start", lambda *given: None)
        job = (await zone.submit(zone.developers[0], "visits", agreement)).job
        before = len(await zone.database.run(audit.page, 0, 100_000))

        def crash(*given: object) -> None:
            raise RuntimeError("killed here")

        with monkeypatch.context() as patch:
            patch.setattr(ledger, "refund", crash)
            with pytest.raises(RuntimeError, match="killed here"):
                await zone.step(supervisor, "suspend", agreement)
        assert await state_of(zone, agreement) == ACTIVE
        assert await zone.stops_of(agreement) == []
        assert len(await zone.database.run(audit.page, 0, 100_000)) == before
        assert (await zone.record(job)).state == states.QUEUED

    run(trio, scenario)


def test_a_resumed_agreement_is_closed_until_every_node_opens_it(trio: Trio) -> None:
    async def scenario(zone: LivingZone, agreement: str) -> None:
        supervisor = zone.people[Role.SUPERVISOR]
        await zone.step(supervisor, "suspend", agreement)
        (held,) = await zone.stops_of(agreement)
        await zone.disconnect("node-3")
        zone.stopping._patience = 0.3
        assert (await zone.step(supervisor, "resume", agreement)).state == ACTIVE
        problem = await refused(zone.submit(zone.developers[0], "visits", agreement))
        assert (problem.code, problem.field) == ("agreement_suspended", "agreement")
        zone.connect("node-3")
        await zone._until(lambda: "node-3" in zone.stopping._told[held.number].lifted)
        assert (await ended(zone, agreement))[0] == states.SUCCEEDED

    run(trio, scenario)


def test_a_node_that_never_stopped_keeps_no_agreement_closed(trio: Trio) -> None:
    """Its policy knows no supervisor: it refuses the suspension, says so, and has nothing to lift."""

    async def scenario(zone: LivingZone, agreement: str) -> None:
        supervisor, enclave = zone.people[Role.SUPERVISOR], zone.links["node-3"].enclave
        await zone.disconnect("node-3")
        policy = replace(enclave.policy, supervisors=frozenset())
        zone.links["node-3"].enclave = replace(enclave, policy=policy)
        zone.connect("node-3")
        zone.stopping._patience = 0.3
        await zone.step(supervisor, "suspend", agreement)
        (held,) = await zone.stops_of(agreement)
        await zone._until(lambda: len(zone.stopping._told[held.number].stopped) == 2)
        await zone.step(supervisor, "resume", agreement)
        await zone._until(lambda: len(zone.stopping._told[held.number].lifted) == 3)
        assert await zone.stops_of(agreement) == []
        assert (await ended(zone, agreement))[0] == states.SUCCEEDED

    run(trio, scenario)


@pytest.mark.requirement("AGR-05")
def test_a_lift_that_a_node_refuses_is_signed_anew(trio: Trio) -> None:
    """That node stopped, and its proof was lost: its refusal of the lift opens nothing, and another lift does."""

    async def scenario(zone: LivingZone, agreement: str) -> None:
        supervisor, provider, enclave = (
            zone.people[Role.SUPERVISOR],
            zone.people[Role.PROVIDER],
            zone.links["node-3"].enclave,
        )
        await zone.disconnect("node-3")
        zone.stopping._patience = 0.3
        await zone.step(supervisor, "suspend", agreement)
        (held,) = await zone.stops_of(agreement)
        told = zone.stopping._told[held.number]
        stop_tasks.stop(enclave, StopTask(stop=told.signed), lambda jobs: None)
        await zone.step(supervisor, "resume", agreement)
        # It knows the supervisor no more.
        zone.links["node-3"].enclave = replace(enclave, policy=replace(enclave.policy, supervisors=frozenset()))
        zone.connect("node-3")
        await refusal_of(zone, held.number, "node-3")
        assert (await refused(zone.submit(zone.developers[0], "visits", agreement))).code == "agreement_suspended"
        await zone.disconnect("node-3")
        again = await zone.signed_step(supervisor, "resume", agreement)
        assert (await refused(zone.steps.take(provider.caller, again))).code == "agreement_state"
        assert (await zone.steps.take(supervisor.caller, again)).state == ACTIVE
        zone.links["node-3"].enclave = enclave
        zone.connect("node-3")
        await zone._until(lambda: told.lifted == {"node-1", "node-2", "node-3"})
        while await zone.stops_of(agreement):
            await asyncio.sleep(0.02)
        lifted = await zone.database.run(stops.describe, held.number)
        for each in lifted.nodes:
            said = StopProofBody.FromString(each.lift_proof.body)
            assert (each.refusal, said.stop) == ("", digests.digest(digests.LIFT, again.lift.body))
        assert (await ended(zone, agreement))[0] == states.SUCCEEDED

    run(trio, scenario)


@pytest.mark.requirement("AGR-05")
def test_a_job_that_ran_when_the_gateway_was_killed_ends_where_its_agreement_has(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock, while the gateway was down; no node is asked for anything."""

    async def scenario(zone: LivingZone, agreement: str) -> None:
        monkeypatch.setattr(zone.runner, "start", lambda *given: None)
        job = (await zone.submit(zone.developers[0], "visits", agreement)).job
        await zone.database.run(records.move, job, states.RUNNING)
        await zone.kill()
        await zone.start()
        zone.runner._wall_clock = lambda: time.time() + 7200
        await zone.runner.resume()
        await zone.ended([job], states.ENDED)
        record = await zone.record(job)
        assert (record.state, record.message.failure.code) == (states.FAILED, "agreement_expired")
        assert all("contribute" not in link.told for link in zone.links.values())

    run(trio, scenario)
