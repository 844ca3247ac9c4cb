"""What the zone's enclaves showed of themselves in fresh evidence, as pages say it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from yingbi.api.problem import Problem
from yingbi.attest import Attestation


@dataclass(frozen=True)
class Enclaves:
    """What fresh evidence said; `problem` where it did not hold, with its `code`."""

    measurement: str
    nodes: tuple[str, ...]
    simulated: bool
    problem: str = ""
    code: str = ""
    keys: Mapping[str, bytes] = field(default_factory=dict)
    """By node: what its enclave signs with, in this key epoch."""
    key_epoch: int = 0


def enclaves_of(attestation: Attestation | None, problem: Problem | None) -> Enclaves:
    """What is said of the enclaves: what they showed, or why that does not hold."""
    if problem is not None:
        return Enclaves("", (), simulated=True, problem=problem.message, code=problem.code)
    if attestation is None:
        return Enclaves("", (), simulated=True)
    claims = [appraisal.claims for appraisal in attestation.appraisals]
    measured = sorted({each.measurement.hex() for each in claims})
    nodes = tuple(each.node for each in claims)
    return Enclaves(
        ", ".join(measured),
        nodes,
        simulated=any(each.simulated for each in claims),
        keys={each.node: each.signing_key for each in claims},
        key_epoch=attestation.key_epoch.epoch,
    )
