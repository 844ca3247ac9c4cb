"""Who may have a plan computed: checked inside the enclave, whatever the gateway says. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import Approval, Authorization, SignedApproval, SignedAuthorization

from enclave_sim.bodies import read_body

# From this grade on, an operator approves each plan; from the next on, nothing runs yet.
APPROVAL_FROM_GRADE = 3
DENIED_FROM_GRADE = 4


@dataclass(frozen=True)
class Policy:
    """Whose signatures a provider's enclave accepts. Keys are 32-byte Ed25519 public keys."""

    developers: frozenset[bytes]
    operators: frozenset[bytes]
    # The provider waived the approval of each plan when the zone was made.
    auto_approve: bool

    @classmethod
    def from_json(cls, text: str) -> Policy:
        """Read what `yingbi init` wrote; raises ValueError or KeyError."""
        document = json.loads(text)
        return cls(
            developers=frozenset(bytes.fromhex(key) for key in document["developers"]),
            operators=frozenset(bytes.fromhex(key) for key in document["operators"]),
            auto_approve=bool(document["auto_approve"]),
        )

    def to_json(self) -> str:
        """The text that `from_json` reads."""
        return json.dumps(
            {
                "developers": sorted(key.hex() for key in self.developers),
                "operators": sorted(key.hex() for key in self.operators),
                "auto_approve": self.auto_approve,
            }
        )

    def digest(self) -> bytes:
        """32 bytes that name this policy in an enclave's evidence."""
        return digests.digest(digests.POLICY, self.to_json().encode())


def check_authorization(
    signed: SignedAuthorization, policy: Policy, *, plan_hash: bytes, rho_units: int, delta: float, now: float
) -> Authorization:
    """The developer's authorization of exactly this plan at exactly this price; raises Problem."""
    body = read_body(Authorization, signed.body)
    if body.developer_key not in policy.developers:
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
    return body


def check_approval(signed: SignedApproval, policy: Policy, *, job: str, plan_hash: bytes, grade: int) -> None:
    """An operator's approval where the grade asks for one; raises Problem where it is missing."""
    if grade >= DENIED_FROM_GRADE:
        raise _refused("grade_denied", f"Data of grade {grade} is not open to any job yet.")
    if grade < APPROVAL_FROM_GRADE or policy.auto_approve:
        return
    body = read_body(Approval, signed.body)
    if body.operator_key not in policy.operators:
        raise _refused("not_approved", f"Data of grade {grade} needs an operator's approval of this plan.")
    if not digests.is_signed(body.operator_key, digests.APPROVAL, signed.body, signed.signature):
        raise _refused("bad_signature", "The operator's signature of the approval does not verify.")
    if (body.job, body.plan_hash) != (job, plan_hash):
        raise _refused("other_plan", "The operator approved another job or another plan.")


def _refused(code: str, message: str) -> Problem:
    return Problem(Kind.REFUSED, code, message)
