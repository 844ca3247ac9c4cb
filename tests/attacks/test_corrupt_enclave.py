"""One enclave of three does not run our code: what it can do to the others' parts, to a total, and to a release.

It has its own key, share and signature, sees every message first, and the gateway helps it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from yingbi.api.v1.node_pb2 import OpenTask, PlaintextProof

from enclave_sim import contributions, opening
from enclave_sim.paillier import encoding
from enclave_sim.paillier.encryption import encrypt
from tests.attacks.three_enclaves import Trio, of_zeros, refusal, resigned

Vector = list[int]

COPIES: dict[str, Callable[[int, int, int], int]] = {
    "the same": lambda victim, zero, n: victim,
    "re-randomised": lambda victim, zero, n: victim * zero % n**2,
    "its inverse": lambda victim, zero, n: pow(victim, -1, n**2) * zero % n**2,
    "twice it": lambda victim, zero, n: victim * victim * zero % n**2,
    "it and one more": lambda victim, zero, n: victim * (1 + n) % n**2,
}


@pytest.mark.parametrize("name", COPIES)
def test_nobody_contributes_what_another_encrypted(trio: Trio, name: str) -> None:
    """Its inverse would cancel it, a multiple let it be told from the rest: section 3, only totals are opened.

    The corrupt enclave does not know what is inside, so whatever proof it takes does not fit.
    """
    honest = trio.contribute("job-1", trio.task(trio.plan()))
    public, n = trio.enclaves[0].key.public, trio.enclaves[0].key.n
    victim = contributions.from_bytes(honest[1].ciphertexts, public)
    zeros = encrypt(public, [0] * len(victim)).ciphertexts
    copied = [COPIES[name](number, zero, n) for number, zero in zip(victim, zeros, strict=True)]
    for proof in (
        honest[1].proof,
        honest[2].proof,
        of_zeros(trio.enclaves[2], honest[2], "job-1").proof,
        PlaintextProof(),
    ):
        forged = resigned(trio.enclaves[2], honest[2], encoding.to_bytes(copied, public.nsquare))
        forged.proof.CopyFrom(proof)
        task = OpenTask(contributions=[*honest[:2], forged])
        for enclave in trio.enclaves[:2]:
            assert refusal(opening.open_total, enclave, "job-1", task) == "bad_contributions"
    assert trio.records("open") == [0, 0, 0]


def test_the_control_its_own_numbers_are_accepted(trio: Trio) -> None:
    """What is proven is that it knows its numbers, not that they are true of its rows: that is its evidence's word."""
    honest = trio.contribute("job-1", trio.task(trio.plan()))
    task = OpenTask(contributions=[*honest[:2], of_zeros(trio.enclaves[2], honest[2], "job-1")])
    opening.open_total(trio.enclaves[0], "job-1", task)
    assert trio.records("open") == [1, 0, 0]


def test_a_proof_for_another_job_is_none_for_this_one(trio: Trio) -> None:
    honest = trio.contribute("job-1", trio.task(trio.plan()))
    task = OpenTask(contributions=[*honest[:2], of_zeros(trio.enclaves[2], honest[2], "job-2")])
    assert refusal(opening.open_total, trio.enclaves[0], "job-1", task) == "bad_contributions"


def test_the_one_that_is_refused_is_named(trio: Trio) -> None:
    honest = trio.contribute("job-1", trio.task(trio.plan()))
    honest[2].proof.CopyFrom(honest[1].proof)
    with pytest.raises(Exception, match="node-3 did not prove"):
        opening.open_total(trio.enclaves[0], "job-1", OpenTask(contributions=honest))
