"""Run a library's script in its own Python and read what it measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.paillier.catalogue import Library
from benchmarks.peers.environments import NotInstalledError, python_for
from benchmarks.peers.trials import run_script

SCRIPTS = Path(__file__).parent / "scripts"


@dataclass(frozen=True)
class Task:
    """What every script is asked, as JSON. Numbers are texts: packed ones are longer than JSON's readers like."""

    bits: int
    parties: int
    seconds: float
    values: list[str]
    packed: list[str]


@dataclass(frozen=True)
class Seconds:
    """One step, for one of the 10,000 values: on the wall, and of all cores together."""

    wall: float
    processor: float


@dataclass(frozen=True)
class Measured:
    """One library, packed or not, `encrypted` and `opened` values being timed.

    `part` is one node's part of opening, `open` the rest or all of it.
    """

    library: Library
    packed: bool
    failure: str | None = None
    version: str = ""
    encrypted: int = 0
    opened: int = 0
    wire: float = 0.0
    encrypt: Seconds | None = None
    add: Seconds | None = None
    part: Seconds | None = None
    open: Seconds | None = None


def measured(library: Library, task: Task, scratch: Path, environments: Path, seconds: float) -> list[Measured]:
    """Install, run for at most `seconds`; packed and unpacked. Raises nothing that a library does wrong."""
    try:
        python = python_for(library, environments)
    except NotInstalledError as error:
        return [Measured(library, packed, f"not installed: {error}") for packed in (True, False)]
    asked, answered = scratch / "task.json", scratch / "result.json"
    asked.write_text(json.dumps(asdict(task)))
    answered.unlink(missing_ok=True)
    own = ["-m", f"benchmarks.paillier.{library.script}"]
    program = [str(SCRIPTS / f"{library.script}.py")] if library.requirements else own
    failure = run_script([str(python), *program, str(asked), str(answered)], seconds, library.environment)
    result = json.loads(answered.read_text()) if answered.exists() else {"runs": {}, "versions": {}}
    version = next(iter(result["versions"].values()), "")
    each = {True: len(task.values) / len(task.packed), False: 1.0}
    return [
        _of(library, packed, version, result["runs"].get(name), each[packed], failure)
        for name, packed in (("packed", True), ("unpacked", False))
    ]


def _of(
    library: Library, packed: bool, version: str, run: dict[str, Any] | None, each: float, failure: str | None
) -> Measured:
    """`each` is how many values one number holds."""
    if run is None:
        return Measured(library, packed, failure or "wrote no answer", version)

    def step(name: str) -> Seconds | None:
        found = run.get(name)
        return Seconds(*(float(time) / each for time in found)) if isinstance(found, list) else None

    return Measured(
        library,
        packed,
        None,
        version,
        encrypted=round(run["encrypted"] * each),
        opened=round(run["opened"] * each),
        wire=run["wire"] / each,
        encrypt=step("encrypt"),
        add=step("add"),
        part=step("part"),
        open=step("open"),
    )
