"""An enclave enters one key epoch after another and never goes back; what an old key closed stays closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from yingbi.api.evidence import DEALER, EvidenceError, roster_digest
from yingbi.api.problem import Problem
from yingbi.api.v1.attestation_pb2 import KeyCeremonyRequest, KeyCeremonyResult, SignedKeyEpoch
from yingbi.api.v1.node_pb2 import Hello, OpenTask, SignTask
from yingbi.api.v1.receipt_pb2 import ContributionBody
from yingbi.api.v1.standing_pb2 import Standing

from enclave_sim import jobs, opening
from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.budget import budget_of
from enclave_sim.ceremony import hold_ceremony
from enclave_sim.contributions import dataset_version
from enclave_sim.enclave import Enclave, load_enclave
from enclave_sim.engine.protocol import never
from enclave_sim.identity import Identity
from enclave_sim.paillier.dealer import generate_safe_prime
from enclave_sim.standing import standing_of
from gateway.app import verify_hello
from gateway.zone.standings import merged
from tests.attacks.conftest import PRIME_BITS
from tests.attacks.three_enclaves import NODES, SPARE, Trio, bring, refusal, visits_declaration, visits_of


@pytest.fixture(scope="module")
def other_primes() -> tuple[int, int]:
    return generate_safe_prime(PRIME_BITS), generate_safe_prime(PRIME_BITS)


def standing(trio: Trio) -> Standing:
    """What the three have spent."""
    return merged([standing_of(enclave.journal.records) for enclave in trio.enclaves], b"s" * 16)


def request(
    trio: Trio, names: Sequence[str] = NODES, *, epoch: int = 2, spent: Standing | None = None
) -> KeyCeremonyRequest:
    """What the dealer is asked for after the first epoch."""
    return KeyCeremonyRequest(
        epoch=epoch,
        threshold=2,
        enclaves=[Identity.kept(trio.folder / name, trio.ca_pem)[0].evidence for name in names],
        previous=trio.enclaves[0].signed_epoch,
        standing=(spent or standing(trio)).SerializeToString(deterministic=True),
    )


def deal(trio: Trio, asked: KeyCeremonyRequest, primes: tuple[int, int]) -> KeyCeremonyResult:
    return hold_ceremony(asked, primes, Identity.of(SimulatedBackend.load(trio.folder / DEALER)), trio.ca_pem)


def install(trio: Trio, asked: KeyCeremonyRequest, result: KeyCeremonyResult) -> None:
    """Put a ceremony's files where the enclaves find them at their next start."""
    for share in result.shares:
        enclave = trio.folder / share.node
        (enclave / "policy.json").write_bytes((trio.folder / NODES[0] / "policy.json").read_bytes())
        (enclave / "key_epoch.pb").write_bytes(result.key_epoch.SerializeToString())
        (enclave / "key_share.pb").write_bytes(share.SerializeToString())
        (enclave / "standing.pb").write_bytes(asked.standing)


def rekey(trio: Trio, primes: tuple[int, int]) -> None:
    """The same three under a new key."""
    asked = request(trio)
    install(trio, asked, deal(trio, asked, primes))
    trio.load()


def files(trio: Trio, node: str) -> dict[str, bytes]:
    names = ("key_epoch.pb", "key_share.pb", "standing.pb")
    return {name: (trio.folder / node / name).read_bytes() for name in names if (trio.folder / node / name).exists()}


def put_back(trio: Trio, node: str, old: dict[str, bytes]) -> None:
    for name, content in old.items():
        (trio.folder / node / name).write_bytes(content)


def test_a_new_key_for_the_same_nodes_answers_from_the_same_shards(trio: Trio, other_primes: tuple[int, int]) -> None:
    before = trio.enclaves[0].key.n
    spent = trio.spent()
    rekey(trio, other_primes)
    assert {(enclave.epoch.epoch, enclave.key.n == before) for enclave in trio.enclaves} == {(2, False)}
    plan = trio.plan()
    body = trio.run("job-1", trio.task(plan))
    assert body.manifest.key_epoch == 2
    assert {after - was for after, was in zip(trio.spent(), spent, strict=True)} == {body.rho_units}
    # Starting again is nothing new.
    trio.load()
    assert trio.records("key_epoch") == [2, 2, 2]


def test_an_older_epochs_files_keep_an_enclave_from_starting(trio: Trio, other_primes: tuple[int, int]) -> None:
    """The share of the old key, put back by whoever holds the node's disk."""
    old = files(trio, NODES[0])
    rekey(trio, other_primes)
    trio.close()
    put_back(trio, NODES[0], old)
    with pytest.raises(EvidenceError, match="in key epoch 2 and was given the older 1"):
        load_enclave(trio.folder / NODES[0], trio.ca_pem)


