"""How many rows may still be predicted: the one rule, by which the gateway and the enclave count each for itself. Pure.

A day is one of UTC, by the clock of whoever counts. That clock is taken never to go back: a use is put at the latest
time that was counted, if the clock says an earlier one. So setting it back renews nothing. Setting it forward ends the
day early; the days skipped are gone, and what is limited in all does not renew.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.deployment_pb2 import DeploymentTerms

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Used:
    """Rows that an organisation had predicted: in the present day, and in all."""

    today: int
    total: int


def counted_at(now: float, latest: int) -> int:
    """When a use counts, in seconds since 1970: never before the `latest` that was counted."""
    return max(int(now), latest)


def with_rows(terms: DeploymentTerms, organisation: str, before: Used, rows: int, at: int) -> Used:
    """What is used with these rows; BUDGET "uses_exhausted" where a limit does not hold them all.

    The problem says how many rows both limits hold, and which of them is the narrower.
    """
    today = max(0, terms.rows_per_day - before.today)
    in_all = max(0, terms.rows_total - before.total) if terms.HasField("rows_total") else today + 1
    if rows > in_all and in_all <= today:
        said = f"{organisation} has {in_all:,} of its {terms.rows_total:,} rows in all on {terms.deployment} left"
        raise _exhausted(f"{said}, and {rows:,} are asked for. They do not renew.", in_all, "ask its developer")
    if rows > today:
        renews = _moment((at // DAY_SECONDS + 1) * DAY_SECONDS)
        said = f"{organisation} has {today:,} of its {terms.rows_per_day:,} rows a day on {terms.deployment} left"
        raise _exhausted(f"{said}, and {rows:,} are asked for. They renew on {renews}.", today, "ask again then")
    return Used(before.today + rows, before.total + rows)


def _exhausted(message: str, left: int, otherwise: str) -> Problem:
    hint = f"ask for {left:,} rows or fewer" if left else otherwise
    return Problem(Kind.BUDGET, "uses_exhausted", message, field="rows", hint=hint, details={"left": str(left)})


def _moment(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
