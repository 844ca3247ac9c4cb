"""One small shared key for the whole folder, and phe with the whole key as an independent second opinion."""

import pytest
from phe.paillier import PaillierPrivateKey, PaillierPublicKey

from enclave_sim.paillier.dealer import deal
from enclave_sim.paillier.keys import KeyShare, PublicKey, ThresholdKey

# Safe primes from generate_safe_prime(256). The modulus is far too short to protect anything, and published.
P = 0xDADFBE84A6AA9A2A9D21F3E5B4030357273A6F8464E01BFD578F9EB61AB1F633
Q = 0xF4BD0B382C4F36AE681B6E0B37D73A2D84C5AD594246F792EB51FF25163B12EF

# Safe primes from generate_modulus(3072), generated for this test and published here.
P3072 = int(
    "c535f31f0dbc25d01478d4e2524d373a8fa5d9800a8ecbcd1d3d062f701067e3df3f544bee9abda19a0d043773f39ce8"
    "7cc1b1e8999c369febcb3fd1fcda7c7d2d68f13607c19299f4c3cd58db477b36960712b41d65a215d58bb4fb239a1049"
    "291f3f225df5e32712757dbe253c68bb209acaac7c9eeab88ab9768a81a81aec3430b2446bb2f76259b7dbb7ec08db3e"
    "819801d481151d5d1d6c6d4a25a055a4baff9ec634401dfa4303b502a7088da57c25a1be0ff0b038921770eb5db8fc9b",
    16,
)
Q3072 = int(
    "d5fd191a9fecd96e1d484feed0972731ce7f35dde39ad175757b8bef33f6f372f66b911972c6bc4976b4e440c47527fc"
    "dd930353ccbe0015bcef98ff5e6b43657848ea7771da7f565c9b64be683ca3f953bae29d8a6ff655de9a271e24440479"
    "53da32131c8edadf18d33d3ca136b42b186f888ba98d764731745bb205d4b256a58c1b060db750780badc63353002424"
    "7f847bdf47ad9855688d8a37b241aec93cd39d6521afa408a464dbba390cc28e05a1ce393192934a9587f87afd242afb",
    16,
)


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
