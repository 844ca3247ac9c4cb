"""The key ceremony: a dealer enclave makes a threshold Paillier key and seals a share to each enclave.

A trusted dealer. Its evidence proves which code ran, not that nothing was kept; distributed generation can
take its place behind the same messages. The process ends with the ceremony and writes nothing to disk.

`python -m enclave_sim.ceremony PLATFORM CA --bits B` makes the modulus, reads a framed KeyCeremonyRequest
from standard input and writes a framed KeyCeremonyResult to standard output.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from yingbi.api import digests
from yingbi.api.appraisal import Reference, appraise
from yingbi.api.eat import Claims
from yingbi.api.evidence import verify_evidence
from yingbi.api.v1.attestation_pb2 import (
    Evidence,
    KeyCeremonyRequest,
    KeyCeremonyResult,
    KeyEpoch,
    KeyHolder,
    SignedKeyEpoch,
)

from enclave_sim.attestation.measurement import measure
from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.frames import read_frame, write_frame
from enclave_sim.identity import Identity
from enclave_sim.key_epochs import check_successor
from enclave_sim.key_share import seal_share
from enclave_sim.paillier.dealer import deal, generate_modulus
from enclave_sim.paillier.encoding import number_bytes, to_bytes
from enclave_sim.paillier.modulus_proof import prove_modulus

CEREMONY = "trusted dealer"


def hold_ceremony(
    request: KeyCeremonyRequest, primes: tuple[int, int], dealer: Identity, ca_pem: bytes
) -> KeyCeremonyResult:
    """Deal a key over the modulus of `primes` to the enclaves in `request`, in their order.

    Raises EvidenceError where an enclave's evidence does not verify or it runs other code than the dealer, and where
    the key epoch does not follow the one before it.
    """
    enclaves = [_checked(evidence, ca_pem) for evidence in request.enclaves]
    standing_digest = check_successor(request, enclaves, ca_pem)
    key, shares = deal(*primes, parties=len(enclaves), threshold=request.threshold, epoch=request.epoch)
    body = KeyEpoch(
        epoch=request.epoch,
        modulus=key.n.to_bytes((key.n.bit_length() + 7) // 8, "big"),
        threshold=request.threshold,
        ceremony=CEREMONY,
        standing_digest=standing_digest,
        holders=[
            KeyHolder(
                node=enclave.node,
                index=share.index,
                signing_key=enclave.signing_key,
                measurement=enclave.measurement,
                verification_key=number.to_bytes(number_bytes(key.n), "big"),
            )
            for enclave, share, number in zip(enclaves, shares, key.verification_keys, strict=True)
        ],
        modulus_proof=to_bytes(prove_modulus(*primes).roots, key.n),
    ).SerializeToString(deterministic=True)
    return KeyCeremonyResult(
        key_epoch=SignedKeyEpoch(
            body=body,
            signature=dealer.sign(digests.KEY_EPOCH, body),
            dealer=dealer.attest(digests.digest(digests.KEY_EPOCH, body)),
        ),
        shares=[seal_share(enclave, share, body) for enclave, share in zip(enclaves, shares, strict=True)],
    )


def _checked(evidence: Evidence, ca_pem: bytes) -> Claims:
    claims = verify_evidence(evidence, ca_pem)
    # The dealer is simulated itself. Which policies they follow is their providers' business.
    appraise(claims, Reference(measure(), now=int(time.time()), allow_simulation=True)).require()
    return claims


def main() -> None:
    """Hold one ceremony over standard input and output."""
    parser = argparse.ArgumentParser(prog="enclave_sim.ceremony")
    parser.add_argument("platform", type=Path)
    parser.add_argument("ca", type=Path)
    parser.add_argument("--bits", type=int, required=True)
    arguments = parser.parse_args()
    dealer = Identity.of(SimulatedBackend.load(arguments.platform))
    primes = generate_modulus(arguments.bits)
    request = KeyCeremonyRequest.FromString(read_frame(sys.stdin.buffer) or b"")
    result = hold_ceremony(request, primes, dealer, arguments.ca.read_bytes())
    write_frame(sys.stdout.buffer, result.SerializeToString())


if __name__ == "__main__":
    main()
