"""Killed processes and altered files: nothing that was spent comes back, nothing that was asked is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yingbi

from tests.zones import VISITS, Zone, visits, wait_until

pytestmark = pytest.mark.xdist_group("crashes")

# Enough cells that a job takes a second, and can be killed in the middle.
DAYS = 120
QUESTION = "SELECT clinic, day, COUNT(*), AVG(pain) FROM visits GROUP BY clinic, day"
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


@pytest.fixture
def crash_zone(fresh_zone: Zone, tmp_path: Path) -> Zone:
    """A zone of its own with the dataset `visits`."""
    table = visits()
    days = pa.array([row % DAYS for row in range(table.num_rows)], pa.int64())
    fresh_zone.add(tmp_path / "data", METADATA, {"visits": table.append_column("day", days)})
    return fresh_zone


def spent(zone: Zone) -> float:
    return float(zone.json("budget", "visits")["spent_epsilon"])


def ask(zone: Zone, *arguments: str) -> Any:
    return zone.run("sql", "visits", QUESTION, "--epsilon", "1", "--json", *arguments)


def test_a_node_that_is_down_is_named_and_costs_nothing(crash_zone: Zone) -> None:
    kill(crash_zone.processes("node")["node-2"])
    ran = ask(crash_zone)
    assert ran.code == 4
    assert "node-2" in ran.json["message"]
    assert "node-1" not in ran.json["message"]
    assert spent(crash_zone) == 0

    # Its enclave did not outlive it, and `up` brings both back.
    wait_until(lambda: "node-2" not in crash_zone.processes("enclave"))
    crash_zone.up()
    assert ask(crash_zone).code == 0


@pytest.mark.parametrize("victim", [("gateway", "gateway"), ("node", "node-3"), ("enclave", "node-1")])
def test_a_process_killed_in_the_middle_of_a_job_loses_nothing(crash_zone: Zone, victim: tuple[str, str]) -> None:
    role, name = victim
    asking = crash_zone.begin("sql", "visits", QUESTION, "--epsilon", "1", "--json")
    job = running_job(crash_zone)
    kill(crash_zone.processes(role)[name])
    crash_zone.up()
    wait_until(lambda: crash_zone.json("result", job)["state"] not in ("queued", "running"), seconds=60)
    asking.kill()

    answer = crash_zone.json("result", job)
    assert answer["state"] == "succeeded"
    assert answer["budget"]["spent_epsilon"] == pytest.approx(1, rel=1e-3)
    # Asked again, it is the same release: one charge, one noise.
    again = ask(crash_zone).json
    assert again["replayed"]
    assert again["rows"] == answer["rows"]
    assert spent(crash_zone) == pytest.approx(1, rel=1e-3)


def test_a_sealed_file_with_one_byte_changed_is_refused_and_named(crash_zone: Zone) -> None:
    (sealed,) = (crash_zone.root / "nodes" / "node-2").rglob("*.parquet")
    content = bytearray(sealed.read_bytes())
    content[len(content) // 2] ^= 1
    sealed.write_bytes(content)
    ran = ask(crash_zone)
    assert ran.code == 1
    assert "node-2" in ran.json["message"]
    assert sealed.name in ran.json["message"]


def test_an_altered_journal_keeps_its_node_from_starting(crash_zone: Zone) -> None:
    assert ask(crash_zone).code == 0
    crash_zone.run("down", crash_zone.root)
    journal = crash_zone.root / "nodes" / "node-1" / "enclave" / "journal"
    content = bytearray(journal.read_bytes())
    content[10] ^= 1
    journal.write_bytes(content)
    ran = crash_zone.run("up", crash_zone.root, "--detach", "--json")
    assert ran.code == 1
    assert "node-1" in ran.json["message"]
    assert crash_zone.json("status", crash_zone.root)["processes"] == []
