"""Match or no match: what an enclave answers about one consenting subject, once, in three steps.

`begin` names this run of the enclave. `witness`, at every other enclave of the key epoch, notes that this run may use
the consent. `verify`, with all their words, checks the order and the consent, notes the use, and only then looks.

Used once. The use is in this enclave's journal, durably, before its answer is computed, so a crash leaves it used. A
journal that the host put back to before the use would not have it; but only an enclave that is started anew has read an
older journal, it then has another `run`, and every peer has noted the consent for the run before and gives its word to
no other. So a consent is used twice only where the answering node and all of its peers are put back, or there is no
peer. Within a run verifications are done one after another, so that of two uses at once the second finds the first.

What leaves is sealed to the caller, of one length, and depends on data by the verdict alone. Refusals of consents are
sealed likewise. What the gateway is told in the clear depends on what it can see itself.

Time. A host may set the clock. No time counts as earlier than the last that was noted, so that turning the clock back
makes no consent valid again and no day's limit new. Turning it forward makes consents expire, until it is that late,
and begins the days whose limits count; there is nothing to ask in them but what an issuer signs for them.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.suites import SUITES, CipherSuite
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.node_pb2 import Task, TaskResult, VerificationBegun, Verified, VerifyTask, WitnessTask
from yingbi.api.v1.verification_pb2 import (
    ScoreBand,
    SignedOrder,
    SignedVerdict,
    SignedWitness,
    Verdict,
    VerificationAnswer,
    VerificationOrder,
    VerificationRequest,
    Witness,
)
from yingbi.api.verification import (
    ANSWER_BYTES,
    MAX_ORDER_SECONDS,
    REQUEST_BYTES,
    RUN_BYTES,
    Refusal,
    answer_info,
    pad,
    request_digest,
    request_info,
    unpad,
)

from enclave_sim import stops, versions
from enclave_sim.bodies import read_body
from enclave_sim.contributions import dataset_version
from enclave_sim.enclave import Enclave
from enclave_sim.journal import Record
from enclave_sim.plan.verification import DENIED_FROM_GRADE
from enclave_sim.sealed.shard import open_table, read_header
from enclave_sim.sealed.verification_index import RECORDS, TABLE, VerificationIndex
from enclave_sim.subject_consent import Question, check_consent

DAY_SECONDS = 24 * 3600
DIGEST_BYTES = 32
SUBJECT_TAG_BYTES = 16


def result_of(enclave: Enclave, task: Task, now: float) -> TaskResult:
    """The result of a task of one of the three steps; raises Problem."""
    match task.WhichOneof("kind"):
        case "begin_verification":
            return TaskResult(verification_begun=begin(enclave))
        case "witness":
            return TaskResult(witness=witness(enclave, task.witness, now))
        case _:
            return TaskResult(verified=verify(enclave, task.verify, now))


def begin(enclave: Enclave) -> VerificationBegun:
    """What names this run of the enclave."""
    return VerificationBegun(run=enclave.run)


def witness(enclave: Enclave, task: WitnessTask, now: float) -> SignedWitness:
    """This enclave's word that a run of another may use a consent; raises Problem "consent_used" to a second run.

    Only for an order that a developer signed, so that a gateway alone fills no journal.
    """
    records = enclave.journal.records
    order = _check_order(enclave, task.order, _latest(records, now))
    peers = [holder.node for holder in enclave.epoch.holders if holder.node != enclave.node]
    if order.node not in peers or len(task.run) != RUN_BYTES or len(order.consent_digest) != DIGEST_BYTES:
        raise _refused("bad_order", "This enclave is no witness for the order.")
    consent, run = order.consent_digest.hex(), task.run.hex()
    noted = next((r for r in records if r["kind"] == "witness" and r["consent"] == consent), None)
    if noted is not None and noted["run"] != run:
        raise _refused("consent_used", "The consent was used already, or its use was begun.")
    if noted is None:
        enclave.journal.append({"kind": "witness", "consent": consent, "run": run})
    body = Witness(node=enclave.node, consent_digest=order.consent_digest, run=task.run)
    data = body.SerializeToString(deterministic=True)
    return SignedWitness(body=data, signature=enclave.identity.sign(digests.WITNESS, data))


def verify(enclave: Enclave, task: VerifyTask, now: float) -> Verified:
    """The sealed answer: a signed verdict, or why there is none.

    `now`: seconds since 1970, as the host has it. Raises Problem for what the gateway itself got wrong, nothing then
    being used, and for files of this node that do not verify.
    """
    time = _latest(enclave.journal.records, now)
    case = _admit(enclave, task, time)
    try:
        question = check_consent(
            case.request,
            case.order,
            case.declaration,
            enclave.identity.public_signing_key,
            enclave.policy.developers,
            time,
        )
        _use(enclave, case, question, time)
        answer = VerificationAnswer(verdict=_verdict(enclave, case, question, time))
    except Refusal as refusal:
        answer = VerificationAnswer(refusal=refusal.code)
    padded = pad(answer.SerializeToString(), ANSWER_BYTES)
    return Verified(sealed_answer=case.suite.seal(padded, case.request.reply_key, answer_info(case.digest)))


@dataclass(frozen=True)
class _Case:
    """A request that is the developer's, of this enclave, and can be answered, if only by a refusal."""

    order: VerificationOrder
    declaration: DatasetDeclaration
    shard: Path
    request: VerificationRequest
    # Of the sealed request.
    digest: bytes
    # How the answer is sealed.
    suite: CipherSuite


