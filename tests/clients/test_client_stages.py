"""Questions in two stages, from the SDK: the real planner behind a gateway that is made up."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import client_scene as scene  # type: ignore[import-not-found]
import pytest
from client_gateway import FakeGateway, serving  # type: ignore[import-not-found]
from google.protobuf import text_format
from rich.console import Console
from yingbi import query as queries
from yingbi.api import digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2, receipt_pb2
from yingbi.api.v1.dataset_pb2 import Budget, DatasetDeclaration
from yingbi.api.v1.plan_pb2 import KeyValues, Plan, Value
from yingbi.cli import render
from yingbi.cli.main import main
from yingbi.jobs import Answer, Job
from yingbi.profile import Profile
from yingbi.query import Query
from yingbi.receipt import Receipt

from enclave_sim.plan.sensitivity import cells, total_rho_units
from gateway.planning.query import plan_question
from gateway.planning.stages import FirstStage, stage_notes

DECLARATION = """
dataset: "clinic" zone: "medical" title { key: "en" value: "Clinic" } grade: 2 source: "made up"
privacy_unit: "id" max_units: 30000 units_disjoint: true budget_epsilon: 10 budget_delta: 1e-7
tables {
  name: "visits" max_rows_per_unit: 12
  columns { name: "id" type: COLUMN_TYPE_INT64 role: ROLE_UNIT }
  columns { name: "city" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE }
  columns {
    name: "sex" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE values { string_value: "f" } values { string_value: "m" }
  }
}
"""
SQL = "SELECT city, sex, COUNT(*) AS n FROM visits GROUP BY city, sex"
ALL = zcdp.rho_units_for(1.0, 1e-7, zcdp.kept_delta0_units(1e-7))


class MadeUpGateway:
    """Plans as the gateway does, and answers with what `cities` says each enclave selected. Attributes misbehave."""

    def __init__(self) -> None:
        self.zone = scene.scene()
        self.profile = Profile("localhost:1", "token", self.zone.ca.pem, measurement=scene.MEASUREMENT.hex())
        self.declaration = text_format.Parse(DECLARATION, DatasetDeclaration())
        self.version = b"v" * 32
        self.cities: Sequence[Sequence[str]] = (["Rome", "Oslo"], ["Rome"], ["Bern"])
        self.jobs: dict[str, job_pb2.Job] = {}
        self.requests: list[job_pb2.SubmitQueryRequest] = []
        self.state = job_pb2.JOB_STATE_QUEUED
        self.reads = self.listings = 0
        self.finishes_after = 1
        self.lie: Callable[[Plan, Plan | None], None] = lambda plan, outlook: None
        self.damage: Callable[[receipt_pb2.Receipt], None] = lambda receipt: None

    def preview_query(self, query: job_pb2.Query) -> job_pb2.Preview:
        found = None
        if query.first_stage:
            release = receipt_pb2.ReceiptBody.FromString(self.jobs[query.first_stage].receipt.body)
            found = FirstStage.of(release)
        question = plan_question(
            query.sql,
            self.declaration,
            dataset_version=self.version,
            parties=3,
            epsilon=query.epsilon,
            delta=1e-7,
            auto_bounds=query.auto_bounds,
            first_stage=found,
        )
        self.lie(question.plan, question.outlook)
        return job_pb2.Preview(
            plan=_bytes(question.plan),
            outlook=_bytes(question.outlook) if question.outlook else b"",
            notes=stage_notes(question.plan),
            budget=Budget(limit_rho_units=10 * ALL, delta=1e-7, epsilon=10),
        )

    def submit_query(self, request: job_pb2.SubmitQueryRequest) -> job_pb2.Job:
        body, key = _bytes(request.authorization), request.authorization.developer_key
        assert digests.is_signed(key, digests.AUTHORIZATION, body, request.signature)
        self.requests.append(request)
        for job in self.jobs.values():
            if job.request_id == request.authorization.request_id:
                return job
        plan = self.preview_query(request.query).plan
        assert request.authorization.plan_hash == digests.digest(digests.PLAN, plan)
        assert request.authorization.rho_units == total_rho_units(Plan.FromString(plan))
        name = f"job-{len(self.jobs) + 1}"
        self.jobs[name] = job_pb2.Job(
            job=name, state=self.state, plan=plan, sequence=1, request_id=request.authorization.request_id
        )
        return self.jobs[name]

    def get_job(self, name: str) -> job_pb2.Job:
        self.reads += 1
        if self.reads >= self.finishes_after:
            self.finish(name)
        return self.jobs[name]

    def list_jobs(self) -> Iterator[job_pb2.Job]:
        self.listings += 1
        yield from reversed(self.jobs.values())

    def watch_job(self, name: str, after: int) -> Iterator[job_pb2.Job]:
        self.finish(name)
        yield self.jobs[name]

    def finish(self, name: str) -> None:
        job = self.jobs[name]
        job.state, job.sequence = job_pb2.JOB_STATE_SUCCEEDED, 2
        job.receipt.CopyFrom(self.receipt(name, Plan.FromString(job.plan)))
        self.damage(job.receipt)

    def receipt(self, name: str, plan: Plan) -> receipt_pb2.Receipt:
        opened = [5 << plan.fraction_bits] * cells(plan)
        body = receipt_pb2.ReceiptBody.FromString(scene.receipt_of(self.zone, plan, opened, name).body)
        if plan.HasField("key_selection"):
            contributions = zip(body.manifest.contributions, self.cities, self.zone.nodes, strict=True)
            for signed, cities, node in contributions:
                part = receipt_pb2.ContributionBody.FromString(signed.body)
                part.selected_keys.extend(KeyValues(values=[Value(string_value=city)]) for city in cities)
                signed.body = _bytes(part)
                signed.signature = digests.sign(node.key, digests.CONTRIBUTION, signed.body)
        changes = scene.Changes(body={"manifest": body.manifest, "rho_units": total_rho_units(plan)})
        receipt: receipt_pb2.Receipt = scene.receipt_of(self.zone, plan, opened, name, changes)
        return receipt


@pytest.fixture
def gateway() -> MadeUpGateway:
    return MadeUpGateway()


def question(gateway: MadeUpGateway, sql: str = SQL, bounds: queries.Bounds = "declared") -> Query:
    return Query("clinic", sql, gateway, bounds)  # type: ignore[arg-type]


def caught(call: Callable[[], object]) -> Problem:
    with pytest.raises(Problem) as problem:
        call()
    return problem.value


def test_both_stages_are_asked_and_the_answer_has_what_was_selected(gateway: MadeUpGateway) -> None:
    answer = question(gateway).run(1.0, request_id="once")
    assert [row[:2] for row in answer.table.rows] == [
        (city, sex) for city in ("Bern", "Oslo", "Rome") for sex in ("f", "m")
    ]
    assert [each.authorization.request_id for each in gateway.requests] == ["once/keys", "once"]
    assert gateway.requests[1].query.first_stage == "job-1"
    assert answer.job.id == "job-2"


def test_the_answer_states_the_price_and_the_receipts_of_both(gateway: MadeUpGateway) -> None:
    document: dict[str, Any] = question(gateway).run(1.0).to_json()
    json.dumps(document, allow_nan=False)
    (first,) = document["stages"]
    assert first["job"] == "job-1"
    assert first["rho"] == pytest.approx(0.25 * ALL / zcdp.RHO_UNITS, rel=1e-3)
    assert document["rho"] == pytest.approx(ALL / zcdp.RHO_UNITS, rel=1e-3)
    assert first["receipt"] != document["receipt"]


def test_an_answer_of_one_stage_names_no_others(gateway: MadeUpGateway) -> None:
    assert "stages" not in question(gateway, "SELECT COUNT(*) FROM visits").run(1.0).to_json()


def test_a_preview_shows_the_columns_to_come_and_the_price_of_both(gateway: MadeUpGateway) -> None:
    preview = question(gateway).preview(1.0)
    document: dict[str, Any] = preview.to_json()
    assert [column["name"] for column in document["columns"]] == ["city", "sex", "n"]
    assert document["groups"] is None  # and not two rows whose city is NULL
    assert document["std_errors"][0][:2] == [None, None]
    assert document["std_errors"][0][2] > 0
    assert document["rho"] == pytest.approx(ALL / zcdp.RHO_UNITS, rel=1e-3)
    assert any("city" in note and "% of the price" in note for note in document["notes"])
    assert "–" in repr(preview)
    assert not gateway.jobs


def test_distinct_values_that_nobody_declared_are_counted_among_those_selected(gateway: MadeUpGateway) -> None:
    asked = question(gateway, "SELECT sex, COUNT(DISTINCT city) AS n FROM visits GROUP BY sex")
    assert "n: ± depends on the data" in repr(asked.preview(1.0))
    # The values make no rows: those that do are declared.
    assert asked.preview(1.0).to_json()["groups"] == [["f"], ["m"]]
    answer = asked.run(1.0)
    plan = Plan.FromString(gateway.jobs["job-2"].plan)
    assert [value.string_value for value in plan.group_by[1].values] == ["Bern", "Oslo", "Rome"]
    # 5 units have each, which is less than noise can tell from none.
    assert answer.table.rows == (("f", 0.0), ("m", 0.0))


def test_automatic_bounds_are_a_first_stage_too(gateway: MadeUpGateway) -> None:
    sql = "SELECT sex, COUNT(*) AS n FROM visits GROUP BY sex"
    answer = question(gateway, sql, "auto").run(1.0)
    assert [row[0] for row in answer.table.rows] == ["f", "m"]
    assert gateway.requests[0].query.auto_bounds
    assert len(answer.stages) == 1


def test_bounds_are_declared_or_auto(gateway: MadeUpGateway) -> None:
    problem = caught(lambda: question(gateway, bounds="best"))  # type: ignore[arg-type]
    assert (problem.kind, problem.code) == (Kind.MALFORMED, "bounds")


def test_asking_again_with_the_same_id_is_the_same_jobs(gateway: MadeUpGateway) -> None:
    first, second = (question(gateway).run(1.0, request_id="once") for _ in range(2))
    assert first.job.id == second.job.id
    assert len(gateway.jobs) == 2


def test_progress_of_the_first_stage_is_told(gateway: MadeUpGateway) -> None:
    heard: list[tuple[str, str]] = []
    question(gateway).run(1.0, progress=lambda job: heard.append((job.id, job.words)))
    assert heard == [
        ("job-1", "first of two stages: queued"),
        ("job-1", "first of two stages: succeeded"),
        ("job-2", "second of two stages: queued"),
        ("job-2", "second of two stages: succeeded"),
    ]


def test_progress_of_a_question_of_one_stage_names_none(gateway: MadeUpGateway) -> None:
    heard: list[str] = []
    question(gateway, "SELECT COUNT(*) FROM visits").run(1.0, progress=lambda job: heard.append(job.words))
    assert heard == ["queued", "succeeded"]


def fetched(gateway: MadeUpGateway, name: str) -> Job:
    """The job as another process finds it."""
    return Job(gateway.get_job(name), gateway)  # type: ignore[arg-type]


def test_an_answer_that_is_fetched_later_shows_both_stages_too(gateway: MadeUpGateway) -> None:
    answer = question(gateway).run(1.0)
    assert fetched(gateway, "job-2").answer().to_json() == answer.to_json()


def test_no_first_stage_is_looked_for_where_the_whole_price_was_charged(gateway: MadeUpGateway) -> None:
    question(gateway, "SELECT COUNT(*) FROM visits").run(1.0)
    assert fetched(gateway, "job-1").answer().stages == ()
    assert gateway.listings == 0


def test_a_first_stage_of_another_question_or_developer_is_not_shown(gateway: MadeUpGateway) -> None:
    question(gateway).run(1.0)
    first, second = gateway.jobs["job-1"], gateway.jobs["job-2"]
    first.developer = "eve"
    assert fetched(gateway, "job-2").answer().stages == ()
    first.developer = ""
    assert len(fetched(gateway, "job-2").answer().stages) == 1
    gateway.cities = (["Rome"], ["Rome"], ["Rome"])
    gateway.finish("job-1")
    assert second.state == job_pb2.JOB_STATE_SUCCEEDED
    assert Job(second, gateway).answer().stages == ()  # type: ignore[arg-type]


def test_without_waiting_a_short_first_stage_is_gone_through(gateway: MadeUpGateway) -> None:
    assert question(gateway).submit(1.0, wait=False).id == "job-2"


def test_without_waiting_a_long_first_stage_is_named(gateway: MadeUpGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_MOMENT_SECONDS", 0.0)
    problem = caught(lambda: question(gateway).submit(1.0, request_id="mine", wait=False))
    assert (problem.kind, problem.code) == (Kind.UNAVAILABLE, "first_stage_running")
    assert problem.details == {"job": "job-1", "state": "queued", "request_id": "mine"}
    gateway.finish("job-1")
    assert question(gateway).submit(1.0, request_id="mine", wait=False).id == "job-2"


def test_without_waiting_nobody_waits_for_an_operator(gateway: MadeUpGateway) -> None:
    gateway.state = job_pb2.JOB_STATE_WAITING_FOR_APPROVAL
    problem = caught(lambda: question(gateway).run(1.0, wait=False))
    assert problem.code == "first_stage_running"
    assert gateway.reads == 0


def test_a_first_stage_that_was_refused_ends_the_question(gateway: MadeUpGateway) -> None:
    gateway.state = job_pb2.JOB_STATE_REFUSED
    problem = caught(lambda: question(gateway).run(1.0))
    assert (problem.kind, problem.code) == (Kind.REFUSED, "refused")
    assert len(gateway.jobs) == 1


def test_a_first_stage_has_no_answer_and_says_how_to_get_one(
    gateway: MadeUpGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_MOMENT_SECONDS", 0.0)
    assert caught(lambda: question(gateway).submit(1.0, request_id="mine", wait=False)).code == "first_stage_running"
    problem = caught(fetched(gateway, "job-1").answer)
    assert problem.code == "first_stage"
    assert "--request-id mine" in (problem.hint or "")
    assert "/keys" not in (problem.hint or "")


def test_a_first_stage_names_the_second_where_it_was_asked(gateway: MadeUpGateway) -> None:
    answer = question(gateway).run(1.0, request_id="mine")
    problem = caught(answer.stages[0].answer)
    assert (problem.code, problem.hint) == ("first_stage", "yingbi result job-2")
    assert problem.details == {"job": "job-1", "second_stage": "job-2"}


def test_people_are_shown_the_jobs_of_both_stages(gateway: MadeUpGateway) -> None:
    answer = question(gateway).run(1.0)
    for each in (answer, fetched(gateway, "job-2").answer()):
        assert shown(each).endswith("jobs job-1 (first stage), job-2 (second stage)\n")
    assert shown(question(gateway, "SELECT COUNT(*) FROM visits").run(1.0)).endswith("\njob job-3\n")


def shown(answer: Answer) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(render.answer(answer))
    return cast(io.StringIO, console.file).getvalue()


def test_its_receipt_verifies_and_says_what_was_selected(gateway: MadeUpGateway) -> None:
    receipt = question(gateway).run(1.0).stages[0].receipt
    assert "3 keys selected" in "\n".join(str(check) for check in receipt.verify())


class TestWhatIsNotBelieved:
    """What a gateway could say in order to have other keys, or more of the budget, than the enclaves signed."""

    def test_a_first_stage_whose_receipt_does_not_verify(self, gateway: MadeUpGateway) -> None:
        gateway.damage = lambda receipt: receipt.ClearField("signatures")
        assert caught(lambda: question(gateway).run(1.0)).code == "receipt_signatures"
        assert len(gateway.jobs) == 1

    @pytest.mark.parametrize("values", [["Rome"], ["Bern", "Oslo", "Paris", "Rome"], ["Bern", "Oslo", "Paris"]])
    def test_keys_that_were_not_selected(self, gateway: MadeUpGateway, values: list[str]) -> None:
        def lie(plan: Plan, outlook: Plan | None) -> None:
            if not outlook:
                plan.group_by[0].ClearField("values")
                plan.group_by[0].values.extend(Value(string_value=value) for value in values)

        gateway.lie = lie
        problem = caught(lambda: question(gateway).run(1.0))
        assert (problem.kind, problem.code) == (Kind.BAD_EVIDENCE, "stages_differ")
        assert len(gateway.jobs) == 1

    def test_other_rows_than_the_keys_were_selected_from(self, gateway: MadeUpGateway) -> None:
        def lie(plan: Plan, outlook: Plan | None) -> None:
            if not outlook:
                plan.relation.scan.table = "other"

        gateway.lie = lie
        assert caught(lambda: question(gateway).run(1.0)).code == "stages_differ"

    def test_a_second_stage_at_the_whole_price(self, gateway: MadeUpGateway) -> None:
        def lie(plan: Plan, outlook: Plan | None) -> None:
            if not outlook:
                plan.statistics[0].rho_units = ALL

        gateway.lie = lie
        problem = caught(lambda: question(gateway).run(1.0))
        assert problem.code == "plan_differs"
        assert len(gateway.jobs) == 1

    def test_an_outlook_that_costs_more_than_was_offered(self, gateway: MadeUpGateway) -> None:
        def lie(plan: Plan, outlook: Plan | None) -> None:
            if outlook:
                outlook.statistics[0].rho_units = ALL

        gateway.lie = lie
        assert caught(lambda: question(gateway).preview(1.0)).code == "plan_differs"

    def test_a_first_stage_without_an_outlook(self, gateway: MadeUpGateway) -> None:
        gateway.lie = lambda plan, outlook: outlook.Clear() if outlook else None
        assert caught(lambda: question(gateway).preview(1.0)).code == "plan_differs"

    def test_the_release_of_another_plan_under_the_same_request(self, gateway: MadeUpGateway) -> None:
        question(gateway).run(1.0, request_id="mine")
        gateway.version = b"w" * 32
        problem = caught(lambda: question(gateway).run(1.0, request_id="mine"))
        assert (problem.kind, problem.code) == (Kind.CONFLICT, "first_stage_differs")
        assert len(gateway.jobs) == 2

    @pytest.mark.parametrize(
        ("code", "change"),
        [
            ("receipt_rho", lambda body: setattr(body, "rho_units", body.rho_units - 1)),
            ("receipt_numbers", lambda body: body.opened.append(0)),
        ],
    )
    def test_a_receipt_that_does_not_add_up(
        self, gateway: MadeUpGateway, code: str, change: Callable[[receipt_pb2.ReceiptBody], object]
    ) -> None:
        first = question(gateway).run(1.0).stages[0].receipt.message
        forged = _signed_anew(gateway, first, change)
        assert caught(lambda: list(forged.verify())).code == code

    def test_a_combination_with_too_few_values(self, gateway: MadeUpGateway) -> None:
        def change(body: receipt_pb2.ReceiptBody) -> None:
            signed, node = body.manifest.contributions[0], gateway.zone.nodes[0]
            part = receipt_pb2.ContributionBody.FromString(signed.body)
            part.selected_keys.append(KeyValues())
            signed.body = _bytes(part)
            signed.signature = digests.sign(node.key, digests.CONTRIBUTION, signed.body)

        first = question(gateway).run(1.0).stages[0].receipt.message
        assert caught(lambda: list(_signed_anew(gateway, first, change).verify())).code == "receipt_numbers"


def _signed_anew(
    gateway: MadeUpGateway,
    message: receipt_pb2.Receipt,
    change: Callable[[receipt_pb2.ReceiptBody], object],
) -> Receipt:
    body = receipt_pb2.ReceiptBody.FromString(message.body)
    change(body)
    message.body = _bytes(body)
    for signature, node in zip(message.signatures, gateway.zone.nodes, strict=False):
        signature.signature = digests.sign(node.key, digests.RECEIPT, message.body)
        signature.evidence.CopyFrom(node.attest(digests.digest(digests.RECEIPT, message.body)))
    return Receipt(message, gateway.profile.trust)


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


class TestTheCommandLine:
    @pytest.fixture
    def heard(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[job_pb2.Query]]:
        """The questions that arrive at a gateway."""
        heard: list[job_pb2.Query] = []
        preview = FakeGateway.PreviewQuery

        def listening(gateway: FakeGateway, request: Any, context: Any) -> job_pb2.Preview:
            heard.append(request.query)
            found: job_pb2.Preview = preview(gateway, request, context)
            return found

        monkeypatch.setattr(FakeGateway, "PreviewQuery", listening)
        zone = scene.scene()
        with serving(zone) as (_, address):
            scene.write_profiles(tmp_path, zone, address)
            monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
            yield heard

    @pytest.mark.parametrize(("arguments", "auto"), [([], False), (["--bounds", "auto"], True)])
    def test_asks_for_automatic_bounds(self, heard: list[job_pb2.Query], arguments: list[str], auto: bool) -> None:
        assert main(["sql", "clinic", "SELECT 1", "--epsilon", "1", *arguments]) == 0
        assert [query.auto_bounds for query in heard] == [auto]

    def test_knows_no_other_bounds(self, heard: list[job_pb2.Query], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["sql", "clinic", "SELECT 1", "--epsilon", "1", "--bounds", "best", "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["code"] == "bounds"
        assert not heard
