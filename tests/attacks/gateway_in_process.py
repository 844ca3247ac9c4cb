"""A gateway as `gateway.app` wires it, in a thread of this process, with a real database and real enclaves behind it.

What is sent to it are bytes over a real socket, by whoever has a credential or a certificate, or by nobody. Its runner
only takes note of admitted jobs: so nothing changes in the database but by what is sent.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from sqlalchemy import Connection, Row, insert, select, text
from yingbi.api import credentials
from yingbi.api.v1.node_pb2 import CompleteTaskRequest, Hello, NextTaskRequest, TaskResult
from yingbi.api.v1.node_pb2_grpc import NodeServiceStub

from enclave_sim.authority import Policy
from enclave_sim.enclave import Enclave
from enclave_sim.enclave_process import Worker
from gateway import app
from gateway.api.authentication import Authentication
from gateway.jobs.runner import Runner
from gateway.storage import people, tables
from gateway.storage.database import Database
from gateway.storage.people import Account
from gateway.zone import init
from gateway.zone.authority import Authority
from gateway.zone.folder import ROLES, ZoneFolder
from tests.attacks.three_enclaves import NODES, Trio, make_trio, public

ANSWER_SECONDS = 30.0
"""A call that takes longer is a hang. Calls that wait by contract are given up after WAIT_SECONDS."""
WAIT_SECONDS = 0.25
DETAILS = "grpc-status-details-bin"
OPTIONS = [("grpc.max_receive_message_length", app.MAX_MESSAGE), ("grpc.max_send_message_length", app.MAX_MESSAGE)]
CHANGE_CALLERS = {"PeopleService", "SignInService"}
"""Services by which callers come and go."""
CALLERS = (tables.organisations, tables.people, tables.tokens)
CONSOLE = "https://console.example"

Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Answer:
    """How a call ended: its status, the reason and field in its details, and the reply as bytes."""

    status: grpc.StatusCode
    message: str = ""
    reason: str = ""
    field: str = ""
    reply: bytes = b""


@dataclass
class Zone:
    """The gateway, and all that is needed to call it as anybody."""

    trio: Trio
    tokens: dict[str, str]
    pairs: dict[str, tuple[bytes, bytes]]
    """A TLS key and certificate by node."""
    addresses: dict[str, str] = field(default_factory=dict)
    database: Database | None = None
    authentication: Authentication | None = None
    _channels: dict[str, grpc.Channel] = field(default_factory=dict)
    _callers: list[list[Row[Any]]] = field(default_factory=list)

    def metadata(self, who: str | None) -> Metadata:
        """What a caller of this kind of organisation sends along; nothing for nobody or a node."""
        if who not in self.tokens:
            return ()
        return (("authorization", f"Bearer {credentials.bearer(self.tokens[who])}"),)

    def channel(self, node: str | None = None) -> grpc.Channel:
        """To the callers' port, or, with the certificate of a node, to that of the nodes."""
        name = node or ""
        if name not in self._channels:
            pair = self.pairs.get(name, (None, None))
            trusted = grpc.ssl_channel_credentials(self.trio.ca_pem, *pair)
            address = self.addresses["nodes" if node else "gateway"]
            self._channels[name] = grpc.secure_channel(address, trusted, options=OPTIONS)
        return self._channels[name]

    def call(
        self,
        method: MethodDescriptor,
        request: Message | bytes,
        who: str | None = None,
        metadata: Metadata | None = None,
    ) -> Answer:
        """Send the bytes and wait for the end; of a stream, for its first reply."""
        channel = self.channel(who if who in self.pairs else None)
        payload = request if isinstance(request, bytes) else request.SerializeToString()
        sent = tuple(self.metadata(who) if metadata is None else metadata)
        seconds = WAIT_SECONDS if waits(method) else ANSWER_SECONDS
        try:
            if method.server_streaming:
                replies: Any = channel.unary_stream(path_of(method), None, None)(
                    payload, metadata=sent, timeout=seconds
                )
                first = next(iter(replies), b"")
                replies.cancel()
            else:
                first = channel.unary_unary(path_of(method), None, None)(payload, metadata=sent, timeout=seconds)
        except grpc.RpcError as error:
            return _told(error)
        if method.containing_service.name in CHANGE_CALLERS:
            self.restore_callers()
        return Answer(grpc.StatusCode.OK, reply=first)

    def remember_callers(self) -> None:
        """Of now. Whatever is asked later, they are let in: else one who signed out would be refused ever after."""
        self._callers = self._transact(lambda connection: [list(connection.execute(select(one))) for one in CALLERS])

    def restore_callers(self) -> None:
        """Those that were remembered are let in again; who came since then stays."""
        accounts = self._transact(_restored, self._callers)
        assert self.authentication is not None
        self.authentication.replace(accounts)

    def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        counted: dict[str, int] = self._transact(_counts)
        return counted

    def _transact(self, function: Callable[..., Any], *arguments: Any) -> Any:
        assert self.database is not None
        return self.database._thread.submit(self.database._transact, function, arguments).result()

    def until_connected(self, probe: MethodDescriptor, request: Message) -> None:
        """Wait until a question that takes all enclaves is answered."""
        ends = time.monotonic() + ANSWER_SECONDS
        while (answer := self.call(probe, request, "developer")).status is not grpc.StatusCode.OK:
            assert time.monotonic() < ends, answer
            time.sleep(0.05)


