"""How people sign in to the console. Each function is a step of a transaction; times are seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass, replace

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, delete, insert, select, update
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import PERSON_STATE_ACTIVE
from yingbi.api.v1.sign_in_pb2 import Session, SignInMethod

from gateway.governance.sign_in import check_link, failed, new_step
from gateway.storage import bearer_tokens, people
from gateway.storage.tables import passkeys, tokens, totps

MAX_PASSKEYS = 20


@dataclass(frozen=True)
class Opening:
    """The session that is wanted."""

    bearer_hash: str
    label: str
    ends: float


@dataclass(frozen=True)
class StoredPasskey:
    """What is kept of a passkey."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


def list_passkeys(connection: Connection, person: str) -> list[StoredPasskey]:
    """Those of somebody who is there; of nobody: none."""
    found = people.find_person(connection, person)
    if found is None or found.state != PERSON_STATE_ACTIVE:
        return []
    rows = connection.execute(select(passkeys).where(passkeys.c.person == person).order_by(passkeys.c.credential_id))
    return [StoredPasskey(row.credential_id, row.public_key, row.sign_count) for row in rows]


def add_passkey(
    connection: Connection,
    person: str,
    credential_id: bytes,
    public_key: bytes,
    sign_count: int,
    label: str,
    now: float,
) -> SignInMethod:
    """A further passkey of a person's; raises Problem."""
    present = list_passkeys(connection, person)
    if len(present) >= MAX_PASSKEYS:
        said = f"A person has at most {MAX_PASSKEYS} passkeys."
        raise Problem(Kind.REFUSED, "too_many_passkeys", said, hint="remove one that you do not use")
    if connection.execute(select(passkeys.c.person).where(passkeys.c.credential_id == credential_id)).first():
        raise Problem(Kind.REFUSED, "passkey_exists", "This passkey is registered already.")
    connection.execute(
        insert(passkeys).values(
            credential_id=credential_id,
            person=person,
            public_key=public_key,
            sign_count=sign_count,
            label=label,
            added=now,
        )
    )
    return next(each for each in methods(connection, person) if each.method_id == credential_id.hex())


def set_totp(connection: Connection, person: str, secret: str, step: int, now: float) -> SignInMethod:
    """The secret that a person's codes are made of, in place of one before. The code of `step` was used for this."""
    connection.execute(delete(totps).where(totps.c.person == person))
    connection.execute(insert(totps).values(person=person, secret=secret, last_step=step, added=now))
    return next(each for each in methods(connection, person) if each.kind == "totp")


def methods(connection: Connection, person: str) -> list[SignInMethod]:
    """All ways in which a person can sign in."""
    found = connection.execute(select(passkeys).where(passkeys.c.person == person).order_by(passkeys.c.added)).all()
    with_codes = connection.execute(select(totps).where(totps.c.person == person)).all()
    return [
        *(
            SignInMethod(
                kind="passkey",
                method_id=row.credential_id.hex(),
                label=row.label,
                added=Timestamp(seconds=int(row.added)),
            )
            for row in found
        ),
        *(SignInMethod(kind="totp", added=Timestamp(seconds=int(row.added))) for row in with_codes),
    ]


def remove_method(connection: Connection, person: str, kind: str, method_id: str) -> list[SignInMethod]:
    """Remove one of a person's own; those that are left. Raises Problem."""
    if all((each.kind, each.method_id) != (kind, method_id) for each in methods(connection, person)):
        raise Problem(Kind.UNKNOWN, "unknown_method", f"You have no such {kind or 'method'}.", field="method_id")
    if kind == "totp":
        connection.execute(delete(totps).where(totps.c.person == person))
    else:
        connection.execute(delete(passkeys).where(passkeys.c.credential_id == bytes.fromhex(method_id)))
    return methods(connection, person)


def sign_in_by_code(connection: Connection, person: str, code: str, opening: Opening, now: float) -> Session:
    """Open a session for a code that is right and was not used before; raises Problem."""
    row = connection.execute(select(totps).where(totps.c.person == person)).one_or_none()
    if row is None:
        raise failed()
    step = new_step(row.secret, code, row.last_step, now)
    connection.execute(update(totps).where(totps.c.person == person).values(last_step=step))
    return _open(connection, person, opening, now)


def sign_in_by_passkey(
    connection: Connection, person: str, passkey: StoredPasskey, count: int, opening: Opening, now: float
) -> Session:
    """Open a session for a passkey whose answer was right, unless it was used meanwhile; raises Problem."""
    same = (passkeys.c.credential_id == passkey.credential_id) & (passkeys.c.sign_count == passkey.sign_count)
    counted = connection.execute(update(passkeys).where(same, passkeys.c.person == person).values(sign_count=count))
    if counted.rowcount != 1:
        raise failed()
    return _open(connection, person, opening, now)


def sign_in_by_link(connection: Connection, person: str, token_id: str, opening: Opening, now: float) -> Session:
    """Open a session for the token of a link, which is used up; raises Problem.

    It ends no later than the token that the link was made with: else one with an end would open session after session.
    """
    row = connection.execute(select(tokens).where(tokens.c.token_id == token_id, tokens.c.person == person)).one()
    if row.revoked is not None:
        raise failed()
    check_link(row.created, row.expires, row.scopes is not None)
    bearer_tokens.revoke(connection, person, token_id, now)
    if row.opens_until is not None:
        opening = replace(opening, ends=min(opening.ends, row.opens_until))
    return _open(connection, person, opening, now, signed_in=False)


def _open(connection: Connection, person: str, opening: Opening, now: float, *, signed_in: bool = True) -> Session:
    found = people.find_person(connection, person)
    if found is None or found.state != PERSON_STATE_ACTIVE:
        raise failed()
    token = bearer_tokens.open_session(
        connection, person, opening.bearer_hash, opening.label, opening.ends, now, signed_in=signed_in
    )
    return Session(token=token, person=found)
