"""What a Paillier library lets its callers do wrong, phe's first, and what keeps it from happening here."""

import ast
import math
import re
from pathlib import Path

import gmpy2
import pytest
from google.protobuf.descriptor import FieldDescriptor
from phe.paillier import PaillierPrivateKey
from yingbi.api.v1.node_pb2 import LiftTask, OpenTask, StopTask, Task

from enclave_sim.paillier.dealer import deal
from enclave_sim.paillier.encryption import PlaintextRangeError, encrypt
from enclave_sim.paillier.keys import BadCiphertextError, BadKeyError, PublicKey, check_ciphertexts
from enclave_sim.paillier.masks import MaskPool, make_masks

ROOT = Path(__file__).parents[3]
SHIPPED = ("enclave_sim", "gateway", "clients")
# The functions and types of phe that encode, encrypt, add, or hold a whole key.
OF_PHE = {"EncodedNumber", "EncryptedNumber", "PaillierPrivateKey", "PaillierPrivateKeyring"} | {
    "decrypt_encoded",
    "encrypt_encoded",
    "generate_paillier_keypair",
    "obfuscate",
    "raw_add",
    "raw_decrypt",
    "raw_encrypt",
    "raw_mul",
}


def used_of_phe(source: str) -> set[str]:
    """What a program imports of phe, and every name in it that phe gives a meaning to."""
    used: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                used |= {name.name for name in names if name.name.split(".")[0] == "phe"}
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] == "phe":
                used |= {f"{module}.{name.name}" for name in names}
            case ast.Attribute(attr=name) | ast.Name(id=name) if name in OF_PHE:
                used.add(name)
    return used


def test_of_phe_only_the_type_of_a_public_key_is_used() -> None:
    """Its numbers: `ciphertext()` blinds in place, exponents of floats travel in the clear, negative ones cost time."""
    programs = [path for folder in SHIPPED for path in (ROOT / folder).rglob("*.py")]
    assert len(programs) > 100
    sources = {str(path.relative_to(ROOT)): path.read_text() for path in programs}
    # A name that is used is written somewhere: the rest need not be parsed.
    written = re.compile(rf"\b(phe|{'|'.join(OF_PHE)})\b")
    used = {path: used_of_phe(source) for path, source in sources.items() if written.search(source)}
    assert {path: names for path, names in used.items() if names} == {
        "enclave_sim/paillier/keys.py": {"phe.paillier.PaillierPublicKey"}
    }


@pytest.mark.parametrize(
    "source",
    [
        "import phe",
        "import phe.paillier as p",
        "from phe import EncryptedNumber",
        "key.raw_decrypt(0)",
        "raw_add(a, b)",
    ],
)
def test_the_control_other_uses_are_seen(source: str) -> None:
    assert used_of_phe(source)


def test_zero_decrypted_by_phe_gives_the_primes_away_and_is_no_ciphertext_here(
    whole_key: PaillierPrivateKey, primes: tuple[int, int], public: PublicKey
) -> None:
    """Of 0 it makes the inverse of p + q, and p, q are the roots of x**2 - (p + q) x + n."""
    total = int(gmpy2.invert(whole_key.raw_decrypt(0), public.n))
    half = math.isqrt(total**2 - 4 * public.n)
    assert {(total + half) // 2, (total - half) // 2} == set(primes)
    with pytest.raises(BadCiphertextError):
        check_ciphertexts(public, [0])


def test_what_wraps_around_in_phe_is_refused_here(whole_key: PaillierPrivateKey, public: PublicKey) -> None:
    """Four of its largest integers add up to another integer, without a word.

    Here a plaintext is refused unless it is below n/2, and a plan unless its slots hold the total: see "narrow slots"
    in the tests of plans.
    """
    largest = public.raw.max_int
    encrypted = public.raw.encrypt(largest)
    assert whole_key.decrypt(encrypted + encrypted + encrypted + encrypted) == 4 * largest - public.n
    with pytest.raises(PlaintextRangeError):
        encrypt(public, [4 * largest])


def test_a_float_in_phe_shows_how_large_it_is(public: PublicKey) -> None:
    """The exponent is no part of the ciphertext. Here all plaintexts are integers of one public layout."""
    assert public.raw.encrypt(1e-9).exponent != public.raw.encrypt(1e9 + 0.5).exponent


def test_two_ciphertexts_of_one_mask_show_the_difference_of_their_plaintexts(public: PublicKey) -> None:
    """Why a mask is used once: whoever sees both reads it without any key. Of two masks nothing is read."""
    first, second = make_masks(public, 2)
    n, nsquare = public.n, public.nsquare

    def quotient(mask: int, other: int) -> int:
        c, d = (1 + 1234 * n) * mask % nsquare, (1 + 1000 * n) * other % nsquare
        return int(c * gmpy2.invert(d, nsquare) % nsquare)

    assert quotient(first.value, first.value) == 1 + 234 * n
    assert quotient(first.value, second.value) % n != 1


def test_no_two_ciphertexts_of_a_pool_share_a_mask(public: PublicKey) -> None:
    """Within a vector and from one to the next, while the pool is empty and while it is not."""
    pool = MaskPool(public, bound=5)
    pool.prepare()
    ciphertexts = [c for _ in range(6) for c in encrypt(public, [0, 7, 7], pool).ciphertexts]
    pool.close()
    # c mod n is r**n mod n: the same for two only if their masks are.
    assert len({ciphertext % public.n for ciphertext in ciphertexts}) == len(ciphertexts) == 18


@pytest.mark.parametrize("unsafe", [2**127 - 1, 2**128 + 51])
def test_a_key_is_dealt_over_safe_primes_only(primes: tuple[int, int], unsafe: int) -> None:
    """Shares meet in the exponent only because squares modulo n have an order without small factors."""
    assert gmpy2.is_prime(unsafe)
    for pair in ((unsafe, primes[1]), (primes[0], unsafe)):
        with pytest.raises(BadKeyError):
            deal(*pair, parties=3, threshold=2, epoch=0)


def test_an_enclave_is_asked_to_open_contributions_and_never_a_ciphertext() -> None:
    """No call decrypts: of what may be asked one thing names signed contributions, or consents to their total."""
    kinds = {field.name for field in Task.DESCRIPTOR.oneofs_by_name["kind"].fields}
    # None of the others has a ciphertext of Paillier's.
    deployments = {"check_deployment", "predict", "withdraw"}
    verification = {"begin_verification", "witness", "verify"}
    stops = {"stop": {"stop": "SignedStop"}, "lift": {"stop": "SignedStop", "lift": "SignedLift"}}
    assert kinds == {"contribute", "open", "sign", "cancel", "recall", "attest"} | deployments | verification | set(
        stops
    )
    for task in (StopTask, LiftTask):
        kind = task.DESCRIPTOR.name.removesuffix("Task").lower()
        found = {field.name: field.message_type and field.message_type.name for field in task.DESCRIPTOR.fields}
        assert found == stops[kind]
    asked = {field.name: field.message_type and field.message_type.name for field in OpenTask.DESCRIPTOR.fields}
    # The third, a Boolean, asks for a proof of what the second asks for.
    assert asked == {"contributions": "Contribution", "consents": "OpeningShare", "prove": None}
    assert OpenTask.DESCRIPTOR.fields_by_name["prove"].type == FieldDescriptor.TYPE_BOOL
