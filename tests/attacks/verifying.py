"""People of three providers, and a caller who may do everything wrong: builds requests that the SDK would refuse."""

from __future__ import annotations

import datetime
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import digests
from yingbi.api.suites import DEFAULT, DecryptionKey
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.node_pb2 import Verified, VerifyTask, WitnessTask
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    ColumnType,
)
from yingbi.api.v1.verification_pb2 import (
    Consent,
    ConsentIssuer,
    ScoreBand,
    SignedConsent,
    SignedOrder,
    SignedWitness,
    Verdict,
    VerificationAnswer,
    VerificationDeclaration,
    VerificationField,
    VerificationOrder,
    VerificationRequest,
)
from yingbi.api.verification import (
    ANSWER_BYTES,
    REQUEST_BYTES,
    answer_info,
    consent_digest,
    pad,
    request_digest,
    request_info,
    unpad,
)
from yingbi.consents import Ask, IssuerKey, Value, read_token, sign_consent, terms_of

from enclave_sim import verification
from enclave_sim.enclave import Enclave
from enclave_sim.sealed.schema import arrow_schema
from tests.attacks.three_enclaves import Trio

DATASET = "people"
PURPOSE = "insurance-claim"
BORN = datetime.date(1980, 2, 29)


def people_declaration(issuer: bytes, *, bands: bool = False, a_day: int = 1000) -> DatasetDeclaration:
    """People with one row each, of whom all but their notes may be verified."""

    def column(name: str, kind: ColumnType.ValueType) -> ColumnDeclaration:
        role = ColumnDeclaration.ROLE_UNIT if name == "person" else ColumnDeclaration.ROLE_ATTRIBUTE
        return ColumnDeclaration(name=name, type=kind, role=role)

    return DatasetDeclaration(
        dataset=DATASET,
        zone="test",
        title={"en": "People"},
        grade=3,
        source="made up for tests",
        privacy_unit="person",
        unit_namespace="person-of-people",
        max_units=5000,
        units_disjoint=True,
        budget_epsilon=10,
        budget_delta=1e-7,
        tables=[
            TableDeclaration(
                name="people",
                max_rows_per_unit=1,
                columns=[
                    column("person", COLUMN_TYPE_INT64),
                    column("male", COLUMN_TYPE_INT64),
                    column("bmi", COLUMN_TYPE_FLOAT64),
                    column("born", COLUMN_TYPE_DATE),
                    column("city", COLUMN_TYPE_STRING),
                    column("note", COLUMN_TYPE_STRING),
                ],
            )
        ],
        verification=VerificationDeclaration(
            fields=[VerificationField(table="people", column=name) for name in ("male", "bmi", "born", "city")],
            purposes=[PURPOSE, "employment"],
            issuers=[ConsentIssuer(name="registry", key=issuer)],
            bands=[ScoreBand(name=n, percent=p) for n, p in (("high", 100), ("some", 50), ("low", 0))] if bands else [],
            each_subject_a_day=3,
            each_developer_a_day=a_day,
            price=7,
        ),
    )


def people_of(node: int, people: int = 30) -> pa.Table:
    """The first is a woman of Xi'an without a BMI."""
    rows = range(people)
    columns = {
        "person": [1000 * node + row for row in rows],
        "male": [row % 2 for row in rows],
        "bmi": [20.0 + row / 4 if row else None for row in rows],
        "born": [BORN + datetime.timedelta(days=row) for row in rows],
        "city": ["Xi'an" if row % 3 == 0 else "西安" for row in rows],
        "note": ["Raw-Secret-Note" for _ in rows],
    }
    return pa.table(columns, schema=arrow_schema(people_declaration(bytes(32)).tables[0]))


def open_answer(answer: bytes, reply: DecryptionKey, sealed_request: bytes) -> VerificationAnswer:
    """What the caller reads."""
    padded = reply.open(answer, answer_info(request_digest(sealed_request)))
    return VerificationAnswer.FromString(unpad(padded, ANSWER_BYTES))


@dataclass
class Sent:
    """A request on its way, as the gateway has it, and the caller's key to its answer."""

    order: SignedOrder
    sealed: bytes
    reply: DecryptionKey = field(repr=False)


