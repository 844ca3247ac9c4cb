"""A share of the decryption key on its way to its enclave: sealed to it, and bound to its key epoch."""

from __future__ import annotations

from yingbi.api import digests
from yingbi.api.eat import Claims
from yingbi.api.evidence_error import KEYS, EvidenceError
from yingbi.api.suites import SUITES
from yingbi.api.v1.attestation_pb2 import SealedKeyShare

from enclave_sim.identity import Identity
from enclave_sim.paillier.keys import KeyShare


def seal_share(enclave: Claims, share: KeyShare, key_epoch: bytes) -> SealedKeyShare:
    """`share` sealed to the enclave's key and bound to the serialized key epoch; raises EvidenceError."""
    value = share.value.to_bytes((share.value.bit_length() + 7) // 8 or 1, "big")
    plaintext = share.index.to_bytes(4, "big") + value
    try:
        sealed = SUITES[enclave.suite].seal(plaintext, enclave.encryption_key, _info(key_epoch))
    except ValueError as error:
        raise EvidenceError(f"nothing can be sealed to the encryption key of {enclave.node}", KEYS) from error
    return SealedKeyShare(node=enclave.node, ciphertext=sealed)


def unseal_share(identity: Identity, ciphertext: bytes, key_epoch: bytes) -> KeyShare:
    """The share that was sealed to `identity` for this serialized key epoch; raises InvalidTag."""
    plaintext = identity.unseal(ciphertext, _info(key_epoch))
    return KeyShare(int.from_bytes(plaintext[:4], "big"), int.from_bytes(plaintext[4:], "big"))


def _info(key_epoch: bytes) -> bytes:
    return b"yingbi/v1/key-share" + digests.digest(digests.KEY_EPOCH, key_epoch)
