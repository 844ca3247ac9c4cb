"""The total is the sum of what enclaves signed, it is opened with shares proven right, and who is at fault is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api import digests
from yingbi.api.parts import PART_BYTES, TaskParts, split_result
from yingbi.api.problem import Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch, KeyHolder
from yingbi.api.v1.node_pb2 import (
    Contribution,
    OpenedTotal,
    OpeningShare,
    OpeningShareBody,
    OpenTask,
    PlaintextProof,
    ShareProof,
    SignedHeads,
    TaskResult,
)
from yingbi.api.v1.receipt_pb2 import ContributionBody, SignedContribution

from enclave_sim.paillier.dealer import deal
from enclave_sim.paillier.encoding import number_bytes, to_bytes
from enclave_sim.paillier.encryption import encrypt
from enclave_sim.paillier.keys import ThresholdKey
from enclave_sim.paillier.packing import Layout, pack
from enclave_sim.paillier.share_proof import prove_partials
from enclave_sim.paillier.threshold import WrongPartsError, partial_decrypt
from gateway.aggregation.total import Partials, Stretches, Total, add_up, consent_tasks, open_with, who_was_wrong
from tests.enclave_sim.paillier.conftest import P, Q

NODES = ("node-1", "node-2", "node-3")
KEY, SHARES = deal(P, Q, parties=3, threshold=2, epoch=1)
WIDTH = number_bytes(KEY.public.nsquare)
SIGNERS = [Ed25519PrivateKey.generate() for _ in NODES]
EPOCH = KeyEpoch(
    epoch=1,
    threshold=2,
    holders=[
        KeyHolder(node=node, index=index + 1, signing_key=signer.public_key().public_bytes_raw())
        for index, (node, signer) in enumerate(zip(NODES, SIGNERS, strict=True))
    ],
)
MANIFEST = bytes(32)
# Several cells in a plaintext, and several plaintexts in a vector.
CELLS = 40
LAYOUT = Layout(slot_bits=40, count=CELLS, modulus_bits=KEY.public.bits)
COUNT = LAYOUT.plaintexts
UNIT = (1).to_bytes(WIDTH, "big")


def contribution(node: int, values: Sequence[int]) -> Contribution:
    """What a node sends."""
    ciphertexts = to_bytes(encrypt(KEY.public, pack(values, LAYOUT)).ciphertexts, KEY.public.nsquare)
    body = ContributionBody(
        job="job-1", node=NODES[node], ciphertexts_digest=digests.digest_all(digests.CIPHERTEXTS, ciphertexts)
    )
    signed_body = SignedContribution(body=body.SerializeToString())
    proof, heads = PlaintextProof(challenge=b"c"), SignedHeads(body=b"h")
    return Contribution(signed=signed_body, ciphertexts=ciphertexts, proof=proof, heads=heads)


def stretches(contributions: Sequence[Contribution], step: int) -> Stretches:
    """Their vectors, so many numbers at a time."""
    for first in range(0, len(contributions[0].ciphertexts), step):
        yield first, [list(one.ciphertexts[first : first + step]) for one in contributions]


def signed(contributions: Sequence[Contribution]) -> list[Contribution]:
    """What is kept in memory: all but the vectors."""
    return [Contribution(signed=one.signed, proof=one.proof, heads=one.heads) for one in contributions]


def total_of(contributions: Sequence[Contribution], step: int = 3) -> Total:
    return add_up(stretches(contributions, step), signed(contributions), KEY)


def share(node: int, total: Total, *, consent_only: bool = False, manifest: bytes = MANIFEST) -> OpeningShare:
    """A node's honest share."""
    partials, proof = [], ShareProof()
    if not consent_only:
        opened = partial_decrypt(KEY, SHARES[node], total.ciphertexts)
        challenge, response = prove_partials(KEY, SHARES[node], total.ciphertexts, opened, manifest).to_bytes(KEY)
        proof, partials = ShareProof(challenge=challenge, response=response), to_bytes(opened, KEY.n)
    return signed_share(node, total.digest, partials, proof, manifest)


def signed_share(
    node: int, total: bytes, partials: list[bytes], proof: ShareProof, manifest: bytes = MANIFEST
) -> OpeningShare:
    body = OpeningShareBody(
        job="job-1",
        node=NODES[node],
        manifest_digest=manifest,
        total_digest=total,
        partials_digest=digests.digest_all(digests.CIPHERTEXTS, partials),
    ).SerializeToString()
    signature = digests.sign(SIGNERS[node], digests.OPENING_SHARE, body)
    return OpeningShare(body=body, signature=signature, partials=partials, proof=proof)


def opened(shares: Sequence[OpeningShare], total: Total) -> OpenedTotal:
    """As the gateway opens; nodes that are asked for their proofs send the same again."""
    try:
        return open_with(shares, total, EPOCH, KEY, LAYOUT)
    except WrongPartsError:
        raise who_was_wrong(shares, shares, total, EPOCH, KEY) from None


