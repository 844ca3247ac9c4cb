"""The command line: one document on stdout, exit codes that scripts can use, nothing spent by mistake."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import client_scene as scene  # type: ignore[import-not-found]
import pytest
from client_gateway import FakeGateway, serving  # type: ignore[import-not-found]
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.cli import plugins
from yingbi.cli.arguments import Common, parse_epsilon, take_common
from yingbi.cli.main import main
from yingbi.cli.terminal import Terminal
from yingbi.programs import Program
from yingbi.query import Preview
from yingbi.rehearsal import Rehearsal
from yingbi.zone import connect

SQL = "SELECT sex, COUNT(*) AS n FROM patients GROUP BY sex"
ASK = ["sql", "clinic", SQL, "--epsilon", "1"]


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    made_up = scene.scene()
    with serving(made_up) as (gateway, address):
        scene.write_profiles(tmp_path, made_up, address)
        monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
        yield gateway


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The one document on stdout."""
        assert main([*arguments, "--json"]) == code
        out, self.err = self._capsys.readouterr()
        assert out.count("\n") == 1
        return json.loads(out)

    def text(self, *arguments: str, code: int = 0) -> str:
        assert main(arguments) == code
        out, self.err = self._capsys.readouterr()
        return out


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def test_common_options_are_taken_from_anywhere() -> None:
    common, rest = take_common(["--zone", "h:1", "sql", "--json", "a", "--token=t", "--epsilon", "1", "--ca", "f"])
    assert common == Common(True, "h:1", "t", "f")
    assert rest == ["sql", "a", "--epsilon", "1"]


