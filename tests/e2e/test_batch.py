"""Several questions at one price, through real processes: shared measurements, one charge for all or none."""

from __future__ import annotations

from pathlib import Path

import pytest
import yingbi
from yingbi.api.problem import Problem

from tests.zones import Zone

pytestmark = pytest.mark.xdist_group("zone")

TRUTH = {"north": (300, 1500.0), "south": (300, 1200.0), "east": (0, 0.0)}
FILE = """
-- How much, and how many? Both are of the same rows and groups.
SELECT clinic, SUM(pain) AS pain FROM visits GROUP BY clinic;
SELECT clinic, COUNT(*) AS n, AVG(pain) AS mean FROM visits GROUP BY clinic HAVING COUNT(*) > 100
ORDER BY mean DESC; SELECT COUNT(DISTINCT person) AS people FROM visits WHERE pain >= 0 /* all; of them */;
"""


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.sql"
    path.write_text(FILE)
    return path


def test_every_question_is_answered_and_all_are_charged_once(zone: Zone, questions: Path) -> None:
    before = zone.spent("visits")
    asked = ("batch", "visits", questions, "--epsilon", "60", "--request-id", "three")
    preview = zone.fetch(*asked, "--preview")
    assert [question["plan"] for question in preview["questions"]] == [0, 0, 1]
    assert zone.spent("visits") == before
    document = zone.fetch(*asked)
    sums, means, people = document["answers"]
    assert len(document["jobs"]) == 2
    assert sums["job"] == means["job"] != people["job"]
    for (clinic, pain), (_, error) in zip(sums["rows"], sums["std_errors"], strict=True):
        assert abs(pain - TRUTH[clinic][1]) <= 6 * error
    assert [row[0] for row in means["rows"]] == ["north", "south"]
    for (clinic, count, mean), (_, of_count, of_mean) in zip(means["rows"], means["std_errors"], strict=True):
        assert abs(count - TRUTH[clinic][0]) <= 6 * of_count
        assert abs(mean - TRUTH[clinic][1] / TRUTH[clinic][0]) <= 6 * of_mean
    assert abs(people["rows"][0][0] - 200) <= 6 * people["std_errors"][0][0]
    assert sums["std_errors"] == preview["questions"][0]["std_errors"]
    spent = zone.spent("visits")
    assert spent > before
    again = zone.fetch(*asked)
    assert (again["answers"], zone.spent("visits")) == (document["answers"], spent)


def test_from_python_each_answer_is_its_own_and_the_receipt_is_shared(zone: Zone) -> None:
    with yingbi.connect(folder=zone.root) as connected:
        visits = connected.dataset("visits")
        batch = connected.batch(
            [visits.sql("SELECT COUNT(*) AS n FROM visits"), visits.sql("SELECT SUM(pain) FROM visits")]
        )
        counted, added = batch.run(epsilon=20)
    assert counted.columns == ("n",)
    assert added.columns == ("SUM(pain)",)
    assert counted.receipt.message == added.receipt.message
    assert counted.receipt.verify()


def test_questions_by_different_keys_and_totals_share_one_job(zone: Zone) -> None:
    people = "FROM (SELECT person, COUNT(*) AS rows FROM visits GROUP BY person)"
    key = "CASE WHEN rows > 2 THEN 'many' ELSE 'few' END AS often"
    with yingbi.connect(folder=zone.root) as connected:
        visits = connected.dataset("visits")
        batch = connected.batch(
            [
                visits.sql(f"SELECT {key}, COUNT(*) AS n {people} GROUP BY often"),
                visits.sql(f"SELECT COUNT(*) AS n {people}"),
            ]
        )
        groups, whole = batch.run(epsilon=20)
    assert groups.job.id == whole.job.id
    found, error = float(str(whole.table.rows[0][0])), whole.table.std_errors[0][0] or 0.0
    assert abs(found - 200) <= 6 * error
    assert abs(sum(float(str(row[1])) for row in groups.table.rows) - 200) <= 12 * error
    assert groups.receipt.verify()


def test_one_bad_question_refuses_all_of_them(zone: Zone, questions: Path) -> None:
    questions.write_text(FILE + "\nSELECT note FROM visits;")
    before = zone.spent("visits")
    problem = zone.problem(3, "batch", "visits", questions, "--epsilon", "1")
    assert (problem["code"], problem["question"], problem["position"]) == ("raw_columns", 4, "7:8")
    assert problem["message"].startswith("Question 4: ")
    assert zone.spent("visits") == before


def test_more_than_is_left_is_not_charged_in_part(zone: Zone) -> None:
    before = zone.spent("visits")
    with yingbi.connect(folder=zone.root) as connected:
        visits, jobs = connected.dataset("visits"), len(connected.jobs())
        batch = connected.batch(
            [visits.sql("SELECT COUNT(*) FROM visits"), visits.sql("SELECT COUNT(*) FROM visits WHERE pain > 3")]
        )
        with pytest.raises(Problem) as caught:
            batch.run(epsilon=999.9)
        assert caught.value.code == "budget_exceeded"
        assert len(connected.jobs()) == jobs
    assert zone.spent("visits") == before
