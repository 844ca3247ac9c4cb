"""An organisation that was removed gets nothing more at any node, whatever the gateway says of it afterwards."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Connection, update
from yingbi.api.problem import Problem
from yingbi.api.v1.people_pb2 import RemoveOrganisationRequest
from yingbi.api.v1.stop_pb2 import SignedStop

from gateway.governance.callers import Role
from gateway.governance.stops import JOB, ORGANISATION
from gateway.jobs import states
from gateway.storage import people, stops
from gateway.storage.tables import organisations as organisation_rows
from gateway.storage.tables import people as person_rows
from gateway.storage.tables import stops as stop_rows
from tests.attacks.living_zone import GUARDED, LivingZone
from tests.attacks.test_stops import _check_proofs, refused, run
from tests.attacks.three_enclaves import Trio


def request(zone: LivingZone, signed: SignedStop | None = None) -> RemoveOrganisationRequest:
    name = zone.developers[0].caller.organisation
    given = signed or zone.signed_stop(zone.people[Role.COORDINATOR], ORGANISATION, name)
    return RemoveOrganisationRequest(organisation=name, reason="over", signed_stop=given.SerializeToString())


async def remove(zone: LivingZone, asked: RemoveOrganisationRequest) -> None:
    removed = await zone.removals.remove_organisation(zone.people[Role.COORDINATOR].caller, asked)
    assert removed.left
    (stopped,) = await zone.database.run(stops.list_all, asked.organisation)
    _check_proofs(zone, stopped)


def _forget_removals(connection: Connection) -> None:
    """As a lying gateway would."""
    connection.execute(update(stop_rows).values(lifted=time.time()))
    for table in (organisation_rows, person_rows):
        connection.execute(update(table).values(left=None))


@pytest.mark.requirement("AGR-05", "MON-01")
def test_enclaves_refuse_who_was_removed(trio: Trio) -> None:
    async def scenario(zone: LivingZone) -> None:
        who = zone.developers[0]
        waiting = (await zone.submit(who, GUARDED)).job
        await remove(zone, request(zone))
        assert (await zone.record(waiting)).state == states.CANCELLED
        assert (await refused(zone.submit(who))).code == "organisation_stopped"
        await zone.database.run(_forget_removals)
        job = (await zone.submit(who)).job
        await zone.ended([job], states.ENDED)
        assert (await zone.record(job)).message.failure.code == "stopped"

    run(trio, scenario)


def test_who_was_removed_without_a_stop_can_be_stopped_afterwards(trio: Trio) -> None:
    """As by a release that signed none: the organisation's key is known of all that ever were."""

    async def scenario(zone: LivingZone) -> None:
        coordinator, who = zone.people[Role.COORDINATOR], zone.developers[0].caller
        await zone.database.run(people.remove_organisation, coordinator.caller, who.organisation, time.time())
        hit = await zone.stopping.preview(coordinator.caller, ORGANISATION, who.organisation)
        assert hit.organisation_key == who.key
        _check_proofs(zone, await zone.stop(coordinator, ORGANISATION, who.organisation))
        with pytest.raises(Problem, match="no developers' organisation"):
            await zone.stopping.preview(coordinator.caller, ORGANISATION, "nobody")

    run(trio, scenario)


def test_a_removal_comes_with_its_own_stop_or_with_none(trio: Trio) -> None:
    async def scenario(zone: LivingZone) -> None:
        coordinator, supervisor = zone.people[Role.COORDINATOR], zone.people[Role.SUPERVISOR]
        name = zone.developers[0].caller.organisation
        attempts = (
            (zone.signed_stop(coordinator, ORGANISATION, "other"), "other_stop"),
            (zone.signed_stop(supervisor, ORGANISATION, name), "bad_signature"),
            (zone.signed_stop(coordinator, JOB, name), "not_allowed"),
        )
        for signed, code in attempts:
            refusal = await refused(zone.removals.remove_organisation(coordinator.caller, request(zone, signed)))
            assert refusal.code == code
        await zone.database.run(people.check_not_removed, name)
        assert await zone.database.run(stops.list_all) == []
        waiting = (await zone.submit(zone.developers[0], GUARDED)).job
        unsigned = RemoveOrganisationRequest(organisation=name, reason="over")
        assert (await zone.removals.remove_organisation(coordinator.caller, unsigned)).left
        assert (await zone.record(waiting)).state == states.CANCELLED

    run(trio, scenario)
