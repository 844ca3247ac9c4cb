"""Agreements as a developer and an operator see them: named, signed, listed, and what is left under each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import client_scene as scene  # type: ignore[import-not-found]
import pytest
import yingbi
from client_gateway import FakeGateway, serving  # type: ignore[import-not-found]
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.agreements import State, signing
from yingbi.api import credentials, digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import agreement_pb2, job_pb2
from yingbi.api.v1.agreement_pb2 import Agreement, RegisteredAgreement, SignedAgreement
from yingbi.api.v1.dataset_pb2 import AgreementBudget as Message
from yingbi.api.v1.dataset_pb2 import Budget as BudgetMessage
from yingbi.budget import Budget
from yingbi.cli.main import main

from tests.clients.test_client_batch import COUNT, OTHER
from tests.clients.test_client_batch import MadeUpGateway as BatchGateway
from tests.clients.test_client_stages import MadeUpGateway as StagedGateway
from tests.clients.test_client_stages import question

SQL = "SELECT sex, COUNT(*) AS n FROM patients GROUP BY sex"
ASK = ["sql", "clinic", SQL, "--epsilon", "1"]
DELTA = 1e-7
# Another delta than the dataset's.
OWN_DELTA = 1e-9


def rho(epsilon: float, delta: float = DELTA) -> int:
    return zcdp.bought(epsilon, delta)[0]


def under(limit: float = 2.0, spent: float = 0.5, uses: int = 3, max_uses: int | None = 10) -> Message:
    return Message(
        agreement="falls",
        limit_rho_units=rho(limit, OWN_DELTA),
        spent_rho_units=rho(spent, OWN_DELTA),
        epsilon=limit,
        delta=OWN_DELTA,
        uses=uses,
        max_uses=max_uses,
        expires=Timestamp(seconds=1_800_000_000),
    )


def budget(agreement: Message) -> Budget:
    return Budget.of(BudgetMessage(limit_rho_units=rho(9.0), delta=DELTA, epsilon=9.0, agreement=agreement))


FALLS = RegisteredAgreement(
    agreement=Agreement(
        agreement="falls",
        dataset="clinic",
        organisation="college",
        purpose="risk of [falls]",
        starts=Timestamp(seconds=1_700_000_000),
        expires=Timestamp(seconds=1_800_000_000),
        budget_epsilon=2.0,
        budget_delta=OWN_DELTA,
        max_uses=10,
    ),
    budget=under(),
)


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    made_up = scene.scene()
    with serving(made_up) as (gateway, address):
        scene.write_profiles(tmp_path, made_up, address)
        monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
        gateway.agreements = [FALLS]
        monkeypatch.setattr("yingbi.agreements.time", SimpleNamespace(time=lambda: 1_750_000_000.0))
        yield gateway


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """The one document of a command."""
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_the_agreement_of_the_preview_is_signed(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.previews_under = "falls"
    shown(capsys, *ASK)
    assert [each.agreement for each in gateway.signed] == ["falls"]


def test_a_named_agreement_is_sent_and_signed(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    shown(capsys, *ASK, "--agreement", "burns")
    with yingbi.connect() as zone:
        zone.dataset("clinic").sql(SQL, agreement="falls").run(epsilon=1, progress=False)
    assert [each.agreement for each in gateway.signed] == ["burns", "falls"]


@pytest.mark.parametrize("instead", ["", "burns"])
def test_a_preview_under_another_agreement_than_the_named_one_is_not_signed(gateway: FakeGateway, instead: str) -> None:
    gateway.previews_under = instead
    with yingbi.connect() as zone, pytest.raises(Problem) as caught:
        zone.dataset("clinic").sql(SQL, agreement="falls").run(epsilon=1, progress=False)
    assert (caught.value.kind, caught.value.code) == (Kind.BAD_EVIDENCE, "plan_differs")
    assert gateway.signed == []


class TwoStages(StagedGateway):
    """Says of each preview in turn which agreement it is under."""

    def __init__(self, *under: str) -> None:
        super().__init__()
        self.under, self.named = list(under), list[str]()

    def preview_query(self, query: job_pb2.Query) -> job_pb2.Preview:
        preview = super().preview_query(query)
        self.named.append(query.agreement)
        preview.agreement = self.under[min(len(self.named), len(self.under)) - 1]
        return preview


def test_both_stages_of_a_question_are_under_one_agreement() -> None:
    gateway = TwoStages("falls")
    question(gateway).run(1.0)
    assert {each.authorization.agreement for each in gateway.requests} == {"falls"}
    assert (gateway.named[0], gateway.named[-1]) == ("", "falls")


def test_a_second_stage_under_another_agreement_is_not_asked() -> None:
    """Previewed, planned at the submission, and previewed again: the third is the second stage's."""
    gateway = TwoStages("falls", "falls", "burns")
    with pytest.raises(Problem) as caught:
        question(gateway).run(1.0)
    assert caught.value.code == "plan_differs"
    assert [each.authorization.agreement for each in gateway.requests] == ["falls"]


