"""What the key ceremony needs of an enclave that does not run: `show` of `enclave_sim.upkeep`."""

from __future__ import annotations

from pathlib import Path

from yingbi.api.v1.attestation_pb2 import Evidence
from yingbi.api.v1.standing_pb2 import Standing

from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.identity import Identity
from enclave_sim.journal import Journal
from enclave_sim.standing import standing_of


def shown(folder: Path, ca_pem: bytes, backend: SimulatedBackend | None = None) -> tuple[Evidence, Standing]:
    """The evidence of the enclave in `folder`, and its standing, which is empty where it has no journal yet.

    Raises JournalError, RootError, OSError.
    """
    identity, root = Identity.kept(folder, ca_pem, backend)
    return identity.evidence, _standing(folder / "journal", root.derive("journal"))


def _standing(path: Path, key: bytes) -> Standing:
    if not path.exists():
        return Standing()
    journal = Journal(path, key)
    journal.close()
    return standing_of(journal.records)
