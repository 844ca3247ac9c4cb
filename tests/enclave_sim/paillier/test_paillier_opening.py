"""An opening checks exactly where it is right: every other number, anywhere, is rejected."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_sim.paillier import opening as opening_module
from enclave_sim.paillier.challenge import short_numbers
from enclave_sim.paillier.encryption import add, encrypt
from enclave_sim.paillier.keys import BadCiphertextError, PublicKey
from enclave_sim.paillier.opening import BadOpeningError, Opening, check_opening

PLAINTEXTS = [7, 0, -1, 2**500]


def opened(public: PublicKey, plaintexts: Sequence[int]) -> tuple[tuple[int, ...], Opening]:
    """Ciphertexts and their opening, by who made them."""
    made = encrypt(public, plaintexts)
    randomness = tuple(pow(public.mask_base, exponent, public.n) for exponent in made.exponents)
    return made.ciphertexts, Opening(tuple(m % public.n for m in plaintexts), randomness)


def put(values: tuple[int, ...], position: int, value: int) -> tuple[int, ...]:
    return (*values[:position], value, *values[position + 1 :])


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_right_opening_checks(data: st.DataObject, public: PublicKey) -> None:
    half = public.n // 2
    check_opening(public, *opened(public, data.draw(st.lists(st.integers(-half, half), max_size=6))))


def test_what_phe_encrypts_checks_with_the_randomness_of_phe(public: PublicKey) -> None:
    ciphertexts = [public.raw.raw_encrypt(m, r_value=r) for m, r in [(5, 2), (public.n - 1, 12345)]]
    check_opening(public, ciphertexts, Opening((5, public.n - 1), (2, 12345)))
    with pytest.raises(BadOpeningError):
        check_opening(public, ciphertexts, Opening((5, public.n - 1), (2, 12346)))


def test_a_total_checks_with_the_product_of_randomness(public: PublicKey) -> None:
    (first, one), (second, other) = opened(public, [1, 2]), opened(public, [10, 20])
    randomness = tuple(a * b % public.n for a, b in zip(one.randomness, other.randomness, strict=True))
    check_opening(public, add(public, [first, second]), Opening((11, 22), randomness))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_one_wrong_number_anywhere_is_rejected(data: st.DataObject, public: PublicKey) -> None:
    ciphertexts, opening = opened(public, PLAINTEXTS)
    position = data.draw(st.integers(0, len(PLAINTEXTS) - 1))
    step = data.draw(st.sampled_from([1, public.n - 1, 2**40, public.n // 2]) | st.integers(1, public.n - 1))
    residues = put(opening.residues, position, (opening.residues[position] + step) % public.n)
    with pytest.raises(BadOpeningError):
        check_opening(public, ciphertexts, replace(opening, residues=residues))
    root = (opening.randomness[position] + step) % public.n
    # -r has the same even powers: the randomness is certain but for its sign.
    if root != public.n - opening.randomness[position]:
        with pytest.raises(BadOpeningError):
            check_opening(public, ciphertexts, replace(opening, randomness=put(opening.randomness, position, root)))
    other = ciphertexts[position] * (1 + step * public.n) % public.nsquare
    with pytest.raises(BadOpeningError):
        check_opening(public, put(ciphertexts, position, other), opening)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 1 << 200), st.integers(1, 1 << 200))
def test_two_errors_do_not_cancel(public: PublicKey, up: int, down: int) -> None:
    """As they would under an equation whose exponents a cheater knows beforehand."""
    ciphertexts, opening = opened(public, PLAINTEXTS)
    residues = ((opening.residues[0] + up) % public.n, (opening.residues[1] - down) % public.n, *opening.residues[2:])
    with pytest.raises(BadOpeningError):
        check_opening(public, ciphertexts, replace(opening, residues=residues))


@pytest.mark.parametrize("what", ["residues", "randomness", "ciphertexts"])
def test_errors_made_to_cancel_under_the_exponents_change_the_exponents(
    public: PublicKey, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """So the hash must take in each of the three: under the right opening's exponents every one of these passes."""
    n, (ciphertexts, opening) = public.n, opened(public, [5, 6])
    seen = recorded_exponents(monkeypatch)
    check_opening(public, ciphertexts, opening)
    (other,), one, residues, randomness = seen[0], 1, opening.residues, opening.randomness
    if what == "residues":
        opening = replace(opening, residues=((residues[0] + other) % n, (residues[1] - one) % n))
    if what == "randomness":
        bent = (randomness[0] * pow(2, other, n) % n, randomness[1] * pow(2, -one, n) % n)
        opening = replace(opening, randomness=bent)
    if what == "ciphertexts":
        ciphertexts = tuple(c * (1 + e * n) % n**2 for c, e in zip(ciphertexts, (other, -one), strict=True))
    with pytest.raises(BadOpeningError):
        check_opening(public, ciphertexts, opening)
    # The attack itself is sound: it passes where the exponents stay.
    monkeypatch.setattr(opening_module, "short_numbers", lambda *_: [other])
    check_opening(public, ciphertexts, opening)


def recorded_exponents(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    seen: list[list[int]] = []

    def recording(start: bytes, count: int) -> list[int]:
        seen.append(short_numbers(start, count))
        return seen[-1]

    monkeypatch.setattr(opening_module, "short_numbers", recording)
    return seen


def test_positions_cannot_be_exchanged(public: PublicKey) -> None:
    ciphertexts, opening = opened(public, [5, 6])
    with pytest.raises(BadOpeningError):
        check_opening(public, ciphertexts, replace(opening, residues=opening.residues[::-1]))
    with pytest.raises(BadOpeningError):
        check_opening(public, ciphertexts, replace(opening, randomness=opening.randomness[::-1]))
    with pytest.raises(BadOpeningError):
        check_opening(public, ciphertexts[::-1], opening)
    check_opening(public, ciphertexts[::-1], Opening(opening.residues[::-1], opening.randomness[::-1]))


def test_a_shape_or_a_range_that_is_wrong_is_rejected(public: PublicKey, primes: tuple[int, int]) -> None:
    ciphertexts, opening = opened(public, [5, 6])
    residues, randomness = opening.residues, opening.randomness
    for bad in (
        Opening(residues[:1], randomness),
        Opening(residues, randomness[:1]),
        Opening(residues[:1], randomness[:1]),
        Opening((*residues, 0), (*randomness, 1)),
        Opening((5 + public.n, 6), randomness),
        Opening((5, 6 - public.n), randomness),
        Opening(residues, (randomness[0] + public.n, randomness[1])),
        Opening(residues, (randomness[0], 0)),
        Opening(residues, (randomness[0] - public.n, randomness[1])),
        Opening(residues, (primes[0], randomness[1])),
    ):
        with pytest.raises(BadOpeningError):
            check_opening(public, ciphertexts, bad)


@pytest.mark.parametrize("name", ["zero", "n", "beyond", "multiple of p"])
def test_numbers_that_are_no_ciphertexts_have_no_opening(public: PublicKey, primes: tuple[int, int], name: str) -> None:
    ciphertexts, opening = opened(public, [5, 6])
    bad = {"zero": 0, "n": public.n, "beyond": ciphertexts[0] + public.nsquare, "multiple of p": primes[0]}[name]
    with pytest.raises(BadCiphertextError):
        check_opening(public, put(ciphertexts, 0, bad), opening)
