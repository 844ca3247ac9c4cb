"""The part of a holder in an escrow: a key pair of one's own, and giving a share to the enclave that restores.

A holder's share is encrypted to the holder's key. It is released to one enclave alone, after its evidence was verified
and appraised as `yingbi attest` does it: to code with the reference measurement, on a platform of the share's zone.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

from yingbi.api import escrow
from yingbi.api.appraisal import Reference, appraise
from yingbi.api.eat import Claims
from yingbi.api.escrow_files import no_such, read_json
from yingbi.api.evidence import EvidenceError, verify_evidence, zone_of
from yingbi.api.problem import Kind, Problem
from yingbi.api.suites import DEFAULT, SEED_BYTES, DecryptionKey
from yingbi.api.v1.attestation_pb2 import Evidence
from yingbi.api.v1.storage_pb2 import EscrowHolder, EscrowShare
from yingbi.trust import Trust


@dataclass(frozen=True)
class HolderKey:
    """A holder's name and key pair."""

    name: str
    key: DecryptionKey = field(repr=False)

    @classmethod
    def new(cls, name: str) -> HolderKey:
        return cls(name, DEFAULT.key(secrets.token_bytes(SEED_BYTES)))

    @classmethod
    def load(cls, path: Path) -> HolderKey:
        """From the file that `save` wrote; raises Problem."""
        document = read_json(path)
        try:
            return cls(document["name"], DEFAULT.key(bytes.fromhex(document["private_key"])))
        except (KeyError, TypeError, ValueError) as error:
            raise no_such(path, "holder's key", "`yingbi escrow key` makes one") from error

    @property
    def holder(self) -> EscrowHolder:
        """What others may know of it."""
        return EscrowHolder(name=self.name, encryption_key=self.key.public)

    def save(self, path: Path) -> Path:
        """Write it for its owner alone, and what others may know beside it as `PATH.pub`, which is returned."""
        public = path.with_name(path.name + ".pub")
        if path.exists() or public.exists():
            raise Problem(Kind.REFUSED, "file_exists", f"{path} or {public} is there already.", field="FILE")
        path.touch(mode=0o600)
        path.write_text(json.dumps({"name": self.name, "private_key": self.key.seed.hex()}) + "\n")
        public.write_text(json.dumps({"name": self.name, "public_key": self.holder.encryption_key.hex()}) + "\n")
        return public


def release(share: EscrowShare, key: HolderKey, request: Evidence, trust: Trust) -> EscrowShare:
    """The share, encrypted to the enclave that asks for it.

    Raises Problem: BAD_EVIDENCE where that enclave is not what it should be, REFUSED where the share is not the
    holder's or is of another node.
    """
    recipient = _recipient(request, trust)
    if (share.terms.zone, share.terms.node) != (zone_of(trust.ca_pem.encode()), recipient.node):
        raise Problem(
            Kind.REFUSED,
            "other_node",
            f"The share is of {share.terms.node}, and {recipient.node} asks for it, or it is of another zone.",
            field="SHARE",
        )
    try:
        value = escrow.opened(share, key.key, "to its holder")
    except ValueError as error:
        name = escrow.holder_of(share) or "nobody"
        raise Problem(
            Kind.REFUSED, "not_your_share", f"The share of {name} does not open with the key of {key.name}: {error}."
        ) from error
    ciphertext = escrow.sealed(value, share.terms, share.index, recipient.encryption_key, "back to an enclave")
    return EscrowShare(terms=share.terms, index=share.index, ciphertext=ciphertext, root_check=share.root_check)


def _recipient(request: Evidence, trust: Trust) -> Claims:
    reference = None if trust.measurement is None else bytes.fromhex(trust.measurement)
    try:
        claims = verify_evidence(request, trust.ca_pem.encode())
        nonce = escrow.recipient_nonce(claims.encryption_key)
        wanted = Reference(
            measurement=reference, nonce=nonce, now=int(time.time()), allow_simulation=trust.allow_simulation
        )
        appraise(claims, wanted).require()
    except EvidenceError as error:
        raise Problem(
            Kind.BAD_EVIDENCE,
            error.code,
            f"The enclave that asks for the share is not what it should be: {error}.",
            hint="Release nothing to it; ask the zone's operator.",
        ) from error
    return claims
