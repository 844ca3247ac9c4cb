"""Killed processes and altered files: nothing that was spent comes back, nothing that was asked is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yingbi

from enclave_sim.journal import HEADER_BYTES, MAC_BYTES
from gateway.zone import processes
from gateway.zone.folder import ZoneFolder
from tests.zones import VISITS, Ran, Zone, visits, wait_until

pytestmark = pytest.mark.xdist_group("crashes")

NODES = ("node-1", "node-2", "node-3")
# Enough cells that a contribution takes a tenth of a second, and can be stopped in the middle.
DAYS = 300
QUESTION = "SELECT clinic, day, COUNT(*) AS {}, AVG(pain) FROM visits GROUP BY clinic, day"
METADATA = (
    VISITS.format(name="visits", grade=2, epsilon=1000.0) + f"      day: {{type: int64, values: {list(range(DAYS))}}}\n"
)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: processes.start_time(pid) is None)


def running_job(zone: Zone) -> str:
    """The job that is running now."""
    found: list[str] = []
    with yingbi.connect(folder=zone.root) as connection:

        def look() -> bool:
            found[:] = [job.id for job in connection.jobs() if job.state == "running"]
            return bool(found)

        wait_until(look)
    return found[0]


@pytest.fixture(scope="module")
def crash_zone(zone_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    """A zone with the dataset `visits`, for the tests of this file one after another."""
    base = tmp_path_factory.mktemp("crashes")
    zone = Zone(Path(shutil.copytree(zone_template, base / "zone")), base / "config")
    zone.up()
    table = visits()
    days = pa.array([row % DAYS for row in range(table.num_rows)], pa.int64())
    zone.add(base / "data", METADATA, {"visits": table.append_column("day", days)})
    yield zone
    zone.down()


@pytest.fixture
def up_zone(crash_zone: Zone) -> Zone:
    """The same, all its processes up whatever an earlier test did."""
    ran = crash_zone.call("up", crash_zone.root, "--detach", "--json")
    assert ran.code == 0 or ran.json["code"] == "already_up"
    return crash_zone


def ask(zone: Zone, name: str) -> Ran:
    """Ask a question that no other test asked: its count has another name."""
    return zone.call("sql", "visits", QUESTION.format(name), "--epsilon", "1", "--json")


def test_a_node_that_is_down_is_named_and_costs_nothing(up_zone: Zone) -> None:
    before = up_zone.spent("visits")
    kill(up_zone.processes("node")["node-2"])
    ran = ask(up_zone, "down")
    assert ran.code == 4
    assert "node-2" in ran.json["message"]
    assert "node-1" not in ran.json["message"]
    assert up_zone.spent("visits") == before

    # Its enclave did not outlive it, and `up` brings both back.
    wait_until(lambda: "node-2" not in up_zone.processes("enclave"))
    up_zone.up()
    assert ask(up_zone, "down").code == 0


@pytest.mark.parametrize("victim", [("gateway", "gateway"), ("node", "node-3"), ("enclave", "node-1")])
def test_a_process_killed_in_the_middle_of_a_job_loses_nothing(up_zone: Zone, victim: tuple[str, str]) -> None:
    role, name = victim
    before = up_zone.spent("visits")
    asking = up_zone.begin("sql", "visits", QUESTION.format(role), "--epsilon", "1", "--json")
    job = running_job(up_zone)
    kill(up_zone.processes(role)[name])
    up_zone.up()
    wait_until(lambda: up_zone.fetch("result", job)["state"] not in ("queued", "running"), seconds=60)
    asking.kill()

    answer = up_zone.fetch("result", job)
    assert answer["state"] == "succeeded"
    once = up_zone.spent("visits")
    assert once > before
    # Asked again, it is the same release: one charge, one noise.
    again = ask(up_zone, role).json
    assert again["replayed"]
    assert again["rows"] == answer["rows"]
    assert up_zone.spent("visits") == once


def kinds(zone: Zone, node: str, job: str) -> list[str]:
    """What an enclave's journal says of a job, in order."""
    journal = (zone.root / "nodes" / node / "enclave" / "journal").read_bytes()
    return [kind.decode() for kind in re.findall(rb'"job":"%s"[^{}]*?"kind":"(\w+)"' % job.encode(), journal)]


