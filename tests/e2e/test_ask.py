"""What analysts ask in SQL, through real processes: every answer lies where plain DuckDB says, within its noise."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from yingbi import connect
from yingbi.api.problem import Problem

from tests.zones import VISITS, Zone, visits, write_dataset

pytestmark = pytest.mark.xdist_group("zone")

PEOPLE = 3000
EPSILON = "300"
METADATA = """
dataset: clinic
zone: test
title: {en: "People and their visits"}
grade: 2
source: "made up for tests"
privacy_unit: id
max_units: 5000
units_disjoint: true
budget: {epsilon: 500000.0, delta: 1.0e-6}
tables:
  people:
    file: people.parquet
    max_rows_per_unit: 1
    columns:
      id:   {type: int64, role: unit}
      sex:  {type: string, values: [f, m]}
      age:  {type: int64, lower: 0, upper: 99}
      city: {type: string}
  visits:
    file: visits.parquet
    max_rows_per_unit: 4
    columns:
      id:     {type: int64, role: unit}
      clinic: {type: string, values: [north, south, east]}
      day:    {type: date}
      pain:   {type: float64, lower: 0, upper: 10}
      cost:   {type: float64, lower: 0, upper: 1000}
"""
CITIES = ["Aden", "Basel", "Cairo", "Delhi"]


def tables() -> dict[str, pa.Table]:
    """3,000 people with one to four visits each; nothing is NULL and nothing outside its bounds."""
    chance = random.Random(3)
    ids = list(range(PEOPLE))
    rows = [(one, visit) for one in ids for visit in range(1 + one % 4)]
    pain = [chance.randrange(0, 11) for _ in rows]
    return {
        "people": pa.table(
            {
                "id": ids,
                "sex": [chance.choice("fm") for _ in ids],
                "age": [min(99, max(0, round(chance.gauss(50, 18)))) for _ in ids],
                # One person alone lives in Zug.
                "city": ["Zug" if one == 7 else chance.choice(CITIES) for one in ids],
            }
        ),
        "visits": pa.table(
            {
                "id": [one for one, _ in rows],
                "clinic": [chance.choice(["north", "south", "east"]) for _ in rows],
                "day": pa.array([18_000 + 100 * visit + one % 90 for one, visit in rows], pa.int32()).cast(pa.date32()),
                "pain": [float(one) for one in pain],
                "cost": [min(1000.0, 50 * one + chance.random() * 100) for one in pain],
            }
        ),
    }


@pytest.fixture(scope="module")
def asked(zone: Zone, tmp_path_factory: pytest.TempPathFactory) -> Zone:
    zone.add(tmp_path_factory.mktemp("clinic"), METADATA, tables())
    return zone


def truth(sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(":memory:") as connection:
        for name, table in tables().items():
            connection.register(name, table)
        return connection.sql(sql).fetchall()


LINEAR = {
    "count of an expression": "SELECT COUNT(*) AS n, COUNT(pain) AS k FROM visits",
    "filter": "SELECT COUNT(*) FILTER (WHERE pain > 5) AS n, SUM(cost) FILTER (WHERE clinic = 'east') AS c FROM visits",
    "ranges": "SELECT sex, COUNT(*) FILTER (WHERE age < 40) AS a, COUNT_IF(age BETWEEN 40 AND 64) AS b,"
    " COUNT_IF(age >= 50) AS c, COUNT_IF(age > 90) / COUNT_IF(age >= 50) AS d FROM people GROUP BY sex ORDER BY sex",
    "sum of a case": "SELECT SUM(CASE WHEN pain >= 8 THEN 1 ELSE 0 END) AS severe FROM visits",
    "expression": "SELECT SUM(pain * 2 + 1) AS s, AVG(cost / 100) AS c FROM visits",
    "where": "SELECT COUNT(*) AS n FROM visits WHERE clinic LIKE '%th' AND NOT (pain BETWEEN 2 AND 4 OR cost < 30)",
    "date function": "SELECT COUNT(*) AS n FROM visits WHERE MONTH(day) IN (4, 5) AND YEAR(day) = 2019",
    "bucketed key": "SELECT FLOOR(age / 20) * 20 AS decade, COUNT(*) AS n FROM people GROUP BY decade ORDER BY decade",
    "integer key": "SELECT age, COUNT(*) AS n FROM people WHERE age BETWEEN 45 AND 55 GROUP BY age HAVING COUNT(*) > 20"
    " ORDER BY age",
    "case key": "SELECT CASE WHEN age < 40 THEN 'young' ELSE 'old' END AS era, AVG(age) AS a FROM people GROUP BY 1"
    " ORDER BY era",
    "month key": "SELECT MONTH(day) AS m, COUNT(*) AS n FROM visits GROUP BY m HAVING COUNT(*) > 10 ORDER BY m",
    "distinct values": "SELECT sex, COUNT(DISTINCT FLOOR(age / 20)) AS n FROM people GROUP BY sex ORDER BY sex",
    "ratio": "SELECT clinic, SUM(cost) / COUNT(*) AS c, AVG(pain) - 1 AS p FROM visits GROUP BY clinic ORDER BY clinic",
    "variance": "SELECT sex, VARIANCE(age) AS v, STDDEV_POP(age) AS s FROM people GROUP BY sex ORDER BY sex",
    "covariance": "SELECT COVAR_POP(pain, cost) AS c, CORR(pain, cost) AS r FROM visits",
    "rollup": "SELECT clinic, COUNT(*) AS n FROM visits GROUP BY ROLLUP (clinic) ORDER BY clinic",
    "windows": "SELECT clinic, COUNT(*) AS n, n / SUM(n) OVER () AS share, RANK() OVER (ORDER BY clinic DESC) AS r"
    " FROM visits GROUP BY clinic QUALIFY r <= 2 ORDER BY clinic",
    "order and limit": "SELECT clinic, AVG(pain) AS p FROM visits GROUP BY clinic ORDER BY clinic DESC LIMIT 2",
    "join": "SELECT sex, COUNT(*) AS n, AVG(pain) AS p FROM people JOIN visits USING (id) GROUP BY sex ORDER BY sex",
    "per-unit subquery": "SELECT COUNT(*) AS n, AVG(worst) AS w FROM"
    " (SELECT id, MAX(pain) AS worst FROM visits GROUP BY id) WHERE worst >= 5",
    "latest": "WITH latest AS (SELECT id, pain FROM visits QUALIFY ROW_NUMBER() OVER (PARTITION BY id ORDER BY day"
    " DESC) = 1) SELECT sex, AVG(pain) AS p FROM people JOIN latest USING (id) GROUP BY sex ORDER BY sex",
    "semi-join": "SELECT COUNT(*) AS n FROM people WHERE id IN (SELECT id FROM visits WHERE pain = 10)",
}


@pytest.mark.parametrize("name", LINEAR)
def test_an_answer_is_the_truth_within_its_noise(asked: Zone, name: str) -> None:
    sql = LINEAR[name]
    answer = asked.fetch("sql", "clinic", sql, "--epsilon", EPSILON)
    expected = truth(sql)
    assert len(answer["rows"]) == len(expected), (answer["rows"], expected)
    for row, errors, right in zip(answer["rows"], answer["std_errors"], expected, strict=True):
        for value, error, exact in zip(row, errors, right, strict=True):
            if error is None:
                assert value == exact
            else:
                assert abs(value - float(exact)) <= 6 * error + 1e-3 * abs(float(exact)), (sql, row, right)


def test_what_a_public_table_says_of_a_row_makes_groups(asked: Zone, tmp_path: Path) -> None:
    """In one stage: nobody declared the cities, but the countries are in the table. One person alone lives in Zug."""
    text = "city,land\nAden,Yemen\nBasel,Switzerland\nZug,Switzerland\nOslo,Norway\n"
    (tmp_path / "places.csv").write_text(text, encoding="utf-8")
    sql = "SELECT land, COUNT(*) AS n FROM people JOIN places USING (city) GROUP BY land ORDER BY land"
    lookup = f"places={tmp_path / 'places.csv'}"
    answer = asked.fetch("sql", "clinic", sql, "--epsilon", EPSILON, "--lookup", lookup)
    expected = {"Norway": 0, **dict(truth(sql.replace("places", f"'{tmp_path / 'places.csv'}' AS places")))}
    assert [land for land, _ in answer["rows"]] == ["Norway", "Switzerland", "Yemen"]
    for (land, value), (_, error) in zip(answer["rows"], answer["std_errors"], strict=True):
        assert abs(value - expected[land]) <= 6 * error


@pytest.mark.parametrize(
    ("sql", "exact", "tolerance"),
    [
        ("SELECT MEDIAN(age) AS m FROM people", "SELECT MEDIAN(age) FROM people", 2),
        (
            "SELECT QUANTILE_CONT(cost, 0.9) AS q FROM visits",
            "SELECT QUANTILE_CONT(cost, 0.9) FROM visits",
            15,
        ),
        ("SELECT MAX(pain) AS m FROM visits", "SELECT MAX(pain) FROM visits", 0.5),
    ],
)
def test_a_quantile_lies_near_the_true_one(asked: Zone, sql: str, exact: str, tolerance: float) -> None:
    answer = asked.fetch("sql", "clinic", sql, "--epsilon", EPSILON)
    assert abs(answer["rows"][0][0] - float(truth(exact)[0][0])) <= tolerance
    low, high = answer["intervals"][0][0]
    assert low <= answer["rows"][0][0] <= high


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT id FROM people", "privacy_unit"),
        ("SELECT age FROM people", "raw_columns"),
        ("SELECT COUNT(*) FROM people JOIN visits ON people.age = visits.pain", "join_not_on_unit"),
        ("SELECT SUM(age) OVER () FROM people", "raw_columns"),
        ("SELECT COUNT(*) FROM (SELECT AVG(age) AS a FROM people)", "across_units"),
        ("SELECT COUNT(*) FROM people WHERE age > (SELECT AVG(age) FROM people)", "across_units"),
        ("SELECT MD5(city), COUNT(*) FROM people GROUP BY 1", "not_supported"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_its_place_and_costs_nothing(asked: Zone, sql: str, code: str) -> None:
    before = asked.spent("clinic")
    problem = asked.problem(3, "sql", "clinic", sql, "--epsilon", "1")
    assert problem["code"] == code, problem
    assert problem["position"]
    assert problem["hint"]
    assert asked.spent("clinic") == before


def test_a_preview_predicts_the_error_of_counts_and_sums(asked: Zone) -> None:
    sql = "SELECT clinic, COUNT(*) AS n, SUM(cost) AS c FROM visits GROUP BY clinic"
    preview = asked.fetch("sql", "clinic", sql, "--epsilon", EPSILON, "--preview")
    answer = asked.fetch("sql", "clinic", sql, "--epsilon", EPSILON)
    assert math.isclose(preview["std_errors"][0][1], answer["std_errors"][0][1])
    assert math.isclose(preview["std_errors"][0][2], answer["std_errors"][0][2])


def test_its_receipt_verifies_offline(asked: Zone, tmp_path: Path) -> None:
    saved = tmp_path / "receipt.json"
    asked.fetch("sql", "clinic", LINEAR["join"], "--epsilon", EPSILON, "--save-receipt", saved)
    assert asked.fetch("receipt", "verify", saved)["verified"]


def test_keys_that_nobody_declared_are_selected_first_and_a_lonely_one_never_appears(asked: Zone) -> None:
    sql = "SELECT city, COUNT(*) AS n, AVG(age) AS a FROM people GROUP BY city ORDER BY city"
    preview = asked.fetch("sql", "clinic", sql, "--epsilon", EPSILON, "--preview")
    assert [column["name"] for column in preview["columns"]] == ["city", "n", "a"]
    before = asked.spent("clinic")
    answer = asked.fetch("sql", "clinic", sql, "--epsilon", EPSILON, "--request-id", "cities")
    assert asked.spent("clinic") > before
    assert [row[0] for row in answer["rows"]] == CITIES
    expected = {row[0]: row[1:] for row in truth(sql)}
    for (city, count, age), errors in zip(answer["rows"], answer["std_errors"], strict=True):
        assert abs(count - expected[city][0]) <= 6 * errors[1] + 1
        assert abs(age - expected[city][1]) <= 6 * errors[2] + 0.1
    assert len(answer["stages"]) == 1
    assert asked.fetch("result", answer["job"])["stages"] == answer["stages"]
    spent = asked.spent("clinic")
    again = asked.fetch("sql", "clinic", sql, "--epsilon", EPSILON, "--request-id", "cities")
    assert (again["rows"], asked.spent("clinic")) == (answer["rows"], spent)


def test_a_value_that_one_person_alone_has_is_not_counted(asked: Zone) -> None:
    answer = asked.fetch("sql", "clinic", "SELECT COUNT(DISTINCT city) AS n FROM people", "--epsilon", EPSILON)
    assert answer["columns"] == [{"name": "n", "kind": "distinct_values"}]
    assert (answer["rows"], answer["intervals"]) == ([[len(CITIES)]], [[[len(CITIES), len(CITIES)]]])


def test_bounds_auto_finds_a_clipping_bound_from_the_data(asked: Zone) -> None:
    sql = "SELECT clinic, COUNT(*) AS n FROM visits GROUP BY clinic ORDER BY clinic"
    answer = asked.fetch("sql", "clinic", sql, "--epsilon", EPSILON, "--bounds", "auto")
    for row, errors, right in zip(answer["rows"], answer["std_errors"], truth(sql), strict=True):
        assert abs(row[1] - right[1]) <= 6 * errors[1] + 0.05 * right[1]


def test_an_organisation_spends_what_each_may_and_not_the_whole_budget(zone: Zone, tmp_path: Path) -> None:
    metadata = VISITS.format(name="shared", grade=2, epsilon=10.0)
    limited = metadata.replace("epsilon: 10.0", "epsilon: 10.0, each_organisation: {epsilon: 1}")
    zone.add(tmp_path, limited, {"visits": visits()})
    sql = "SELECT COUNT(*) AS {} FROM visits"
    asked = zone.fetch("sql", "shared", sql.format("n"), "--epsilon", "0.9")
    share = zone.fetch("budget", "shared")["organisation"]
    assert (share["organisation"], asked["budget"]["organisation"]) == ("developer", share)
    assert share["remaining_epsilon"] < share["epsilon"] <= 1
    refused = zone.call("sql", "shared", sql.format("m"), "--epsilon", "0.9", "--json").problem(3)
    assert (refused["code"], refused["limit"]) == ("budget_exceeded", "organisation")
    assert refused["remaining_epsilon"] == pytest.approx(share["remaining_epsilon"], rel=1e-4)
    raised = write_dataset(tmp_path / "more", metadata, {"visits": visits()})
    assert zone.call("dataset", "add", zone.root, raised, "--json").problem(3)["code"] == "budget_raised"


AGREEMENT = """
agreement: {name}
dataset: agreed
organisation: developer
purpose: "which clinic needs more staff"
starts: {starts}
expires: 2999-12-31
budget: {{epsilon: 5, delta: 1.0e-7}}
max_uses: {uses}
"""


def test_a_dataset_is_asked_under_an_agreement_as_often_as_it_says(zone: Zone, tmp_path: Path) -> None:
    metadata = VISITS.format(name="agreed", grade=2, epsilon=10.0) + "agreements_required: true\n"
    zone.add(tmp_path, metadata, {"visits": visits()})
    ask = ["sql", "agreed", "SELECT COUNT(*) AS n FROM visits", "--epsilon", "1"]
    assert zone.problem(3, *ask)["code"] == "agreement_needed"
    for name, starts, uses in (("once", "2026-01-01", 1), ("later", "2999-01-01T00:00+08:00", 9)):
        (tmp_path / f"{name}.yaml").write_text(AGREEMENT.format(name=name, starts=starts, uses=uses))
        added = zone.fetch("agreement", "add", tmp_path / f"{name}.yaml")
        assert (added["agreement"], added["budget"]["max_uses"]) == (name, uses)
    with connect(folder=zone.root) as developer, pytest.raises(Problem, match="takes the operator"):
        developer.add_agreement(tmp_path / "once.yaml")
    preview = zone.fetch(*ask, "--preview")
    assert (preview["budget"]["agreement"]["agreement"], preview["budget"]["agreement"]["uses"]) == ("once", 0)
    assert zone.problem(3, *ask, "--agreement", "later")["code"] == "agreement_not_begun"
    answer = zone.fetch(*ask, "--agreement", "once")
    assert abs(answer["rows"][0][0] - 600) <= 6 * answer["std_errors"][0][0]
    assert answer["budget"]["agreement"]["uses"] == 1
    assert zone.fetch(*ask)["replayed"]
    spent = zone.spent("agreed")
    assert zone.problem(3, *ask[:2], "SELECT COUNT(pain) FROM visits", *ask[3:])["code"] == "agreement_used_up"
    assert zone.spent("agreed") == spent
    shown = zone.fetch("budget", "agreed")["agreements"]
    assert [(each["agreement"], each["uses"]) for each in shown] == [("later", 0), ("once", 1)]
    bad = tmp_path / "once.yaml"
    bad.write_text(bad.read_text().replace("max_uses: 1", "max_uses: none"))
    problem = zone.problem(2, "agreement", "add", bad)
    assert (problem["code"], problem["field"], problem["position"]) == ("metadata", "max_uses", "9:1")


def test_the_enclaves_show_fresh_evidence_of_the_code_that_is_installed_here(zone: Zone) -> None:
    shown = zone.fetch("attest")
    assert (shown["tier"], len(shown["enclaves"])) == ("warning", 3)
    assert {each["measurement"] for each in shown["enclaves"]} == {zone.fetch("measure")["measurement"]}
    assert zone.problem(5, "attest", "--no-simulation")["code"] == "evidence_simulated"


def test_a_trained_model_is_least_squares_on_everybody_counting_once(asked: Zone, tmp_path: Path) -> None:
    """People have one to four visits: the model is that of a person's mean, and follows from its receipt alone."""
    kept = tmp_path / "receipt.json"
    formula = "cost ~ pain + age + C(clinic)"
    trained = asked.fetch("train", "clinic", formula, "--epsilon", EPSILON, "--save-receipt", kept)
    weights = "SELECT id, 1 / COUNT(*) AS w FROM visits GROUP BY id"
    rows = truth(
        "SELECT sqrt(w), pain, age, clinic = 'south', clinic = 'east', cost"
        f" FROM visits JOIN people USING (id) JOIN ({weights}) USING (id)"
    )
    weighed = np.array([[float(cell) * float(row[0]) for cell in (1.0, *row[1:])] for row in rows])
    expected = np.linalg.lstsq(weighed[:, :-1], weighed[:, -1])[0]
    assert [row[0] for row in trained["rows"]] == [
        "(Intercept)", "pain", "age", "C(clinic)[south]", "C(clinic)[east]",
    ]  # fmt: skip
    for found, exact in zip(trained["model"]["coefficients"], expected, strict=True):
        assert abs(found["value"] - exact) <= 6 * found["noise_error"] + 1e-2, (found, exact)
    assert trained["model"]["trained_as"] == f"TRAIN LinearRegression {formula}"
    said = {check["check"]: check["finding"] for check in asked.fetch("receipt", "verify", kept)["checks"]}
    assert trained["model"]["fingerprint"] in said["numbers"]


