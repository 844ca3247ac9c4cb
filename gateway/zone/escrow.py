"""`yingbi escrow`: a node's root in shares, and back on a new platform. See `enclave_sim.storage.escrow`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import credentials, digests, escrow_files
from yingbi.api.evidence import zone_of
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import Evidence
from yingbi.api.v1.storage_pb2 import EscrowHolder, EscrowOrder, EscrowShare, SignedEscrowOrder

from gateway.zone import roster, upkeep
from gateway.zone.folder import ZoneFolder
from gateway.zone.init import write_platform

# The enclave is asked at once.
ORDER_SECONDS = 600
Say = Callable[[str], None]


def split(folder: ZoneFolder, node: str, holders: Sequence[Path], threshold: int, target: Path, say: Say) -> list[Path]:
    """Have a node's enclave split its root among holders, ordered as the zone's operator; returns the shares' files.

    Args:
        holders: the public files of `yingbi escrow key`.
        target: a new or empty folder.
    """
    roster.check_node(folder, node)
    if not 2 <= threshold <= len(holders):
        raise Problem(
            Kind.MALFORMED,
            "threshold",
            f"Of {len(holders)} holders a threshold is 2 to {len(holders)}, not {threshold}.",
            field="--threshold",
            hint="name more holders" if len(holders) < 2 else None,
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Problem(Kind.REFUSED, "folder_in_use", f"{target} is not an empty folder.", field="--to")
    order = _order(folder, node, [escrow_files.load_holder(path) for path in holders], threshold)
    with roster.alone(folder, say):
        shares = [EscrowShare.FromString(one) for one in upkeep.run(folder, node, "split", [order.SerializeToString()])]
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = []
    for share in shares:
        holder = share.terms.holders[share.index - 1]
        path = target / f"{node}-{share.index}-{re.sub(r'[^A-Za-z0-9_-]', '_', holder)}.share"
        escrow_files.save_share(share, path)
        paths.append(path)
    return paths


def request(folder: ZoneFolder, node: str, target: Path, say: Say) -> bool:
    """Write what holders release their shares to; returns whether the node's platform was gone and is a new one."""
    roster.check_node(folder, node)
    with roster.alone(folder, say):
        platform = folder.node(node) / "enclave" / "platform"
        new = not platform.exists()
        if new:
            _new_platform(folder, node, platform)
        (evidence,) = upkeep.run(folder, node, "recipient")
    escrow_files.save_request(Evidence.FromString(evidence), target)
    return new


def drill(folder: ZoneFolder, node: str, shares: Sequence[Path], say: Say) -> None:
    """Raise Problem unless the shares make the node's root, under which all that it has at rest opens."""
    _give(folder, node, "drill", shares, say)


def restore(folder: ZoneFolder, node: str, shares: Sequence[Path], say: Say) -> None:
    """Make the root that the shares make that of the node's platform; raises Problem, nothing then being changed."""
    _give(folder, node, "restore", shares, say)


def _give(folder: ZoneFolder, node: str, action: str, shares: Sequence[Path], say: Say) -> None:
    roster.check_node(folder, node)
    given = [escrow_files.load_share(path).SerializeToString(deterministic=True) for path in shares]
    with roster.alone(folder, say):
        upkeep.run(folder, node, action, given)


def _order(folder: ZoneFolder, node: str, holders: Sequence[EscrowHolder], threshold: int) -> SignedEscrowOrder:
    key = credentials.signing_key(json.loads(folder.profile("operator").read_text())["token"])
    body = EscrowOrder(
        zone=zone_of(folder.ca_file.read_bytes()),
        node=node,
        threshold=threshold,
        holders=holders,
        expires=Timestamp(seconds=int(time.time()) + ORDER_SECONDS),
        operator_key=key.public_key().public_bytes_raw(),
    ).SerializeToString(deterministic=True)
    return SignedEscrowOrder(body=body, signature=digests.sign(key, digests.ESCROW_ORDER, body))


def _new_platform(folder: ZoneFolder, node: str, platform: Path) -> None:
    """As `yingbi init` makes one: whole under a temporary name, then in its place."""
    _, attestation_root = roster.authorities(folder)
    part = platform.with_name("platform.part")
    write_platform(part, node, attestation_root)
    part.rename(platform)
