"""Selecting the group keys that a provider's units have, for a plan whose keys nobody declared."""

from __future__ import annotations

import numpy as np
from yingbi.api.v1.plan_pb2 import ColumnType, KeyValues, Plan, Value

from enclave_sim.engine.plan_reading import value_type
from enclave_sim.engine.protocol import Scalar, UnitKeys
from enclave_sim.plan import values
from enclave_sim.plan.expressions import MAX_STRING_BYTES
from enclave_sim.privacy.key_selection import key_weights, select_keys
from enclave_sim.privacy.sampling import sample_share


def release_keys(plan: Plan, found: UnitKeys) -> list[KeyValues]:
    """The keys to release, in order of their bytes; by the mechanism of `privacy.key_selection`.

    A key that a plan could not list (NULL in it, or too long a string) is left out before anything is weighed: the
    rule looks at the key alone.
    """
    selection = plan.key_selection
    types = [value_type(key) for key in selection.keys]
    listable = [index for index, key in enumerate(found.keys) if _is_listable(key)]
    numbers = np.full(len(found.keys), -1, np.int64)
    numbers[listable] = np.arange(len(listable))
    of_pairs = numbers[found.key_of_pair]
    kept = of_pairs >= 0
    weights = key_weights(
        found.units[kept],
        of_pairs[kept],
        len(listable),
        max_keys=selection.max_keys,
        fraction_bits=plan.fraction_bits,
    )
    noise = np.array(sample_share(len(listable), selection.sigma), dtype=np.int64)
    chosen = select_keys(weights, noise, selection.threshold)
    keys = [_key_values(found.keys[listable[number]], types) for number in chosen.tolist()]
    return sorted(keys, key=lambda key: key.SerializeToString(deterministic=True))


def _is_listable(key: tuple[Scalar, ...]) -> bool:
    return all(
        part is not None and not (isinstance(part, str) and len(part.encode()) > MAX_STRING_BYTES) for part in key
    )


def _key_values(key: tuple[Scalar, ...], types: list[ColumnType.ValueType]) -> KeyValues:
    return KeyValues(values=[_value(part, kind) for part, kind in zip(key, types, strict=True)])


def _value(part: Scalar, kind: ColumnType.ValueType) -> Value:
    match kind, part:
        case ColumnType.COLUMN_TYPE_DATE, int():
            return Value(date_days=part)
        case ColumnType.COLUMN_TYPE_TIMESTAMP, int():
            return Value(timestamp_micros=part)
        case _, None:
            raise ValueError("NULL is no key")
        case _:
            return values.from_python(part)