def test_nothing_after_a_double_dash_is_taken() -> None:
    assert take_common(["sql", "--", "--json"]) == (Common(), ["sql", "--", "--json"])


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "abc", "", "1_0", " 1", "1e999", "٣", "0x1"])
def test_epsilon_is_a_plain_positive_number(text: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_epsilon(text)
    assert (caught.value.code, caught.value.field) == ("epsilon", "epsilon")


@pytest.mark.parametrize("text", ["1", "0.5", ".5", "1e-3", "+2", "10."])
def test_epsilon_is_read_as_written(text: str) -> None:
    assert parse_epsilon(text) == float(text)


def test_json_is_accepted_before_and_after(gateway: FakeGateway, shell: Shell, capsys: Any) -> None:
    document = shell.json("budget", "clinic")
    assert document["spent_epsilon"] == 0.0
    assert main(["--json", "budget", "clinic"]) == 0
    assert json.loads(capsys.readouterr().out) == document


def test_a_question_prints_one_document_and_progress_aside(gateway: FakeGateway, shell: Shell) -> None:
    document = shell.json(*ASK)
    assert document["state"] == "succeeded"
    assert document["rows"][0][:2] == ["f", 4000.0]
    assert document["notes"] == ["ages are clipped to 0..100"]
    assert "running" in shell.err
    assert shell.json("result", "job-1")["notes"] == document["notes"]


def test_a_question_prints_a_table_for_people(gateway: FakeGateway, shell: Shell) -> None:
    out = shell.text(*ASK)
    assert "4,000 ± 22" in out
    assert "ages are clipped" in out
    assert "left" in out


def test_a_question_by_itself_is_no_batch_whatever_its_id(gateway: FakeGateway, shell: Shell) -> None:
    assert "cost: ε 1, δ 1e-07 ·" in shell.text(*ASK, "--request-id", "mine/1")


def test_a_preview_costs_nothing(gateway: FakeGateway, shell: Shell) -> None:
    assert shell.json(*ASK, "--preview")["plan_hash"]
    assert "± 22" in shell.text(*ASK, "--preview")
    assert not gateway.jobs


def test_a_preview_says_when_it_costs_more_than_is_left(
    gateway: FakeGateway, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shell.json(*ASK, "--preview")["exceeds_budget"] is False
    left = gateway.budget()
    left.spent_rho_units = left.limit_rho_units - scene.counting_plan(0.5).statistics[0].rho_units
    monkeypatch.setattr(gateway, "budget", lambda: left)
    assert shell.json(*ASK, "--preview")["exceeds_budget"] is True
    assert "more than is left: at most ε 0.3" in shell.text(*ASK, "--preview")


def test_no_wait_prints_the_job(gateway: FakeGateway, shell: Shell) -> None:
    document = shell.json(*ASK, "--no-wait")
    assert (document["job"], document["state"]) == ("job-1", "queued")
    assert shell.json("result", "job-1")["state"] == "queued"
    assert [job["job"] for job in shell.json("jobs")["jobs"]] == ["job-1"]
    assert "job-1" in shell.text("jobs")


def test_sql_is_read_from_stdin(gateway: FakeGateway, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(SQL))
    shell.json("sql", "clinic", "-", "--epsilon", "1")
    assert gateway.jobs["job-1"].sql == SQL


def test_receipt_and_csv_are_saved_and_verify(gateway: FakeGateway, shell: Shell, tmp_path: Path) -> None:
    receipt, table = str(tmp_path / "r.json"), str(tmp_path / "t.csv")
    shell.json(*ASK, "--save-receipt", receipt, "--csv", table)
    with Path(table).open(newline="") as file:
        assert next(csv.reader(file)) == ["sex", "n", "n ±", "years", "years ±", "age", "age ±"]
    found = shell.json("receipt", "verify", receipt)
    assert (found["verified"], found["simulated"]) == (True, True)
    assert "proves nothing about hardware" in shell.text("receipt", "verify", receipt)
    content = Path(receipt).read_bytes()
    Path(receipt).write_bytes(content.replace(b"A", b"B", 1))
    assert shell.json("receipt", "verify", receipt, code=5)["code"].startswith("receipt_")
    assert shell.json("receipt", "verify", str(tmp_path / "none"), code=2)["code"] == "file"


def test_a_receipt_verifies_with_nothing_but_a_ca_file(
    gateway: FakeGateway, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.json(*ASK, "--save-receipt", str(tmp_path / "r.json"))
    (tmp_path / "ca.pem").write_text(gateway.zone.ca.pem)
    monkeypatch.setenv("YINGBI_ZONE", str(tmp_path / "nowhere"))
    found = shell.json("receipt", "verify", str(tmp_path / "r.json"), "--ca", str(tmp_path / "ca.pem"))
    assert any("not compared" in check["finding"] for check in found["checks"])


def test_an_unwritable_file_is_noticed_before_budget_is_spent(
    gateway: FakeGateway, shell: Shell, tmp_path: Path
) -> None:
    for target in (tmp_path / "none" / "r.json", tmp_path):
        document = shell.json(*ASK, "--save-receipt", str(target), code=2)
        assert (document["code"], document["field"]) == ("file", "save-receipt")
    assert not gateway.jobs


@pytest.mark.parametrize("epsilon", ["nan", "inf", "-1", "0", "abc"])
def test_a_bad_epsilon_is_exit_2(gateway: FakeGateway, shell: Shell, epsilon: str) -> None:
    document = shell.json("sql", "clinic", SQL, "--epsilon", epsilon, code=2)
    assert document["code"] == "epsilon"


@pytest.mark.parametrize(
    "arguments",
    [["sql", "clinic", SQL], ["sql"], ["nonsense"], ["budget", "clinic", "--loud"], ["--zone"], ["dataset", "shw"]],
)
def test_usage_errors_have_the_same_shape(shell: Shell, arguments: list[str]) -> None:
    if arguments == ["--zone"]:
        assert main(["--json", "budget", "clinic", "--zone"]) == 2
        return
    document = shell.json(*arguments, code=2)
    assert document["code"] == "usage"
    assert document["message"]


def test_errors_for_people_go_to_stderr(gateway: FakeGateway, shell: Shell) -> None:
    assert shell.text("budget", "clinc", code=2) == ""
    assert shell.err == "error: There is no dataset 'clinc'.\nhint: Did you mean 'clinic'?\n"


def test_raw_rows_are_refused_with_their_position(gateway: FakeGateway, shell: Shell) -> None:
    document = shell.json("sql", "clinic", "SELECT * FROM patients", "--epsilon", "1", code=3)
    assert document == {"code": "raw_columns", "message": "Raw rows do not leave the zone.", "position": "1:8"}


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (job_pb2.JOB_STATE_FAILED, 1),
        (job_pb2.JOB_STATE_CANCELLED, 1),
        (job_pb2.JOB_STATE_REFUSED, 3),
    ],
)
def test_the_exit_code_is_the_jobs_end(gateway: FakeGateway, shell: Shell, ending: job_pb2.JobState, code: int) -> None:
    gateway.ending = ending
    document = shell.json(*ASK, code=code)
    assert document["job"] == "job-1"
    assert shell.json("result", "job-1", code=code) == document


def test_approve_refuse_and_cancel(gateway: FakeGateway, shell: Shell) -> None:
    gateway.holds = True
    shell.json(*ASK, "--no-wait")
    assert shell.json("approve", "job-1", "--token", "developer-token", code=3)["code"] == "not_allowed"
    assert shell.json("approve", "job-1")["state"] == "queued"
    assert shell.json("refuse", "job-1", "--reason", "too [much]")["failure"]["message"] == "Refused: too [much]"
    stopping = ("stop", "job", "job-1", "--reason", "a trial", "--token", "operator-token")
    assert shell.json(*stopping, code=2)["code"] == "not_confirmed"
    assert not gateway.stops
    assert shell.json(*stopping, "--yes")["reason"] == "a trial"
    assert shell.json("cancel", "job-1")["state"] == "cancelled"
    assert [each["subject"] for each in shell.json("stops", "--token", "operator-token")["stops"]] == ["job-1", "job-1"]


HIDING = "def run(tables):\n    return [1]  # \x1b[2K\x08harmless \u202e\u2028\n"


def waits_for_approval(gateway: FakeGateway, shell: Shell, source: bytes, named: bytes) -> None:
    gateway.holds = True
    shell.json(*ASK, "--no-wait")
    plan = Plan.FromString(gateway.jobs["job-1"].plan)
    plan.program.sha256 = hashlib.sha256(named).digest()
    gateway.jobs["job-1"].plan, gateway.jobs["job-1"].source = plan.SerializeToString(), source


def test_an_operator_reads_the_program_as_it_is_before_approving(gateway: FakeGateway, shell: Shell) -> None:
    """Nothing in it can hide a line of it from a terminal, and nothing is approved by looking."""
    waits_for_approval(gateway, shell, HIDING.encode(), HIDING.encode())
    text = shell.text("approve", "job-1", "--show")
    assert "return [1]  # \\u{1b}[2K\\u{8}harmless \\u{202e}\\u{2028}" in text
    assert hashlib.sha256(HIDING.encode()).hexdigest() in text.replace("\n", "")
    assert shell.json("approve", "job-1", "--show")["source"] == HIDING
    assert gateway.jobs["job-1"].state == job_pb2.JOB_STATE_WAITING_FOR_APPROVAL


def test_a_program_that_is_not_shown_is_to_be_compared_by_its_hash(gateway: FakeGateway, shell: Shell) -> None:
    waits_for_approval(gateway, shell, b"", b"1")
    text = shell.text("approve", "job-1", "--show").replace("\n", "")
    assert hashlib.sha256(b"1").hexdigest() in text
    assert shell.json("approve", "job-1", "--show")["source"] is None


def test_a_gateway_that_shows_another_program_is_caught(gateway: FakeGateway, shell: Shell) -> None:
    waits_for_approval(gateway, shell, b"def run(tables): return [0]", HIDING.encode())
    assert shell.json("approve", "job-1", "--show", code=5)["code"] == "other_source"


def test_a_program_is_read_in_the_encoding_that_python_reads_it_in(gateway: FakeGateway, shell: Shell) -> None:
    """In UTF-7 a comment may be code."""
    code = b"# -*- coding: utf-7 -*-\n# +AAo-import os\n"
    waits_for_approval(gateway, shell, code, code)
    assert shell.json("approve", "job-1", "--show")["source"].splitlines()[2] == "import os"


def test_what_a_rehearsed_program_prints_is_not_in_the_document(
    gateway: FakeGateway, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def foreseen(program: Program, epsilon: float, delta: float | None) -> Preview:
        with connect() as zone:
            return zone.dataset("clinic").sql(SQL).preview(epsilon, delta)

    def rehearsed(program: Program, preview: Preview) -> Rehearsal:
        print("from the program")
        return Rehearsal(("n",), ((1.0,), (2.0,)), 2)

    monkeypatch.setattr(Program, "preview", foreseen)
    monkeypatch.setattr(Program, "rehearse", rehearsed)
    (tmp_path / "p.py").write_text("def run(tables):\n    return [1]\n", encoding="utf-8")
    run = ["run", "clinic", str(tmp_path / "p.py"), "--output", "n: float[0,9]", "--epsilon", "1"]
    assert shell.json(*run, "--preview", "--rehearse")["rehearsal"]["blocks"] == 2
    assert "from the program" in shell.err


def test_a_place_in_an_option_names_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().fail(Problem(Kind.MALFORMED, "unknown_column", "No column hdl.", field="where", position="1:8"))
    Terminal().fail(Problem(Kind.MALFORMED, "unknown_column", "No column agee.", field="formula", position="1:7"))
    assert capsys.readouterr().err.splitlines() == [
        "error: No column hdl. (at 1:8 of --where)",
        "error: No column agee. (at 1:7)",
    ]


def test_datasets_are_listed_and_shown(gateway: FakeGateway, shell: Shell) -> None:
    assert shell.json("datasets")["datasets"][0]["dataset"] == "clinic"
    assert "A [made-up] clinic" in shell.text("datasets")
    shown = shell.json("dataset", "show", "clinic")
    assert shown["tables"][0]["columns"][1] == {"name": "sex", "type": "string", "values": ["f", "m"]}
    text = shell.text("dataset", "show", "clinic")
    assert "0 to 100; required; constant per unit" in text
    assert "f, m\n" in "\n".join(line.rstrip() for line in text.splitlines())


def test_the_help_says_what_options_take(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = shell.text("sql", "--help")
    assert "declared|auto" in text
    assert "by default the dataset's" in text


def test_ctrl_c_leaves_the_job_and_says_how_to_fetch_it(
    gateway: FakeGateway, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yingbi.jobs import Job

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "wait", interrupted)
    assert shell.text(*ASK, code=130) == ""
    assert "yingbi result job-1" in shell.err


def test_the_unforeseen_is_internal(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("yingbi.profile.locate", broken)
    monkeypatch.delenv("YINGBI_DEBUG", raising=False)
    assert shell.json("budget", "clinic", code=1)["code"] == "internal"


def test_without_the_server_extra_a_zone_says_what_to_install(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = EntryPoint("zone", "a_server_that_is_not_installed:register", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [missing])
    for arguments in (["init", "dir", "--nodes", "3"], ["up", "dir"], ["dataset", "add", "dir", "m.yaml"]):
        document = shell.json(*arguments, code=4)
        assert document["hint"] == "pip install 'yingbi[server]'"
    assert "init" in shell.text("--help")


def _register_a_plugin(host: plugins.Host) -> None:
    @host.app.command("up")
    def up(folder: str) -> None:
        host.say("starting")
        host.show({"gateway": folder}, "ready")


def test_a_plugin_adds_commands_and_speaks_through_its_host(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = EntryPoint("zone", f"{__name__}:_register_a_plugin", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [plugin])
    assert shell.json("up", "here") == {"gateway": "here"}
    assert shell.err == "starting\n"
    assert shell.text("up", "here") == "ready\n"


def test_a_closed_pipe_is_quiet(gateway: FakeGateway) -> None:
    code = "import sys; from yingbi.cli.main import run; sys.argv = ['yingbi', 'datasets', '--json']; run()"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 1


def test_the_version_is_told(shell: Shell) -> None:
    assert set(shell.json("--version")) == {"version"}
