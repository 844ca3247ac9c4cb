"""`python -m enclave_sim.show_evidence FOLDER` writes an enclave's framed evidence, for the key ceremony."""

from __future__ import annotations

import sys
from pathlib import Path

from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.frames import write_frame
from enclave_sim.identity import Identity

if __name__ == "__main__":
    evidence = Identity.of(SimulatedBackend.load(Path(sys.argv[1]) / "platform")).evidence
    write_frame(sys.stdout.buffer, evidence.SerializeToString())
