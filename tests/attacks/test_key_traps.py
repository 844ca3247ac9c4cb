"""Ways around the key that a dealer's slip or a gateway's trick would open, one by one, each tried at an enclave.

Beside these: `test_cheating_gateway.py` (other totals than the job's), `test_corrupt_enclave.py` (powers of another's
ciphertexts) and, for the library alone, `tests/enclave_sim/paillier/test_paillier_traps.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import gmpy2
import pytest
from yingbi.api import digests
from yingbi.api.evidence import DEALER, EvidenceError, read_claims
from yingbi.api.problem import Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch, SignedKeyEpoch
from yingbi.api.v1.node_pb2 import Contribution, OpenTask

from enclave_sim import contributions, opening
from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.enclave import load_enclave
from enclave_sim.identity import Identity
from enclave_sim.key_share import seal_share
from enclave_sim.paillier.encoding import number_bytes, to_bytes
from enclave_sim.paillier.keys import BadKeyError
from enclave_sim.paillier.modulus_proof import BadModulusError
from gateway.aggregation.total import add_up
from tests.attacks.three_enclaves import NODES, Trio, of_zeros, refusal, resigned


def redeal(trio: Trio, change: Callable[[KeyEpoch], None]) -> None:
    """The dealer itself signs a changed key epoch, and the first enclave gets its share under it."""
    enclave = trio.enclaves[0]
    epoch = KeyEpoch.FromString(enclave.signed_epoch.body)
    change(epoch)
    body = epoch.SerializeToString(deterministic=True)
    dealer = Identity.of(SimulatedBackend.load(trio.folder / DEALER))
    evidence = dealer.attest(digests.digest(digests.KEY_EPOCH, body))
    signed = SignedKeyEpoch(body=body, signature=dealer.sign(digests.KEY_EPOCH, body), dealer=evidence)
    share = seal_share(read_claims(enclave.identity.evidence), enclave.key_share, body)
    trio.close()
    # As if it had never started: its journal remembers an epoch.
    (trio.folder / NODES[0] / "journal").unlink()
    (trio.folder / NODES[0] / "key_epoch.pb").write_bytes(signed.SerializeToString())
    (trio.folder / NODES[0] / "key_share.pb").write_bytes(share.SerializeToString())


def _primes(width: int) -> tuple[int, int]:
    """Two primes whose products have `width` bytes, and are larger than any number of the key."""
    first = int(gmpy2.next_prime((1 << 4 * width) - 10**6))
    return first, int(gmpy2.next_prime(first))


def _other_modulus(epoch: KeyEpoch) -> None:
    """One that would do, but whose maker shows roots modulo the old one."""
    width = len(epoch.modulus)
    first, second = _primes(width)
    epoch.modulus = (first * second).to_bytes(width, "big")


def _square(epoch: KeyEpoch) -> None:
    """Modulo which a ciphertext has more plaintexts than one."""
    width = len(epoch.modulus)
    epoch.modulus = (_primes(width)[0] ** 2).to_bytes(width, "big")


def _without_proof(epoch: KeyEpoch) -> None:
    epoch.ClearField("modulus_proof")


def _short_proof(epoch: KeyEpoch) -> None:
    del epoch.modulus_proof[-1]


def _wrong_root(epoch: KeyEpoch) -> None:
    n = int.from_bytes(epoch.modulus, "big")
    (epoch.modulus_proof[3],) = to_bytes([int.from_bytes(epoch.modulus_proof[3], "big") * 2 % n], n)


MODULI = {
    "another modulus": _other_modulus,
    "a square": _square,
    "no proof": _without_proof,
    "a proof that is too short": _short_proof,
    "a root that is none": _wrong_root,
}


@pytest.mark.parametrize("name", MODULI)
def test_no_enclave_starts_under_a_modulus_that_is_not_proven_fit(trio: Trio, name: str) -> None:
    """Its key epoch pins modulus and proof together; not even the dealer's signature replaces the proof."""
    redeal(trio, MODULI[name])
    with pytest.raises(BadModulusError):
        load_enclave(trio.folder / NODES[0], trio.ca_pem)


def test_no_enclave_starts_with_a_share_that_nobody_could_check(trio: Trio) -> None:
    """Its verification key is what its parts of an opening are proven against."""

    def change(epoch: KeyEpoch) -> None:
        epoch.holders[0].verification_key = epoch.holders[1].verification_key

    redeal(trio, change)
    with pytest.raises(BadKeyError):
        load_enclave(trio.folder / NODES[0], trio.ca_pem)


def test_the_control_the_dealers_own_epoch_is_taken(trio: Trio) -> None:
    redeal(trio, lambda _: None)
    load_enclave(trio.folder / NODES[0], trio.ca_pem).journal.close()


