"""The table: on the console and as a page of docs/."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich.table import Table

from benchmarks.paillier.catalogue import LIBRARIES
from benchmarks.paillier.measure import Measured, Seconds, Task

HEADINGS = (
    "library",
    "packed",
    "encrypt",
    "add",
    "bytes sent",
    "open: a node",
    "open: the rest",
    "opens with",
    "timed",
)
_LEFT = frozenset({"library", "packed", "opens with"})
_PAGE = """# Encrypting and opening, library by library

Printed by `python -m benchmarks.paillier`: {count:,} values of 32 bits from each of {parties} providers, a modulus of
{bits} bits. Everything is for one value: microseconds of processor time, all cores together, and in brackets the time
on the wall. {cores} cores, shared with other work: trust processor time before the wall's, and ratios before both.

![Time to encrypt and to open](paillier.svg)

{table}

*Packed* puts {slots} values in slots of {slot_bits} bits into one plaintext, as Yingbi does; the other libraries were
given the same packed integers. Unpacked is one value a ciphertext. *Add* is the sum of all {parties} vectors, a value
of the sum. *Bytes sent* are one provider's. *Opens with*: Yingbi's key exists only as shares, of which {threshold}
open: a part of each of three nodes (*a node*), then joining them (*the rest*); the other libraries decrypt with a
whole key, which is less work and which somebody must hold. *Timed* is on how many values, encrypted and opened: as
many as fit {seconds:g} s of processor time. Each time is the fastest of up to three; tables that are made once and
kept are not in it. What was opened was compared with the sum.

{about}
"""


def console_table(rows: Sequence[Measured]) -> Table:
    """For a terminal."""
    table = Table(title="microseconds a value: processor time (wall)", caption="bytes a value, of one provider")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in _LEFT else "right")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def page(rows: Sequence[Measured], task: Task, slot_bits: int) -> str:
    """For docs/, in Markdown."""
    ruled = ["---" if heading in _LEFT else "---:" for heading in HEADINGS]
    lines = [" | ".join(cells) for cells in (HEADINGS, ruled, *map(_cells, rows))]
    return _PAGE.format(
        count=len(task.values),
        parties=task.parties,
        bits=task.bits,
        cores=os.cpu_count(),
        table="\n".join(f"| {line} |" for line in lines),
        slots=-(-len(task.values) // len(task.packed)),
        slot_bits=slot_bits,
        threshold="3 of 5",
        seconds=task.seconds,
        about="\n".join(f"- **{library.name}**: {library.about}" for library in LIBRARIES),
    )


def microseconds(seconds: float) -> str:
    """Three digits, without an exponent."""
    value = 1e6 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _cells(row: Measured) -> tuple[str, ...]:
    name, packed = f"{row.library.name} {row.version}".strip(), "yes" if row.packed else "no"
    if row.failure is not None:
        return (name, packed, row.failure, *[""] * (len(HEADINGS) - 3))
    steps = [_time(step) for step in (row.encrypt, row.add, row.part, row.open)]
    wire = f"{row.wire:,.0f}" if row.wire >= 100 else f"{row.wire:.1f}"
    return (name, packed, *steps[:2], wire, *steps[2:], row.library.opens_with, f"{row.encrypted:,}, {row.opened:,}")


def _time(step: Seconds | None) -> str:
    return "—" if step is None else f"{microseconds(step.processor)} ({microseconds(step.wall)})"
