"""Run a library's script in its own Python and read what it wrote."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.catalogue import Peer
from benchmarks.peers.data import GROUPS, Truth
from benchmarks.peers.environments import NotInstalledError, python_for, without_places

SCRIPTS = Path(__file__).parent / "scripts"
ROOT = SCRIPTS.parents[2]


@dataclass(frozen=True)
class Task:
    """What every script is asked, as JSON."""

    data: str
    scratch: str
    rows: int
    units: int
    groups: int
    lower: float
    upper: float
    epsilon: float
    delta: float
    trials: int


@dataclass(frozen=True)
class Errors:
    """Root mean squares of relative errors over groups and trials, in %."""

    count: float
    sum: float
    average: float


@dataclass(frozen=True)
class Outcome:
    """What came of one library: figures, or the reason why there are none."""

    peer: Peer
    failure: str | None = None
    version: str = ""
    trials: int = 0
    prepare_seconds: float = 0.0
    answer_seconds: float = 0.0
    errors: Errors | None = None


def tried(peer: Peer, task: Task, truth: Truth, environments: Path, seconds: float) -> Outcome:
    """Install, run for at most `seconds`, and compare with the truth. Raises nothing that a library does wrong."""
    try:
        python = python_for(peer, environments)
    except NotInstalledError as error:
        return Outcome(peer, failure=f"does not install: {error}")
    asked, answered = Path(task.scratch) / f"{peer.script}.task", Path(task.scratch) / f"{peer.script}.result"
    asked.write_text(json.dumps(asdict(task)))
    program = [str(SCRIPTS / f"{peer.script}.py")] if peer.requirements else ["-m", f"benchmarks.peers.{peer.script}"]
    failure = run_script([str(python), *program, str(asked), str(answered)], seconds)
    if not answered.exists():
        return Outcome(peer, failure=failure or "wrote no answer")
    result = json.loads(answered.read_text())
    runs = [run["rows"] for run in result["runs"]]
    return Outcome(
        peer,
        failure=failure,
        version=next(iter(result["versions"].values()), ""),
        trials=len(runs),
        prepare_seconds=result["prepare_seconds"],
        answer_seconds=statistics.median(run["seconds"] for run in result["runs"]),
        errors=errors_of(runs, truth),
    )


def errors_of(runs: list[list[list[float]]], truth: Truth) -> Errors:
    """The errors of all runs, each of (group, count, sum, average). A group that is left out counts as 0: 100 % off."""
    exact = np.stack([truth.counts, truth.sums, truth.averages], axis=1)
    answers = np.zeros((len(runs), GROUPS, 3))
    for run, rows in zip(answers, runs, strict=True):
        for group, *values in rows:
            run[int(group)] = values
    squares = np.square(answers / exact - 1).mean(axis=(0, 1))
    return Errors(*(100 * float(error) for error in np.sqrt(squares)))


def run_script(command: list[str], seconds: float, more: Mapping[str, str] | None = None) -> str | None:
    """Why it failed, in a line; None if it did not. A script that takes too long is killed with its children.

    `more` is added to the environment, which else is this one's.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | dict(more or {})
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, complaint = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"stopped after {seconds:.0f} s"
    lines = [line for line in complaint.splitlines() if line.strip()]
    return without_places(lines[-1] if lines else f"ends with {process.returncode}") if process.returncode else None
