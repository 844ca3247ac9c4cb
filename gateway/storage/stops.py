"""Stops as the database knows them, and what nodes proved. Each function is a step of the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, Select, insert, select, text, update
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.stop_scopes import name_of
from yingbi.api.v1.stop_pb2 import Lift, NodeProof, SignedLift, SignedStop, Stop, StopProof, StopRecord

from gateway.governance import stops as rules
from gateway.governance.callers import Caller
from gateway.governance.stops import AGREEMENT, DATASET, JOB, ORGANISATION, SUSPENSION, Scope
from gateway.jobs import states
from gateway.storage import audit
from gateway.storage.prepared import Prepared
from gateway.storage.tables import jobs, stop_proofs, stops

OPEN = (states.WAITING, states.QUEUED, states.RUNNING)
"""The states of jobs that a stop ends."""

MOST_LISTED = 1_000

# Asked at every door: made once.
_IN_FORCE = Prepared(
    text(
        "SELECT * FROM stops WHERE lifted IS NULL AND (scope, subject) IN"
        " (VALUES (:dataset_scope, :dataset), (:organisation_scope, :organisation), (:agreement_scope, :agreement),"
        " (:suspension_scope, :agreement))"
        " ORDER BY number LIMIT 1"
    )
)
_SCOPES = {
    "dataset_scope": DATASET,
    "organisation_scope": ORGANISATION,
    "agreement_scope": AGREEMENT,
    "suspension_scope": SUSPENSION,
}
_COLUMNS = {
    JOB: jobs.c.job,
    AGREEMENT: jobs.c.agreement,
    SUSPENSION: jobs.c.agreement,
    DATASET: jobs.c.dataset,
    ORGANISATION: jobs.c.organisation,
}
"""Where jobs have what a stop names."""


@dataclass
class Told:
    """A stop, and which nodes have confirmed it."""

    number: int
    scope: Scope
    digest: bytes
    signed: SignedStop
    lift: SignedLift | None = None
    # The nodes that were there then.
    members: set[str] = field(default_factory=set)
    stopped: set[str] = field(default_factory=set)
    lifted: set[str] = field(default_factory=set)

    def is_owed(self, node: str) -> bool:
        """Whether the node still has to be told. One that joined later is told what goes on being stopped."""
        if self.lift is not None:
            return node in self.members | self.stopped and node not in self.lifted
        return node not in self.stopped and (node in self.members or self.scope != JOB)


def check_not_stopped(connection: Connection, *, dataset: str, organisation: str, agreement: str) -> None:
    """Raise Problem, naming who stopped it and since when, where a stop in force covers what is asked."""
    asked = {**_SCOPES, "dataset": dataset, "organisation": organisation, "agreement": agreement}
    row = _IN_FORCE.execute(connection, asked).one_or_none()
    if row is not None:
        raise _said(row)


def problem_of(connection: Connection, number: int) -> Problem:
    """What jobs that a stop ended are told."""
    return _said(connection.execute(select(stops).where(stops.c.number == number)).one())


def hit(connection: Connection, scope: Scope, subject: str, predecessors: Sequence[str] = ()) -> list[str]:
    """The jobs that a stop of this would end now, in the order of their admission.

    `predecessors`: those that an agreement came in the place of.
    """
    named = _COLUMNS[scope].in_([subject, *predecessors])
    wanted = select(jobs.c.job).where(named, jobs.c.state.in_(OPEN)).order_by(jobs.c.number)
    return list(connection.execute(wanted).scalars())


def open_of(connection: Connection, developer: str) -> list[str]:
    """The jobs of a developer that wait or run, in the order of their admission."""
    wanted = select(jobs.c.job).where(jobs.c.developer == developer, jobs.c.state.in_(OPEN)).order_by(jobs.c.number)
    return list(connection.execute(wanted).scalars())


def jobs_of(connection: Connection, developer: str) -> set[str]:
    """All jobs that a developer asked for."""
    return set(connection.execute(select(jobs.c.job).where(jobs.c.developer == developer)).scalars())


def add(
    connection: Connection, signed: SignedStop, caller: Caller, ended: Sequence[str], nodes: Collection[str], at: float
) -> Told:
    """Record a stop that ends these jobs and that these nodes have to be told of."""
    stop, digest = Stop.FromString(signed.body), digests.digest(digests.STOP, signed.body)
    number = connection.execute(
        insert(stops).values(
            digest=digest,
            scope=stop.scope,
            subject=stop.subject,
            person=caller.name,
            organisation=caller.organisation,
            signed=signed.SerializeToString(),
            at=at,
            jobs=json.dumps(list(ended)),
        )
    ).lastrowid
    if nodes:
        connection.execute(insert(stop_proofs), [{"stop": number, "node": node, "refusal": ""} for node in nodes])
    audit.append(
        connection,
        f"stop.{name_of(stop.scope)}",
        stop.subject,
        person=caller.name,
        organisation=caller.organisation,
        reason=stop.reason,
        details={"stop": number, "digest": digest.hex(), "jobs": list(ended), "signed": bool(signed.signature)},
    )
    return Told(number, stop.scope, digest, signed, members=set(nodes))


def find(connection: Connection, digest: bytes) -> int | None:
    """The number of the stop with this digest."""
    number: int | None = connection.execute(select(stops.c.number).where(stops.c.digest == digest)).scalar_one_or_none()
    return number


def lift(connection: Connection, signed: SignedLift, caller: Caller) -> int:
    """Record that a cut-off or a suspension is to end, which it does with `open_again`; its number.

    Until then the same organisation may sign another lift, which takes the place of one that a node refuses: every node
    is told of it, and proves it anew. Raises Problem where it is no such stop, is over, or is another's.
    """
    said = Lift.FromString(signed.body)
    scope, subject = rules.ended_by(said)
    row = connection.execute(select(stops).where(stops.c.digest == said.stop)).one_or_none()
    if row is None or (row.scope, row.subject) != (scope, subject):
        field = "agreement" if scope == SUSPENSION else "dataset"
        raise Problem(Kind.UNKNOWN, "no_such_cut_off", f"There is no such stop of {subject!r} to lift.", field=field)
    rules.check_may_lift(caller, scope, row.subject, row.organisation)
    if row.lifted is not None:
        raise Problem(Kind.CONFLICT, "lifted_already", f"That stop of {row.subject} was lifted before.")
    values = {"lift": signed.SerializeToString(), "lifted_by": caller.name}
    connection.execute(update(stops).where(stops.c.number == row.number).values(values))
    connection.execute(update(stop_proofs).where(stop_proofs.c.stop == row.number).values(lift_proof=None))
    audit.append(
        connection,
        "stop.lift",
        row.subject,
        person=caller.name,
        organisation=caller.organisation,
        reason=said.reason,
        details={"stop": row.number, "digest": row.digest.hex()},
    )
    return int(row.number)


def is_suspended(connection: Connection, agreement: str, organisation: str) -> bool:
    """Whether the organisation's signed suspension of an agreement is there, and nobody asked for its end."""
    own = (stops.c.scope == SUSPENSION) & (stops.c.subject == agreement) & (stops.c.organisation == organisation)
    return connection.execute(select(stops.c.number).where(own, stops.c.lift.is_(None))).first() is not None


