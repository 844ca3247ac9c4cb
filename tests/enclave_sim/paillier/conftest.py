"""One small shared key for the whole folder, and phe with the whole key as an independent second opinion."""

import pytest
from phe.paillier import PaillierPrivateKey, PaillierPublicKey

from enclave_sim.paillier.dealer import deal
from enclave_sim.paillier.keys import KeyShare, PublicKey, ThresholdKey
from tests.primes import P3072, Q3072

# Safe primes from generate_safe_prime(256). The modulus is far too short to protect anything, and published.
P = 0xDADFBE84A6AA9A2A9D21F3E5B4030357273A6F8464E01BFD578F9EB61AB1F633
Q = 0xF4BD0B382C4F36AE681B6E0B37D73A2D84C5AD594246F792EB51FF25163B12EF


@pytest.fixture(scope="session")
def primes() -> tuple[int, int]:
    return P, Q


@pytest.fixture(scope="session")
def long_primes() -> tuple[int, int]:
    return P3072, Q3072


@pytest.fixture(scope="session")
def public() -> PublicKey:
    return PublicKey(P * Q)


@pytest.fixture(scope="session")
def whole_key() -> PaillierPrivateKey:
    return PaillierPrivateKey(PaillierPublicKey(P * Q), P, Q)


@pytest.fixture(scope="session")
def shared() -> tuple[ThresholdKey, tuple[KeyShare, ...]]:
    return deal(P, Q, parties=5, threshold=3, epoch=0)
