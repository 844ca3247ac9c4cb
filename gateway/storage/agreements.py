"""Agreements and their lives. Each function is a step of a transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, bindparam, insert, select, update
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import (
    Agreement,
    AgreementEvent,
    AgreementSignature,
    AgreementStep,
    RegisteredAgreement,
    SignedAgreement,
)
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from gateway.governance import agreement_states as states
from gateway.governance import agreements as rules
from gateway.governance.agreement_signatures import check_signature
from gateway.governance.agreement_states import Life, Step
from gateway.governance.callers import Caller, Role
from gateway.governance.parties import Party, completed
from gateway.ledger import ledger
from gateway.storage import audit, catalogue
from gateway.storage.prepared import Prepared
from gateway.storage.tables import agreement_events, agreements

MOST_PREDECESSORS = 100
"""As enclaves take them from a stop."""

# Made once: to build a statement takes longer than to execute it.
_COLUMNS = (agreements.c.terms, agreements.c.state, agreements.c.signed)
_ONE = Prepared(select(*_COLUMNS).where(agreements.c.agreement == bindparam("wanted")))
_OWN = Prepared(
    select(*_COLUMNS)
    .where(agreements.c.dataset == bindparam("wanted_dataset"))
    .where(agreements.c.organisation == bindparam("wanted_organisation"))
    .order_by(agreements.c.agreement)
)
_EVENTS = Prepared(
    select(agreement_events)
    .where(agreement_events.c.agreement == bindparam("wanted"))
    .order_by(agreement_events.c.number)
)


def register(connection: Connection, new: Agreement, now: float, actor: Caller | None = None) -> RegisteredAgreement:
    """Keep a new agreement that is not over at `now`, at once active, and open its account; raises Problem.

    The same one again changes nothing, whenever that is.

    Keeps: CAT-05
    """
    rules.check_fits(new, catalogue.find(connection, new.dataset).declaration)
    if not _is_there(connection, new):
        rules.check_not_over(new, now)
        _insert(connection, new, now, states.ACTIVE)
        who = {"person": actor.name, "organisation": actor.organisation} if actor else {}
        audit.append(connection, "agreement.register", new.agreement, **who, details={"state": int(states.ACTIVE)})
    return describe(connection, new, now)


def draft(
    connection: Connection, document: Agreement, parties: Sequence[Party], actor: Caller, now: float
) -> RegisteredAgreement:
    """Keep the terms that a document says, completed with parties and keys, as a draft; raises Problem.

    The same one again changes nothing.
    """
    new = completed(document, parties)
    states.check_drafted(new, actor)
    rules.check_fits(new, catalogue.find(connection, new.dataset).declaration)
    if _is_there(connection, new):
        return describe(connection, new, now)
    rules.check_not_over(new, now)
    if new.supersedes:
        states.check_supplement(new, life(connection, new.supersedes), now)
    _insert(connection, new, now, states.DRAFT)
    _enter(connection, Life(new, states.DRAFT), Step.DRAFT, states.DRAFT, actor, now)
    return describe(connection, new, now)


def move(connection: Connection, asked: AgreementStep, actor: Caller, now: float) -> RegisteredAgreement:
    """Take the next step of an agreement's life; raises Problem, and nothing has changed.

    A supplement replaces what it supersedes in the transaction that makes it active.
    """
    present = life(connection, asked.agreement)
    if actor.role is Role.DEVELOPER and actor.organisation != present.terms.organisation:
        raise rules.unknown(asked.agreement)
    step = step_of(asked.action)
    after = states.moved(present, step, actor, now, reason=asked.reason)
    if step is Step.SIGN or (step is Step.CONSENT and asked.HasField("signature")):
        _sign(connection, present.terms, actor, asked.signature, now)
    if after == states.ACTIVE and present.state == states.CONSENTED and present.terms.supersedes:
        _supersede(connection, present.terms, actor, now)
    _enter(connection, present, step, after, actor, now, asked.reason)
    return describe(connection, present.terms, now)


def find(connection: Connection, name: str) -> Agreement | None:
    """The terms of the agreement called `name`; None for the empty name, which stands for none. Raises Problem."""
    if not name:
        return None
    row = _row(connection, name)
    if row is None:
        raise rules.unknown(name)
    return Agreement.FromString(row.terms)


def life(connection: Connection, name: str) -> Life:
    """The agreement called `name`, as far as its life goes; raises Problem."""
    row = _row(connection, name)
    if row is None:
        raise rules.unknown(name)
    return _life(connection, row)


def chosen(
    connection: Connection,
    declaration: DatasetDeclaration,
    organisation: str | None,
    name: str,
    now: float,
    *,
    job: str,
    governed: bool = False,
) -> Agreement | None:
    """The agreement that a request runs under: see `gateway.governance.agreements.chosen`. Raises Problem."""
    named: Agreement | None = None
    own: list[Agreement] = []
    if name:
        present = life(connection, name)
        named = present.terms
        # First whose it is: a stranger is told nothing of its state.
        rules.check_parties(named, declaration.dataset, organisation)
        rules.check_active(present, now)
    elif (governed or declaration.agreements_required) and organisation is not None:
        asked = {"wanted_dataset": declaration.dataset, "wanted_organisation": organisation}
        lives = [_life(connection, row) for row in _OWN.execute(connection, asked).all()]
        own = [each.terms for each in lives if each.state == states.ACTIVE]
        if not own and len(lives) == 1:
            rules.check_active(lives[0], now)
    return rules.chosen(declaration, organisation, named, own, now, job=job, governed=governed)


def check_still_in_force(connection: Connection, name: str, now: float) -> None:
    """Raise Problem where the agreement `name` is no longer active, or its term is over; none is, always."""
    if name:
        rules.check_active(life(connection, name), now)


def successors(connection: Connection, name: str) -> list[str]:
    """The agreement `name` and those that came in its place, the present one last; none for the empty name."""
    chain = [name] if name else []
    while chain and (present := life(connection, chain[-1])).state == states.SUPERSEDED:
        asked = {"wanted_dataset": present.terms.dataset, "wanted_organisation": present.terms.organisation}
        begun = [row for row in _OWN.execute(connection, asked).all() if row.state not in states.NEVER_ACTIVE]
        terms = [Agreement.FromString(row.terms) for row in begun]
        chain.append(next(each.agreement for each in terms if each.supersedes == chain[-1]))
    return chain


def predecessors(connection: Connection, name: str) -> list[str]:
    """Those that the agreement `name` came in the place of, the latest first; a draft has come in nobody's.

    They are what a stop of it names for enclaves. Of a chain longer than `MOST_PREDECESSORS` the latest ones.
    """
    chain: list[str] = []
    row = _row(connection, name)
    while row is not None and row.state not in states.NEVER_ACTIVE and len(chain) < MOST_PREDECESSORS:
        before = Agreement.FromString(row.terms).supersedes
        row = _row(connection, before) if before else None
        chain += [] if row is None else [before]
    return chain


def check_goes_on(connection: Connection, name: str, now: float) -> None:
    """As `check_still_in_force`, for a job that had begun: a supplement in the agreement's place does not end it.

    The supplement's own end does.
    """
    *replaced, last = successors(connection, name) or [""]
    if last and not ((present := life(connection, last)).state == states.ACTIVE and replaced):
        rules.check_active(present, now)


def withheld(connection: Connection, name: str) -> Problem | None:
    """Why no release under the agreement `name` is handed out, whatever its job's state; None where nothing forbids it.

    Asked of what came in its place, where something did. What a receipt says is known to whoever has one: this stops
    the gateway, and nobody else.
    """
    row = _row(connection, name) if name else None
    if row is not None and row.state == states.SUPERSEDED:
        name = successors(connection, name)[-1]
        row = _row(connection, name)
    if row is None or row.state not in states.WITHHOLDING:
        return None
    said = states.name_of(row.state)
    return rules.breach(
        "state",
        f"agreement_{said}",
        f"Agreement {name} is {said}: no result under it is handed out",
        "`yingbi agreement show` says by whom and why",
    )


def signed(connection: Connection, name: str) -> SignedAgreement | None:
    """The terms with the signatures of both parties, for enclaves; None for the empty name.

    What an operator registered in a zone made with --auto-approve is signed by nobody.
    """
    row = _row(connection, name) if name else None
    return None if row is None else _signatures(row)


def describe(connection: Connection, agreement: Agreement, now: float | None = None) -> RegisteredAgreement:
    """The agreement with what is spent under it, and what it is at `now` (by default: now), by whose doing."""
    row = _row(connection, agreement.agreement)
    assert row is not None
    present, at = _life(connection, row), time.time() if now is None else now
    return RegisteredAgreement(
        agreement=agreement,
        budget=ledger.agreement_budget(connection, agreement),
        state=states.state_at(agreement, present.state, at),
        events=present.events,
        # To sign are these very bytes.
        signed=_signatures(row),
        waits_for=states.waits_for(present, at),
        predecessors=predecessors(connection, agreement.agreement),
    )


def show(
    connection: Connection, name: str, organisation: str | None = None, now: float | None = None
) -> RegisteredAgreement:
    """The agreement called `name`; another organisation's does not exist for `organisation`. Raises Problem."""
    row = _row(connection, name)
    found = None if row is None else Agreement.FromString(row.terms)
    if found is None or organisation not in (None, found.organisation):
        raise rules.unknown(name)
    return describe(connection, found, now)


