"""The catalogue: registered datasets and their present versions. Each function is a step of a transaction."""

from __future__ import annotations

import time

from google.protobuf.message import Message
from sqlalchemy import Connection, bindparam, delete, insert, select
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1.dataset_pb2 import Dataset, DatasetDeclaration, RegisterDatasetRequest

from gateway.governance.catalogue_entry import ZONE_TYPES
from gateway.governance.registration import RegisteredDataset
from gateway.ledger import accounts, ledger
from gateway.storage import audit
from gateway.storage.prepared import Prepared
from gateway.storage.tables import datasets, zones

# Made once: to build a statement takes longer than to execute it.
_DATASET = Prepared(select(datasets).where(datasets.c.dataset == bindparam("dataset")))
_VERSION = Prepared(select(datasets.c.version).where(datasets.c.dataset == bindparam("dataset")))


def register(
    connection: Connection, new: RegisteredDataset, *, person: str = audit.GATEWAY, organisation: str = ""
) -> Dataset:
    """Make `new` the dataset's present version; its zone is made when absent. Raises Problem.

    Each version is a row of the audit record: what changed, who changed it, and what it is known by.

    Keeps: CAT-01, CAT-02
    """
    declaration = new.declaration
    present = _read(connection, declaration.dataset)
    if present is not None:
        accounts.check_successor(present.declaration, declaration)
    _check_zone_type(connection, declaration)
    ledger.set_limits(connection, declaration)
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
    audit.append(
        connection,
        "dataset.register",
        declaration.dataset,
        person=person,
        organisation=organisation,
        details={
            "version": new.version.hex(),
            "declaration": digests.digest(digests.DECLARATION, declaration.SerializeToString(deterministic=True)).hex(),
            "changed": changed_fields(present.declaration, declaration) if present else [],
        },
    )
    return describe(connection, new)


def find(connection: Connection, name: str) -> RegisteredDataset:
    """The dataset called `name`; raises Problem with the nearest name.

    Keeps: CAT-01
    """
    dataset = _read(connection, name)
    if dataset is None:
        near = nearest(name, list(connection.execute(select(datasets.c.dataset)).scalars()))
        hint = f"did you mean {near}?" if near else "`yingbi datasets` lists what there is"
        raise Problem(Kind.UNKNOWN, "unknown_dataset", f"There is no dataset {name!r}.", field="dataset", hint=hint)
    return dataset


def changed_fields(before: DatasetDeclaration, after: DatasetDeclaration) -> list[str]:
    """Which parts of the metadata a new version changed: `catalogue.opening`, `tables`, `grade` ..."""
    names: list[str] = []
    for field in before.DESCRIPTOR.fields:
        if field.name == "catalogue":
            old, new = before.catalogue, after.catalogue
            names += [f"catalogue.{each.name}" for each in old.DESCRIPTOR.fields if _differ(old, new, each.name)]
        elif _differ(before, after, field.name):
            names.append(field.name)
    return sorted(names)


def _differ(before: Message, after: Message, name: str) -> bool:
    return bool(getattr(before, name) != getattr(after, name))


def _check_zone_type(connection: Connection, new: DatasetDeclaration) -> None:
    """Refuse a dataset that calls its zone otherwise than the zone's other datasets do."""
    query = select(datasets.c.declaration).where(datasets.c.zone == new.zone, datasets.c.dataset != new.dataset)
    for data in connection.execute(query).scalars():
        other = DatasetDeclaration.FromString(data)
        if other.zone_type and new.zone_type and other.zone_type != new.zone_type:
            raise Problem(
                Kind.REFUSED,
                "other_zone_type",
                f"The zone {new.zone} is {ZONE_TYPES[other.zone_type]}, as {other.dataset} says,"
                f" and not {ZONE_TYPES[new.zone_type]}.",
                field="zone_type",
                hint="a zone has one type; name another zone, or write the same type",
            )


def check_present(connection: Connection, dataset: RegisteredDataset) -> None:
    """Raise Problem unless this is still the dataset's present version."""
    if _VERSION.execute(connection, {"dataset": dataset.declaration.dataset}).scalar_one() != dataset.version:
        raise changed()


def changed() -> Problem:
    """What is said of a request for a version that another one replaced."""
    return Problem(
        Kind.CONFLICT, "plan_changed", "The dataset changed after the preview.", hint="preview and ask again"
    )


def describe(connection: Connection, dataset: RegisteredDataset, organisation: str | None = None) -> Dataset:
    """The dataset as the catalogue shows it: public bounds, never counts. Its budget as `organisation` may spend it."""
    registration = RegisterDatasetRequest.FromString(dataset.registration)
    return Dataset(
        declaration=dataset.declaration,
        version=dataset.version,
        shards=registration.shards,
        budget=ledger.budget(connection, dataset.declaration, organisation),
    )


def list_all(connection: Connection, organisation: str | None = None) -> list[Dataset]:
    """Every dataset, by name."""
    names = connection.execute(select(datasets.c.dataset).order_by(datasets.c.dataset)).scalars()
    return [describe(connection, find(connection, name), organisation) for name in list(names)]


def show(connection: Connection, name: str, organisation: str | None = None) -> Dataset:
    """The dataset called `name` as the catalogue shows it; raises Problem."""
    return describe(connection, find(connection, name), organisation)


def _read(connection: Connection, name: str) -> RegisteredDataset | None:
    row = _DATASET.execute(connection, {"dataset": name}).one_or_none()
    if row is None:
        return None
    return RegisteredDataset(DatasetDeclaration.FromString(row.declaration), row.version, row.registration)
