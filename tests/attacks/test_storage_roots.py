"""A host against its node's root: old states, other code, other people's signatures, keys and shares.

`enclave_sim/storage` has the arguments.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi import escrow
from yingbi.api import digests
from yingbi.api import escrow as api_escrow
from yingbi.api.evidence import EvidenceError, read_claims, zone_of
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import Evidence
from yingbi.api.v1.storage_pb2 import (
    EscrowHolder,
    EscrowOrder,
    EscrowShare,
    SignedEscrowOrder,
    SignedUpgradePolicy,
    UpgradePolicy,
)
from yingbi.trust import Trust

from enclave_sim import ceremony, jobs, upkeep
from enclave_sim.attestation import simulated
from enclave_sim.attestation.measurement import measure
from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.enclave import load_enclave
from enclave_sim.engine.protocol import never
from enclave_sim.identity import Identity
from enclave_sim.sealed.errors import SealedFileError
from enclave_sim.storage.escrow import ShareError
from enclave_sim.storage.handover import NotApprovedError
from enclave_sim.storage.state import OtherCodeError, RolledBackError, RootError, open_root
from gateway.zone.init import write_platform
from tests.attacks.three_enclaves import NODES, Trio, refusal, visits_declaration, visits_of
from tests.enclave_sim.test_key_epochs import deal, install
from tests.enclave_sim.test_key_epochs import request as request_for_key

NEW_CODE = b"n" * 32
SQL = "SELECT COUNT(*) FROM visits"
HOLDERS = [escrow.HolderKey.new(name) for name in ("Ann", "Bo", "Cy", "Di", "Eve")]


def node(trio: Trio, number: int = 0) -> Path:
    return trio.folder / NODES[number]


def platform(trio: Trio, number: int = 0, code: bytes | None = None) -> SimulatedBackend:
    return replace(SimulatedBackend.load(node(trio, number) / "platform"), code=code)


def do(trio: Trio, action: str, *given: bytes, number: int = 0, code: bytes | None = None) -> list[bytes]:
    """What a node's host has its enclave's code do."""
    return upkeep.ACTIONS[action](node(trio, number), trio.ca_pem, platform(trio, number, code), list(given))


# Dataset keys


def test_a_host_that_gives_a_dataset_anothers_key_is_refused(trio: Trio) -> None:
    """Else rows of one dataset could be put in another's place, under its grade and its budget."""
    trio.add(visits_declaration("other"), [visits_of(number) for number in range(3)])
    keys = trio.enclaves[0].keys
    (keys.folder / "visits").write_bytes((keys.folder / "other").read_bytes())
    with pytest.raises(SealedFileError, match="key of visits is another dataset's"):
        keys.of("visits")
    assert refusal(jobs.contribute, trio.enclaves[0], "job-1", trio.task(trio_plan(trio)), never) == "sealed_file"
    assert trio.records("charge")[0] == 0


def trio_plan(trio: Trio) -> Any:
    """Made from what a node that is not attacked has."""
    aside = replace(trio, enclaves=trio.enclaves[1:])
    plan = aside.plan(SQL)
    plan.noise.parties = len(NODES)
    return plan


# Upgrades


def policy(trio: Trio, **changes: Any) -> UpgradePolicy:
    """That all three may go to NEW_CODE, for an hour."""
    said: dict[str, Any] = {
        "zone": zone_of(trio.ca_pem),
        "nodes": NODES,
        "old_measurement": measure(),
        "new_measurement": NEW_CODE,
        "expires": Timestamp(seconds=int(time.time()) + 3600),
        "operator_key": trio.operator.public_key().public_bytes_raw(),
    }
    return UpgradePolicy(**{**said, **changes})


