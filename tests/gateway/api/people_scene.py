"""A zone's people, in process: its services called as who holds a token, and what a client does before it calls."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, TypeVar

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from yingbi.api import certificates, credentials
from yingbi.api.v1 import people_pb2 as messages
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.node_pb2 import Hello

from gateway.aggregation.vectors import Vectors
from gateway.api.authentication import Authentication
from gateway.api.people import PeopleService
from gateway.governance.callers import Caller, Role
from gateway.jobs.feed import Feed
from gateway.jobs.nodes import Nodes
from gateway.jobs.removals import Removals
from gateway.jobs.runner import Runner
from gateway.jobs.stopping import Stopping
from gateway.storage import people
from gateway.storage.database import Database

Result = TypeVar("Result")
START = 1_800_000_000.0
DAY = 86_400


class Refused(Exception):
    """What came back over the wire: a status, and its stable code."""

    def __init__(self, status: str, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code = status, code


class Call:
    """The context of one call with a token; None: without any."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return () if self._token is None else (("authorization", f"Bearer {credentials.bearer(self._token)}"),)

    async def abort(self, code: grpc.StatusCode, message: str, trailing: tuple[tuple[str, bytes], ...]) -> NoReturn:
        status = status_pb2.Status.FromString(trailing[0][1])
        info = error_details_pb2.ErrorInfo()
        status.details[0].Unpack(info)
        raise Refused(code.name, info.reason, message)


def _nobody(hello: Hello) -> KeyEpoch:
    raise AssertionError(f"{hello.node} is no node of this zone")


def run(answering: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(answering)


def public(token: str) -> bytes:
    return credentials.signing_key(token).public_key().public_bytes_raw()


def hashed(token: str) -> str:
    return credentials.bearer_hash(credentials.bearer(token))


@cache
def _empty_database() -> bytes:
    """All migrations take a while: once is enough."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.db"
        Database(path).close()
        return path.read_bytes()


class Zone:
    """One organisation of each kind, whose first account's name and token are its kind."""

    def __init__(self, folder: Path, clock: Callable[[], float] | None = None) -> None:
        """`clock`: by default it is `now`, which tests set."""
        self.now = START
        self.clock = clock or (lambda: self.now)
        self.folder = folder
        (folder / "gateway.db").write_bytes(_empty_database())
        self.open()

    def open(self) -> None:
        self.database = Database(self.folder / "gateway.db")
        first = [Caller(role.value, role, hashed(role), public(role).hex(), role.value) for role in Role]
        accounts = run(self.database.run(people.seed, first, self.clock()))
        self.authentication = Authentication(accounts, clock=self.clock)
        removals = Removals(self._stopping(), partial(self.authentication.change, self.database), self.clock)
        self.service = PeopleService(self.database, self.authentication, removals, clock=self.clock)

    def _stopping(self) -> Stopping:
        """In a zone that has no nodes."""
        nodes, feed = Nodes(_nobody), Feed()
        runner = Runner(self.database, nodes, feed, Vectors(self.folder / "vectors"))
        return Stopping(self.database, nodes, runner, feed, clock=self.clock)

    def call(self, method: str, token: str | None, request: Any = None) -> Any:
        return run(getattr(self.service, method)(request or Empty(), Call(token)))

    def may_call(self, token: str) -> bool:
        try:
            self.authentication.account(Call(token))  # type: ignore[arg-type]
        except Exception:
            return False
        return True

    def invitation(
        self, by: str, person: str, *duties: str, **terms: Any
    ) -> tuple[messages.SignedInvitation, Ed25519PrivateKey]:
        """Signed with the key of the token `by`, to the organisation of that name."""
        named: dict[str, Any] = {"organisation": by, "now": self.now} | terms
        return certificates.invite(credentials.signing_key(by), person=person, duties=duties, **named)

    def invite(self, by: str, person: str, *duties: str, **terms: Any) -> SimpleNamespace:
        signed, secret = self.invitation(by, person, *duties, **terms)
        filed = self.call("InvitePerson", by, messages.InvitePersonRequest(invitation=signed, real_name="N. N."))
        return SimpleNamespace(signed=signed, secret=secret, filed=filed)

    def acceptance(self, invited: SimpleNamespace, token: str) -> messages.AcceptInvitationRequest:
        certificate = certificates.accept(invited.signed, invited.secret, public(token))
        return messages.AcceptInvitationRequest(certificate=certificate, bearer_hash=hashed(token))

    def join(self, by: str, person: str, *duties: str) -> str:
        """Invite a person, who accepts; their token."""
        token = f"{person}-token"
        self.call("AcceptInvitation", None, self.acceptance(self.invite(by, person, *duties), token))
        return token

    def make_token(self, by: str, token: str, *scopes: str, ends: float | None = None) -> messages.Token:
        request = messages.CreateTokenRequest(
            bearer_hash=hashed(token), scopes=scopes, expires=None if ends is None else Timestamp(seconds=int(ends))
        )
        made: messages.Token = self.call("CreateToken", by, request)
        return made

    def names(self, token: str, organisation: str = "") -> list[str]:
        found = self.call("ListPeople", token, messages.ListPeopleRequest(organisation=organisation))
        return [person.person for person in found.people if person.state != messages.PERSON_STATE_LEFT]

    def remove(self, by: str, person: str) -> messages.Person:
        removed: messages.Person = self.call(
            "RemovePerson", by, messages.RemovePersonRequest(person=person, reason="went elsewhere")
        )
        return removed
