"""The table: on the console and as a page of docs/."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.data import GROUPS, LOWER, UPPER
from benchmarks.peers.trials import Outcome, Task

_HEADINGS = ("library", "protects", "answer", "COUNT", "SUM", "AVG", "trials", "prepare")
_PAGE = """# The same question to every library

Printed by `python -m benchmarks.peers`, which installs each library in an environment of its own, gives it the
same rows and asks for `COUNT`, `SUM` and `AVG` of a value in {groups} groups, at ε = {epsilon:g}, δ = {delta:g} for
all of it together. {cores} cores, shared with other work: trust ratios before times.

![Errors and times](peers.svg)

{table}

COUNT, SUM and AVG are root mean squares of the relative error, in %, over groups and trials; *answer* is the median
time of one answer with the data in memory, *prepare* what bringing it there took once, after the imports. What is
protected is a *unit* with all its rows, as long as (ε, δ) is about all of them, or only a single *row*. An error
is taken from {numbers} numbers, so it is itself sure to about {sure:.0f} %: nearer ones do not tell libraries
apart.{failures}

## What each cannot do

{cannot}

## How it was asked

- **Rows**: {rows:,} of {units_count:,} units. A unit has one row and more in proportion to a log-normal activity
  (σ = 1), so that half of the rows are of a fifth of the units. Groups are of uneven size, 1 : 2; values are
  normal about their group's mean, in [{lower:g}, {upper:g}]. Keys and bounds are public for every library.
- **Bounds** on what one unit may count were chosen for each library on another draw of the same distribution,
  from its bias and noise there and without a fine search; the table gives them. A library that drops rows cannot
  take a low bound without a bias, one that weighs a busy unit's rows down can.
- **Calls** are those of the library's own documentation, one for COUNT and SUM where it has one for both; AVG is
  their quotient where that is what the library does, or where AVG would be charged again.
- **Accounting** is each library's own, except that OpenDP and Tumult get the ρ of zero-concentrated differential
  privacy that (ε, δ) allows by the same conversion as Yingbi: they spend less that way. PipelineDP has its
  accountant of privacy loss distributions, which its code calls experimental. It is exact for Gaussian noise and
  asks for 7 % less of it than the way through ρ does, Yingbi's included; ρ is what adds up over questions that
  are chosen adaptively.
- **Yingbi** is the whole path from the SQL text to the table with one provider: planning, the engine, exact noise
  and reading the answer. Encryption and the network are not in it: no other library has them. See
  `python -m benchmarks.end_to_end` for those.
"""


def console_table(outcomes: Sequence[Outcome]) -> Table:
    """For a terminal."""
    table = Table(title="relative RMSE in %, seconds", caption="answer: median of the trials")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in {"library", "protects"} else "right")
    for outcome in outcomes:
        table.add_row(*_cells(outcome))
    return table


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """Why a library has no figures, or fewer than were asked for; in Markdown, a line each."""
    return [f"- **{outcome.peer.name}**: {outcome.failure}" for outcome in outcomes if outcome.failure]


def page(outcomes: Sequence[Outcome], task: Task) -> str:
    """For docs/, in Markdown."""
    numbers, failed = GROUPS * task.trials, failures(outcomes)
    rows = [" | ".join([*_cells(outcome), outcome.peer.bound]) for outcome in outcomes]
    ruled = [" | ".join(["---", "---", *["---:"] * (len(_HEADINGS) - 2), "---"])]
    lines = [" | ".join([*_HEADINGS, "at most"]), *ruled, *rows]
    return _PAGE.format(
        groups=GROUPS,
        epsilon=task.epsilon,
        delta=task.delta,
        cores=os.cpu_count(),
        table="\n".join(f"| {line} |" for line in lines),
        failures="\n".join(["\n\nNot, or not wholly, measured:\n", *failed]) if failed else "",
        cannot="\n".join(f"- **{outcome.peer.name}**: {outcome.peer.cannot}" for outcome in outcomes),
        rows=task.rows,
        units_count=task.units,
        numbers=numbers,
        sure=100 / math.sqrt(2 * numbers),
        lower=LOWER,
        upper=UPPER,
    )


def write_page(text: str, folder: Path) -> None:
    """As peers.md."""
    (folder / "peers.md").write_text(text)


def is_complete(outcomes: Sequence[Outcome]) -> bool:
    """Whether every library was asked, so that the page leaves none out."""
    return len(outcomes) == len(PEERS)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    name = f"{outcome.peer.name} {outcome.version}".strip()
    if outcome.errors is None:
        return (name, outcome.peer.protects, *["—"] * (len(_HEADINGS) - 2))
    errors = (f"{error:.3f}" for error in (outcome.errors.count, outcome.errors.sum, outcome.errors.average))
    seconds = (f"{outcome.answer_seconds:.2f} s", f"{outcome.prepare_seconds:.2f} s")
    return (name, outcome.peer.protects, seconds[0], *errors, str(outcome.trials), seconds[1])
