"""`yingbi upgrade`: the nodes of a zone go to other code, with their data, their budgets and their shares of the key.

Three steps. An operator approves the new code's measurement; the old code hands its nodes' roots over to it
(`enclave_sim.storage.handover`); the new code takes them and deals a new key, since a key epoch names the code of its
holders. Until the third step the old code runs the zone as before; from then on it no longer opens it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import credentials, digests
from yingbi.api.evidence import zone_of
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.storage_pb2 import SignedUpgradePolicy, UpgradePolicy

from gateway.zone import ceremony, roster, upkeep
from gateway.zone.folder import ZoneFolder, write_private

DAY = 24 * 3600
MEASUREMENT_BYTES = 32


def approve(folder: ZoneFolder, measurement: str, days: int, target: Path) -> UpgradePolicy:
    """Sign, as the zone's operator, that its nodes may go to the code with this measurement; raises Problem.

    Args:
        measurement: 32 bytes in hexadecimal, as `yingbi measure` prints them.
        days: how long it is good for.
    """
    policy = UpgradePolicy(
        zone=zone_of(folder.ca_file.read_bytes()),
        nodes=folder.node_names,
        old_measurement=bytes.fromhex(roster.reference_of(folder)),
        new_measurement=_measurement(measurement),
        expires=Timestamp(seconds=int(time.time()) + days * DAY),
    )
    if policy.old_measurement == policy.new_measurement:
        raise Problem(Kind.REFUSED, "same_code", "The zone runs code with this measurement already.", field="HEX")
    key = credentials.signing_key(json.loads(folder.profile("operator").read_text())["token"])
    policy.operator_key = key.public_key().public_bytes_raw()
    body = policy.SerializeToString(deterministic=True)
    signed = SignedUpgradePolicy(body=body, signature=digests.sign(key, digests.UPGRADE, body))
    write_private(target, signed.SerializeToString())
    return policy


def prepare(folder: ZoneFolder, file: Path, say: Callable[[str], None]) -> UpgradePolicy:
    """Have the code that is installed hand the nodes' roots over to the code that a policy names; raises Problem."""
    signed = _read(file)
    policy = UpgradePolicy.FromString(signed.body)
    with roster.alone(folder, say):
        for node in folder.node_names:
            upkeep.run(folder, node, "hand-over", [signed.SerializeToString()])
    return policy


def finish(folder: ZoneFolder, say: Callable[[str], None]) -> str:
    """Have the code that is installed take the nodes and hold a new key; returns its measurement. Raises Problem."""
    measurement = ceremony.measured()[-1]
    if measurement == roster.reference_of(folder):
        raise Problem(
            Kind.REFUSED,
            "same_code",
            "What is installed is the code that the zone runs already.",
            hint="install the version to go to, then repeat this",
        )
    with roster.alone(folder, say):
        # All before one: a node that is not ready needs the old code, which could no longer open those taken.
        for action in ("handed-over", "take-over"):
            for node in folder.node_names:
                upkeep.run(folder, node, action)
    roster.rekey_upgraded(folder, measurement, say)
    return measurement


def _measurement(text: str) -> bytes:
    try:
        measurement = bytes.fromhex(text)
    except ValueError:
        measurement = b""
    if len(measurement) != MEASUREMENT_BYTES:
        raise Problem(
            Kind.MALFORMED,
            "measurement",
            f"A measurement is {2 * MEASUREMENT_BYTES} hexadecimal digits.",
            field="HEX",
            hint="`yingbi measure` of the new version prints it",
        )
    return measurement


def _read(file: Path) -> SignedUpgradePolicy:
    try:
        return SignedUpgradePolicy.FromString(file.read_bytes())
    except OSError as error:
        raise Problem(Kind.MALFORMED, "file", f"Cannot read {file}: {error.strerror}.", field="FILE") from error
    except DecodeError as error:
        raise Problem(
            Kind.MALFORMED,
            "file",
            f"{file} is no upgrade policy.",
            field="FILE",
            hint="`yingbi upgrade approve` makes one",
        ) from error
