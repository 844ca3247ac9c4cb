"""The catalogue: registered datasets and their present versions. Each function is a step of a transaction."""

from __future__ import annotations

import time

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1.dataset_pb2 import Dataset, DatasetDeclaration, RegisterDatasetRequest

from gateway.governance.registration import RegisteredDataset
from gateway.ledger import ledger
from gateway.storage.tables import datasets, zones


def register(connection: Connection, new: RegisteredDataset) -> Dataset:
    """Make `new` the dataset's present version; its zone is made when absent. Raises Problem."""
    declaration = new.declaration
    ledger.set_limit(connection, declaration)
    connection.execute(insert_or_ignore(zones).values(zone=declaration.zone).on_conflict_do_nothing())
    connection.execute(delete(datasets).where(datasets.c.dataset == declaration.dataset))
    connection.execute(
        insert(datasets).values(
            dataset=declaration.dataset,
            zone=declaration.zone,
            version=new.version,
            declaration=declaration.SerializeToString(deterministic=True),
            registration=new.registration,
            registered=time.time(),
        )
    )
    return describe(connection, new)


def find(connection: Connection, name: str) -> RegisteredDataset:
    """The dataset called `name`; raises Problem with the nearest name."""
    row = connection.execute(select(datasets).where(datasets.c.dataset == name)).one_or_none()
    if row is None:
        near = nearest(name, list(connection.execute(select(datasets.c.dataset)).scalars()))
        hint = f"did you mean {near}?" if near else "`yingbi datasets` lists what there is"
        raise Problem(Kind.UNKNOWN, "unknown_dataset", f"There is no dataset {name!r}.", field="dataset", hint=hint)
    return RegisteredDataset(DatasetDeclaration.FromString(row.declaration), row.version, row.registration)


def describe(connection: Connection, dataset: RegisteredDataset) -> Dataset:
    """The dataset as the catalogue shows it: public bounds, never counts."""
    registration = RegisterDatasetRequest.FromString(dataset.registration)
    return Dataset(
        declaration=dataset.declaration,
        version=dataset.version,
        shards=registration.shards,
        budget=ledger.budget(connection, dataset.declaration),
    )


def list_all(connection: Connection) -> list[Dataset]:
    """Every dataset, by name."""
    names = connection.execute(select(datasets.c.dataset).order_by(datasets.c.dataset)).scalars()
    return [describe(connection, find(connection, name)) for name in list(names)]


def show(connection: Connection, name: str) -> Dataset:
    """The dataset called `name` as the catalogue shows it; raises Problem."""
    return describe(connection, find(connection, name))
