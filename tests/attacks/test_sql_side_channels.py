"""Questions whose course could depend on one person's rows: an error, a length, a time, a refusal.

Each danger is asked of two neighbours. Both give a vector of the same length and nothing else: no error, no
other shape. What could not be computed whatever the rows hold is refused from the text alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from yingbi.api.problem import Kind, Problem

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.plan.relations import MAX_JOINED_ROWS
from enclave_sim.plan.schema import MAX_LENGTH
from enclave_sim.plan.sensitivity import cells
from enclave_sim.plan.text_work import MAX_TEXT
from enclave_sim.sealed.preparation import prepare
from enclave_sim.sealed.schema import UNIT_COLUMN, arrow_schema
from tests.attacks.neighbours import (
    BOTTOM,
    INFINITY,
    NAN,
    TOP,
    Contributes,
    Row,
    Tables,
    asked,
    clinic,
    lies,
    tables_of,
    vector,
    without,
)
from tests.attacks.three_enclaves import Trio, visits_declaration, visits_of, visits_table
from tests.enclave_sim.engine.drawn import bounded_sum, opener, plan
from tests.enclave_sim.engine.expressions import call
from tests.enclave_sim.engine.relations import joined, ranked, scan

ENGINES: list[type[Contributes]] = [DuckDBEngine, ReferenceEngine]
VICTIM = 4


@dataclass(frozen=True)
class Danger:
    """A question, and the rows of the one person who could make it fail."""

    sql: str
    visits: tuple[Row, ...] = ()
    labs: tuple[Row, ...] = ()


ALICE = {"ward": "east", "pain": 7.5, "age": 99, "stay": 3, "night": True, "note": "Alice", "code": "b"}
LONG = "a" * 300_000
DANGERS: dict[str, Danger] = {
    "division by zero": Danger(
        "SELECT COUNT(*) FILTER (WHERE 1 / (age - 50) > 0), COUNT(pain / 0) FROM visits WHERE stay % (age - 50) = 0",
        ({**ALICE, "age": 50}, {**ALICE, "age": 50, "stay": BOTTOM}),
    ),
    "the smallest integer by minus one": Danger(
        "SELECT COUNT(stay % age), COUNT(-stay), COUNT(ABS(stay)) FROM visits",
        ({**ALICE, "stay": BOTTOM, "age": -1},),
    ),
    "integer overflow": Danger(
        "SELECT SUM(LEAST(GREATEST(stay * stay + stay, -5), 5)) FROM visits WHERE stay * stay * stay > stay",
        ({**ALICE, "stay": TOP}, {**ALICE, "stay": BOTTOM}),
    ),
    "a number that becomes infinite": Danger(
        "SELECT SUM(LEAST(GREATEST(x, -1), 1)), COUNT(x) FROM"
        " (SELECT person, SUM(pain * pain * 1e300) AS x FROM visits GROUP BY person)",
        ({**ALICE, "pain": 1.7e308}, {**ALICE, "pain": INFINITY}, {**ALICE, "pain": -INFINITY}, {**ALICE, "pain": NAN}),
    ),
    "a cast that has no value": Danger(
        "SELECT SUM(LEAST(GREATEST(CAST(note AS BIGINT), 0), 5)) FROM visits WHERE CAST(pain * 1e300 AS BIGINT) > 0",
        tuple({**ALICE, "note": note} for note in ("", "x", "1e5", "9" * 18, "9" * 30, "+-1", "１", "a\0", "-0")),
    ),
    "a logarithm or a root of a negative": Danger(
        "SELECT COUNT(LN(pain)), COUNT(SQRT(pain - 5)) FROM visits WHERE LN(pain) < 3 OR SQRT(pain) IS NULL",
        ({**ALICE, "pain": -1.0}, {**ALICE, "pain": 0.0}, {**ALICE, "pain": -INFINITY}),
    ),
    "a date that is none": Danger(
        "SELECT MONTH(seen), COUNT(*) FROM visits WHERE CAST(day AS VARCHAR) > '1' OR YEAR(seen) > 3 GROUP BY 1",
        ({**ALICE, "day": 2**31 - 1, "seen": 2**63 - 1}, {**ALICE, "day": -(2**31), "seen": -(2**63)}),
    ),
    "a long string": Danger(
        "SELECT COUNT(*) FROM visits WHERE note LIKE '%b%a%b' OR UPPER(note) || note = LOWER(note)",
        ({**ALICE, "note": LONG},),
    ),
    "a filter for one person": Danger(
        "SELECT AVG(pain), VAR_POP(pain), MEDIAN(pain) FROM visits WHERE note = 'Alice' AND age = 99 AND ward = 'east'",
        (ALICE,),
    ),
    "a look-up that has one person's value, and nobody else's": Danger(
        "SELECT who, COUNT(*), AVG(pain * n), COUNT(DISTINCT person) FROM visits"
        " JOIN (VALUES ('Alice', 'her', 1), ('Bob', 'nobody', 2)) AS t(note, who, n) USING (note) GROUP BY who",
        (ALICE,),
    ),
    "a look-up that leaves one person's rows with nothing": Danger(
        "SELECT COUNT(*), COUNT(who), SUM(n) FROM visits LEFT JOIN (VALUES ('12', 'others', 7)) AS t(note, who, n)"
        " USING (note) WHERE who IS NULL OR n / (n - 7) IS NULL",
        (ALICE, {**ALICE, "note": None}, {**ALICE, "note": "12\0"}),
    ),
    "a group with one person in it": Danger(
        "SELECT ward, COUNT(*), AVG(pain), COUNT(DISTINCT person) FROM visits GROUP BY ward HAVING COUNT(*) > 0",
        (ALICE,),
    ),
    "a value that nobody declared": Danger(
        "SELECT ward, code, COUNT(*) FROM visits JOIN labs USING (person) GROUP BY ward, code",
        ({**ALICE, "ward": "elsewhere"}, {**ALICE, "ward": None}, {**ALICE, "ward": ""}),
        ({**ALICE, "code": "z"},),
    ),
    "a person in one table of two": Danger(
        "SELECT COUNT(*), AVG(COALESCE(result, 5)), COUNT(raw) FROM visits v LEFT JOIN labs l USING (person)", (ALICE,)
    ),
    "thousands of pairs of one person": Danger(
        "SELECT COUNT(*), SUM(pain) FROM visits JOIN labs USING (person)", (ALICE,) * 1500, (ALICE,) * 1500
    ),
    "thousands of rows of one person, ranked": Danger(
        "SELECT AVG(pain) FROM"
        " (SELECT *, ROW_NUMBER() OVER (PARTITION BY person ORDER BY note, stay) AS rn FROM visits) WHERE rn <= 2",
        (ALICE,) * 3000,
    ),
}


def _neighbours(danger: Danger, others: int) -> tuple[Tables, Tables]:
    """With the person and without; nobody else is in the ward `east`."""
    plain = {**ALICE, "ward": "north", "age": 30, "note": "12", "code": "a", "result": 1.0, "raw": 5}
    units: dict[int, Mapping[str, Any]] = {
        unit: {"visits": [plain] * 2, "labs": [plain]} for unit in range(2 * others) if unit != VICTIM
    }
    whole = tables_of({**units, VICTIM: {"visits": danger.visits, "labs": danger.labs}})
    return whole, without(whole, VICTIM)


@pytest.mark.parametrize("others", [5, 0], ids=["among others", "alone"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", DANGERS)
def test_a_danger_gives_neighbours_the_same_status_and_shape(name: str, engine: type[Contributes], others: int) -> None:
    """Alone, the neighbour is an empty table."""
    danger = DANGERS[name]
    question = asked(danger.sql)
    whole, fewer = (vector(engine(), question, tables) for tables in _neighbours(danger, others))
    assert len(whole) == len(fewer) == cells(question)
    assert {type(cell) for cell in (*whole, *fewer)} == {int}
    assert not lies(question, whole, fewer)


PLAIN = {
    "integer overflow": "stay * stay",
    "a cast that has no value": "CAST(note AS BIGINT)",
    "a number that becomes infinite": "CAST(pain AS BIGINT)",
    "a date that is none": "CAST(day AS TIMESTAMP)",
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_database_fails_for_one_neighbour_and_not_for_the_other(name: str) -> None:
    """So the rows are dangerous, and the test above would see it."""
    whole, fewer = (tables["visits"] for tables in _neighbours(DANGERS[name], 5))
    with duckdb.connect() as database:
        rows = f"SELECT {PLAIN[name]} FROM visits"
        database.register("visits", fewer)
        database.sql(rows).fetchall()
        database.register("visits", whole)
        with pytest.raises(duckdb.Error):
            database.sql(rows).fetchall()


PATTERNS = {"a_%": "%a_" * 300 + "%b", "_a%": "%" + "_a%" * 300, "a%": "%a" * 400 + "b", "_%": "_%" * 450 + "b"}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_a_pattern_takes_no_exponential_time_on_one_persons_text(pattern: str) -> None:
    """A matcher that goes back tries (300,000 over 300) ways; the release grid hides no such difference."""
    question = asked(f"SELECT COUNT(*) FROM visits WHERE note LIKE '{pattern}'")
    tables = tables_of({VICTIM: {"visits": [{**ALICE, "note": LONG}]}})
    started = time.monotonic()
    vector(DuckDBEngine(), question, tables)
    assert time.monotonic() - started < 20


REFUSED = {
    "an error on purpose": "SELECT COUNT(*) FROM visits WHERE error(note) IS NULL",
    "a cast that fails on a row": "SELECT COUNT(*) FROM visits WHERE CAST(note AS DATE) > DATE '2000-01-01'",
    "a cast with an error in its text": "SELECT COUNT(*) FROM visits WHERE CAST(note AS DOUBLE) > 1",
    "text without a bound": "SELECT COUNT(*) FROM visits WHERE REPEAT(note, 1000000) = ''",
    "padding without a bound": "SELECT COUNT(*) FROM visits WHERE LPAD(note, 1000000000, 'x') = ''",
    "an expression that goes back": "SELECT COUNT(*) FROM visits WHERE REGEXP_MATCHES(note, '(a+)+b')",
    "rows made of a number": "SELECT COUNT(*) FROM visits, GENERATE_SERIES(1, age)",
    "factorials": "SELECT COUNT(*) FROM visits WHERE FACTORIAL(age) > 1",
    "shifts": "SELECT COUNT(*) FROM visits WHERE 1 << age > 1",
    "chance": "SELECT COUNT(*) FROM visits WHERE pain > RANDOM()",
    "the clock": "SELECT COUNT(*) FROM visits WHERE seen > NOW()",
    "a file": "SELECT COUNT(*) FROM read_csv('/etc/passwd')",
    "the unit": "SELECT COUNT(*) FROM visits WHERE person = 7",
    "groups of one unit each": "SELECT person, COUNT(*) FROM visits GROUP BY person",
    "a threshold made of all rows": "SELECT COUNT(*) FROM visits WHERE pain > (SELECT AVG(pain) FROM visits)",
    "other people's rows": "SELECT COUNT(*) FROM visits v WHERE EXISTS (SELECT 1 FROM labs l WHERE l.result > v.pain)",
    "a join on values": "SELECT COUNT(*) FROM visits v JOIN labs l ON l.result = v.pain",
    "a rank among all": "SELECT COUNT(*) FROM (SELECT *, ROW_NUMBER() OVER (ORDER BY pain) r FROM visits) WHERE r = 1",
    "the first rows of all": "SELECT COUNT(*) FROM (SELECT * FROM visits ORDER BY pain LIMIT 1)",
    "the extreme itself": "SELECT MIN(note) FROM visits",
    "any row": "SELECT ANY_VALUE(note) FROM visits",
    "rows": "SELECT pain FROM visits LIMIT 1",
    "bounds taken from the rows": "SELECT SUM(stay) FROM visits",
    "groups taken from the rows": "SELECT pain, COUNT(*) FROM visits GROUP BY pain",
    "a query without end": "WITH RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n + 1 FROM r) SELECT COUNT(*) FROM r",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_depend_on_a_row_is_refused_before_there_is_a_plan(name: str) -> None:
    """From text and declaration alone: nothing is spent, and no row was looked at."""
    with pytest.raises(Problem) as raised:
        asked(REFUSED[name])
    assert raised.value.kind == Kind.REFUSED


E2E = [
    "SELECT clinic, COUNT(*), AVG(pain) FROM visits WHERE 1 / (age - 50) >= 0 OR age IS NULL GROUP BY clinic",
    "SELECT COUNT(*) FROM visits WHERE clinic = 'east' AND LN(pain) > 1 AND age * age * age * age * age > 7",
]


@pytest.fixture(scope="module")
def two(trio_template: Trio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """`visits`, and `more` with one person more, whose rows are the worst."""
    trio = trio_template.copy(tmp_path_factory.mktemp("two"))
    others = [visits_of(node) for node in range(3)]
    worst = [("east", -1.0, 50, True), ("east", INFINITY, TOP, None), (None, NAN, None, None)] * 200
    clinics, pains, ages, nights = zip(*worst, strict=True)
    person = visits_table(person=[999] * len(worst), clinic=clinics, pain=pains, age=ages, night=nights)
    trio.add(visits_declaration("more"), [pa.concat_tables([others[0], person]), *others[1:]])
    yield trio
    trio.close()


@pytest.mark.parametrize("number", range(len(E2E)))
def test_what_leaves_the_enclaves_has_one_shape_and_one_price(two: Trio, number: int) -> None:
    """The same records in the journal, the same number of ciphertexts, one receipt's opened numbers."""
    shapes = []
    for dataset in ("visits", "more"):
        question = two.plan(E2E[number], dataset=dataset, epsilon=5)
        before = [two.records(kind) for kind in ("charge", "contribution", "cancel")]
        contributions = two.contribute(f"{dataset}-{number}", two.task(question, request_id=f"{dataset}-{number}"))
        after = [two.records(kind) for kind in ("charge", "contribution", "cancel")]
        opened = two.sign(f"{dataset}-{number}", two.open(f"{dataset}-{number}", contributions))
        spent = [[b - a for a, b in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)]
        ciphertexts = [[len(one) for one in contribution.ciphertexts] for contribution in contributions]
        shapes.append((spent, ciphertexts, len(opened), sum(two.spent(dataset)) > 0, cells(question)))
    assert shapes[0] == shapes[1]