def _admit(enclave: Enclave, task: VerifyTask, now: float) -> _Case:
    order = _check_order(enclave, task.order, now)
    version = dataset_version(task.shards, enclave.epoch)
    if (order.node, order.dataset, order.dataset_version) != (enclave.node, version.dataset, version.version):
        raise _refused("bad_order", "The order is for another node, dataset or version.")
    shard = enclave.shards / version.dataset / version.commitments[enclave.node].hex()
    header = read_header(shard, enclave.keys.of(version.dataset))
    if header.declaration_digest != version.declaration_digest:
        raise _refused("bad_shards", "The sealed shard is another one than was registered.")
    declaration = DatasetDeclaration.FromString(header.declaration)
    if not declaration.HasField("verification") or declaration.grade >= DENIED_FROM_GRADE:
        raise _refused("no_verification", "Nothing of this dataset can be verified.")
    _check_offered(enclave.journal.records, order.dataset, shard.name)
    digest = request_digest(task.sealed_request)
    if digest != order.request_digest:
        raise _refused("bad_order", "The developer signed another request.")
    _check_witnesses(enclave, task.witnesses, order.consent_digest)
    request = _unseal(enclave, task.sealed_request)
    return _Case(order, declaration, shard, request, digest, _suite(request))


def _check_order(enclave: Enclave, signed: SignedOrder, now: float) -> VerificationOrder:
    order = read_body(VerificationOrder, signed.body)
    if order.developer_key not in enclave.policy.developers:
        raise _refused("unknown_developer", "The order is signed by nobody this provider knows.")
    if not digests.is_signed(order.developer_key, digests.VERIFICATION_ORDER, signed.body, signed.signature):
        raise _refused("bad_signature", "The developer's signature of the order does not verify.")
    if not now < order.expires.seconds <= now + MAX_ORDER_SECONDS:
        raise _refused("expired", "The developer's order has expired, or is valid for too long; ask again.")
    _check_not_stopped(enclave.journal.records, order)
    return order


def _check_not_stopped(records: Sequence[Record], order: VerificationOrder) -> None:
    about = stops.About("", order.dataset, "", frozenset({order.developer_key.hex()}))
    if stops.stop_of(records, about) is not None:
        raise _refused("stopped", "The dataset, or whoever asks, was stopped; no consent was used.")


def _check_offered(records: Sequence[Record], dataset: str, shard: str) -> None:
    if versions.newest(records, dataset) != shard:
        raise _refused("withdrawn", "The provider has brought other data since, or has lost its record of this.")


def _check_witnesses(enclave: Enclave, said: Sequence[SignedWitness], consent: bytes) -> None:
    """Raise Problem unless every peer of the key epoch has noted the consent for this run."""
    peers = [holder for holder in enclave.epoch.holders if holder.node != enclave.node]
    bodies = {(body := read_body(Witness, each.body)).node: (body, each) for each in said}
    for peer in peers:
        body, signed = bodies.get(peer.node, (Witness(), SignedWitness()))
        if (body.consent_digest, body.run) != (consent, enclave.run) or not digests.is_signed(
            peer.signing_key, digests.WITNESS, signed.body, signed.signature
        ):
            raise _refused("no_witness", f"{peer.node} did not note the consent for this run of the enclave.")


