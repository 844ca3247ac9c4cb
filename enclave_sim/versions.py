"""Which version of a dataset its provider brought last: what it closed by that is closed in the older ones too.

A gateway names the version that a plan is for, and sealed shards are kept; so the journal says which one is the newest.
"""

from __future__ import annotations

from collections.abc import Sequence

from enclave_sim.journal import Journal, Record


def note(journal: Journal, dataset: str, commitment: bytes) -> None:
    """Note that a shard was brought; from now on it is its dataset's newest, also where nobody ever registers it."""
    journal.append({"kind": "offer", "dataset": dataset, "shard": commitment.hex()})


def newest(records: Sequence[Record], dataset: str) -> str | None:
    """The commitment of the shard that was brought last, in hexadecimal; None of one before such notes were made."""
    notes = (r for r in reversed(records) if r["kind"] == "offer" and r["dataset"] == dataset)
    return next((str(r["shard"]) for r in notes), None)