def test_another_epoch_of_the_same_number_keeps_it_from_starting(
    trio: Trio, safe_primes: tuple[int, int], other_primes: tuple[int, int]
) -> None:
    twin = request(trio)
    rekey(trio, other_primes)
    trio.close()
    install(trio, twin, deal(trio, twin, safe_primes))
    with pytest.raises(EvidenceError, match="another one of that number"):
        load_enclave(trio.folder / NODES[0], trio.ca_pem)


def test_a_job_begun_under_the_old_key_is_refused_at_every_step_and_stays_spent(
    trio: Trio, other_primes: tuple[int, int]
) -> None:
    """Neither its stored ciphertexts nor fresh ones: a second noise for one charge would be a second release."""
    task = trio.task(trio.plan())
    contributions = trio.contribute("job-1", task)
    opened = trio.opened("job-1", trio.open("job-1", contributions))
    spent = trio.spent()
    rekey(trio, other_primes)
    for enclave in trio.enclaves:
        assert refusal(jobs.contribute, enclave, "job-1", task, never) == "other_epoch"
        assert refusal(opening.open_total, enclave, "job-1", OpenTask(contributions=contributions)) == "other_epoch"
        assert refusal(opening.sign_receipt, enclave, "job-1", SignTask(opened=opened)) == "other_epoch"
    assert trio.spent() == spent


def test_a_contribution_of_the_old_epoch_is_in_no_total_of_the_new(trio: Trio, other_primes: tuple[int, int]) -> None:
    """Two nodes had begun when the key was changed, and the third begins after it."""
    task = trio.task(trio.plan())
    begun = [jobs.contribute(enclave, "job-1", task, never) for enclave in trio.enclaves[:2]]
    rekey(trio, other_primes)
    late = jobs.contribute(trio.enclaves[2], "job-1", task, never)
    assert ContributionBody.FromString(late.signed.body).key_epoch == 2
    total = OpenTask(contributions=[*begun, late])
    assert refusal(opening.open_total, trio.enclaves[2], "job-1", total) == "other_epoch"


def test_a_restored_node_takes_part_again_under_a_new_key_and_knows_what_was_spent(
    trio: Trio, other_primes: tuple[int, int]
) -> None:
    """What it forgot cannot be opened again, and its budget is the most that any journal has spent."""
    backup = (trio.folder / NODES[2] / "journal").read_bytes()
    trio.run("job-1", trio.task(trio.plan()))
    spent = trio.spent()
    trio.close()
    (trio.folder / NODES[2] / "journal").write_bytes(backup)
    trio.load()
    assert trio.spent() == [*spent[:2], 0]
    again = trio.task(trio.plan(), request_id="request-2")
    assert refusal(trio.run, "job-2", again) == "rolled_back"
    spent = trio.spent()
    rekey(trio, other_primes)
    assert trio.spent() == [max(spent)] * 3
    trio.run("job-3", trio.task(trio.plan(), request_id="request-3"))


def test_a_standing_that_forgets_a_charge_is_not_taken(trio: Trio, other_primes: tuple[int, int]) -> None:
    """A ceremony that was held before the last question: the nodes that answered it do not start under its key."""
    asked = request(trio)
    result = deal(trio, asked, other_primes)
    trio.run("job-1", trio.task(trio.plan()))
    trio.close()
    install(trio, asked, result)
    for name in NODES:
        with pytest.raises(EvidenceError, match="less of visits spent than there is"):
            load_enclave(trio.folder / name, trio.ca_pem)


def test_the_standing_is_the_one_that_the_dealer_named(trio: Trio, other_primes: tuple[int, int]) -> None:
    asked = request(trio)
    install(trio, asked, deal(trio, asked, other_primes))
    trio.close()
    for content in (b"", asked.standing + b"\x1a\x01x"):
        (trio.folder / NODES[0] / "standing.pb").write_bytes(content)
        with pytest.raises(EvidenceError, match="not the one that the key epoch names"):
            load_enclave(trio.folder / NODES[0], trio.ca_pem)


@pytest.fixture
def joined(trio: Trio, other_primes: tuple[int, int]) -> Trio:
    """After a question, node-4 in the place of node-1: its enclave is the last of the three."""
    trio.run("job-1", trio.task(trio.plan(epsilon=8.0)))
    asked = request(trio, [*NODES[1:], SPARE])
    install(trio, asked, deal(trio, asked, other_primes))
    trio.close()
    trio.enclaves = [load_enclave(trio.folder / name, trio.ca_pem) for name in (*NODES[1:], SPARE)]
    return trio


