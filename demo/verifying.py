"""One patient consents to one question: an issuer of the demo's own, and what each hospital's enclave answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import yingbi
from yingbi.consents import IssuerKey, Value, sign_consent
from yingbi.verification import Verification

PURPOSE = "insurance-claim"
OFFER = """\
verification:
  fields: {{patients: [male, status]}}
  purposes: [{purpose}]
  issuers: {{patients-office: "{key}"}}
  limits: {{each_subject_a_day: 5, each_developer_a_day: 50}}
  price: 2
"""


@dataclass(frozen=True)
class PatientsOffice:
    """Whom the hospitals believe when it says that a patient consented."""

    key: IssuerKey = field(default_factory=IssuerKey.new)

    def approved_in(self, metadata: Path) -> None:
        """Write into a metadata file what may be verified, and that this office's consents count."""
        offer = OFFER.format(purpose=PURPOSE, key=self.key.public.hex())
        metadata.write_text(metadata.read_text(encoding="utf-8") + offer, encoding="utf-8")

    def consent(self, dataset: yingbi.Dataset, node: str, subject: int, claims: dict[str, Value]) -> str:
        """A consent of the patient's to this one question at this one hospital."""
        ask = dataset.consent_request(node)
        return sign_consent(self.key, ask, subject=subject, claims=claims, purpose=PURPOSE, now=time.time())


def claims_of(patients: pd.DataFrame) -> tuple[int, dict[str, Value]]:
    """The first patient, and what is true of them."""
    first = patients.iloc[0]
    return int(first["id"]), {"male": int(first["male"]), "status": int(first["status"])}


def asked_everywhere(
    office: PatientsOffice, dataset: yingbi.Dataset, nodes: tuple[str, ...], subject: int, claims: dict[str, Value]
) -> Iterator[tuple[Verification, str]]:
    """What each hospital answers, and the consent that it answered."""
    for node in nodes:
        token = office.consent(dataset, node, subject, claims)
        yield dataset.verify(subject, claims, PURPOSE, token), token
