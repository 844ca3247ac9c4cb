"""No roll-back: nodes that are put back to an earlier state, and copies of nodes, against the peers that are not.

`enclave_sim/consents.py` and `enclave_sim/heads.py` have the arguments.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from pathlib import Path

import pytest
from yingbi.api import digests
from yingbi.api.problem import Problem
from yingbi.api.v1.node_pb2 import Contribution, HeadsBody, JournalHead, OpeningShare, OpenTask, SignedHeads
from yingbi.api.v1.receipt_pb2 import ReceiptBody

from enclave_sim import jobs, opening
from enclave_sim.enclave import Enclave, load_enclave
from enclave_sim.engine.protocol import never
from tests.attacks.three_enclaves import NODES, Trio, of_zeros, refusal, restated

Wrong = Callable[[list[OpeningShare], list[OpeningShare]], list[OpeningShare]]
SQL = "SELECT COUNT(*) FROM visits"


class Copied(Trio):
    """Three enclaves, and copies of all of them that were made before any job."""

    copies: list[Enclave]


@pytest.fixture
def copied(trio: Trio, tmp_path: Path) -> Iterator[Copied]:
    apart = trio.copy(tmp_path / "copies")
    made = Copied(trio.folder, trio.ca_pem, trio.developer, trio.operator, trio.enclaves, trio.shards)
    made.copies = apart.enclaves
    yield made
    apart.close()


def _contribute(trio: Trio, job: str, enclaves: Sequence[Enclave]) -> list[Contribution]:
    task = trio.task(trio.plan(SQL), request_id=f"request-of-{job}")
    return [jobs.contribute(enclave, job, task, never) for enclave in enclaves]


def _consents(job: str, enclaves: Sequence[Enclave], contributions: Sequence[Contribution]) -> list[OpeningShare]:
    """What can be had: an enclave that refuses is left out."""
    given = []
    for enclave in enclaves:
        try:
            given.append(opening.open_total(enclave, job, OpenTask(contributions=contributions)))
        except Problem:
            continue
    return given


def _decrypts(job: str, enclave: Enclave, consents: Sequence[OpeningShare]) -> bool:
    try:
        return bool(opening.open_total(enclave, job, OpenTask(consents=consents)).partials)
    except Problem:
        return False


def _run(trio: Trio, job: str, enclaves: Sequence[Enclave] | None = None) -> ReceiptBody:
    """An honest job; raises Problem where an enclave refuses."""
    enclaves = enclaves or trio.enclaves
    acting = Trio(trio.folder, trio.ca_pem, trio.developer, trio.operator, list(enclaves), trio.shards)
    return acting.run(job, trio.task(trio.plan(SQL), request_id=f"request-of-{job}"))


def test_a_copy_of_an_enclave_opens_no_second_total(copied: Copied) -> None:
    """A host that runs its enclave twice would get the noise drawn twice for one charge: 2 in 3 nodes would open it."""
    one, two, three = copied.enclaves
    copy = copied.copies[2]
    contributions = _contribute(copied, "job-1", copied.enclaves)
    again = _contribute(copied, "job-1", [copy])
    assert again[0].ciphertexts != contributions[2].ciphertexts
    first = _consents("job-1", [one, three], contributions)
    second = _consents("job-1", [two, copy], [*contributions[:2], *again])
    assert (len(first), len(second)) == (2, 2)
    assert not any(_decrypts("job-1", enclave, first) for enclave in (one, three))
    assert not any(_decrypts("job-1", enclave, second) for enclave in (two, copy))
    # Nor with the other total's consents in the place of those that lack.
    for mixed in permutations([*first, *second], 3):
        assert not any(_decrypts("job-1", enclave, mixed) for enclave in (*copied.enclaves, copy))


def test_copies_of_all_nodes_but_one_open_no_second_total(copied: Copied) -> None:
    """The one that was not copied is enough, and it need not be among those that decrypt."""
    one, two, three = copied.enclaves
    contributions = _contribute(copied, "job-1", copied.enclaves)
    first = _consents("job-1", copied.enclaves, contributions)
    assert all(_decrypts("job-1", enclave, first) for enclave in (two, three))
    copies = copied.copies[1:]
    others = [contributions[0], *_contribute(copied, "job-1", copies)]
    second = _consents("job-1", [one, *copies], others)
    assert len(second) == 2
    assert refusal(opening.open_total, one, "job-1", OpenTask(contributions=others)) == "already_bound"
    assert not any(_decrypts("job-1", copy, [first[0], *second]) for copy in copies)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda consents, other: consents[:2],
        lambda consents, other: consents[1:],
        lambda consents, other: [consents[0], consents[0], consents[2]],
        lambda consents, other: [consents[1], consents[0], consents[2]],
        lambda consents, other: [*consents[:2], other[2]],
        lambda consents, other: [*consents[:2], OpeningShare(body=consents[2].body, signature=other[2].signature)],
        lambda consents, other: [*consents[:2], OpeningShare(body=b"\xff", signature=consents[2].signature)],
        lambda consents, other: other,
    ],
    ids=["one lacks", "its own lacks", "one twice", "order", "one of another job", "unsigned", "garbage", "all others"],
)
def test_nothing_is_decrypted_without_the_consent_of_all(trio: Trio, wrong: Wrong) -> None:
    consents = trio.consent("job-1", _contribute(trio, "job-1", trio.enclaves))
    other = trio.consent("job-2", _contribute(trio, "job-2", trio.enclaves))
    task = OpenTask(consents=wrong(consents, other))
    assert {refusal(opening.open_total, enclave, "job-1", task) for enclave in trio.enclaves} == {"no_consent"}
    assert all(_decrypts("job-1", enclave, consents) for enclave in trio.enclaves)


def test_consents_of_others_open_nothing_for_an_enclave_that_did_not_consent(trio: Trio) -> None:
    contributions = _contribute(trio, "job-1", trio.enclaves)
    consents = _consents("job-1", trio.enclaves[:2], contributions)
    task = OpenTask(consents=[*consents, consents[0]])
    assert refusal(opening.open_total, trio.enclaves[2], "job-1", task) == "not_opened"


@pytest.mark.parametrize("restored", range(3))
def test_a_node_restored_from_a_backup_is_refused_by_every_peer(copied: Copied, restored: int) -> None:
    _run(copied, "job-1")
    enclaves = list(copied.enclaves)
    enclaves[restored] = copied.copies[restored]
    contributions = _contribute(copied, "job-2", enclaves)
    peers = [enclave for index, enclave in enumerate(enclaves) if index != restored]
    for peer in peers:
        with pytest.raises(Problem, match=f"{NODES[restored]} was restored") as raised:
            opening.open_total(peer, "job-2", OpenTask(contributions=contributions))
        assert raised.value.code == "rolled_back"
        assert "rekey" in str(raised.value.hint)


def test_counting_ahead_does_not_help(copied: Copied) -> None:
    """The counter is past what peers have seen; the digest at that record is another."""
    _run(copied, "job-1")
    restored = copied.copies[2]
    for number in range(20):
        jobs.cancel(restored, f"never-{number}")
    assert len(restored.journal.records) > len(copied.enclaves[2].journal.records)
    enclaves = [*copied.enclaves[:2], restored]
    task = OpenTask(contributions=_contribute(copied, "job-2", enclaves))
    assert {refusal(opening.open_total, peer, "job-2", task) for peer in enclaves[:2]} == {"rolled_back"}


def test_a_restored_node_that_did_the_lost_job_again_is_refused(copied: Copied) -> None:
    """The same charge, even the same number of records, but other ciphertexts."""
    _run(copied, "job-1")
    restored = copied.copies[2]
    _contribute(copied, "job-1", [restored])
    enclaves = [*copied.enclaves[:2], restored]
    task = OpenTask(contributions=_contribute(copied, "job-2", enclaves))
    assert {refusal(opening.open_total, peer, "job-2", task) for peer in enclaves[:2]} == {"rolled_back"}


def test_two_copies_that_run_at_once_do_not_stay_together(copied: Copied) -> None:
    """Each does one of two jobs that overlap, and both were charged to the peers: from then on neither is taken."""
    peers = copied.enclaves[:2]
    for number in range(5):
        jobs.cancel(copied.enclaves[2], f"never-{number}")
    pairs = [[*peers, copied.enclaves[2]], [*peers, copied.copies[2]]]
    given = [_contribute(copied, f"job-{number}", enclaves) for number, enclaves in enumerate(pairs)]
    for number, (enclaves, contributions) in enumerate(zip(pairs, given, strict=True)):
        assert len(_consents(f"job-{number}", enclaves, contributions)) == 3
    price = sum(statistic.rho_units for statistic in copied.plan(SQL).statistics)
    assert copied.spent() == [2 * price, 2 * price, price]
    for number, enclaves in enumerate(pairs):
        job = f"later-{number}"
        task = OpenTask(contributions=_contribute(copied, job, enclaves))
        assert {refusal(opening.open_total, peer, job, task) for peer in peers} == {"rolled_back"}


def test_nodes_restored_one_after_another_forget_no_charge(copied: Copied) -> None:
    """Each is refused while it alone is behind, so that no round of them leaves a zone without the charge."""
    price = 0
    _run(copied, "job-1")
    price = copied.spent()[0]
    for index in range(3):
        enclaves = list(copied.enclaves)
        enclaves[index] = copied.copies[index]
        job = f"job-of-{index}"
        contributions = _contribute(copied, job, enclaves)
        assert len(_consents(job, enclaves, contributions)) < 3
    assert all(spent >= price for spent in copied.spent())


FORGED: dict[str, Callable[[Trio, SignedHeads, SignedHeads], SignedHeads]] = {
    "none": lambda t, said, before: SignedHeads(),
    "of a job before": lambda t, said, before: before,
    "of a peer": lambda t, said, before: restated(t.enclaves[1], said, b""),
    "garbage": lambda t, said, before: SignedHeads(body=b"\xff", signature=said.signature),
    "unsigned": lambda t, said, before: SignedHeads(body=said.body, signature=before.signature),
    "without a head": lambda t, said, before: _changed(t, said, heads=[]),
    "out of order": lambda t, said, before: _changed(t, said, heads=[*_body(said).heads, _body(said).heads[0]]),
    "of another epoch": lambda t, said, before: _changed(t, said, key_epoch=2, heads=_body(said).heads),
}


def _body(said: SignedHeads) -> HeadsBody:
    return HeadsBody.FromString(said.body)


def _changed(trio: Trio, said: SignedHeads, *, heads: Sequence[JournalHead], key_epoch: int = 1) -> SignedHeads:
    """Heads that a corrupt enclave signed."""
    body = _body(said)
    del body.heads[:]
    body.heads.extend(heads)
    body.key_epoch = key_epoch
    data = body.SerializeToString(deterministic=True)
    return SignedHeads(body=data, signature=trio.enclaves[2].identity.sign(digests.HEADS, data))


@pytest.mark.parametrize("name", FORGED)
def test_heads_that_are_not_the_peers_own_word_are_refused(trio: Trio, name: str) -> None:
    before = _contribute(trio, "job-1", trio.enclaves)[2].heads
    contributions = _contribute(trio, "job-2", trio.enclaves)
    contributions[2].heads.CopyFrom(FORGED[name](trio, contributions[2].heads, before))
    task = OpenTask(contributions=contributions)
    assert {refusal(opening.open_total, peer, "job-2", task) for peer in trio.enclaves[:2]} == {"bad_contributions"}
    assert trio.records("open") == [0, 0, 0]


def test_heads_of_one_copy_do_not_go_with_the_contribution_of_another(copied: Copied) -> None:
    contributions = _contribute(copied, "job-1", copied.enclaves)
    mixed = _contribute(copied, "job-1", [copied.copies[2]])
    mixed[0].heads.CopyFrom(contributions[2].heads)
    task = OpenTask(contributions=[*contributions[:2], *mixed])
    assert refusal(opening.open_total, copied.enclaves[0], "job-1", task) == "bad_contributions"


def test_jobs_that_overlap_are_opened_in_any_order(trio: Trio) -> None:
    """A lower head than one that was seen is no roll-back where the job was under way already."""
    given = {f"job-{number}": _contribute(trio, f"job-{number}", trio.enclaves) for number in range(3)}
    for job in ("job-2", "job-0", "job-1"):
        trio.load()
        trio.sign(job, trio.open(job, given[job]))
    _run(trio, "job-3")


def test_jobs_that_failed_on_the_way_do_not_stop_the_next(trio: Trio) -> None:
    """Contributed and never opened; consented to by some; cancelled; a restart in between."""
    _contribute(trio, "job-1", trio.enclaves)
    _consents("job-2", trio.enclaves[:1], _contribute(trio, "job-2", trio.enclaves))
    trio.load()
    _contribute(trio, "job-3", trio.enclaves[:2])
    jobs.cancel(trio.enclaves[1], "job-3")
    trio.consent("job-4", _contribute(trio, "job-4", trio.enclaves))
    _run(trio, "job-5")
    trio.load()
    _run(trio, "job-6")


def test_statements_stay_short_while_jobs_succeed(trio: Trio) -> None:
    """They begin at a head that all peers are known to have."""
    for number in range(6):
        _run(trio, f"job-{number}")
    lengths = []
    for job in ("later-1", "later-2"):
        trio.load()
        said = _contribute(trio, job, trio.enclaves)[0].heads
        lengths.append(len(HeadsBody.FromString(said.body).heads))
    assert max(lengths) <= 4


def test_a_restored_enclave_sees_that_it_forgot_what_it_said(copied: Copied) -> None:
    """Whoever has kept its last word may remind it; what it did not say, or another did, does not count."""
    said = [one.heads for one in _contribute(copied, "job-1", copied.enclaves)]
    restored, present = copied.copies[2], copied.enclaves[2]
    with pytest.raises(Problem, match="This node was restored"):
        restored.heads.check_own(said[2], restored.identity, restored.epoch)
    present.heads.check_own(said[2], present.identity, present.epoch)
    restored.heads.check_own(said[1], restored.identity, restored.epoch)
    restored.heads.check_own(SignedHeads(), restored.identity, restored.epoch)


def test_a_node_without_the_latest_records_says_that_it_may_be_itself(copied: Copied) -> None:
    """A restored enclave judges others by what it has seen, and does not lay its own gap at their door."""
    for number in range(3):
        _run(copied, f"early-{number}")
    backup = Path(shutil.copytree(copied.folder / NODES[0], copied.folder.parent / "backup"))
    for number in range(3):
        _run(copied, f"late-{number}")
    restored = load_enclave(backup, copied.ca_pem)
    enclaves = [restored, *copied.enclaves[1:]]
    task = OpenTask(contributions=_contribute(copied, "job-1", enclaves))
    with pytest.raises(Problem, match="This node or node-2 was restored"):
        opening.open_total(restored, "job-1", task)
    restored.journal.close()


def test_a_corrupt_enclaves_other_numbers_need_everybodys_consent_too(trio: Trio) -> None:
    """A second contribution of one enclave is another total of the job, whoever made it and why."""
    honest = _contribute(trio, "job-1", trio.enclaves)
    forged = [*honest[:2], of_zeros(trio.enclaves[2], honest[2], "job-1")]
    first = _consents("job-1", [trio.enclaves[0], trio.enclaves[2]], honest)
    second = _consents("job-1", [trio.enclaves[1]], forged)
    assert (len(first), len(second)) == (2, 1)
    assert not any(_decrypts("job-1", enclave, [first[0], second[0], first[1]]) for enclave in trio.enclaves)
