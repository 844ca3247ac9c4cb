"""Three enclaves for every attack: made once, copied for each test that changes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from yingbi.deployments import Deployment

from enclave_sim.paillier.dealer import generate_safe_prime
from tests.attacks.stoppable_models import JOB_ID, Stoppable, from_jobs, trained_zone
from tests.attacks.test_deployment_gateway import InProcess, parameters
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


@pytest.fixture(scope="session")
def trained(trio_template: Trio, tmp_path_factory: pytest.TempPathFactory) -> Trio:
    """A deployable model's zone: see `stoppable_models`."""
    trio = trio_template.copy(tmp_path_factory.mktemp("trained"))
    trained_zone(trio)
    return trio


@pytest.fixture
def stoppable(trained: Trio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stoppable]:
    monkeypatch.setattr("yingbi.deployments._deployable", lambda *given: (parameters(), from_jobs(JOB_ID)))
    monkeypatch.setattr(Deployment, "check", lambda self: "")
    trio = trained.copy(tmp_path / "trio")
    made = Stoppable(InProcess(trio, trio.folder))
    yield made
    made.zone.database.close()
    trio.close()
