"""What an enclave's journal says is spent, as it is handed to the holders of the next key epoch. Pure.

A node that joins has an empty journal. If that were its budget, replacing one node after another would make a zone
in which no journal knows what was spent, and a gateway could spend it again. So a key epoch names a *standing*: each
dataset's and namespace's limit and what is spent of it, which every holder takes over before it does anything else.

Why no roster makes more budget. A release of epoch k was charged in the journal of every holder of k, since each
contributed. The dealer deals epoch k + 1 only to enclaves of which one at least holds epoch k. Such a holder takes
k + 1 only if its standing has at least what its own journal has, and limits that are no higher (`check_covers`);
without it nothing runs in k + 1, since a job needs every holder. So every holder of an epoch in which something runs
begins with at least all that was ever released, whether or not it has been there. A standing that says too much, as
the largest amounts of several journals may, only leaves less to spend.

What this takes for granted: the epochs follow each other as the dealer was shown them, and one in which nothing ran
had the standing that its holders' journals say. Whoever holds the zone's CA can found epochs, and zones, of enclaves
that have seen nothing; the gateway and the hosts of nodes do not hold it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from yingbi.api.evidence import EvidenceError
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.standing_pb2 import DatasetStanding, NamespaceStanding, Standing

from enclave_sim.budget import budget_of, namespace_budget_of
from enclave_sim.journal import Record
from enclave_sim.privacy.accounting import Charge, Filter


def standing_of(records: Sequence[Record]) -> Standing:
    """What the journal's datasets and their namespaces may spend and have spent. Without a salt."""
    standing = Standing()
    names = dict.fromkeys(str(record["dataset"]) for record in records if record["kind"] == "budget")
    shared: dict[str, Filter] = {}
    for name in names:
        namespace = _namespace_of(records, name)
        budget = budget_of(records, name)
        together = namespace_budget_of(records, DatasetDeclaration(dataset=name, unit_namespace=namespace))
        assert budget is not None
        assert together is not None
        shared.setdefault(namespace, together)
        standing.datasets.add(
            dataset=name,
            unit_namespace=namespace,
            limit_rho_units=budget.limit.rho_units,
            limit_delta0_units=budget.limit.delta0_units,
            spent_rho_units=budget.spent.rho_units,
            spent_delta0_units=budget.spent.delta0_units,
        )
    for namespace, together in shared.items():
        standing.namespaces.add(
            unit_namespace=namespace,
            limit_rho_units=together.limit.rho_units,
            limit_delta0_units=together.limit.delta0_units,
        )
    return standing


def check_covers(later: Standing, earlier: Standing) -> None:
    """Raise EvidenceError unless `later` has all that is spent in `earlier`, and no limit above its.

    What is spent of a namespace is the sum over its datasets, so that datasets settle it.
    """
    datasets = {one.dataset: one for one in later.datasets}
    for before in earlier.datasets:
        after = datasets.get(before.dataset, DatasetStanding())
        if after.unit_namespace != before.unit_namespace:
            raise EvidenceError(f"the key epoch's standing leaves out {before.dataset}, or has it in another namespace")
        if not _spent(before).within(_spent(after)):
            raise EvidenceError(f"the key epoch's standing has less of {before.dataset} spent than there is")
        if not _limit(after).within(_limit(before)):
            raise EvidenceError(f"the key epoch's standing raises the budget of {before.dataset}")
    namespaces = {one.unit_namespace: one for one in later.namespaces}
    for known in earlier.namespaces:
        if known.unit_namespace not in namespaces or not _limit(namespaces[known.unit_namespace]).within(_limit(known)):
            raise EvidenceError(f"the key epoch's standing raises the budget of the namespace {known.unit_namespace}")


def taken_over(standing: Standing, records: Sequence[Record]) -> list[Record]:
    """The records with which a journal that `standing` covers says what it says; none where it does already.

    A namespace's limit is the first in the journal, a dataset's the last: see `enclave_sim.budget`. If only the first
    of these records were written before a crash, the rest follow from the journal as it is then.
    """
    own = standing_of(records)
    present = {one.dataset: one for one in own.datasets}
    known = {one.unit_namespace for one in own.namespaces}
    limits = {one.unit_namespace: _limit(one) for one in standing.namespaces}
    new: list[Record] = []
    for one in standing.datasets:
        mine = present.get(one.dataset, DatasetStanding())
        limit = _limit(mine)
        if one.unit_namespace not in known:
            known.add(one.unit_namespace)
            limit = limits[one.unit_namespace]
            new.append(_limit_record(one, limit))
        if one.dataset not in present or limit != _limit(one):
            new.append(_limit_record(one, _limit(one)))
        if _spent(mine) != _spent(one):
            new.append(_spent_record(one, mine))
    return new


def _namespace_of(records: Iterable[Record], dataset: str) -> str:
    own = (record for record in records if record.get("dataset") == dataset)
    return next((str(record["unit_namespace"]) for record in own if "unit_namespace" in record), "")


def _limit_record(one: DatasetStanding, limit: Charge) -> Record:
    return {
        "kind": "budget",
        "dataset": one.dataset,
        "unit_namespace": one.unit_namespace,
        "limit": limit.rho_units,
        "delta0_limit": limit.delta0_units,
    }


def _spent_record(one: DatasetStanding, mine: DatasetStanding) -> Record:
    return {
        "kind": "carried",
        "dataset": one.dataset,
        "unit_namespace": one.unit_namespace,
        "rho_units": one.spent_rho_units - mine.spent_rho_units,
        "delta0_units": one.spent_delta0_units - mine.spent_delta0_units,
    }


def _limit(one: DatasetStanding | NamespaceStanding) -> Charge:
    return Charge(one.limit_rho_units, one.limit_delta0_units)


def _spent(one: DatasetStanding) -> Charge:
    return Charge(one.spent_rho_units, one.spent_delta0_units)
