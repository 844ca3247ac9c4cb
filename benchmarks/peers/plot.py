"""The plot: errors and times side by side, as SVG by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path

from benchmarks.peers.catalogue import UNIT
from benchmarks.peers.trials import Outcome

_WIDTH, _ROW, _TOP, _LEFT = 860, 38, 64, 168
_ERRORS = (_LEFT, 520)
_TIMES = (570, 830)
_COLOURS = {"COUNT": "#1b6e8c", "SUM": "#c4631c", "AVG": "#6b8e23"}
_STYLE = (
    "text{font-family:sans-serif;font-size:13px;fill:#222}.small{font-size:11px;fill:#555}.title{font-weight:600}"
    ".grid{stroke:#ddd}.bar{fill:#8aa4b3}.ours{font-weight:600}"
)

Scale = Callable[[float], float]


def draw(outcomes: Sequence[Outcome]) -> str:
    """Everything that was measured, as one SVG; hollow marks are of libraries that protect single rows or nothing."""
    shown = [outcome for outcome in outcomes if outcome.errors is not None]
    bottom = _TOP + _ROW * len(shown)
    errors, error_marks = _linear_scale([value for outcome in shown for value in _errors(outcome)], _ERRORS)
    times, time_marks = _log_scale([outcome.answer_seconds for outcome in shown], _TIMES)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 52}" role="img">',
        "<title>Relative error and time of each library</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{bottom + 52}" fill="#fff"/>',
        _text(_ERRORS[0], 24, "Relative RMSE, %", "title"),
        _text(_TIMES[0], 24, "One answer, seconds", "title"),
        *_legend(),
        *_grid(errors, error_marks, bottom),
        *_grid(times, time_marks, bottom),
        _text(_LEFT, bottom + 42, "Hollow and pale: privacy of single rows, or none. Times on a log scale.", "small"),
    ]
    for place, outcome in enumerate(shown):
        parts += _row(outcome, _TOP + _ROW * place + _ROW / 2, errors, times)
    return "\n".join([*parts, "</svg>", ""])


def write_plot(svg: str, folder: Path) -> None:
    """As peers.svg."""
    (folder / "peers.svg").write_text(svg)


def _row(outcome: Outcome, y: float, errors: Scale, times: Scale) -> Iterator[str]:
    yield _text(_LEFT - 12, y + 4, outcome.peer.name, outcome.peer.script, "end")
    solid = outcome.peer.protects == UNIT
    for offset, colour, value in zip((-8, 0, 8), _COLOURS.values(), _errors(outcome), strict=True):
        yield _mark(errors(value), y + offset, colour, solid=solid)
    end = times(outcome.answer_seconds)
    yield (
        f'<rect class="bar" x="{_TIMES[0]}" y="{y - 7:.1f}" width="{end - _TIMES[0]:.1f}" height="14" '
        f'fill-opacity="{1 if solid else 0.35}"/>'
    )
    seconds = outcome.answer_seconds
    yield _text(end + 5, y + 4, f"{seconds:.2f}" if seconds < 10 else f"{seconds:.0f}", "small")


def _legend() -> Iterator[str]:
    for place, (name, colour) in enumerate(_COLOURS.items()):
        x = _ERRORS[0] + 150 + 68 * place
        yield _mark(x, 20, colour, solid=True)
        yield _text(x + 9, 24, name, "small")


def _grid(scale: Scale, marks: Sequence[float], bottom: float) -> Iterator[str]:
    for mark in marks:
        x = scale(mark)
        yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP - 14}" x2="{x:.1f}" y2="{bottom}"/>'
        yield _text(x, bottom + 18, f"{mark:g}", "small", "middle")


def _mark(x: float, y: float, colour: str, *, solid: bool) -> str:
    fill = colour if solid else "#fff"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}" stroke-width="2"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _linear_scale(values: Sequence[float], sides: tuple[int, int]) -> tuple[Scale, list[float]]:
    """From 0 to past the values, with a mark at each of 2 to 10 round steps."""
    most = max([*values, 1e-3])
    step = 10.0 ** math.floor(math.log10(most))
    step = step / 5 if most < 2 * step else step
    steps = math.ceil(most / step)
    return (
        lambda value: sides[0] + value / (step * steps) * (sides[1] - sides[0]),
        [step * number for number in range(steps + 1)],
    )


def _log_scale(values: Sequence[float], sides: tuple[int, int]) -> tuple[Scale, list[float]]:
    """Whole decades about the values, at least one; a mark at each."""
    logs = [math.log10(max(value, 1e-3)) for value in values] or [0.0]
    low = math.floor(min(logs))
    high = max(math.ceil(max(logs)), low + 1)
    return (
        lambda value: sides[0] + (math.log10(max(value, 1e-3)) - low) / (high - low) * (sides[1] - sides[0]),
        [10.0**exponent for exponent in range(low, high + 1)],
    )


def _errors(outcome: Outcome) -> tuple[float, ...]:
    return () if outcome.errors is None else (outcome.errors.count, outcome.errors.sum, outcome.errors.average)
