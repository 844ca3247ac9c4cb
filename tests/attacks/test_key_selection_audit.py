"""Attack on the selection of keys that nobody declared: is a key of one unit named, and a common one privately?

Through `release_keys`, as an enclave calls it: weights, its own noise, threshold. A key that one unit has is
named with probability δ₀ at most; of keys that several have, whether they are named tells no more than ρ says.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom  # type: ignore[import-untyped]
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_INT64, COLUMN_TYPE_STRING, KeySelection, Plan
from yingbi.api.zcdp import DELTA0_UNITS

from enclave_sim.engine.protocol import UnitKeys
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.key_release import release_keys
from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.expressions import Trait
from enclave_sim.plan.key_selection import check_key_selection, selection_price
from enclave_sim.privacy.key_selection import lowest_threshold
from enclave_sim.sealed.schema import UNIT_COLUMN
from tests.attacks.test_mechanism_audit_v2 import audit
from tests.enclave_sim.engine.drawn import opener, plan
from tests.enclave_sim.engine.expressions import column

BITS = 16
SIGMA = 1 << BITS
"""μ = 1."""
DELTA0 = 1e-3
ALARM = 3e-8
KEYS = 100_000
COLUMNS = {"k": Trait(COLUMN_TYPE_INT64), "s": Trait(COLUMN_TYPE_STRING)}


def selection(*titles: str, max_keys: int = 1, lowered: float = 0.0) -> Plan:
    """A first stage with the lowest threshold that a node accepts, lowered by so many σ."""
    asked = plan(fraction_bits=BITS)
    threshold = lowest_threshold(SIGMA, max_keys, round(DELTA0 * DELTA0_UNITS), BITS) - round(lowered * SIGMA)
    asked.key_selection.CopyFrom(
        KeySelection(
            keys=[column(title) for title in titles or ["k:int64"]],
            max_keys=max_keys,
            sigma=SIGMA,
            threshold=threshold,
            rho_units=selection_price(asked, SIGMA),
            delta0_units=round(DELTA0 * DELTA0_UNITS),
        )
    )
    return asked


def pairs(units_of_each_key: list[int]) -> UnitKeys:
    """Keys 0, 1, …, each with so many units that have no other key."""
    key_of_pair = np.repeat(np.arange(len(units_of_each_key)), units_of_each_key)
    return UnitKeys(np.arange(len(key_of_pair)), key_of_pair, [(key,) for key in range(len(units_of_each_key))])


def own_pairs(units: int, each: int) -> UnitKeys:
    """Units that each have so many keys to themselves."""
    count = units * each
    return UnitKeys(np.repeat(np.arange(units), each), np.arange(count), [(key,) for key in range(count)])


def names_too_much(asked: Plan, found: UnitKeys, units: int, each: int) -> bool:
    """Whether more units had a key of their own named than δ₀ explains, beyond chance: an exact binomial bound."""
    named = release_keys(asked, found)
    victims = {key.values[0].int64_value // each for key in named}
    return bool(len(victims) > binom.ppf(1 - ALARM, units, DELTA0))


@pytest.mark.parametrize("each", [1, 4])
def test_a_key_of_one_unit_is_named_with_probability_delta_0_at_most(each: int) -> None:
    asked = selection(max_keys=each)
    check_key_selection(asked, COLUMNS)
    assert not names_too_much(asked, own_pairs(KEYS, each), KEYS, each)


@pytest.mark.parametrize("each", [1, 4])
def test_a_lowered_threshold_is_caught(each: int) -> None:
    """By one deviation and a half; a node refuses it, and the audit sees it."""
    asked = selection(max_keys=each, lowered=1.5)
    with pytest.raises(PlanError):
        check_key_selection(asked, COLUMNS)
    assert names_too_much(asked, own_pairs(KEYS, each), KEYS, each)


def test_a_unit_with_more_keys_than_count_names_no_more() -> None:
    """Keys beyond `max_keys` weigh nothing: with 40 of them, and 4 that count, the bound is the same."""
    assert not names_too_much(selection(max_keys=4), own_pairs(KEYS // 20, 40), KEYS // 20, 40)


def test_a_unit_that_splits_itself_into_many_is_caught() -> None:
    """As an engine would let it that numbered its rows, and not its unit: a hundred keys, each of full weight."""
    units, each = 4_000, 100
    found = own_pairs(units, each)
    split = UnitKeys(np.arange(units * each), found.key_of_pair, found.keys)
    assert names_too_much(selection(), split, units, each)


@pytest.mark.parametrize("sigma", [SIGMA, SIGMA // 2])
def test_whether_a_common_key_is_named_tells_no_more_than_its_price(sigma: int) -> None:
    """Neighbours: n units have a key, or n − 1; n is where the threshold lies between."""
    asked = selection()
    price = asked.key_selection.rho_units
    units = math.ceil(asked.key_selection.threshold / 2**BITS)
    asked.key_selection.sigma = sigma
    named = release_keys(asked, pairs([units, units - 1] * KEYS))
    scores = np.zeros(2 * KEYS, np.int64)
    scores[[key.values[0].int64_value for key in named]] = 1
    found = audit(scores, np.arange(2 * KEYS) % 2 == 0, 0.5, price)
    assert found.kept == (sigma == SIGMA)
    assert found.caught == (sigma < SIGMA)


def test_keys_nobody_has_and_keys_that_cannot_be_listed_are_never_named() -> None:
    """NULL, a text too long to list: left out by the key alone, whoever has it."""
    texts = ["a", None, "x" * 5000, ""]
    rows = [(unit, text) for unit in range(400) for text in texts]
    units, values = zip(*rows, strict=True)
    table = pa.table({UNIT_COLUMN: pa.array(units, pa.int64()), "s": pa.array(values, pa.string())})
    asked = selection("s:string", max_keys=4)
    named = release_keys(asked, ReferenceEngine().unit_keys(asked, opener({"visits": table})))
    assert [key.values[0].string_value for key in named] == ["", "a"]
