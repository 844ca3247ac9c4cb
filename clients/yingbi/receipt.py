"""Receipts: checking, alone and offline, that an answer is what the zone's enclaves released.

A receipt is one signed message. `checks` walks through it with small functions, each of which looks at one
promise and either says what it found or raises a Problem with its own sentence; a verifier with other
wishes composes another sequence of them.

Certificates are checked for who issued them and not for dates: a receipt is evidence of the past, and it
must still verify in years. For the same reason no clock is asked: each enclave's evidence has the digest of what it
signed for its nonce, so it was made when that was signed, and says when; whether it has expired since does not matter.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

from cryptography import x509
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from yingbi import stages
from yingbi.answer import PlanError, Table, table_of
from yingbi.api import digests, zcdp
from yingbi.api.eat import Claims
from yingbi.api.evidence import EvidenceError, read_claims, verify_evidence, verify_key_epoch
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import receipt_pb2
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.plan_pb2 import Fit, Plan
from yingbi.api.v1.receipt_pb2 import ContributionBody, EnclaveSignature, ReceiptBody, SignedContribution
from yingbi.cells import width
from yingbi.decryption import holds
from yingbi.models.kinds import fitted_of
from yingbi.models.scores import objective_of
from yingbi.rounds import Released
from yingbi.synthetic_marginals import measured_of
from yingbi.trust import Trust

_T = TypeVar("_T")


@dataclass(frozen=True)
class Check:
    """One thing that was checked and holds."""

    name: str
    finding: str

    def __str__(self) -> str:
        return f"{self.name}: {self.finding}"


@dataclass(frozen=True)
class Contribution:
    signed: SignedContribution
    body: ContributionBody


@dataclass(frozen=True)
class Signer:
    """An enclave that signed the receipt, and what its evidence says of it."""

    signature: EnclaveSignature
    evidence: Claims


@dataclass(frozen=True)
class Dossier:
    """A receipt with every part of it parsed, and nothing of it believed yet."""

    receipt: receipt_pb2.Receipt
    body: ReceiptBody
    plan: Plan
    contributions: tuple[Contribution, ...]
    signers: tuple[Signer, ...]
    key_epoch: KeyEpoch
    dealer: Claims

    @classmethod
    def of(cls, receipt: receipt_pb2.Receipt) -> Dossier:
        """Parse all parts; a Problem where one is no message of its kind."""
        try:
            body = ReceiptBody.FromString(receipt.body)
            return cls(
                receipt,
                body,
                Plan.FromString(body.plan),
                tuple(
                    Contribution(signed, ContributionBody.FromString(signed.body))
                    for signed in body.manifest.contributions
                ),
                tuple(Signer(signature, read_claims(signature.evidence)) for signature in receipt.signatures),
                KeyEpoch.FromString(receipt.key_epoch.body),
                read_claims(receipt.key_epoch.dealer),
            )
        except DecodeError as error:
            raise bad_receipt("format", "a part of the receipt is not the message that it should be") from error
        except EvidenceError as error:
            raise bad_receipt("evidence", f"The attestation evidence cannot be read: {error}.") from error


CheckFunction = Callable[[Dossier, Trust], Check]


def evidence_is_signed(dossier: Dossier, trust: Trust) -> Check:
    """Every enclave's evidence is signed by its platform, the platform certified up to the zone's CA, and the evidence
    made for what the enclave signed: the key epoch, or this very release."""
    issuer = _authority(trust).subject.rfc4514_string()
    epoch, release = dossier.receipt.key_epoch, digests.digest(digests.RECEIPT, dossier.receipt.body)
    made = [(epoch.dealer, digests.digest(digests.KEY_EPOCH, epoch.body))]
    made += [(signer.signature.evidence, release) for signer in dossier.signers]
    for evidence, nonce in made:
        _verified(functools.partial(verify_evidence, evidence, trust.ca_pem.encode(), made_for=nonce))
    names = ", ".join(claims.node for claims in _attested(dossier))
    return Check(
        "evidence",
        f"signed by the platforms of {names}, certified up to {issuer}{_when(dossier)}; "
        "simulated: proves nothing about hardware",
    )


def _when(dossier: Dossier) -> str:
    """When the first of the enclaves signed, by its own clock."""
    if not dossier.signers:
        return ""
    first = min(signer.evidence.issued for signer in dossier.signers)
    return f"; made for this release on {datetime.fromtimestamp(first, UTC):%Y-%m-%d at %H:%M:%S} UTC"


def key_epoch_is_dealt(dossier: Dossier, trust: Trust) -> Check:
    """The dealer's enclave signed who holds the shares of the key, and the roster is well-formed."""
    epoch = _verified(lambda: verify_key_epoch(dossier.receipt.key_epoch, trust.ca_pem.encode()))
    indexes = [holder.index for holder in epoch.holders]
    names = {holder.node for holder in epoch.holders}
    keys = {holder.signing_key for holder in epoch.holders}
    if indexes != list(range(1, len(indexes) + 1)) or not len(names) == len(keys) == len(indexes) > 0:
        raise bad_receipt("key_epoch", "The key epoch's holders are not numbered from 1, each with a key of its own.")
    if not 1 <= epoch.threshold <= len(indexes):
        raise bad_receipt("key_epoch", f"The key epoch's threshold {epoch.threshold} fits no {len(indexes)} holders.")
    return Check(
        "key epoch",
        f"{epoch.epoch}, made by a {epoch.ceremony or 'dealer'} and signed by its enclave; "
        f"{epoch.threshold} of {len(indexes)} holders open",
    )