def test_naive_bayes_by_real_processes_has_the_classes_of_the_rows(asked: Zone, tmp_path: Path) -> None:
    kept, graph = tmp_path / "receipt.json", tmp_path / "model.onnx"
    flags = ("--model", "naive-bayes", "--epsilon", EPSILON, "--save-receipt", kept, "--onnx", graph)
    trained = asked.fetch("train", "clinic", "sex ~ age", *flags)
    exact = truth("SELECT sex, COUNT(*), AVG(age) FROM people GROUP BY sex ORDER BY sex")
    for found, (label, units, mean) in zip(trained["model"]["classes"], exact, strict=True):
        assert found["class"] == label
        assert abs(found["units"] - units) <= 6 * found["units_error"]
        told = found["columns"][0]["mean"]
        assert abs(told["value"] - float(mean)) <= 6 * told["noise_error"] + 0.3
    said = {check["check"]: check["finding"] for check in asked.fetch("receipt", "verify", kept)["checks"]}
    assert trained["model"]["fingerprint"] in said["numbers"]
    assert trained["model"]["fingerprint"].encode() in graph.read_bytes()


def test_a_model_in_rounds_is_that_of_the_likelihood_and_every_round_of_it_is_verified(
    asked: Zone, tmp_path: Path
) -> None:
    """Asked again it costs nothing: each round is the stored release, as long as the same is asked of the same rows.

    The old count twice, which moves the odds alone; and a round more says how often the model is right.
    """
    kept = tmp_path / "receipts.json"
    options = ("--model", "logistic", "--rounds", "6", "--class-weight", "true=2", "--alpha", "1", "--score")
    command = ("train", "clinic", "(age >= 50) ~ pain + sex", *options)
    trained = asked.fetch(*command, "--epsilon", EPSILON, "--save-receipt", kept)
    ((old, young),) = truth("SELECT COUNT_IF(age >= 50), COUNT_IF(age < 50) FROM people")
    pain, men = (each["value"] for each in trained["model"]["coefficients"][1:])
    assert [row[0] for row in trained["rows"]] == ["(Intercept)", "pain", "sex[m]"]
    # Nothing depends on anything here, but for chance.
    for coefficient in trained["model"]["coefficients"][1:]:
        assert abs(coefficient["value"]) <= 5 * coefficient["std_error"]
    middle = trained["model"]["coefficients"][0]["value"] + 5 * pain + 0.5 * men
    assert abs(middle - math.log(2 * old / young)) <= 0.25
    score = trained["model"]["score"]
    assert len(trained["model"]["jobs"]) == 7
    assert abs(score["accuracy"] - old / (old + young)) <= 5 * score["accuracy_noise_error"] + 0.02
    said = {check["check"]: check["finding"] for check in asked.fetch("receipt", "verify", kept)["checks"]}
    assert trained["model"]["fingerprint"] in said["rounds"]
    again = asked.fetch(*command, "--epsilon", EPSILON)
    assert again["replayed"]
    assert again["budget"] == trained["budget"]
    assert again["model"]["fingerprint"] == trained["model"]["fingerprint"]
    alone = asked.problem(3, "result", trained["model"]["jobs"][2])
    assert alone["code"] == "training_round"