class Together(BatchGateway):
    """Says that every batch is under `falls`."""

    def preview_batch(self, asked: job_pb2.BatchQuery) -> job_pb2.BatchPreview:
        preview = super().preview_batch(asked)
        preview.agreement = "falls"
        return preview


@pytest.mark.parametrize("named", ["", "falls", "burns"])
def test_every_plan_of_a_batch_is_signed_for_its_agreement(named: str) -> None:
    gateway = Together()
    queries = [yingbi.Query("clinic", sql, gateway, agreement=named) for sql in (COUNT, OTHER)]  # type: ignore[arg-type]
    batch = yingbi.Batch(tuple(queries), gateway)  # type: ignore[arg-type]
    if named == "burns":
        with pytest.raises(Problem, match="not under burns"):
            batch.submit(1.0)
        assert gateway.requests == []
        return
    batch.submit(1.0)
    (request,) = gateway.requests
    assert request.batch.agreement == named
    assert [plan.authorization.agreement for plan in request.plans] == ["falls", "falls"]


def test_questions_of_a_batch_are_under_one_agreement(gateway: FakeGateway) -> None:
    with yingbi.connect() as zone:
        visits = zone.dataset("clinic")
        with pytest.raises(Problem, match="several agreements"):
            zone.batch([visits.sql(SQL, agreement="falls"), visits.sql(SQL)])


def test_agreements_are_listed_and_shown(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    document = {
        "agreement": "falls",
        "dataset": "clinic",
        "organisation": "college",
        "purpose": "risk of [falls]",
        "jobs": None,
        "state": "in force",
        "starts": "2023-11-14T22:13:20+00:00",
        "expires": "2027-01-15T08:00:00+00:00",
        "budget": {
            "agreement": "falls",
            "epsilon": 2.0,
            "spent_epsilon": pytest.approx(0.5),
            "remaining_epsilon": zcdp.asked_epsilon(rho(2.0, OWN_DELTA) - rho(0.5, OWN_DELTA), OWN_DELTA),
            "delta": OWN_DELTA,
            "uses": 3,
            "max_uses": 10,
            "expires": "2027-01-15T08:00:00+00:00",
        },
    }
    assert shown(capsys, "agreement", "show", "falls") == document
    assert shown(capsys, "agreement", "list") == {"agreements": [document]}
    assert main(["agreement", "show", "falls"]) == 0
    text = capsys.readouterr().out
    assert "risk of [falls]" in text
    assert "until 2027-01-15 08:00 UTC" in text
    assert "7 of 10 uses left" in text
    assert main(["agreement", "list"]) == 0
    assert "falls" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("now", "spent", "state"),
    [
        (1_699_999_999, under(), State.NOT_YET),
        (1_700_000_000, under(), State.IN_FORCE),
        (1_799_999_999, under(), State.IN_FORCE),
        (1_800_000_000, under(), State.EXPIRED),
        (1_800_000_000, under(uses=10), State.EXPIRED),
        (1_750_000_000, under(uses=10), State.USED_UP),
        (1_750_000_000, under(spent=2.0), State.USED_UP),
        (1_699_999_999, under(uses=10), State.USED_UP),
        (1_750_000_000, under(max_uses=None), State.IN_FORCE),
    ],
)
def test_an_agreement_says_whether_anything_can_be_asked_under_it(now: int, spent: Message, state: State) -> None:
    registered = RegisteredAgreement(agreement=FALLS.agreement, budget=spent)
    assert yingbi.Agreement(registered).state_at(now) is state


