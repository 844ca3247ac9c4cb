"""A small dataset: a declaration of two tables and rows for them."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import ColumnType

from enclave_sim.plan.schema import check_declaration
from enclave_sim.sealed.shard import SealedShard, seal_shard

KEY = bytes(range(32))
CANARY = "canary-7f3a9c"


def _column(name: str, kind: str, *, unit: bool = False) -> ColumnDeclaration:
    role = ColumnDeclaration.ROLE_UNIT if unit else ColumnDeclaration.ROLE_ATTRIBUTE
    return ColumnDeclaration(name=name, type=ColumnType.Value(f"COLUMN_TYPE_{kind}"), role=role)


@dataclass(frozen=True)
class Source:
    """What a node is asked to seal."""

    declaration: DatasetDeclaration
    tables: dict[str, pa.Table]

    @property
    def declaration_bytes(self) -> bytes:
        return self.declaration.SerializeToString(deterministic=True)

    def seal(self, folder: Path) -> SealedShard:
        return seal_shard(folder, self.declaration_bytes, self.tables, KEY)


def clinic() -> Source:
    """Patients p0, p1, … with one row each, and visits of theirs, which are not in order."""
    declaration = DatasetDeclaration(
        dataset="clinic",
        zone="medical",
        title={"en": "Clinic"},
        grade=2,
        source="a test",
        privacy_unit="id",
        unit_namespace="patient",
        max_units=60,
        units_disjoint=True,
        budget_epsilon=1.0,
        budget_delta=1e-7,
        tables=[
            TableDeclaration(
                name="patients",
                max_rows_per_unit=1,
                columns=[_column("name", "STRING"), _column("id", "STRING", unit=True)],
            ),
            TableDeclaration(
                name="visits",
                max_rows_per_unit=20,
                columns=[
                    _column("id", "STRING", unit=True),
                    _column("well", "BOOL"),
                    _column("n", "INT64"),
                    _column("x", "FLOAT64"),
                    _column("ward", "STRING"),
                    _column("day", "DATE"),
                    _column("at", "TIMESTAMP"),
                ],
            ),
        ],
    )
    check_declaration(declaration)
    return Source(declaration, {"patients": _patients(), "visits": _visits()})


def _patients() -> pa.Table:
    ids = [f"p{number}" for number in range(50)]
    return pa.table({"name": [f"{CANARY}-{number}" for number in range(50)], "id": ids})


def _visits() -> pa.Table:
    count = 300
    start = datetime.datetime(2020, 1, 1)
    return pa.table(
        {
            "id": [f"p{(number * 7) % 50}" for number in range(count)],
            "well": [None if number % 5 == 0 else number % 2 == 0 for number in range(count)],
            "n": pa.array(range(count), pa.int64()),
            "x": [float("nan") if number % 3 == 0 else number / 7 for number in range(count)],
            "ward": [f"{CANARY}-{number % 4}" for number in range(count)],
            "day": [datetime.date(2020, 1, 1 + number % 28) for number in range(count)],
            "at": pa.array([start.replace(hour=number % 24) for number in range(count)], pa.timestamp("us")),
        }
    )
