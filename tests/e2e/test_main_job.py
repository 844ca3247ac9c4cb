"""The main job as a developer at a shell sees it: ask, be answered, keep the evidence, ask again."""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from yingbi import Problem, connect
from yingbi.api import zcdp
from yingbi.cli.main import main

from gateway.zone.authority import Authority, certificate_pem
from tests.zones import COMMAND, Zone, visits, wait_until

pytestmark = pytest.mark.xdist_group("zone")

EPSILON = 20.0
QUESTION = (
    "SELECT clinic, COUNT(*), COUNT(DISTINCT person), SUM(pain), AVG(pain) AS mean_pain FROM visits GROUP BY clinic"
)
ANSWER = {
    "job": str,
    "state": str,
    "dataset": str,
    "version": str,
    "columns": list,
    "rows": list,
    "std_errors": list,
    "intervals": list,
    "notes": list,
    "confidence": float,
    "epsilon": float,
    "delta": float,
    "rho": float,
    "budget": dict,
    "replayed": bool,
    "receipt": dict,
}
PREVIEW = {
    "dataset",
    "version",
    "plan_hash",
    "columns",
    "groups",
    "std_errors",
    "epsilon",
    "delta",
    "rho",
    "budget",
}
# What the preview says beyond its issue: an average's error by group size, clipping in words, whether it can be paid.
PREVIEW_EXTRAS = {"average_errors", "notes", "exceeds_budget"}

STAYS = """
dataset: stays
zone: wards
title: {en: "Stays", zh: "住院"}
grade: 1
source: "made up for tests"
privacy_unit: person
max_units: 50
units_disjoint: true
budget: {epsilon: 100.0, delta: 1.0e-7}
tables:
  stays:
    file: stays.csv
    max_rows_per_unit: 1
    columns:
      person:   {type: string, role: unit}
      arrived:  {type: date, values: [DAYS]}
      alive:    {type: bool, values: [true, false]}
      age:      {type: int64, lower: 0, upper: 100}
"""


def ask(zone: Zone, sql: str, *arguments: str | Path, epsilon: float = EPSILON, dataset: str = "visits") -> Any:
    """The answer's document. The command is only called: that a process prints the same is seen in `answer`."""
    return zone.fetch("sql", dataset, sql, "--epsilon", str(epsilon), *arguments)


def foresee(zone: Zone, sql: str, *arguments: str | Path) -> Any:
    """The preview's document."""
    return zone.fetch("sql", "visits", sql, "--epsilon", str(EPSILON), "--preview", *arguments)


def column(document: Mapping[str, Any], name: str, part: str = "rows") -> list[Any]:
    """One column of the rows, of their errors or of their intervals."""
    place = [entry["name"] for entry in document["columns"]].index(name)
    return [row[place] for row in document[part]]


def assert_near(document: Mapping[str, Any], name: str, truth: list[float]) -> None:
    """Every value of a column lies within six of its standard errors of the truth."""
    for value, error, exact in zip(column(document, name), column(document, name, "std_errors"), truth, strict=True):
        assert error > 0
        assert abs(value - exact) < 6 * error, (name, value, error, exact)


def offline() -> list[str]:
    """What to put before a command so that it has no network; nothing where this machine cannot do that."""
    for options in (["--net"], ["--map-root-user", "--net"]):
        command = ["unshare", *options, "--"]
        if (
            shutil.which("unshare")
            and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
        ):
            return command
    return []


@pytest.fixture(scope="module")
def receipt_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("receipt") / "receipt.json"


@pytest.fixture(scope="module")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table") / "table.csv"


@pytest.fixture(scope="module")
def answer(zone: Zone, receipt_file: Path, table_file: Path) -> Any:
    """The answer to QUESTION, asked once, by a process."""
    options: list[str | Path] = ["--epsilon", str(EPSILON), "--save-receipt", receipt_file, "--csv", table_file]
    return zone.json("sql", "visits", QUESTION, *options)


@dataclass(frozen=True)
class Asked:
    """An answer, and what was spent of the budget before it was asked for."""

    sql: str
    document: Any
    spent_before: float


