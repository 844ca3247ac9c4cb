"""The doors of a governed gateway: nothing is asked, approved, begun, replayed or handed out beyond its agreement."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection
from yingbi.api import certificates, digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import Agreement, AgreementSignature, AgreementState, AgreementStep
from yingbi.api.v1.dataset_pb2 import SERVICE_FORM_DATA, DatasetDeclaration, RegisterDatasetRequest
from yingbi.api.v1.job_pb2 import Job, Query
from yingbi.api.v1.receipt_pb2 import Receipt

from gateway.aggregation.vectors import Vectors
from gateway.api.jobs import _page
from gateway.governance.registration import RegisteredDataset
from gateway.jobs import records, shown, states
from gateway.jobs.feed import Feed
from gateway.jobs.records import JobRecord
from gateway.ledger import ledger
from gateway.storage import agreements
from tests.gateway.jobs.agreed import ADA, CORA, EXPIRES, HANNA, STARTS, SUE, Governed, document
from tests.gateway.jobs.test_admission import DATASET, Account
from tests.gateway.jobs.test_admission_agreements import Prompt

EVE = Account("eve", "other")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Governed]:
    scene = Governed(tmp_path)
    yield scene
    scene.database.close()


def refused(scene: Governed, *what: object, **more: object) -> Problem:
    """Why a question is refused; nothing is spent or started."""
    before, started = scene.spent(), list(scene.runner.jobs)
    with pytest.raises(Problem) as caught:
        scene.ask(*what, **more)  # type: ignore[arg-type]
    assert (scene.spent(), scene.runner.jobs) == (before, started)
    return caught.value


def state_of(scene: Governed, name: str = "falls") -> str:
    return AgreementState.Name(scene.show(name).state).removeprefix("AGREEMENT_STATE_").lower()


def both_signed(scene: Governed) -> bool:
    signed = asyncio.run(scene.database.run(agreements.signed, "falls"))
    assert signed is not None
    return signed.HasField("organisation") and signed.HasField("provider")


class TestLife:
    def test_a_draft_has_the_zone_s_parties_and_their_keys(self, scene: Governed) -> None:
        terms = scene.draft(document()).agreement
        assert (terms.provider, terms.supervisor) == ("hospital", "bureau")
        assert (terms.organisation_key, terms.provider_key, terms.supervisor_key) == (
            ADA.caller.key,
            HANNA.caller.key,
            SUE.caller.key,
        )
        assert scene.draft(document()).agreement == terms
        with pytest.raises(Problem, match="other terms"):
            scene.draft(document(purpose=" of burns"))

    @pytest.mark.parametrize(
        ("more", "code", "field"),
        [
            ({"provider": "hospice"}, "unknown_party", "provider"),
            ({"supervisor": "college"}, "unknown_party", "supervisor"),
            ({"columns": ["visits.pains"]}, "agreement_unknown_column", "columns"),
            ({"columns": ["visits.PAIN"]}, "agreement_unknown_column", "columns"),
            ({"supersedes": "fall"}, "unknown_agreement", "agreement"),
        ],
    )
    def test_a_draft_names_what_there_is(self, scene: Governed, more: dict[str, object], code: str, field: str) -> None:
        with pytest.raises(Problem) as caught:
            scene.draft(document(**more))  # type: ignore[arg-type]
        assert (caught.value.code, caught.value.field) == (code, field)

    def test_it_is_active_when_both_have_signed_and_enclaves_get_both_signatures(self, scene: Governed) -> None:
        scene.draft(document())
        seen = [state_of(scene)]
        for by, action in ((ADA, "apply"), (SUE, "assess"), (HANNA, "consent"), (HANNA, "sign")):
            assert not both_signed(scene)
            assert refused(scene).details["clause"] == "state"
            scene.step(by, action)
            seen.append(state_of(scene))
        assert seen == ["draft", "applied", "assessed", "consented", "consented"]
        shown = scene.step(ADA, "sign")
        assert (state_of(scene), shown.waits_for) == ("active", "")
        signed = asyncio.run(scene.database.run(agreements.signed, "falls"))
        assert signed is not None
        for given, party in ((signed.organisation, ADA), (signed.provider, HANNA)):
            assert digests.is_signed(party.caller.key, digests.AGREEMENT, signed.terms, given.signature)
        assert Agreement.FromString(signed.terms) == shown.agreement
        assert [(event.action, event.person) for event in shown.events] == [
            ("draft", "ada"), ("apply", "ada"), ("assess", "sue"), ("consent", "hanna"), ("sign", "hanna"),
            ("sign", "ada"),
        ]  # fmt: skip

    def test_a_signature_is_over_the_very_terms_by_the_party_s_key(self, scene: Governed) -> None:
        scene.draft(document("burns"))
        scene.draft(document())
        for by, action in ((ADA, "apply"), (SUE, "assess"), (HANNA, "consent")):
            scene.step(by, action)
        good = scene.signature(ADA, "falls")
        forged = AgreementSignature(signature=scene.signature(EVE, "falls").signature, key=ADA.caller.key)
        for bad in (
            AgreementSignature(),
            scene.signature(EVE, "falls"),
            scene.signature(HANNA, "falls"),
            scene.signature(ADA, "burns"),
            forged,
            AgreementSignature(signature=good.signature, key=EVE.caller.key),
        ):
            with pytest.raises(Problem) as caught:
                scene.move(ADA, AgreementStep(agreement="falls", action="sign", signature=bad))
            assert caught.value.code == "bad_signature"
        assert len(scene.show().events) == 4
        scene.move(ADA, AgreementStep(agreement="falls", action="sign", signature=good))

    def test_a_consent_may_bring_the_provider_s_signature(self, scene: Governed) -> None:
        scene.draft(document())
        for by, action in ((ADA, "apply"), (SUE, "assess")):
            scene.step(by, action)
        bad = AgreementStep(agreement="falls", action="consent", signature=scene.signature(ADA, "falls"))
        with pytest.raises(Problem, match="does not hold"):
            scene.move(HANNA, bad)
        good = AgreementStep(agreement="falls", action="consent", signature=scene.signature(HANNA, "falls"))
        assert scene.move(HANNA, good).waits_for == "the signature of college"
        scene.step(ADA, "sign")
        assert state_of(scene) == "active"

    @pytest.mark.parametrize(("duty", "code"), [("signatory", ""), ("analyst", "other_duty")])
    def test_a_signatory_signs_with_a_key_that_the_organisation_certified(
        self, scene: Governed, duty: str, code: str
    ) -> None:
        scene.draft(document())
        for by, action in ((ADA, "apply"), (SUE, "assess"), (HANNA, "consent")):
            scene.step(by, action)
        invitation, secret = certificates.invite(
            ADA.key, organisation="college", person="amy", duties=[duty], now=scene.now
        )
        amy = Account("amy", "college")
        given = scene.signature(amy, "falls")
        given.certificate.CopyFrom(certificates.accept(invitation, secret, amy.caller.key))
        step = AgreementStep(agreement="falls", action="sign", signature=given)
        if not code:
            assert scene.move(amy, step).waits_for == "the signature of hospital"
            return
        with pytest.raises(Problem) as caught:
            scene.move(amy, step)
        assert caught.value.code == code

    def test_whatever_is_sent_as_a_signature_is_refused_in_words(self, scene: Governed) -> None:
        scene.draft(document())
        for by, action in ((ADA, "apply"), (SUE, "assess"), (HANNA, "consent")):
            scene.step(by, action)
        random = Random(7)
        good = scene.signature(ADA, "falls")
        invitation, secret = certificates.invite(
            ADA.key, organisation="college", person="ada", duties=["signatory"], now=scene.now
        )
        good.certificate.CopyFrom(certificates.accept(invitation, secret, Account("amy", "college").caller.key))
        for _ in range(60):
            given = AgreementSignature()
            given.CopyFrom(good)
            _spoil(random, given)
            with pytest.raises(Problem):
                scene.move(ADA, AgreementStep(agreement="falls", action="sign", signature=given))
        assert state_of(scene) == "consented"

    def test_another_developer_s_agreement_does_not_exist(self, scene: Governed) -> None:
        scene.draft(document())
        for action in ("apply", "sign", "withdraw", "terminate"):
            with pytest.raises(Problem) as caught:
                scene.move(EVE, AgreementStep(agreement="falls", action=action))
            assert caught.value.code == "unknown_agreement"

    @pytest.mark.parametrize("action", ["draft", "supersede", "expire", ""])
    def test_nobody_asks_for_a_step_that_is_none(self, scene: Governed, action: str) -> None:
        scene.draft(document())
        with pytest.raises(Problem) as caught:
            scene.move(ADA, AgreementStep(agreement="falls", action=action))
        assert (caught.value.kind, caught.value.field) == (Kind.MALFORMED, "action")


class TestSubmit:
    @pytest.mark.requirement("AGR-02")
    def test_without_an_agreement_nothing_is_asked_and_the_steps_are_told(self, scene: Governed) -> None:
        problem = refused(scene)
        assert problem.code == "agreement_needed"
        assert all(step in str(problem.hint) for step in ("draft", "apply", "assess", "consent", "sign"))

    def test_under_one_that_is_active_it_runs(self, scene: Governed) -> None:
        scene.agree(document())
        assert (scene.ask().state, scene.ask("m").agreement) == (states.QUEUED, "falls")

    @pytest.mark.requirement("AGR-06", "GRD-07")
    @pytest.mark.parametrize(
        ("sql", "outside"),
        [
            ("SELECT SUM(pain) AS {name} FROM visits", ["visits.pain"]),
            ("SELECT COUNT(*) AS {name} FROM visits WHERE pain > 3", ["visits.pain"]),
            ("SELECT COUNT(*) AS {name} FROM (SELECT person, pain AS p FROM visits) WHERE p > 3", ["visits.pain"]),
            ("SELECT COUNT(*) AS {name} FROM visits", []),
        ],
    )
    def test_a_column_beyond_it_is_refused_wherever_it_is_read(
        self, scene: Governed, sql: str, outside: list[str]
    ) -> None:
        scene.register(_with_ward())
        scene.agree(document(columns=["visits.ward"]))
        if not outside:
            assert scene.ask(sql=sql).state == states.QUEUED
            return
        problem = refused(scene, sql=sql)
        assert (problem.code, problem.details["clause"]) == ("agreement_other_column", "columns")
        assert all(name in problem.message for name in outside)

    @pytest.mark.requirement("APP-02", "SEC-05")
    def test_the_purpose_that_is_signed_is_the_agreement_s(self, scene: Governed) -> None:
        scene.agree(document())
        assert scene.ask("n", purpose="risk of falls").state == states.QUEUED
        for other in ("risk of fall", "Risk of falls", "risk of falls and more"):
            problem = refused(scene, "m", purpose=other)
            assert (problem.code, problem.details["clause"]) == ("agreement_other_purpose", "purpose")

    @pytest.mark.requirement("SEC-07")
    def test_a_day_has_so_many_uses_and_the_next_one_as_many_again(self, scene: Governed) -> None:
        scene.agree(document(max_uses_a_day=2))
        scene.ask("a")
        scene.ask("b")
        problem = refused(scene, "c")
        assert (problem.kind, problem.code) == (Kind.BUDGET, "agreement_used_up_today")
        assert problem.details["clause"] == "max_uses_a_day"
        scene.now = 86_400.0
        assert scene.ask("c").state == states.QUEUED

    @pytest.mark.parametrize(("by", "step"), [(SUE, "suspend"), (HANNA, "suspend"), (CORA, "terminate")])
    def test_a_release_is_not_replayed_under_an_agreement_that_was_stopped(
        self, scene: Governed, by: Account, step: str
    ) -> None:
        scene.agree(document())
        _succeed(scene, scene.ask("n"))
        assert scene.ask("n", by=ADA).replayed is False  # the very request: its job
        scene.step(by, step)
        assert refused(scene, "n", epsilon=0.1).details["clause"] == "state"


class TestLater:
    @pytest.fixture
    def waiting(self, scene: Governed) -> Job:
        scene.register(_with_ward(grade=3))
        scene.agree(document(max_uses=1))
        job = scene.ask()
        assert job.state == states.WAITING
        return job

    @pytest.mark.requirement("AGR-05")
    @pytest.mark.parametrize(("by", "step", "code"), [
        (SUE, "suspend", "agreement_suspended"),
        (HANNA, "terminate", "agreement_terminated"),
    ])  # fmt: skip
    def test_what_waits_is_not_approved_after_a_stop(
        self, scene: Governed, waiting: Job, by: Account, step: str, code: str
    ) -> None:
        scene.step(by, step)
        job = scene.approve(HANNA, waiting)
        assert (job.state, job.failure.code, scene.spent()) == (states.REFUSED, code, {})
        assert "clause: state" in job.failure.message

    @pytest.mark.requirement("AGR-05")
    def test_what_was_queued_does_not_begin_after_a_stop_and_costs_nothing(
        self, scene: Governed, tmp_path: Path
    ) -> None:
        scene.agree(document(max_uses=1))
        queued = scene.ask()
        scene.step(SUE, "suspend")
        assert _run(scene, queued, tmp_path).message.failure.code == "agreement_suspended"
        assert (scene.spent(), scene.show().budget.uses) == ({}, 0)
        scene.step(SUE, "resume")
        assert _run(scene, scene.ask("m"), tmp_path).state == states.SUCCEEDED

    @pytest.mark.requirement("AGR-02")
    def test_the_first_job_begins_while_the_signatories_certificates_count(
        self, scene: Governed, tmp_path: Path
    ) -> None:
        """Later every enclave would refuse it, after it was charged; those that have seen the terms refuse no other."""
        for name in ("early", "late"):
            _agreed_by_somebody_until(scene, name, end=2_000)
        assert _run(scene, scene.ask("a", agreement="early"), tmp_path).state == states.SUCCEEDED
        queued = scene.ask("b", agreement="late")
        scene.now = 2_000.0
        assert _run(scene, scene.ask("c", agreement="early"), tmp_path).state == states.SUCCEEDED
        failure = _run(scene, queued, tmp_path).message.failure
        assert failure.code == "signatory_expired"
        assert "The certificate of amy of college, who signed agreement late" in failure.message
        assert "supersedes: late" in failure.hint
        assert "agreement late" not in scene.spent()
        assert scene.show("late").budget.uses == 0

    def test_a_job_begins_while_what_its_developer_signed_counts(self, scene: Governed, tmp_path: Path) -> None:
        """A gateway that was down for long: every enclave would refuse it, after it was charged."""
        scene.agree(document(max_uses=2))
        early, late = (scene.ask(name, expires=Timestamp(seconds=2_000)) for name in "ab")  # type: ignore[arg-type]
        scene.now = 2_000.0
        assert _run(scene, early, tmp_path).state == states.SUCCEEDED
        spent = scene.spent()
        scene.now = 2_001.0
        assert _run(scene, late, tmp_path).message.failure.code == "expired"
        assert (sum(scene.spent().values()), scene.show().budget.uses) == (sum(spent.values()) // 2, 1)

    @pytest.mark.requirement("GRD-08")
    def test_what_was_queued_does_not_begin_once_a_newer_version_closes_it_and_costs_nothing(
        self, scene: Governed, tmp_path: Path
    ) -> None:
        """Every enclave would refuse it, after it was charged."""
        scene.register(_version(DATASET.declaration, 1))
        scene.agree(document())
        queued, same = scene.ask("a"), scene.ask("b")
        scene.register(_version(DATASET.declaration, 2))
        assert _run(scene, same, tmp_path).state == states.SUCCEEDED
        both = scene.spent()
        closed = DatasetDeclaration()
        closed.CopyFrom(DATASET.declaration)
        closed.forms.append(SERVICE_FORM_DATA)
        scene.register(_version(closed, 3))
        failure = _run(scene, queued, tmp_path).message.failure
        assert failure.code == "plan_changed"
        assert "visits was added anew while the job waited" in failure.message
        assert sum(scene.spent().values()) == sum(both.values()) // 2

    def test_no_job_of_before_begins_without_an_agreement(self, scene: Governed, tmp_path: Path) -> None:
        """A zone that was upgraded while a job waited."""
        scene.admission._governed = False
        queued = scene.ask()
        assert queued.agreement == ""
        assert _run(scene, queued, tmp_path).message.failure.code == "agreement_needed"
        assert scene.spent() == {}

    @pytest.mark.requirement("AGR-05")
    @pytest.mark.parametrize(("by", "step"), [(SUE, "suspend"), (HANNA, "terminate")])
    def test_a_result_is_not_picked_up_after_a_stop(self, scene: Governed, by: Account, step: str) -> None:
        scene.agree(document())
        job = scene.ask()
        _succeed(scene, job)
        assert all(each.receipt.body == b"released" for each in _picked_up(scene, job))
        scene.step(by, step)
        for each in _picked_up(scene, job):
            assert not each.HasField("receipt")
            assert each.failure.code.startswith("agreement_")
            assert b"released" not in each.SerializeToString()
        if step == "suspend":
            scene.step(by, "resume")
            assert all(each.HasField("receipt") for each in _picked_up(scene, job))

    def test_a_first_stage_of_an_agreement_that_was_stopped_leads_to_no_second(self, scene: Governed) -> None:
        """Its release would be read off the second stage's plan, under another agreement."""
        scene.agree(document("more"))
        scene.agree(document())
        query = Query(dataset="visits", sql="SELECT COUNT(*) FROM visits", epsilon=0.1, agreement="more")
        job = asyncio.run(scene.asking("n", "SELECT COUNT(*) AS n FROM visits", agreement="falls"))
        _succeed(scene, job)
        query.first_stage, query.auto_bounds = job.job, True
        scene.step(HANNA, "terminate")
        with pytest.raises(Problem) as caught:
            asyncio.run(scene.admission.preview(ADA.caller, query))
        assert caught.value.code == "agreement_terminated"

    def test_what_was_released_in_its_term_stays_the_developer_s(self, scene: Governed) -> None:
        scene.agree(document())
        job = scene.ask()
        _succeed(scene, job)
        scene.now = float(EXPIRES)
        assert state_of(scene) == "expired"
        assert all(each.HasField("receipt") for each in _picked_up(scene, job))


