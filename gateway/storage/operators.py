"""Notices for operators, and what became of who applied. Each function is a step of a transaction.

Keeps: APP-03
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, insert, select, update
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import AgreementSignature
from yingbi.api.v1.operator_pb2 import (
    ApplyToOperateRequest,
    OperatingAgreement,
    OperatorNotice,
    OperatorRecord,
    OperatorStep,
    PublishedNotice,
    SignedOperatingAgreement,
)

from gateway.governance import agreement_states as states
from gateway.governance import operating as rules
from gateway.governance import operator_notices, policy
from gateway.governance.agreement_documents import after_five_years
from gateway.governance.agreement_signatures import check_signature
from gateway.governance.agreement_states import Step
from gateway.governance.callers import Caller, Duty, Role
from gateway.governance.operating import Operating
from gateway.governance.parties import Party, named, parties_of
from gateway.governance.policy import Action
from gateway.storage import audit
from gateway.storage.agreements import event_of, step_of
from gateway.storage.tables import operating_agreements, operating_events, organisations
from gateway.storage.tables import operator_notices as notices

ADOPTED = "operators-of-before"
"""The notice that stands for none: of operators of before there were notices."""
_REVIEWED = "reviewed by who made the zone, with the supervisor's key"


def publish(
    connection: Connection, document: OperatorNotice, parties: Sequence[Party], actor: Caller, now: float
) -> PublishedNotice:
    """Publish a notice, completed with its supervisor and keys; raises Problem."""
    policy.check(actor, Action.PUBLISH_NOTICE)
    new = OperatorNotice()
    new.CopyFrom(document)
    supervisor = named(parties, Role.SUPERVISOR, document.supervisor, "supervisor")
    new.coordinator, new.coordinator_key = actor.organisation, actor.organisation_key
    new.supervisor, new.supervisor_key = supervisor.organisation, supervisor.key
    operator_notices.check_not_over(new, now)
    if _notice_row(connection, new.notice) is not None:
        raise Problem(
            Kind.REFUSED,
            "notice_exists",
            f"There is a notice {new.notice} already, and what was published is not changed.",
            field="notice",
            hint="give the new one an id of its own",
        )
    _insert_notice(connection, new, actor.name, now)
    audit.append(connection, "operator.notice", new.notice, person=actor.name, organisation=actor.organisation)
    return _published(connection, _notice_row(connection, new.notice), actor, now)


def apply(connection: Connection, asked: ApplyToOperateRequest, actor: Caller, now: float) -> OperatorRecord:
    """Apply under a notice; raises Problem."""
    row = _notice_row(connection, asked.notice)
    if row is None:
        raise _unknown_notice(asked.notice)
    terms = OperatingAgreement(
        notice=OperatorNotice.FromString(row.terms),
        operator=actor.organisation,
        operator_key=actor.organisation_key,
        statement=asked.statement,
        evidence=asked.evidence,
    )
    rules.check_application(terms.notice, asked, actor, now)
    if _row(connection, asked.notice, actor.organisation) is not None:
        raise Problem(
            Kind.REFUSED,
            "application_exists",
            f"{actor.organisation} has applied under notice {asked.notice}, and what it said is not changed.",
            field="notice",
            hint="`yingbi operator show` shows it; the coordinator publishes other notices",
        )
    return _applied(connection, terms.SerializeToString(deterministic=True), actor, now)


def move(connection: Connection, asked: OperatorStep, actor: Caller, now: float) -> OperatorRecord:
    """Take the next step of an operating agreement's life; raises Problem, and nothing has changed."""
    row = _row(connection, asked.notice, asked.operator)
    present = None if row is None else _life(connection, row)
    if present is None or not rules.may_see(actor, present):
        raise Problem(
            Kind.UNKNOWN,
            "unknown_application",
            f"{asked.operator!r} has not applied under a notice {asked.notice!r}.",
            field="operator",
            hint="`yingbi operator list` shows those that you may see",
        )
    step = step_of(asked.action)
    after = rules.moved(present, step, actor, now, reason=asked.reason)
    if step is Step.SIGN:
        _sign(connection, row, actor, asked.signature, now)
    _enter(connection, present, step.value, after, actor, now, asked.reason)
    return _record(connection, _row(connection, asked.notice, asked.operator), now)


def list_all(connection: Connection, caller: Caller, now: float) -> list[PublishedNotice]:
    """All notices, as they were published, with the applications that the caller may see."""
    wanted = select(notices).order_by(notices.c.published, notices.c.notice)
    return [_published(connection, row, caller, now) for row in connection.execute(wanted).all()]