def signed(body: UpgradePolicy, key: Ed25519PrivateKey) -> bytes:
    data = body.SerializeToString(deterministic=True)
    return SignedUpgradePolicy(body=data, signature=digests.sign(key, digests.UPGRADE, data)).SerializeToString()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"zone": bytes(32)}, "another zone"),
        ({"nodes": NODES[1:]}, "for node-2, node-3, and this is node-1"),
        ({"nodes": []}, "for no node"),
        ({"old_measurement": b"o" * 32}, "for code that measures 6f6f6f6f"),
        ({"new_measurement": b"n" * 31}, "no other code"),
        ({"new_measurement": b""}, "no other code"),
        ({"new_measurement": measure()}, "no other code"),
        ({"expires": Timestamp(seconds=int(time.time()) - 1)}, "expired"),
        ({"operator_key": b"s" * 32}, "nobody who was this node's operator"),
    ],
)
def test_a_policy_for_something_else_hands_nothing_over(trio: Trio, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(NotApprovedError, match=said):
        do(trio, "hand-over", signed(policy(trio, **changes), trio.operator))
    with pytest.raises(OtherCodeError):
        do(trio, "take-over", code=NEW_CODE)


def test_a_forged_policy_hands_nothing_over(trio: Trio) -> None:
    """Signed by another, by a developer, or altered after it was signed."""
    body = policy(trio)
    developer = policy(trio, operator_key=trio.developer.public_key().public_bytes_raw())
    altered = SignedUpgradePolicy.FromString(signed(body, trio.operator))
    altered.body = policy(trio, new_measurement=b"m" * 32).SerializeToString(deterministic=True)
    for forged in (
        signed(body, trio.developer),
        signed(developer, trio.developer),
        altered.SerializeToString(),
        SignedUpgradePolicy(body=body.SerializeToString()).SerializeToString(),
    ):
        with pytest.raises(NotApprovedError):
            do(trio, "hand-over", forged)


def test_a_host_that_names_itself_operator_approves_nothing(trio: Trio) -> None:
    """Whose signature counts is sealed with the root: the policy.json of today does not."""
    host = Ed25519PrivateKey.generate()
    file = node(trio) / "policy.json"
    own = host.public_key().public_bytes_raw()
    file.write_text(json.dumps({**json.loads(file.read_text()), "operators": [own.hex()]}))
    with pytest.raises(NotApprovedError, match="nobody who was this node's operator"):
        do(trio, "hand-over", signed(policy(trio, operator_key=own), host))


def test_other_code_has_nothing_without_a_handover(trio: Trio) -> None:
    trio.close()
    with pytest.raises(OtherCodeError, match="yingbi upgrade approve"):
        load_enclave(node(trio), trio.ca_pem, platform(trio, code=NEW_CODE))


def test_a_handover_is_for_the_code_that_was_approved_and_for_no_other(trio: Trio) -> None:
    do(trio, "hand-over", signed(policy(trio), trio.operator))
    with pytest.raises(OtherCodeError):
        do(trio, "take-over", code=b"m" * 32)


def test_after_an_upgrade_the_zone_answers_from_what_it_had(
    trio: Trio, safe_primes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same identities, same shards, what was spent is spent; a new key that names the new code, as receipts do."""
    trio.run("job-1", trio.task(trio.plan(SQL)))
    spent, names = trio.spent(), [enclave.identity.public_signing_key for enclave in trio.enclaves]
    asked = request_for_key(trio)
    for number in range(3):
        do(trio, "hand-over", signed(policy(trio), trio.operator), number=number)
    trio.close()
    for module in (simulated, ceremony):
        monkeypatch.setattr(module, "measure", lambda: NEW_CODE)
    for number in range(3):
        do(trio, "take-over", number=number)
    with pytest.raises(EvidenceError, match="yingbi upgrade finish"):
        load_enclave(node(trio), trio.ca_pem)
    del asked.enclaves[:]
    asked.enclaves.extend(Identity.kept(node(trio, number), trio.ca_pem)[0].evidence for number in range(3))
    install(trio, asked, deal(trio, asked, safe_primes))
    trio.load()
    assert [enclave.identity.public_signing_key for enclave in trio.enclaves] == names
    assert trio.spent() == spent
    body = trio.run("job-2", trio.task(trio.plan(SQL), request_id="request-2"))
    assert body.manifest.key_epoch == 2
    assert {holder.measurement for holder in trio.enclaves[0].epoch.holders} == {NEW_CODE}
    assert read_claims(trio.enclaves[0].identity.evidence).measurement == NEW_CODE
    assert all(after > before for after, before in zip(trio.spent(), spent, strict=True))


# Old states


def test_a_node_put_back_to_before_a_renewal_does_not_start(trio: Trio) -> None:
    trio.close()
    copied = trio.folder.parent / "backup"
    shutil.copytree(node(trio), copied, ignore=shutil.ignore_patterns("platform"))
    do(trio, "rotate")
    shutil.copytree(copied, node(trio), dirs_exist_ok=True)
    with pytest.raises(RolledBackError, match="put back to an earlier state"):
        load_enclave(node(trio), trio.ca_pem)


def test_the_code_before_an_upgrade_opens_nothing_any_more(trio: Trio) -> None:
    """A mistake that the new code mends stays mended: not with the old state, nor with an old handover back to it."""
    trio.close()
    copied = trio.folder.parent / "backup"
    shutil.copytree(node(trio), copied, ignore=shutil.ignore_patterns("platform"))
    do(trio, "hand-over", signed(policy(trio), trio.operator))
    do(trio, "take-over", code=NEW_CODE)
    with pytest.raises(OtherCodeError):
        load_enclave(node(trio), trio.ca_pem)
    shutil.copytree(copied, node(trio), dirs_exist_ok=True)
    with pytest.raises(RolledBackError):
        load_enclave(node(trio), trio.ca_pem)


# Escrow


def order(trio: Trio, key: Ed25519PrivateKey | None = None, **changes: Any) -> bytes:
    key = key or trio.operator
    said: dict[str, Any] = {
        "zone": zone_of(trio.ca_pem),
        "node": NODES[0],
        "threshold": 3,
        "holders": [holder.holder for holder in HOLDERS],
        "expires": Timestamp(seconds=int(time.time()) + 600),
        "operator_key": key.public_key().public_bytes_raw(),
    }
    data = EscrowOrder(**{**said, **changes}).SerializeToString(deterministic=True)
    return SignedEscrowOrder(body=data, signature=digests.sign(key, digests.ESCROW_ORDER, data)).SerializeToString()


def split(trio: Trio, number: int = 0) -> list[EscrowShare]:
    return [EscrowShare.FromString(one) for one in do(trio, "split", order(trio, node=NODES[number]), number=number)]


def request(trio: Trio, number: int = 0, code: bytes | None = None) -> Evidence:
    return Evidence.FromString(do(trio, "recipient", number=number, code=code)[0])


def trust(trio: Trio) -> Trust:
    return Trust(trio.ca_pem.decode(), measure().hex(), allow_simulation=True)


def released(trio: Trio, shares: Sequence[EscrowShare], asked: Evidence) -> list[EscrowShare]:
    return [escrow.release(share, HOLDERS[share.index - 1], asked, trust(trio)) for share in shares]


def give(trio: Trio, action: str, shares: Sequence[EscrowShare]) -> list[bytes]:
    return do(trio, action, *(share.SerializeToString() for share in shares))


def lose_platform(trio: Trio) -> None:
    assert trio.attestation_root is not None
    trio.close()
    shutil.rmtree(node(trio) / "platform")
    write_platform(node(trio) / "platform", NODES[0], trio.attestation_root)


@pytest.mark.parametrize("chosen", [(0, 1, 2), (4, 2, 0), (0, 1, 2, 3, 4)])
def test_a_lost_platform_is_replaced_by_any_threshold_of_holders(trio: Trio, chosen: tuple[int, ...]) -> None:
    """The drill for the worst day: afterwards the zone answers, with nothing else made anew."""
    shares = split(trio)
    trio.close()
    do(trio, "rotate")
    lose_platform(trio)
    with pytest.raises(RootError, match="restore the root from its escrow"):
        load_enclave(node(trio), trio.ca_pem)
    back = released(trio, [shares[index] for index in chosen], request(trio))
    give(trio, "drill", back)
    give(trio, "restore", back)
    trio.load()
    assert trio.run("job-1", trio.task(trio.plan(SQL)))
    with pytest.raises(RootError, match="asked nobody"):
        give(trio, "restore", back)


def test_a_drill_writes_nothing_and_opens_what_the_node_has(trio: Trio) -> None:
    trio.close()
    shares = split(trio)
    asked = request(trio)
    before = {path: path.read_bytes() for path in node(trio).rglob("*") if path.is_file()}
    give(trio, "drill", released(trio, shares[:3], asked))
    assert {path: path.read_bytes() for path in node(trio).rglob("*") if path.is_file()} == before
    with pytest.raises(RootError, match="nothing was restored"):
        give(trio, "restore", released(trio, shares[:3], asked))


def test_no_share_and_no_file_of_the_node_shows_the_root(trio: Trio) -> None:
    secret = open_root(node(trio), platform(trio), trio.ca_pem).secret
    shares = split(trio)
    seen = [share.SerializeToString() for share in (*shares, *released(trio, shares, request(trio)))]
    seen += [path.read_bytes() for path in node(trio).rglob("*") if path.is_file()]
    assert not any(secret in one for one in seen)


Wrong = Callable[[list[EscrowShare]], list[EscrowShare]]


def changed(position: int, **changes: Any) -> Wrong:
    def change(shares: list[EscrowShare]) -> list[EscrowShare]:
        for name, value in changes.items():
            setattr(shares[position], name, value(getattr(shares[position], name)))
        return shares[:3]

    return change


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def terms_changed(shares: list[EscrowShare]) -> list[EscrowShare]:
    """As a host would that wants to approve upgrades itself."""
    for share in shares:
        share.terms.authorities[0] = bytes(32)
    return shares[:3]


def check_changed(shares: list[EscrowShare]) -> list[EscrowShare]:
    for share in shares:
        share.root_check = bytes(32)
    return shares[:3]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda shares: shares[:2], "it takes 3 of 5 shares, and 2 came; ask 1 more of Cy, Di, Eve"),
        (lambda _: [], "no share"),
        (lambda shares: [*shares[:2], shares[0]], "the share of Ann is there twice"),
        (changed(1, ciphertext=flipped), "the share of Bo was changed"),
        (changed(1, index=lambda _: 4), "the share of Di was changed"),
        (changed(1, index=lambda _: 9), "there is no share 9"),
        (changed(1, root_check=flipped), "the share of Bo is of another split"),
        (lambda shares: [*shares[:2], shares[3]], "the share of Di is of another split"),
        (lambda shares: shares[4:], "these are shares of node-2"),
        (terms_changed, "was changed"),
        (check_changed, "do not make the root"),
    ],
)
def test_shares_that_are_too_few_or_wrong_are_refused_by_name(trio: Trio, wrong: Wrong, said: str) -> None:
    trio.close()
    shares = [*split(trio)[:3], split(trio)[3], *split(trio, 1)[:3]]
    lose_platform(trio)
    asked = request(trio)
    back = [*released(trio, shares[:4], asked), *_given_away(trio, shares[4:], asked)]
    wrongs = wrong(back)
    for action in ("drill", "restore"):
        with pytest.raises(ShareError, match=said):
            give(trio, action, wrongs)
    assert not (node(trio) / "platform" / "counter-storage-keys").exists()


def copies(shares: Sequence[EscrowShare]) -> list[EscrowShare]:
    return [EscrowShare.FromString(share.SerializeToString()) for share in shares]


def _given_away(trio: Trio, shares: Sequence[EscrowShare], asked: Evidence) -> list[EscrowShare]:
    """Shares of another node, by holders who do not look whom they release them to."""
    recipient = read_claims(asked).encryption_key
    given = []
    for share in copies(shares):
        value = api_escrow.opened(share, HOLDERS[share.index - 1].key, "to its holder")
        share.ciphertext = api_escrow.sealed(value, share.terms, share.index, recipient, "back to an enclave")
        given.append(share)
    return given


def test_a_holder_who_lies_is_named(trio: Trio) -> None:
    """Another value in a share, encrypted as it should be."""
    trio.close()
    shares = split(trio)
    asked = request(trio)
    back = released(trio, shares[:3], asked)
    terms, recipient = back[1].terms, read_claims(asked).encryption_key
    back[1].ciphertext = api_escrow.sealed(bytes(32), terms, back[1].index, recipient, "back to an enclave")
    with pytest.raises(ShareError, match="the share of Bo is not the one that was made for them"):
        give(trio, "drill", back)


def test_shares_for_one_enclave_are_of_no_use_to_another(trio: Trio) -> None:
    trio.close()
    shares = split(trio)
    back = released(trio, shares[:3], request(trio))
    request(trio)
    with pytest.raises(ShareError, match="released to another enclave"):
        give(trio, "drill", back)


def test_the_code_before_an_upgrade_keeps_no_shares_of_a_drill(trio: Trio) -> None:
    """Released to it while it was the present code: afterwards it would restore the root for itself."""
    trio.close()
    shares = released(trio, split(trio)[:3], request(trio))
    give(trio, "drill", shares)
    do(trio, "hand-over", signed(policy(trio), trio.operator))
    do(trio, "take-over", code=NEW_CODE)
    for action in ("drill", "restore"):
        with pytest.raises(RootError, match="asked nobody for shares"):
            give(trio, action, shares)


def test_a_holder_releases_nothing_to_what_is_not_the_nodes_enclave(trio: Trio) -> None:
    """Other code, another node, evidence that was made for something else, and a share that is another's."""
    share = split(trio)[0]
    ann, bo = HOLDERS[:2]
    joining = trio.enclaves[0].identity.evidence
    asked = request(trio)
    for key, evidence, kind in (
        (ann, request(trio, code=NEW_CODE), Kind.BAD_EVIDENCE),
        (ann, joining, Kind.BAD_EVIDENCE),
        (ann, Evidence(token=flipped(asked.token)), Kind.BAD_EVIDENCE),
        (ann, request(trio, 1), Kind.REFUSED),
        (bo, asked, Kind.REFUSED),
    ):
        with pytest.raises(Problem) as refused:
            escrow.release(share, key, evidence, trust(trio))
        assert refused.value.kind is kind
    unknown = replace(trust(trio), measurement=None)
    with pytest.raises(Problem, match="no reference value is known"):
        escrow.release(share, ann, asked, unknown)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"node": NODES[1]}, "for node-2"),
        ({"zone": bytes(32)}, "another zone"),
        ({"expires": Timestamp(seconds=1)}, "expired"),
        ({"threshold": 1}, "threshold of 1"),
        ({"threshold": 6}, "threshold of 6"),
        ({"holders": [HOLDERS[0].holder, HOLDERS[0].holder], "threshold": 2}, "named twice"),
        ({"holders": [HOLDERS[0].holder, EscrowHolder(name="Cy")], "threshold": 2}, "the key of Cy is no key"),
    ],
)
def test_an_order_for_something_else_splits_nothing(trio: Trio, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(NotApprovedError, match=said):
        do(trio, "split", order(trio, **changes))


def test_a_host_does_not_make_itself_the_holders(trio: Trio) -> None:
    """It would have the root. Neither does a developer."""
    for key in (Ed25519PrivateKey.generate(), trio.developer):
        with pytest.raises(NotApprovedError, match="nobody who was this node's operator"):
            do(trio, "split", order(trio, key))
    altered = SignedEscrowOrder.FromString(order(trio))
    altered.body = SignedEscrowOrder.FromString(order(trio, threshold=2)).body
    with pytest.raises(NotApprovedError, match="signature"):
        do(trio, "split", altered.SerializeToString())