def measurements_agree(dossier: Dossier, trust: Trust) -> Check:
    """All enclaves run the same code, and that code is the one that the verifier knows."""
    measurements = {body.measurement for body in _attested(dossier)}
    measurements |= {holder.measurement for holder in dossier.key_epoch.holders}
    if len(measurements) != 1:
        raise bad_receipt("measurement", "The enclaves do not all run the same code: their measurements differ.")
    measured = measurements.pop().hex()
    if trust.measurement is None:
        return Check("measurement", f"{measured[:16]}…, equal everywhere; not compared with a reference value")
    if measured in (earlier.lower() for earlier in trust.earlier):
        return Check("measurement", f"{measured[:16]}…, equal everywhere and equal to the reference value of its time")
    if measured != trust.measurement.lower():
        raise bad_receipt(
            "measurement",
            f"The enclaves run code that measures {measured[:16]}…, not the reference value {trust.measurement[:16]}….",
        )
    return Check("measurement", f"{measured[:16]}…, equal everywhere and equal to the reference value")


def policies_are_known(dossier: Dossier, trust: Trust) -> Check:
    """The enclaves accepted the signatures of no other people than the verifier knows."""
    policies = sorted({signer.evidence.policy.hex() for signer in dossier.signers})
    shown = ", ".join(f"{policy[:16]}…" if policy else "none" for policy in policies) or "nobody's"
    if trust.policy is None:
        return Check("policy", f"{shown}; not compared with a reference value")
    if any(policy != trust.policy.lower() for policy in policies):
        raise bad_receipt("policy", f"An enclave accepts the signatures of another policy than the reference: {shown}.")
    return Check("policy", f"{shown}, equal to the reference value")


def signers_are_holders(dossier: Dossier, _: Trust) -> Check:
    """The enclaves that signed are those of the roster, with the keys that the dealer attested."""
    roster = {holder.node: holder for holder in dossier.key_epoch.holders}
    for signer in dossier.signers:
        node = signer.signature.node
        if node != signer.evidence.node:
            raise bad_receipt("roster", f"A signature of {node!r} carries the evidence of {signer.evidence.node!r}.")
        if node not in roster:
            raise bad_receipt("roster", f"{node!r} signed the receipt but holds no share of the key.")
        if roster[node].signing_key != signer.evidence.signing_key:
            raise bad_receipt("roster", f"The enclave of {node!r} is not the one that the key was dealt to.")
    return Check("roster", "the enclaves that signed are those that the key was dealt to")