def being_lifted(connection: Connection, agreement: str, organisation: str) -> set[bytes]:
    """The digests of the organisation's suspensions of an agreement whose end some node has not confirmed yet."""
    own = (stops.c.scope == SUSPENSION) & (stops.c.subject == agreement) & (stops.c.organisation == organisation)
    asked = own & stops.c.lift.is_not(None) & stops.c.lifted.is_(None)
    return set(connection.execute(select(stops.c.digest).where(asked)).scalars())


def open_again(connection: Connection, number: int, at: float) -> None:
    """End a stop that is lifted: every node has done so, and no job is charged for what one of them refuses."""
    found = (stops.c.number == number) & stops.c.lift.is_not(None)
    connection.execute(update(stops).where(found, stops.c.lifted.is_(None)).values(lifted=at))


def keep_proof(connection: Connection, number: int, node: str, proof: StopProof, *, of_lift: bool, at: int) -> None:
    """Keep what a node's enclave signed; the first word stays."""
    column = stop_proofs.c.lift_proof if of_lift else stop_proofs.c.proof
    _open_row(connection, number, node)
    mine = (stop_proofs.c.stop == number) & (stop_proofs.c.node == node)
    kept = update(stop_proofs).where(mine, column.is_(None)).values({column: proof.SerializeToString(), "refusal": ""})
    if connection.execute(kept).rowcount:
        subject = connection.execute(select(stops.c.subject).where(stops.c.number == number)).scalar_one()
        details = {"stop": number, "node": node, "at_millis": at, "lift": of_lift}
        audit.append(connection, "stop.proof", subject, details=details)


