"""Killed processes and altered files: nothing that was spent comes back, nothing that was asked is lost."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import yingbi

from enclave_sim.journal import HEADER_BYTES, MAC_BYTES
from tests.zones import VISITS, Ran, Zone, visits, wait_until

pytestmark = pytest.mark.xdist_group("crashes")

# Enough cells that a job takes a second, and can be killed in the middle.
DAYS = 120
QUESTION = "SELECT clinic, day, COUNT(*) AS {}, AVG(pain) FROM visits GROUP BY clinic, day"
METADATA = (
    VISITS.format(name="visits", grade=2, epsilon=1000.0) + f"      day: {{type: int64, values: {list(range(DAYS))}}}\n"
)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text())


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
    ran = crash_zone.run("up", crash_zone.root, "--detach", "--json")
    assert ran.code == 0 or ran.json["code"] == "already_up"
    return crash_zone


def spent(zone: Zone) -> float:
    return float(zone.json("budget", "visits")["spent_epsilon"])


def ask(zone: Zone, name: str) -> Ran:
    """Ask a question that no other test asked: its count has another name."""
    return zone.run("sql", "visits", QUESTION.format(name), "--epsilon", "1", "--json")


def test_a_node_that_is_down_is_named_and_costs_nothing(up_zone: Zone) -> None:
    before = spent(up_zone)
    kill(up_zone.processes("node")["node-2"])
    ran = ask(up_zone, "down")
    assert ran.code == 4
    assert "node-2" in ran.json["message"]
    assert "node-1" not in ran.json["message"]
    assert spent(up_zone) == before

    # Its enclave did not outlive it, and `up` brings both back.
    wait_until(lambda: "node-2" not in up_zone.processes("enclave"))
    up_zone.up()
    assert ask(up_zone, "down").code == 0


@pytest.mark.parametrize("victim", [("gateway", "gateway"), ("node", "node-3"), ("enclave", "node-1")])
def test_a_process_killed_in_the_middle_of_a_job_loses_nothing(up_zone: Zone, victim: tuple[str, str]) -> None:
    role, name = victim
    before = spent(up_zone)
    asking = up_zone.begin("sql", "visits", QUESTION.format(role), "--epsilon", "1", "--json")
    job = running_job(up_zone)
    kill(up_zone.processes(role)[name])
    up_zone.up()
    wait_until(lambda: up_zone.json("result", job)["state"] not in ("queued", "running"), seconds=60)
    asking.kill()

    answer = up_zone.json("result", job)
    assert answer["state"] == "succeeded"
    once = spent(up_zone)
    assert once > before
    # Asked again, it is the same release: one charge, one noise.
    again = ask(up_zone, role).json
    assert again["replayed"]
    assert again["rows"] == answer["rows"]
    assert spent(up_zone) == once


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


def test_an_altered_journal_keeps_its_node_from_starting(up_zone: Zone) -> None:
    up_zone.run("down", up_zone.root)
    journal = up_zone.root / "nodes" / "node-1" / "enclave" / "journal"
    intact = journal.read_bytes()
    journal.write_bytes(intact[:10] + bytes([intact[10] ^ 1]) + intact[11:])
    try:
        ran = up_zone.run("up", up_zone.root, "--detach", "--json")
    finally:
        journal.write_bytes(intact)
    assert ran.code == 1
    assert "node-1" in ran.json["message"]
    assert up_zone.json("status", up_zone.root)["processes"] == []


def test_a_node_restored_from_a_backup_is_told_so_before_anything_is_spent(up_zone: Zone) -> None:
    """Its journal verifies, being an older state of itself; what it said since then does not fit."""
    assert ask(up_zone, "lost").code == 0
    up_zone.run("down", up_zone.root)
    journal = up_zone.root / "nodes" / "node-2" / "enclave" / "journal"
    content = journal.read_bytes()
    # Without the last three records: those of the last question.
    journal.write_bytes(content[: _record_ends(content)[-4]])
    ran = up_zone.run("up", up_zone.root, "--detach", "--json")
    assert ran.code == 1
    assert "node-2: This node was restored from an earlier copy" in ran.json["message"]
    assert "rekey" in ran.json["hint"]
    journal.write_bytes(content)
    up_zone.up()
    assert ask(up_zone, "found").code == 0


def _record_ends(journal: bytes) -> list[int]:
    ends = [0]
    while ends[-1] < len(journal):
        ends.append(ends[-1] + HEADER_BYTES + int.from_bytes(journal[ends[-1] :][:4], "big") + MAC_BYTES)
    return ends
