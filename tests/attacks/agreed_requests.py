"""Requests under an agreement that holds for them, and what an enclave says to them: for attacks to change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import certificates, digests
from yingbi.api.v1.agreement_pb2 import Agreement, AgreementSignature, SignedAgreement
from yingbi.api.v1.job_pb2 import Authorization
from yingbi.api.v1.node_pb2 import ContributeTask
from yingbi.api.v1.people_pb2 import SignedCertificate
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim import job_records, jobs
from enclave_sim.engine.protocol import Engine, never
from tests.attacks.three_enclaves import DELTA, PROVIDER, Trio, authorized, public, refusal

NOW = int(time.time())
DAY = 24 * 3600
ORGANISATION = Ed25519PrivateKey.generate()
STRANGER = Ed25519PrivateKey.generate()
PURPOSE = "pain by clinic"
INSIDE = "SELECT clinic, COUNT(*), AVG(pain) FROM visits GROUP BY clinic"


@dataclass(frozen=True)
class Person:
    """Whoever signs: a key, and the certificate by which it is known."""

    key: Ed25519PrivateKey
    certificate: SignedCertificate | None = None


def person(organisation: Ed25519PrivateKey, *duties: str, until: int = NOW + 400 * DAY) -> Person:
    """Somebody whom an organisation let in for these duties."""
    invitation, secret = certificates.invite(
        organisation, organisation="one", person="somebody", duties=duties, now=NOW, certificate_expires=until
    )
    key = Ed25519PrivateKey.generate()
    return Person(key, certificates.accept(invitation, secret, public(key)))


ANALYST = person(ORGANISATION, "analyst")


def terms(**changes: Any) -> Agreement:
    """An agreement about counts and means of pain by clinic, with little room beside them."""
    narrow = Agreement(
        agreement="narrow",
        dataset="visits",
        organisation="one",
        purpose=PURPOSE,
        scenario="a report",
        starts=Timestamp(seconds=NOW - 3600),
        expires=Timestamp(seconds=NOW + 100 * DAY),
        budget_epsilon=3.0,
        budget_delta=DELTA,
        jobs=["query"],
        columns=["visits.clinic", "visits.pain"],
        organisation_key=public(ORGANISATION),
        provider_key=public(PROVIDER),
    )
    narrow.MergeFrom(Agreement(**changes))
    return narrow


def signed(document: Agreement) -> SignedAgreement:
    """By a signatory of each party."""
    data = document.SerializeToString(deterministic=True)
    return SignedAgreement(
        terms=data,
        organisation=signature_of(person(ORGANISATION, "signatory"), data),
        provider=signature_of(person(PROVIDER, "signatory"), data),
    )


def signature_of(by: Person, data: bytes) -> AgreementSignature:
    signature = digests.sign(by.key, digests.AGREEMENT, data)
    return AgreementSignature(signature=signature, key=public(by.key), certificate=by.certificate)


AGREED = signed(terms())


def request(
    trio: Trio,
    plan: Plan,
    *,
    under: SignedAgreement = AGREED,
    by: Person = ANALYST,
    request_id: str = "request-1",
    **changes: object,
) -> ContributeTask:
    """What an analyst signs for a plan under an agreement; with changes to what is signed."""
    task = trio.task(plan, request_id=request_id)
    body = Authorization.FromString(task.authorization.body)
    body.developer_key = public(by.key)
    body.expires.seconds = NOW + 1000 * DAY
    said = Agreement.FromString(under.terms)
    body.agreement, body.purpose = said.agreement, said.purpose
    for name, value in changes.items():
        if isinstance(value, Timestamp):
            getattr(body, name).CopyFrom(value)
        else:
            setattr(body, name, value)
    task.authorization.CopyFrom(authorized(body, by.key))
    if by.certificate:
        task.authorization.certificate.CopyFrom(by.certificate)
    task.agreement.CopyFrom(under)
    return task


@contextmanager
def clock_at(moment: float) -> Iterator[None]:
    """The hosts' clocks say this."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (jobs, job_records):
            patch.setattr(module, "time", SimpleNamespace(time=lambda: moment))
        yield


class Sealed:
    """An engine of an enclave that must not unseal anything."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name}: rows would be read")


def refused(trio: Trio, task: ContributeTask, *, job: str = "job-1", at: float = NOW) -> str:
    """Why one enclave refuses the task; it has charged and unsealed nothing."""
    enclave = replace(trio.enclaves[0], engine=cast(Engine, Sealed()))
    before = len(enclave.journal.records)
    with clock_at(at):
        code = refusal(jobs.contribute, enclave, job, task, never)
    assert len(enclave.journal.records) == before
    assert enclave.files.load(job, "plan") is None
    return code


def charged(trio: Trio, task: ContributeTask, job: str, *, at: float = NOW) -> None:
    with clock_at(at):
        trio.contribute(job, task)