# Known limits: memory. Strict, so that whoever closes one is told here.


def test_no_stored_text_is_long_enough_to_exhaust_the_engine() -> None:
    """As many are put together as a plan may: a longer one is cut when it is brought, before any question."""
    longest = clinic(note_length=MAX_LENGTH)
    brought = {table.name: arrow_schema(table).empty_table() for table in longest.tables}
    visits = arrow_schema(longest.tables[0])
    row = {name: [None] for name in visits.names} | {"person": [1], "note": ["a" * (MAX_LENGTH + 1)]}
    stored = prepare(longest, {**brought, "visits": pa.table(row, schema=visits)})
    assert stored["visits"]["note"].to_pylist() == ["a" * MAX_LENGTH]
    length = call("length", call("concatenate", *["note:string"] * (MAX_TEXT // MAX_LENGTH)))
    question = plan(bounded_sum(length, 0, 1, 0, 1))
    DuckDBEngine(memory_limit="64MB").contribution(question, opener(stored))


def test_no_number_of_pairs_of_one_person_exhausts_the_engine() -> None:
    """Whether the job ends in an error depends on one person's number of rows."""
    rows = MAX_JOINED_ROWS
    table = {UNIT_COLUMN: pa.array([0] * rows, pa.int64())}
    tables = {
        "left": pa.table({**table, "x": pa.array(range(rows), pa.float64())}),
        "right": pa.table({**table, "y": pa.array(range(rows), pa.float64())}),
    }
    pairs = ranked(joined(scan("left"), scan("right")), "place", by=["x:float64", "y:float64"])
    DuckDBEngine().contribution(plan(bounded_sum("place:int64", 0, 1, 0, 1), over=pairs), opener(tables))
