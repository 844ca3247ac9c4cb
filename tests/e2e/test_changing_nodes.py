"""A zone lives on under new keys: old receipts verify, and nothing that was spent comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.primes import NEXT_P3072, NEXT_Q3072
from tests.zones import Zone, add_visits, wait_until

pytestmark = pytest.mark.xdist_group("key_epochs")

COUNT = "SELECT clinic, COUNT(*) AS n FROM visits GROUP BY clinic"


def ask(zone: Zone, sql: str, receipt: Path) -> Any:
    return zone.fetch("sql", "visits", sql, "--epsilon", "1", "--save-receipt", receipt)


def epoch_of(zone: Zone, receipt: Path) -> str:
    """What is said of the key of a receipt that verifies."""
    verified = zone.fetch("receipt", "verify", receipt)
    assert verified["verified"]
    return next(str(check["finding"]) for check in verified["checks"] if check["check"] == "key epoch")


def begin_and_kill(zone: Zone) -> None:
    """`yingbi node rekey`, killed while the dealer looks for primes."""
    begun = zone.begin("node", "rekey", zone.root)
    wait_until((zone.root / "change.part" / "authority" / "dealer").exists)
    begun.kill()
    begun.wait(60)


@pytest.mark.timeout(600)
def test_a_new_key_and_then_a_new_node(fresh_zone: Zone, tmp_path: Path) -> None:
    zone = fresh_zone
    first, second, third = (tmp_path / f"{name}.json" for name in ("first", "second", "third"))
    add_visits(zone, tmp_path)
    asked = ask(zone, COUNT, first)
    assert zone.problem(3, "node", "rekey", zone.root)["code"] == "already_up"
    assert zone.problem(2, "node", "remove", zone.root, "node-2")["code"] == "not_confirmed"
    zone.down()

    # The questions below are answered from shards whose keys were wrapped anew.
    assert zone.json("node", "rotate-keys", zone.root, "node-1")["key_version"] == 2
    zone.primes = None
    begin_and_kill(zone)
    assert zone.fetch("status", zone.root)["key"]["epoch"] == 1
    zone.primes = (NEXT_P3072, NEXT_Q3072)
    key = zone.json("node", "rekey", zone.root)["key"]
    assert (key["epoch"], key["ceremony"], key["nodes"]) == (2, "trusted dealer", ["node-1", "node-2", "node-3"])
    zone.up()

    # What was answered stays an answer, with the receipt of its own key; what is asked now is under the new one.
    again = ask(zone, COUNT, second)
    assert (again["replayed"], again["rows"]) == (True, asked["rows"])
    assert epoch_of(zone, second).startswith("1, made by a trusted dealer")
    fresh = ask(zone, COUNT.replace("AS n", "AS m"), third)
    assert not fresh["replayed"]
    assert epoch_of(zone, third).startswith("2, made by a trusted dealer")
    spent = zone.spent("visits")
    assert spent > asked["budget"]["spent_epsilon"]
    zone.down()

    assert zone.json("node", "add", zone.root)["added"] == "node-4"
    zone.up()
    assert zone.fetch("datasets")["datasets"][0]["needs_adding_again"]
    refused = zone.problem(3, "sql", "visits", COUNT, "--epsilon", "1")
    assert (refused["code"], zone.spent("visits")) == ("needs_adding_again", spent)
    assert epoch_of(zone, first).startswith("1,")

    assert add_visits(zone, tmp_path)["nodes"] == 4
    assert "needs_adding_again" not in zone.fetch("datasets")["datasets"][0]
    assert zone.spent("visits") == spent
    assert not ask(zone, COUNT, second)["replayed"]
    assert epoch_of(zone, second).startswith("3,")
    assert zone.spent("visits") > spent
    # The node that came last has all of it in its own journal, also what was spent before.
    journals = [zone.root / "nodes" / f"node-{number}" / "enclave" / "journal" for number in (1, 4)]
    assert [b'"kind":"carried"' in journal.read_bytes() for journal in journals] == [False, True]