def test_bounds_of_a_model_are_found_in_a_first_stage(asked: Zone) -> None:
    trained = asked.fetch("train", "clinic", "age ~ sex", "--epsilon", EPSILON, "--bounds", "auto")
    ((women,), (men,)) = truth("SELECT AVG(age) FROM people GROUP BY sex ORDER BY sex")
    assert len(trained["stages"]) == 1
    for found, exact in zip(trained["model"]["coefficients"], (women, men - women), strict=True):
        assert abs(found["value"] - exact) <= 6 * found["noise_error"] + 0.3, (found, exact)


def test_made_up_rows_are_like_everybody_counting_once(asked: Zone, tmp_path: Path) -> None:
    """Two columns of visits: of a person with four, each visit is a quarter. They follow from the receipt alone."""
    made, kept = tmp_path / "made.csv", tmp_path / "receipt.json"
    card = asked.fetch(
        "synthesize", "clinic", "--columns", "clinic, pain", "--epsilon", EPSILON, "--bins", "5",
        "--seed", "1", "--out", made, "--save-receipt", kept,
    )  # fmt: skip
    weights = "SELECT id, 1 / COUNT(*) AS w FROM visits GROUP BY id"
    cells = truth(
        "SELECT clinic, least(floor(pain / 2), 4), SUM(w)"
        f" FROM visits JOIN ({weights}) USING (id) GROUP BY ALL"
    )  # fmt: skip
    rows = [line.split(",") for line in made.read_text().splitlines()[1:]]
    found = Counter((clinic, min(int(float(pain) / 2), 4)) for clinic, pain in rows if clinic and pain)
    assert len(rows) == card["rows"] == found.total() + sum(not all(row) for row in rows)
    assert len(rows) == pytest.approx(PEOPLE, abs=20)
    for clinic, pain, count in cells:
        assert found[clinic, int(pain)] == pytest.approx(float(count), abs=25)
    said = {check["check"]: check["finding"] for check in asked.fetch("receipt", "verify", kept)["checks"]}
    assert said["numbers"].startswith("2 marginals recomputed")