def contributions_are_complete(dossier: Dossier, _: Trust) -> Check:
    """Every holder contributed once, in order, to this job, plan and epoch, and signed what it sent."""
    manifest, holders = dossier.body.manifest, dossier.key_epoch.holders
    if [part.body.node for part in dossier.contributions] != [holder.node for holder in holders]:
        raise bad_receipt("contributions", "The manifest does not hold one contribution from every holder, in order.")
    if manifest.key_epoch != dossier.key_epoch.epoch:
        raise bad_receipt("contributions", "The manifest belongs to another key epoch.")
    for part, holder in zip(dossier.contributions, holders, strict=True):
        body = part.body
        if not digests.is_signed(holder.signing_key, digests.CONTRIBUTION, part.signed.body, part.signed.signature):
            raise bad_receipt("contributions", f"The contribution of {holder.node!r} is not signed by its enclave.")
        if (body.job, body.plan_hash, body.key_epoch) != (
            manifest.job,
            manifest.plan_hash,
            manifest.key_epoch,
        ):
            raise bad_receipt("contributions", f"The contribution of {holder.node!r} was made for something else.")
    names = ", ".join(holder.node for holder in holders)
    return Check("contributions", f"one from each of {names}, signed, all for job {manifest.job}")


def plan_is_the_contributors(dossier: Dossier, _: Trust) -> Check:
    """The plan shown is the plan that every enclave computed, on the same version of the dataset."""
    manifest = dossier.body.manifest
    if digests.digest(digests.PLAN, dossier.body.plan) != manifest.plan_hash:
        raise bad_receipt("plan", "The plan in the receipt is not the one that was computed.")
    if manifest.dataset_version != dossier.plan.dataset_version:
        raise bad_receipt("plan", "The plan names another version of the dataset than the manifest.")
    if dossier.plan.noise.parties != len(dossier.contributions):
        raise bad_receipt("plan", "The plan counts on another number of contributors.")
    return Check("plan", f"hash {manifest.plan_hash.hex()[:16]}…, dataset {dossier.plan.dataset}")


def release_is_signed(dossier: Dossier, _: Trust) -> Check:
    """At least `threshold` different holders signed this release."""
    keys = {holder.node: holder.signing_key for holder in dossier.key_epoch.holders}
    names = [signer.signature.node for signer in dossier.signers]
    if len(set(names)) != len(names):
        raise bad_receipt("signatures", "An enclave's signature is in the receipt twice.")
    for signer in dossier.signers:
        node, signature = signer.signature.node, signer.signature.signature
        if not digests.is_signed(keys.get(node, b""), digests.RECEIPT, dossier.receipt.body, signature):
            raise bad_receipt("signatures", f"The release is not signed by the enclave of {node!r}.")
    if len(names) < dossier.key_epoch.threshold:
        raise bad_receipt(
            "signatures",
            f"The release has {len(names)} signatures; the key epoch asks for {dossier.key_epoch.threshold}.",
        )
    return Check("signatures", f"the release is signed by {', '.join(names)}")


def total_holds_the_cells(dossier: Dossier, _: Trust) -> Check:
    """The opened cells are what the encrypted total holds, and that is the total the enclaves were bound to."""
    decryption, body = dossier.receipt.decryption, dossier.body
    if digests.digest_all(digests.CIPHERTEXTS, decryption.total) != body.total_digest:
        raise bad_receipt("decryption", "The encrypted total in the receipt is not the one that was opened.")
    n = int.from_bytes(dossier.key_epoch.modulus, "big")
    total = [int.from_bytes(number, "big") for number in decryption.total]
    randomness = [int.from_bytes(number, "big") for number in decryption.randomness]
    if dossier.plan.slot_bits < 2 or not holds(n, total, body.opened, dossier.plan.slot_bits, randomness):
        raise bad_receipt("decryption", "The encrypted total does not hold the numbers that the receipt shows.")
    return Check(
        "decryption", f"ciphertexts: {len(total):,}; the numbers are what they hold, as their randomness proves"
    )


def price_adds_up(dossier: Dossier, _: Trust) -> Check:
    """The mechanism is named, and the charge is the sum of what its statistics and its key selection cost."""
    body, plan = dossier.body, dossier.plan
    if not body.mechanism:
        raise bad_receipt("mechanism", "The receipt names no mechanism.")
    if body.rho_units != stages.rho_units(plan):
        raise bad_receipt("rho", "The charge is not the sum of the statistics' charges.")
    return Check("mechanism", f"{body.mechanism}; ρ = {body.rho_units / zcdp.RHO_UNITS:.6g}")