class TestSupplements:
    def test_it_replaces_its_predecessor_at_once_and_what_was_spent_stays_spent(
        self, scene: Governed, tmp_path: Path
    ) -> None:
        scene.agree(document(max_uses=5, max_uses_a_day=3))
        _run(scene, scene.ask("a"), tmp_path)
        queued = scene.ask("b")
        spent = scene.record(queued).message
        scene.agree(document("more", supersedes="falls", max_uses=4, max_uses_a_day=3))
        assert (state_of(scene), state_of(scene, "more")) == ("superseded", "active")
        assert scene.show().events[-1].reason == "agreement more is in its place"
        budget = scene.show("more").budget
        # What had begun counts; what had not never will.
        assert (budget.uses, budget.spent_rho_units) == (1, scene.show().budget.spent_rho_units // 2)
        assert _run(scene, queued, tmp_path).message.failure.code == "agreement_superseded"
        assert scene.show().budget.uses == 1
        assert spent.agreement == "falls"
        assert scene.ask("c").agreement == "more"
        assert scene.show("more").budget.uses == 2
        # Of the day, all that was asked for counts.
        assert refused(scene, "d").code == "agreement_used_up_today"

    @pytest.mark.requirement("AGR-05")
    @pytest.mark.parametrize(("by", "step"), [(SUE, "suspend"), (HANNA, "terminate")])
    def test_its_end_is_that_of_what_it_came_in_the_place_of(self, scene: Governed, by: Account, step: str) -> None:
        """A job that had begun goes on under a supplement, and its result is handed out, while that is in force."""
        scene.agree(document())
        job = scene.ask()
        _succeed(scene, job)
        scene.agree(document("more", supersedes="falls", starts=Timestamp(seconds=STARTS + 10_000)))
        scene.agree(document("most", supersedes="more"))
        goes_on = functools.partial(scene.database.run, agreements.check_goes_on, "falls", scene.now)
        asyncio.run(goes_on())
        assert all(each.HasField("receipt") for each in _picked_up(scene, job))
        scene.step(by, step, "most")
        with pytest.raises(Problem, match="Agreement most is"):
            asyncio.run(goes_on())
        for each in _picked_up(scene, job):
            assert not each.HasField("receipt")
            assert each.failure.code in ("agreement_suspended", "agreement_terminated")

    @pytest.mark.requirement("AGR-05")
    def test_a_draft_has_come_in_nobody_s_place(self, scene: Governed) -> None:
        """To stop it stops nothing of what is in force."""
        scene.agree(document())
        scene.draft(document("more", supersedes="falls"))
        assert list(scene.show("more").predecessors) == []
        scene.agree(document("most", supersedes="falls"))
        scene.agree(document("last", supersedes="most"))
        assert list(scene.show("more").predecessors) == []
        assert list(scene.show("last").predecessors) == ["most", "falls"]

    def test_of_two_supplements_the_first_that_is_signed_by_both_is_it(self, scene: Governed) -> None:
        scene.agree(document())
        scene.draft(document("late", supersedes="falls"))
        for by, action in ((ADA, "apply"), (SUE, "assess"), (HANNA, "consent"), (ADA, "sign")):
            scene.step(by, action, "late")
        scene.agree(document("more", supersedes="falls"))
        with pytest.raises(Problem) as caught:
            scene.step(HANNA, "sign", "late")
        assert caught.value.code == "supplement_of_none"
        assert (state_of(scene, "late"), state_of(scene, "more")) == ("consented", "active")
        # Nothing of the step is left: neither the signature nor an event.
        assert not scene.show("late").signed.HasField("provider")

    def test_a_smaller_one_has_nothing_left_and_no_less(self, scene: Governed, tmp_path: Path) -> None:
        scene.agree(document(max_uses=5))
        for name in ("a", "b"):
            _run(scene, scene.ask(name), tmp_path)
        scene.agree(document("less", supersedes="falls", max_uses=1, budget_epsilon=0.01))
        budget = scene.show("less").budget
        assert (budget.uses, budget.spent_rho_units) == (1, budget.limit_rho_units)
        assert refused(scene, "c").code in ("agreement_used_up", "budget_exceeded")


@pytest.mark.requirement("SEC-07")
def test_of_200_simultaneous_jobs_on_a_count_of_one_exactly_one_runs(scene: Governed, tmp_path: Path) -> None:
    """Asked for and begun: the use, the charge and the start are of one transaction each, on a real file."""
    scene.agree(document(max_uses=1))
    runner = Prompt(
        scene.database, scene.nodes, Feed(), Vectors(tmp_path / "v"), wall_clock=lambda: scene.now, governed=True
    )

    async def all_at_once() -> list[Job | BaseException]:
        ended = await asyncio.gather(
            *(scene.asking(f"n{number}", "SELECT COUNT(*) FROM visits", epsilon=0.001) for number in range(200)),
            return_exceptions=True,
        )
        queued = [one.job for one in ended if isinstance(one, Job)]
        found = [await scene.database.run(records.get, job) for job in queued]
        await asyncio.gather(*(runner._run(record, patience=1) for record in found))
        return list(ended)

    ended = asyncio.run(all_at_once())
    codes = [one.code for one in ended if isinstance(one, Problem)]
    assert codes == ["agreement_used_up"] * 199
    assert len(runner.computed) == 1
    assert scene.show().budget.uses == 1


def _spoil(random: Random, given: AgreementSignature) -> None:
    """Other bytes somewhere in a signature or its certificate, which is another person's to begin with."""
    place = random.randrange(6)
    noise = random.choice([b"", random.randbytes(3), random.randbytes(32), random.randbytes(64)])
    if place == 0:
        given.signature = noise
    elif place == 1:
        given.key = noise
    elif place == 2:
        given.certificate.body = noise
    elif place == 3:
        given.certificate.signature = noise
    elif place == 4:
        given.certificate.invitation.body = noise
    else:
        given.certificate.invitation.signature = noise


def _with_ward(grade: int = 1) -> RegisteredDataset:
    """The dataset with one more column, and of this grade."""
    declaration = DatasetDeclaration()
    declaration.CopyFrom(DATASET.declaration)
    declaration.grade = grade
    ward = declaration.tables[0].columns.add()
    ward.CopyFrom(next(column for column in declaration.tables[0].columns if column.name == "pain"))
    ward.name = "ward"
    return replace(DATASET, declaration=declaration)


def _agreed_by_somebody_until(scene: Governed, name: str, *, end: float) -> None:
    """An agreement that the college signs by a person whose certificate ends then."""
    scene.draft(document(name, budget_epsilon=0.4))
    for by, action in ((ADA, "apply"), (SUE, "assess"), (HANNA, "consent"), (HANNA, "sign")):
        scene.step(by, action, name)
    amy = Account("amy", "college")
    invitation, secret = certificates.invite(
        ADA.key, organisation="college", person="amy", duties=["signatory"], now=scene.now, certificate_expires=end
    )
    given = scene.signature(amy, name)
    given.certificate.CopyFrom(certificates.accept(invitation, secret, amy.caller.key))
    scene.move(amy, AgreementStep(agreement=name, action="sign", signature=given))


def _version(declaration: DatasetDeclaration, number: int) -> RegisteredDataset:
    """A version as providers register it: jobs keep what they were asked of."""
    registration = RegisterDatasetRequest.FromString(DATASET.registration)
    registration.declaration = declaration.SerializeToString(deterministic=True)
    return RegisteredDataset(declaration, bytes([number]) * 32, registration.SerializeToString(deterministic=True))


def _run(scene: Governed, job: Job, folder: Path) -> JobRecord:
    """Let a queued job begin, on nodes that are there and answer at once."""
    runner = Prompt(
        scene.database, scene.nodes, Feed(), Vectors(folder / "vectors"), wall_clock=lambda: scene.now, governed=True
    )
    asyncio.run(runner._run(scene.record(job), patience=1))
    return scene.record(job)


def _succeed(scene: Governed, job: Job) -> None:
    asyncio.run(scene.database.run(_release, job.job))


def _release(connection: Connection, job: str) -> None:
    ledger.spend(connection, job)
    records.move(connection, job, states.RUNNING)
    records.store_release(connection, records.get(connection, job), Receipt(body=b"released"))
    records.move(connection, job, states.SUCCEEDED)


def _picked_up(scene: Governed, job: Job) -> list[Job]:
    """As a job is shown by itself, and on a page of them."""
    one = asyncio.run(scene.database.run(_shown, job.job))
    (page,), _ = asyncio.run(scene.database.run(_page, "ada", 10, None))
    return [one, page]


def _shown(connection: Connection, job: str) -> Job:
    return shown.describe(connection, records.get(connection, job))
