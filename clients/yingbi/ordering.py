"""ORDER BY, of the answer's rows and within windows: several keys, each ascending or descending, NULL where it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from yingbi.cells import Cell

T = TypeVar("T")


@dataclass(frozen=True)
class Order(Generic[T]):
    """One item of ORDER BY."""

    key: Callable[[T], Cell]
    descending: bool = False
    nulls_first: bool = False


def arranged(items: Iterable[T], orders: Sequence[Order[T]]) -> list[T]:
    """The items in order; those that are equal in it keep theirs."""
    ordered = list(items)
    # Sorting is stable, so sorting by the last key first makes the first one decide.
    for order in reversed(orders):
        keyed = [(order.key(item), item) for item in ordered]
        known = [each for each in keyed if each[0] is not None]
        unknown = [each for each in keyed if each[0] is None]
        known.sort(key=lambda each: each[0], reverse=order.descending)  # type: ignore[arg-type, return-value]
        parts = (unknown, known) if order.nulls_first else (known, unknown)
        ordered = [item for part in parts for _, item in part]
    return ordered