def totals(zone: Zone, job: str) -> set[bytes]:
    """The totals that enclaves bound a job to."""
    journals = [(zone.root / "nodes" / node / "enclave" / "journal").read_bytes() for node in NODES]
    pattern = rb'"job":"%s","kind":"open"[^{}]*?"total":"(\w+)"' % job.encode()
    return {total for journal in journals for total in re.findall(pattern, journal)}


def contribution(zone: Zone, node: str, job: str) -> Path:
    return zone.root / "nodes" / node / "enclave" / "jobs" / job / "contribution"


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Whoever is stopped does nothing and says nothing, and goes on afterwards if it still lives."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def step_until(holds: Callable[[], bool], pid: int) -> None:
    """Let a process that is frozen run a millisecond at a time until a moment has come, and leave it frozen there."""
    give_up = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < give_up, "waited in vain"
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.001)
        os.kill(pid, signal.SIGSTOP)


def running(zone: Zone, role: str) -> dict[str, int]:
    """Process ids by name."""
    listed = zone.fetch("status", zone.root)["processes"]
    return {one["name"]: one["pid"] for one in listed if one["role"] == role}


def lose(zone: Zone, node: str) -> None:
    """A node's machine goes down."""
    host = running(zone, "node")[node]
    kill(running(zone, "enclave")[node])
    kill(host)


def bring_back(zone: Zone, node: str) -> None:
    """The machine is up again, and nothing else of the zone was touched: `up` would start all of it anew."""
    folder = ZoneFolder(zone.root)
    address = json.loads((folder.run / "addresses.json").read_text())["nodes"]
    process = processes._start_node(folder, node, address, detach=True)
    processes._wait_for_enclaves(folder, [process])
    processes._wait_for_nodes(folder)


def ended(zone: Zone, job: str) -> Any:
    """How a job ended, once it has."""
    found: dict[str, Any] = {}

    def look() -> bool:
        found.update(zone.call("result", job, "--json").json)
        return found["state"] not in ("queued", "running")

    wait_until(look, seconds=90)
    return found


def check_released_once(zone: Zone, job: str, name: str, before: float) -> None:
    """One charge, one contribution of each node, one total; asked again, it is the same release."""
    answer = ended(zone, job)
    assert answer["state"] == "succeeded"
    spent = zone.spent("visits")
    assert spent > before
    assert [kinds(zone, node, job) for node in NODES] == [["charge", "contribution", "open"]] * 3
    assert len(totals(zone, job)) == 1
    again = ask(zone, name).json
    assert (again["replayed"], again["rows"]) == (True, answer["rows"])
    assert zone.spent("visits") == spent


def test_a_node_lost_before_it_contributes_contributes_when_it_is_back(up_zone: Zone) -> None:
    before = up_zone.spent("visits")
    with frozen(running(up_zone, "enclave")["node-2"]):
        up_zone.begin("sql", "visits", QUESTION.format("early"), "--epsilon", "1", "--json")
        job = running_job(up_zone)
        wait_until(lambda: "contribution" in kinds(up_zone, "node-1", job))
        assert not kinds(up_zone, "node-2", job)
        lose(up_zone, "node-2")
    bring_back(up_zone, "node-2")
    check_released_once(up_zone, job, "early", before)


def test_a_node_lost_while_it_contributes_is_charged_once(up_zone: Zone) -> None:
    """Its charge is on disk and its contribution is not: it computes again, with noise that nobody has seen before."""
    enclave = running(up_zone, "enclave")["node-2"]
    before = up_zone.spent("visits")
    with frozen(enclave):
        up_zone.begin("sql", "visits", QUESTION.format("amid"), "--epsilon", "1", "--json")
        job = running_job(up_zone)
        step_until(lambda: bool(kinds(up_zone, "node-2", job)), enclave)
        assert kinds(up_zone, "node-2", job) == ["charge"]
        assert not contribution(up_zone, "node-2", job).exists()
        lose(up_zone, "node-2")
    bring_back(up_zone, "node-2")
    check_released_once(up_zone, job, "amid", before)


