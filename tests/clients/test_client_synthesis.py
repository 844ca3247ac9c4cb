"""Made-up rows from the developer's side: what is asked, what comes back, how good it says it is, and whose it is."""

from __future__ import annotations

import datetime
import json
import math
import random
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import client_scene as scene  # type: ignore[import-not-found]
import pytest
import yingbi
from client_gateway import FakeGateway, serving  # type: ignore[import-not-found]
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi import synthetic_fit
from yingbi.api import digests
from yingbi.api.problem import Problem
from yingbi.api.v1.job_pb2 import SynthesizeQuery
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    SynthesisColumn,
    Value,
)
from yingbi.cli.main import main
from yingbi.receipt import Receipt
from yingbi.synthesis import RECIPIENT, MeasuredMarginals
from yingbi.synthetic_marginals import Marginal, Measured, expected_distance
from yingbi.synthetic_rows import SyntheticRows, _cell_of

from gateway.planning.synthesis import plan_synthesis

COLUMNS = ["sex", "age"]
SHARES = {"f": 0.4, "m": 0.6}
UNITS = 10_000


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    made_up = scene.scene()
    with serving(made_up) as (gateway, address):
        scene.write_profiles(tmp_path, made_up, address)
        monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
        measures(gateway)
        yield gateway


def measures(gateway: FakeGateway) -> None:
    """4,000 women below 50 and 6,000 men above it, without noise."""
    declaration = gateway._dataset().declaration
    gateway.plan = plan_synthesis(
        SynthesizeQuery(columns="sex, age", bins=4),
        declaration,
        dataset_version=b"\x01" * 32,
        parties=3,
        epsilon=1.0,
        delta=scene.DELTA,
    ).plan
    women, men, nobody = [2000, 2000, 0, 0], [0, 0, 3000, 3000], [0, 0, 0, 0]
    table = [count << 16 for count in (*women, *men, *nobody)]
    gateway.opened = [UNITS << 16, *table, *table]


def dataset() -> yingbi.Dataset:
    return yingbi.connect().dataset("clinic")


def test_rows_come_back_with_a_card_and_a_receipt(gateway: FakeGateway, tmp_path: Path) -> None:
    made = dataset().synthesize(COLUMNS, 1.0, seed=4, bins=4)
    assert isinstance(made, SyntheticRows)
    assert len(made.rows) == UNITS
    for sex, share in SHARES.items():
        ages = [float(str(row[1])) for row in made.rows if row[0] == sex]
        assert len(ages) == pytest.approx(share * UNITS, rel=0.02)
        assert statistics.fmean(ages) == pytest.approx(25 if sex == "f" else 75, abs=2)
    assert made.report.distance < 0.02
    card = json.loads(json.dumps(made.card, allow_nan=False))
    assert (card["made_up"], card["epsilon"], card["seed"], card["dataset_version"]) == (True, 1.0, 4, "01" * 32)
    assert card["fingerprint"] in repr(made)
    made.save_csv(tmp_path / "made.csv")
    assert (tmp_path / "made.csv").read_text().splitlines()[0] == "sex,age"


