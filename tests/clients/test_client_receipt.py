"""A receipt verifies offline, and no change of it does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import client_scene as scene  # type: ignore[import-not-found]
import pytest
from client_scene import Changes, Scene
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import plan_pb2, receipt_pb2
from yingbi.receipt import STANDARD, Receipt
from yingbi.trust import Trust

PLAN = scene.counting_plan()


@pytest.fixture(scope="module")
def zone() -> Scene:
    return scene.scene()


def verify(zone: Scene, message: receipt_pb2.Receipt) -> list[str]:
    return [check.name for check in Receipt(message).verify(zone.ca.pem, scene.MEASUREMENT.hex())]


def refusal(zone: Scene, message: receipt_pb2.Receipt) -> str:
    with pytest.raises(Problem) as caught:
        verify(zone, message)
    assert caught.value.kind is Kind.BAD_EVIDENCE
    return caught.value.code


def test_a_true_receipt_verifies_line_by_line(zone: Scene) -> None:
    assert len(verify(zone, scene.receipt_of(zone, PLAN, scene.OPENED))) == len(STANDARD)


def test_simulation_is_said_plainly(zone: Scene) -> None:
    checks = Receipt(scene.receipt_of(zone, PLAN, scene.OPENED)).verify(zone.ca.pem)
    said = "\n".join(map(str, checks))
    assert "simulated: proves nothing about hardware" in said
    assert "not compared with a reference value" in said


def test_the_table_is_recomputed_from_the_opened_integers(zone: Scene) -> None:
    assert Receipt(scene.receipt_of(zone, PLAN, scene.OPENED)).table().rows[0][1] == 4000.0


def test_it_survives_a_file_and_any_json_writer(zone: Scene, tmp_path: Path) -> None:
    receipt = Receipt(scene.receipt_of(zone, PLAN, scene.OPENED))
    receipt.save(tmp_path / "receipt.json")
    assert Receipt.load(tmp_path / "receipt.json") == receipt
    (tmp_path / "pretty.json").write_text(json.dumps(receipt.to_json(), indent=2))
    assert Receipt.load(tmp_path / "pretty.json") == receipt


@pytest.mark.parametrize("mask", [0x01, 0xFF])
def test_no_byte_of_the_file_can_be_flipped(mask: int, tmp_path: Path, long_form: bool) -> None:
    zone = scene.scene(nodes=1, threshold=1)
    plan = scene.counting_plan()
    plan.noise.parties = 1
    path = tmp_path / "receipt.json"
    Receipt(scene.receipt_of(zone, plan, scene.OPENED, changes=Changes(signers=[0]))).save(path)
    content = path.read_bytes()
    ends = set()
    # A lowest bit leaves most text readable, and signatures to be checked: a third of the bytes, or all by --long.
    for index in range(0, len(content), 1 if long_form or mask == 0xFF else 3):
        path.write_bytes(content[:index] + bytes([content[index] ^ mask]) + content[index + 1 :])
        ends.add(_end(path, zone))
    assert ends == {Kind.BAD_EVIDENCE}


def _end(path: Path, zone: Scene) -> Kind | None:
    try:
        Receipt.load(path).verify(zone.ca.pem, scene.MEASUREMENT.hex())
    except Problem as problem:
        return problem.kind
    return None


def test_a_file_with_more_in_it_is_refused(zone: Scene, tmp_path: Path) -> None:
    document = Receipt(scene.receipt_of(zone, PLAN, scene.OPENED)).to_json()
    path = tmp_path / "receipt.json"
    for text in (
        json.dumps({**document, "note": "verified"}),
        json.dumps(document)[:-1] + ', "body": "AA=="}',
        "[]",
        "",
        "[" * 100_000,
    ):
        path.write_text(text)
        with pytest.raises(Problem) as caught:
            Receipt.load(path)
        assert caught.value.kind is Kind.BAD_EVIDENCE


def test_a_missing_file_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        Receipt.load(tmp_path / "none.json")
    assert caught.value.kind is Kind.MALFORMED


def test_another_zones_ca_is_noticed(zone: Scene) -> None:
    message = scene.receipt_of(zone, PLAN, scene.OPENED)
    with pytest.raises(Problem) as caught:
        Receipt(message).verify(scene.authority().pem)
    assert caught.value.code == "receipt_evidence"


def test_a_ca_that_is_no_certificate_is_the_callers_mistake(zone: Scene) -> None:
    with pytest.raises(Problem) as caught:
        Receipt(scene.receipt_of(zone, PLAN, scene.OPENED)).verify("no PEM")
    assert caught.value.kind is Kind.MALFORMED


def test_a_tls_key_of_the_zone_cannot_vouch_for_enclaves() -> None:
    """The CA certifies the gateway's TLS key too: it must not pass for an attestation root."""
    zone = scene.scene(root_is_ca=False)
    assert refusal(zone, scene.receipt_of(zone, PLAN, scene.OPENED)) == "receipt_evidence"