def path_of(method: MethodDescriptor) -> str:
    """By which it is called."""
    return f"/{method.containing_service.full_name}/{method.name}"


def waits(method: MethodDescriptor) -> bool:
    """Whether its answer may take as long as there is nothing to say: of a stream, and of a long poll."""
    return bool(method.server_streaming) or "wait_seconds" in method.input_type.fields_by_name


def _told(error: grpc.RpcError) -> Answer:
    trailing: dict[str, Any] = dict(cast(Any, error).trailing_metadata() or ())
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(trailing.get(DETAILS, b"")).details:
        detail.Unpack(info)
    return Answer(error.code(), error.details() or "", info.reason, info.metadata.get("field", ""))


def _counts(connection: Connection) -> dict[str, int]:
    names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'"))
    counted = {name: _count(connection, f'SELECT COUNT(*) FROM "{name}"') for (name,) in names.all()}
    # Nodes sign that they stopped when they get to it, whatever is sent meanwhile.
    del counted["stop_proofs"]
    counted["audit"] -= _count(connection, "SELECT COUNT(*) FROM audit WHERE action = 'stop.proof'")
    return counted


def _count(connection: Connection, statement: str) -> int:
    return int(connection.execute(text(statement)).scalar_one())


def _restored(connection: Connection, remembered: Sequence[Sequence[Row[Any]]]) -> list[Account]:
    for table, rows in zip(CALLERS, remembered, strict=True):
        for row in rows:
            connection.execute(insert(table).prefix_with("OR REPLACE").values(**row._mapping))
    return people.accounts(connection)


