"""What `yingbi train --try` does: one model for each combination of values, and the best of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yingbi.api.problem import Kind, Problem
from yingbi.cli.arguments import parse_hidden
from yingbi.cli.asking import named
from yingbi.cli.session import Interrupted, Session

if TYPE_CHECKING:
    from yingbi.search import Search, SearchResult

TRIED = ("alpha", "hidden", "rounds")
"""Parameters that a search may be over."""


@dataclass(frozen=True)
class Outcome:
    """Where parts of what a search finds are written, beside being shown."""

    receipt: Path | None
    csv: Path | None
    onnx: Path | None


def combinations(tries: Sequence[str]) -> list[dict[str, Any]]:
    """All combinations of `alpha=0.1,1` and others, by the names of their fields.

    Raises:
        Problem: MALFORMED "usage".
    """
    given: dict[str, list[Any]] = {}
    for text in tries:
        name, _, values = text.partition("=")
        if name not in TRIED or name in given or not values:
            message = f"--try is a parameter with values for it, each once, and not {text!r}."
            hint = f"as in --try alpha=0.1,1,10; {', '.join(TRIED[:-1])} and {TRIED[-1]} can be tried"
            raise Problem(Kind.MALFORMED, "usage", message, field="try", hint=hint)
        given[name] = [_value(name, each) for each in values.split(",")]
    return [dict(zip(given, each, strict=True)) for each in itertools.product(*given.values())]


def search(
    session: Session,
    course: Search,
    epsilon: float,
    delta: float | None,
    request_id: str | None,
    saved: Outcome,
    *,
    preview: bool,
) -> None:
    """Preview a search, or make it, show what it found and save parts of it."""
    from yingbi.cli import render

    if preview:
        foreseen = course.preview(epsilon, delta)
        session.terminal.show(foreseen.to_json(), render.search_preview(foreseen))
        return
    own = named(request_id)
    try:
        with session.terminal.following() as progress:
            found = course.run(
                epsilon,
                delta,
                request_id=own,
                resumes=request_id is not None,
                progress=progress,
                say=session.terminal.say,
            )
    except KeyboardInterrupt as interrupt:
        raise Interrupted(
            f"rounds that were asked are charged; to go on, search again with --request-id {own}"
        ) from interrupt
    _save(found, saved, own)
    session.terminal.show(found.to_json(), render.search(found))


def _save(found: SearchResult, saved: Outcome, request_id: str) -> None:
    try:
        if saved.receipt:
            found.receipt.save(saved.receipt)
        if saved.csv:
            found.best.save_csv(saved.csv)
        if saved.onnx:
            found.best.to_onnx(saved.onnx)
    except OSError as error:
        raise Problem(
            Kind.FAILED,
            "not_saved",
            f"The models are there but cannot be saved: {error.strerror}: {error.filename}.",
            hint=f"search again with --request-id {request_id}: it costs nothing",
        ) from error


def _value(name: str, text: str) -> Any:
    if name == "hidden":
        return parse_hidden(text)
    try:
        return float(text) if name == "alpha" else int(text)
    except ValueError as error:
        message = f"{name} is a number, and not {text!r}."
        raise Problem(Kind.MALFORMED, "usage", message, field="try", hint="as in --try alpha=0.1,1,10") from error
