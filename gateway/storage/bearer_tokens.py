"""Bearer tokens of people who are filed. Each function is a step of a transaction; times are seconds since 1970."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, Row, insert, select, update
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import CreateTokenRequest, Token

from gateway.governance import people as rules
from gateway.governance.callers import Scope
from gateway.storage.tables import tokens

if TYPE_CHECKING:
    from gateway.storage.people import Account


def create(connection: Connection, account: Account, request: CreateTokenRequest, now: float) -> Token:
    """A further token of who calls; raises Problem."""
    caller = account.caller
    last = None if account.session else account.ends
    scopes, ends = rules.check_token(request, caller, last, now), rules.token_end(request)
    made = add(connection, caller.name, request.bearer_hash, request.label, scopes, ends, now, opens_until=last)
    return find(connection, caller.name, made)


def open_session(
    connection: Connection, person: str, bearer_hash: str, label: str, ends: float, now: float, *, signed_in: bool
) -> Token:
    """A token of who has just signed in, or used a link; raises Problem."""
    rules.check_bearer_hash(bearer_hash)
    rules.check_text(label, "label")
    # One that a link opened may end as soon as a link does: taken for one, it opens nothing beyond its own end.
    made = add(connection, person, bearer_hash, label, None, ends, now, session=signed_in, opens_until=ends)
    return find(connection, person, made)


def add(
    connection: Connection,
    person: str,
    bearer_hash: str,
    label: str,
    scopes: Collection[Scope] | None,
    ends: float | None,
    now: float,
    *,
    session: bool = False,
    opens_until: float | None = None,
) -> str:
    """The id of a new token; raises Problem where there is, or was, one with its hash."""
    if connection.execute(select(tokens.c.token_id).where(tokens.c.bearer_hash == bearer_hash)).first() is not None:
        raise Problem(Kind.REFUSED, "token_exists", "There is, or was, a token with this hash.", hint="make another")
    made = secrets.token_hex(8)
    connection.execute(
        insert(tokens).values(
            token_id=made,
            person=person,
            bearer_hash=bearer_hash,
            label=label,
            scopes=None if scopes is None else " ".join(sorted(scopes)),
            session=int(session),
            created=now,
            expires=ends,
            opens_until=opens_until,
        )
    )
    return made


def revoke(connection: Connection, person: str, token_id: str, now: float) -> Token:
    """Revoke a token of a person's; raises Problem UNKNOWN for anybody else's."""
    find(connection, person, token_id)
    connection.execute(
        update(tokens).where(tokens.c.token_id == token_id, tokens.c.revoked.is_(None)).values(revoked=now)
    )
    return find(connection, person, token_id)


def used(connection: Connection, token_id: str, hour: float) -> None:
    """Note in which hour a token was used last."""
    connection.execute(update(tokens).where(tokens.c.token_id == token_id).values(last_used=hour))


def find(connection: Connection, person: str, token_id: str) -> Token:
    """A token of a person's; raises Problem."""
    found = next((each for each in list_all(connection, person) if each.token_id == token_id), None)
    if found is None:
        said = f"You have no token {token_id!r}."
        raise Problem(Kind.UNKNOWN, "unknown_token", said, field="token_id", hint="`yingbi token list`")
    return found


def list_all(connection: Connection, person: str) -> list[Token]:
    """A person's tokens, also those that ended, in the order in which they were made."""
    wanted = select(tokens).where(tokens.c.person == person).order_by(tokens.c.created, tokens.c.token_id)
    return [_token(row) for row in connection.execute(wanted)]


def _token(row: Row[Any]) -> Token:
    return Token(
        token_id=row.token_id,
        label=row.label,
        scopes=(row.scopes or "").split(),
        created=_timestamp(row.created),
        expires=_timestamp(row.expires),
        last_used=_timestamp(row.last_used),
        revoked=row.revoked is not None,
    )


def _timestamp(time: float | None) -> Timestamp | None:
    return None if time is None else Timestamp(seconds=int(time))
