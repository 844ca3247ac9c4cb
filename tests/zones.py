"""Zones for end-to-end tests: real processes, real sockets, real files, made by the real command line."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from yingbi import connect
from yingbi.cli.main import main

from tests.primes import KNOWN_PRIMES, P3072, Q3072

COMMAND = [sys.executable, "-m", "yingbi"]
TESTS = Path(__file__).resolve().parent


def quick_environment() -> dict[str, str]:
    """This process's environment, with compiled code kept from one process to the next, where Python looks for it.

    Containers often forbid that, and a command would then compile its libraries for longer than it works. Those of an
    environment made by `make` are compiled already: another place for compiled code would have them compiled again.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def known_primes(p: int, q: int) -> dict[str, str]:
    """What lets the dealers of a zone take these primes: see `known_primes/sitecustomize.py`."""
    path = os.pathsep.join(filter(None, [str(TESTS / "known_primes"), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, KNOWN_PRIMES: f"{p} {q}"}


def _no_json(constant: str) -> float:
    raise AssertionError(f"{constant} is no JSON")


@dataclass
class Ran:
    """A finished command."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one JSON document that `--json` prints: nothing before or after it, and no NaN in it."""
        assert self.stdout.count("\n") == 1, self
        return json.loads(self.stdout, parse_constant=_no_json)

    def problem(self, code: int) -> dict[str, Any]:
        """What it said, having ended with this exit code."""
        assert self.code == code, self
        document: dict[str, Any] = self.json
        assert document["code"], document
        assert document["message"], document
        return document


@dataclass
class Zone:
    """A zone's folder and the environment that its commands run in.

    A key ceremony takes known primes, or seeks its own where there are none; the zone's own code knows nothing of that.
    """

    root: Path
    config: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    primes: tuple[int, int] | None = (P3072, Q3072)

    @property
    def environment(self) -> dict[str, str]:
        here = {"YINGBI_ZONE": str(self.root), "XDG_CONFIG_HOME": str(self.config), "COLUMNS": "120"}
        return {**quick_environment(), **here, **(known_primes(*self.primes) if self.primes else {})}

    def run(self, *arguments: str | Path, timeout: float = 120, environment: Mapping[str, str] | None = None) -> Ran:
        """Run `yingbi ARGUMENTS` to its end, in the zone's environment unless another is given."""
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            env=self.environment if environment is None else environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str | Path, timeout: float = 120) -> Any:
        """The document of a command that has to succeed."""
        ran = self.run(*arguments, "--json", timeout=timeout)
        assert ran.code == 0, (arguments, ran)
        return ran.json

    def call(self, *arguments: str | Path) -> Ran:
        """As `run`, but by the command's function within this process: starting one takes longer than most work."""
        out, err = io.StringIO(), io.StringIO()
        with patch.dict(os.environ, self.environment), redirect_stdout(out), redirect_stderr(err):
            code = main([*map(str, arguments)])
        return Ran(code, out.getvalue(), err.getvalue())

    def fetch(self, *arguments: str | Path) -> Any:
        """The document of a command that has to succeed. It is only called: see `call`."""
        called = self.call(*arguments, "--json")
        assert called.code == 0, (arguments, called)
        return called.json

    def problem(self, code: int, *arguments: str | Path) -> dict[str, Any]:
        """What a command says that has to end with this exit code. It is only called: see `call`."""
        return self.call(*arguments, "--json").problem(code)

    def spent(self, dataset: str) -> float:
        """What of a dataset's budget is spent, as an epsilon. Asked by the SDK, which takes no process."""
        with connect(folder=self.root) as zone:
            return zone.dataset(dataset).budget.spent_epsilon

    def begin(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start `yingbi ARGUMENTS`; the fixture ends it."""
        child = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        self.started.append(child)
        return child

    def up(self) -> None:
        """Start the zone in the background."""
        called = self.call("up", self.root, "--detach")
        assert called.code == 0, called

    def down(self) -> None:
        """Stop it, and every command that was begun."""
        for child in self.started:
            child.kill()
            child.communicate(timeout=60)
        self.call("down", self.root)

    def profile(self, role: str) -> dict[str, Any]:
        """A role's profile, with its token."""
        return dict(json.loads((self.root / "profiles" / f"{role}.json").read_text()))

    def processes(self, role: str) -> dict[str, int]:
        """Process ids by name."""
        shown = self.fetch("status", self.root)
        return {one["name"]: one["pid"] for one in shown["processes"] if one["role"] == role}

    def add(self, folder: Path, metadata: str, tables: dict[str, pa.Table]) -> Any:
        """Write a dataset's files into `folder` and add it. The command is only called: see `call`."""
        return self.fetch("dataset", "add", self.root, write_dataset(folder, metadata, tables))


def write_dataset(folder: Path, metadata: str, tables: dict[str, pa.Table]) -> Path:
    """Write the metadata and one Parquet file a table; returns the metadata's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    path = folder / "dataset.yaml"
    path.write_text(metadata)
    return path


VISITS = """
dataset: {name}
zone: test
title: {{en: "Visits"}}
grade: {grade}
source: "made up for tests"
zone_type: domain
forms: [data, model, interface]
catalogue:
  category: health
  scale: "200 persons"
  precision: "single visits"
  carrier: "tables"
  scope_of_use: "tests"
  external_sharing: "none"
  cross_border: "none"
  security: "sealed at the nodes"
  responsible: "whoever wrote the test"
  opening: {{body: "clinic", level: conditional, mode: "through the gateway"}}
  lawful_source: {{reference: "made up", document: visits.parquet}}
privacy_unit: person
max_units: 1000
units_disjoint: true
budget: {{epsilon: {epsilon}, delta: 1.0e-7}}
tables:
  visits:
    file: visits.parquet
    max_rows_per_unit: 4
    columns:
      person: {{type: int64, role: unit}}
      clinic: {{type: string, values: [north, south, east]}}
      pain:   {{type: float64, lower: 0, upper: 10}}
      note:   {{type: string}}
"""


def visits() -> pa.Table:
    """600 visits of 200 people to two of three declared clinics: 3 each, pain from 0 to 9."""
    rows = range(600)
    return pa.table(
        {
            "person": [row // 3 for row in rows],
            "clinic": ["north" if row % 2 else "south" for row in rows],
            "pain": [float(row % 10) for row in rows],
            "note": ["Raw-Secret-Note" for _ in rows],
        }
    )


AGREEMENT = """
agreement: {name}
dataset: {dataset}
organisation: developer
purpose: "tests of {dataset}"
scenario: "a test's own pages"
starts: 2020-01-01
expires: 2999-01-01
budget: {{epsilon: {epsilon}, delta: 1.0e-7}}
responsibility: "whoever wrote the test"
supervision: "assertions"
revocation: "at any time, with a reason"
{more}
"""


def agree(
    zone: Zone, folder: Path, dataset: str, *, epsilon: float, name: str = "", more: Mapping[str, Any] | None = None
) -> str:
    """Take an agreement about a dataset through its life, up to where it is active; returns its id.

    By the SDK, as three organisations one after another. `more` are further clauses.
    """
    name = name or f"about-{dataset}"
    folder.mkdir(parents=True, exist_ok=True)
    clauses = "\n".join(f"{key}: {json.dumps(value)}" for key, value in (more or {}).items())
    file = folder / f"{name}.yaml"
    file.write_text(AGREEMENT.format(name=name, dataset=dataset, epsilon=epsilon, more=clauses))
    with (
        connect(folder=zone.root, role="developer") as developer,
        connect(folder=zone.root, role="supervisor") as supervisor,
        connect(folder=zone.root, role="provider") as provider,
    ):
        developer.draft_agreement(file)
        developer.move_agreement(name, "apply")
        supervisor.move_agreement(name, "assess")
        provider.move_agreement(name, "consent")
        developer.sign_agreement(name)
        assert provider.sign_agreement(name).state.value == "in force"
    return name


def add_visits(zone: Zone, folder: Path, name: str = "visits", *, grade: int = 2, epsilon: float = 1000.0) -> Any:
    """Add a dataset of visits called `name`."""
    metadata = VISITS.format(name=name, grade=grade, epsilon=epsilon)
    return zone.add(folder / name, metadata, {"visits": visits()})


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition; fails after `seconds`, which are for the slowest machine."""
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.02)


def new_zone(base: Path, *options: str) -> Zone:
    """A zone of its own below `base`, as `yingbi init` makes it; not up."""
    zone = Zone(base / "zone", base / "config")
    made = zone.run("init", zone.root, *options)
    assert made.code == 0, made
    return zone


@pytest.fixture(scope="session")
def zone_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zone of three nodes as `yingbi init --auto-approve` makes it. Copies of it are zones of their own."""
    return new_zone(tmp_path_factory.mktemp("template"), "--auto-approve").root


@pytest.fixture
def stopped_zone(zone_template: Path, tmp_path: Path) -> Iterator[Zone]:
    """A zone that is not up."""
    zone = Zone(Path(shutil.copytree(zone_template, tmp_path / "zone")), tmp_path / "config")
    yield zone
    zone.down()


@pytest.fixture
def fresh_zone(stopped_zone: Zone) -> Zone:
    """A running zone without data, for one test."""
    stopped_zone.up()
    return stopped_zone


@pytest.fixture(scope="session")
def zone(zone_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    """A running zone with the dataset `visits`, which tests share and leave as they found it."""
    base = tmp_path_factory.mktemp("shared")
    shared = Zone(Path(shutil.copytree(zone_template, base / "zone")), base / "config")
    shared.up()
    try:
        add_visits(shared, base / "data")
        yield shared
    finally:
        shared.down()
