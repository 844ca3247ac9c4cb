"""Other libraries' models, each in a Python of its own: what they need contradicts what this project does.

An environment is made on first use and kept (`benchmarks.peers.environments`). A library is given rows within bounds
and the same ε and δ; it gives back numbers only, which are measured here like ours.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.peers.environments import NotInstalledError, cache_folder, python_for
from benchmarks.peers.trials import SCRIPTS, run_script

Floats = NDArray[np.float64]
SECONDS = 1800.0


@dataclass(frozen=True)
class Library:
    """As `peers.environments.Needing`: `script` is a file of `peers/scripts/`."""

    name: str
    script: str
    requirements: tuple[str, ...]
    needs: str | None = None


# With scikit-learn 1.8 its logistic regression fails (multi_class), with 1.9 it cannot be imported.
DIFFPRIVLIB = Library("diffprivlib", "diffprivlib_models", ("diffprivlib==0.6.*", "scikit-learn<1.8"))
INTERPRET = Library("interpret's DP-EBM", "interpret_models", ("interpret-core==0.7.*", "scikit-learn<1.9"))


@dataclass(frozen=True)
class Asked:
    """Models of one kind: for each ε as many as there are repeats, of seeds 0, 1, ..."""

    kind: str
    rows: Floats
    bounds: tuple[tuple[float, float], ...]
    epsilons: tuple[float, ...]
    delta: float
    repeats: int
    response: Floats | None = None
    response_bounds: tuple[float, float] = (0.0, 1.0)
    judged: Floats | None = None
    """Rows to predict; by default those of the training."""
    parts: int = 0
    """Components or centres."""


class Answers:
    """What a library said: call it once for each model, with its ε."""

    def __init__(self, by_epsilon: Mapping[float, Iterator[Floats]]) -> None:
        self._left = by_epsilon

    def __call__(self, epsilon: float) -> Floats:
        return next(self._left[epsilon])


def answers(library: Library, asked: Asked, console: Console) -> Answers | None:
    """The models of a library; None, and a line that says why, where it does not install or fails."""
    try:
        python = python_for(library, cache_folder())
    except NotInstalledError as error:
        console.print(f"{library.name} does not install: {error}")
        return None
    with tempfile.TemporaryDirectory(prefix="yingbi-models-") as name:
        task, rows, said = (Path(name) / each for each in ("task.json", "rows.npz", "said.npz"))
        given = {"rows": asked.rows, "response": asked.response, "judged": asked.judged, "bounds": asked.bounds}
        np.savez(rows, **{key: np.asarray(each) for key, each in given.items() if each is not None})  # type: ignore[arg-type]
        task.write_text(
            json.dumps(
                {
                    "kind": asked.kind,
                    "epsilons": asked.epsilons,
                    "delta": asked.delta,
                    "repeats": asked.repeats,
                    "response_bounds": asked.response_bounds,
                    "parts": asked.parts,
                }
            )
        )
        failure = run_script(
            [str(python), str(SCRIPTS / f"{library.script}.py"), *map(str, (task, rows, said))], SECONDS
        )
        if failure or not said.exists():
            console.print(f"{library.name}: {failure or 'wrote no answer'}")
            return None
        with np.load(said) as found:
            models = found["models"]
    return Answers({epsilon: iter(own) for epsilon, own in zip(asked.epsilons, models, strict=True)})