def test_another_measurement_is_noticed(zone: Scene) -> None:
    message = scene.receipt_of(zone, PLAN, scene.OPENED)
    with pytest.raises(Problem) as caught:
        Receipt(message).verify(zone.ca.pem, "00" * 32)
    assert caught.value.code == "receipt_measurement"


def test_a_receipt_of_before_an_upgrade_names_the_code_of_its_time(zone: Scene) -> None:
    receipt = Receipt(scene.receipt_of(zone, PLAN, scene.OPENED))
    trust = Trust(zone.ca.pem, "00" * 32, earlier=("11" * 32, scene.MEASUREMENT.hex().upper()))
    (found,) = (check for check in receipt.checks(trust) if check.name == "measurement")
    assert "the reference value of its time" in found.finding
    with pytest.raises(Problem, match="not the reference value"):
        list(receipt.checks(replace(trust, earlier=("11" * 32,))))


def test_differing_measurements_are_noticed() -> None:
    zone = scene.scene()
    root = zone.ca.issue("attestation root", Ed25519PrivateKey.generate(), ca=True)
    odd = scene.enclave("node-1", root, measurement=bytes(32))
    zone = scene.scene_of(zone.ca, zone.dealer, [odd, *zone.nodes[1:]])
    assert refusal(zone, scene.receipt_of(zone, PLAN, scene.OPENED)) == "receipt_measurement"


def test_evidence_of_another_platform_is_noticed() -> None:
    zone = scene.scene()
    root = zone.ca.issue("attestation root", Ed25519PrivateKey.generate(), ca=True)
    odd = scene.enclave("node-1", root, platform_name="node-9")
    zone = scene.scene_of(zone.ca, zone.dealer, [odd, *zone.nodes[1:]])
    assert refusal(zone, scene.receipt_of(zone, PLAN, scene.OPENED)) == "receipt_evidence"


def test_a_node_cannot_deal_keys() -> None:
    zone = scene.scene()
    zone = scene.scene_of(zone.ca, zone.nodes[0], zone.nodes)
    assert refusal(zone, scene.receipt_of(zone, PLAN, scene.OPENED)) == "receipt_evidence"


def test_a_threshold_of_nobody_is_noticed() -> None:
    zone = scene.scene(threshold=0)
    assert refusal(zone, scene.receipt_of(zone, PLAN, scene.OPENED)) == "receipt_key_epoch"


def test_a_stranger_cannot_sign(zone: Scene) -> None:
    root = zone.ca.issue("attestation root", Ed25519PrivateKey.generate(), ca=True)
    stranger = scene.scene_of(zone.ca, zone.dealer, [scene.enclave("node-1", root), *zone.nodes[1:]])
    message = scene.receipt_of(stranger, PLAN, scene.OPENED)
    message.key_epoch.CopyFrom(zone.key_epoch)
    assert refusal(zone, message) == "receipt_roster"


@pytest.mark.parametrize("contributors", [[0, 1], [1, 0, 2], [0, 0, 1], [0, 1, 2, 2]])
def test_contributions_come_from_every_holder_once_and_in_order(zone: Scene, contributors: list[int]) -> None:
    message = scene.receipt_of(zone, PLAN, scene.OPENED, changes=Changes(contributors=contributors))
    assert refusal(zone, message) == "receipt_contributions"


