"""Three enclaves for every attack: made once, copied for each test that changes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from enclave_sim.paillier.dealer import generate_safe_prime
from tests.attacks.three_enclaves import Trio, make_trio

# Far too short to protect anything; long enough that a plan needs several slots of one plaintext.
PRIME_BITS = 384


@pytest.fixture(scope="session")
def safe_primes() -> tuple[int, int]:
    return generate_safe_prime(PRIME_BITS), generate_safe_prime(PRIME_BITS)


@pytest.fixture(scope="session")
def trio_template(safe_primes: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Trio:
    trio = make_trio(tmp_path_factory.mktemp("trio"), safe_primes)
    trio.close()
    return trio


@pytest.fixture
def trio(trio_template: Trio, tmp_path: Path) -> Iterator[Trio]:
    copied = trio_template.copy(tmp_path / "trio")
    yield copied
    copied.close()
