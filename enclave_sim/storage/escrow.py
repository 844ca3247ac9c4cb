"""A node's root in escrow: shares of it for N people, any M of whom restore it on a new platform.

Claim: fewer than M holders learn nothing of the root, whatever the host sees. A share goes encrypted to its holder, and
back encrypted to an enclave that the holder has appraised (`yingbi.escrow.release`); in between are Shamir's shares,
fewer than M of which are independent of the secret. Whether the root is split at all, and among whom, an operator whom
the root knows has to sign: without that a host would name itself as every holder.

M holders together have the root: with it they read the node's rows and sign as its enclave. Choose them so that M of
them together may.

What all shares say alike (`EscrowTerms`) has a digest of each share and is bound to the root by another, so that a
share that is wrong, or of another split or node, is refused by its holder's name. Pure, but for random numbers.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence

from google.protobuf.message import DecodeError
from yingbi.api import digests, escrow
from yingbi.api.suites import DecryptionKey
from yingbi.api.v1.storage_pb2 import EscrowOrder, EscrowShare, EscrowTerms, SignedEscrowOrder

from enclave_sim.storage import shamir
from enclave_sim.storage.handover import NotApprovedError, check_operator
from enclave_sim.storage.state import Root, RootError

SPLIT_BYTES = 16


class ShareError(RootError):
    """The shares do not restore the root; names the holder whose share is wrong, where one is."""


def split(signed: SignedEscrowOrder, root: Root, node: str, now: float) -> list[EscrowShare]:
    """One share for each holder of an order that an operator signed; raises NotApprovedError.

    Args:
        node: whose root it is.
        now: in seconds since 1970.
    """
    order = _order(signed, root, node, now)
    identity = secrets.token_bytes(SPLIT_BYTES)
    values = shamir.split(root.secret, len(order.holders), order.threshold)
    terms = EscrowTerms(
        zone=root.zone,
        node=node,
        split=identity,
        threshold=order.threshold,
        holders=[holder.name for holder in order.holders],
        share_checks=[escrow.share_check(identity, index, value) for index, value in enumerate(values, 1)],
        authorities=sorted(root.authorities),
    )
    check = escrow.root_check(root.secret, terms)
    shares = []
    for index, (holder, value) in enumerate(zip(order.holders, values, strict=True), 1):
        try:
            ciphertext = escrow.sealed(value, terms, index, holder.encryption_key, "to its holder")
        except ValueError as error:
            raise NotApprovedError(f"the key of {holder.name} is no key: {error}") from error
        shares.append(EscrowShare(terms=terms, index=index, ciphertext=ciphertext, root_check=check))
    return shares


def recover(shares: Sequence[EscrowShare], key: DecryptionKey, zone: bytes, node: str) -> Root:
    """The root of a node from shares that were encrypted to `key`, its versions yet to be found; raises ShareError."""
    terms, check = _common(shares)
    if (terms.zone, terms.node) != (zone, node):
        raise ShareError(f"these are shares of {terms.node or 'no node'} in {_zone(terms)}, and this is {node}")
    values: dict[int, bytes] = {}
    for share in shares:
        if share.index in values:
            raise ShareError(f"the share of {_name(share)} is there twice")
        values[share.index] = _value(share, key)
    if len(values) < terms.threshold:
        missing = [name for index, name in enumerate(terms.holders, 1) if index not in values]
        raise ShareError(
            f"it takes {terms.threshold} of {len(terms.holders)} shares, and {len(values)} came; "
            f"ask {terms.threshold - len(values)} more of {', '.join(missing)}"
        )
    secret = shamir.combine(values)
    if escrow.root_check(secret, terms) != check:
        raise ShareError(
            "the shares do not make the root that was split: what they say of it was changed in all of them"
        )
    return Root(secret, zone, key_version=1, code_version=0, authorities=frozenset(terms.authorities))


def _order(signed: SignedEscrowOrder, root: Root, node: str, now: float) -> EscrowOrder:
    try:
        order = EscrowOrder.FromString(signed.body)
    except DecodeError as error:
        raise NotApprovedError("there is no escrow order in what was given") from error
    check_operator(root, order.operator_key, digests.ESCROW_ORDER, signed.body, signed.signature)
    if (order.zone, order.node) != (root.zone, node):
        raise NotApprovedError(f"the escrow order is for {order.node} or for another zone, and this is {node}")
    if order.expires.seconds < now:
        raise NotApprovedError("the escrow order has expired")
    names = [holder.name for holder in order.holders]
    keys = {holder.encryption_key for holder in order.holders}
    if len(set(names)) != len(names) or len(keys) != len(names):
        raise NotApprovedError("a holder, or a holder's key, is named twice")
    if not 2 <= order.threshold <= len(names) <= shamir.MAX_SHARES:
        raise NotApprovedError(f"of {len(names)} shares a threshold of {order.threshold} cannot be asked")
    return order


def _common(shares: Sequence[EscrowShare]) -> tuple[EscrowTerms, bytes]:
    """What all shares say alike; the holder whose share says something else than most is named."""
    if not shares:
        raise ShareError("there is no share")
    said = [(share.terms.SerializeToString(deterministic=True), share.root_check) for share in shares]
    (body, check), _ = Counter(said).most_common(1)[0]
    for share, one in zip(shares, said, strict=True):
        if one != (body, check):
            raise ShareError(
                f"the share of {_name(share)} is of another split than the others, or what it says of it was changed"
            )
    return EscrowTerms.FromString(body), check


def _value(share: EscrowShare, key: DecryptionKey) -> bytes:
    if not escrow.holder_of(share) or share.index > len(share.terms.share_checks):
        raise ShareError(f"there is no share {share.index} in this split")
    try:
        value = escrow.opened(share, key, "back to an enclave")
    except ValueError as error:
        raise ShareError(f"the share of {_name(share)} was changed, or was released to another enclave") from error
    if escrow.share_check(share.terms.split, share.index, value) != share.terms.share_checks[share.index - 1]:
        raise ShareError(f"the share of {_name(share)} is not the one that was made for them")
    return value


def _name(share: EscrowShare) -> str:
    return escrow.holder_of(share) or f"number {share.index}"


def _zone(terms: EscrowTerms) -> str:
    return f"the zone {terms.zone.hex()[:16]}…"
