"""Three enclaves in one process: real keys, sealed shards, journals and files; no gateway, no sockets but for rows.

`Trio` plays the honest gateway. An attack takes what an honest run gives, alters it, and asks again.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import digests
from yingbi.api.evidence import DEALER
from yingbi.api.problem import Problem
from yingbi.api.v1.agreement_pb2 import Agreement, AgreementSignature, SignedAgreement
from yingbi.api.v1.attestation_pb2 import KeyCeremonyRequest, KeyCeremonyResult
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, SignedShardRegistration, TableDeclaration
from yingbi.api.v1.job_pb2 import Approval, Authorization, SignedApproval, SignedAuthorization
from yingbi.api.v1.node_pb2 import (
    BoundTotal,
    ContributeTask,
    Contribution,
    HeadsBody,
    IngestReply,
    IngestRequest,
    OpenedTotal,
    OpeningShare,
    OpeningShareBody,
    OpenTask,
    ReceiptSignature,
    SignedHeads,
    SignTask,
)
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    Plan,
    Value,
)
from yingbi.api.v1.receipt_pb2 import ContributionBody, ReceiptBody

from enclave_sim import contributions, jobs, opening
from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.authority import Policy
from enclave_sim.budget import budget_of
from enclave_sim.ceremony import hold_ceremony
from enclave_sim.contributions import dataset_version
from enclave_sim.enclave import Enclave, load_enclave
from enclave_sim.engine.protocol import never
from enclave_sim.frames import read_frame, write_frame
from enclave_sim.identity import Identity
from enclave_sim.ingest import serve_connection
from enclave_sim.paillier import encoding
from enclave_sim.paillier.encryption import encrypt
from enclave_sim.paillier.plaintext_proof import prove_plaintexts
from enclave_sim.paillier.threshold import WrongPartsError
from enclave_sim.plan.canonical import encode, plan_hash
from enclave_sim.plan.layout import layout_of
from enclave_sim.plan.schema import check_declaration
from enclave_sim.plan.sensitivity import total_rho_units
from enclave_sim.sealed.schema import arrow_schema
from enclave_sim.sealed.shard import open_table
from gateway.aggregation.total import Total, open_with, who_was_wrong
from gateway.planning.query import plan_query
from gateway.zone.authority import Authority, certificate_pem
from gateway.zone.init import write_platform

NODES = ("node-1", "node-2", "node-3")
# A platform that holds no share of the first key.
SPARE = "node-4"
THRESHOLD = 2
DELTA = 1e-7
MAX_ROWS = 4
# Of the organisations beside the developers' and the operator's.
PROVIDER, SUPERVISOR = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PURPOSE = "to see what a test sees"
# Until when authorizations are valid: longer than a run of all tests.
SOON = int(time.time()) + 24 * 3600
QUERY = "SELECT clinic, COUNT(*), AVG(pain), COUNT(DISTINCT person) FROM visits GROUP BY clinic"
WIDE_QUERY = (
    "SELECT clinic, night, COUNT(*), COUNT(DISTINCT person), AVG(pain), AVG(age) FROM visits GROUP BY clinic, night"
)


def visits_declaration(dataset: str = "visits", *, grade: int = 2, epsilon: float = 200.0) -> DatasetDeclaration:
    """Visits of people to clinics; at most 60 people, of whom 4 rows count in full."""
    column = ColumnDeclaration
    declaration = DatasetDeclaration(
        dataset=dataset,
        zone="test",
        title={"en": "Visits"},
        grade=grade,
        source="made up for tests",
        privacy_unit="person",
        unit_namespace="person",
        max_units=60,
        units_disjoint=True,
        budget_epsilon=epsilon,
        budget_delta=DELTA,
        tables=[
            TableDeclaration(
                name="visits",
                max_rows_per_unit=MAX_ROWS,
                columns=[
                    column(name="person", type=COLUMN_TYPE_INT64, role=column.ROLE_UNIT),
                    column(
                        name="clinic",
                        type=COLUMN_TYPE_STRING,
                        role=column.ROLE_ATTRIBUTE,
                        values=[Value(string_value=name) for name in ("north", "south", "east")],
                    ),
                    column(name="pain", type=COLUMN_TYPE_FLOAT64, role=column.ROLE_ATTRIBUTE, lower=0, upper=10),
                    column(name="age", type=COLUMN_TYPE_INT64, role=column.ROLE_ATTRIBUTE, lower=0, upper=100),
                    column(
                        name="night",
                        type=COLUMN_TYPE_BOOL,
                        role=column.ROLE_ATTRIBUTE,
                        values=[Value(bool_value=night) for night in (False, True)],
                    ),
                ],
            )
        ],
    )
    check_declaration(declaration)
    return declaration


def visits_of(node: int, people: int = 20) -> pa.Table:
    """Three visits of each of a node's people; no person is at two nodes."""
    rows = range(3 * people)
    return visits_table(
        person=[1000 * node + row // 3 for row in rows],
        clinic=["north" if row % 2 else "south" for row in rows],
        pain=[float(row % 10) for row in rows],
        age=[20 + row % 50 for row in rows],
        night=[row % 5 == 0 for row in rows],
    )


def visits_table(**columns: Sequence[object]) -> pa.Table:
    """The columns of `visits` in the declared types."""
    return pa.table(columns, schema=arrow_schema(visits_declaration().tables[0]))


def bring(
    enclave: Enclave,
    declaration: DatasetDeclaration,
    tables: Sequence[pa.Table],
    *,
    ingest_id: bytes = bytes(16),
    change: Callable[[bytes], bytes] = lambda stream: stream,
) -> IngestReply | None:
    """Bring rows over a real socket; `change` alters the bytes sent. None where the enclave hangs up."""
    ours, theirs = socket.socketpair()
    serving = threading.Thread(target=_serve, args=(enclave, theirs))
    serving.start()
    with closing(ours), ours.makefile("rwb") as stream:
        with suppress(OSError):
            ours.sendall(change(ingest_stream(declaration, tables, ingest_id)))
            ours.shutdown(socket.SHUT_WR)
        reply = read_frame(cast(BinaryIO, stream))
    serving.join(60)
    return IngestReply.FromString(reply) if reply is not None else None


def ingest_stream(declaration: DatasetDeclaration, tables: Sequence[pa.Table], ingest_id: bytes = bytes(16)) -> bytes:
    """What a provider sends: the request, then an Arrow stream a table."""
    sink = pa.BufferOutputStream()
    request = IngestRequest(declaration=declaration.SerializeToString(deterministic=True), ingest_id=ingest_id)
    write_frame(sink, request.SerializeToString())
    for table in tables:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return cast(bytes, sink.getvalue().to_pybytes())


def _serve(enclave: Enclave, connection: socket.socket) -> None:
    # As the enclave's process does: whatever goes wrong with one connection ends that connection only.
    with suppress(Exception):
        serve_connection(enclave, connection)


def refusal(call: Callable[..., object], *arguments: object) -> str:
    """The code of the problem that a call raises."""
    with pytest.raises(Problem) as raised:
        call(*arguments)
    return raised.value.code


@dataclass
class Trio:
    """Three enclaves of one key epoch, each with a shard of `visits`, and the people who may sign."""

    folder: Path
    ca_pem: bytes
    developer: Ed25519PrivateKey
    operator: Ed25519PrivateKey
    enclaves: list[Enclave] = field(default_factory=list)
    shards: dict[str, list[SignedShardRegistration]] = field(default_factory=dict)
    # Certifies platforms.
    attestation_root: Authority | None = None

    def load(self) -> None:
        """(Re)start the enclaves from what is on disk."""
        self.close()
        self.enclaves = [load_enclave(self.folder / name, self.ca_pem) for name in NODES]

    def close(self) -> None:
        """Stop the enclaves."""
        for enclave in self.enclaves:
            enclave.journal.close()
        self.enclaves = []

    def copy(self, folder: Path) -> Trio:
        """The same zone on a disk of its own."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        copied = Trio(folder, self.ca_pem, self.developer, self.operator, shards=dict(self.shards))
        copied.attestation_root = self.attestation_root
        copied.load()
        return copied

    def add(self, declaration: DatasetDeclaration, tables: Sequence[pa.Table]) -> None:
        """Seal a dataset of one table, one shard a node."""
        ingest_id = secrets.token_bytes(16)
        replies = [
            bring(enclave, declaration, [table], ingest_id=ingest_id)
            for enclave, table in zip(self.enclaves, tables, strict=True)
        ]
        assert all(reply is not None and reply.HasField("shard") for reply in replies), replies
        self.shards[declaration.dataset] = [reply.shard for reply in replies if reply is not None]

    def declaration(self, dataset: str = "visits") -> DatasetDeclaration:
        """What the shards of a dataset were sealed under."""
        enclave = self.enclaves[0]
        version = dataset_version(self.shards[dataset], enclave.epoch)
        shard = enclave.shards / dataset / version.commitments[enclave.node].hex()
        return jobs._declaration(shard, version, enclave.keys.of(dataset))

    def version(self, dataset: str = "visits") -> bytes:
        """The dataset's present version."""
        return dataset_version(self.shards[dataset], self.enclaves[0].epoch).version

    def plan(self, sql: str = QUERY, *, epsilon: float = 1.0, dataset: str = "visits") -> Plan:
        """What the gateway compiles a query to."""
        return plan_query(
            sql,
            self.declaration(dataset),
            dataset_version=self.version(dataset),
            parties=len(self.enclaves),
            epsilon=epsilon,
            delta=DELTA,
        )

    def authorization(self, plan: Plan, request_id: str) -> Authorization:
        """What the developer signs for a plan, the same each time: a charge is bound to it."""
        return Authorization(
            plan_hash=plan_hash(encode(plan)),
            rho_units=total_rho_units(plan),
            delta=plan.delta,
            request_id=request_id,
            expires=Timestamp(seconds=SOON),
            developer_key=public(self.developer),
            agreement=agreement_about(plan.dataset),
            purpose=PURPOSE,
        )

    def agreement(self, dataset: str = "visits") -> Agreement:
        """Terms that any job on a dataset is inside of."""
        return Agreement(
            agreement=agreement_about(dataset),
            dataset=dataset,
            organisation="developer",
            purpose=PURPOSE,
            starts=Timestamp(seconds=1),
            expires=Timestamp(seconds=2**33),
            budget_epsilon=100_000,
            budget_delta=0.5,
            organisation_key=public(self.developer),
            provider_key=public(PROVIDER),
        )

    def agreed(self, terms: Agreement) -> SignedAgreement:
        """The terms, signed by both."""
        return agreed(terms, self.developer, PROVIDER)

    def task(self, plan: Plan, *, request_id: str = "request-1", dataset: str | None = None) -> ContributeTask:
        """An honest task to contribute, signed by the developer, under an agreement; without an approval."""
        return ContributeTask(
            plan=encode(plan),
            authorization=authorized(self.authorization(plan, request_id), self.developer),
            shards=self.shards[dataset or plan.dataset],
            agreement=self.agreed(self.agreement(plan.dataset)),
        )

    def contribute(self, job: str, task: ContributeTask) -> list[Contribution]:
        """One contribution of each enclave."""
        return [jobs.contribute(enclave, job, task, never) for enclave in self.enclaves]

    def open(self, job: str, contributions: Sequence[Contribution]) -> list[OpeningShare]:
        """One opening share of each enclave, with partial decryptions and their proof."""
        task = OpenTask(consents=self.consent(job, contributions), prove=True)
        return [opening.open_total(enclave, job, task) for enclave in self.enclaves]

    def consent(self, job: str, contributions: Sequence[Contribution]) -> list[OpeningShare]:
        """Every enclave's consent to the total of these contributions."""
        task = OpenTask(contributions=contributions)
        return [opening.open_total(enclave, job, task) for enclave in self.enclaves]

    def opened(self, job: str, shares: Sequence[OpeningShare], proven: Sequence[OpeningShare] = ()) -> OpenedTotal:
        """What the honest gateway makes of the shares; raises Problem that names a node.

        Args:
            proven: what their nodes send when they are asked for proofs, if it is something else.
        """
        enclave = self.enclaves[0]
        bound = BoundTotal.FromString(enclave.files.load(job, "total") or b"")
        total = Total(
            ciphertexts=[int.from_bytes(number, "big") for number in bound.ciphertexts],
            digest=digests.digest_all(digests.CIPHERTEXTS, bound.ciphertexts),
        )
        plan = Plan.FromString(enclave.files.load(job, "plan") or b"")
        try:
            return open_with(shares, total, enclave.epoch, enclave.key, layout_of(plan, enclave.key.public.bits))
        except WrongPartsError:
            raise who_was_wrong(shares, proven or shares, total, enclave.epoch, enclave.key) from None

    def sign(self, job: str, shares: Sequence[OpeningShare]) -> list[ReceiptSignature]:
        """One signature of each enclave."""
        return self.sign_opened(job, self.opened(job, shares))

    def sign_opened(self, job: str, opened: OpenedTotal) -> list[ReceiptSignature]:
        """One signature of each enclave of what a gateway says was opened."""
        return [opening.sign_receipt(enclave, job, SignTask(opened=opened)) for enclave in self.enclaves]

    def run(self, job: str, task: ContributeTask) -> ReceiptBody:
        """The whole job; every enclave signs the same bytes."""
        signatures = self.sign(job, self.open(job, self.contribute(job, task)))
        assert len({one.receipt_body for one in signatures}) == 1
        return ReceiptBody.FromString(signatures[0].receipt_body)

    def exact(self, plan: Plan) -> list[int]:
        """The clipped total before noise, which no enclave of a real zone tells."""
        version = dataset_version(self.shards[plan.dataset], self.enclaves[0].epoch)
        vectors = []
        for enclave in self.enclaves:
            shard = enclave.shards / plan.dataset / version.commitments[enclave.node].hex()
            columns = partial(open_table, shard, wrapping_key=enclave.keys.of(plan.dataset))
            vectors.append(enclave.engine.contribution(plan, columns, never))
        return [sum(cell) for cell in zip(*vectors, strict=True)]

    def spent(self, dataset: str = "visits") -> list[int]:
        """What each enclave's own copy of the budget says."""
        filters = [budget_of(enclave.journal.records, dataset) for enclave in self.enclaves]
        return [one.spent.rho_units if one else 0 for one in filters]

    def records(self, kind: str) -> list[int]:
        """How many records of a kind each enclave's journal has."""
        return [sum(record["kind"] == kind for record in enclave.journal.records) for enclave in self.enclaves]

    def set_policy(self, *, auto_approve: bool) -> None:
        """The provider's own policy file, read at the next `load`."""
        for name in NODES:
            _write_policy(self.folder / name, self.developer, self.operator, auto_approve=auto_approve)


def authorized(body: Authorization, key: Ed25519PrivateKey) -> SignedAuthorization:
    """`body` signed by `key`."""
    data = body.SerializeToString(deterministic=True)
    return SignedAuthorization(body=data, signature=digests.sign(key, digests.AUTHORIZATION, data))


def resigned(enclave: Enclave, contribution: Contribution, ciphertexts: list[bytes]) -> Contribution:
    """A contribution with other ciphertexts, signed by a corrupt enclave."""
    body = ContributionBody.FromString(contribution.signed.body)
    body.ciphertexts_digest = digests.digest_all(digests.CIPHERTEXTS, ciphertexts)
    changed = Contribution(ciphertexts=ciphertexts, proof=contribution.proof)
    changed.signed.body = body.SerializeToString(deterministic=True)
    changed.signed.signature = enclave.identity.sign(digests.CONTRIBUTION, changed.signed.body)
    changed.heads.CopyFrom(restated(enclave, contribution.heads, changed.signed.body))
    return changed


def restated(enclave: Enclave, said: SignedHeads, contribution: bytes) -> SignedHeads:
    """A corrupt enclave's word on its journal, beside another contribution than it was about."""
    body = HeadsBody.FromString(said.body)
    body.contribution_digest = digests.digest(digests.CONTRIBUTION, contribution)
    data = body.SerializeToString(deterministic=True)
    return SignedHeads(body=data, signature=enclave.identity.sign(digests.HEADS, data))


def of_zeros(enclave: Enclave, honest: Contribution, job: str) -> Contribution:
    """A corrupt enclave's contribution of zeros, proven to be its own for `job`."""
    body = ContributionBody.FromString(honest.signed.body)
    count = len(honest.ciphertexts)
    encryption = encrypt(enclave.key.public, [0] * count)
    context = contributions.plaintext_context(job, body.plan_hash)
    proof = prove_plaintexts(enclave.key, enclave.key_share.index, encryption, context)
    width = encoding.number_bytes(enclave.key.n)
    made = resigned(enclave, honest, encoding.to_bytes(encryption.ciphertexts, enclave.key.public.nsquare))
    made.proof.challenge = proof.challenge
    made.proof.root = proof.root.to_bytes(width, "big")
    return made


def with_partials(enclave: Enclave, share: OpeningShare, partials: list[bytes], *, sign: bool) -> OpeningShare:
    """A share with other partial decryptions, signed by a corrupt enclave or left with the signature it had."""
    changed = OpeningShare(body=share.body, signature=share.signature, partials=partials, proof=share.proof)
    if sign:
        body = OpeningShareBody.FromString(share.body)
        body.partials_digest = digests.digest_all(digests.CIPHERTEXTS, partials)
        changed.body = body.SerializeToString(deterministic=True)
        changed.signature = enclave.identity.sign(digests.OPENING_SHARE, changed.body)
    return changed


def public(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes that a key is known by."""
    return key.public_key().public_bytes_raw()


def agreement_about(dataset: str) -> str:
    """The id of the agreement that tasks are under."""
    return f"on-{dataset}"


def agreed(terms: Agreement, organisation: Ed25519PrivateKey, provider: Ed25519PrivateKey) -> SignedAgreement:
    """The terms, signed by these two."""
    data = terms.SerializeToString(deterministic=True)
    by = [
        AgreementSignature(key=public(key), signature=digests.sign(key, digests.AGREEMENT, data))
        for key in (organisation, provider)
    ]
    return SignedAgreement(terms=data, organisation=by[0], provider=by[1])


def approval_of(job: str, plan: Plan, key: Ed25519PrivateKey) -> Approval:
    """What the holder of `key` signs to approve a plan for a job."""
    return Approval(
        job=job,
        plan_hash=plan_hash(encode(plan)),
        operator_key=public(key),
        rho_units=total_rho_units(plan),
        delta=plan.delta,
    )


def approved(job: str, plan: Plan, key: Ed25519PrivateKey) -> SignedApproval:
    """An approval of a plan for a job, by the holder of `key`."""
    return approval_signed(approval_of(job, plan, key), key)


def approval_signed(approval: Approval, key: Ed25519PrivateKey) -> SignedApproval:
    """`approval` signed by `key`."""
    body = approval.SerializeToString(deterministic=True)
    return SignedApproval(body=body, signature=digests.sign(key, digests.APPROVAL, body))


def _write_policy(node: Path, developer: Ed25519PrivateKey, operator: Ed25519PrivateKey, *, auto_approve: bool) -> None:
    policy = Policy(
        developers=frozenset({public(developer)}),
        operators=frozenset({public(operator)}),
        auto_approve=auto_approve,
        providers=frozenset({public(PROVIDER)}),
        supervisors=frozenset({public(SUPERVISOR)}),
    )
    (node / "policy.json").write_text(policy.to_json())


def make_trio(folder: Path, primes: tuple[int, int], ca: Authority | None = None) -> Trio:
    """Certificates, platforms, a key ceremony and a dataset of grade 2, as `yingbi init` would make them."""
    ca = ca or Authority.new("test CA")
    root = ca.subordinate("test attestation root")
    trio = Trio(folder, certificate_pem(ca.certificate), Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate())
    trio.attestation_root = root
    for name in (*NODES, SPARE):
        write_platform(folder / name / "platform", name, root)
        _write_policy(folder / name, trio.developer, trio.operator, auto_approve=False)
    write_platform(folder / DEALER, DEALER, root)
    result = deal_to(folder, primes, trio.ca_pem)
    for share in result.shares:
        (folder / share.node / "key_epoch.pb").write_bytes(result.key_epoch.SerializeToString())
        (folder / share.node / "key_share.pb").write_bytes(share.SerializeToString())
    trio.load()
    trio.add(visits_declaration(), [visits_of(number) for number in range(len(NODES))])
    return trio


def deal_to(folder: Path, primes: tuple[int, int], ca_pem: bytes) -> KeyCeremonyResult:
    """Hold the key ceremony for the three platforms in `folder`."""
    evidence = [Identity.kept(folder / name, ca_pem)[0].evidence for name in NODES]
    dealer = Identity.of(SimulatedBackend.load(folder / DEALER))
    request = KeyCeremonyRequest(epoch=1, threshold=THRESHOLD, enclaves=evidence)
    return hold_ceremony(request, primes, dealer, ca_pem)