def list_all(
    connection: Connection, dataset: str, organisation: str | None = None, now: float | None = None
) -> list[RegisteredAgreement]:
    """The agreements about a dataset (empty: all) with an organisation (None: all), by their ids."""
    wanted = select(agreements.c.terms).order_by(agreements.c.agreement)
    if dataset:
        wanted = wanted.where(agreements.c.dataset == dataset)
    if organisation is not None:
        wanted = wanted.where(agreements.c.organisation == organisation)
    found = connection.execute(wanted).scalars().all()
    return [describe(connection, Agreement.FromString(terms), now) for terms in found]


def names_of(connection: Connection, organisation: str) -> set[str]:
    """The ids of all agreements with an organisation."""
    wanted = select(agreements.c.agreement).where(agreements.c.organisation == organisation)
    return set(connection.execute(wanted).scalars())


def step_of(action: str) -> Step:
    """The step of this name; raises Problem MALFORMED "agreement_step"."""
    try:
        return Step(action)
    except ValueError as error:
        raise Problem(
            Kind.MALFORMED,
            "agreement_step",
            f"{action!r} is no step of an agreement's life.",
            field="action",
            hint=f"there are {', '.join(Step)}",
        ) from error


def _sign(connection: Connection, terms: Agreement, actor: Caller, given: AgreementSignature, now: float) -> None:
    """Keep a party's signature over the very bytes that are stored; raises Problem."""
    row = _row(connection, terms.agreement)
    assert row is not None
    is_provider = actor.role is Role.PROVIDER
    party = terms.provider_key if is_provider else terms.organisation_key
    check_signature(given, row.terms, party, now=now, starts=terms.starts.seconds)
    kept = _signatures(row)
    (kept.provider if is_provider else kept.organisation).CopyFrom(given)
    found = agreements.c.agreement == terms.agreement
    connection.execute(update(agreements).where(found).values(signed=kept.SerializeToString()))