def lives(connection: Connection) -> dict[str, tuple[Operating, ...]]:
    """What became of every organisation that applied, the latest application last."""
    found: dict[str, tuple[Operating, ...]] = {}
    wanted = select(operating_agreements).order_by(operating_agreements.c.applied, operating_agreements.c.notice)
    for row in connection.execute(wanted).all():
        found[row.operator] = (*found.get(row.operator, ()), _life(connection, row))
    return found


def begin(connection: Connection, first: Iterable[Caller], made: SignedOperatingAgreement | None, now: float) -> None:
    """At a gateway's first start: have the zone's own operator authorised, by what was signed when the zone was made.

    In a zone of before there were notices nothing was; its operators go on for five years, and the record says so.

    Args:
        first: the zone's first accounts.
        made: None in a zone of before.

    Raises:
        Problem: what was signed does not hold.
    """
    if connection.execute(select(notices.c.notice)).first() is not None:
        return
    if made is None:
        _adopt(connection, now)
        return
    by_role = {caller.role: caller for caller in first}
    coordinator, supervisor, operator = (by_role[role] for role in (Role.COORDINATOR, Role.SUPERVISOR, Role.OPERATOR))
    terms = OperatingAgreement.FromString(made.terms)
    # As of when it was signed: that the deadline for applications is over by now changes nothing.
    at = float(terms.notice.starts.seconds)
    publish(connection, terms.notice, parties_of(by_role.values()), coordinator, at)
    asked = ApplyToOperateRequest(notice=terms.notice.notice, statement=terms.statement, evidence=terms.evidence)
    rules.check_application(terms.notice, asked, operator, at)
    _applied(connection, made.terms, operator, at)
    step = OperatorStep(notice=terms.notice.notice, operator=terms.operator)
    for actor, action, signature in (
        (supervisor, Step.ASSESS, None),
        (coordinator, Step.SIGN, made.coordinator),
        (operator, Step.SIGN, made.operator),
    ):
        step.action, step.reason = action, "" if signature else _REVIEWED
        if signature:
            step.signature.CopyFrom(signature)
        move(connection, step, actor, at)


def _adopt(connection: Connection, now: float) -> None:
    there = select(organisations).where(organisations.c.left.is_(None)).order_by(organisations.c.organisation)
    rows = connection.execute(there).all()
    # Published where there is none as well: who comes later comes under other notices, whenever this gateway starts.
    starts = Timestamp(seconds=int(now))
    notice = OperatorNotice(
        notice=ADOPTED, title="Operators of before there were notices", starts=starts, expires=after_five_years(starts)
    )
    for kind in (Role.COORDINATOR, Role.SUPERVISOR):
        found = next((row for row in rows if row.kind == kind), None)
        if found is not None:
            setattr(notice, kind.value, found.organisation)
            setattr(notice, f"{kind.value}_key", found.key)
    _insert_notice(connection, notice, audit.GATEWAY, now)
    for row in rows:
        if row.kind != Role.OPERATOR:
            continue
        terms = OperatingAgreement(notice=notice, operator=row.organisation, operator_key=row.key)
        _insert(connection, terms.SerializeToString(deterministic=True), now)
        nobody = Caller(audit.GATEWAY, Role.OPERATOR, "", "", audit.GATEWAY)
        reason = "it operated the zone before there were notices"
        present = Operating(terms, states.APPLIED)
        _enter(connection, present, rules.ADOPT, states.ACTIVE, nobody, now, reason)


def _applied(connection: Connection, terms: bytes, actor: Caller, now: float) -> OperatorRecord:
    """`terms` are kept as they are: they are what is signed."""
    new = Operating(OperatingAgreement.FromString(terms), states.APPLIED)
    _insert(connection, terms, now)
    _enter(connection, new, Step.APPLY.value, states.APPLIED, actor, now)
    return _record(connection, _row(connection, new.terms.notice.notice, new.terms.operator), now)


