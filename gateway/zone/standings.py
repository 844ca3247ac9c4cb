"""What is spent according to several journals at once: the most that any of them has spent, the least that any allows.

Journals differ where a job or an ingest reached some nodes and not others. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from yingbi.api.v1.standing_pb2 import DatasetStanding, NamespaceStanding, Standing


def merged(standings: Sequence[Standing], salt: bytes) -> Standing:
    """One standing that covers all of `standings`, datasets and namespaces in the order in which they appear."""
    datasets: dict[str, DatasetStanding] = {}
    namespaces: dict[str, NamespaceStanding] = {}
    for standing in standings:
        for dataset in standing.datasets:
            kept = datasets.setdefault(dataset.dataset, DatasetStanding.FromString(dataset.SerializeToString()))
            _lower_limits(kept, dataset)
            kept.spent_rho_units = max(kept.spent_rho_units, dataset.spent_rho_units)
            kept.spent_delta0_units = max(kept.spent_delta0_units, dataset.spent_delta0_units)
        for namespace in standing.namespaces:
            known = NamespaceStanding.FromString(namespace.SerializeToString())
            _lower_limits(namespaces.setdefault(namespace.unit_namespace, known), namespace)
    return Standing(datasets=datasets.values(), namespaces=namespaces.values(), salt=salt)


def _lower_limits(kept: DatasetStanding | NamespaceStanding, other: DatasetStanding | NamespaceStanding) -> None:
    kept.limit_rho_units = min(kept.limit_rho_units, other.limit_rho_units)
    kept.limit_delta0_units = min(kept.limit_delta0_units, other.limit_delta0_units)
