"""The plot of `models`: a panel for each kind of model and table, as SVG by hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from html import escape

from benchmarks.model_scores import Scores
from benchmarks.model_tables import EPSILONS

_COLUMNS, _WIDTH, _HEIGHT, _GAP = 3, 260, 190, 24
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 40, 24
_HEAD = 44
_COLOURS = {
    "Yingbi": "#1b6e8c",
    "Yingbi, bounds found": "#6b8e23",
    "diffprivlib": "#c4631c",
    "interpret's DP-EBM": "#8e4585",
}
_STYLE = (
    "text{font-family:sans-serif;font-size:11px;fill:#222}.small{font-size:10px;fill:#555}.title{font-weight:600}"
    ".grid{stroke:#ddd}.clear{stroke:#222;stroke-dasharray:4 3}.line{fill:none;stroke-width:2}"
)
_SPAN = 0.02
"""At least so much of a score is between a panel's top and bottom: less is chance."""

Scale = Callable[[float], float]


def draw(measured: Sequence[Scores]) -> str:
    """Medians over ε, down to the worst of each; dashed is the model in the clear."""
    rows = -(-len(measured) // _COLUMNS)
    width = _COLUMNS * (_WIDTH + _GAP) + _GAP
    height = _HEAD + rows * (_HEIGHT + _GAP) + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>How good models are at three values of ε, of Yingbi and of other libraries</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *_legend(),
    ]
    for place, scores in enumerate(measured):
        x = _GAP + place % _COLUMNS * (_WIDTH + _GAP)
        y = _HEAD + place // _COLUMNS * (_HEIGHT + _GAP)
        parts += _panel(scores, x, y)
    return "\n".join([*parts, "</svg>", ""])


def _panel(scores: Scores, x: float, y: float) -> Iterator[str]:
    yield _text(x, y + 12, scores.model, "title")
    yield _text(x, y + 26, f"{scores.rows}; {scores.measure}", "small")
    low, high = _ends(scores)
    top, bottom = y + _TOP, y + _HEIGHT - _BOTTOM
    better, worse = (bottom, top) if scores.less_is_better else (top, bottom)

    def up(score: float) -> float:
        """Better is higher."""
        return worse + (min(max(score, low), high) - low) / (high - low) * (better - worse)

    sides = (x + _LEFT, x + _WIDTH - _RIGHT)
    across = [sides[0] + (0.08 + 0.42 * place) * (sides[1] - sides[0]) for place in range(len(EPSILONS))]
    for mark in (low, (low + high) / 2, high):
        yield f'<line class="grid" x1="{sides[0]}" x2="{sides[1]}" y1="{up(mark):.1f}" y2="{up(mark):.1f}"/>'
        yield _text(sides[0] - 5, up(mark) + 3, f"{mark:.3f}", "small", "end")
    for epsilon, at in zip(EPSILONS, across, strict=True):
        yield _text(at, bottom + 15, f"ε = {epsilon:g}", "small", "middle")
    clear = up(scores.clear)
    yield f'<line class="clear" x1="{sides[0]}" x2="{sides[1]}" y1="{clear:.1f}" y2="{clear:.1f}"/>'
    for number, (name, found) in enumerate(scores.found.items()):
        shifted = [at + 5 * (number - (len(scores.found) - 1) / 2) for at in across]
        yield from _line(_COLOURS[name], shifted, found, scores, up)


def _line(
    colour: str, across: Sequence[float], found: Sequence[Sequence[float]], scores: Scores, up: Scale
) -> Iterator[str]:
    middles = [up(statistics.median(each)) for each in found]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, middles, strict=True))
    yield f'<polyline class="line" stroke="{colour}" points="{points}"/>'
    for x, y, each in zip(across, middles, found, strict=True):
        yield f'<line stroke="{colour}" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{up(scores.worst(each)):.1f}"/>'
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'


def _ends(scores: Scores) -> tuple[float, float]:
    """The medians, and what is in the clear, with a little room; what is worse lies at the panel's edge."""
    shown = [scores.clear, *(statistics.median(each) for found in scores.found.values() for each in found)]
    middle, half = (max(shown) + min(shown)) / 2, max(max(shown) - min(shown), _SPAN) * 0.6
    return middle - half, middle + half


def _legend() -> Iterator[str]:
    x = float(_GAP)
    for name, colour in _COLOURS.items():
        yield f'<circle cx="{x + 4:.1f}" cy="20" r="4" fill="{colour}"/>'
        yield _text(x + 13, 24, name)
        x += 40 + 6.2 * len(name)
    yield f'<line class="clear" x1="{x:.1f}" x2="{x + 24:.1f}" y1="20" y2="20"/>'
    yield _text(x + 30, 24, "in the clear; lines down from a mark reach the worst model")


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
