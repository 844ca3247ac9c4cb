"""Who may have a plan computed: checked inside the enclave, whatever the gateway says. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from yingbi.api import digests
from yingbi.api.certificates import certified_key
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import Authorization, SignedAuthorization
from yingbi.api.v1.people_pb2 import Invitation, SignedCertificate

from enclave_sim.bodies import read_body


@dataclass(frozen=True)
class Policy:
    """Whose signatures a provider's enclave accepts. Keys are 32-byte Ed25519 public keys."""

    developers: frozenset[bytes]
    operators: frozenset[bytes]
    # The provider waived agreements, and the approval of each plan below grade 4, when the zone was made.
    auto_approve: bool
    # The keys of organisations: the provider's own, which signs agreements and approves plans, and its supervisor's.
    providers: frozenset[bytes] = frozenset()
    supervisors: frozenset[bytes] = frozenset()
    # Of the organisation that files and removes others.
    coordinators: frozenset[bytes] = frozenset()

    @classmethod
    def from_json(cls, text: str) -> Policy:
        """Read what `yingbi init` wrote; raises ValueError or KeyError."""
        document = json.loads(text)
        return cls(
            developers=frozenset(bytes.fromhex(key) for key in document["developers"]),
            operators=frozenset(bytes.fromhex(key) for key in document["operators"]),
            auto_approve=bool(document["auto_approve"]),
            providers=frozenset(bytes.fromhex(key) for key in document.get("providers", [])),
            supervisors=frozenset(bytes.fromhex(key) for key in document.get("supervisors", [])),
            coordinators=frozenset(bytes.fromhex(key) for key in document.get("coordinators", [])),
        )

    def to_json(self) -> str:
        """The text that `from_json` reads."""
        return json.dumps(
            {
                "developers": sorted(key.hex() for key in self.developers),
                "operators": sorted(key.hex() for key in self.operators),
                "auto_approve": self.auto_approve,
                "providers": sorted(key.hex() for key in self.providers),
                "supervisors": sorted(key.hex() for key in self.supervisors),
                # A policy of before there were any keeps its digest.
                **({"coordinators": sorted(key.hex() for key in self.coordinators)} if self.coordinators else {}),
            }
        )

    def digest(self) -> bytes:
        """32 bytes that name this policy in an enclave's evidence."""
        return digests.digest(digests.POLICY, self.to_json().encode())


def organisation_of(
    key: bytes, certificate: SignedCertificate, organisations: Collection[bytes], *, duty: str, now: float
) -> bytes | None:
    """Which of these organisations, named by their keys, the holder of `key` speaks for; None where it is none.

    An organisation's own key has all duties.

    Raises:
        Problem: as `certified_key`, for a certificate of one of them.
    """
    if key in organisations:
        return key
    named = read_body(Invitation, certificate.invitation.body).organisation_key
    if named not in organisations or certified_key(certificate, named, duty=duty, now=now) != key:
        return None
    return named


def check_authorization(
    signed: SignedAuthorization,
    organisations: Collection[bytes],
    *,
    plan_hash: bytes,
    rho_units: int,
    delta: float,
    now: float,
) -> tuple[Authorization, bytes]:
    """The developer's authorization of exactly this plan at exactly this price, and whom the developer speaks for.

    `organisations`: the keys of those whose analysts may ask.

    Raises:
        Problem: it is another's, of something else, or over.
    """
    body = read_body(Authorization, signed.body)
    organisation = organisation_of(body.developer_key, signed.certificate, organisations, duty="analyst", now=now)
    if organisation is None:
        raise _refused("unknown_developer", "The request is signed by nobody this provider knows.")
    if not digests.is_signed(body.developer_key, digests.AUTHORIZATION, signed.body, signed.signature):
        raise _refused("bad_signature", "The developer's signature of the request does not verify.")
    if body.plan_hash != plan_hash:
        raise _refused("other_plan", "The developer signed another plan than the one to compute.")
    if (body.rho_units, body.delta) != (rho_units, delta):
        raise _refused("other_price", "The developer signed another price than the plan's.")
    if body.expires.seconds < now:
        raise _refused("expired", "The developer's authorization has expired; ask again.")
    if not 1 <= len(body.request_id) <= 200:
        raise _refused("bad_request_id", "The request id has 1 to 200 characters.")
    return body, organisation


def _refused(code: str, message: str) -> Problem:
    return Problem(Kind.REFUSED, code, message)
