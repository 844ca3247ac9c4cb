"""Who is filed for a zone. Each function is a step of a transaction; times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, Row, delete, insert, select, update
from yingbi.api.certificates import certified_until
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import (
    PERSON_STATE_ACTIVE,
    PERSON_STATE_INVITED,
    PERSON_STATE_LEFT,
    AcceptInvitationRequest,
    FileOrganisationRequest,
    Invitation,
    InvitePersonRequest,
    Organisation,
    Person,
    SignedCertificate,
)

from gateway.governance import operating
from gateway.governance import people as rules
from gateway.governance.callers import DUTIES, Caller, Duty, Role, Scope
from gateway.governance.operating import Operating
from gateway.storage import audit, bearer_tokens, operators
from gateway.storage.tables import invitations, organisations, passkeys, people, tokens, totps

Result = TypeVar("Result")
HOUR = 3600


@dataclass(frozen=True)
class Account:
    """A token that counts, and whose it is. `ends` is the token's own end; None: it has none.

    `session`: its person signed in for it, by more than another token. `operating` is what became of its organisation's
    applications to operate the zone.
    """

    token_id: str
    caller: Caller
    ends: float | None
    session: bool = False
    operating: tuple[Operating, ...] = ()

    @property
    def last(self) -> float | None:
        """Until when it counts: its own end, or that of its person's certificate."""
        certificate = self.caller.certificate
        ends = (self.ends, None if certificate is None else certified_until(certificate))
        return min((end for end in ends if end is not None), default=None)

    def at(self, now: float) -> Account:
        """The account with what hinders its organisation from operating the zone at `now`.

        Keeps: APP-03
        """
        if self.caller.role is not Role.OPERATOR:
            return self
        return replace(self, caller=replace(self.caller, hindrance=operating.hindrance(self.operating, now)))


@dataclass(frozen=True)
class Said:
    """Who changes what about whom."""

    action: str
    person: str
    organisation: str
    subject: str
    reason: str = ""


def change(
    connection: Connection, said: Said, step: Callable[..., Result], *arguments: Any
) -> tuple[Result, list[Account]]:
    """One change, and the accounts that there are after it. Every change of who is filed goes through here."""
    result = step(connection, *arguments)
    audit.append(
        connection, said.action, said.subject, person=said.person, organisation=said.organisation, reason=said.reason
    )
    return result, accounts(connection)


def authorised(
    connection: Connection, actor: Caller, step: Callable[..., Result], *arguments: Any
) -> tuple[Result, list[Account]]:
    """As `change`, of a step by `actor`, who was not removed meanwhile, that writes its own row of the record."""
    check_has_not_left(connection, actor)
    result = step(connection, *arguments)
    return result, accounts(connection)


def seed(connection: Connection, callers: Iterable[Caller], now: float) -> list[Account]:
    """File the accounts of the gateway's file whose names were never filed; all accounts after that.

    The database is the truth: who is in it already, or was, is not changed by the file.
    """
    filed = {each.organisation: each for each in all_organisations(connection)}
    names = _all_names(connection)
    for caller in callers:
        if caller.organisation not in filed:
            _insert_organisation(connection, caller.organisation, caller.role, "", caller.key, now)
            filed[caller.organisation] = find_organisation(connection, caller.organisation)
        if caller.name not in names and not filed[caller.organisation].left:
            _insert_person(connection, caller.name, caller.organisation, "", caller.duties, PERSON_STATE_ACTIVE, now)
            _set(connection, caller.name, key=caller.key)
            bearer_tokens.add(connection, caller.name, caller.bearer_hash, "first account", None, None, now)
    return accounts(connection)


def accounts(connection: Connection) -> list[Account]:
    """All tokens that are not revoked, of people who are there. Whether they ended, the clock says."""
    joined = tokens.join(people).join(organisations)
    wanted = (
        select(tokens.c.token_id, tokens.c.bearer_hash, tokens.c.scopes, tokens.c.expires, tokens.c.session)
        .add_columns(people.c.person, people.c.duties, people.c.certificate, people.c.key.label("own_key"))
        .add_columns(organisations.c.organisation, organisations.c.kind, organisations.c.key)
        .select_from(joined)
        .where(tokens.c.revoked.is_(None), people.c.state == PERSON_STATE_ACTIVE, organisations.c.left.is_(None))
        .order_by(tokens.c.created)
    )
    lives = operators.lives(connection)
    return [_account(row, lives.get(row.organisation, ())) for row in connection.execute(wanted)]


def file_organisation(connection: Connection, request: FileOrganisationRequest, now: float) -> Organisation:
    """File an organisation, and its first account; raises Problem."""
    kind = rules.check_filing(request, all_organisations(connection), _all_names(connection))
    _check_new_key(connection, request.key)
    _insert_organisation(connection, request.organisation, kind, request.title, request.key, now)
    _insert_person(
        connection, request.person, request.organisation, request.real_name, DUTIES[kind], PERSON_STATE_ACTIVE, now
    )
    _set(connection, request.person, key=request.key)
    bearer_tokens.add(connection, request.person, request.bearer_hash, "first account", None, None, now)
    return find_organisation(connection, request.organisation)


