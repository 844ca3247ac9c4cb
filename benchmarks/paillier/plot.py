"""The plot: processor time to encrypt and to open a value, side by side, as SVG by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from benchmarks.paillier.measure import Measured, Seconds
from benchmarks.paillier.report import microseconds

_WIDTH, _ROW, _TOP, _LEFT = 860, 30, 64, 190
_PANELS = {"Encrypt, µs a value": (_LEFT, 480), "Open, µs a value": (540, 830)}
_STYLE = (
    "text{font-family:sans-serif;font-size:13px;fill:#222}.small{font-size:11px;fill:#555}.title{font-weight:600}"
    ".grid{stroke:#ddd}.bar{fill:#8aa4b3}.ours{font-weight:600}.bar.ours{fill:#1b6e8c}"
)

Scale = Callable[[float], float]


def draw(rows: Sequence[Measured]) -> str:
    """Every library that was measured; opening is a node's part and the rest together."""
    shown = [row for row in rows if row.failure is None]
    bottom = _TOP + _ROW * len(shown)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 52}" role="img">',
        "<title>Processor time to encrypt and to open one value, by library</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{bottom + 52}" fill="#fff"/>',
    ]
    for place, row in enumerate(shown):
        name = f"{row.library.name}, {'packed' if row.packed else 'unpacked'}"
        parts.append(_text(_LEFT - 12, _TOP + _ROW * place + _ROW / 2 + 4, name, _kind(row), "end"))
    for (title, sides), step in zip(_PANELS.items(), (_encrypt, _open), strict=True):
        parts += _panel(title, sides, [(row, step(row)) for row in shown], bottom)
    note = "Processor time of all cores, on a log scale. Yingbi opens with 3 shares of 5: one node's part, and joining."
    return "\n".join([*parts, _text(_LEFT, bottom + 42, note, "small"), "</svg>", ""])


def _panel(title: str, sides: tuple[int, int], bars: Sequence[tuple[Measured, float]], bottom: float) -> Iterator[str]:
    yield _text(sides[0], 24, title, "title")
    scale, marks = _log_scale([value for _, value in bars], sides)
    for mark in marks:
        x = scale(mark)
        yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP - 14}" x2="{x:.1f}" y2="{bottom}"/>'
        yield _text(x, bottom + 18, f"{mark * 1e6:,.10g}", "small", "middle")
    for place, (row, value) in enumerate(bars):
        y = _TOP + _ROW * place + _ROW / 2
        end = scale(value)
        yield (
            f'<rect class="bar {_kind(row)}" x="{sides[0]}" y="{y - 7:.1f}" width="{end - sides[0]:.1f}" height="14"/>'
        )
        yield _text(end + 5, y + 4, microseconds(value), "small")


def _encrypt(row: Measured) -> float:
    return _processor(row.encrypt)


def _open(row: Measured) -> float:
    return _processor(row.part) + _processor(row.open)


def _processor(step: Seconds | None) -> float:
    return step.processor if step else 0.0


def _kind(row: Measured) -> str:
    return "ours" if row.library.script == "ours" else ""


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _log_scale(values: Sequence[float], sides: tuple[int, int]) -> tuple[Scale, list[float]]:
    """Whole decades about the values, at least one; a mark at each."""
    logs = [math.log10(max(value, 1e-7)) for value in values] or [0.0]
    low = math.floor(min(logs))
    high = max(math.ceil(max(logs)), low + 1)
    return (
        lambda value: sides[0] + (math.log10(max(value, 1e-7)) - low) / (high - low) * (sides[1] - sides[0]),
        [10.0**exponent for exponent in range(low, high + 1)],
    )