def keep_refusal(connection: Connection, number: int, node: str, refusal: str) -> None:
    """Keep why a node did not stop."""
    _open_row(connection, number, node)
    mine = (stop_proofs.c.stop == number) & (stop_proofs.c.node == node)
    connection.execute(update(stop_proofs).where(mine).values(refusal=refusal))


def told(connection: Connection) -> list[Told]:
    """All stops that some node may have to be told of yet: those of jobs only where one owes its word."""
    found = {row.number: _told(row) for row in connection.execute(select(stops).order_by(stops.c.number))}
    for row in connection.execute(select(stop_proofs)):
        each = found[row.stop]
        each.members.add(row.node)
        each.stopped |= {row.node} if row.proof is not None else set()
        each.lifted |= {row.node} if row.lift_proof is not None else set()
    return [each for each in found.values() if each.scope != JOB or each.members - each.stopped]


def describe(connection: Connection, number: int) -> StopRecord:
    """A stop with what nodes proved of it."""
    (found,) = _described(connection, select(stops).where(stops.c.number == number))
    return found


def list_all(
    connection: Connection, subject: str = "", *, in_force: bool = False, developer: str = ""
) -> list[StopRecord]:
    """The newest stops first, MOST_LISTED at most: of a subject where one is named.

    Args:
        developer: without those that single jobs of others were ended by.
    """
    wanted = select(stops).order_by(stops.c.number.desc()).limit(MOST_LISTED)
    if subject:
        wanted = wanted.where(stops.c.subject == subject)
    if in_force:
        wanted = wanted.where(stops.c.lifted.is_(None))
    if developer:
        own = select(jobs.c.job).where(jobs.c.developer == developer)
        wanted = wanted.where((stops.c.scope != JOB) | stops.c.subject.in_(own))
    return _described(connection, wanted)


def _open_row(connection: Connection, number: int, node: str) -> None:
    row = insert_or_ignore(stop_proofs).values(stop=number, node=node, refusal="").on_conflict_do_nothing()
    connection.execute(row)


def _told(row: Any) -> Told:
    lifted = None if row.lift is None else SignedLift.FromString(row.lift)
    return Told(row.number, row.scope, row.digest, SignedStop.FromString(row.signed), lifted)


def _said(row: Any) -> Problem:
    stop = Stop.FromString(SignedStop.FromString(row.signed).body)
    return rules.cut_off(
        row.scope, row.subject, person=row.person, organisation=row.organisation, reason=stop.reason, since=row.at
    )


def _described(connection: Connection, wanted: Select[Any]) -> list[StopRecord]:
    records = {row.number: _record(row) for row in connection.execute(wanted)}
    proofs = select(stop_proofs).where(stop_proofs.c.stop.in_(list(records)))
    for row in connection.execute(proofs.order_by(stop_proofs.c.stop, stop_proofs.c.node)):
        records[row.stop].nodes.append(_node_proof(row))
    return list(records.values())


def _record(row: Any) -> StopRecord:
    record = StopRecord(
        number=row.number,
        stop=Stop.FromString(SignedStop.FromString(row.signed).body),
        digest=row.digest,
        person=row.person,
        organisation=row.organisation,
        at=_moment(row.at),
        jobs=json.loads(row.jobs),
    )
    if row.lift is not None:
        lifted = Lift.FromString(SignedLift.FromString(row.lift).body)
        if row.lifted is not None:
            record.lifted.CopyFrom(_moment(row.lifted))
        record.lifted_by, record.lift_reason = row.lifted_by, lifted.reason
        record.lift.CopyFrom(lifted)
    return record


def _node_proof(row: Any) -> NodeProof:
    said = NodeProof(node=row.node, refusal=row.refusal)
    if row.proof is not None:
        said.proof.ParseFromString(row.proof)
    if row.lift_proof is not None:
        said.lift_proof.ParseFromString(row.lift_proof)
    return said


def _moment(seconds: float) -> Timestamp:
    at = Timestamp()
    at.FromMilliseconds(int(seconds * 1000))
    return at