def test_a_node_that_joins_has_spent_what_the_others_have(joined: Trio) -> None:
    assert len(set(joined.spent())) == 1
    assert joined.spent()[0] > 0
    newcomer = joined.enclaves[2]
    budget = budget_of(newcomer.journal.records, "visits")
    assert budget == budget_of(joined.enclaves[0].journal.records, "visits")


def test_it_cannot_be_given_a_larger_budget_than_the_others_have(joined: Trio) -> None:
    reply = bring(joined.enclaves[2], visits_declaration(epsilon=201.0), [visits_of(0)])
    assert reply is not None
    assert reply.failure.code == "budget_raised"


def test_the_shards_of_the_nodes_that_stayed_are_no_version(joined: Trio, trio: Trio) -> None:
    """Else a gateway could go on without the rows of the node that left, under the dataset's name."""
    stayed = joined.shards["visits"][1:]
    for shards in (joined.shards["visits"], stayed):
        with pytest.raises(Problem, match="shard"):
            dataset_version(shards, joined.enclaves[0].epoch)


def test_nor_when_they_alone_hold_the_key(trio: Trio, other_primes: tuple[int, int]) -> None:
    """Their nodes are in order, and every signature is right."""
    asked = request(trio, NODES[1:])
    install(trio, asked, deal(trio, asked, other_primes))
    trio.close()
    trio.enclaves = [load_enclave(trio.folder / name, trio.ca_pem) for name in NODES[1:]]
    with pytest.raises(Problem, match="sealed with other nodes"):
        dataset_version(trio.shards["visits"][1:], trio.enclaves[0].epoch)


def test_added_again_the_dataset_is_answered_and_has_what_was_left(joined: Trio) -> None:
    before = joined.spent()
    joined.add(visits_declaration(), [visits_of(number) for number in range(3)])
    assert joined.spent() == before
    body = joined.run("job-2", joined.task(joined.plan(), request_id="request-2"))
    assert {after - was for after, was in zip(joined.spent(), before, strict=True)} == {body.rho_units}


def test_the_dealer_follows_the_epoch_before(trio: Trio, other_primes: tuple[int, int]) -> None:
    """No epoch is left out, none is founded twice, and somebody stays who knows what was spent."""
    rekey(trio, other_primes)
    before = (trio.folder / NODES[0] / "standing.pb").read_bytes()

    def after(names: Sequence[str] = NODES, epoch: int = 3, **changes: bytes | SignedKeyEpoch | None) -> None:
        asked = request(trio, names, epoch=epoch)
        asked.previous_standing = before
        for name, value in changes.items():
            asked.ClearField(name)  # type: ignore[arg-type]
            if isinstance(value, bytes):
                setattr(asked, name, value)
        assert deal(trio, asked, other_primes).shares

    after()
    forgets = standing(trio)
    del forgets.datasets[:]
    wrong: dict[str, dict[str, Any]] = {
        "is not followed by 4": {"epoch": 4},
        "is not followed by 2": {"epoch": 2},
        "key epoch 3 follows none": {"previous": None},
        "key epoch 1 follows none": {"epoch": 1, "previous": None},
        "forget what was spent": {"names": [SPARE]},
        "not the one that the key epoch names": {"previous_standing": b""},
        "leaves out visits": {"standing": forgets.SerializeToString()},
    }
    for message, changes in wrong.items():
        with pytest.raises(EvidenceError, match=message):
            after(**changes)


def test_the_roster_is_who_and_not_which_key(trio: Trio, other_primes: tuple[int, int]) -> None:
    first = trio.enclaves[0].epoch
    rekey(trio, other_primes)
    assert roster_digest(trio.enclaves[0].epoch) == roster_digest(first)
    fewer = type(first)(holders=first.holders[:2])
    swapped = type(first)(holders=[first.holders[1], first.holders[0], first.holders[2]])
    assert len({roster_digest(one) for one in (first, fewer, swapped)}) == 3


def hello(enclave: Enclave, signed: SignedKeyEpoch) -> Hello:
    return Hello(node=enclave.node, evidence=enclave.identity.evidence, key_epoch=signed)


def test_a_gateway_takes_no_node_of_another_epoch(trio: Trio, other_primes: tuple[int, int]) -> None:
    """One that left still has its certificate and a key epoch that the dealer signed."""
    old = trio.enclaves[0].signed_epoch
    rekey(trio, other_primes)
    enclave, present = trio.enclaves[0], trio.enclaves[0].signed_epoch
    assert verify_hello(hello(enclave, present), trio.ca_pem, present).epoch == 2
    for shown, expected in ((old, present), (present, old)):
        with pytest.raises(Problem) as refused:
            verify_hello(hello(enclave, shown), trio.ca_pem, expected)
        assert refused.value.code == "other_epoch"
