"""Attacks that still succeed. Each needs a corrupt or restored enclave, or a developer who helps the gateway.

They are strict: whoever closes one of them is told here, and then removes the mark.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.node_pb2 import Contribution, OpeningShare, OpenTask, SignTask

from enclave_sim import contributions as encoding
from enclave_sim import jobs
from enclave_sim.enclave import Enclave, load_enclave
from enclave_sim.engine.protocol import never
from enclave_sim.paillier.encryption import encrypt
from enclave_sim.paillier.unproven import combine
from tests.attacks.three_enclaves import (
    NODES,
    Trio,
    resigned,
    shift_by_one,
    with_partials,
)

# What a test raises where its attack succeeds; anything else is a broken test.
SUCCEEDS = (AssertionError, pytest.fail.Exception)


def _opened(enclaves: Sequence[Enclave], contributions: Sequence[Contribution]) -> bool:
    """Whether these enclaves' shares open the total of these contributions."""
    key = enclaves[0].key
    try:
        shares: list[OpeningShare] = [
            jobs.open_total(enclave, "job-1", OpenTask(contributions=contributions)) for enclave in enclaves
        ]
    except Problem:
        return False
    partials = {
        enclave.key_share.index: encoding.from_bytes(share.partials, key.public)
        for enclave, share in zip(enclaves, shares, strict=True)
    }
    return bool(combine(key, partials))


@pytest.mark.xfail(
    strict=True, raises=SUCCEEDS, reason="no counter that peers countersign yet; 2t > n + corrupt fails for t=2, n=3"
)
def test_an_enclave_restored_from_a_backup_opens_no_second_total(trio: Trio, tmp_path: Path) -> None:
    """Section 3, "No roll-back": a host that runs two copies of its enclave gets the noise drawn twice."""
    backup = shutil.copytree(trio.folder / NODES[2], tmp_path / "backup")
    contributions = trio.contribute("job-1", trio.task(trio.plan()))
    restored = load_enclave(backup, trio.ca_pem)
    again = jobs.contribute(restored, "job-1", trio.task(trio.plan()), never)
    first = _opened([trio.enclaves[0], trio.enclaves[2]], contributions)
    second = _opened([trio.enclaves[1], restored], [*contributions[:2], again])
    restored.journal.close()
    assert not (first and second)


@pytest.mark.xfail(
    strict=True, raises=SUCCEEDS, reason="contributions carry no proof that their maker knows what is inside"
)
def test_a_corrupt_enclave_cannot_cancel_anothers_contribution(trio: Trio) -> None:
    """Section 3: one that sees another's ciphertext first can contribute its inverse; one partial sum is opened."""
    contributions = trio.contribute("job-1", trio.task(trio.plan()))
    public = trio.enclaves[0].key.public
    victim = encoding.from_bytes(contributions[1].ciphertexts, public)
    zeros = encrypt(public, [0] * len(victim)).ciphertexts
    inverse = [
        zero * pow(number, -1, public.nsquare) % public.nsquare for zero, number in zip(zeros, victim, strict=True)
    ]
    forged = resigned(trio.enclaves[2], contributions[2], encoding.to_bytes(inverse, public.bits))
    assert not _opened(trio.enclaves[:2], [*contributions[:2], forged])


@pytest.mark.xfail(strict=True, raises=SUCCEEDS, reason="partial decryptions carry no proof that they are right")
def test_a_corrupt_enclave_cannot_shift_an_opened_total(trio: Trio) -> None:
    """Section 10: a share times a power of 1 + n fits the others, and honest enclaves sign another number."""
    shares = trio.open("job-1", trio.contribute("job-1", trio.task(trio.plan())))
    public = trio.enclaves[0].key.public
    numbers = encoding.from_bytes(shares[0].partials, public)
    shifted = encoding.to_bytes(
        [number * shift_by_one(trio.enclaves[0]) % public.nsquare for number in numbers], public.bits
    )
    wrong = with_partials(trio.enclaves[0], shares[0], shifted, sign=True)
    honest = trio.sign("job-1", shares)[1].receipt_body
    try:
        signed = jobs.sign_receipt(trio.enclaves[1], "job-1", SignTask(shares=[wrong, *shares[1:]])).receipt_body
    except Problem:
        return
    assert signed == honest
