"""Bad input gets a clear error with the exit code that scripts rely on, and nothing is lost by it."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from yingbi import connect

from tests.zones import VISITS, Zone, add_visits, visits, write_dataset

pytestmark = pytest.mark.xdist_group("zone")

COUNT = "SELECT COUNT(*) FROM visits"


@pytest.fixture(scope="module", autouse=True)
def nothing_lost(zone: Zone) -> Iterator[None]:
    """Whatever goes wrong here costs nothing, and leaves no job and no dataset that was not there."""

    def state() -> tuple[float, list[str]]:
        with connect(folder=zone.root) as connected:
            jobs = [job.id for job in connected.jobs() if job.message.dataset == "visits"]
            return connected.dataset("visits").budget.spent_epsilon, jobs

    before = state()
    yield
    assert state() == before


@pytest.fixture(scope="module")
def small(zone: Zone, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset with a budget of epsilon 1."""
    add_visits(zone, tmp_path_factory.mktemp("small"), "small", epsilon=1.0)
    return "small"


def datasets(zone: Zone) -> list[str]:
    with connect(folder=zone.root) as connected:
        return [dataset.name for dataset in connected.datasets()]


@pytest.mark.parametrize(
    ("sql", "exit_code", "code", "position", "said"),
    [
        ("SELECT COUNT(*) FROM visit", 2, "unknown_table", "1:22", "visits"),
        ("SELECT AVG(pian) FROM visits", 2, "unknown_column", "1:12", "pain"),
        ("SELECT COUNT(*)\nFROM visits WHERE clinc = 'north'", 2, "unknown_column", "2:19", "clinic"),
        ("SELECT clinic COUNT(*) FROM visits", 2, "sql_syntax", "1:20", "SELECT"),
        ("SELEC COUNT(*) FROM visits", 2, "sql_syntax", "1:1", "SELEC"),
        ("", 2, "sql_syntax", "1:1", "empty"),
        ("SELECT * FROM visits", 3, "raw_columns", "1:8", "Rows never leave"),
        ("SELECT pain FROM visits", 3, "raw_columns", "1:8", "pain"),
        ("SELECT person, COUNT(*) FROM visits GROUP BY person", 3, "privacy_unit", "1:46", "person"),
        ("SELECT COUNT(*) FROM visits GROUP BY SQRT(pain)", 3, "undeclared_group_key", "1:38", "clinic"),
        ("SELECT AVG(clinic) FROM visits", 3, "not_numeric", "1:12", "string"),
        ("DROP TABLE visits", 3, "not_supported", "1:1", "SELECT"),
    ],
)
def test_a_bad_query_is_told_what_is_wrong_and_where(
    zone: Zone, sql: str, exit_code: int, code: str, position: str, said: str
) -> None:
    problem = zone.problem(exit_code, "sql", "visits", sql, "--epsilon", "1")
    assert (problem["code"], problem["position"], problem["field"]) == (code, position, "sql")
    assert said in problem["message"] + problem["hint"]


@pytest.mark.parametrize("epsilon", ["nan", "inf", "0", "-1", "abc", "1e999"])
def test_an_epsilon_that_is_no_positive_number_is_malformed(zone: Zone, epsilon: str) -> None:
    problem = zone.problem(2, "sql", "visits", COUNT, "--epsilon", epsilon)
    assert (problem["code"], problem["field"]) == ("epsilon", "epsilon")
    assert repr(epsilon) in problem["message"]


@pytest.mark.parametrize("epsilon", ["1000.5", "1e6", "1e9", "1e300"])
def test_an_epsilon_above_the_whole_budget_is_refused(zone: Zone, epsilon: str) -> None:
    problem = zone.problem(3, "sql", "visits", COUNT, "--epsilon", epsilon)
    assert (problem["code"], problem["field"]) == ("budget_exceeded", "epsilon")
    assert "whole budget" in problem["message"]


@pytest.mark.parametrize("delta", ["nan", "0", "-1e-7", "1", "abc", "1e-400"])
def test_a_delta_that_is_no_probability_is_malformed(zone: Zone, delta: str) -> None:
    problem = zone.problem(2, "sql", "visits", COUNT, "--epsilon", "1", "--delta", delta)
    assert (problem["code"], problem["field"]) == ("delta", "delta")


def test_a_budget_that_does_not_suffice_says_what_is_left(zone: Zone, small: str) -> None:
    first = zone.fetch("sql", small, COUNT, "--epsilon", "0.8")
    left = first["budget"]["remaining_epsilon"]
    assert 0 < left < 0.8
    problem = zone.problem(3, "sql", small, COUNT, "--epsilon", "0.81")
    assert (problem["code"], problem["field"]) == ("budget_exceeded", "epsilon")
    assert f"{left:.4g}" in problem["message"]
    assert zone.spent(small) == first["budget"]["spent_epsilon"]
    # What it says is left can be had, and then nothing more.
    assert zone.fetch("sql", small, COUNT, "--epsilon", str(left * 0.9999))["state"] == "succeeded"
    assert zone.problem(3, "sql", small, COUNT, "--epsilon", "0.1")["code"] == "budget_exceeded"
    # What was answered once is answered still.
    assert zone.fetch("sql", small, COUNT, "--epsilon", "0.8")["rows"] == first["rows"]