def test_a_node_lost_after_it_contributed_sends_the_bytes_that_it_stored(up_zone: Zone) -> None:
    """They are at the gateway already, which still waits for another node."""
    before = up_zone.spent("visits")
    with frozen(running(up_zone, "enclave")["node-1"]):
        up_zone.begin("sql", "visits", QUESTION.format("late"), "--epsilon", "1", "--json")
        job = running_job(up_zone)
        at_gateway = up_zone.root / "gateway" / "vectors" / job / "node-2"
        wait_until(at_gateway.exists)
        stored = contribution(up_zone, "node-2", job).read_bytes()
        lose(up_zone, "node-2")
        bring_back(up_zone, "node-2")
        assert not kinds(up_zone, "node-1", job)
    check_released_once(up_zone, job, "late", before)
    assert contribution(up_zone, "node-2", job).read_bytes() == stored


def test_a_gateway_lost_between_the_sum_and_its_opening_opens_that_sum(up_zone: Zone) -> None:
    before = up_zone.spent("visits")
    (gateway,) = running(up_zone, "gateway").values()
    enclave = running(up_zone, "enclave")["node-3"]
    with frozen(enclave):
        up_zone.begin("sql", "visits", QUESTION.format("between"), "--epsilon", "1", "--json")
        job = running_job(up_zone)
        # Others have bound the total, and nothing is opened without this one's consent, too.
        step_until(lambda: any("open" in kinds(up_zone, node, job) for node in NODES), enclave)
        # Not released yet: then its vectors are removed.
        assert (up_zone.root / "gateway" / "vectors" / job).exists()
        bound = totals(up_zone, job)
        stored = [contribution(up_zone, node, job).read_bytes() for node in NODES]
        kill(gateway)
    up_zone.up()
    check_released_once(up_zone, job, "between", before)
    assert totals(up_zone, job) == bound
    assert [contribution(up_zone, node, job).read_bytes() for node in NODES] == stored


def test_a_node_that_stays_away_fails_the_job_at_its_price_and_another_is_a_new_one(up_zone: Zone) -> None:
    """Two of three have contributed: their sum is never opened without the third."""
    before = up_zone.spent("visits")
    with frozen(running(up_zone, "enclave")["node-3"]):
        up_zone.begin("sql", "visits", QUESTION.format("away"), "--epsilon", "1", "--json")
        job = running_job(up_zone)
        wait_until(lambda: all("contribution" in kinds(up_zone, node, job) for node in NODES[:2]))
        lose(up_zone, "node-3")
    failed = ended(up_zone, job)
    once = up_zone.spent("visits")
    assert (failed["state"], failed["code"]) == ("failed", "node_lost")
    assert "node-3" in failed["message"]
    assert once > before
    bring_back(up_zone, "node-3")
    again = ask(up_zone, "away").json
    assert (again["state"], again["replayed"], again["job"] != job) == ("succeeded", False, True)
    assert up_zone.spent("visits") > once
    assert [kinds(up_zone, node, job) for node in NODES] == [["charge", "contribution"]] * 2 + [[]]
    assert ended(up_zone, job)["state"] == "failed"