@dataclass
class Honest:
    """A job of three nodes, up to its total."""

    values: list[list[int]] = field(
        default_factory=lambda: [[(node + 1) * (cell - 20) * 10**6 for cell in range(CELLS)] for node in range(3)]
    )

    def __post_init__(self) -> None:
        self.contributions = [contribution(node, values) for node, values in enumerate(self.values)]
        self.total = total_of(self.contributions)
        self.sum = [sum(cell) for cell in zip(*self.values, strict=True)]


@pytest.fixture(scope="module")
def honest() -> Honest:
    return Honest()


def refusal(call: object, *arguments: object) -> Problem:
    with pytest.raises(Problem) as raised:
        call(*arguments)  # type: ignore[operator]
    return raised.value


@settings(max_examples=15)
@given(
    st.lists(st.lists(st.integers(-(2**36), 2**36), min_size=CELLS, max_size=CELLS), min_size=3, max_size=3),
    st.integers(1, COUNT + 1),
    st.sampled_from([(0, 1), (2, 0), (1, 2), (0, 1, 2)]),
)
def test_what_opens_is_the_sum_whatever_the_stretches_and_whoever_opens(
    values: list[list[int]], step: int, openers: tuple[int, ...]
) -> None:
    contributions = [contribution(node, one) for node, one in enumerate(values)]
    total = total_of(contributions, step)
    shares = [share(node, total, consent_only=node not in openers) for node in range(3)]
    assert list(opened(shares, total).cells) == [sum(cell) for cell in zip(*values, strict=True)]


def test_the_digest_is_that_of_the_whole_total(honest: Honest) -> None:
    """It is what enclaves bind a job to, who add up by themselves and not in stretches."""
    encoded = to_bytes(honest.total.ciphertexts, KEY.public.nsquare)
    assert honest.total.digest == digests.digest_all(digests.CIPHERTEXTS, encoded)
    assert {total_of(honest.contributions, step).digest for step in range(1, COUNT + 2)} == {honest.total.digest}


@pytest.mark.parametrize("position", [0, COUNT - 1])
def test_a_number_that_its_enclave_did_not_sign_is_found_and_its_node_named(honest: Honest, position: int) -> None:
    altered = [Contribution.FromString(one.SerializeToString()) for one in honest.contributions]
    altered[1].ciphertexts[position] = UNIT
    problem = refusal(total_of, altered)
    assert problem.code == "bad_contribution"
    assert "node-2" in str(problem)


@pytest.mark.parametrize(
    "number", [bytes(WIDTH), KEY.public.nsquare.to_bytes(WIDTH, "big"), P.to_bytes(WIDTH, "big"), b"\1"]
)
def test_what_is_no_ciphertext_is_not_added(honest: Honest, number: bytes) -> None:
    altered = [Contribution.FromString(one.SerializeToString()) for one in honest.contributions]
    altered[2].ciphertexts[0] = number
    problem = refusal(total_of, altered)
    assert problem.code == "bad_contribution"
    assert "node-3" in str(problem)