@pytest.fixture(scope="module")
def asked(zone: Zone, answer: Any) -> Asked:
    """A second question."""
    sql = "SELECT SUM(pain) AS added FROM visits"
    spent = zone.spent("visits")
    return Asked(sql, ask(zone, sql, epsilon=7), spent)


@pytest.fixture(scope="module")
def stays(zone: Zone, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten people in a CSV file who all came on one of forty declared days."""
    folder = tmp_path_factory.mktemp("stays")
    days = ", ".join(f'"2024-{month:02}-{day:02}"' for month in (1, 2) for day in range(1, 21))
    (folder / "stays.yaml").write_text(STAYS.replace("DAYS", days))
    rows = [f"p{number},2024-01-31,2024-02-07,{number % 2 == 0},{40 + number}" for number in range(10)]
    (folder / "stays.csv").write_text("\n".join(["PERSON,unlisted,Arrived,alive,age", *rows]) + "\n")
    zone.fetch("dataset", "add", zone.root, folder / "stays.yaml")
    return "stays"


def test_an_answer_has_exactly_the_documented_keys(answer: Any) -> None:
    assert {name: type(value) for name, value in answer.items()} == ANSWER
    assert answer["state"] == "succeeded"
    assert answer["dataset"] == "visits"
    assert answer["confidence"] == 0.95
    assert (answer["epsilon"], answer["delta"]) == (EPSILON, 1e-7)
    assert 0 < answer["rho"] < EPSILON
    assert answer["budget"].keys() == {"spent_epsilon", "remaining_epsilon", "dataset_remaining_epsilon", "delta"}
    assert answer["replayed"] is False
    assert len(bytes.fromhex(answer["version"])) == 32


def test_columns_have_the_name_of_their_alias_or_of_their_text(answer: Any) -> None:
    assert answer["columns"] == [
        {"name": "clinic", "kind": "key"},
        {"name": "COUNT(*)", "kind": "count"},
        {"name": "COUNT(DISTINCT person)", "kind": "count"},
        {"name": "SUM(pain)", "kind": "sum"},
        {"name": "mean_pain", "kind": "mean"},
    ]


def test_text_stays_as_written_and_identifiers_match_in_any_case(zone: Zone) -> None:
    foreseen = foresee(zone, 'select CLINIC, count( * ), Avg(PAIN) as "P" from VISITS group by Clinic')
    assert [entry["name"] for entry in foreseen["columns"]] == ["clinic", "count( * )", "P"]


def test_declared_keys_without_rows_appear_like_any_other(answer: Any) -> None:
    assert column(answer, "clinic") == ["north", "south", "east"]


def test_values_are_near_the_truth(answer: Any) -> None:
    rows = visits().to_pylist()
    groups = [[row for row in rows if row["clinic"] == clinic] for clinic in ("north", "south", "east")]
    assert_near(answer, "COUNT(*)", [len(group) for group in groups])
    assert_near(answer, "COUNT(DISTINCT person)", [len({row["person"] for row in group}) for group in groups])
    assert_near(answer, "SUM(pain)", [sum(row["pain"] for row in group) for group in groups])
    with_rows = {**answer, "rows": answer["rows"][:2], "std_errors": answer["std_errors"][:2]}
    assert_near(with_rows, "mean_pain", [sum(row["pain"] for row in group) / len(group) for group in groups[:2]])


def test_errors_and_intervals_have_the_shape_of_the_rows(answer: Any) -> None:
    for row, errors, intervals in zip(answer["rows"], answer["std_errors"], answer["intervals"], strict=True):
        assert len(row) == len(errors) == len(intervals) == len(answer["columns"])
        assert (errors[0], intervals[0]) == (None, None)
        for value, error, interval in zip(row[1:4], errors[1:4], intervals[1:4], strict=True):
            assert all(isinstance(number, float) for number in (value, error, *interval))
            low, high = interval
            assert low < value < high
            assert (high - low) / 2 == pytest.approx(1.959964 * error)
    for value, interval in zip(
        column(answer, "mean_pain")[:2], column(answer, "mean_pain", "intervals")[:2], strict=True
    ):
        assert interval[0] < value < interval[1]


def test_missing_averages_are_null(zone: Zone, stays: str) -> None:
    # Of forty days, all but one have a count around zero: about half of the averages have no value.
    found = ask(zone, "SELECT arrived, AVG(age) AS age FROM stays GROUP BY arrived", dataset=stays, epsilon=5)
    ages = column(found, "age")
    assert None in ages
    for value, error, interval in zip(
        ages, column(found, "age", "std_errors"), column(found, "age", "intervals"), strict=True
    ):
        if value is None:
            assert (error, interval) == (None, None)
        else:
            assert 0 <= value <= 100
            assert 0 <= interval[0] <= interval[1] <= 100


def test_dates_and_truth_values_are_keys_too(zone: Zone, stays: str) -> None:
    found = ask(
        zone,
        "SELECT alive, arrived, COUNT(*) AS n FROM stays WHERE arrived >= DATE '2024-02-07' GROUP BY alive, arrived",
        dataset=stays,
        epsilon=50,
    )
    assert len(found["rows"]) == 2 * 40
    keys = list(zip(column(found, "alive"), column(found, "arrived"), strict=True))
    assert keys[:2] == [(True, "2024-01-01"), (True, "2024-01-02")]
    assert keys[-1] == (False, "2024-02-20")
    assert_near(found, "n", [5 if arrived == "2024-02-07" else 0 for _, arrived in keys])


def test_a_question_needs_no_groups(zone: Zone) -> None:
    found = ask(
        zone,
        "SELECT COUNT(*) AS n, SUM(pain) AS total, AVG(pain) AS mean FROM visits WHERE pain >= 5 AND clinic = 'north'",
    )
    assert len(found["rows"]) == 1
    assert_near(found, "n", [180])
    assert_near(found, "total", [180 * 7])
    assert_near(found, "mean", [7])


def test_a_preview_spends_nothing_and_predicts_the_errors(zone: Zone, answer: Any) -> None:
    spent, jobs = zone.spent("visits"), zone.fetch("jobs")["jobs"]
    foreseen = foresee(zone, QUESTION)
    assert foreseen.keys() == PREVIEW | PREVIEW_EXTRAS
    assert len(bytes.fromhex(foreseen["plan_hash"])) == 32
    assert foreseen["columns"] == answer["columns"]
    assert foreseen["groups"] == [["north"], ["south"], ["east"]]
    assert [row[:4] for row in foreseen["std_errors"]] == [row[:4] for row in answer["std_errors"]]
    assert (foreseen["epsilon"], foreseen["delta"], foreseen["rho"]) == (EPSILON, 1e-7, answer["rho"])
    assert foreseen["budget"]["spent_epsilon"] == spent == zone.spent("visits")
    assert zone.fetch("jobs")["jobs"] == jobs
    # What cannot be told before, it tells by the size of the group.
    assert {entry["column"] for entry in foreseen["average_errors"]} == {"mean_pain"}


def test_json_is_accepted_before_and_after_the_command(zone: Zone) -> None:
    before, after = zone.run("--json", "budget", "visits"), zone.run("budget", "--json", "visits")
    assert (before.code, after.code) == (0, 0)
    assert before.json == after.json
    assert before.json.keys() >= {"dataset", "spent_epsilon", "remaining_epsilon", "delta"}
    assert before.stderr == after.stderr == ""


def test_progress_is_told_on_stderr_only(zone: Zone) -> None:
    ran = zone.run("--json", "sql", "visits", "SELECT COUNT(*) AS told FROM visits", "--epsilon", "2")
    assert ran.code == 0
    assert ran.json["state"] == "succeeded"
    assert ran.json["job"] in ran.stderr
    assert "running" in ran.stderr


@pytest.mark.parametrize("place", [0, 5])
def test_errors_are_the_one_document_too(zone: Zone, place: int) -> None:
    arguments = ["sql", "visits", "SELECT COUNT(*) FROM", "--epsilon", "2"]
    ran = zone.run(*arguments[:place], "--json", *arguments[place:])
    assert ran.code == 2
    assert ran.json.keys() >= {"code", "message", "position", "hint"}
    assert ran.stderr == ""


def test_without_json_people_read_errors_on_stderr(zone: Zone) -> None:
    ran = zone.run("sql", "visits", "SELECT COUNT(*) FROM vists", "--epsilon", "2")
    assert (ran.code, ran.stdout) == (2, "")
    assert "vists" in ran.stderr
    assert "visits" in ran.stderr


def test_a_charge_adds_up_in_rho(asked: Asked) -> None:
    def rho(epsilon: float) -> float:
        return zcdp.bought(epsilon, 1e-7)[0] / zcdp.RHO_UNITS

    spent = asked.document["budget"]["spent_epsilon"]
    assert rho(spent) - rho(asked.spent_before) == pytest.approx(asked.document["rho"], rel=1e-5)
    assert asked.document["rho"] == pytest.approx(rho(7.0), rel=1e-3)
    assert rho(spent) + rho(asked.document["budget"]["remaining_epsilon"]) == pytest.approx(rho(1000.0), rel=1e-6)


def test_a_result_is_the_same_document_later(zone: Zone, asked: Asked) -> None:
    later = zone.fetch("result", asked.document["job"])
    assert {**later, "budget": None} == {**asked.document, "budget": None}


def test_jobs_are_listed_newest_first(zone: Zone, answer: Any, asked: Asked) -> None:
    listed = [job for job in zone.fetch("jobs")["jobs"] if job["job"] in (answer["job"], asked.document["job"])]
    assert [job["job"] for job in listed] == [asked.document["job"], answer["job"]]
    assert [job["sql"] for job in listed] == [asked.sql, QUESTION]
    assert {(job["state"], job["dataset"], job["replayed"]) for job in listed} == {("succeeded", "visits", False)}


def test_the_same_question_again_is_replayed_and_costs_nothing(zone: Zone, answer: Any) -> None:
    before = zone.spent("visits")
    again = ask(zone, QUESTION)
    assert again["replayed"] is True
    assert again["job"] != answer["job"]
    for part in ("columns", "rows", "std_errors", "intervals", "receipt", "version", "rho"):
        assert again[part] == answer[part], part
    assert again["budget"]["spent_epsilon"] == before == zone.spent("visits")


def test_delta_is_what_was_asked_for(zone: Zone) -> None:
    assert foresee(zone, QUESTION, "--delta", "1e-9")["delta"] == 1e-9


def test_a_request_id_stands_for_one_request(zone: Zone) -> None:
    sql = "SELECT COUNT(*) AS idempotent FROM visits"
    first = ask(zone, sql, "--request-id", "monday")
    spent = zone.spent("visits")
    assert ask(zone, sql, "--request-id", "monday")["job"] == first["job"]
    other = "SELECT COUNT(*) AS other FROM visits"
    problem = zone.problem(3, "sql", "visits", other, "--epsilon", str(EPSILON), "--request-id", "monday")
    assert first["job"] in problem["message"]
    dearer = zone.problem(3, "sql", "visits", sql, "--epsilon", str(EPSILON + 1), "--request-id", "monday")
    assert dearer["code"] == problem["code"]
    assert zone.spent("visits") == spent


def test_no_wait_leaves_a_job_to_fetch_later(zone: Zone) -> None:
    asked = ask(zone, "SELECT COUNT(*) AS unhurried FROM visits", "--no-wait")
    assert asked["state"] in ("queued", "running")
    found: dict[str, Any] = {}

    def done() -> bool:
        found.update(zone.fetch("result", asked["job"]))
        return bool(found["state"] == "succeeded")

    wait_until(done, seconds=60)
    assert found.keys() >= ANSWER.keys()
    assert column(found, "unhurried")[0] == pytest.approx(600, abs=60)


def test_the_table_is_saved_as_csv(answer: Any, table_file: Path) -> None:
    with table_file.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["clinic", "COUNT(*)", "COUNT(*) ±"]
    assert [row[0] for row in rows] == ["north", "south", "east"]
    assert [float(row[1]) for row in rows] == column(answer, "COUNT(*)")
    assert [float(row[2]) for row in rows] == column(answer, "COUNT(*)", "std_errors")


def test_a_receipt_verifies_in_a_copied_folder_without_network(
    zone: Zone, answer: Any, receipt_file: Path, tmp_path: Path
) -> None:
    assert json.loads(receipt_file.read_text()) == answer["receipt"]
    # All that a verifier needs of the zone is its profile; nobody listens at the address in this one.
    profile = json.loads((zone.root / "profiles" / "developer.json").read_text())
    (tmp_path / "copy" / "profiles").mkdir(parents=True)
    (tmp_path / "copy" / "profiles" / "developer.json").write_text(json.dumps({**profile, "address": "127.0.0.1:1"}))
    done = subprocess.run(
        [*offline(), *COMMAND, "receipt", "verify", str(receipt_file), "--json"],
        env={**zone.environment, "YINGBI_ZONE": str(tmp_path / "copy")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    found = json.loads(done.stdout)
    assert (found["verified"], found["job"], found["dataset"]) == (True, answer["job"], "visits")
    assert found["simulated"] is True


def test_a_verification_says_line_by_line_what_it_checked(zone: Zone, answer: Any, receipt_file: Path) -> None:
    ran = zone.run("receipt", "verify", receipt_file)
    assert ran.code == 0
    for word in (
        "evidence",
        "measurement",
        "key epoch",
        "contributions",
        "plan",
        "signatures",
        "mechanism",
        "guarantee",
    ):
        assert any(line.startswith(f"✓ {word}  ") for line in ran.stdout.splitlines()), (word, ran.stdout)
    assert "sum of 3 discrete Gaussian shares" in ran.stdout
    assert "simulated" in ran.stdout


def test_a_receipt_of_another_zone_does_not_verify(zone: Zone, answer: Any, receipt_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    other.write_bytes(certificate_pem(Authority.new("yingbi zone CA").certificate))
    problem = zone.problem(5, "receipt", "verify", receipt_file, "--ca", other)
    assert problem["code"].startswith("receipt_")


def test_one_flipped_bit_anywhere_in_a_receipt_fails(
    zone: Zone,
    answer: Any,
    receipt_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content, altered = receipt_file.read_bytes(), tmp_path / "altered.json"
    flips = [(offset, 1 << random.randrange(8)) for offset in random.sample(range(len(content)), 20)]

    def alter(offset: int, mask: int) -> None:
        altered.write_bytes(content[:offset] + bytes([content[offset] ^ mask]) + content[offset + 1 :])

    # One in a process of its own, the others by the same command within this one.
    alter(*flips[0])
    assert zone.problem(5, "receipt", "verify", altered)["code"].startswith("receipt_"), flips[0]
    monkeypatch.setenv("YINGBI_ZONE", str(zone.root))
    for flip in flips:
        alter(*flip)
        assert main(["receipt", "verify", str(altered), "--json"]) == 5, flip
        assert json.loads(capsys.readouterr().out)["code"].startswith("receipt_"), flip
    altered.write_bytes(content)
    assert main(["receipt", "verify", str(altered)]) == 0


def test_flags_name_a_zone_without_any_profile(zone: Zone, tmp_path: Path) -> None:
    profile = json.loads((zone.root / "profiles" / "developer.json").read_text())
    (tmp_path / "ca.pem").write_text(profile["ca_pem"])
    bare = {name: value for name, value in zone.environment.items() if name != "YINGBI_ZONE"}
    bare["XDG_CONFIG_HOME"] = str(tmp_path / "empty")
    named = ["--zone", profile["address"], "--token", profile["token"], "--ca", str(tmp_path / "ca.pem")]
    ran = zone.run(*named, "datasets", "--json", environment=bare)
    assert ran.code == 0
    assert "visits" in [dataset["dataset"] for dataset in ran.json["datasets"]]
    ran = zone.run("budget", "visits", *named, "--json", environment=bare)
    assert (ran.code, ran.json["dataset"]) == (0, "visits")
    # A token that nobody has, and no zone at all.
    wrong = [*named[:3], "x" * 43, *named[4:]]
    assert zone.run("datasets", *wrong, "--json", environment=bare).code == 3
    lost = zone.run("datasets", "--json", environment=bare)
    assert (lost.code, lost.json["code"]) == (2, "no_profile")


def test_a_token_is_never_sent_to_a_zone_of_another_ca(zone: Zone, tmp_path: Path) -> None:
    (tmp_path / "other.crt").write_bytes(certificate_pem(Authority.new("yingbi zone CA").certificate))
    profile = json.loads((zone.root / "profiles" / "developer.json").read_text())
    zone.problem(2, "datasets", "--zone", profile["address"], "--ca", tmp_path / "other.crt")
    zone.problem(4, "datasets", "--zone", profile["address"], "--token", "t", "--ca", tmp_path / "other.crt")


@pytest.mark.requirement("CAT-03")
def test_datasets_show_what_is_declared_and_never_how_much_there_is(zone: Zone, stays: str) -> None:
    listed = {dataset["dataset"]: dataset for dataset in zone.fetch("datasets")["datasets"]}
    shown = zone.fetch("dataset", "show", stays)
    assert listed[stays] == shown
    assert shown["title"] == {"en": "Stays", "zh": "住院"}
    assert (shown["zone"], shown["grade"], shown["max_units"], shown["unit_namespace"]) == ("wards", 1, 50, stays)
    assert listed["visits"]["zone"] == "test"
    columns = {column["name"]: column for column in shown["tables"][0]["columns"]}
    assert list(columns) == ["person", "arrived", "alive", "age"]
    assert columns["person"] == {"name": "person", "type": "string", "role": "unit"}
    assert columns["age"] == {"name": "age", "type": "int64", "lower": 0, "upper": 100}
    assert len(columns["arrived"]["values"]) == 40


def test_people_read_errors_and_costs_beside_the_numbers(zone: Zone, answer: Any) -> None:
    asked = zone.run(
        "sql", "visits", "SELECT clinic, COUNT(*) AS people FROM visits GROUP BY clinic", "--epsilon", "10"
    )
    assert asked.code == 0
    for word in ("±", "north", "cost: ε 10", "left", "job-"):
        assert word in asked.stdout, word
    foreseen = zone.call("sql", "visits", QUESTION, "--epsilon", "3", "--preview")
    assert foreseen.code == 0
    assert "±" in foreseen.stdout
    assert "would cost: ε 3" in foreseen.stdout
    for command in (["budget", "visits"], ["dataset", "show", "visits"], ["datasets"], ["jobs"]):
        ran = zone.call(*command)
        assert ran.code == 0, command
        assert "visits" in ran.stdout, command


def test_the_sdk_walks_the_same_way(zone: Zone, capsys: pytest.CaptureFixture[str]) -> None:
    with connect(folder=zone.root) as connected:
        assert "visits" in [dataset.name for dataset in connected.datasets()]
        question = connected.dataset("visits").sql("SELECT clinic, COUNT(*) AS n FROM visits GROUP BY clinic")
        foreseen = question.preview(epsilon=11)
        seen: list[str] = []
        found = question.run(epsilon=11, progress=lambda job: seen.append(job.state))
        assert seen[-1] == "succeeded"
        frame = found.to_pandas()
        assert list(frame.columns) == ["clinic", "n", "n ±"]
        assert list(frame["clinic"]) == ["north", "south", "east"]
        assert [row[1] for row in foreseen.forecast.std_errors] == list(frame["n ±"])
        assert found.receipt.verify()
        assert question.run(epsilon=11).replayed
        with pytest.raises(Problem) as caught:
            connected.dataset("visit")
        assert "visits" in str(caught.value.hint)
    assert capsys.readouterr().out == ""
