"""Whether a root may go to other code: as the provider's operator signed, and not otherwise. Pure.

The code that has the root seals it for the code that comes. So an upgrade takes a provider's signature and the old
code's help, and other code alone never opens anything. Whose signature counts is in the sealed root, as it was when
the node was made: a host that changes the node's policy.json lets nobody in here.

An expiry is judged by the platform's clock, which the host sets. It keeps a forgotten policy from lying about for
years; it does not bind a host that turns its clock back.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError
from yingbi.api import digests
from yingbi.api.v1.storage_pb2 import SignedUpgradePolicy, UpgradePolicy

from enclave_sim.storage.state import Root, RootError

MEASUREMENT_BYTES = 32


class NotApprovedError(RootError):
    """What is asked of the root is not what an operator of its provider signed."""


def new_measurement(signed: SignedUpgradePolicy, root: Root, node: str, measurement: bytes, now: float) -> bytes:
    """The measurement of the code that a policy lets have the root, 32 bytes; raises NotApprovedError.

    Args:
        node: whose root it is.
        measurement: of the code that has it.
        now: in seconds since 1970.
    """
    try:
        policy = UpgradePolicy.FromString(signed.body)
    except DecodeError as error:
        raise NotApprovedError("there is no upgrade policy in what was given") from error
    check_operator(root, policy.operator_key, digests.UPGRADE, signed.body, signed.signature)
    if policy.zone != root.zone:
        raise NotApprovedError("the upgrade policy is for another zone")
    if node not in policy.nodes:
        raise NotApprovedError(f"the upgrade policy is for {', '.join(policy.nodes) or 'no node'}, and this is {node}")
    if policy.old_measurement != measurement:
        wanted = policy.old_measurement.hex()[:16]
        raise NotApprovedError(
            f"the upgrade policy is for code that measures {wanted}…, and this measures {measurement.hex()[:16]}…"
        )
    if len(policy.new_measurement) != MEASUREMENT_BYTES or policy.new_measurement == measurement:
        raise NotApprovedError("the upgrade policy names no other code")
    if policy.expires.seconds < now:
        raise NotApprovedError("the upgrade policy has expired; approve the upgrade again")
    return policy.new_measurement


def check_operator(root: Root, key: bytes, domain: str, body: bytes, signature: bytes) -> None:
    """Raise NotApprovedError unless an operator whom the root knows signed this."""
    if key not in root.authorities:
        raise NotApprovedError("it is signed by nobody who was this node's operator when it was made")
    if not digests.is_signed(key, domain, body, signature):
        raise NotApprovedError("the operator's signature does not verify")