def guarantee_follows(dossier: Dossier, _: Trust) -> Check:
    """The claimed (epsilon, delta) is no better than what the charge implies."""
    body, plan = dossier.body, dossier.plan
    if (body.epsilon, body.delta) != (plan.epsilon, plan.delta):
        raise bad_receipt("guarantee", "The receipt claims another ε or δ than its plan.")
    try:
        rest = zcdp.delta_without(body.delta, plan.key_selection.delta0_units)
        implied = zcdp.epsilon_of(body.rho_units, rest)
    except ValueError as error:
        raise bad_receipt("guarantee", f"The receipt's δ = {body.delta} means nothing.") from error
    if not zcdp.covers(body.epsilon, implied):
        raise bad_receipt("guarantee", f"The receipt claims ε = {body.epsilon:g}, but its charge implies {implied:g}.")
    return Check("guarantee", f"ε = {body.epsilon:g} at δ = {body.delta:g} follows from ρ")


def numbers_follow(dossier: Dossier, _: Trust) -> Check:
    """The answer can be recomputed from the opened integers. A first stage has none, but keys and counts."""
    if stages.is_first_stage(dossier.plan):
        return _stage_numbers_follow(dossier)
    if dossier.plan.fit.HasField("round"):
        return _round_numbers_follow(dossier)
    try:
        table = table_of(dossier.plan, dossier.body.opened)
        model = fitted_of(dossier.plan, dossier.body.opened) if dossier.plan.HasField("fit") else None
        measured = measured_of(dossier.plan, dossier.body.opened) if dossier.plan.HasField("synthesis") else None
    except PlanError as error:
        raise bad_receipt("numbers", f"The numbers cannot be recomputed: {error}.") from error
    if model is not None:
        what = "coefficients" if dossier.plan.fit.model == Fit.MODEL_LINEAR_REGRESSION else "rows"
        found = f"{len(table.rows)} {what} recomputed from {len(dossier.body.opened)} opened integers"
        return Check("numbers", f"{found}; the model's fingerprint is {model.fingerprint}")
    if measured is not None:
        count = len(measured.fitted) + len(measured.held_out)
        return Check("numbers", f"{count} marginals recomputed from {len(dossier.body.opened)} opened integers")
    return Check("numbers", f"{len(table.rows)} rows recomputed from {len(dossier.body.opened)} opened integers")


def _round_numbers_follow(dossier: Dossier) -> Check:
    """A round alone has no model; whether it follows from others, the training's receipt says."""
    own, opened = dossier.plan.fit.round, dossier.body.opened
    try:
        objective = objective_of(Released.of(dossier.plan, opened))
    except PlanError as error:
        raise bad_receipt("numbers", f"The numbers cannot be read: {error}.") from error
    told = "" if objective is None else f"; before its step {objective.objective_words}"
    return Check(
        "numbers",
        f"round {own.number + 1} of {own.rounds} of a model's training, {len(opened)} opened integers{told}",
    )


def _stage_numbers_follow(dossier: Dossier) -> Check:
    plan, opened = dossier.plan, len(dossier.body.opened)
    try:
        cells = sum(width(statistic) for statistic in plan.statistics)
        keys = stages.check_selected(plan, [part.body for part in dossier.contributions])
    except ValueError as error:
        raise bad_receipt("numbers", f"The first stage's release cannot be read: {error}.") from error
    if plan.group_by or opened != cells:
        raise bad_receipt("numbers", f"The first stage has {opened} opened integers; its plan has {cells}.")
    return Check("numbers", f"a first stage: {keys} keys selected, {opened} opened integers, no table")


STANDARD: tuple[CheckFunction, ...] = (
    evidence_is_signed,
    measurements_agree,
    policies_are_known,
    key_epoch_is_dealt,
    signers_are_holders,
    contributions_are_complete,
    plan_is_the_contributors,
    release_is_signed,
    price_adds_up,
    guarantee_follows,
    numbers_follow,
    total_holds_the_cells,
)