def _sign(connection: Connection, row: Any, actor: Caller, given: AgreementSignature, now: float) -> None:
    """Keep a party's signature over the very bytes that are stored; raises Problem."""
    terms = OperatingAgreement.FromString(row.terms)
    is_operator = actor.role is Role.OPERATOR
    check_signature(
        given,
        row.terms,
        terms.operator_key if is_operator else terms.notice.coordinator_key,
        now=now,
        # Nobody looks at a certificate later than the gateway does here.
        starts=now,
        duty=Duty.OPERATOR if is_operator else Duty.COORDINATOR,
        domain=digests.OPERATING_AGREEMENT,
    )
    kept = _signatures(row)
    (kept.operator if is_operator else kept.coordinator).CopyFrom(given)
    kept.ClearField("terms")
    _update(connection, row.notice, row.operator, signed=kept.SerializeToString())


def _enter(
    connection: Connection,
    present: Operating,
    action: str,
    state: states.State,
    actor: Caller,
    now: float,
    reason: str = "",
) -> None:
    """Bring an operating agreement into a state, and write down by whose step: all changes go through here."""
    notice, operator = present.terms.notice.notice, present.terms.operator
    _update(connection, notice, operator, state=state)
    connection.execute(
        insert(operating_events).values(
            notice=notice,
            operator=operator,
            number=len(present.events) + 1,
            action=action,
            person=actor.name,
            organisation=actor.organisation,
            reason=reason.strip(),
            at=now,
            state=state,
        )
    )
    audit.append(
        connection,
        f"operator.{action}",
        present.name,
        person=actor.name,
        organisation=actor.organisation,
        reason=reason.strip(),
        details={"state": int(state)},
    )


def _published(connection: Connection, row: Any, caller: Caller, now: float) -> PublishedNotice:
    notice = OperatorNotice.FromString(row.terms)
    wanted = select(operating_agreements).where(operating_agreements.c.notice == row.notice)
    applications = connection.execute(wanted.order_by(operating_agreements.c.applied)).all()
    return PublishedNotice(
        notice=notice,
        person=row.person,
        published=Timestamp(seconds=int(row.published)),
        open=operator_notices.is_open(notice, now),
        applications=[
            _record(connection, each, now) for each in applications if rules.may_see(caller, _life(connection, each))
        ],
    )


def _record(connection: Connection, row: Any, now: float) -> OperatorRecord:
    life = _life(connection, row)
    return OperatorRecord(
        agreement=life.terms,
        state=life.at(now),
        events=life.events,
        signed=_signatures(row),
        waits_for=rules.waits_for(life, now),
    )


def _life(connection: Connection, row: Any) -> Operating:
    terms, kept = OperatingAgreement.FromString(row.terms), _signatures(row)
    of_it = (operating_events.c.notice == row.notice) & (operating_events.c.operator == row.operator)
    events = connection.execute(select(operating_events).where(of_it).order_by(operating_events.c.number)).all()
    parties = {terms.notice.coordinator: kept.HasField("coordinator"), terms.operator: kept.HasField("operator")}
    signed = frozenset(name for name, has in parties.items() if has)
    return Operating(terms, row.state, [*map(event_of, events)], signed)


def _signatures(row: Any) -> SignedOperatingAgreement:
    kept = SignedOperatingAgreement.FromString(row.signed)
    kept.terms = row.terms
    return kept


def _notice_row(connection: Connection, name: str) -> Any:
    return connection.execute(select(notices).where(notices.c.notice == name)).one_or_none()


def _row(connection: Connection, notice: str, operator: str) -> Any:
    wanted = (operating_agreements.c.notice == notice) & (operating_agreements.c.operator == operator)
    return connection.execute(select(operating_agreements).where(wanted)).one_or_none()


def _insert_notice(connection: Connection, notice: OperatorNotice, person: str, now: float) -> None:
    terms = notice.SerializeToString(deterministic=True)
    connection.execute(insert(notices).values(notice=notice.notice, terms=terms, person=person, published=now))


def _insert(connection: Connection, terms: bytes, now: float) -> None:
    read = OperatingAgreement.FromString(terms)
    connection.execute(
        insert(operating_agreements).values(
            notice=read.notice.notice,
            operator=read.operator,
            terms=terms,
            applied=now,
            state=states.APPLIED,
            signed=b"",
        )
    )


def _update(connection: Connection, notice: str, operator: str, **values: Any) -> None:
    wanted = (operating_agreements.c.notice == notice) & (operating_agreements.c.operator == operator)
    connection.execute(update(operating_agreements).where(wanted).values(**values))


def _unknown_notice(name: str) -> Problem:
    return Problem(
        Kind.UNKNOWN,
        "unknown_notice",
        f"There is no notice {name!r}.",
        field="notice",
        hint="`yingbi operator list` shows all",
    )
