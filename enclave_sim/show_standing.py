"""`python -m enclave_sim.show_standing FOLDER` writes an enclave's framed Standing, for the next key ceremony.

It needs the journal for itself, so that the enclave must not run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.frames import write_frame
from enclave_sim.journal import Journal, JournalError
from enclave_sim.standing import standing_of


def main() -> None:
    """Read the journal and write what it says."""
    folder = Path(sys.argv[1])
    try:
        journal = Journal(folder / "journal", SimulatedBackend.load(folder / "platform").derive_key("journal"))
    except (JournalError, OSError, ValueError) as error:
        sys.exit(str(error))
    write_frame(sys.stdout.buffer, standing_of(journal.records).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
