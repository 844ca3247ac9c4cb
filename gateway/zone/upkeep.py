"""What is done to an enclave's root from outside, each time by the enclave's own code: see `enclave_sim.upkeep`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

from yingbi.api.problem import Kind, Problem

from gateway.zone import roster
from gateway.zone.ceremony import frame, last_line, unframe
from gateway.zone.folder import ZoneFolder


def run(folder: ZoneFolder, node: str, action: str, given: Sequence[bytes] = ()) -> list[bytes]:
    """What the enclave of a node answers to an action; raises Problem with its own sentence where it refuses.

    The zone is down: this gives the enclave's folder to the user that it would run as if it were started from here.
    """
    files = str(folder.node(node) / "enclave"), str(folder.node(node) / "ca.crt")
    command = [sys.executable, "-P", "-m", "enclave_sim.start_upkeep", action, *files]
    done = subprocess.run(command, input=b"".join(map(frame, given)), capture_output=True, check=False)
    if done.returncode != 0:
        raise Problem(Kind.REFUSED, "enclave_refused", f"The enclave of {node} refuses: {last_line(done.stderr)}.")
    answers, rest = [], done.stdout
    while rest:
        answer, rest = unframe(rest)
        answers.append(answer)
    return answers


def rotate_keys(folder: ZoneFolder, node: str, say: Callable[[str], None]) -> int:
    """Renew the keys at rest of a node; returns the zone key's new version. Raises Problem."""
    roster.check_node(folder, node)
    with roster.alone(folder, say):
        return int(run(folder, node, "rotate")[0])
