"""Several questions at one price, from the SDK and the command line: the real planner behind a made-up gateway."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import client_scene as scene  # type: ignore[import-not-found]
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api import digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2, receipt_pb2
from yingbi.api.v1.dataset_pb2 import Budget, Dataset, DatasetDeclaration
from yingbi.api.v1.plan_pb2 import GroupingSet, Output, Plan
from yingbi.api.views import viewed
from yingbi.batch import Batch
from yingbi.cli.main import INTERRUPTED, main
from yingbi.cli.statements import split
from yingbi.display import answer_rows
from yingbi.jobs import Job
from yingbi.lookups import look_up_tables
from yingbi.profile import Profile
from yingbi.query import Query

from enclave_sim.plan.sensitivity import cells, total_rho_units
from gateway.jobs import batches
from gateway.planning.batch import plan_batch

DECLARATION = """
dataset: "clinic" zone: "medical" title { key: "en" value: "Clinic" } grade: 2 source: "made up"
privacy_unit: "id" max_units: 30000 units_disjoint: true budget_epsilon: 10 budget_delta: 1e-7
tables {
  name: "visits" max_rows_per_unit: 12
  columns { name: "id" type: COLUMN_TYPE_INT64 role: ROLE_UNIT }
  columns { name: "pain" type: COLUMN_TYPE_FLOAT64 role: ROLE_ATTRIBUTE lower: 0 upper: 10 }
  columns {
    name: "sex" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE values { string_value: "f" } values { string_value: "m" }
  }
}
"""
ALL = zcdp.rho_units_for(1.0, 1e-7, zcdp.kept_delta0_units(1e-7))
COUNT = "SELECT sex, COUNT(*) AS n FROM visits GROUP BY sex ORDER BY sex DESC"
MEAN = "SELECT AVG(pain) AS pain, COUNT(*) AS n, sex FROM visits GROUP BY sex LIMIT 1"
OTHER = "SELECT COUNT(*) AS n FROM visits WHERE pain > 3"


class MadeUpGateway:
    """Plans as the gateway does; every job succeeds once it is watched. Attributes misbehave."""

    address = "localhost:1"

    def __init__(self) -> None:
        self.zone = scene.scene()
        self.profile = Profile("localhost:1", "token", self.zone.ca.pem, measurement=scene.MEASUREMENT.hex())
        self.declaration = text_format.Parse(DECLARATION, DatasetDeclaration())
        self.version = b"v" * 32
        self.jobs: dict[str, job_pb2.Job] = {}
        self.requests: list[job_pb2.SubmitBatchRequest] = []
        self.changes = 0
        self.interrupts: set[str] = set()
        self.fails: set[str] = set()
        self.lie: Callable[[job_pb2.BatchPreview], None] = lambda preview: None
        self.damage: Callable[[receipt_pb2.Receipt], None] = lambda receipt: None

    def close(self) -> None:
        """Nothing is open."""

    def get_dataset(self, name: str) -> Dataset:
        return Dataset(declaration=self.declaration, version=self.version, budget=_budget())

    def preview_batch(self, asked: job_pb2.BatchQuery) -> job_pb2.BatchPreview:
        batch = plan_batch(
            asked.sql,
            self.declaration,
            dataset_version=self.version,
            parties=3,
            epsilon=asked.epsilon,
            delta=1e-7,
            lookups=asked.lookups,
        )
        preview = batches.preview_of(batch, self.declaration, budget=_budget(), state=job_pb2.JOB_STATE_PREVIEWED)
        self.lie(preview)
        return preview

    def submit_batch(self, request: job_pb2.SubmitBatchRequest) -> job_pb2.BatchJobs:
        self.requests.append(request)
        if self.changes:
            self.changes -= 1
            self.version = bytes([self.changes]) * 32
            raise Problem(Kind.CONFLICT, "plan_changed", "The dataset changed after the preview.")
        earlier = [job for job in self.jobs.values() if job.request_id.startswith(batches.request_id_of(request))]
        if earlier:
            return job_pb2.BatchJobs(jobs=earlier)
        plans = self.preview_batch(request.batch).plans
        for plan, authorized in zip(plans, request.plans, strict=True):
            authorization = authorized.authorization
            body = authorization.SerializeToString(deterministic=True)
            assert digests.is_signed(authorization.developer_key, digests.AUTHORIZATION, body, authorized.signature)
            assert authorization.plan_hash == digests.digest(digests.PLAN, plan)
            assert authorization.rho_units == total_rho_units(Plan.FromString(plan))
            name = f"job-{len(self.jobs) + 1}"
            self.jobs[name] = job_pb2.Job(
                job=name,
                state=job_pb2.JOB_STATE_QUEUED,
                plan=plan,
                sequence=1,
                request_id=authorization.request_id,
                batch=authorization.batch,
            )
        return job_pb2.BatchJobs(jobs=self.jobs.values())

    def get_job(self, name: str) -> job_pb2.Job:
        return self.jobs[name]

    def list_jobs(self) -> Iterator[job_pb2.Job]:
        yield from self.jobs.values()

    def watch_job(self, name: str, after: int) -> Iterator[job_pb2.Job]:
        if name in self.interrupts:
            raise KeyboardInterrupt
        job = self.jobs[name]
        job.state, job.sequence = job_pb2.JOB_STATE_SUCCEEDED, 2
        if name in self.fails:
            job.state = job_pb2.JOB_STATE_FAILED
            job.failure.CopyFrom(job_pb2.Failure(code="node_lost", message="Lost."))
        else:
            plan = Plan.FromString(job.plan)
            opened = [(5 + cell) << plan.fraction_bits for cell in range(cells(plan))]
            job.receipt.CopyFrom(scene.receipt_of(self.zone, plan, opened, name))
            self.damage(job.receipt)
        yield job

    def cancel_job(self, name: str) -> job_pb2.Job:
        if self.jobs[name].state == job_pb2.JOB_STATE_SUCCEEDED:
            raise Problem(Kind.REFUSED, "wrong_state", "The job has succeeded.")
        self.jobs[name].state = job_pb2.JOB_STATE_CANCELLED
        return self.jobs[name]


def _budget() -> Budget:
    return Budget(limit_rho_units=10 * ALL, delta=1e-7, epsilon=10)


@pytest.fixture
def gateway() -> MadeUpGateway:
    return MadeUpGateway()


def batch(gateway: MadeUpGateway, *queries: str) -> Batch:
    asked = tuple(Query("clinic", sql, gateway) for sql in queries)  # type: ignore[arg-type]
    return Batch(asked, gateway)  # type: ignore[arg-type]


def caught(call: Callable[[], object]) -> Problem:
    with pytest.raises(Problem) as problem:
        call()
    return problem.value


def test_answers_come_in_the_order_of_the_questions_each_in_its_own_columns(gateway: MadeUpGateway) -> None:
    counts, other, means = batch(gateway, COUNT, OTHER, MEAN).run(1.0)
    assert [counts.columns, other.columns, means.columns] == [("sex", "n"), ("n",), ("pain", "n", "sex")]
    assert [answer.job.id for answer in (counts, other, means)] == ["job-1", "job-2", "job-1"]
    assert [row[0] for row in counts.table.rows] == ["m", "f"]
    assert len(means.table.rows) == 1
    assert counts.table.rows[1][1] == means.table.rows[0][1]
    assert any("pain" in note for note in means.notes)
    assert not any("pain" in note for note in counts.notes)


def test_every_plan_is_authorized_by_itself_under_one_request_id(gateway: MadeUpGateway) -> None:
    batch(gateway, COUNT, OTHER, MEAN).run(1.0, request_id="mine")
    (request,) = gateway.requests
    assert [each.authorization.request_id for each in request.plans] == ["mine/1", "mine/2"]
    assert sum(each.authorization.rho_units for each in request.plans) == pytest.approx(ALL, rel=1e-3)
    assert list(request.batch.sql) == [COUNT, OTHER, MEAN]


def test_asking_again_with_the_same_id_is_the_same_jobs(gateway: MadeUpGateway) -> None:
    first, second = (batch(gateway, COUNT, OTHER).run(1.0, request_id="mine") for _ in range(2))
    assert [answer.table for answer in first] == [answer.table for answer in second]
    assert len(gateway.jobs) == 2


def test_a_preview_costs_nothing_and_tells_the_errors_to_come(gateway: MadeUpGateway) -> None:
    asked = batch(gateway, COUNT, MEAN, OTHER)
    preview = asked.preview(1.0)
    document: dict[str, Any] = preview.to_json()
    json.dumps(document, allow_nan=False)
    assert not gateway.jobs
    assert [question["plan"] for question in document["questions"]] == [0, 0, 1]
    assert document["rho"] == pytest.approx(ALL / zcdp.RHO_UNITS, rel=1e-3)
    assert sum(plan["rho"] for plan in document["plans"]) == pytest.approx(document["rho"])
    assert COUNT in repr(preview)
    counts = asked.run(1.0)[0]
    assert sorted(error for row in counts.table.std_errors for error in row if error) == pytest.approx(
        [error for row in document["questions"][0]["std_errors"] for error in row if error]
    )


HISTOGRAM = "SELECT HISTOGRAM(pain, 4) FROM visits"


@pytest.mark.parametrize(
    ("sql", "groups"),
    [
        (MEAN, [["f"], ["m"]]),
        ("SELECT COUNT(*) AS n FROM visits GROUP BY sex", [[], []]),
        ("SELECT sex, COUNT(*) AS n FROM visits GROUP BY ROLLUP(sex)", [["f"], ["m"], [None]]),
    ],
)
def test_groups_of_a_preview_are_the_key_columns_that_are_shown(
    gateway: MadeUpGateway, sql: str, groups: list[list[object]]
) -> None:
    document: dict[str, Any] = batch(gateway, sql).preview(1.0).to_json()
    assert document["questions"][0]["groups"] == groups


def test_groups_of_a_histogram_are_its_ranges_without_inner_numbers(gateway: MadeUpGateway) -> None:
    asked = batch(gateway, HISTOGRAM)
    document: dict[str, Any] = asked.preview(1.0).to_json()
    answer = asked.run(1.0)[0]
    assert [text.split(" ")[0] for text in (row[0] for row in answer_rows(answer.table))] == ["0", "2.5", "5", "7.5"]
    keys = [place for place, column in enumerate(answer.table.columns) if column.kind == "key"]
    assert document["questions"][0]["groups"] == [[row[place] for place in keys] for row in answer.table.rows]


def test_a_dataset_that_changed_is_previewed_and_asked_once_more(gateway: MadeUpGateway) -> None:
    gateway.changes = 1
    assert len(batch(gateway, COUNT, OTHER).run(1.0)) == 2
    gateway.changes = 2
    assert caught(lambda: batch(gateway, COUNT).run(1.0)).code == "plan_changed"


def test_a_job_that_fails_is_named_with_its_questions(gateway: MadeUpGateway) -> None:
    gateway.fails = {"job-1"}
    problem = caught(lambda: batch(gateway, COUNT, OTHER, MEAN).run(1.0))
    assert problem.code == "node_lost"
    assert (problem.details["job"], problem.details["questions"]) == ("job-1", "1, 3")
    assert problem.to_json()["questions"] == [1, 3]


def test_the_answers_of_other_jobs_are_there_all_the_same(gateway: MadeUpGateway) -> None:
    gateway.fails = {"job-1"}
    asked = batch(gateway, COUNT, OTHER, MEAN).submit(1.0).wait()
    assert asked.answer(1).columns == ("n",)
    assert "for the whole batch" in repr(asked.answer(1))
    assert caught(lambda: asked.answer(2)).code == "node_lost"


def test_an_interrupt_cancels_what_is_not_done(gateway: MadeUpGateway) -> None:
    gateway.interrupts = {"job-2"}
    with pytest.raises(KeyboardInterrupt):
        batch(gateway, COUNT, OTHER, "SELECT COUNT(*) FROM visits WHERE pain > 4").run(1.0)
    states = [job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_") for job in gateway.jobs.values()]
    assert states == ["SUCCEEDED", "CANCELLED", "CANCELLED"]


def test_progress_is_told_of_every_job(gateway: MadeUpGateway) -> None:
    heard: list[Job] = []
    batch(gateway, COUNT, OTHER).run(1.0, progress=heard.append)
    assert [job.id for job in heard] == ["job-1", "job-1", "job-2", "job-2"]


NAMED = "SELECT name, COUNT(*) AS n FROM visits JOIN names USING (sex) GROUP BY name"


def test_questions_bring_look_ups(gateway: MadeUpGateway) -> None:
    tables = look_up_tables({"names": [{"sex": "f", "name": "women"}, {"sex": "m", "name": "men"}]})
    queries = tuple(
        Query("clinic", sql, gateway, lookups=tables)  # type: ignore[arg-type]
        for sql in (NAMED, NAMED.replace("COUNT(*) AS n", "SUM(pain) AS n"))
    )
    first, second = Batch(queries, gateway).run(1.0)  # type: ignore[arg-type]
    assert [row[0] for row in first.table.rows] == [row[0] for row in second.table.rows] == ["women", "men"]
    assert len(gateway.jobs) == 1
    (request,) = gateway.requests
    assert [table.name for table in request.batch.lookups] == ["names"]


def test_a_look_up_of_one_question_is_there_for_all_of_them(gateway: MadeUpGateway) -> None:
    tables = look_up_tables({"names": [{"sex": "f", "name": "women"}]})
    one = Query("clinic", NAMED, gateway, lookups=tables)  # type: ignore[arg-type]
    other = Query("clinic", COUNT, gateway)  # type: ignore[arg-type]
    assert len(Batch((other, one), gateway).preview(1.0).plans) == 2  # type: ignore[arg-type]


class TestWhatIsNoBatch:
    def test_no_question(self, gateway: MadeUpGateway) -> None:
        assert caught(lambda: batch(gateway)).code == "batch"

    def test_two_datasets(self, gateway: MadeUpGateway) -> None:
        queries = tuple(Query(name, COUNT, gateway) for name in ("clinic", "ward"))  # type: ignore[arg-type]
        assert caught(lambda: Batch(queries, gateway)).code == "batch"  # type: ignore[arg-type]

    def test_automatic_bounds(self, gateway: MadeUpGateway) -> None:
        query = Query("clinic", COUNT, gateway, "auto")  # type: ignore[arg-type]
        assert caught(lambda: Batch((query,), gateway)).code == "batch"  # type: ignore[arg-type]

    def test_two_look_ups_of_one_name(self, gateway: MadeUpGateway) -> None:
        queries = tuple(
            Query("clinic", COUNT, gateway, lookups=look_up_tables({name: rows}))  # type: ignore[arg-type]
            for name, rows in (("names", [{"sex": "f"}]), ("Names", [{"sex": "m"}]))
        )
        assert caught(lambda: Batch(queries, gateway)).code == "batch"  # type: ignore[arg-type]

    @pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan")])
    def test_no_price(self, gateway: MadeUpGateway, epsilon: float) -> None:
        assert caught(lambda: batch(gateway, COUNT).run(epsilon)).code == "epsilon"


def _changed(number: int, change: Callable[[Plan], object]) -> Callable[[job_pb2.BatchPreview], None]:
    def lie(preview: job_pb2.BatchPreview) -> None:
        plan = Plan.FromString(preview.plans[number])
        change(plan)
        preview.plans[number] = plan.SerializeToString(deterministic=True)

    return lie


LIES: dict[str, Callable[[job_pb2.BatchPreview], object]] = {
    "a plan that costs more": _changed(0, lambda plan: setattr(plan.statistics[0], "rho_units", 2 * ALL)),
    "a second plan that makes all of them too dear": _changed(
        1, lambda plan: setattr(plan.statistics[0], "rho_units", plan.statistics[0].rho_units + ALL // 100)
    ),
    "a plan for nobody": lambda preview: preview.plans.append(preview.plans[0]),
    "a question without a plan": lambda preview: setattr(preview.questions[0], "plan", 2),
    "a question too few": lambda preview: preview.questions.pop(),
    "no plan and no question": lambda preview: preview.Clear(),
    "another dataset": _changed(1, lambda plan: setattr(plan, "dataset", "ward")),
    "another version of it": _changed(1, lambda plan: setattr(plan, "dataset_version", b"w" * 32)),
    "another price": _changed(1, lambda plan: setattr(plan, "epsilon", 2.0)),
    "another delta": _changed(1, lambda plan: setattr(plan, "delta", 1e-6)),
    "a first stage": _changed(1, lambda plan: plan.statistics[0].unit_norms.edges.append(1)),
    "what is no plan": lambda preview: preview.plans.__setitem__(0, b"\xff"),
    "a view of a key that is not there": lambda preview: preview.questions[0].view.outputs.append(
        Output(name="x", key=9)
    ),
    "a view that is too large": lambda preview: preview.questions[0].view.outputs.extend([Output(name="x")] * 300),
}


class TestWhatIsNotBelieved:
    """What a gateway could say in order to have more of the budget, or to show something else."""

    @pytest.mark.parametrize("name", LIES)
    def test_is_refused_before_anything_is_asked(self, gateway: MadeUpGateway, name: str) -> None:
        gateway.lie = LIES[name]  # type: ignore[assignment]
        problem = caught(lambda: batch(gateway, COUNT, OTHER).run(1.0))
        assert (problem.kind, problem.code) == (Kind.BAD_EVIDENCE, "plan_differs")
        assert not gateway.requests

    def test_a_receipt_that_does_not_verify(self, gateway: MadeUpGateway) -> None:
        gateway.damage = lambda receipt: receipt.ClearField("signatures")
        assert caught(lambda: batch(gateway, COUNT, OTHER).run(1.0)).code == "receipt_signatures"

    def test_jobs_of_other_plans_under_the_same_request_id(self, gateway: MadeUpGateway) -> None:
        batch(gateway, COUNT, OTHER).run(1.0, request_id="mine")
        gateway.version = b"w" * 32
        problem = caught(lambda: batch(gateway, COUNT, OTHER).run(1.0, request_id="mine"))
        assert (problem.kind, problem.code) == (Kind.CONFLICT, "batch_differs")


def test_a_view_changes_nothing_that_is_computed_on_data(gateway: MadeUpGateway) -> None:
    """Whatever a gateway puts into a view: rows, groups, noise and price are those of the plan that was signed."""
    asked = job_pb2.BatchQuery(dataset="clinic", sql=[COUNT, MEAN, OTHER], epsilon=1.0)
    preview = gateway.preview_batch(asked)
    for question in preview.questions:
        question.view.grouping_sets.append(GroupingSet(keys=[0]))
        question.view.presentation.limit = 7
        plan = Plan.FromString(preview.plans[question.plan])
        seen = viewed(plan, question.view)
        assert seen != plan
        for each in (plan, seen):
            for name in ("outputs", "grouping_sets", "presentation"):
                each.ClearField(name)
        assert seen == plan


class TestTheCommandLine:
    @pytest.fixture(autouse=True)
    def _asked(self, gateway: MadeUpGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        scene.write_profiles(tmp_path, gateway.zone, "localhost:1")
        monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
        monkeypatch.setattr("yingbi.zone.Gateway", lambda profile: gateway)

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "questions.sql"
        path.write_text(f"-- first;\n{COUNT};\n\n  {OTHER}; {MEAN}\n")
        return path

    def test_answers_all_questions_of_a_file(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["batch", "clinic", str(file), "--epsilon", "1", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert [len(answer["rows"]) for answer in document["answers"]] == [2, 1, 1]
        assert [job["job"] for job in document["jobs"]] == ["job-1", "job-2"]
        assert document["rho"] == pytest.approx(ALL / zcdp.RHO_UNITS, rel=1e-3)
        assert document["jobs"][0]["receipt"]["signatures"]
        assert set(document["answers"][0]) == {"job", "columns", "rows", "std_errors", "intervals", "notes"}

    def test_shows_them_to_people_one_after_another(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["batch", "clinic", str(file), "--epsilon", "1"]) == 0
        out = capsys.readouterr().out
        assert out.index("COUNT(*) AS n FROM visits WHERE") < out.index("AVG(pain)") < out.index("cost of all: ε 1")

    @pytest.mark.parametrize("arguments", [[], ["--preview"]])
    def test_shows_questions_by_number_in_the_lines_they_were_written_in(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        """On one line, a comment would hide what follows it."""
        path = tmp_path / "commented.sql"
        path.write_text(f"{OTHER};\nSELECT COUNT(*) AS n -- of all\nFROM visits;")
        assert main(["batch", "clinic", str(path), "--epsilon", "1", *arguments]) == 0
        lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        assert f"Question 1: {OTHER}" in lines
        start = lines.index("Question 2: SELECT COUNT(*) AS n -- of all")
        assert lines[start + 1] == "FROM visits"

    def test_the_result_of_one_of_its_jobs_names_its_own_part_of_the_price(
        self, gateway: MadeUpGateway, file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["batch", "clinic", str(file), "--epsilon", "1"]) == 0
        capsys.readouterr()
        for name, job in gateway.jobs.items():
            assert main(["result", name]) == 0
            part = f"{total_rho_units(Plan.FromString(job.plan)) / zcdp.RHO_UNITS:.3g}"
            whole = "cost: ε 1, δ 1e-07 for the whole batch; "
            assert f"{whole}this plan's part: ρ = {part} ·" in capsys.readouterr().out

    def test_previews(self, gateway: MadeUpGateway, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["batch", "clinic", str(file), "--epsilon", "1", "--preview"]) == 0
        assert "all would cost: ε 1, δ 1e-07, in 2 plans" in capsys.readouterr().out
        assert not gateway.jobs

    def test_previews_that_it_costs_more_than_is_left(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for epsilon, exceeds in (("1", False), ("11", True)):
            assert main(["batch", "clinic", str(file), "--epsilon", epsilon, "--preview", "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["exceeds_budget"] is exceeds
        assert main(["batch", "clinic", str(file), "--epsilon", "11", "--preview"]) == 0
        assert "more than is left: at most ε" in capsys.readouterr().out

    def test_says_where_in_the_file_a_question_is_wrong(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{COUNT};\n /* ; */ SELECT\n  pian FROM visits"))
        assert main(["batch", "clinic", "-", "--epsilon", "1", "--json"]) == 2
        problem = json.loads(capsys.readouterr().out)
        assert (problem["code"], problem["question"], problem["position"]) == ("unknown_column", 2, "3:3")

    def test_an_interrupt_says_what_was_cancelled(
        self, gateway: MadeUpGateway, file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gateway.interrupts = {"job-2"}
        assert main(["batch", "clinic", str(file), "--epsilon", "1"]) == INTERRUPTED
        assert "cancelled: job-1 (succeeded), job-2 (cancelled)" in capsys.readouterr().err

    @pytest.mark.parametrize(("content", "code"), [(b"-- nothing;", "batch"), (b"\xff", "file"), (None, "file")])
    def test_a_file_without_questions(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, code: str
    ) -> None:
        path = tmp_path / "none.sql"
        if content is not None:
            path.write_bytes(content)
        assert main(["batch", "clinic", str(path), "--epsilon", "1", "--json"]) == 2
        problem = json.loads(capsys.readouterr().out)
        assert (problem["code"], problem["field"]) == (code, "file")
        assert "zone.batch" not in problem.get("hint", "")


class TestStatements:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a", ["a"]),
            ("a;b;", ["a", "b"]),
            (" a ;\n; b\n", ["a", "b"]),
            ("'a;''b' ; \"c;\"\"d\"", ["'a;''b'", '"c;""d"']),
            ("a -- b;c\n;d", ["a -- b;c", "d"]),
            ("/* a; */ ; -- b", []),
            ("a /* ;\n; */ b; c - d / e", ["a /* ;\n; */ b", "c - d / e"]),
            ("'a;", ["'a;"]),
            ("", []),
        ],
    )
    def test_are_divided_by_semicolons_that_end_something(self, text: str, expected: list[str]) -> None:
        assert [statement.text for statement in split(text)] == expected

    @given(st.lists(st.from_regex(r"[a-z]([a-z\n ]|'[a-z;]*'|--;\n){0,5}[a-z]", fullmatch=True), max_size=4))
    @settings(max_examples=30)
    def test_stand_where_they_say(self, statements: list[str]) -> None:
        text = " ;\n ".join(statements)
        found = split(text)
        assert [statement.text for statement in found] == statements
        lines = text.split("\n")
        for statement in found:
            line, column = map(int, statement.position_in_file("1:1").split(":"))
            assert lines[line - 1][column - 1 :].startswith(statement.text.split("\n")[0])