def _unseal(enclave: Enclave, sealed: bytes) -> VerificationRequest:
    try:
        padded = enclave.identity.unseal(sealed, request_info(enclave.identity.public_signing_key))
        return VerificationRequest.FromString(unpad(padded, REQUEST_BYTES))
    except (InvalidTag, ValueError, DecodeError) as error:
        raise _refused("bad_request", "The request is not one that was sealed to this enclave.") from error


def _suite(request: VerificationRequest) -> CipherSuite:
    """That of the caller's key, once something was sealed to it."""
    try:
        suite = SUITES[request.reply_suite]
        suite.seal(b"", request.reply_key, b"")
    except (LookupError, ValueError) as error:
        raise _refused("bad_request", "The request has no key that an answer could be sealed to.") from error
    return suite


def _use(enclave: Enclave, case: _Case, question: Question, now: float) -> None:
    """Note the use, durably; raises Refusal where the consent was used, or a limit is reached.

    Subjects are noted by a keyed hash that differs from day to day: who reads the journal can count, and can neither
    name a subject nor follow one from one day to the next.
    """
    records = [record for record in enclave.journal.records if record["kind"] == "verification"]
    consent, developer = case.order.consent_digest.hex(), case.order.developer_key.hex()
    day = int(now) // DAY_SECONDS
    subject = _subject_of_day(enclave.subject_key, case.declaration, question.subject, day)
    if any(record["consent"] == consent for record in records):
        raise Refusal("consent_used")
    offered = case.declaration.verification
    today = [r for r in records if r["dataset"] == case.order.dataset and int(r["time"]) // DAY_SECONDS == day]
    if sum(record["subject"] == subject for record in today) >= offered.each_subject_a_day:
        raise Refusal("subject_limit")
    if sum(record["developer"] == developer for record in today) >= offered.each_developer_a_day:
        raise Refusal("developer_limit")
    enclave.journal.append(
        {
            "kind": "verification",
            "dataset": case.order.dataset,
            "consent": consent,
            "developer": developer,
            "subject": subject,
            "time": int(now),
        },
        lambda now_there: _check_not_stopped(now_there, case.order),
    )


def _subject_of_day(key: bytes, declaration: DatasetDeclaration, subject: bytes, day: int) -> str:
    about = digests.digest("verification-subject", declaration.dataset.encode(), day.to_bytes(8, "big"), subject)
    return hmac.digest(key, about, "sha256")[:SUBJECT_TAG_BYTES].hex()


def _verdict(enclave: Enclave, case: _Case, question: Question, now: float) -> SignedVerdict:
    key = enclave.keys.of(case.order.dataset)
    index = VerificationIndex.of(open_table(case.shard, TABLE, [RECORDS], key))
    matching = index.matches(question.subject, question.claims)
    verdict = Verdict(
        consent_digest=case.order.consent_digest,
        request_digest=case.digest,
        dataset=case.order.dataset,
        dataset_version=case.order.dataset_version,
        node=enclave.node,
        key_epoch=enclave.epoch.epoch,
        time=Timestamp(seconds=int(now)),
    )
    bands = case.declaration.verification.bands
    if bands:
        verdict.band = band_of(bands, matching, len(question.claims))
    else:
        verdict.match = matching == len(question.claims)
    body = verdict.SerializeToString(deterministic=True)
    return SignedVerdict(body=body, signature=enclave.identity.sign(digests.VERDICT, body))


def band_of(bands: Sequence[ScoreBand], matching: int, claimed: int) -> str:
    """The first band, of declared ones, that this share of the claims reaches. Exact: in whole numbers."""
    return next(band.name for band in bands if 100 * matching >= band.percent * claimed)


def _latest(records: Sequence[Record], now: float) -> float:
    """The present time, or the last that was noted where that is later."""
    return max([now, *(float(record["time"]) for record in records if record["kind"] == "verification")])


def _refused(code: str, message: str) -> Problem:
    return Problem(Kind.REFUSED, code, message)
