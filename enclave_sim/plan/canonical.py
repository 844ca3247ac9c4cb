"""One plan, one sequence of bytes, one hash: what is approved is what is computed."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from yingbi.api import digests
from yingbi.api.v1.plan_pb2 import Plan

MAX_PLAN_BYTES = 4 * 2**20
"""Above any plan that `validation` accepts with reasonable names."""


class NotCanonicalError(ValueError):
    """The bytes are not the canonical form of a plan."""


def encode(plan: Plan) -> bytes:
    """The canonical bytes: fields in order of their numbers, none with its default value."""
    return plan.SerializeToString(deterministic=True)


def decode(data: bytes) -> Plan:
    """The plan whose canonical form `data` is.

    Raises:
        NotCanonicalError: not a plan, too long, another encoding of one, or with fields that this
            version does not know (they would be approved but not obeyed).
    """
    if len(data) > MAX_PLAN_BYTES:
        raise NotCanonicalError(f"a plan has at most {MAX_PLAN_BYTES} bytes, not {len(data)}")
    try:
        plan = Plan.FromString(data)
    except DecodeError as error:
        raise NotCanonicalError("the bytes are not a plan") from error
    plan.DiscardUnknownFields()  # type: ignore[no-untyped-call, unused-ignore]
    if encode(plan) != data:
        raise NotCanonicalError("the plan has unknown fields or is not in canonical form")
    return plan


def plan_hash(data: bytes) -> bytes:
    """The 32 bytes that approvals, charges and receipts name a plan by; `data` as from `encode`."""
    return digests.digest(digests.PLAN, data)