def test_a_list_says_of_each_how_it_stands(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    over, later, used = (RegisteredAgreement.FromString(FALLS.SerializeToString()) for _ in range(3))
    over.agreement.expires.seconds = 1_740_000_000
    later.agreement.starts.seconds = 1_760_000_000
    used.budget.uses = 10
    gateway.agreements = [FALLS, over, later, used]
    listed = shown(capsys, "agreement", "list")["agreements"]
    words = ["in force", "expired", "not yet in force", "used up"]
    assert [each["state"] for each in listed] == words
    assert main(["agreement", "list"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "falls" in line]
    assert all(word in line for word, line in zip(words, lines, strict=True))


def test_an_operator_adds_one_from_its_file(
    gateway: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "falls.yaml"
    file.write_bytes("agreement: falls # 协议\n".encode())
    assert shown(capsys, "agreement", "add", str(file))["agreement"] == "falls"
    assert gateway.documents == [("falls.yaml", file.read_bytes())]
    missing = shown(capsys, "agreement", "add", str(tmp_path / "none.yaml"), code=2)
    assert (missing["code"], missing["field"]) == ("file", "file")


def test_budget_shows_what_is_left_under_each(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = shown(capsys, "budget", "clinic")["agreements"]
    assert (one["agreement"], one["epsilon"], one["uses"]) == ("falls", 2.0, 3)
    assert main(["budget", "clinic"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("agreement falls: 0.5 of 2 spent, ")
    assert lines[1].endswith(" left, 7 of 10 uses left, until 2027-01-15 08:00 UTC")
    gateway.agreements = []
    assert "agreements" not in shown(capsys, "budget", "clinic")


def test_what_is_left_is_never_more_than_the_agreement_has() -> None:
    """It is shown at its own delta; what can be asked is told at the request's."""
    left = rho(2.0, OWN_DELTA) - rho(0.5, OWN_DELTA)
    found = budget(under())
    assert found.remaining_epsilon == zcdp.asked_epsilon(left, DELTA) < found.dataset_remaining_epsilon
    document = found.to_json()["agreement"]
    assert isinstance(document, dict)
    assert document["remaining_epsilon"] == zcdp.asked_epsilon(left, OWN_DELTA)
    assert str(found).endswith("; " + str(found.agreement))
    assert str(found.agreement).startswith("agreement falls: 0.5 of 2 spent, ")
    assert budget(under(spent=3.0)).remaining_epsilon == 0
    assert found.excess_words(left) == ""
    assert found.excess_words(left + 1).startswith("more than is left")


def test_a_preview_says_that_uses_are_used_up() -> None:
    assert budget(under(uses=9)).excess_words(1) == ""
    assert budget(under(uses=9)).excess_words(1, 2).endswith("agreement falls has 1 of the 2 uses that it takes")
    assert budget(under(uses=10)).excess_words(1).endswith("agreement falls has no use left")
    assert budget(under(max_uses=None)).excess_words(1, 99) == ""
    assert "uses" not in str(budget(under(max_uses=None)))


def test_a_list_names_organisations_where_there_are_several(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one it fits a terminal of 80 columns, with no word broken."""
    monkeypatch.setenv("COLUMNS", "80")
    other = RegisteredAgreement.FromString(FALLS.SerializeToString())
    other.agreement.organisation = "hospital"
    gateway.agreements = [FALLS]
    assert main(["agreement", "list"]) == 0
    alone = capsys.readouterr().out
    assert "college" not in alone
    assert "2027-01-15 08:00 UTC" in alone
    gateway.agreements = [FALLS, other]
    assert main(["agreement", "list"]) == 0
    both = capsys.readouterr().out
    assert "college" in both
    assert "hospital" in both


def test_the_purpose_that_is_named_is_signed(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    shown(capsys, *ASK, "--agreement", "falls", "--purpose", "risk of [falls]")
    shown(capsys, *ASK, "--agreement", "falls", "--request-id", "another")
    assert [each.purpose for each in gateway.signed] == ["risk of [falls]", ""]


def test_a_party_signs_the_very_terms_that_it_is_shown_or_nothing() -> None:
    terms = FALLS.agreement.SerializeToString(deterministic=True)
    offered = RegisteredAgreement(agreement=FALLS.agreement, signed=SignedAgreement(terms=terms))
    step = signing(offered, "token")
    key = credentials.signing_key("token").public_key().public_bytes_raw()
    assert (step.agreement, step.action, step.signature.key) == ("falls", "sign", key)
    assert digests.is_signed(key, digests.AGREEMENT, terms, step.signature.signature)
    other = Agreement()
    other.CopyFrom(FALLS.agreement)
    other.budget_epsilon = 9.0
    for hidden in (other.SerializeToString(deterministic=True), b""):
        offered.signed.terms = hidden
        with pytest.raises(Problem) as caught:
            signing(offered, "token")
        assert (caught.value.kind, caught.value.code) == (Kind.BAD_EVIDENCE, "other_terms")


def test_what_is_no_longer_or_not_yet_active_is_so_whatever_the_time_says() -> None:
    for message, said in (
        (agreement_pb2.AGREEMENT_STATE_DRAFT, State.DRAFT),
        (agreement_pb2.AGREEMENT_STATE_SUSPENDED, State.SUSPENDED),
        (agreement_pb2.AGREEMENT_STATE_ACTIVE, State.IN_FORCE),
        (agreement_pb2.AGREEMENT_STATE_UNSPECIFIED, State.IN_FORCE),
    ):
        found = RegisteredAgreement(agreement=FALLS.agreement, budget=FALLS.budget, state=message)
        assert yingbi.agreements.Agreement(found).state_at(1_750_000_000.0) is said


def test_a_release_that_is_withheld_has_a_reason_in_its_place(gateway: FakeGateway) -> None:
    with yingbi.connect() as zone:
        job = zone.dataset("clinic").sql(SQL).run(epsilon=1, progress=False).job
        message = job_pb2.Job()
        message.CopyFrom(job.message)
        message.ClearField("receipt")
        message.failure.code, message.failure.message = "agreement_suspended", "Agreement falls is suspended."
        withheld = yingbi.jobs.Job(message, job.gateway)
        for look in (withheld.answer, lambda: withheld.receipt):
            with pytest.raises(Problem) as caught:
                look()
            assert (caught.value.kind, caught.value.code) == (Kind.REFUSED, "agreement_suspended")
