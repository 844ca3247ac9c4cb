"""phe, holding the whole key, reads what we encrypt and add; numbers that are no ciphertexts are refused."""

import ast
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phe.paillier import PaillierPrivateKey

from enclave_sim.paillier.encryption import PlaintextRangeError, UnequalLengthsError, add, encrypt
from enclave_sim.paillier.keys import BadCiphertextError, BadKeyError, PublicKey, check_ciphertexts

NO_CIPHERTEXTS = ["zero", "negative", "n", "n squared", "beyond", "multiple of p", "multiple of q", "p"]


def no_ciphertext(name: str, primes: tuple[int, int]) -> int:
    p, q = primes
    n = p * q
    return {
        "zero": 0,
        "negative": -1,
        "n": n,
        "n squared": n**2,
        "beyond": n**2 + 1,
        "multiple of p": 12345 * p,
        "multiple of q": (n - 1) * q,
        "p": p,
    }[name]


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_phe_decrypts_what_we_encrypt(data: st.DataObject, public: PublicKey, whole_key: PaillierPrivateKey) -> None:
    half = public.n // 2
    edge = st.sampled_from([-half, -1, 0, 1, half])
    plaintexts = data.draw(st.lists(edge | st.integers(-half, half), max_size=5))
    opened = [whole_key.raw_decrypt(c) for c in encrypt(public, plaintexts).ciphertexts]
    assert opened == [m % public.n for m in plaintexts]


def test_with_the_same_randomness_phe_makes_the_same_ciphertext(public: PublicKey) -> None:
    plaintexts = [0, 41, -7]
    made = encrypt(public, plaintexts)
    randomness = [pow(public.mask_base, exponent, public.n) for exponent in made.exponents]
    expected = [public.raw.raw_encrypt(m % public.n, r_value=r) for m, r in zip(plaintexts, randomness, strict=True)]
    assert list(made.ciphertexts) == expected


def test_what_masks_a_plaintext_stays_out_of_the_repr(public: PublicKey) -> None:
    made = encrypt(public, [1])
    assert str(made.exponents[0]) not in repr(made)


def test_phe_decrypts_what_we_add(public: PublicKey, whole_key: PaillierPrivateKey) -> None:
    contributions = [[1, -2, 3**200], [10, -20, -(3**200)], [100, 200, 5]]
    total = add(public, [encrypt(public, contribution).ciphertexts for contribution in contributions])
    assert [whole_key.raw_decrypt(c) for c in total] == [111, 178, 5]


def test_equal_plaintexts_get_different_ciphertexts(public: PublicKey) -> None:
    ciphertexts = encrypt(public, [7] * 20).ciphertexts
    assert len(set(ciphertexts)) == 20


def test_ciphertexts_are_plain_integers(public: PublicKey) -> None:
    ciphertexts = encrypt(public, [1, 2]).ciphertexts
    assert {type(c) for c in [*ciphertexts, *add(public, [ciphertexts, ciphertexts])]} == {int}


def test_order_survives_many_threads(public: PublicKey, whole_key: PaillierPrivateKey) -> None:
    plaintexts = list(range(200))
    assert [whole_key.raw_decrypt(c) for c in encrypt(public, plaintexts).ciphertexts] == plaintexts


@pytest.mark.parametrize("sign", [1, -1])
def test_encrypt_refuses_what_would_wrap(public: PublicKey, sign: int) -> None:
    with pytest.raises(PlaintextRangeError, match="plaintext 1 "):
        encrypt(public, [0, sign * (public.n // 2 + 1)])


@pytest.mark.parametrize("name", NO_CIPHERTEXTS)
def test_numbers_that_are_no_ciphertexts_are_refused(public: PublicKey, primes: tuple[int, int], name: str) -> None:
    bad = no_ciphertext(name, primes)
    (good,) = encrypt(public, [1]).ciphertexts
    with pytest.raises(BadCiphertextError):
        check_ciphertexts(public, [1, bad, 2])
    with pytest.raises(BadCiphertextError):
        add(public, [[good, good], [good, bad]])


@pytest.mark.parametrize("name", ["one", "n + 1", "n squared - 1"])
def test_units_at_the_boundaries_are_ciphertexts(public: PublicKey, name: str) -> None:
    check_ciphertexts(public, [{"one": 1, "n + 1": public.n + 1, "n squared - 1": public.nsquare - 1}[name]])


@pytest.mark.parametrize("lengths", [(), (2, 1), (1, 2), (0, 1), (3, 3, 2)])
def test_add_refuses_unequal_lengths(public: PublicKey, lengths: tuple[int, ...]) -> None:
    with pytest.raises(UnequalLengthsError):
        add(public, [[1] * length for length in lengths])


@pytest.mark.parametrize("n", [-15, 0, 1, 2, 2**512])
def test_impossible_moduli_are_refused(n: int) -> None:
    with pytest.raises(BadKeyError):
        PublicKey(n)


def test_the_public_half_loads_nothing_of_the_secret_half() -> None:
    program = (
        "import sys\n"
        "import enclave_sim.paillier.encryption, enclave_sim.paillier.packing\n"
        "import enclave_sim.paillier.opening, enclave_sim.paillier.plaintext_proof\n"
        "import enclave_sim.paillier.modulus_proof\n"
        "print(sorted(m for m in sys.modules if m.startswith('enclave_sim.paillier.')))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(run.stdout))
    assert "enclave_sim.paillier.opening" in loaded
    assert not loaded & {f"enclave_sim.paillier.{name}" for name in ("dealer", "threshold", "share_proof")}