def _supersede(connection: Connection, terms: Agreement, actor: Caller, now: float) -> None:
    before = life(connection, terms.supersedes)
    states.check_supplement(terms, before, now)
    ledger.carry_over(connection, terms)
    reason = f"agreement {terms.agreement} is in its place"
    _enter(connection, before, Step.SUPERSEDE, states.SUPERSEDED, actor, now, reason)


def _enter(
    connection: Connection,
    present: Life,
    step: Step,
    state: states.State,
    actor: Caller,
    now: float,
    reason: str = "",
) -> None:
    """Bring an agreement into a state, and write down by whose step: all changes go through here."""
    name = present.terms.agreement
    connection.execute(update(agreements).where(agreements.c.agreement == name).values(state=state))
    connection.execute(
        insert(agreement_events).values(
            agreement=name,
            number=len(present.events) + 1,
            action=step.value,
            person=actor.name,
            organisation=actor.organisation,
            reason=reason.strip(),
            at=now,
            state=state,
        )
    )
    audit.append(
        connection,
        f"agreement.{step.value}",
        name,
        person=actor.name,
        organisation=actor.organisation,
        reason=reason.strip(),
        details={"state": int(state)},
    )


def _is_there(connection: Connection, new: Agreement) -> bool:
    """Whether these terms are kept already; raises Problem where the id has others."""
    row = _row(connection, new.agreement)
    if row is None:
        return False
    if Agreement.FromString(row.terms) != new:
        raise Problem(
            Kind.REFUSED,
            "agreement_exists",
            f"Agreement {new.agreement} is registered with other terms, which cannot be changed.",
            field="agreement",
            hint="give the new terms an id of their own",
        )
    return True


def _row(connection: Connection, name: str) -> Any:
    return _ONE.execute(connection, {"wanted": name}).one_or_none()


def _life(connection: Connection, row: Any) -> Life:
    terms, kept = Agreement.FromString(row.terms), _signatures(row)
    events = [event_of(each) for each in _EVENTS.execute(connection, {"wanted": terms.agreement}).all()]
    parties = {terms.organisation: kept.HasField("organisation"), terms.provider: kept.HasField("provider")}
    return Life(terms, row.state, events, frozenset(name for name, has in parties.items() if has))


def _signatures(row: Any) -> SignedAgreement:
    """The terms, with the signatures that there are."""
    kept = SignedAgreement.FromString(row.signed)
    kept.terms = row.terms
    return kept


def event_of(row: Any) -> AgreementEvent:
    """What a row of `agreement_events`, or of `operating_events`, tells."""
    at = Timestamp()
    at.FromMilliseconds(int(row.at * 1000))
    return AgreementEvent(
        number=row.number,
        action=row.action,
        person=row.person,
        organisation=row.organisation,
        reason=row.reason,
        at=at,
        state=row.state,
    )


def _insert(connection: Connection, new: Agreement, now: float, state: states.State) -> None:
    connection.execute(
        insert(agreements).values(
            agreement=new.agreement,
            dataset=new.dataset,
            organisation=new.organisation,
            terms=new.SerializeToString(deterministic=True),
            uses=0,
            max_uses=new.max_uses if new.HasField("max_uses") else None,
            registered=now,
            state=state,
            signed=b"",
        )
    )
    ledger.open_agreement(connection, new)