def remove_organisation(connection: Connection, caller: Caller, name: str, now: float) -> Organisation:
    """Remove an organisation with all its people, at once; raises Problem."""
    rules.check_organisation_leaves(caller, find_organisation(connection, name))
    connection.execute(update(organisations).where(organisations.c.organisation == name).values(left=now))
    for person in list_people(connection, name):
        _leave(connection, person.person, now)
    return find_organisation(connection, name)


def invite(connection: Connection, caller: Caller, request: InvitePersonRequest, now: float) -> Person:
    """File an invitation to the caller's organisation; raises Problem."""
    rules.check_text(request.real_name, "real_name")
    organisation = find_organisation(connection, caller.organisation)
    name = Invitation.FromString(request.invitation.body).person
    present = find_person(connection, name)
    new = rules.check_invitation(request.invitation, organisation, present, now)
    if _invitation(connection, new.invitation_key) is not None:
        raise Problem(Kind.REFUSED, "invitation_exists", "This invitation is filed already.", hint="make another one")
    duties = frozenset(map(Duty, new.duties))
    if present is None:
        _insert_person(connection, name, new.organisation, request.real_name, duties, PERSON_STATE_INVITED, now)
    else:
        _void_invitations(connection, name)
        if present.state == PERSON_STATE_INVITED:
            _set(connection, name, duties=" ".join(sorted(duties)), real_name=request.real_name)
    connection.execute(
        insert(invitations).values(
            invitation_key=new.invitation_key, person=name, body=request.invitation.body, state=rules.OPEN, filed=now
        )
    )
    return _known(connection, name)


def accept(
    connection: Connection, request: AcceptInvitationRequest, caller: str | None, ends: float | None, now: float
) -> Person:
    """Let the person in who accepts an invitation, with a first token that ends at `ends`; raises Problem.

    Who was in already goes on with the new key, certificate and token alone. `caller` is whose token the call came
    with.
    """
    rules.check_bearer_hash(request.bearer_hash)
    rules.check_text(request.label, "label")
    # Only to find what was filed: the rule compares all of it.
    shown = Invitation.FromString(request.certificate.invitation.body)
    filed = _invitation(connection, shown.invitation_key)
    if filed is None:
        raise Problem(Kind.UNKNOWN, "unknown_invitation", "This zone has no such invitation.")
    person = _known(connection, filed.person)
    organisation = find_organisation(connection, person.organisation)
    chain = rules.check_acceptance(request.certificate, organisation, filed.body, filed.state, now)
    rules.check_renewal(person, caller, now)
    _check_new_key(connection, chain.key)
    connection.execute(
        update(invitations).where(invitations.c.invitation_key == shown.invitation_key).values(state=rules.ACCEPTED)
    )
    _take_all(connection, person.person, now)
    _set(
        connection,
        person.person,
        key=chain.key,
        certificate=request.certificate.SerializeToString(deterministic=True),
        duties=" ".join(sorted(chain.duties)),
        state=PERSON_STATE_ACTIVE,
    )
    bearer_tokens.add(
        connection,
        person.person,
        request.bearer_hash,
        request.label or "first",
        None,
        ends,
        now,
        session=request.session,
    )
    return _known(connection, person.person)


def remove(connection: Connection, caller: Caller, name: str, now: float) -> Person:
    """Remove a person of the caller's organisation, at once; raises Problem."""
    person = find_person(connection, name)
    if person is None:
        raise rules.unknown_person(name)
    colleagues = [other for other in list_people(connection, person.organisation) if other.person != name]
    rules.check_removal(caller, person, colleagues)
    _leave(connection, name, now)
    return _known(connection, name)


def find_organisation(connection: Connection, name: str) -> Organisation:
    """The organisation, also one that was removed; raises Problem."""
    found = next((each for each in all_organisations(connection) if each.organisation == name), None)
    if found is None:
        said = f"There is no organisation {name!r}."
        hint = "`yingbi organisation list`"
        raise Problem(Kind.UNKNOWN, "unknown_organisation", said, field="organisation", hint=hint)
    return found


def check_not_removed(connection: Connection, name: str) -> None:
    """Raise Problem REFUSED "organisation_left" for an organisation that was removed."""
    left = select(organisations.c.left).where(organisations.c.organisation == name)
    if connection.execute(left).scalar() is not None:
        rules.check_there(Organisation(organisation=name, left=True))


def check_has_not_left(connection: Connection, caller: Caller) -> None:
    """Raise Problem REFUSED where the person, or the organisation, was removed since the call was let in.

    To be asked in the transaction that does what the caller asks for: from the removal on, nothing is.
    """
    check_not_removed(connection, caller.organisation)
    left = select(people.c.left).where(people.c.person == caller.name)
    if connection.execute(left).scalar() is not None:
        raise Problem(Kind.REFUSED, "person_left", f"{caller.name} was removed from {caller.organisation}.")


