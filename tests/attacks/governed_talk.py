"""What honest callers say in a zone where organisations decide: agreements in several states, and jobs that wait.

One dataset of grade 4: the provider and the supervisor say yes to each plan. The enclaves' own policies are asked for
nothing but stops: no job is run.
"""

from __future__ import annotations

import time

from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import digests
from yingbi.api.stop_scopes import OF_STEP
from yingbi.api.templates import kind_of, template_of
from yingbi.api.v1.agreement_pb2 import (
    AgreementSignature,
    AgreementStep,
    RegisterAgreementRequest,
    RegisteredAgreement,
)
from yingbi.api.v1.dataset_pb2 import (
    SERVICE_FORM_DATA,
    SERVICE_FORM_INTERFACE,
    SERVICE_FORM_MODEL,
    ZONE_TYPE_DOMAIN,
    CatalogueEntry,
    DatasetDeclaration,
    LawfulSource,
    Opening,
)
from yingbi.api.v1.job_pb2 import (
    Approval,
    ApproveJobRequest,
    CancelJobRequest,
    GetDecisionRequest,
    GetJobRequest,
    Job,
    ListDecisionsRequest,
    ListJobSummariesRequest,
    Query,
    RefuseJobRequest,
    SignedApproval,
    StandingApproval,
)
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.v1.stop_pb2 import (
    STOP_SCOPE_AGREEMENT,
    STOP_SCOPE_DATASET,
    Lift,
    LiftRequest,
    PreviewStopRequest,
    SignedLift,
    SignedStop,
    Stop,
    StopRecord,
    StopRequest,
    StopScope,
)

from enclave_sim.plan.canonical import plan_hash
from enclave_sim.plan.sensitivity import total_rho_units
from gateway.governance.catalogue_entry import TEXTS
from tests.attacks.gateway_in_process import Zone
from tests.attacks.honest_talk import Talk
from tests.attacks.three_enclaves import visits_declaration, visits_of

DATASET, CUT_OFF = "guarded", "withdrawn"
IN_FORCE = "falls-2026"
DOCUMENT = """
agreement: {name}
dataset: {dataset}
organisation: developer
purpose: "risk of falls, contract 17"
scenario: "the ward's own pages"
starts: 2026-01-01
expires: 2099-01-01
budget: {{epsilon: 9.5, delta: 1e-7}}
max_uses: 400
jobs: [query, train]
responsibility: "the developer's"
supervision: "every month"
revocation: "at any time, with a reason"
"""
LIFE = (
    ("developer", "apply"),
    ("supervisor", "assess"),
    ("provider", "consent"),
    ("developer", "sign"),
    ("provider", "sign"),
)
COUNT = "SELECT COUNT(*) AS n FROM visits WHERE pain < {}"


def among_organisations(zone: Zone) -> Talk:
    """All that is said where organisations decide."""
    talk = Talk(zone)
    talk.greet()
    for name in (DATASET, CUT_OFF):
        zone.trio.add(declared(name), [visits_of(node) for node in range(3)])
        talk.register(declared(name))
    for name, dataset, steps in ((IN_FORCE, DATASET, 5), ("suspended", DATASET, 5), ("half-way", CUT_OFF, 3)):
        _agree(talk, name, dataset, LIFE[:steps])
    suspend = _ending(talk, "supervisor", "suspended", "suspend")
    talk.say("MoveAgreement", suspend, "supervisor")
    lift = Lift(stop=digests.digest(digests.STOP, suspend.stop.body), agreement="suspended")
    # Not sent: whoever may take these steps could take them now.
    talk.requests["MoveAgreement"] += [
        _ending(talk, "supervisor", IN_FORCE, "suspend"),
        AgreementStep(agreement="suspended", action="resume", lift=_lift_of(talk, "supervisor", lift)),
        _ending(talk, "provider", "suspended", "terminate"),
        AgreementStep(agreement="half-way", action="withdraw", reason="another one is drafted"),
    ]
    _decide(talk)
    talk.ask_batch(DATASET)
    _stop(talk)
    talk.invite()
    talk.operate()
    talk.look_around()
    return talk


def declared(dataset: str) -> DatasetDeclaration:
    """Visits, with all that the catalogue of a governed zone needs."""
    declaration = visits_declaration(dataset, grade=4)
    declaration.zone_type = ZONE_TYPE_DOMAIN
    declaration.forms.extend([SERVICE_FORM_DATA, SERVICE_FORM_MODEL, SERVICE_FORM_INTERFACE])
    declaration.catalogue.CopyFrom(
        CatalogueEntry(
            **dict.fromkeys(TEXTS, "a test's"),
            opening=Opening(body="clinic", level=Opening.LEVEL_CONDITIONAL, mode="through the gateway"),
            lawful_source=LawfulSource(reference="made up", document_sha256=bytes(32)),
        )
    )
    return declaration


def _agree(talk: Talk, name: str, dataset: str, steps: tuple[tuple[str, str], ...]) -> None:
    document = DOCUMENT.format(name=name, dataset=dataset).encode()
    drafted = talk.say("DraftAgreement", RegisterAgreementRequest(document=document, file="falls.yaml"), "developer")
    assert isinstance(drafted, RegisteredAgreement)
    for who, action in steps:
        step = AgreementStep(agreement=name, action=action)
        if action == "sign":
            key, terms = talk.key(who), drafted.signed.terms
            step.signature.CopyFrom(
                AgreementSignature(
                    key=key.public_key().public_bytes_raw(), signature=digests.sign(key, digests.AGREEMENT, terms)
                )
            )
        talk.say("MoveAgreement", step, who)