@contextmanager
def running_zone(root: Path, primes: tuple[int, int], *, auto_approve: bool) -> Iterator[Zone]:
    """A zone as `yingbi init` makes it, but for the length of its key, while it runs."""
    authority = Authority.new("yingbi zone CA")
    tokens = {role: secrets.token_urlsafe(32) for role in ROLES}
    trio = make_trio(root / "enclaves", primes, authority)
    trio.developer, trio.operator = (credentials.signing_key(tokens[role]) for role in ("developer", "operator"))
    keys = {f"{role}s": frozenset({public(credentials.signing_key(token))}) for role, token in tokens.items()}
    del keys["auditors"]
    for name in NODES:
        (trio.folder / name / "policy.json").write_text(Policy(auto_approve=auto_approve, **keys).to_json())
    trio.load()
    folder = ZoneFolder(root)
    init._write_gateway(folder, authority, tokens, auto_approve=auto_approve)
    (folder.gateway / "key_epoch.pb").write_bytes((root / "enclaves" / "node-1" / "key_epoch.pb").read_bytes())
    settings = json.loads((folder.gateway / "gateway.json").read_text())
    (folder.gateway / "gateway.json").write_text(json.dumps(settings | {"console": CONSOLE}))
    pairs = {enclave.node: authority.tls_pair(enclave.node, server=False) for enclave in trio.enclaves}
    zone = Zone(trio, tokens, pairs)
    try:
        with patch.object(Runner, "start", lambda *_: None), _served(zone, folder.gateway):
            nodes = [_Node(zone, enclave) for enclave in trio.enclaves]
            try:
                yield zone
            finally:
                for channel in zone._channels.values():
                    channel.close()
                for node in nodes:
                    node.stop()
    finally:
        trio.close()


@contextmanager
def _served(zone: Zone, folder: Path) -> Iterator[None]:
    """`app.serve`, in a thread, until the context ends."""
    stopping = threading.Event()
    failed: list[BaseException] = []

    async def until_told() -> None:
        while not stopping.is_set():
            await asyncio.sleep(0.02)

    def database(path: Path) -> Database:
        zone.database = Database(path)
        return zone.database

    def authentication(*arguments: Any, **options: Any) -> Authentication:
        zone.authentication = Authentication(*arguments, **options)
        return zone.authentication

    def serving() -> None:
        try:
            asyncio.run(app.serve(folder, 0, folder / "ready.json"))
        except BaseException as error:
            failed.append(error)

    with (
        patch.object(app, "_until_signal", until_told),
        patch.object(app, "Database", database),
        patch.object(app, "Authentication", authentication),
    ):
        thread = threading.Thread(target=serving)
        thread.start()
        try:
            while not (folder / "ready.json").exists():
                assert thread.is_alive(), failed
                time.sleep(0.01)
            zone.addresses = json.loads((folder / "ready.json").read_text())
            zone.remember_callers()
            yield
        finally:
            stopping.set()
            thread.join(ANSWER_SECONDS)
    assert not failed, failed


class _Node:
    """Carries tasks to an enclave, and its answers back, as a node's process does."""

    def __init__(self, zone: Zone, enclave: Enclave) -> None:
        epoch = (zone.trio.folder / enclave.node / "key_epoch.pb").read_bytes()
        self._hello = Hello(node=enclave.node, evidence=enclave.identity.evidence, no_sandbox="It is a test.")
        self._hello.key_epoch.ParseFromString(epoch)
        trusted = grpc.ssl_channel_credentials(zone.trio.ca_pem, *zone.pairs[enclave.node])
        self._channel = grpc.secure_channel(zone.addresses["nodes"], trusted, options=OPTIONS)
        self._stub = NodeServiceStub(self._channel)
        self._worker = Worker(enclave, self._answer)
        self._stopping = False
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._channel.close()
        self._thread.join(ANSWER_SECONDS)
        for queue in (self._worker._tasks, self._worker._predictions, self._worker._verifications):
            queue.shutdown()

    def _poll(self) -> None:
        received = 0
        while not self._stopping:
            request = NextTaskRequest(run=self._hello.node, hello=self._hello, wait_seconds=5, received=received)
            try:
                task = self._stub.NextTask(request, timeout=ANSWER_SECONDS)
            except (grpc.RpcError, ValueError):
                time.sleep(0.02)
                continue
            received = task.sequence
            if task.id:
                self._worker.accept(task)

    def _answer(self, result: TaskResult) -> None:
        # Whoever asked may have gone.
        with suppress(grpc.RpcError, ValueError):
            self._stub.CompleteTask(CompleteTaskRequest(run=self._hello.node, result=result), timeout=ANSWER_SECONDS)