def test_the_receipt_has_the_marginals_and_more_rows_cost_nothing(gateway: FakeGateway, tmp_path: Path) -> None:
    measured = dataset().synthesis(COLUMNS, bins=4).run(1.0)
    assert "numbers: 2 marginals recomputed" in str([str(check) for check in measured.receipt.verify()])
    first, again, other = (measured.rows(300, seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert len(first.rows) == 300
    assert len(gateway.jobs) == 1
    measured.receipt.save(tmp_path / "receipt.json")
    assert Receipt.load(tmp_path / "receipt.json").table() == measured.table
    with yingbi.connect() as zone:
        later = zone.job(measured.job.id).answer()
    assert isinstance(later, MeasuredMarginals)
    assert later.rows(300, seed=1).fingerprint == first.fingerprint


def test_every_recipient_has_rows_of_their_own_and_a_signature_says_whose_they_are(gateway: FakeGateway) -> None:
    measured = dataset().synthesis(COLUMNS, bins=4).run(1.0)
    north, south = (measured.rows(500, recipient=name) for name in ("north", "south"))
    assert measured.rows(500, recipient="north").fingerprint == north.fingerprint != south.fingerprint
    # A part of one's file in another order is still told: ages are drawn within their ranges.
    leaked = random.Random(1).sample(list(north.rows), 100)
    assert north.overlap(leaked) == 1
    assert south.overlap(leaked) < 0.1
    proof = measured.proof("north")
    public = Ed25519PublicKey.from_public_bytes(gateway.signed[0].developer_key).public_bytes_raw()
    receipt = digests.digest(digests.RECEIPT, measured.receipt.message.body)
    assert digests.is_signed(public, RECIPIENT, receipt + b"north", proof)
    assert not digests.is_signed(public, RECIPIENT, receipt + b"south", proof)
    assert north.card["mark"] != south.card["mark"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [({"rows": 0}, "rows"), ({"rows": 10**9}, "rows"), ({"seed": -1}, "seed"), ({"seed": 1, "recipient": "a"}, "seed")],
)
def test_rows_that_cannot_be_made_are_refused_before_anything_is_spent(
    gateway: FakeGateway, asked: dict[str, Any], field: str
) -> None:
    with pytest.raises(Problem) as caught:
        dataset().synthesize(COLUMNS, 1.0, bins=4, **asked)
    assert (caught.value.field, gateway.signed) == (field, [])


def test_without_mbi_nothing_is_spent(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mbi", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(Problem) as caught:
        dataset().synthesize(COLUMNS, 1.0)
    assert (caught.value.code, gateway.signed) == ("mbi_missing", [])


def test_a_plan_of_other_columns_is_not_signed(gateway: FakeGateway) -> None:
    for asked in (dataset().synthesis(["sex", "id"]), dataset().sql("SELECT COUNT(*) FROM patients")):
        with pytest.raises(Problem) as caught:
            asked.run(1.0)
        assert (caught.value.code, gateway.signed) == ("plan_differs", [])
    gateway.plan.synthesis.tables[0].columns.reverse()
    with pytest.raises(Problem) as caught:
        dataset().synthesis(COLUMNS).run(1.0)
    assert (caught.value.code, gateway.signed) == ("plan_differs", [])


def test_a_preview_tells_how_far_noise_moves_the_rows(gateway: FakeGateway) -> None:
    foreseen = dataset().synthesis(COLUMNS).preview(1.0)
    assert foreseen.expected[1_000] == pytest.approx(10 * foreseen.expected[10_000])
    assert "Two columns at a time" in repr(foreseen)
    document = json.loads(json.dumps(foreseen.to_json(), allow_nan=False))
    assert document["expected_distances"][0]["units"] == 1_000
    assert not gateway.jobs


def test_what_noise_is_foretold_to_do_it_does(gateway: FakeGateway) -> None:
    """The distance of noised from exact shares, on average."""
    chance, plan = random.Random(2), gateway.plan
    deviation = math.sqrt(3) * plan.statistics[1].sigma / 2**16
    seen = [sum(abs(chance.gauss(0, deviation)) for _ in range(12)) / 2 / UNITS for _ in range(2_000)]
    assert expected_distance(plan, UNITS) == pytest.approx(statistics.fmean(seen), rel=0.03)


# The command line.


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr()[0])


def test_the_command_line_previews_and_writes_rows(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ("synthesize", "clinic", "--columns", "sex, age", "--epsilon", "1", "--bins", "4")
    assert run(capsys, *asked, "--preview")["expected_distances"]
    assert run(capsys, *asked, code=2)["field"] == "out"
    assert run(capsys, *asked, "--out", str(tmp_path / "none" / "made.csv"), code=2)["code"] == "file"
    assert not gateway.jobs
    files = {name: str(tmp_path / name) for name in ("made.csv", "card.json", "receipt.json")}
    written = run(
        capsys, *asked, "--rows", "200", "--recipient", "north", "--out", files["made.csv"],
        "--card", files["card.json"], "--save-receipt", files["receipt.json"],
    )  # fmt: skip
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["rows"], card["recipient"]) == (200, "north")
    assert written["fingerprint"] == card["fingerprint"]
    assert len((tmp_path / "made.csv").read_text().splitlines()) == 201
    assert run(capsys, "result", written["job"])["columns"][0]["name"] == "units"
    assert main([*asked, "--rows", "5", "--seed", "1", "--out", files["made.csv"]]) == 0
    assert "fingerprint" in capsys.readouterr()[0]


# What rows are made of.


def measured_of(sizes: tuple[int, ...], counts: Counter[tuple[int, ...]], deviation: float = 1.0) -> Measured:
    """All pairs of what is counted, without noise."""
    fitted = []
    for pair in combinations(range(len(sizes)), 2):
        cells = [0.0] * (sizes[pair[0]] * sizes[pair[1]])
        for levels, count in counts.items():
            cells[levels[pair[0]] * sizes[pair[1]] + levels[pair[1]]] += count
        shape = (sizes[pair[0]], sizes[pair[1]])
        fitted.append(Marginal(pair, (1, 1), shape, deviation, False, tuple(cells)))
    columns = tuple(SynthesisColumn(name=f"c{k}", bins=n, upper=n, width=1) for k, n in enumerate(sizes))
    return Measured(columns, float(counts.total()), tuple(fitted), ())


def test_a_fit_has_every_pair_and_the_same_numbers_every_time() -> None:
    chance = random.Random(3)
    people = []
    for _ in range(5_000):
        first = chance.randrange(3)
        people.append((first, (first + (chance.random() < 0.2)) % 3, chance.randrange(2)))
    measured = measured_of((3, 3, 2), Counter(people))
    joint = synthetic_fit.fit(measured)
    levels = joint.draw(5_000, bytes(32))
    for marginal in measured.fitted:
        assert marginal.distance(synthetic_fit.shares_of(levels, marginal), 5_000) < 0.02
    assert (levels == synthetic_fit.fit(measured).draw(5_000, bytes(32))).all()
    assert (levels != joint.draw(5_000, b"\1" * 32)).any()


def test_where_all_pairs_are_too_much_those_that_depend_on_each_other_are_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A chain of ten columns, each like the one before: with room for little, the chain is what is kept."""
    chance, people = random.Random(4), []
    for _ in range(3_000):
        row = [chance.randrange(4)]
        for _ in range(9):
            row.append(row[-1] if chance.random() < 0.8 else chance.randrange(4))
        people.append(tuple(row))
    measured = measured_of((4,) * 10, Counter(people))
    monkeypatch.setattr(synthetic_fit, "MOST_CELLS", 200)
    kept = [each.columns for each in synthetic_fit.chosen(measured)]
    assert {(place, place + 1) for place in range(9)} <= set(kept)
    assert len(kept) < 45
    buckets = synthetic_fit._buckets(measured.sizes, kept)
    assert buckets is not None
    assert sum(4 ** (1 + len(bucket.parents)) for bucket in buckets) <= 200


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(2, 4), min_size=2, max_size=4), st.integers(0, 2**32))
def test_what_is_drawn_is_the_product_of_the_factors(sizes: list[int], seed: int) -> None:
    """Conditional shares, column by column, multiply to the whole table, computed here at once."""
    import numpy as np

    chance = np.random.default_rng(seed)
    pairs = [pair for pair in combinations(range(len(sizes)), 2) if chance.random() < 0.7 or pair[1] == pair[0] + 1]
    potentials = [(pair, chance.normal(size=[sizes[place] for place in pair])) for pair in pairs]
    buckets = synthetic_fit._buckets(sizes, pairs)
    assert buckets is not None
    tables = synthetic_fit._conditionals(sizes, buckets, potentials)
    whole = np.zeros(sizes)
    for pair, values in potentials:
        whole = whole + synthetic_fit._spread(values, pair, range(len(sizes)))
    whole = np.exp(whole) / np.exp(whole).sum()
    product = np.ones(sizes)
    for bucket, table in zip(buckets, tables, strict=True):
        product = product * synthetic_fit._spread(table, (*bucket.parents, bucket.column), range(len(sizes)))
    assert np.allclose(product, whole)


def test_values_of_levels_are_within_what_is_declared() -> None:
    ranges = SynthesisColumn(type=COLUMN_TYPE_FLOAT64, lower=-1, upper=10, bins=4, width=2.75, nullable=True)
    number = _cell_of(ranges)
    assert [number(0, 0.0), number(3, 0.999999999), number(4, 0.5)] == [-1.0, 10.0, None]
    threes = SynthesisColumn(type=COLUMN_TYPE_INT64, lower=-1, upper=10, bins=4, width=3, integral=True)
    whole = _cell_of(threes)
    # -1 to 9 in threes: the last range has two numbers.
    assert {whole(3, step / 10) for step in range(10)} == {8, 9}
    values = [Value(date_days=0), Value(date_days=1)]
    day = _cell_of(SynthesisColumn(type=COLUMN_TYPE_DATE, values=values, nullable=True))
    assert [day(1, 0.3), day(2, 0.3)] == [datetime.date(1970, 1, 2), None]
    truth = _cell_of(SynthesisColumn(type=COLUMN_TYPE_BOOL, values=[Value(bool_value=False), Value(bool_value=True)]))
    assert [truth(0, 0.5), truth(1, 0.5)] == [False, True]


@pytest.mark.parametrize(("cells", "shift"), [(8, 0.0), (64, 0.0), (64, 0.05), (125, 0.2)])
def test_a_held_out_marginal_bounds_the_distance_from_everybodys_own(cells: int, shift: float) -> None:
    """In 95 of 100 answers or more, whether the rows are right or wrong."""
    chance, units, deviation = random.Random(cells), 5_000.0, 20.0
    true = [1 / cells] * cells
    rows = [share * (1 + shift * (-1) ** place) for place, share in enumerate(true)]
    distance = sum(abs(one - other) for one, other in zip(true, rows, strict=True)) / 2
    held = 0
    for _ in range(400):
        counts = tuple(units * share + chance.gauss(0, deviation) for share in true)
        marginal = Marginal((0,), (1,), (cells,), deviation, True, counts)
        held += marginal.most_distance(rows, units) >= distance
    assert held >= 0.93 * 400


def test_frames_hold_null(gateway: FakeGateway) -> None:
    pd = pytest.importorskip("pandas")
    columns = (
        SynthesisColumn(name="n", type=COLUMN_TYPE_INT64, bins=2, upper=2, width=1, integral=True, nullable=True),
        SynthesisColumn(name="b", type=COLUMN_TYPE_BOOL, values=[Value(bool_value=True)], nullable=True),
    )
    made = SyntheticRows(columns, ((1, True), (None, None)), report=None, about={})  # type: ignore[arg-type]
    frame = made.to_pandas()
    assert [str(kind) for kind in frame.dtypes] == ["Int64", "boolean"]
    assert frame["n"].isna().tolist() == [False, True]
    assert pd.isna(frame["b"][1])
    assert made.to_csv() == "n,b\n1,true\n,\n"


def test_importing_the_sdk_does_not_import_what_fits() -> None:
    code = "import sys, yingbi.synthesis, yingbi.zone; assert not {'mbi', 'jax', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_fit_leaves_others_settings_and_says_nothing(recwarn: pytest.WarningsRecorder) -> None:
    import jax

    before = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    synthetic_fit.fit(measured_of((3, 3, 2), Counter({(0, 1, 0): 5, (2, 2, 1): 5})))
    assert jax.config.jax_enable_x64 == before  # type: ignore[attr-defined]
    assert not [warning for warning in recwarn if "JAX" in str(warning.message)]
