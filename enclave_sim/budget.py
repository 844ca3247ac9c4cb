"""A node's own copy of the privacy budgets, read from its journal: whatever the gateway says. Pure.

A charge is against two budgets, and each must hold it in full: that of the dataset's id, which versions and
re-registrations share, and that of its unit namespace, which all datasets about the same people share.

The journal says which namespace a dataset belongs to in the dataset's records; one that does not say it was
written before namespaces had budgets, and counts as soon as another record of the dataset says it. The
namespace's limit is the first that the journal has for any of its datasets, and stays so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from enclave_sim.journal import Record
from enclave_sim.privacy.accounting import BudgetExceededError, Charge, Filter


def limit_of(declaration: DatasetDeclaration) -> Charge:
    """The budget that the provider declared."""
    return Charge(*zcdp.bought(declaration.budget_epsilon, declaration.budget_delta))


@dataclass(frozen=True)
class _Books:
    """What a journal has about budgets; what each dataset spent is added up once, for all that ask for it.

    Attributes:
        limits: each limit that was recorded, with its dataset, in order.
        spent: by dataset.
        members: datasets, each with a namespace that a record of its says.
    """

    limits: list[tuple[str, Charge]]
    spent: dict[str, Charge]
    members: set[tuple[str, str]]

    @classmethod
    def read(cls, records: Iterable[Record]) -> _Books:
        # Most records are about jobs alone.
        entries = [(str(record["dataset"]), record) for record in records if "dataset" in record]
        charges: dict[str, list[Record]] = defaultdict(list)
        for dataset, record in entries:
            # Carried: what others charged before this node joined; see `enclave_sim.standing`.
            if record["kind"] in ("charge", "carried"):
                charges[dataset].append(record)
        return cls(
            [(dataset, _limit(record)) for dataset, record in entries if record["kind"] == "budget"],
            {dataset: spent_in(own) for dataset, own in charges.items()},
            {(dataset, str(record["unit_namespace"])) for dataset, record in entries if "unit_namespace" in record},
        )

    def limits_of(self, datasets: set[str]) -> list[Charge]:
        return [limit for dataset, limit in self.limits if dataset in datasets]

    def spent_by(self, datasets: set[str]) -> Charge:
        return sum((self.spent.get(dataset, Charge(0)) for dataset in datasets), Charge(0))

    def budget_of(self, dataset: str) -> Filter | None:
        limits = self.limits_of({dataset})
        return Filter(limits[-1], self.spent_by({dataset})) if limits else None

    def namespace_budget_of(self, declaration: DatasetDeclaration) -> Filter | None:
        members = {dataset for dataset, namespace in self.members if namespace == declaration.unit_namespace}
        members.add(declaration.dataset)
        limits = self.limits_of(members)
        return Filter(limits[0], self.spent_by(members)) if limits else None


def budget_of(records: Iterable[Record], dataset: str) -> Filter | None:
    """The budget of `dataset` after all its charges; None before its first shard was sealed."""
    return _Books.read(records).budget_of(dataset)


def namespace_budget_of(records: Iterable[Record], declaration: DatasetDeclaration) -> Filter | None:
    """The budget of the declaration's unit namespace; None before the first shard of any of its datasets.

    What its datasets spent before is spent here, even where it is above the limit.
    """
    return _Books.read(records).namespace_budget_of(declaration)


def charged(budget: Filter | None, owner: str, charge: Charge) -> Filter:
    """The budget of a dataset or namespace after a charge; raises Problem where there is none or too little left."""
    if budget is None:
        raise Problem(Kind.REFUSED, "unknown_dataset", f"This provider has no budget for {owner}.")
    try:
        return budget.charged(charge)
    except BudgetExceededError as error:
        raise Problem(
            Kind.BUDGET, "budget_exceeded", f"This provider's own budget for {owner} is used up: {error}."
        ) from error


def check_charge(records: Sequence[Record], declaration: DatasetDeclaration, charge: Charge) -> None:
    """Raise Problem unless both the dataset's budget and its namespace's hold the charge in full."""
    _check_namespace(records, declaration)
    dataset, namespace = declaration.dataset, declaration.unit_namespace
    books = _Books.read(records)
    charged(books.budget_of(dataset), f"the dataset {dataset}", charge)
    charged(books.namespace_budget_of(declaration), f"the unit namespace {namespace}", charge)


def check_limit(records: Sequence[Record], declaration: DatasetDeclaration) -> Charge:
    """The limit to record for a dataset that is sealed; raises Problem where it would rise or change namespace."""
    _check_namespace(records, declaration)
    limit = limit_of(declaration)
    present = budget_of(records, declaration.dataset)
    if present and not limit.within(present.limit):
        raise Problem(
            Kind.REFUSED,
            "budget_raised",
            f"The budget of {declaration.dataset} cannot be raised by adding the dataset again.",
            field="budget",
            hint="keep the budget of the first registration, or lower it",
        )
    return limit


def _limit(record: Record) -> Charge:
    return Charge(int(record["limit"]), int(record.get("delta0_limit", 0)))


def spent_in(charges: Sequence[Record]) -> Charge:
    """What these charges come to together."""
    return Charge(
        sum([int(record["rho_units"]) for record in charges]),
        sum([int(record.get("delta0_units", 0)) for record in charges]),
    )


def is_recorded(records: Iterable[Record], declaration: DatasetDeclaration, limit: Charge) -> bool:
    """Whether the journal has this limit of the dataset, and its namespace."""
    books = _Books.read(records)
    is_named = any(dataset == declaration.dataset for dataset, _ in books.members)
    return is_named and books.limits_of({declaration.dataset})[-1:] == [limit]


def _check_namespace(records: Iterable[Record], declaration: DatasetDeclaration) -> None:
    """A dataset that changed its namespace would leave behind what was spent on the same people."""
    dataset = declaration.dataset
    of_dataset = (record for record in records if record.get("dataset") == dataset)
    known = next((record["unit_namespace"] for record in of_dataset if "unit_namespace" in record), None)
    if known not in (None, declaration.unit_namespace):
        raise Problem(
            Kind.REFUSED,
            "namespace_changed",
            f"{dataset} belongs to the unit namespace {known!r} and cannot leave it.",
            field="unit_namespace",
            hint="keep the namespace of the first registration; what was spent was spent on the same people",
        )
