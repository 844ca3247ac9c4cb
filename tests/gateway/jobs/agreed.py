"""A governed gateway on a real database: its organisations, and an agreement's life among them, step by step."""

from __future__ import annotations

import asyncio
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import digests
from yingbi.api.v1.agreement_pb2 import Agreement, AgreementSignature, AgreementStep, RegisteredAgreement
from yingbi.api.v1.job_pb2 import Authorization, Job, Query, SubmitQueryRequest

from enclave_sim.plan.canonical import plan_hash
from gateway.governance.callers import Role
from gateway.governance.parties import parties_of
from gateway.jobs import records
from gateway.jobs.admission import Admission
from gateway.jobs.approval import Approvals
from gateway.jobs.feed import Feed
from gateway.jobs.records import JobRecord
from gateway.storage import agreements
from tests.gateway.jobs.test_admission import DELTA, Account, Scene

STARTS, EXPIRES = 1_000, 200_000
COUNT = "SELECT COUNT(*) AS {name} FROM visits"

ADA = Account("ada", "college")
HANNA = Account("hanna", "hospital", Role.PROVIDER)
SUE = Account("sue", "bureau", Role.SUPERVISOR)
CORA = Account("cora", "city", Role.COORDINATOR)
PARTIES = parties_of(account.caller for account in (ADA, HANNA, SUE, CORA))


def document(name: str = "falls", **more: object) -> Agreement:
    """What a document says of it; parties and keys are the gateway's to fill in."""
    said = Agreement(
        agreement=name,
        dataset="visits",
        organisation="college",
        purpose="risk of falls",
        scenario="the ward's own pages",
        starts=Timestamp(seconds=STARTS),
        expires=Timestamp(seconds=EXPIRES),
        budget_epsilon=0.9,
        budget_delta=DELTA,
        responsibility="the college's",
        supervision="the bureau's",
        revocation="at any time",
    )
    said.MergeFrom(Agreement(**more))  # type: ignore[arg-type]
    return said


class Governed(Scene):
    """A gateway in which everything is under an agreement, with a clock that is set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.now = 1_500.0
        self.admission = Admission(
            self.database, self.nodes, self.runner, auto_approve=False, governed=True, clock=lambda: self.now
        )
        self.approvals = Approvals(self.database, self.nodes, self.runner, Feed(), clock=lambda: self.now)

    def draft(self, terms: Agreement, by: Account = ADA) -> RegisteredAgreement:
        return asyncio.run(self.database.run(agreements.draft, terms, PARTIES, by.caller, self.now))

    def step(self, by: Account, action: str, name: str = "falls", reason: str = "because") -> RegisteredAgreement:
        signature = self.signature(by, name) if action == "sign" else None
        asked = AgreementStep(agreement=name, action=action, reason=reason, signature=signature)
        return self.move(by, asked)

    def move(self, by: Account, asked: AgreementStep) -> RegisteredAgreement:
        return asyncio.run(self.database.run(agreements.move, asked, by.caller, self.now))

    def signature(self, by: Account, name: str) -> AgreementSignature:
        terms = asyncio.run(self.database.run(agreements.show, name, None, self.now)).signed.terms
        return AgreementSignature(signature=digests.sign(by.key, digests.AGREEMENT, terms), key=by.caller.key)

    def agree(self, terms: Agreement) -> Agreement:
        """Take the agreement to where it is active; returns its terms."""
        drafted, name = self.draft(terms), terms.agreement
        for by, action in ((ADA, "apply"), (SUE, "assess"), (HANNA, "consent"), (ADA, "sign"), (HANNA, "sign")):
            self.step(by, action, name)
        return drafted.agreement

    def show(self, name: str = "falls") -> RegisteredAgreement:
        return asyncio.run(self.database.run(agreements.show, name, None, self.now))

    def ask(self, name: str = "n", sql: str = COUNT, by: Account = ADA, epsilon: float = 0.1, **signed: str) -> Job:
        return asyncio.run(self.asking(name, sql, by, epsilon, **signed))

    async def asking(
        self, name: str, sql: str = COUNT, by: Account = ADA, epsilon: float = 0.1, agreement: str = "", **signed: str
    ) -> Job:
        """Preview and ask; `signed` are further fields of the authorization."""
        query = Query(dataset="visits", sql=sql.format(name=name), epsilon=epsilon, agreement=agreement)
        preview = await self.admission.preview(by.caller, query)
        authorization = Authorization(
            plan_hash=plan_hash(preview.plan),
            request_id=f"{by.caller.name}-{name}",
            developer_key=by.caller.key,
            agreement=preview.agreement,
            **signed,  # type: ignore[arg-type]
        )
        body = authorization.SerializeToString(deterministic=True)
        signature = digests.sign(by.key, digests.AUTHORIZATION, body)
        request = SubmitQueryRequest(query=query, authorization=authorization, signature=signature)
        return await self.admission.submit(by.caller, request)

    def record(self, job: Job) -> JobRecord:
        return asyncio.run(self.database.run(records.get, job.job))
