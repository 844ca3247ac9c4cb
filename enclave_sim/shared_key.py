"""A key epoch's message as the key that it describes. Pure."""

from __future__ import annotations

from functools import lru_cache

from yingbi.api.v1.attestation_pb2 import KeyEpoch

from enclave_sim.paillier.keys import ThresholdKey


def key_of(epoch: KeyEpoch) -> ThresholdKey:
    """The shared key of an epoch; raises BadKeyError for numbers that cannot be one."""
    return _key(epoch.SerializeToString(deterministic=True))


@lru_cache(maxsize=8)
def _key(serialized: bytes) -> ThresholdKey:
    # One object an epoch, since tables of powers hang on it.
    epoch = KeyEpoch.FromString(serialized)
    return ThresholdKey(
        n=int.from_bytes(epoch.modulus, "big"),
        parties=len(epoch.holders),
        threshold=epoch.threshold,
        epoch=epoch.epoch,
        verification_keys=tuple(int.from_bytes(holder.verification_key, "big") for holder in epoch.holders),
    )
