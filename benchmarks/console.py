"""How long the console's pages take where there are many jobs: `python -m benchmarks.console [JOBS]`.

A governed zone of two nodes, real processes, whose database has 10,000 jobs of eight organisations in every state that
lasts (`benchmarks.console_zone`). Each page is asked 200 times, signed in, one request after another over one
connection on this machine. Prints milliseconds from the request until the whole page is there, and how long console and
gateway had the processor for it: on a busy machine the first has waiting in it.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yingbi
from rich.console import Console
from rich.table import Table
from yingbi.api import credentials

from benchmarks import console_zone
from benchmarks.end_to_end import command

JOBS = 10_000
TIMES = 200
WARM = 5
"""Requests of each page that are not measured."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Asked:
    """A page, and who looks at it."""

    name: str
    role: str
    path: str


@dataclass(frozen=True)
class Took:
    """Seconds of each request; and of both processes' processors, on the average."""

    page: Asked
    seconds: Sequence[float]
    processor: float
    size: int


def main() -> None:
    """Run and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zone = folder / "zone"
        os.environ.update(XDG_CONFIG_HOME=str(folder / "config"), YINGBI_ZONE=str(zone))
        try:
            command("init", zone, "--nodes", str(console_zone.NODES))
            command("up", zone, "--detach")
            askers, ran = console_zone.begin(zone, folder)
            command("down", zone)
            console_zone.fill(zone, askers, ran, count)
            command("up", zone, "--detach")
            took = [_ask(zone, page) for page in _pages(zone, ran)]
        finally:
            command("down", zone)
    _print(took, count)


def _pages(zone: Path, ran: str) -> list[Asked]:
    with yingbi.connect(folder=zone, role="provider") as provider:
        waiting = provider._gateway.list_decisions(1)
    (decision,) = [*waiting.mine, *waiting.others]
    return [
        Asked("Inbox", "provider", "/inbox"),
        Asked("Decision", "provider", f"/decisions/{decision.job.job}"),
        Asked("Jobs", "operator", "/jobs"),
        Asked("Jobs, a developer's own", "developer", "/jobs"),
        Asked("Jobs, of one state and dataset", "operator", "/jobs?state=state.failed&dataset=guarded"),
        Asked("Job", "operator", f"/jobs/{ran}"),
        Asked("Budgets", "supervisor", "/budgets"),
        Asked("Budget of one dataset", "supervisor", "/budgets/open"),
        Asked("Budget, a developer's", "developer", "/budgets/open"),
        Asked("Catalogue", "developer", "/catalogue"),
        Asked("Dataset", "developer", "/catalogue/open"),
        Asked("Agreements", "supervisor", "/agreements"),
        Asked("Agreement", "provider", "/agreements/developer-open"),
        Asked("What a stop would hit", "provider", "/agreements/developer-open/hits"),
        Asked("People", "coordinator", "/people"),
        Asked("Audit", "auditor", "/audit"),
        Asked("Audit, of one job", "auditor", f"/audit?subject={ran}"),
        Asked("Workbench", "developer", "/workbench"),
    ]


def _ask(zone: Path, page: Asked) -> Took:
    """Sign in and ask for the page again and again."""
    status = _status(zone)
    address = urlsplit(status["console"])
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    cookie = _sign_in(connection, f"http://{address.netloc}", zone, page.role)
    pids = [each["pid"] for each in status["processes"] if each["role"] in ("gateway", "console")]
    seconds, worked, size = [], 0.0, 0
    for number in range(WARM + TIMES):
        if number == WARM:
            worked = -_worked(pids)
        began = time.perf_counter()
        connection.request("GET", page.path, headers={"Cookie": cookie, "Accept-Language": "en"})
        answer = connection.getresponse()
        size = len(answer.read())
        if number >= WARM:
            seconds.append(time.perf_counter() - began)
        assert answer.status == 200, (page, answer.status)
    worked += _worked(pids)
    connection.close()
    return Took(page, seconds, worked / TIMES, size)


def _status(zone: Path) -> dict[str, Any]:
    arguments = [sys.executable, "-m", "yingbi", "status", str(zone), "--json"]
    found: dict[str, Any] = json.loads(subprocess.run(arguments, check=True, capture_output=True).stdout)
    return found


def _sign_in(connection: http.client.HTTPConnection, origin: str, zone: Path, role: str) -> str:
    """The session's cookie."""
    token = json.loads((zone / "profiles" / f"{role}.json").read_text())["token"]
    form = urlencode({"credential": credentials.bearer(token)})
    headers = {
        "Origin": origin,
        "Sec-Fetch-Site": "same-origin",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    connection.request("POST", "/sign-in", form, headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 204, answer.status
    return (answer.getheader("Set-Cookie") or "").partition(";")[0]


def _worked(pids: Sequence[int]) -> float:
    """Seconds of processor time of these processes until now, to a hundredth."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS


def _print(took: Sequence[Took], count: int) -> None:
    table = Table(title=f"{TIMES} times each page with {count:,} jobs, milliseconds")
    for heading in ("page", "as", "p50", "p95", "most", "processors, mean", "kB"):
        table.add_column(heading, justify="left" if heading in ("page", "as") else "right")
    for each in took:
        ranked = sorted(each.seconds)
        figures = (ranked[len(ranked) // 2], ranked[int(0.95 * len(ranked))], ranked[-1], each.processor)
        row = (f"{1000 * figure:.1f}" for figure in figures)
        table.add_row(each.page.name, each.page.role, *row, f"{each.size / 1000:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