def all_organisations(connection: Connection) -> list[Organisation]:
    """All that ever were, by their names."""
    found = connection.execute(select(organisations).order_by(organisations.c.organisation))
    return [
        Organisation(
            organisation=row.organisation,
            kind=row.kind,
            title=row.title,
            key=row.key,
            filed=Timestamp(seconds=int(row.filed)),
            left=row.left is not None,
        )
        for row in found
    ]


def developers_key(connection: Connection, name: str) -> bytes | None:
    """The 32-byte key of a developers' organisation, also of one that was removed; None where there never was any."""
    wanted = (organisations.c.organisation == name) & (organisations.c.kind == Role.DEVELOPER)
    key: bytes | None = connection.execute(select(organisations.c.key).where(wanted)).scalar_one_or_none()
    return key


def find_person(connection: Connection, name: str) -> Person | None:
    """The person of this name, also one who left; None where there never was any."""
    row = connection.execute(select(people).where(people.c.person == name)).one_or_none()
    return None if row is None else _person(row)


def list_people(connection: Connection, organisation: str) -> list[Person]:
    """An organisation's people (empty: everybody's), also those who left, by their names."""
    wanted = select(people).order_by(people.c.person)
    if organisation:
        wanted = wanted.where(people.c.organisation == organisation)
    return [_person(row) for row in connection.execute(wanted)]


def _leave(connection: Connection, name: str, now: float) -> None:
    """All that a person could act with is gone with this."""
    _take_all(connection, name, now)
    _void_invitations(connection, name)
    connection.execute(
        update(people)
        .where(people.c.person == name, people.c.state != PERSON_STATE_LEFT)
        .values(state=PERSON_STATE_LEFT, left=now)
    )


def _take_all(connection: Connection, name: str, now: float) -> None:
    """Tokens, sessions and ways to sign in."""
    revoked = update(tokens).where(tokens.c.person == name, tokens.c.revoked.is_(None))
    connection.execute(revoked.values(revoked=now))
    for ways in (passkeys, totps):
        connection.execute(delete(ways).where(ways.c.person == name))


def _void_invitations(connection: Connection, name: str) -> None:
    still_open = update(invitations).where(invitations.c.person == name, invitations.c.state == rules.OPEN)
    connection.execute(still_open.values(state=rules.VOID))


def _known(connection: Connection, name: str) -> Person:
    found = find_person(connection, name)
    if found is None:
        raise rules.unknown_person(name)
    return found


def _invitation(connection: Connection, key: bytes) -> Row[Any] | None:
    return connection.execute(select(invitations).where(invitations.c.invitation_key == key)).one_or_none()


def _all_names(connection: Connection) -> Collection[str]:
    return set(connection.execute(select(people.c.person)).scalars())


def _check_new_key(connection: Connection, key: bytes) -> None:
    taken = connection.execute(select(people.c.person).where(people.c.key == key)).first()
    if taken is not None:
        raise Problem(Kind.REFUSED, "key_taken", "Somebody is filed with this key.", hint="make a key of its own")


def _insert_organisation(connection: Connection, name: str, kind: Role, title: str, key: bytes, now: float) -> None:
    connection.execute(
        insert(organisations).values(organisation=name, kind=kind.value, title=title, key=key, filed=now)
    )


def _insert_person(
    connection: Connection,
    name: str,
    organisation: str,
    real_name: str,
    duties: Collection[Duty],
    state: int,
    now: float,
) -> None:
    connection.execute(
        insert(people).values(
            person=name,
            organisation=organisation,
            real_name=real_name,
            duties=" ".join(sorted(duties)),
            state=state,
            filed=now,
        )
    )


def _set(connection: Connection, name: str, **values: Any) -> None:
    connection.execute(update(people).where(people.c.person == name).values(**values))


def _account(row: Row[Any], lives: tuple[Operating, ...]) -> Account:
    caller = Caller(
        name=row.person,
        role=Role(row.kind),
        bearer_hash=row.bearer_hash,
        signing_key=row.own_key.hex(),
        organisation=row.organisation,
        given=frozenset(map(Duty, row.duties.split())),
        organisation_signing_key=row.key.hex(),
        certificate=None if row.certificate is None else SignedCertificate.FromString(row.certificate),
        scopes=None if row.scopes is None else frozenset(map(Scope, row.scopes.split())),
    )
    return Account(row.token_id, caller, row.expires, bool(row.session), lives)


def _person(row: Row[Any]) -> Person:
    return Person(
        person=row.person,
        organisation=row.organisation,
        real_name=row.real_name,
        duties=row.duties.split(),
        state=row.state,
        filed=Timestamp(seconds=int(row.filed)),
        key=row.key or b"",
        certificate=None if row.certificate is None else SignedCertificate.FromString(row.certificate),
    )
