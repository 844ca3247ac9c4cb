"""Why attestation evidence is refused: one code for each reason, the same for every format of evidence."""

from __future__ import annotations

from typing import Final

MALFORMED: Final = "evidence_malformed"
CHAIN: Final = "evidence_chain"
SIGNATURE: Final = "evidence_signature"
REPORT_DATA: Final = "evidence_report_data"
DOWNGRADED: Final = "evidence_downgraded"
STALE: Final = "evidence_stale"
REPLAYED: Final = "evidence_replayed"
MEASUREMENT: Final = "evidence_measurement"
POLICY: Final = "evidence_policy"
SIMULATED: Final = "evidence_simulated"
KEYS: Final = "evidence_keys"


class EvidenceError(Exception):
    """Evidence that does not verify: the reason in one sentence without its full stop, and its code."""

    def __init__(self, message: str, code: str = MALFORMED) -> None:
        super().__init__(message)
        self.code = code
