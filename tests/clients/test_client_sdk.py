"""The SDK against a gateway on the wire."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import client_scene as scene  # type: ignore[import-not-found]
import pytest
import yingbi
from client_gateway import FakeGateway, serving  # type: ignore[import-not-found]
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2
from yingbi.jobs import Job

SQL = "SELECT sex, COUNT(*) AS n, SUM(age) AS years, AVG(age) AS age FROM patients GROUP BY sex"
ANSWER_KEYS = {
    "job", "state", "dataset", "version", "columns", "rows", "std_errors", "intervals", "notes", "confidence",
    "epsilon", "delta", "rho", "budget", "replayed", "receipt",
}  # fmt: skip


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    made_up = scene.scene()
    with serving(made_up) as (gateway, address):
        scene.write_profiles(tmp_path, made_up, address)
        monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
        yield gateway


@pytest.fixture
def query(gateway: FakeGateway) -> Iterator[yingbi.Query]:
    with yingbi.connect() as zone:
        yield zone.dataset("clinic").sql(SQL)


def test_importing_the_package_loads_nothing_heavy() -> None:
    probe = (
        "import sys, yingbi, yingbi.cli.main; "
        "heavy = {'gateway', 'enclave_sim', 'phe', 'numpy', 'pandas', 'grpc', 'rich.table'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_whole_sdk_loads_without_server_code_or_numpy() -> None:
    probe = (
        "import sys, yingbi; [getattr(yingbi, name) for name in yingbi.__all__]; "
        "print(sorted({'gateway', 'enclave_sim', 'phe', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_question_is_answered_with_a_receipt_that_verifies(query: yingbi.Query) -> None:
    answer = query.run(epsilon=1.0)
    assert answer.table.rows[0][:2] == ("f", 4000.0)
    assert answer.receipt.verify()
    document = answer.to_json()
    assert set(document) == ANSWER_KEYS
    json.dumps(document, allow_nan=False)
    assert document["version"] == "01" * 32
    budget = document["budget"]
    assert isinstance(budget, dict)
    assert set(budget) == {"spent_epsilon", "remaining_epsilon", "dataset_remaining_epsilon", "delta"}


def test_answers_and_previews_read_as_tables(query: yingbi.Query) -> None:
    shown = repr(query.run(epsilon=1.0))
    assert "sex" in shown
    assert "4,000 ± 22" in shown
    foreseen = repr(query.preview(epsilon=1.0))
    assert "± 22" in foreseen
    assert "10,000 rows" in foreseen


def test_to_pandas_has_an_error_column_beside_each_number(query: yingbi.Query) -> None:
    frame = query.run(epsilon=1.0).to_pandas()
    assert list(frame.columns) == ["sex", "n", "n ±", "years", "years ±", "age", "age ±"]
    assert frame["n"].tolist() == [4000.0, 6000.0]


def test_a_null_average_is_nan_in_pandas_and_null_in_json(gateway: FakeGateway, query: yingbi.Query) -> None:
    opened = scene.OPENED
    try:
        scene.OPENED = (0, -64, 0, 0)
        answer = query.run(epsilon=1.0)
    finally:
        scene.OPENED = opened
    assert all(math.isnan(value) for value in answer.to_pandas()["age"])
    rows = answer.to_json()["rows"]
    assert isinstance(rows, list)
    assert [row[3] for row in rows] == [None, None]


def test_a_preview_says_price_and_errors(query: yingbi.Query) -> None:
    document = query.preview(epsilon=1.0).to_json()
    assert document["groups"] == [["f"], ["m"]]
    assert document["std_errors"][0][0] is None  # type: ignore[index]
    assert {"dataset", "version", "plan_hash", "columns", "epsilon", "delta", "rho", "budget"} <= set(document)


def test_progress_is_told_and_a_broken_stream_is_resumed(gateway: FakeGateway, query: yingbi.Query) -> None:
    gateway.stream_breaks = 2
    heard: list[Job] = []
    query.run(epsilon=1.0, progress=heard.append)
    assert [job.state for job in heard] == ["queued", "running", "running", "running", "succeeded"]
    assert gateway.watched == [1, 2, 3]


def test_a_changed_plan_is_previewed_and_signed_once_more(gateway: FakeGateway, query: yingbi.Query) -> None:
    gateway.changes_plan = 1
    assert query.run(epsilon=1.0).job.state == "succeeded"
    gateway.changes_plan = 2
    with pytest.raises(Problem) as caught:
        query.run(epsilon=1.0)
    assert caught.value.code == "plan_changed"


def test_the_same_request_id_is_the_same_job(gateway: FakeGateway, query: yingbi.Query) -> None:
    first, second = (query.run(epsilon=1.0, request_id="once") for _ in range(2))
    assert first.job.id == second.job.id
    assert len(gateway.jobs) == 1


def test_a_plan_for_something_else_is_not_signed(gateway: FakeGateway, query: yingbi.Query) -> None:
    for change in ({"epsilon": 2.0}, {"dataset": "other"}, {"delta": 1e-12}):
        gateway.plan = scene.counting_plan()
        for name, value in change.items():
            setattr(gateway.plan, name, value)
        with pytest.raises(Problem) as caught:
            query.run(epsilon=1.0)
        assert caught.value.code == "plan_differs"
    assert not gateway.jobs


@pytest.mark.parametrize("epsilon", [math.nan, math.inf, -1.0, 0.0])
def test_an_epsilon_that_is_none_is_refused_here(query: yingbi.Query, epsilon: float) -> None:
    with pytest.raises(Problem) as caught:
        query.run(epsilon=epsilon)
    assert (caught.value.kind, caught.value.code) == (Kind.MALFORMED, "epsilon")


def test_an_end_without_answer_says_why(gateway: FakeGateway, query: yingbi.Query) -> None:
    gateway.ending = job_pb2.JOB_STATE_FAILED
    gateway.failure = job_pb2.Failure(code="node_lost", message="node-2 went away.", hint="Ask again.")
    with pytest.raises(Problem) as caught:
        query.run(epsilon=1.0)
    problem = caught.value
    assert (problem.kind, problem.code, problem.message) == (Kind.FAILED, "node_lost", "node-2 went away.")
    assert problem.details == {"job": "job-1", "state": "failed"}


def test_a_gateways_words_arrive(gateway: FakeGateway) -> None:
    with yingbi.connect() as zone, pytest.raises(Problem) as caught:
        zone.dataset("clinc")
    problem = caught.value
    assert (problem.kind, problem.code, problem.field) == (Kind.UNKNOWN, "unknown_dataset", "dataset")
    assert problem.hint == "Did you mean 'clinic'?"
    assert problem.details == {"nearest": "clinic"}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("question", "3", 3),
        ("questions", "1, 3", [1, 3]),
        ("remaining_epsilon", "0.399", 0.399),
        ("question", "third", "third"),
        ("remaining_epsilon", "nan", "nan"),
        ("nearest", "3", "3"),
    ],
)
def test_numbers_in_details_are_numbers_and_never_nan(name: str, text: str, value: object) -> None:
    assert Problem(Kind.BUDGET, "code", "Message.", details={name: text}).to_json()[name] == value


def test_a_silent_gateway_is_named(gateway: FakeGateway, tmp_path: Path) -> None:
    scene.write_profiles(tmp_path, gateway.zone, "127.0.0.1:1")
    with yingbi.connect() as zone, pytest.raises(Problem) as caught:
        zone.datasets()
    assert (caught.value.kind, caught.value.code) == (Kind.UNAVAILABLE, "gateway_unavailable")
    assert "127.0.0.1:1" in caught.value.message
    assert caught.value.hint == f"yingbi up {tmp_path}"


def test_a_gateway_of_another_ca_is_not_talked_to(gateway: FakeGateway, tmp_path: Path) -> None:
    with yingbi.connect() as zone:
        address = zone.profile.address
    scene.write_profiles(tmp_path, scene.scene(), address)
    with yingbi.connect() as zone, pytest.raises(Problem) as caught:
        zone.datasets()
    assert caught.value.kind is Kind.UNAVAILABLE


def test_all_pages_of_jobs_come(gateway: FakeGateway, query: yingbi.Query) -> None:
    for _ in range(3):
        query.submit(epsilon=1.0)
    with yingbi.connect() as zone:
        assert [job.id for job in zone.jobs()] == ["job-1", "job-2", "job-3"]


def test_the_provider_approves_by_signature(gateway: FakeGateway, query: yingbi.Query) -> None:
    gateway.holds = True
    job = query.submit(epsilon=1.0)
    assert job.state == "waiting for approval"
    with yingbi.connect(role="provider") as zone:
        assert zone.job(job.id).approve().state == "queued"
        assert zone.job(job.id).refuse("no").state == "refused"


def test_without_a_profile_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YINGBI_ZONE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(Problem) as caught:
        yingbi.connect()
    assert "yingbi init DIR" in (caught.value.hint or "")


def test_the_current_profile_and_its_sibling_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from yingbi import profile

    monkeypatch.delenv("YINGBI_ZONE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    developer = scene.write_profiles(tmp_path / "zone", scene.scene(), None)
    (tmp_path / "yingbi").mkdir()
    (tmp_path / "yingbi" / "current.json").write_text(json.dumps({"profile": str(developer)}))
    assert profile.locate().token == "developer-token"
    assert profile.locate(role="operator").token == "operator-token"
    with pytest.raises(Problem) as caught:
        profile.locate().reachable_at()
    assert caught.value.hint == f"yingbi up {tmp_path / 'zone'}"


def test_a_stored_token_is_not_sent_to_a_zone_of_another_ca(tmp_path: Path, gateway: FakeGateway) -> None:
    from yingbi import profile

    (tmp_path / "ca.pem").write_text(gateway.zone.ca.pem)
    with pytest.raises(Problem) as caught:
        profile.locate(ca=tmp_path / "ca.pem")
    assert caught.value.field == "token"
    assert profile.locate("h:1", "t", tmp_path / "ca.pem").measurement is None