def test_a_sealed_file_with_one_byte_changed_is_refused_and_named(up_zone: Zone) -> None:
    (sealed,) = (up_zone.root / "nodes" / "node-2").rglob("*.parquet")
    content = bytearray(sealed.read_bytes())
    content[len(content) // 2] ^= 1
    sealed.write_bytes(content)
    try:
        ran = ask(up_zone, "altered")
    finally:
        content[len(content) // 2] ^= 1
        sealed.write_bytes(content)
    assert ran.code == 1
    assert "node-2" in ran.json["message"]
    assert sealed.name in ran.json["message"]
    assert ask(up_zone, "mended").code == 0


def test_a_node_restored_from_a_backup_is_told_so_before_anything_is_spent(up_zone: Zone) -> None:
    """Its journal verifies, being an older state of itself; what it said since then does not fit."""
    assert ask(up_zone, "lost").code == 0
    up_zone.call("down", up_zone.root)
    journal = up_zone.root / "nodes" / "node-2" / "enclave" / "journal"
    content = journal.read_bytes()
    # Without the last three records: those of the last question.
    journal.write_bytes(content[: _record_ends(content)[-4]])
    ran = up_zone.call("up", up_zone.root, "--detach", "--json")
    assert ran.code == 1
    assert "node-2: This node was restored from an earlier copy" in ran.json["message"]
    assert "rekey" in ran.json["hint"]
    journal.write_bytes(content)
    up_zone.up()
    assert ask(up_zone, "found").code == 0


SLOW_PROGRAM = b"""
def run(tables):
    while True:
        pass
"""


def sandboxes(zone: Zone) -> set[int]:
    """The processes of sandboxes below the zone's nodes, those that they fork for a block included."""
    parents, found = {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            line = (folder / "cmdline").read_bytes()
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if b"enclave_sim.sandbox.zygote import start" in line:
                found.add(int(folder.name))
    nodes = set(zone.processes("node").values())

    def is_ours(process: int) -> bool:
        while process in parents and process not in nodes:
            process = parents[process]
        return process in nodes

    return set(filter(is_ours, found))


def signed(stop: Any) -> list[str]:
    return [each["node"] for each in stop["nodes"] if each["stopped_at"]]


def test_a_stop_ends_a_running_program_and_its_processes(up_zone: Zone, tmp_path: Path) -> None:
    """When three nodes have signed, none of their sandboxes is left; the record tells so."""
    program = tmp_path / "program.py"
    program.write_bytes(SLOW_PROGRAM)
    asked: list[str | Path] = ["run", "visits", program, "--output", "x: float[0,1]", "--blocks", "20"]
    asked += ["--seconds", "5", "--epsilon", "10", "--json"]
    previewed = up_zone.call(*asked, "--preview")
    if previewed.code:
        pytest.skip(previewed.json["message"])
    asking = up_zone.begin(*asked)
    job = running_job(up_zone)
    wait_until(lambda: all("charge" in kinds(up_zone, node, job) for node in NODES), seconds=60)
    # One that waits, one that is forked from, one that runs the program.
    wait_until(lambda: len(sandboxes(up_zone)) == 3 * len(NODES))
    up_zone.fetch("stop", "job", job, "--reason", "it never ends", "--yes")
    # The command itself waits two seconds for them.
    wait_until(lambda: signed(up_zone.fetch("stops")["stops"][0]) == list(NODES))
    assert sandboxes(up_zone) == set()
    stopped = up_zone.fetch("stops")["stops"][0]
    assert stopped["jobs"] == [job]
    assert all(each["jobs_ended"] == [job] and each["contributions_withheld"] == 1 for each in stopped["nodes"])
    asking.wait(60)
    assert up_zone.problem(1, "result", job)["code"] == "cancelled"
    assert up_zone.fetch("audit", "verify")["sound"]
    # The next job has what it takes.
    assert ask(up_zone, "after_a_stop").code == 0


def test_nodes_hear_of_a_stop_from_a_gateway_that_was_killed_before_it_told_them(up_zone: Zone) -> None:
    """They stand still while it is recorded; the gateway dies; the next one tells them before they do anything."""
    enclaves = up_zone.processes("enclave")
    with frozen(enclaves["node-1"]), frozen(enclaves["node-2"]), frozen(enclaves["node-3"]):
        stopped = up_zone.fetch("stop", "dataset", "visits", "--reason", "a trial", "--yes")
        assert signed(stopped) == []
        kill(up_zone.processes("gateway")["gateway"])
    up_zone.up()
    wait_until(lambda: signed(up_zone.fetch("stops")["stops"][0]) == list(NODES), seconds=60)
    problem = up_zone.problem(3, "sql", "visits", QUESTION.format("cut_off"), "--epsilon", "1")
    assert problem["code"] == "dataset_cut_off"
    assert "provider" in problem["message"]
    lifted = up_zone.fetch("lift", "dataset", "visits")["stops"]
    assert [each["lifted"] is not None for each in lifted] == [True]
    assert ask(up_zone, "lifted").code == 0


def test_an_altered_journal_keeps_its_node_from_starting(up_zone: Zone) -> None:
    """The last of this file: it leaves the zone down."""
    up_zone.call("down", up_zone.root)
    journal = up_zone.root / "nodes" / "node-1" / "enclave" / "journal"
    intact = journal.read_bytes()
    journal.write_bytes(intact[:10] + bytes([intact[10] ^ 1]) + intact[11:])
    try:
        ran = up_zone.call("up", up_zone.root, "--detach", "--json")
    finally:
        journal.write_bytes(intact)
    assert ran.code == 1
    assert "node-1" in ran.json["message"]
    assert up_zone.fetch("status", up_zone.root)["processes"] == []


def _record_ends(journal: bytes) -> list[int]:
    ends = [0]
    while ends[-1] < len(journal):
        ends.append(ends[-1] + HEADER_BYTES + int.from_bytes(journal[ends[-1] :][:4], "big") + MAC_BYTES)
    return ends
