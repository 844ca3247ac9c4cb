"""Passkeys (W3C Web Authentication), as the `webauthn` package checks them. Pure, but for its import on first use."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from yingbi.api.problem import Kind, Problem

from gateway.governance.sign_in import Site, failed

NAME = "Yingbi"


@dataclass(frozen=True)
class Passkey:
    """What is kept of one."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


def request_options(site: Site, challenge: bytes, credential_ids: Sequence[bytes]) -> str:
    """What a browser needs to sign in with one of these passkeys."""
    import webauthn
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor, UserVerificationRequirement

    options = webauthn.generate_authentication_options(
        rp_id=site.rp_id,
        challenge=challenge,
        allow_credentials=[PublicKeyCredentialDescriptor(id=each) for each in credential_ids],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return webauthn.options_to_json(options)


def creation_options(site: Site, challenge: bytes, person: str, credential_ids: Sequence[bytes]) -> str:
    """What a browser needs to make a passkey for a person who has these."""
    import webauthn
    from webauthn.helpers.structs import (
        AuthenticatorSelectionCriteria,
        PublicKeyCredentialDescriptor,
        UserVerificationRequirement,
    )

    options = webauthn.generate_registration_options(
        rp_id=site.rp_id,
        rp_name=NAME,
        user_name=person,
        # The same for a person always, so that an authenticator replaces rather than collects.
        user_id=hashlib.sha256(person.encode()).digest(),
        challenge=challenge,
        exclude_credentials=[PublicKeyCredentialDescriptor(id=each) for each in credential_ids],
        authenticator_selection=AuthenticatorSelectionCriteria(user_verification=UserVerificationRequirement.REQUIRED),
    )
    return webauthn.options_to_json(options)


def registered(site: Site, challenge: bytes, answer: str) -> Passkey:
    """The passkey that a browser made; raises Problem REFUSED "bad_passkey"."""
    import webauthn

    try:
        made = webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=site.rp_id,
            expected_origin=site.origin,
            require_user_verification=True,
        )
    except Exception as error:  # whatever a browser, or somebody in its place, can send
        raise Problem(Kind.REFUSED, "bad_passkey", f"This passkey cannot be used: {error}", field="passkey") from error
    return Passkey(made.credential_id, made.credential_public_key, made.sign_count)


def shown_id(answer: str) -> bytes:
    """Which passkey an answer says that it is of; raises Problem "sign_in_failed"."""
    from webauthn.helpers import parse_authentication_credential_json

    try:
        return bytes(parse_authentication_credential_json(answer).raw_id)
    except Exception as error:
        raise failed() from error


def new_count(site: Site, challenge: bytes, answer: str, passkey: Passkey) -> int:
    """How often the passkey was used, once its answer is right; raises Problem "sign_in_failed"."""
    import webauthn

    try:
        shown: Any = webauthn.verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=site.rp_id,
            expected_origin=site.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except Exception as error:
        raise failed() from error
    return int(shown.new_sign_count)
