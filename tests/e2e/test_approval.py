"""Data of grade 3 waits for the operator; what is refused or cancelled costs nothing."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from yingbi import connect

from tests.zones import AGREEMENT, Ran, Zone, add_visits, agree, new_zone, wait_until

pytestmark = pytest.mark.xdist_group("approval")

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    """A running zone of one node in which operators approve, with a dataset of each grade from 2 on."""
    base = tmp_path_factory.mktemp("approval")
    made = new_zone(base, "--nodes", "1")
    made.up()
    try:
        for grade in (2, 3, 4):
            add_visits(made, base / "data", f"grade{grade}", grade=grade, epsilon=10.0)
            agree(made, base / "agreements", f"grade{grade}", epsilon=10.0)
        add_visits(made, base / "data", "scarce", grade=3, epsilon=1.0)
        agree(made, base / "agreements", "scarce", epsilon=1.0)
        yield made
    finally:
        made.down()


def question() -> str:
    """One that has not been asked before."""
    return f"SELECT COUNT(*) AS n{next(numbers)} FROM visits"


def submit(zone: Zone, sql: str, epsilon: float = 1.0, dataset: str = "grade3") -> str:
    """The id of a job that waits for approval."""
    job = zone.fetch("sql", dataset, sql, "--epsilon", str(epsilon), "--no-wait")
    assert job["state"] == "waiting for approval"
    return str(job["job"])


def state(zone: Zone, job: str) -> str:
    with connect(folder=zone.root) as connected:
        return connected.job(job).state


def job_of(zone: Zone, sql: str) -> str | None:
    with connect(folder=zone.root) as connected:
        return next((job.id for job in connected.jobs() if job.message.sql == sql), None)


class Waiting:
    """A `yingbi sql` that waits for its job."""

    def __init__(self, zone: Zone, *options: str) -> None:
        sql = question()
        self.process = zone.begin("sql", "grade3", sql, "--epsilon", "1", *options)
        found: list[str] = []

        def asked() -> bool:
            found[:] = filter(None, [job_of(zone, sql)])
            return bool(found)

        wait_until(asked, seconds=60)
        (self.job,) = found
        assert self.process.poll() is None

    def end(self) -> Ran:
        out, err = self.process.communicate(timeout=60)
        return Ran(self.process.returncode, out, err)


def test_a_question_waits_and_runs_when_the_operator_approves(zone: Zone) -> None:
    before = zone.spent("grade3")
    waiting = Waiting(zone, "--json")
    assert state(zone, waiting.job) == "waiting for approval"
    # While it waits, nothing is reserved.
    assert zone.spent("grade3") == before
    shown = zone.fetch("result", waiting.job)
    assert (shown["state"], shown["dataset"]) == ("waiting for approval", "grade3")
    assert shown["waits_for"] == ["provider"]
    assert "rows" not in shown

    approved = zone.fetch("approve", waiting.job)
    assert (approved["job"], approved["state"]) == (waiting.job, "queued")
    ran = waiting.end()
    assert ran.code == 0
    assert ran.json["state"] == "succeeded"
    assert ran.json["rows"][0][0] == pytest.approx(600, abs=200)
    assert "waiting for approval" in ran.stderr
    assert zone.spent("grade3") > before
    # Once is enough.
    assert zone.problem(3, "approve", waiting.job)["code"] == "wrong_state"
    assert zone.problem(3, "refuse", waiting.job, "--reason", "too late")["code"] == "wrong_state"


def test_a_preview_says_that_an_operator_will_have_to_approve(zone: Zone) -> None:
    for dataset, said in (("grade3", True), ("grade2", False)):
        ran = zone.call("sql", dataset, question(), "--epsilon", "1", "--preview")
        assert ran.code == 0
        assert ("approve" in ran.stdout) is said, ran


def test_an_approved_answer_is_replayed_without_another_approval(zone: Zone) -> None:
    sql = question()
    job = submit(zone, sql)
    zone.fetch("approve", job)
    wait_until(lambda: state(zone, job) == "succeeded", seconds=60)
    spent = zone.spent("grade3")
    again = zone.fetch("sql", "grade3", sql, "--epsilon", "1")
    assert (again["replayed"], again["rows"]) == (True, zone.fetch("result", job)["rows"])
    assert zone.spent("grade3") == spent


def test_a_refused_question_ends_with_the_reason(zone: Zone) -> None:
    before = zone.spent("grade3")
    waiting = Waiting(zone, "--json")
    assert zone.fetch("refuse", waiting.job, "--reason", "no purpose was given")["state"] == "refused"
    problem = waiting.end().problem(3)
    assert "no purpose was given" in problem["message"]
    assert problem["job"] == waiting.job
    assert zone.problem(3, "result", waiting.job)["message"] == problem["message"]
    assert zone.problem(3, "approve", waiting.job)["code"] == "wrong_state"
    assert zone.spent("grade3") == before


def test_people_read_the_reason_too(zone: Zone) -> None:
    job = submit(zone, question())
    assert zone.call("refuse", job, "--reason", "the zone is closed").code == 0
    ran = zone.call("result", job)
    assert (ran.code, ran.stdout) == (3, "")
    assert "the zone is closed" in ran.stderr


@pytest.mark.parametrize("reason", [[], ["--reason", ""], ["--reason", "  "]])
def test_a_refusal_owes_a_reason(zone: Zone, reason: list[str]) -> None:
    job = submit(zone, question())
    assert zone.problem(2, "refuse", job, *reason)["field"] == "reason"
    assert state(zone, job) == "waiting for approval"
    zone.fetch("cancel", job)


def test_a_developer_can_neither_approve_nor_refuse(zone: Zone, tmp_path: Path) -> None:
    job = submit(zone, question())
    profile = json.loads((zone.root / "profiles" / "developer.json").read_text())
    (tmp_path / "ca.crt").write_text(profile["ca_pem"])
    as_developer = ["--zone", profile["address"], "--token", profile["token"], "--ca", str(tmp_path / "ca.crt")]
    assert zone.problem(3, "approve", job, *as_developer)["code"] == "not_allowed"
    assert zone.problem(3, "refuse", job, "--reason", "mine", *as_developer)["code"] == "not_allowed"
    assert state(zone, job) == "waiting for approval"
    zone.fetch("cancel", job)


def test_an_operator_does_not_ask(zone: Zone) -> None:
    profile = json.loads((zone.root / "profiles" / "operator.json").read_text())
    asked = ["sql", "grade2", question(), "--epsilon", "1", "--token", profile["token"]]
    assert zone.problem(3, *asked)["code"] == "not_allowed"


def test_a_waiting_question_can_be_cancelled(zone: Zone) -> None:
    before = zone.spent("grade3")
    waiting = Waiting(zone, "--json")
    assert zone.fetch("cancel", waiting.job)["state"] == "cancelled"
    assert waiting.end().problem(1)["job"] == waiting.job
    zone.problem(1, "result", waiting.job)
    assert zone.problem(3, "approve", waiting.job)["code"] == "wrong_state"
    assert zone.problem(3, "cancel", waiting.job)["code"] == "wrong_state"
    assert zone.spent("grade3") == before


def test_ctrl_c_leaves_the_job_and_says_how_to_fetch_it(zone: Zone) -> None:
    waiting = Waiting(zone)
    assert waiting.process.stderr
    assert waiting.job in waiting.process.stderr.readline()
    waiting.process.send_signal(signal.SIGINT)
    ran = waiting.end()
    assert ran.code not in (0, 1)
    assert ran.stdout == ""
    assert f"yingbi result {waiting.job}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert state(zone, waiting.job) == "waiting for approval"
    zone.fetch("approve", waiting.job)
    wait_until(lambda: state(zone, waiting.job) == "succeeded", seconds=60)
    assert zone.fetch("result", waiting.job)["state"] == "succeeded"


def test_grade_2_runs_without_approval(zone: Zone) -> None:
    assert zone.fetch("sql", "grade2", question(), "--epsilon", "1")["state"] == "succeeded"


def test_grade_4_is_refused(zone: Zone) -> None:
    problem = zone.problem(3, "sql", "grade4", question(), "--epsilon", "1")
    assert problem["code"] == "grade_denied"
    assert "4" in problem["message"]
    assert zone.spent("grade4") == 0


def test_a_model_is_trained_in_rounds_after_one_approval(zone: Zone, tmp_path: Path) -> None:
    add_visits(zone, tmp_path, "taught", grade=3, epsilon=40.0)
    agree(zone, tmp_path, "taught", epsilon=40.0)
    asked = ["train", "taught", "(pain > 5) ~ clinic", "--model", "logistic", "--rounds", "6", "--epsilon", "10"]
    training = zone.begin(*asked, "--json")
    found: list[str] = []

    def waits() -> bool:
        with connect(folder=zone.root) as connected:
            found[:] = [job.id for job in connected.jobs() if job.message.dataset == "taught"]
        return bool(found)

    wait_until(waits, seconds=60)
    (first,) = found
    assert (state(zone, first), zone.spent("taught")) == ("waiting for approval", 0)
    assert zone.fetch("approve", first, "--rounds")["state"] == "queued"
    out, err = training.communicate(timeout=120)
    ran = Ran(training.returncode, out, err)
    assert ran.code == 0, ran
    assert len(ran.json["model"]["jobs"]) == 6
    assert len(ran.json["model"]["objectives"]) == 4
    assert zone.fetch("approvals", "list")["approvals"] == []
    (given,) = zone.fetch("approvals", "list", "--all")["approvals"]
    assert (given["state"], given["jobs"], given["max_jobs"], given["job"]) == ("used up", 6, 6, first)
    assert given["rho"] <= given["max_rho"]


def test_queries_that_a_file_leaves_open_run_by_one_approval_until_it_is_revoked(zone: Zone, tmp_path: Path) -> None:
    query = "SELECT COUNT(*) AS n FROM visits WHERE pain < {}"
    job = submit(zone, query.format(5), 0.5)
    file = tmp_path / "standing.json"
    file.write_text('{"jobs": 5, "hours": 1, "constants": {"0": [1, 9]}}')
    assert "0: 5" in zone.call("approve", job, "--show").stdout
    assert zone.problem(3, "approve", job, "--rounds")["code"] == "no_standing_approval"
    zone.fetch("approve", job, "--standing", file)
    assert zone.fetch("sql", "grade3", query.format(6), "--epsilon", "0.5")["state"] == "succeeded"
    zone.fetch("cancel", submit(zone, query.format(9.5), 0.5))
    (given,) = (each for each in zone.fetch("approvals", "list")["approvals"] if each["job"] == job)
    assert zone.fetch("approvals", "revoke", given["standing"][:12], "--reason", "enough")["state"] == "revoked"
    zone.fetch("cancel", submit(zone, query.format(7), 0.5))


def test_budget_that_is_used_up_between_question_and_approval_refuses_it(zone: Zone) -> None:
    first, second = submit(zone, question(), 0.8, "scarce"), submit(zone, question(), 0.8, "scarce")
    # Both fit while they wait, since waiting reserves nothing.
    assert zone.spent("scarce") == 0
    zone.fetch("approve", first)
    wait_until(lambda: state(zone, first) == "succeeded", seconds=60)
    spent = zone.spent("scarce")
    refused = zone.problem(3, "approve", second)
    assert refused["code"] == "budget_exceeded"
    assert state(zone, second) == "refused"
    assert zone.problem(3, "result", second)["message"] == refused["message"]
    assert zone.spent("scarce") == spent


def test_the_profile_that_init_made_current_is_used_where_nothing_else_is_said(zone: Zone) -> None:
    current = {name: value for name, value in zone.environment.items() if name != "YINGBI_ZONE"}
    pointer = json.loads((zone.config / "yingbi" / "current.json").read_text())
    assert Path(pointer["profile"]) == zone.root / "profiles" / "developer.json"
    listed = zone.run("datasets", "--json", environment=current)
    assert "grade3" in {dataset["dataset"] for dataset in listed.json["datasets"]}
    # `approve` takes the operator's, beside it.
    job = submit(zone, question())
    assert zone.run("approve", job, "--json", environment=current).code == 0
    wait_until(lambda: state(zone, job) == "succeeded", seconds=60)


def stop_of(zone: Zone, name: str) -> dict[str, Any]:
    """The latest stop of this subject."""
    found: dict[str, Any] = zone.fetch("stops", "--subject", name)["stops"][0]
    return found


@pytest.mark.requirement("AGR-05", "APP-01")
def test_an_agreement_lives_by_the_command_line_and_everything_stops_with_it(zone: Zone, tmp_path: Path) -> None:
    add_visits(zone, tmp_path, "lived", epsilon=10.0)
    asked = ["sql", "lived", question(), "--epsilon", "1"]
    assert zone.problem(3, *asked)["code"] == "agreement_needed"
    file = tmp_path / "agreement.yaml"
    file.write_text(AGREEMENT.format(name="lived", dataset="lived", epsilon=5.0, more="columns: [visits.clinic]"))
    assert zone.problem(3, "agreement", "add", file)["code"] == "agreement_registered_alone"

    states = [zone.fetch("agreement", "draft", file)["state"]]
    for step in ("apply", "assess", "consent"):
        assert zone.problem(3, *asked)["clause"] == "state"
        states.append(zone.fetch("agreement", step, "lived")["state"])
    assert states == ["draft", "applied for", "assessed", "consented to"]
    # Nobody else's move, and nobody signs for another.
    assert zone.problem(3, "agreement", "assess", "lived")["code"] == "agreement_state"
    assert zone.problem(3, "agreement", "sign", "lived", "--as", "supervisor")["code"] == "not_allowed"
    signed = zone.fetch("agreement", "sign", "lived")
    assert (signed["state"], signed["signed_by"]) == ("in force", ["developer", "provider"])

    job = zone.fetch(*asked, "--purpose", "tests of lived")
    assert job["state"] == "succeeded"
    assert zone.problem(3, *asked, "--purpose", "curiosity")["clause"] == "purpose"
    beyond = zone.problem(3, "sql", "lived", f"{question()} WHERE pain > 3", "--epsilon", "1")
    assert (beyond["code"], beyond["clause"]) == ("agreement_other_column", "columns")
    assert zone.problem(2, "agreement", "suspend", "lived", "--yes")["field"] == "reason"
    assert zone.problem(2, "agreement", "suspend", "lived", "--reason", "why?")["code"] == "not_confirmed"
    suspended = zone.fetch("agreement", "suspend", "lived", "--reason", "a complaint", "--yes")
    assert [(each["scope"], len(each["nodes"])) for each in suspended["stops"]] == [("suspension", 1)]
    wait_until(lambda: all(each["stopped_at"] for each in stop_of(zone, "lived")["nodes"]), seconds=60)
    for stopped in (asked, ["result", job["job"]]):
        assert zone.problem(3, *stopped)["code"] == "agreement_suspended"
    assert zone.problem(3, "agreement", "resume", "lived", "--as", "provider")["code"] == "agreement_state"
    zone.fetch("agreement", "resume", "lived")
    wait_until(lambda: all(each["lifted_at"] for each in stop_of(zone, "lived")["nodes"]), seconds=60)
    assert zone.fetch("result", job["job"])["rows"] == job["rows"]

    ended = zone.fetch("agreement", "terminate", "lived", "--reason", "breach", "--yes", "--as", "coordinator")
    assert (ended["state"], ended["events"][-1]["reason"]) == ("terminated", "breach")
    assert zone.problem(3, "result", job["job"])["code"] == "agreement_terminated"
    shown = zone.call("agreement", "show", "lived").stdout
    assert all(said in shown for said in ("terminated", "columns: visits.clinic", "suspend by supervisor"))


def test_who_ends_an_agreement_is_shown_what_it_hits(zone: Zone, tmp_path: Path) -> None:
    add_visits(zone, tmp_path, "hit", grade=3, epsilon=10.0)
    agree(zone, tmp_path, "hit", epsilon=5.0)
    job = submit(zone, question(), dataset="hit")
    ended = zone.call("agreement", "terminate", "about-hit", "--reason", "the end", "--yes")
    assert (ended.code, job in ended.stderr) == (0, True)
    assert zone.problem(3, "approve", job)["code"] == "wrong_state"
    assert state(zone, job) == "cancelled"
    (stopped,) = zone.fetch("stops", "--subject", "about-hit")["stops"]
    assert [proof["node"] for proof in stopped["nodes"]] == ["node-1"]


def test_what_waits_still_waits_after_a_restart(zone: Zone) -> None:
    job = submit(zone, question())
    known: Any = zone.fetch("jobs")
    assert zone.run("down", zone.root).code == 0
    zone.up()
    assert zone.fetch("jobs") == known
    assert state(zone, job) == "waiting for approval"
    zone.fetch("approve", job)
    wait_until(lambda: state(zone, job) == "succeeded", seconds=60)


def test_of_a_batch_each_plan_is_approved_and_an_interrupt_cancels_the_others(zone: Zone, tmp_path: Path) -> None:
    """Two of its questions share a plan, and so an approval."""
    first, second, third = question(), question(), f"{question()} WHERE pain > 3"
    file = tmp_path / "questions.sql"
    file.write_text(f"{first}; {second}; {third}")
    before = zone.spent("grade3")
    asking = zone.begin("batch", "grade3", str(file), "--epsilon", "1")
    wait_until(lambda: job_of(zone, third) is not None, seconds=60)
    shared, other = job_of(zone, f"{first};\n{second}"), job_of(zone, third)
    assert shared is not None
    assert other is not None
    assert zone.spent("grade3") == before
    zone.fetch("approve", shared)
    wait_until(lambda: state(zone, shared) == "succeeded", seconds=60)
    asking.send_signal(signal.SIGINT)
    _, err = asking.communicate(timeout=60)
    assert asking.returncode == 130
    assert f"{shared} (succeeded), {other} (cancelled)" in err
    assert state(zone, other) == "cancelled"
    assert before < zone.spent("grade3") < before + 1
