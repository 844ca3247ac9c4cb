"""The pure rules of an enclave: its budgets as read from a journal, its policy, the encoding of ciphertexts."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.problem import Problem

from enclave_sim.authority import Policy
from enclave_sim.budget import budget_of, charged
from enclave_sim.contributions import from_bytes
from enclave_sim.journal import Record
from enclave_sim.paillier.encoding import to_bytes
from enclave_sim.paillier.keys import PublicKey
from enclave_sim.privacy.accounting import Charge, Filter

# Products of small primes do for an encoding; 15-bit numbers show every length.
PUBLIC = PublicKey(131 * 137)
names = st.sampled_from(["visits", "labs"])
amounts = st.integers(0, 100)


@given(limit=amounts, asked=st.lists(st.tuples(names, amounts), max_size=30))
def test_what_is_admitted_never_exceeds_a_datasets_limit(limit: int, asked: list[tuple[str, int]]) -> None:
    """And nothing that fits is refused: against a model that just adds up."""
    records: list[Record] = [{"kind": "budget", "dataset": name, "limit": limit} for name in ("visits", "labs")]
    spent = {"visits": 0, "labs": 0}
    for name, amount in asked:
        fits = spent[name] + amount <= limit
        if not fits:
            with pytest.raises(Problem, match="used up"):
                charged(budget_of(records, name), name, Charge(amount))
        else:
            charged(budget_of(records, name), name, Charge(amount))
            spent[name] += amount
            records.append({"kind": "charge", "job": "j", "dataset": name, "rho_units": amount})
        assert budget_of(records, name) == Filter(Charge(limit), Charge(spent[name]))


def test_a_dataset_without_a_budget_has_none_to_spend() -> None:
    """Not even nothing: rows that were never sealed here are not this provider's."""
    assert budget_of([], "visits") is None
    with pytest.raises(Problem, match="no budget"):
        charged(None, "visits", Charge(0))


keys = st.binary(min_size=32, max_size=32)


@given(developers=st.frozensets(keys, max_size=3), operators=st.frozensets(keys, max_size=3), auto=st.booleans())
def test_a_policy_comes_back_as_it_was_written(
    developers: frozenset[bytes], operators: frozenset[bytes], auto: bool
) -> None:
    """Whom a provider trusts is a file of its own."""
    policy = Policy(developers, operators, auto)
    assert Policy.from_json(policy.to_json()) == policy


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"developers": ["zz"], "operators": [], "auto_approve": false}'])
def test_a_policy_that_cannot_be_read_lets_nobody_in(text: str) -> None:
    """An enclave does not start with a guess."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        Policy.from_json(text)


def test_a_policy_without_developers_knows_no_key_at_all() -> None:
    """Not even the empty one, which an absent field has."""
    policy = Policy.from_json(Policy(frozenset(), frozenset(), auto_approve=False).to_json())
    assert b"" not in policy.developers
    assert Ed25519PrivateKey.generate().public_key().public_bytes_raw() not in policy.developers


@given(numbers=st.lists(st.integers(1, PUBLIC.nsquare - 1), max_size=8))
def test_every_number_has_one_encoding_of_one_length(numbers: list[int]) -> None:
    """The length tells nothing; what is not a unit modulo n² is refused."""
    encoded = to_bytes(numbers, PUBLIC.nsquare)
    assert {len(data) for data in encoded} <= {(2 * PUBLIC.bits + 7) // 8}
    units = [number for number in numbers if number % 131 and number % 137]
    if units == numbers:
        assert from_bytes(encoded, PUBLIC) == numbers
    else:
        with pytest.raises(Problem, match="ciphertext"):
            from_bytes(encoded, PUBLIC)


@given(number=st.integers(1, 130), padding=st.integers(0, 3))
def test_another_length_of_the_same_number_is_refused(number: int, padding: int) -> None:
    """A second encoding would be a second digest of the same total."""
    right = (2 * PUBLIC.bits + 7) // 8
    shorter = number.to_bytes(right - 1 - padding, "big") if padding < right - 1 else b""
    for data in (b"\0" * (padding + 1) + to_bytes([number], PUBLIC.nsquare)[0], shorter):
        with pytest.raises(Problem, match="ciphertext"):
            from_bytes([data], PUBLIC)