def test_no_enclave_shares_a_key_with_one_that_runs_other_code(trio: Trio) -> None:
    """A contribution from a wrong measurement is never added: its maker holds no share, and its epoch is not taken."""

    def change(epoch: KeyEpoch) -> None:
        epoch.holders[2].measurement = bytes(32)

    redeal(trio, change)
    with pytest.raises(EvidenceError, match="run other code"):
        load_enclave(trio.folder / NODES[0], trio.ca_pem)


def test_a_contribution_of_an_enclave_that_was_dealt_nothing_is_refused(trio: Trio) -> None:
    """Such as one whose measurement the dealer did not accept: it may name itself as it likes."""
    honest = trio.contribute("job-1", trio.task(trio.plan()))
    stranger = Identity.of(SimulatedBackend.load(trio.folder / DEALER))
    forged = Contribution()
    forged.CopyFrom(honest[2])
    forged.signed.signature = stranger.sign(digests.CONTRIBUTION, forged.signed.body)
    task = OpenTask(contributions=[*honest[:2], forged])
    for enclave in trio.enclaves[:2]:
        assert refusal(opening.open_total, enclave, "job-1", task) == "bad_contributions"


@pytest.mark.parametrize("subset", [*combinations(range(3), 1), *combinations(range(3), 2), (0, 1, 2)])
def test_what_was_contributed_to_one_job_is_in_no_total_of_another(trio: Trio, subset: tuple[int, ...]) -> None:
    """The difference of two totals would be what the rest contributed.

    Whatever stands for the rest: nothing, the second job's own, or zeros of an enclave that the gateway has corrupted.
    """
    plan = trio.plan()
    first, second = (trio.contribute(f"job-{i}", trio.task(plan, request_id=f"request-{i}")) for i in (1, 2))
    corrupt = trio.enclaves[2]
    zeros = of_zeros(corrupt, second[2], "job-2")
    for rest in ([], second, [second[0], second[1], zeros]):
        chosen = [first[i] if i in subset else rest[i] for i in range(3) if i in subset or rest]
        for enclave in trio.enclaves[:2]:
            task = OpenTask(contributions=chosen)
            assert refusal(opening.open_total, enclave, "job-2", task) == "bad_contributions"
    assert trio.records("open") == [0, 0, 0]


def test_a_corrupt_enclave_cannot_move_its_own_contribution_to_another_job_as_it_is(trio: Trio) -> None:
    """It signs anew, but its old proof names the old job."""
    plan = trio.plan()
    first, second = (trio.contribute(f"job-{i}", trio.task(plan, request_id=f"request-{i}")) for i in (1, 2))
    moved = resigned(trio.enclaves[2], second[2], list(first[2].ciphertexts))
    moved.proof.CopyFrom(first[2].proof)
    task = OpenTask(contributions=[*second[:2], moved])
    assert refusal(opening.open_total, trio.enclaves[0], "job-2", task) == "bad_contributions"


RUBBISH: dict[str, Callable[[int, int, int], int]] = {
    "zero": lambda c, n, p: 0,
    "n squared": lambda c, n, p: n**2,
    "a multiple of n": lambda c, n, p: c * n % n**2,
    "a multiple of a prime": lambda c, n, p: c * p % n**2,
}


@pytest.mark.parametrize("name", RUBBISH)
def test_the_gateway_adds_no_number_that_is_no_ciphertext(trio: Trio, safe_primes: tuple[int, int], name: str) -> None:
    """0 < c < n**2 and no factor in common with n, before it is multiplied with anything. Its sender is named."""
    honest = trio.contribute("job-1", trio.task(trio.plan()))
    key = trio.enclaves[0].key
    numbers = contributions.from_bytes(honest[2].ciphertexts, key.public)
    width = number_bytes(key.public.nsquare)
    rubbish = [RUBBISH[name](c, key.n, safe_primes[0]).to_bytes(width, "big") for c in numbers]
    sent = [*honest[:2], resigned(trio.enclaves[2], honest[2], rubbish)]
    with pytest.raises(Problem, match=NODES[2]) as refused:
        add_up([(0, [list(one.ciphertexts) for one in sent])], sent, key)
    assert refused.value.code == "bad_contribution"


def test_no_mask_is_used_in_two_contributions(trio: Trio) -> None:
    """Of one provider's two jobs, and of two providers' one: c mod n tells masks apart, as the control shows."""
    plan = trio.plan()
    made = [trio.contribute(f"job-{i}", trio.task(plan, request_id=f"request-{i}")) for i in (1, 2)]
    public, n = trio.enclaves[0].key.public, trio.enclaves[0].key.n
    numbers = [c for job in made for one in job for c in contributions.from_bytes(one.ciphertexts, public)]
    assert len(numbers) == 6
    assert len({number % n for number in numbers}) == 6
    # The same mask with another plaintext.
    assert numbers[0] * (1 + n) % n**2 % n == numbers[0] % n
