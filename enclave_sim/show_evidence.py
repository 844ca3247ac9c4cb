"""`python -m enclave_sim.show_evidence FOLDER CA` writes what the key ceremony needs of an enclave that does not run.

Two frames: its Evidence, and its Standing, which is empty where it has no journal yet. An enclave that never ran makes
its root here.
"""

from __future__ import annotations

import sys
from pathlib import Path

from yingbi.api.v1.attestation_pb2 import Evidence
from yingbi.api.v1.standing_pb2 import Standing

from enclave_sim.frames import write_frame
from enclave_sim.identity import Identity
from enclave_sim.journal import Journal, JournalError
from enclave_sim.standing import standing_of
from enclave_sim.storage.state import RootError


def main() -> None:
    """Show the enclave of a folder; a root or a journal that does not open ends it with a sentence."""
    folder, ca_file = map(Path, sys.argv[1:])
    try:
        messages = shown(folder, ca_file.read_bytes())
    except (JournalError, RootError) as error:
        sys.exit(str(error))
    for message in messages:
        write_frame(sys.stdout.buffer, message.SerializeToString(deterministic=True))


def shown(folder: Path, ca_pem: bytes) -> tuple[Evidence, Standing]:
    """The evidence and the standing of the enclave in `folder`; raises JournalError, RootError, OSError."""
    identity, root = Identity.kept(folder, ca_pem)
    return identity.evidence, _standing(folder / "journal", root.derive("journal"))


def _standing(path: Path, key: bytes) -> Standing:
    if not path.exists():
        return Standing()
    journal = Journal(path, key)
    journal.close()
    return standing_of(journal.records)


if __name__ == "__main__":
    main()
