"""Asking a zone's enclaves, with a nonce of one's own, what they are; and appraising what they show."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from yingbi.api.appraisal import Appraisal, Reference, Tier, appraise
from yingbi.api.eat import Claims
from yingbi.api.evidence import EvidenceError, verify_evidence, verify_key_epoch
from yingbi.api.evidence_error import KEYS, MEASUREMENT
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.suites import SUITES
from yingbi.api.v1.attestation_pb2 import GetEvidenceResponse, KeyEpoch
from yingbi.transport import Gateway
from yingbi.trust import Trust

NONCE_BYTES = 32
_AFTER_AN_UPGRADE = (
    "Send this zone nothing secret: its code is unknown until your reference value is that of the version which the "
    "zone runs. `yingbi measure` of that version prints it; give it with --measurement, or in the profile"
)


@dataclass(frozen=True)
class Attestation:
    """Enclaves whose fresh evidence verified, in the order of their key indexes, and how far to trust each."""

    appraisals: tuple[Appraisal, ...]
    key_epoch: KeyEpoch = field(repr=False)

    @property
    def tier(self) -> Tier:
        """The worst of all: at best a warning while the enclaves are simulated."""
        return max(appraisal.tier for appraisal in self.appraisals)

    def to_json(self) -> dict[str, object]:
        return {
            "tier": self.tier.name.lower(),
            "key_epoch": self.key_epoch.epoch,
            "enclaves": [_shown(appraisal) for appraisal in self.appraisals],
        }


def attest(gateway: Gateway, trust: Trust, node: str = "") -> Attestation:
    """Ask one enclave, or all that hold the zone's key, with a fresh nonce, and verify what comes back.

    Raises:
        Problem: BAD_EVIDENCE with the code of what is wrong, before anything secret was sent; what the gateway says.
    """
    return _asked(gateway, trust, node, ())


def attest_for_sealing(gateway: Gateway, trust: Trust) -> list[Claims]:
    """What fresh evidence says of each enclave that holds the key, in order, so that something can be sealed to them.

    Where `trust` has no measurement, as of a zone that is named by its CA alone, neither that nor whether there is
    hardware is judged: then the CA is what is trusted, and that each enclave runs the code that the key was dealt to.

    Raises:
        Problem: as `attest`.
    """
    unjudged = ("measurement", "hardware") if trust.measurement is None else ()
    attestation = _asked(gateway, trust, "", unjudged)
    shown = [appraisal.claims for appraisal in attestation.appraisals]
    for holder, claims in zip(attestation.key_epoch.holders, shown, strict=True):
        if claims.measurement != holder.measurement:
            raise not_trusted(EvidenceError(f"{claims.node} runs other code than the zone's key was dealt to", KEYS))
    return shown


def of_node(shown: Sequence[Claims], node: str) -> Claims:
    """This node's enclave, of those that were shown; raises Problem UNKNOWN "unknown_node"."""
    found = next((each for each in shown if each.node == node), None)
    if found is None:
        names = [each.node for each in shown]
        near = nearest(node, names)
        said = f"The zone has no node {node!r}; it has {', '.join(names)}."
        raise Problem(Kind.UNKNOWN, "unknown_node", said, field="node", hint=f"did you mean {near}?" if near else None)
    return found


def sealed_to(enclave: Claims, plaintext: bytes, info: bytes) -> bytes:
    """What this enclave alone can open, bound to `info`; raises Problem BAD_EVIDENCE where its key is none."""
    try:
        return SUITES[enclave.suite].seal(plaintext, enclave.encryption_key, info)
    except ValueError as error:
        raise not_sealable(error) from error


def not_sealable(error: ValueError) -> Problem:
    """What a user is told of an enclave to whose key nothing can be encrypted."""
    return not_trusted(EvidenceError(f"nothing can be sealed to its encryption key ({error})", KEYS))


def not_trusted(error: EvidenceError) -> Problem:
    """What a user is told of evidence that does not hold."""
    return Problem(
        Kind.BAD_EVIDENCE,
        error.code,
        f"An enclave is not what it should be: {error}.",
        hint=_AFTER_AN_UPGRADE if error.code == MEASUREMENT else "Send this zone nothing secret; ask its operator.",
    )


def _asked(gateway: Gateway, trust: Trust, node: str, unjudged: Collection[str]) -> Attestation:
    nonce = secrets.token_bytes(NONCE_BYTES)
    response = gateway.get_evidence(node, nonce)
    try:
        attestation = verified(response, trust, nonce, int(time.time()))
        _check_complete(attestation, node)
        for appraisal in attestation.appraisals:
            appraisal.require(unjudged)
    except EvidenceError as error:
        raise not_trusted(error) from error
    return attestation


def verified(response: GetEvidenceResponse, trust: Trust, nonce: bytes, now: int) -> Attestation:
    """Genuine evidence, appraised claim by claim; `now` in seconds since 1970.

    Raises EvidenceError where evidence is not genuine, or of an enclave that holds no share of the zone's key.
    """
    reference = Reference(
        measurement=_bytes(trust.measurement),
        policy=_bytes(trust.policy),
        nonce=nonce,
        now=now,
        allow_simulation=trust.allow_simulation,
        suites=trust.suites,
    )
    ca_pem = trust.ca_pem.encode()
    epoch = verify_key_epoch(response.key_epoch, ca_pem)
    holders = {(holder.node, holder.signing_key): holder.index for holder in epoch.holders}
    appraisals = [appraise(verify_evidence(each, ca_pem), reference) for each in response.evidence]
    for appraisal in appraisals:
        if (appraisal.claims.node, appraisal.claims.signing_key) not in holders:
            raise EvidenceError(f"{appraisal.claims.node} holds no share of the zone's key", KEYS)
    appraisals.sort(key=lambda one: holders[one.claims.node, one.claims.signing_key])
    return Attestation(tuple(appraisals), epoch)


def _check_complete(attestation: Attestation, node: str) -> None:
    shown = [appraisal.claims.node for appraisal in attestation.appraisals]
    asked = [node] if node else [holder.node for holder in attestation.key_epoch.holders]
    if shown != asked:
        said = f"evidence of {', '.join(shown) or 'nobody'} came, and {', '.join(asked)} was asked for"
        raise EvidenceError(said, KEYS)


def _bytes(hexadecimal: str | None) -> bytes | None:
    if hexadecimal is None:
        return None
    try:
        return bytes.fromhex(hexadecimal)
    except ValueError as error:
        raise Problem(
            Kind.MALFORMED, "reference", f"The reference value {hexadecimal!r} is not hexadecimal.", field="measurement"
        ) from error


def _shown(appraisal: Appraisal) -> dict[str, object]:
    claims = appraisal.claims
    return {
        "node": claims.node,
        "tier": appraisal.tier.name.lower(),
        "simulated": claims.simulated,
        "measurement": claims.measurement.hex(),
        "policy": claims.policy.hex(),
        "suite": claims.suite,
        "configuration": list(claims.configuration),
        "signing_key": claims.signing_key.hex(),
        "encryption_key": claims.encryption_key.hex(),
        "issued": claims.issued,
        "expires": claims.expires,
        "findings": [
            {"claim": each.claim, "tier": each.tier.name.lower(), "finding": each.sentence}
            for each in appraisal.findings
        ],
    }