@dataclass(frozen=True)
class Receipt:
    """Signed evidence for a release. `trust` is what `verify` checks against when nothing else is given."""

    message: receipt_pb2.Receipt = field(repr=False)
    trust: Trust | None = field(default=None, repr=False, compare=False)

    @classmethod
    def load(cls, path: str | Path, trust: Trust | None = None) -> Receipt:
        """Read a receipt file.

        Raises:
            Problem: the file cannot be read (MALFORMED), or it holds no receipt (BAD_EVIDENCE).
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise Problem(
                Kind.MALFORMED,
                "file",
                f"Cannot read the receipt {str(path)!r}: {error.strerror}.",
                field="file",
            ) from error
        from yingbi.training_receipt import training_receipt

        return training_receipt(content, trust) or cls(parse(content), trust)

    def save(self, path: str | Path) -> None:
        """Write the receipt as one line of JSON."""
        document = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        Path(path).write_text(document + "\n")

    def to_json(self) -> dict[str, object]:
        """Protobuf's JSON mapping of the message."""
        return document_of(self.message)

    def table(self, view: Plan | None = None) -> Table:
        """The answer, recomputed from the opened integers. Believe it after `verify`.

        Args:
            view: what one question sees of the plan; see `yingbi.api.views.viewed`.
        """
        try:
            return table_of(self.dossier.plan if view is None else view, self.dossier.body.opened)
        except PlanError as error:
            raise bad_receipt("numbers", f"The numbers cannot be recomputed: {error}.") from error

    def verify(self, ca_pem: str | None = None, measurement: str | None = None) -> list[Check]:
        """Check everything, with the network off, and say what was checked.

        Args:
            ca_pem: the zone's CA; by default that of the zone the receipt came from, else that of the
                current profile.
            measurement: the enclaves' reference value in hexadecimal, by default from the same place.

        Raises:
            Problem: with kind BAD_EVIDENCE and a code that says which check failed.
        """
        return list(self.checks(self._trust(ca_pem, measurement)))

    def checks(self, trust: Trust, policy: Iterable[CheckFunction] = STANDARD) -> Iterator[Check]:
        """Check after check, as it holds; raises at the first that does not."""
        dossier = self.dossier
        for check in policy:
            yield check(dossier, trust)

    @cached_property
    def dossier(self) -> Dossier:
        return Dossier.of(self.message)

    @property
    def job(self) -> str:
        """The job whose computation this release is."""
        return self.dossier.body.manifest.job

    def _trust(self, ca_pem: str | None, measurement: str | None) -> Trust:
        if ca_pem is not None:
            return Trust(ca_pem, measurement)
        trust = self.trust
        if trust is None:
            from yingbi import profile

            trust = profile.locate().trust
        return replace(trust, measurement=measurement or trust.measurement)


def document_of(message: Message) -> dict[str, object]:
    """Protobuf's JSON mapping."""
    return cast("dict[str, object]", json_format.MessageToDict(message))


def parse(content: bytes) -> receipt_pb2.Receipt:
    """A receipt from a file, strictly: whatever it says that this version would not write back is an error."""
    message = receipt_pb2.Receipt()
    try:
        document = json.loads(content.decode(), object_pairs_hook=_without_repetition)
        json_format.ParseDict(document, message)
    except (ValueError, RecursionError, TypeError, AttributeError, json_format.ParseError) as error:
        raise bad_receipt("format", "The file does not hold a receipt.") from error
    if document_of(message) != document:
        raise bad_receipt("format", "The file is not written as a receipt is; it was changed.")
    return message


def _without_repetition(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name is repeated")
    return document


def _authority(trust: Trust) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(trust.ca_pem.encode())
    except ValueError as error:
        raise Problem(
            Kind.MALFORMED, "ca", "The zone CA to check against is no PEM certificate.", field="ca"
        ) from error


def _attested(dossier: Dossier) -> Iterator[Claims]:
    yield dossier.dealer
    for signer in dossier.signers:
        yield signer.evidence


def _verified(verify: Callable[[], _T]) -> _T:
    try:
        return verify()
    except EvidenceError as error:
        raise bad_receipt("evidence", f"The attestation evidence does not verify: {error}.") from error


def bad_receipt(check: str, message: str) -> Problem:
    """The problem with a receipt of which a check failed."""
    return Problem(
        Kind.BAD_EVIDENCE,
        f"receipt_{check}",
        message,
        hint="Do not rely on this answer; ask for the receipt anew.",
    )