def _decide(talk: Talk) -> None:
    """Jobs that wait for two, for one, for none any more; one that was returned, and one that a standing yes covers."""
    asked = [_ask(talk, number) for number in range(5)]
    untouched, half, standing, returned, cancelled = asked
    talk.say("ApproveJob", _approval(talk, half, "provider"), "provider")
    # Not sent: with it the job would be charged, and is not there to be decided about any more.
    talk.requests["ApproveJob"] += [_approval(talk, each, "supervisor") for each in (half, untouched)]
    talk.say("ApproveJob", _standing(talk, standing), "provider")
    talk.say("RefuseJob", RefuseJobRequest(job=returned.job, reason="ask by clinic", returned=True), "supervisor")
    talk.requests["RefuseJob"] += [RefuseJobRequest(job=untouched.job, reason="not about falls", clause="purpose")]
    talk.say("CancelJob", CancelJobRequest(job=cancelled.job, reason="asked by mistake"), "developer")
    for job in asked:
        talk.say("GetDecision", GetDecisionRequest(job=job.job), "provider")
    talk.say("GetJob", GetJobRequest(job=half.job), "developer")
    talk.say("GetJobHistory", GetJobRequest(job=half.job), "auditor")
    talk.say("ListDecisions", ListDecisionsRequest(page_size=1), "supervisor")
    talk.say("ListJobSummaries", ListJobSummariesRequest(page_size=1, dataset=DATASET), "operator")


def _ask(talk: Talk, number: int) -> Job:
    query = Query(dataset=DATASET, sql=COUNT.format(number + 1), epsilon=0.1, agreement=IN_FORCE)
    return talk.ask(query, f"request-{number}")


def _approval(talk: Talk, job: Job, who: str) -> ApproveJobRequest:
    plan, key = Plan.FromString(job.plan), talk.key(who)
    approval = Approval(
        job=job.job,
        plan_hash=plan_hash(job.plan),
        operator_key=key.public_key().public_bytes_raw(),
        rho_units=total_rho_units(plan),
        delta=plan.delta,
        organisation=who,
    )
    body = approval.SerializeToString(deterministic=True)
    return ApproveJobRequest(approval=SignedApproval(body=body, signature=digests.sign(key, digests.APPROVAL, body)))


def _standing(talk: Talk, job: Job) -> ApproveJobRequest:
    plan, key = Plan.FromString(job.plan), talk.key("provider")
    terms = StandingApproval(
        template_hash=template_of(plan),
        kind=kind_of(plan),
        rho_units_a_job=total_rho_units(plan),
        rho_units=3 * total_rho_units(plan),
        max_jobs=3,
        dataset=DATASET,
        agreement=IN_FORCE,
        asker_key=talk.key("developer").public_key().public_bytes_raw(),
        organisation="provider",
        operator_key=key.public_key().public_bytes_raw(),
        expires=Timestamp(seconds=int(time.time()) + 7200),
    )
    body = terms.SerializeToString(deterministic=True)
    signed = SignedApproval(standing=body, signature=digests.sign(key, digests.STANDING_APPROVAL, body))
    return ApproveJobRequest(approval=signed, job=job.job)


def _stop(talk: Talk) -> None:
    """A dataset that is cut off, lifted, and cut off again by another; and the stop of an agreement, not sent."""
    talk.say("PreviewStop", PreviewStopRequest(scope=STOP_SCOPE_AGREEMENT, subject=IN_FORCE), "supervisor")
    record = talk.say("Stop", _stop_of(talk, "provider", STOP_SCOPE_DATASET, CUT_OFF), "provider")
    assert isinstance(record, StopRecord)
    signed = _lift_of(talk, "provider", Lift(stop=record.digest, dataset=CUT_OFF))
    talk.say("Lift", LiftRequest(lift=signed), "provider")
    talk.say("Stop", _stop_of(talk, "supervisor", STOP_SCOPE_DATASET, CUT_OFF), "supervisor")
    talk.requests["Stop"] += [_stop_of(talk, "supervisor", STOP_SCOPE_AGREEMENT, "half-way")]


def _ending(talk: Talk, who: str, agreement: str, action: str) -> AgreementStep:
    """A step that suspends or terminates, with the stop that enclaves check."""
    asked = _stop_of(talk, who, OF_STEP[action], agreement)
    return AgreementStep(
        agreement=agreement, action=action, reason=Stop.FromString(asked.stop.body).reason, stop=asked.stop
    )


def _lift_of(talk: Talk, who: str, lift: Lift) -> SignedLift:
    key = talk.key(who)
    lift.signer_key = key.public_key().public_bytes_raw()
    body = lift.SerializeToString(deterministic=True)
    return SignedLift(body=body, signature=digests.sign(key, digests.LIFT, body))


def _stop_of(talk: Talk, who: str, scope: StopScope.ValueType, subject: str) -> StopRequest:
    key = talk.key(who)
    stop = Stop(scope=scope, subject=subject, reason="a test", signer_key=key.public_key().public_bytes_raw())
    stop.issued.FromNanoseconds(time.time_ns())
    body = stop.SerializeToString(deterministic=True)
    return StopRequest(stop=SignedStop(body=body, signature=digests.sign(key, digests.STOP, body)))
