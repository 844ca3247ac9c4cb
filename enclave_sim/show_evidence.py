"""`python -m enclave_sim.show_evidence FOLDER` writes what the key ceremony needs of an enclave that does not run.

Two frames: its Evidence, and its Standing, which is empty where it has no journal yet.
"""

from __future__ import annotations

import sys
from pathlib import Path

from yingbi.api.v1.standing_pb2 import Standing

from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.authority import Policy
from enclave_sim.frames import write_frame
from enclave_sim.identity import Identity
from enclave_sim.journal import Journal, JournalError
from enclave_sim.standing import standing_of


def main() -> None:
    """Show the enclave of a folder; a journal that is in use or does not verify ends it with a sentence."""
    folder = Path(sys.argv[1])
    backend = SimulatedBackend.load(folder / "platform")
    try:
        standing = _standing(folder / "journal", backend)
    except JournalError as error:
        sys.exit(str(error))
    policy = Policy.from_json((folder / "policy.json").read_text())
    for message in (Identity.of(backend, policy.digest()).evidence, standing):
        write_frame(sys.stdout.buffer, message.SerializeToString(deterministic=True))


def _standing(path: Path, backend: SimulatedBackend) -> Standing:
    if not path.exists():
        return Standing()
    journal = Journal(path, backend.derive_key("journal"))
    journal.close()
    return standing_of(journal.records)


if __name__ == "__main__":
    main()
