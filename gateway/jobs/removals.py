"""Removing an organisation or a person: in one transaction they leave, and what they asked for is stopped.

So of who was removed nothing goes on, whenever the gateway is killed; nodes are told as of any stop.

Enclaves know a developers' organisation by its key, whoever the gateway says is filed: so who removes it signs the stop
by which they refuse it. An organisation of another kind asks for nothing.

Keeps: AGR-05
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError
from sqlalchemy import Connection
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import Organisation, Person, RemoveOrganisationRequest
from yingbi.api.v1.stop_pb2 import SignedStop

from gateway.governance import stops as rules
from gateway.governance.callers import Caller
from gateway.jobs.stopping import Recorded
from gateway.storage import people

End = Callable[[Connection], Sequence[Recorded]]
"""The step that ends what whoever is removed asked for."""


def signed_stop(caller: Caller, request: RemoveOrganisationRequest) -> SignedStop | None:
    """The stop that a removal comes with: of that organisation, by the caller; None where there is none.

    Raises Problem for another.
    """
    if not request.signed_stop:
        return None
    try:
        signed = SignedStop.FromString(request.signed_stop)
    except DecodeError as error:
        raise Problem(Kind.MALFORMED, "bad_stop", "What was signed is no stop.", field="signed_stop") from error
    caller.certify(signed)
    stop = rules.read_stop_alone(caller, signed)
    if (stop.scope, stop.subject) != (rules.ORGANISATION, request.organisation):
        said = "The stop that is signed is not that of the organisation to remove."
        raise Problem(Kind.MALFORMED, "other_stop", said, field="signed_stop")
    return signed


def by_stop(record: Callable[[Connection], Recorded]) -> End:
    """The end that a signed stop is."""
    return lambda connection: [record(connection)]


def remove(
    connection: Connection, caller: Caller, name: str, end: End | None, now: float
) -> tuple[Organisation, Sequence[Recorded]]:
    """Remove an organisation with all its people, and end what they asked for; raises Problem."""
    removed = people.remove_organisation(connection, caller, name, now)
    return removed, [] if end is None else end(connection)


def remove_person(
    connection: Connection, caller: Caller, name: str, end: End | None, now: float
) -> tuple[Person, Sequence[Recorded]]:
    """Remove a person of the caller's organisation, and end what they asked for; raises Problem."""
    removed = people.remove(connection, caller, name, now)
    return removed, [] if end is None else end(connection)
