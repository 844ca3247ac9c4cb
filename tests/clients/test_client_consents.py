"""Consents as issuers sign them: one subject, these values, one use; and nothing wider has a form."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path
from typing import Any

import pytest
from yingbi.api import digests
from yingbi.api.problem import Problem
from yingbi.api.v1.verification_pb2 import Consent
from yingbi.api.verification import pad, terms_digest, unpad
from yingbi.cli.main import main
from yingbi.consents import Ask, IssuerKey, read_token, sign_consent, terms_of

ASK = Ask("members", "node-1", "0a" * 32, "0b" * 32)
HONEST: dict[str, Any] = {"subject": "12345", "claims": {"male": 1, "status": 0}, "purpose": "claim", "now": 1e9}


def sign(**changes: Any) -> str:
    return sign_consent(IssuerKey.new(), ASK, **{**HONEST, **changes})


def refusal(**changes: Any) -> str:
    with pytest.raises(Problem) as refused:
        sign(**changes)
    return refused.value.code


def test_a_token_says_what_it_was_signed_for_and_names_no_subject() -> None:
    issuer = IssuerKey.new()
    text = sign_consent(issuer, ASK, **HONEST)
    token = read_token(text)
    body = Consent.FromString(token.consent.body)
    assert digests.is_signed(issuer.public, digests.CONSENT, token.consent.body, token.consent.signature)
    assert (body.dataset, body.developer_key.hex(), token.enclave_key.hex()) == ("members", "0a" * 32, "0b" * 32)
    assert body.expires.seconds - body.issued.seconds == 900
    terms = terms_of("12345", {"status": 0, "male": 1.0}, "claim", token.enclave_key, token.nonce)
    assert body.terms_digest == terms_digest(terms)
    assert b"12345" not in token.SerializeToString()
    assert read_token(sign()).nonce != read_token(sign()).nonce


@pytest.mark.parametrize(
    "change",
    [{"subject": "12346"}, {"claims": {"male": 1}}, {"claims": {"male": 1, "status": 1}}, {"purpose": "claims"}],
)
def test_any_change_of_the_terms_is_another_consent(change: dict[str, Any]) -> None:
    token = read_token(sign())
    said = {**HONEST, **change}
    terms = terms_of(said["subject"], said["claims"], said["purpose"], token.enclave_key, token.nonce)
    assert Consent.FromString(token.consent.body).terms_digest != terms_digest(terms)


@pytest.mark.parametrize("subject", [["1", "2"], ("1",), {"1"}, None, True, 1.5, b"1"])
def test_bundled_consent_has_no_form(subject: object) -> None:
    assert refusal(subject=subject) == "bundled_consent"


@pytest.mark.parametrize("value", [None, [0, 1], {"from": 0}, float("nan"), float("inf"), range(3)])
def test_a_claim_is_one_value(value: object) -> None:
    assert refusal(claims={"male": value}) == "claims"


def test_a_consent_for_longer_than_a_day_for_nothing_or_for_ever_is_not_signed() -> None:
    assert [refusal(seconds=seconds) for seconds in (0, -1, 24 * 3600 + 1, 10**12)] == ["blanket_consent"] * 4
    assert refusal(claims={}) == "claims"


def test_equal_values_are_one_claim_however_they_are_written() -> None:
    token = read_token(sign())
    key, nonce = token.enclave_key, token.nonce
    assert terms_of(5, {"x": 1}, "p", key, nonce) == terms_of("5", {"x": 1.0}, "p", key, nonce)
    moment = datetime.datetime(2024, 2, 29, 8, 30)
    assert terms_of(5, {"x": moment}, "p", key, nonce) == terms_of(5, {"x": "2024-02-29 08:30:00"}, "p", key, nonce)
    assert terms_of(5, {"x": True}, "p", key, nonce) != terms_of(5, {"x": 1}, "p", key, nonce)


def test_padding_is_undone_and_nothing_else_passes_for_it() -> None:
    for message in (b"", b"x", bytes(60)):
        padded = pad(message, 64)
        assert (len(padded), unpad(padded, 64)) == (64, message)
    with pytest.raises(ValueError, match="does not fit"):
        pad(bytes(61), 64)
    padded = pad(b"x", 64)
    for wrong in (padded[:-1], padded + b"\0", padded[:-1] + b"\1", b"\0\0\0\x3d" + padded[4:], b""):
        with pytest.raises(ValueError, match="no padded message"):
            unpad(wrong, 64)


def test_an_issuers_key_is_kept_for_its_owner_alone_and_not_written_over(tmp_path: Path) -> None:
    issuer, path = IssuerKey.new(), tmp_path / "issuer.json"
    issuer.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert IssuerKey.load(path).public == issuer.public
    with pytest.raises(Problem) as refused:
        IssuerKey.new().save(path)
    assert refused.value.code == "file_exists"
    for content in ("{}", '{"issuer_private_key": "ab"}', "x"):
        path.write_text(content)
        with pytest.raises(Problem):
            IssuerKey.load(path)


def test_the_command_line_says_what_is_no_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for claims in (["--claim", "male"], ["--claim", "=1"], ["--claim", "male=1", "--claim", "male=0"]):
        words = ["verify", "members", "--subject", "1", *claims, "--purpose", "p", "--consent", str(tmp_path / "no")]
        assert main([*words, "--json"]) == 2
        assert '"code": "claims"' in capsys.readouterr().out
