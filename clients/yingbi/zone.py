"""Zones and their datasets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from yingbi import profile
from yingbi.agreements import Agreement, document_of
from yingbi.answer import to_json, to_python
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import dataset_pb2, plan_pb2
from yingbi.attest import Attestation, attest
from yingbi.batch import Batch
from yingbi.budget import Budget
from yingbi.jobs import Answer, Job, Progress
from yingbi.learning import LinearRegression, Model, Training
from yingbi.lookups import Rows, files_of, look_up_tables
from yingbi.mock import DEFAULT_ROWS, mock_tables
from yingbi.profile import Profile, Role
from yingbi.programs import Outputs, Program, read_outputs, read_program, read_tables
from yingbi.query import Bounds, Query
from yingbi.transport import Gateway

if TYPE_CHECKING:
    import pandas as pd


def connect(
    address: str | None = None,
    *,
    token: str | None = None,
    ca: str | Path | None = None,
    folder: str | Path | None = None,
    role: Role = "developer",
) -> Zone:
    """A connection to a zone.

    What is not given comes from the profiles in `folder` (a zone's folder), else from that of $YINGBI_ZONE,
    else from the current profile.

    Args:
        address: "host:port".
        token: who is asking.
        ca: a PEM file with the zone's CA.
        role: whose profile to use.
    """
    return Zone(profile.locate(address, token, ca, folder=folder, role=role))


class Zone:
    """A zone, seen by one of its callers. Use as a context manager, or `close` it."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._gateway = Gateway(profile)

    def __enter__(self) -> Zone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Zone({self._gateway.address!r})"

    def close(self) -> None:
        self._gateway.close()

    def datasets(self) -> list[Dataset]:
        return [Dataset(message, self._gateway) for message in self._gateway.list_datasets()]

    def dataset(self, name: str) -> Dataset:
        return Dataset(self._gateway.get_dataset(name), self._gateway)

    def batch(self, queries: Iterable[Query]) -> Batch:
        """Questions to one dataset that are planned together and asked at one price; nothing is asked yet."""
        return Batch(tuple(queries), self._gateway)

    def agreements(self, dataset: str = "") -> list[Agreement]:
        """Those of the caller's organisation, about one dataset or all; an operator sees everybody's."""
        return [Agreement(message) for message in self._gateway.list_agreements(dataset)]

    def agreement(self, name: str) -> Agreement:
        return Agreement(self._gateway.get_agreement(name))

    def add_agreement(self, file: str | Path) -> Agreement:
        """Register the agreement that a YAML or JSON file describes, as an operator."""
        path = Path(file)
        return Agreement(self._gateway.register_agreement(path.name, document_of(path)))

    def attest(
        self,
        node: str = "",
        *,
        allow_simulation: bool | None = None,
        measurement: str = "",
        suites: Collection[str] = (),
    ) -> Attestation:
        """Ask the enclaves that hold the zone's key, or one of them, for evidence over a fresh nonce, and appraise it.

        Args:
            allow_simulation: take simulated enclaves, with a warning; by default as the profile says.
            measurement: the reference value in hexadecimal; by default the profile's.
            suites: names of the cipher suites to accept; by default the profile's, which are those of today.

        Raises:
            Problem: BAD_EVIDENCE with a code that says what is wrong with which enclave.
        """
        trust = self.profile.trust
        allowed = trust.allow_simulation if allow_simulation is None else allow_simulation
        trust = replace(trust, allow_simulation=allowed, measurement=measurement or trust.measurement)
        if suites:
            trust = replace(trust, suites=frozenset(suites))
        return attest(self._gateway, trust, node)

    def jobs(self) -> list[Job]:
        """The caller's jobs; an operator sees everybody's."""
        return [Job(message, self._gateway) for message in self._gateway.list_jobs()]

    def job(self, job: str) -> Job:
        return Job(self._gateway.get_job(job), self._gateway)


@dataclass(frozen=True)
class Dataset:
    """A dataset as its providers declare it. Everything here is public."""

    message: dataset_pb2.Dataset = field(repr=False)
    gateway: Gateway = field(repr=False, compare=False)

    def __repr__(self) -> str:
        tables = ", ".join(table.name for table in self.declaration.tables)
        return f"Dataset({self.name!r}, tables: {tables}; {self.budget})"

    @property
    def name(self) -> str:
        return self.declaration.dataset

    @property
    def declaration(self) -> dataset_pb2.DatasetDeclaration:
        return self.message.declaration

    @property
    def packages(self) -> tuple[str, ...]:
        """What programs can import, with versions, beside Python's own library; empty where none can run."""
        return tuple(self.message.programs.packages)

    @property
    def version(self) -> str:
        """Hexadecimal: changes with every change of data or declaration."""
        return self.message.version.hex()

    @property
    def needs_adding_again(self) -> bool:
        """A node joined or left since: nothing can be asked before an operator adds the dataset again."""
        return self.message.needs_adding_again

    @property
    def budget(self) -> Budget:
        """As it was when the dataset was fetched."""
        return Budget.of(self.message.budget)

    def sql(
        self,
        text: str,
        bounds: Bounds = "declared",
        *,
        lookups: Mapping[str, Rows] | None = None,
        agreement: str | None = None,
    ) -> Query:
        """A question; nothing is asked yet.

        Args:
            bounds: "auto" finds the clipping bound privately, in a first stage, for a twentieth of the price.
            lookups: public tables by the names that the SQL joins them by: a frame, a list of dictionaries, or the
                path of a CSV file. They are sent in the clear, and what is used of them is in the receipt.
            agreement: the id of the agreement to ask under. Where the dataset requires one, your organisation's only
                one need not be named.

        Raises:
            Problem: a look-up is no table of values.
        """
        given = lookups or {}
        return Query(self.name, text, self.gateway, bounds, look_up_tables(given), files_of(given), agreement or "")

    def program(
        self,
        program: str | Path | bytes,
        outputs: Outputs,
        *,
        tables: Iterable[str] | Mapping[str, Sequence[str]] | None = None,
        blocks: int | None = None,
        seconds: float | None = None,
        agreement: str | None = None,
        publish_source: bool = False,
    ) -> Program:
        """A program to run on blocks of units; nothing is asked yet.

        Args:
            program: the path of a Python file, or its bytes. It defines `run(tables)`: from a block's tables, frames by
                name in which the privacy unit is a number, to one number for each output.
            outputs: what it returns, in order: "mean_age: float[18,100]" or, for the median over blocks, "age: median
                float[18,100]"; several of them, or bounds by name.
            tables: which tables it sees, or which columns of which; by default everything.
            blocks: at each provider. More blocks make less noise, of fewer units each.
            seconds: for each block.
            publish_source: show the code to operators, who may have to approve it; by default only enclaves read it.

        Raises:
            Problem: the program is no Python, or an output is none.
        """
        return Program(
            self.name,
            "",
            self.gateway,
            agreement=agreement or "",
            code=read_program(program),
            outputs=read_outputs(outputs),
            tables=read_tables(tables),
            blocks=blocks,
            seconds=seconds,
            publish_source=publish_source,
            declaration=self.declaration,
            environment=self.message.programs if self.message.HasField("programs") else None,
        )

    def run(
        self,
        program: str | Path | bytes,
        outputs: Outputs,
        epsilon: float,
        delta: float | None = None,
        *,
        tables: Iterable[str] | Mapping[str, Sequence[str]] | None = None,
        blocks: int | None = None,
        seconds: float | None = None,
        agreement: str | None = None,
        publish_source: bool = False,
        progress: Progress | bool | None = None,
    ) -> Answer:
        """Run a program and wait for the means, or medians, of its outputs: `program(...)`, then its `run`."""
        asked = self.program(
            program,
            outputs,
            tables=tables,
            blocks=blocks,
            seconds=seconds,
            agreement=agreement,
            publish_source=publish_source,
        )
        return asked.run(epsilon, delta, progress=progress)

    def training(
        self, model: LinearRegression, bounds: Bounds = "declared", *, agreement: str | None = None
    ) -> Training:
        """A model to train; nothing is asked yet. `preview` says what it costs, `mock` tries it on made-up rows.

        Args:
            bounds: "auto" measures first, for a twentieth of the price, how far values are from the ends of their
                ranges, and clips persons whose are further out than most: less noise. For rows of which a person has
                one.

        Raises:
            Problem: MALFORMED "formula", for what is no model.
        """
        if not isinstance(model, LinearRegression):
            raise Problem(
                Kind.MALFORMED,
                "formula",
                f"{model!r} is no model to train.",
                field="model",
                hint='pass one: yingbi.LinearRegression("value ~ age + male")',
            )
        named = agreement or ""
        return Training(self.name, "", self.gateway, bounds, agreement=named, spec=model, declaration=self.declaration)

    def train(
        self,
        model: LinearRegression,
        epsilon: float,
        delta: float | None = None,
        *,
        bounds: Bounds = "declared",
        agreement: str | None = None,
        request_id: str | None = None,
        progress: Progress | bool | None = None,
    ) -> Model:
        """Train a model and wait for it: `training(...)`, then its `run`."""
        asked = self.training(model, bounds, agreement=agreement)
        return asked.run(epsilon, delta, request_id=request_id, progress=progress)

    def mock(self, rows: int = DEFAULT_ROWS, seed: int | None = None) -> pd.DataFrame | dict[str, pd.DataFrame]:
        """Made-up rows of the same schema, for trying things out: from the declaration alone, never from data.

        Args:
            rows: how many each table has, unless `max_units` admits fewer.
            seed: the same seed makes the same rows.

        Returns:
            The dataset's one table, or a frame by table name where it has several. A unit has the same id in all.
        """
        frames = {table.name: table.to_pandas() for table in mock_tables(self.declaration, rows, seed)}
        return frames.popitem()[1] if len(frames) == 1 else frames

    def to_json(self) -> dict[str, object]:
        declared = self.declaration
        return {
            "dataset": self.name,
            "zone": declared.zone,
            "title": dict(declared.title),
            "grade": declared.grade,
            "source": declared.source,
            "privacy_unit": declared.privacy_unit,
            "unit_namespace": declared.unit_namespace or self.name,
            "max_units": declared.max_units,
            "units_disjoint": declared.units_disjoint,
            "agreements_required": declared.agreements_required,
            "curious_providers": declared.curious_providers,
            "version": self.version,
            **({"needs_adding_again": True} if self.needs_adding_again else {}),
            **({"program_packages": list(self.packages)} if self.packages else {}),
            "budget": {"epsilon": declared.budget_epsilon, **self.budget.to_json()},
            "tables": [
                {
                    "name": table.name,
                    "max_rows_per_unit": table.max_rows_per_unit,
                    "columns": [_column_json(column) for column in table.columns],
                }
                for table in declared.tables
            ],
        }


def type_name(column: dataset_pb2.ColumnDeclaration) -> str:
    """The type's name in a declaration: int64, string, ..."""
    return plan_pb2.ColumnType.Name(column.type).removeprefix("COLUMN_TYPE_").lower()


def _column_json(column: dataset_pb2.ColumnDeclaration) -> dict[str, object]:
    parts: dict[str, object] = {"name": column.name, "type": type_name(column)}
    if column.role == dataset_pb2.ColumnDeclaration.ROLE_UNIT:
        parts["role"] = "unit"
    if column.values:
        parts["values"] = [to_json(to_python(value)) for value in column.values]
    if column.HasField("lower"):
        parts["lower"] = column.lower
    if column.HasField("upper"):
        parts["upper"] = column.upper
    if column.required:
        parts["required"] = True
    if column.constant_per_unit:
        parts["constant_per_unit"] = True
    if column.HasField("max_length"):
        parts["max_length"] = column.max_length
    return parts