@dataclass
class Caller:
    """A developer of the zone, its accomplice the issuer, and the honest gateway between them and the enclaves."""

    trio: Trio
    issuer: IssuerKey = field(default_factory=IssuerKey.new)

    def add(self, **declared: bool | int) -> None:
        """Seal the dataset."""
        declaration = people_declaration(self.issuer.public, **declared)  # type: ignore[arg-type]
        self.trio.add(declaration, [people_of(node) for node in range(3)])

    def enclave(self, node: int = 1) -> Enclave:
        return self.trio.enclaves[node]

    def consent(
        self,
        subject: str | int,
        claims: Mapping[str, Value],
        *,
        node: int = 1,
        purpose: str = PURPOSE,
        dataset: str = DATASET,
        developer: Ed25519PrivateKey | None = None,
        issuer: IssuerKey | None = None,
        now: float | None = None,
        seconds: int = 600,
    ) -> str:
        """What an issuer signs."""
        enclave = self.enclave(node)
        key = (developer or self.trio.developer).public_key().public_bytes_raw()
        ask = Ask(dataset, enclave.node, key.hex(), enclave.identity.public_signing_key.hex())
        return sign_consent(
            issuer or self.issuer,
            ask,
            subject=subject,
            claims=claims,
            purpose=purpose,
            now=time.time() if now is None else now,
            seconds=seconds,
        )

    def send(
        self,
        token: str,
        subject: str | int,
        claims: Mapping[str, Value],
        *,
        node: int = 1,
        purpose: str = PURPOSE,
        developer: Ed25519PrivateKey | None = None,
        terms: bytes | None = None,
        consent: SignedConsent | None = None,
        now: float | None = None,
        version: bytes | None = None,
        named: bytes | None = None,
    ) -> Sent:
        """A request whose seal and order are as they should be, whatever is in it; `named`: as which consent."""
        held, enclave = read_token(token), self.enclave(node)
        signed, reply = consent or held.consent, DEFAULT.key(secrets.token_bytes(32))
        terms = terms or terms_of(subject, claims, purpose, held.enclave_key, held.nonce)
        request = VerificationRequest(
            consent=signed, terms=terms, reply_key=reply.public, reply_suite=reply.suite.name
        ).SerializeToString()
        info = request_info(enclave.identity.public_signing_key)
        sealed = DEFAULT.seal(pad(request, REQUEST_BYTES), enclave.identity.encryption_key.public, info)
        key = developer or self.trio.developer
        body = VerificationOrder(
            developer_key=key.public_key().public_bytes_raw(),
            dataset=DATASET,
            dataset_version=version or self.trio.version(DATASET),
            node=enclave.node,
            request_digest=request_digest(sealed),
            consent_digest=named or consent_digest(signed.body),
            expires=Timestamp(seconds=int(time.time() if now is None else now) + 300),
        ).SerializeToString(deterministic=True)
        order = SignedOrder(body=body, signature=digests.sign(key, digests.VERIFICATION_ORDER, body))
        return Sent(order, sealed, reply)

    def witnesses(self, sent: Sent, node: int = 1, *, now: float | None = None) -> list[SignedWitness]:
        """The word of all other enclaves."""
        run = verification.begin(self.enclave(node)).run
        task = WitnessTask(order=sent.order, run=run)
        peers = [enclave for place, enclave in enumerate(self.trio.enclaves) if place != node]
        return [verification.witness(peer, task, time.time() if now is None else now) for peer in peers]

    def task(self, sent: Sent, node: int = 1, *, now: float | None = None) -> VerifyTask:
        """What the honest gateway asks the enclave."""
        return VerifyTask(
            order=sent.order,
            sealed_request=sent.sealed,
            shards=self.trio.shards[DATASET],
            witnesses=self.witnesses(sent, node, now=now),
        )

    def pass_on(self, sent: Sent, node: int = 1, *, now: float | None = None) -> Verified:
        """The enclave's sealed answer."""
        task = self.task(sent, node, now=now)
        return verification.verify(self.enclave(node), task, time.time() if now is None else now)

    def read(self, sent: Sent, verified: Verified) -> bool | str:
        """Match or no match, the band, or the refusal's code."""
        answer = open_answer(verified.sealed_answer, sent.reply, sent.sealed)
        if answer.WhichOneof("kind") == "refusal":
            return answer.refusal
        verdict = Verdict.FromString(answer.verdict.body)
        return verdict.match if verdict.WhichOneof("result") == "match" else verdict.band

    def ask(self, subject: str | int, claims: Mapping[str, Value], *, node: int = 1) -> bool | str:
        """An honest verification from its consent to its answer."""
        sent = self.send(self.consent(subject, claims, node=node), subject, claims, node=node)
        return self.read(sent, self.pass_on(sent, node))

    def uses(self, node: int = 1) -> list[dict[str, str | int]]:
        """What the enclave's journal has of verifications."""
        return [record for record in self.enclave(node).journal.records if record["kind"] == "verification"]


def altered(consent: SignedConsent, signer: IssuerKey | None = None, **changes: bytes | Timestamp) -> SignedConsent:
    """A consent that says something else, signed anew, or under the signature that it had."""
    body = Consent.FromString(consent.body)
    for name, value in changes.items():
        body.ClearField(name)  # type: ignore[arg-type]
        body.MergeFrom(Consent(**{name: value}))  # type: ignore[arg-type]
    data = body.SerializeToString(deterministic=True)
    signature = consent.signature if signer is None else digests.sign(signer.key, digests.CONSENT, data)
    return SignedConsent(body=data, signature=signature)