def test_a_failed_request_keeps_its_state_for_result(zone: Zone, small: str) -> None:
    sql = "SELECT SUM(pain) FROM visits"
    zone.problem(3, "sql", small, sql, "--epsilon", "0.999", "--request-id", "too-much")
    refused = next(job for job in zone.fetch("jobs")["jobs"] if job["request_id"] == "too-much")
    assert refused["state"] == "refused"
    assert zone.problem(3, "result", refused["job"])["code"] == "budget_exceeded"
    assert zone.problem(3, "sql", small, sql, "--epsilon", "0.999", "--request-id", "too-much")["job"] == refused["job"]


@pytest.mark.requirement("CAT-01")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sql", "visit", COUNT, "--epsilon", "1"], "visits"),
        (["budget", "nothing-like-it"], "yingbi datasets"),
        (["dataset", "show", "visit"], "visits"),
        (["result", "job-000000000000"], "yingbi jobs"),
        (["cancel", "job-000000000000"], "yingbi jobs"),
        (["approve", "job-000000000000"], "yingbi jobs"),
        (["refuse", "job-000000000000", "--reason", "none"], "yingbi jobs"),
    ],
)
def test_unknown_names_are_malformed(zone: Zone, arguments: list[str], said: str) -> None:
    problem = zone.problem(2, *arguments)
    assert problem["code"].startswith("unknown_")
    assert said in problem["hint"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["sql", "visits", COUNT, "--epsilon", "1", "--nonsense"], "nonsense"),
        (["sql", "visits", COUNT], "epsilon"),
        (["sql", "visits", COUNT, "--epsilon", "1", "--no-wait", "--csv", "table.csv"], "no-wait"),
        (["sql", "visits", COUNT, "--epsilon", "1", "--csv", "/no/such/folder/table.csv"], "csv"),
        (["sql", "visits", COUNT, "--epsilon", "1", "--request-id", ""], "request_id"),
        (["sql", "visits", COUNT, "--epsilon", "1", "--request-id", "x" * 201], "request_id"),
        (["nonsense"], None),
        ([], None),
        (["dataset"], None),
        (["datasets", "--zone"], "zone"),
    ],
)
def test_bad_flags_are_malformed_and_print_no_help_beside_the_document(
    zone: Zone, arguments: list[str], field: str | None
) -> None:
    assert zone.call("--json", *arguments).problem(2).get("field") == field


@pytest.mark.parametrize(
    ("right", "wrong", "field", "said"),
    [
        ("max_units:", "max_unit:", "max_unit", "max_units"),
        ("grade: 2", "grade: 5", "grade", "4"),
        ("epsilon: 9.0", "epsilon: .nan", "budget.epsilon", "epsilon"),
        ("units_disjoint: true", "units_disjoint: yes", "units_disjoint", "true"),
        ("type: float64,", "type: flaot64,", "tables.visits.columns.pain.type", "float64"),
        ("lower: 0,", "lower: 11,", "tables.visits.columns.pain.lower", "upper"),
        ("file: visits.parquet", "file: absent.parquet", "tables.visits.file", "absent.parquet"),
        ("dataset: wrong", "dataset: Wrong!", "dataset", "a-z"),
        ("[north,", "[north, north,", "tables.visits.columns.clinic.values", "north"),
        ("zone: test", "zone: [test", None, "YAML"),
    ],
)
def test_a_mistake_in_the_metadata_is_told_with_file_line_and_field(
    zone: Zone, tmp_path: Path, right: str, wrong: str, field: str | None, said: str
) -> None:
    metadata = VISITS.format(name="wrong", grade=2, epsilon=9.0)
    assert metadata.count(right) == 1
    path = write_dataset(tmp_path, metadata.replace(right, wrong), {"visits": visits()})
    line = metadata[: metadata.index(right)].count("\n") + 1
    if field is None:  # what was opened is missed on the next line
        line += 1
    problem = zone.problem(2, "dataset", "add", zone.root, path)
    assert problem["message"].startswith(f"dataset.yaml:{line}: {field or 'document'}: ")
    assert problem["position"].split(":")[0] == str(line)
    assert problem.get("field") == field
    assert said in problem["message"] + problem.get("hint", "")
    assert "wrong" not in datasets(zone)


def test_a_metadata_file_that_is_not_there_is_malformed(zone: Zone, tmp_path: Path) -> None:
    assert "absent.yaml" in zone.problem(2, "dataset", "add", zone.root, tmp_path / "absent.yaml")["message"]


def with_column(name: str, values: Any) -> pa.Table:
    """The visits with one column replaced."""
    table = visits()
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))