def test_a_contribution_to_another_job_is_noticed(zone: Scene) -> None:
    other = receipt_pb2.ReceiptBody.FromString(scene.receipt_of(zone, PLAN, scene.OPENED, job="job-2").body)
    manifest = other.manifest
    manifest.job = "job-1"
    message = scene.receipt_of(zone, PLAN, scene.OPENED, changes=Changes(body={"manifest": manifest}))
    assert refusal(zone, message) == "receipt_contributions"


def test_another_plan_beside_the_numbers_is_noticed(zone: Scene) -> None:
    other = plan_pb2.Plan()
    other.CopyFrom(PLAN)
    other.outputs[1].name = "deaths"
    message = scene.receipt_of(
        zone, PLAN, scene.OPENED, changes=Changes(plan_in_body=other.SerializeToString(deterministic=True))
    )
    assert refusal(zone, message) == "receipt_plan"


@pytest.mark.parametrize("signers", [[], [0], [0, 0]])
def test_fewer_signatures_than_the_threshold_are_not_enough(zone: Scene, signers: list[int]) -> None:
    message = scene.receipt_of(zone, PLAN, scene.OPENED, changes=Changes(signers=signers))
    assert refusal(zone, message) == "receipt_signatures"


def test_one_wrong_signature_beside_enough_right_ones_is_noticed(zone: Scene) -> None:
    message = scene.receipt_of(zone, PLAN, scene.OPENED, changes=Changes(signers=[0, 1, 2]))
    message.signatures[2].signature = message.signatures[1].signature
    assert refusal(zone, message) == "receipt_signatures"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"mechanism": ""}, "receipt_mechanism"),
        ({"rho_units": 1}, "receipt_rho"),
        ({"epsilon": 0.5}, "receipt_guarantee"),
        ({"opened": [1, 2, 3]}, "receipt_numbers"),
    ],
)
def test_a_release_that_does_not_add_up_is_noticed(zone: Scene, change: dict[str, object], code: str) -> None:
    assert refusal(zone, scene.receipt_of(zone, PLAN, scene.OPENED, changes=Changes(body=change))) == code


def _with_total(message: receipt_pb2.Receipt, total: list[bytes]) -> receipt_pb2.Receipt:
    del message.decryption.total[:]
    message.decryption.total.extend(total)
    return message


def test_enclaves_that_sign_other_numbers_than_the_total_holds_are_noticed(zone: Scene) -> None:
    """All of them together: the arithmetic is checked, not their word."""
    more = [scene.OPENED[0] + 1, *scene.OPENED[1:]]
    message = scene.receipt_of(zone, PLAN, scene.OPENED, changes=Changes(body={"opened": more}))
    assert refusal(zone, message) == "receipt_decryption"


def test_another_total_than_the_one_that_was_opened_is_noticed(zone: Scene) -> None:
    """Even one that holds the numbers: the enclaves signed which one they were bound to."""
    message = scene.receipt_of(zone, PLAN, scene.OPENED)
    number = int.from_bytes(message.decryption.total[0], "big")
    again = number * pow(7, scene.MODULUS, scene.MODULUS**2) % scene.MODULUS**2
    assert refusal(zone, _with_total(message, [again.to_bytes(64, "big")])) == "receipt_decryption"
    assert refusal(zone, _with_total(message, [])) == "receipt_decryption"


def test_other_randomness_proves_nothing(zone: Scene) -> None:
    for randomness in ([], [b"\x03"], [b""], [scene.MODULUS.to_bytes(32, "big")]):
        message = scene.receipt_of(zone, PLAN, scene.OPENED)
        del message.decryption.randomness[:]
        message.decryption.randomness.extend(randomness)
        assert refusal(zone, message) == "receipt_decryption"


def test_a_better_guarantee_than_paid_for_is_noticed(zone: Scene) -> None:
    plan = plan_pb2.Plan()
    plan.CopyFrom(PLAN)
    plan.epsilon = 0.9
    assert refusal(zone, scene.receipt_of(zone, plan, scene.OPENED)) == "receipt_guarantee"