@pytest.mark.parametrize("step", [1, 3, COUNT, COUNT + 1])
def test_the_task_to_consent_holds_every_contribution_as_it_was_signed(honest: Honest, step: int) -> None:
    messages = list(consent_tasks("job-1", stretches(honest.contributions, step), signed(honest.contributions)))
    assert len(messages) == -(-COUNT // step)
    keeper, whole = TaskParts(1 << 20), None
    for message in messages:
        message.id = "t"
        whole = keeper.add(message)
    assert whole is not None
    assert whole.open == OpenTask(contributions=honest.contributions)


@given(st.data())
@settings(max_examples=25)
def test_a_share_whose_messages_come_again_late_or_from_the_first_is_the_same(data: st.DataObject) -> None:
    """Of two nodes at once."""
    numbers = [bytes([index]) * (PART_BYTES // 4) for index in range(11)]
    whole = OpeningShare(body=b"b", signature=b"s", partials=numbers, proof=ShareProof(challenge=b"c"))
    messages = list(split_result(TaskResult(opening_share=whole)))
    assert len(messages) == 3
    partials = Partials()
    for node in NODES[:2]:
        for order in ([0, 1], [0, 1, 2]):
            for index in order + data.draw(st.lists(st.sampled_from(order), max_size=3)):
                partials.take(node, TaskResult.FromString(messages[index].SerializeToString()))
    last = messages[-1].opening_share
    assert [partials.share(node, last) for node in NODES[:2]] == [whole, whole]


def test_a_consent_alone_opens_nothing(honest: Honest) -> None:
    shares = [share(node, honest.total, consent_only=node != 0) for node in range(3)]
    assert refusal(opened, shares, honest.total).code == "too_few_shares"


def test_one_opener_twice_is_one_opener(honest: Honest) -> None:
    assert refusal(opened, [share(0, honest.total)] * 2, honest.total).code == "too_few_shares"


def _of_another_node(honest: Honest) -> OpeningShare:
    changed = share(1, honest.total)
    body = OpeningShareBody.FromString(changed.body)
    body.node = "node-3"
    changed.body = body.SerializeToString()
    changed.signature = digests.sign(SIGNERS[1], digests.OPENING_SHARE, changed.body)
    return changed


def _of_no_holder(honest: Honest) -> OpeningShare:
    changed = share(1, honest.total)
    changed.body = OpeningShareBody(node="node-9").SerializeToString()
    changed.signature = digests.sign(SIGNERS[1], digests.OPENING_SHARE, changed.body)
    return changed


def _unsigned(honest: Honest) -> OpeningShare:
    changed = share(1, honest.total)
    changed.signature = bytes(64)
    return changed


def _of_another_total(honest: Honest) -> OpeningShare:
    return signed_share(1, bytes(32), list(share(1, honest.total).partials), share(1, honest.total).proof)


def _lacks_a_number(honest: Honest) -> OpeningShare:
    """One that was lost on the way."""
    changed = share(1, honest.total)
    del changed.partials[-1]
    return changed


def _has_no_numbers(honest: Honest) -> OpeningShare:
    """All of them lost: not taken for a consent."""
    changed = share(1, honest.total)
    del changed.partials[:]
    return changed


def _wrong_and_signed(honest: Honest) -> OpeningShare:
    """A corrupt enclave's, with the proof of the right ones."""
    right = share(1, honest.total)
    wrong = [*right.partials[:-1], right.partials[0]]
    return signed_share(1, honest.total.digest, wrong, right.proof)


def _shorter_and_signed(honest: Honest) -> OpeningShare:
    right = share(1, honest.total)
    return signed_share(1, honest.total.digest, list(right.partials[:-1]), right.proof)


def _no_unit_and_signed(honest: Honest) -> OpeningShare:
    right = share(1, honest.total)
    return signed_share(1, honest.total.digest, [bytes(len(right.partials[0])), *right.partials[1:]], right.proof)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (_of_another_node, "node-3"),
        (_of_no_holder, "node-9"),
        (_unsigned, "node-2"),
        (_of_another_total, "node-2"),
        (_lacks_a_number, "node-2"),
        (_has_no_numbers, "node-2"),
        (_wrong_and_signed, "node-2"),
        (_shorter_and_signed, "node-2"),
        (_no_unit_and_signed, "node-2"),
    ],
)
def test_a_share_that_is_not_right_is_not_used_and_its_node_named(honest: Honest, make: object, named: str) -> None:
    bad = make(honest)  # type: ignore[operator]
    problem = refusal(opened, [share(0, honest.total), bad, share(2, honest.total)], honest.total)
    assert problem.code == "bad_share"
    assert named in str(problem)


@pytest.mark.parametrize("manifest", [MANIFEST, bytes([1]) * 32])
def test_who_proves_its_share_for_this_manifest_is_not_blamed(honest: Honest, manifest: bytes) -> None:
    """Of right shares that do not open, somebody dealt a wrong key; with a proof of another job, they are not right."""
    of_two = share(1, honest.total, manifest=manifest)
    proven = [share(0, honest.total), signed_share(1, honest.total.digest, list(of_two.partials), of_two.proof)]
    problem = who_was_wrong(proven, proven, honest.total, EPOCH, KEY)
    assert problem.code == ("bad_key" if manifest == MANIFEST else "bad_share")
    assert ("node-2" in str(problem)) == (manifest != MANIFEST)


def test_shares_under_different_manifests_do_not_open_together(honest: Honest) -> None:
    shares = [share(0, honest.total), share(1, honest.total, manifest=bytes([1]) * 32)]
    assert refusal(opened, shares, honest.total).code == "bad_share"
    consent = [*[share(node, honest.total) for node in (0, 1)], share(2, honest.total, consent_only=True, manifest=b"")]
    assert refusal(opened, consent, honest.total).code == "bad_share"


def test_the_randomness_that_is_shown_makes_the_total_again(honest: Honest) -> None:
    """Whoever checks a receipt needs nothing else."""
    result = opened([share(0, honest.total), share(2, honest.total)], honest.total)
    assert list(result.cells) == honest.sum
    n, nsquare = KEY.n, KEY.public.nsquare
    again = [
        (1 + plaintext * n) * pow(int.from_bytes(root, "big"), n, nsquare) % nsquare
        for plaintext, root in zip(pack(honest.sum, LAYOUT), result.randomness, strict=True)
    ]
    assert again == honest.total.ciphertexts


def test_the_key_of_these_tests_is_shared_by_two_of_three() -> None:
    assert isinstance(KEY, ThresholdKey)
    assert (KEY.parties, KEY.threshold, COUNT > 2) == (3, 2, True)