@pytest.mark.parametrize(
    ("table", "exit_code", "said"),
    [
        pytest.param(visits().drop_columns(["pain"]), 2, "pain", id="missing column"),
        pytest.param(with_column("pain", ["severe"] * 600), 2, "pain", id="wrong type"),
        pytest.param(with_column("person", [None, *range(599)]), 2, "person", id="unit missing"),
        pytest.param(with_column("person", ["x"] * 600), 2, "person", id="unit of another type"),
        pytest.param(
            pa.concat_tables([with_column("person", range(n, n + 600)) for n in (0, 600)]),
            3,
            "1000",
            id="too many units",
        ),
    ],
)
def test_a_data_file_with_mistakes_registers_nothing(
    zone: Zone, tmp_path: Path, table: pa.Table, exit_code: int, said: str
) -> None:
    path = write_dataset(tmp_path, VISITS.format(name="spoilt", grade=2, epsilon=1.0), {"visits": table})
    assert said in zone.problem(exit_code, "dataset", "add", zone.root, path)["message"]
    assert "spoilt" not in datasets(zone)


def test_a_file_that_is_no_data_registers_nothing_and_mended_it_does(zone: Zone, tmp_path: Path) -> None:
    path = write_dataset(tmp_path, VISITS.format(name="mended", grade=2, epsilon=1.0), {"visits": visits()})
    good = (tmp_path / "visits.parquet").read_bytes()
    (tmp_path / "visits.parquet").write_bytes(good[: len(good) // 2])
    assert "visits.parquet" in zone.problem(2, "dataset", "add", zone.root, path)["message"]
    (tmp_path / "visits.parquet").write_bytes(good)
    path.write_text(VISITS.format(name="mended", grade=2, epsilon=2.0))
    assert zone.json("dataset", "add", zone.root, path)["dataset"] == "mended"
    # From now on its budget cannot be raised by adding it again; the version and the budget stay.
    before = zone.fetch("dataset", "show", "mended")
    path.write_text(VISITS.format(name="mended", grade=2, epsilon=3.0))
    assert zone.problem(3, "dataset", "add", zone.root, path)["code"] == "budget_raised"
    assert zone.fetch("dataset", "show", "mended") == before


def test_a_second_up_on_the_same_folder_is_refused_and_changes_nothing(zone: Zone) -> None:
    before = zone.json("status", zone.root)
    problem = zone.run("up", zone.root, "--detach", "--json").problem(3)
    assert (problem["code"], problem["hint"]) == ("already_up", f"yingbi down {zone.root}")
    assert zone.json("status", zone.root) == before


def test_a_port_in_use_is_not_available(stopped_zone: Zone) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        problem = stopped_zone.run("up", stopped_zone.root, "--detach", "--port", str(port), "--json").problem(4)
    assert (problem["code"], problem["field"]) == ("port_in_use", "--port")
    assert str(port) in problem["message"]
    shown = stopped_zone.json("status", stopped_zone.root)
    assert (shown["gateway"], shown["processes"]) == (None, [])


def test_a_zone_that_is_down_is_not_available_and_says_how_to_start_it(stopped_zone: Zone, tmp_path: Path) -> None:
    root = stopped_zone.root
    path = write_dataset(tmp_path / "data", VISITS.format(name="late", grade=2, epsilon=1.0), {"visits": visits()})
    for command in (["datasets"], ["sql", "visits", COUNT, "--epsilon", "1"], ["dataset", "add", str(root), str(path)]):
        assert f"yingbi up {root}" in stopped_zone.problem(4, *command)["hint"], command
    # The same where it has been up, and nobody listens at its address now.
    profile = root / "profiles" / "developer.json"
    profile.write_text(json.dumps({**json.loads(profile.read_text()), "address": "127.0.0.1:1"}))
    problem = stopped_zone.problem(4, "budget", "visits")
    assert "127.0.0.1:1" in problem["message"]
    assert problem["hint"] == f"yingbi up {root}"
    # And in a process of its own.
    assert stopped_zone.run("budget", "visits", "--json").problem(4) == problem
    assert stopped_zone.json("down", root) == {"stopped": []}


def test_init_leaves_a_folder_that_is_not_empty_alone(zone: Zone, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    assert str(tmp_path / "full") in zone.problem(3, "init", tmp_path / "full")["message"]
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    assert zone.problem(3, "init", zone.root)["code"] == "folder_in_use"
    assert zone.problem(2, "init", tmp_path / "new", "--nodes", "0")["field"] == "--nodes"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", [["up"], ["status"], ["down"], ["dataset", "add"]])
def test_a_folder_without_a_zone_is_malformed(zone: Zone, tmp_path: Path, command: list[str]) -> None:
    shutil.copy(zone.root / "zone.json", tmp_path / "not-the-zone.json")
    more = [tmp_path / "x.yaml"] if command[-1] == "add" else []
    problem = zone.problem(2, *command, tmp_path, *more)
    assert (problem["code"], problem["hint"]) == ("no_zone", f"yingbi init {tmp_path}")


def test_a_file_that_is_no_receipt_does_not_verify(zone: Zone, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}")
    assert zone.problem(5, "receipt", "verify", tmp_path / "r.json")["code"].startswith("receipt_")
    assert zone.problem(2, "receipt", "verify", tmp_path / "absent.json")["field"] == "file"
