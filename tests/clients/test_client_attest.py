"""`zone.attest()` and `yingbi attest`: fresh evidence over the client's own nonce, and each lie refused by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import client_scene as scene  # type: ignore[import-not-found]
import pytest
from client_gateway import FakeGateway, serving  # type: ignore[import-not-found]
from client_scene import Scene
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yingbi import connect
from yingbi.api import evidence_error as codes
from yingbi.api.appraisal import Tier
from yingbi.api.configuration import MEASURES
from yingbi.api.eat import Statement
from yingbi.api.problem import Kind, Problem
from yingbi.api.suites import CLASSICAL
from yingbi.cli.main import main
from yingbi.profile import locate


@pytest.fixture(scope="module")
def zone() -> Scene:
    return scene.scene()


@pytest.fixture
def gateway(zone: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    with serving(zone) as (gateway, address):
        scene.write_profiles(tmp_path, zone, address)
        monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
        yield gateway


def refusal(node: str = "", **options: Any) -> str:
    with connect() as connected, pytest.raises(Problem) as refused:
        connected.attest(node, **options)
    assert refused.value.kind is Kind.BAD_EVIDENCE
    return refused.value.code


def test_all_enclaves_answer_a_nonce_in_the_order_of_their_indexes(gateway: FakeGateway) -> None:
    with connect() as connected:
        attestation = connected.attest()
        one = connected.attest("node-2")
    assert [each.claims.node for each in attestation.appraisals] == ["node-1", "node-2", "node-3"]
    assert [each.claims.node for each in one.appraisals] == ["node-2"]
    assert attestation.tier is Tier.WARNING
    # Every question has a nonce of its own.
    assert one.appraisals[0].claims.nonce != attestation.appraisals[1].claims.nonce


def test_whoever_wants_hardware_is_told_that_there_is_none(gateway: FakeGateway) -> None:
    assert refusal(allow_simulation=False) == codes.SIMULATED


@pytest.mark.parametrize(
    ("claimed", "code"),
    [
        ({"measurement": bytes(32)}, codes.MEASUREMENT),
        ({"issued": scene.SIGNED_AT, "expires": scene.SIGNED_AT + 60}, codes.STALE),
        ({"simulated": False}, codes.SIGNATURE),
        ({"node": "node-9"}, codes.CHAIN),
    ],
)
def test_a_wrong_claim_is_refused_by_its_name(gateway: FakeGateway, claimed: dict[str, Any], code: str) -> None:
    gateway.claimed = claimed
    assert refusal() == code


def test_a_downgraded_suite_is_refused_unless_the_client_lists_it(
    gateway: FakeGateway, zone: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line, or in the profile."""
    made = {node.name: node.public for node in zone.nodes}
    key = CLASSICAL.key(bytes(32)).public
    attest = scene.Enclave.attest

    def classical(self: scene.Enclave, nonce: bytes, **changes: Any) -> Any:
        statement = Statement(nonce, made[self.name], key, scene.POLICY, CLASSICAL.name)
        return attest(self, nonce, statement=statement, **changes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene.Enclave, "attest", classical)
        assert refusal() == codes.DOWNGRADED
        assert main(["attest", "--json", "--suite", CLASSICAL.name]) == 0
        assert json.loads(capsys.readouterr().out)["enclaves"][0]["suite"] == CLASSICAL.name
        profile = tmp_path / "profiles" / "developer.json"
        stored = json.loads(profile.read_text())
        profile.write_text(json.dumps(stored | {"suites": [CLASSICAL.name]}))
        with connect() as connected:
            connected.attest()
        profile.write_text(json.dumps(stored | {"suites": []}))
        with pytest.raises(Problem, match="suites"):
            connect()


def test_a_token_of_another_time_is_refused(gateway: FakeGateway) -> None:
    """True, unexpired, and not an answer to this question."""
    gateway.old_nonce = bytes(32)
    assert refusal() == codes.REPLAYED


def test_a_gateway_cannot_leave_an_enclave_out(gateway: FakeGateway) -> None:
    gateway.unshown = {"node-3"}
    assert refusal() == codes.KEYS


def test_an_attested_enclave_that_holds_no_key_is_refused(zone: Scene, gateway: FakeGateway) -> None:
    """Run by the same vendor's platform under a node's name, with a key that nobody dealt to."""
    root = zone.ca.issue("attestation root", Ed25519PrivateKey.generate(), ca=True)
    stranger = scene.enclave("node-1", root)
    gateway.zone = Scene(zone.ca, zone.dealer, (stranger, *zone.nodes[1:]), zone.key_epoch)
    assert refusal() == codes.KEYS


def test_without_a_reference_value_nothing_is_believed(gateway: FakeGateway, zone: Scene, tmp_path: Path) -> None:
    """A zone that is named by address and CA comes with no reference value, and none is guessed."""
    ca = tmp_path / "ca.crt"
    ca.write_text(zone.ca.pem)
    address = str(locate().address)
    for options, code in (
        ({}, codes.MEASUREMENT),
        ({"measurement": scene.MEASUREMENT.hex()}, codes.SIMULATED),
    ):
        with connect(address, token="developer-token", ca=ca) as connected, pytest.raises(Problem) as refused:
            connected.attest(**options)
        assert refused.value.code == code
    with connect(address, token="developer-token", ca=ca) as connected:
        connected.attest(allow_simulation=True, measurement=scene.MEASUREMENT.hex())


def test_after_an_upgrade_the_code_is_unknown_until_the_reference_value_is_changed(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    """Earlier values are for receipts; evidence of today is held against the present one."""
    path = tmp_path / "profiles" / "developer.json"
    known = {"measurement": "ab" * 32, "earlier_measurements": [scene.MEASUREMENT.hex()]}
    path.write_text(json.dumps({**json.loads(path.read_text()), **known}))
    with connect() as connected, pytest.raises(Problem, match="runs code that measures") as refused:
        connected.attest()
    assert refused.value.code == codes.MEASUREMENT
    assert "unknown until your reference value" in str(refused.value.hint)


def test_a_reference_value_that_is_none_is_the_callers_mistake(gateway: FakeGateway) -> None:
    with connect() as connected, pytest.raises(Problem) as refused:
        connected.attest(measurement="no hex")
    assert refused.value.kind is Kind.MALFORMED


def test_the_command_shows_each_claim_and_its_tier(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attest", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["tier"], shown["key_epoch"], len(shown["enclaves"])) == ("warning", 1, 3)
    assert {each["claim"] for each in shown["enclaves"][0]["findings"]} == {
        "nonce", "time", "measurement", "policy", "suite", "configuration", "hardware",
    }  # fmt: skip
    assert set(shown["enclaves"][0]["configuration"]) == set(MEASURES)
    assert main(["attest", "node-1"]) == 0
    said = capsys.readouterr().out
    assert "node-1: warning" in said
    assert "proves nothing about hardware" in said


def test_the_command_fails_where_the_evidence_does(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attest", "--no-simulation", "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["code"] == codes.SIMULATED
