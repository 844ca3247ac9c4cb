"""`yingbi node`: killed anywhere, a zone is the old one or the new one, and what cannot be done changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.attestation_pb2 import Evidence, KeyCeremonyRequest, KeyCeremonyResult, KeyEpoch
from yingbi.api.v1.standing_pb2 import Standing

from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.budget import budget_of
from enclave_sim.ceremony import hold_ceremony
from enclave_sim.enclave import load_enclave
from enclave_sim.identity import Identity
from enclave_sim.journal import Journal, Record
from enclave_sim.paillier.dealer import generate_safe_prime
from enclave_sim.privacy.accounting import Charge, Filter
from enclave_sim.show_evidence import shown
from enclave_sim.storage.state import open_root
from gateway.zone import ceremony, init, processes, roster, swap
from gateway.zone.folder import ZoneFolder
from gateway.zone.lock import only_one
from tests.forks import forked


def silent(_: str) -> None:
    """Nobody listens."""


def ask(node: Path) -> tuple[Evidence, Standing]:
    """As the enclave's own program answers."""
    return shown(node / "enclave", (node / "ca.crt").read_bytes())


ask_a_process = ceremony.ask


@pytest.fixture(scope="module", autouse=True)
def in_this_process() -> Iterator[None]:
    """Ceremonies without processes, and keys far too short to protect anything: tests/e2e has real ones."""
    primes = [generate_safe_prime(256) for _ in range(3)]

    def hold(dealer: Path, ca_file: Path, make_request: Callable[[], KeyCeremonyRequest]) -> KeyCeremonyResult:
        request = make_request()
        request.threshold = len(request.enclaves) // 2 + 1
        identity = Identity.of(SimulatedBackend.load(dealer))
        shutil.rmtree(dealer)
        pair = primes[request.epoch % 3], primes[(request.epoch + 1) % 3]
        return hold_ceremony(request, pair, identity, ca_file.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ceremony, "ask", ask)
        patch.setattr(ceremony, "hold", hold)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ZoneFolder:
    """A zone of two nodes in its first key epoch."""
    zone = init.make_zone(tmp_path_factory.mktemp("roster") / "zone", 2, auto_approve=True, say=silent)
    assert epochs(zone) == {1}
    return zone


@pytest.fixture(scope="module")
def decided(made: ZoneFolder, tmp_path_factory: pytest.TempPathFactory) -> ZoneFolder:
    """The same, with the files of a third node and of a second epoch decided and none of them moved."""
    folder = copy(made, tmp_path_factory.mktemp("decided"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swap, "finish", lambda _: False)
        roster.add_node(folder, silent)
    return folder


@pytest.fixture
def zone(made: ZoneFolder, tmp_path: Path) -> ZoneFolder:
    return copy(made, tmp_path)


def copy(folder: ZoneFolder, target: Path) -> ZoneFolder:
    return ZoneFolder(Path(shutil.copytree(folder.root, target / "zone")))


def killed(step: Callable[[], object]) -> bool:
    """Take a step in a process of its own; whether it was killed by SIGKILL on the way."""

    def taken() -> int:
        step()
        return 0

    return forked(taken) == -signal.SIGKILL


def kill_before(number: int, patch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    """In a child: be killed instead of the call of `owner.name` with this number, from 0."""
    calls = iter(range(number + 1))
    original = getattr(owner, name)

    def counting(*arguments: object, **named: object) -> object:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    patch.setattr(owner, name, counting)


def epochs(folder: ZoneFolder) -> set[int]:
    """The key epoch of the gateway and those in which the enclaves of all the zone's nodes start."""
    ca_pem = folder.ca_file.read_bytes()
    found = {KeyEpoch.FromString(ceremony.present(folder).body).epoch}
    for name in folder.node_names:
        enclave = load_enclave(folder.node(name) / "enclave", ca_pem)
        enclave.journal.close()
        found.add(enclave.epoch.epoch)
        assert [holder.node for holder in enclave.epoch.holders] == folder.node_names
    return found


def everything(folder: ZoneFolder) -> dict[str, bytes]:
    files = (path for path in folder.root.rglob("*") if path.is_file() and "run" not in path.parts)
    return {str(path.relative_to(folder.root)): path.read_bytes() for path in files}


def test_nodes_come_and_go_and_no_name_is_given_twice(zone: ZoneFolder) -> None:
    old = ceremony.present(zone).body
    assert roster.add_node(zone, silent) == "node-3"
    assert (zone.node_names, epochs(zone)) == (["node-1", "node-2", "node-3"], {2})
    assert KeyEpoch.FromString(ceremony.present(zone).body).modulus != KeyEpoch.FromString(old).modulus
    roster.remove_node(zone, "node-3", silent)
    assert (zone.node_names, epochs(zone)) == (["node-1", "node-2"], {3})
    assert roster.add_node(zone, silent) == "node-4"
    assert epochs(zone) == {4}
    assert ceremony.shown(zone)["threshold"] == 2
    assert ceremony.shown(zone)["ceremony"] == "trusted dealer"
    assert not (zone.authority / "dealer").exists()
    assert json.loads(zone.settings_file.read_text())["auto_approve"] is True


def test_a_zone_of_newcomers_alone_knows_what_was_spent(zone: ZoneFolder) -> None:
    """Even where none of them ever ran beside one who had seen it."""
    budget: Record = {"kind": "budget", "dataset": "visits", "unit_namespace": "visits", "limit": 100}
    charge: Record = {"kind": "charge", "dataset": "visits", "unit_namespace": "visits", "rho_units": 70, "job": "j"}
    for name in zone.node_names:
        backend = SimulatedBackend.load(zone.node(name) / "enclave" / "platform")
        root = open_root(zone.node(name) / "enclave", backend, zone.ca_file.read_bytes())
        journal = Journal(zone.node(name) / "enclave" / "journal", root.derive("journal"))
        journal.append(budget)
        journal.append(charge)
        journal.close()
    assert roster.add_node(zone, silent) == "node-3"
    roster.remove_node(zone, "node-1", silent)
    roster.remove_node(zone, "node-2", silent)
    enclave = load_enclave(zone.node("node-3") / "enclave", zone.ca_file.read_bytes())
    enclave.journal.close()
    assert enclave.epoch.threshold == 1
    assert budget_of(enclave.journal.records, "visits") == Filter(Charge(100), Charge(70))


@pytest.mark.parametrize(
    ("owner", "name"),
    [(ceremony, "hold"), (ceremony, "write"), (swap, "decide"), (Path, "rename")],
    ids=["before the ceremony", "after it", "before it is decided", "at the moment it is decided"],
)
def test_killed_before_it_is_decided_nothing_has_changed(
    zone: ZoneFolder, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    before = everything(zone)

    def step() -> None:
        kill_before(0, monkeypatch, owner, name)
        roster.rekey(zone, silent)

    assert killed(step)
    assert (zone.root / swap.PREPARED).exists()
    assert not swap.finish(zone)
    assert everything(zone) == before
    assert epochs(zone) == {1}
    roster.rekey(zone, silent)
    assert epochs(zone) == {2}


def test_killed_after_that_the_next_start_completes_it(
    decided: ZoneFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of the moves, and a second time at the first move of who completes it."""
    moves = sum(path.is_file() for path in (decided.root / swap.DECIDED).rglob("*"))
    assert moves > 10
    for number in range(moves):
        folder = copy(decided, tmp_path / str(number))

        def step(folder: ZoneFolder = folder, number: int = number) -> None:
            kill_before(number, monkeypatch, Path, "replace")
            swap.finish(folder)

        assert killed(step)
        assert killed(lambda folder=folder: step(folder, 0))  # type: ignore[misc]
        said: list[str] = []
        processes.finish_change(folder, said.append)
        assert len(said) == 1
        assert folder.node_names == ["node-1", "node-2", "node-3"]
        assert not (folder.root / swap.DECIDED).exists()
        if number % 6 == 0 or number == moves - 1:
            assert epochs(folder) == {2}
        processes.finish_change(folder, said.append)
        assert len(said) == 1


def test_killed_while_it_tidies_up_it_is_whole(decided: ZoneFolder, tmp_path: Path) -> None:
    """What is left of the folder then has no files."""
    folder = copy(decided, tmp_path)
    assert swap.finish(folder)
    (folder.root / swap.DECIDED / "nodes" / "node-1").mkdir(parents=True)
    assert swap.finish(folder)
    assert epochs(folder) == {2}


def test_a_zone_that_runs_keeps_its_key(zone: ZoneFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(zone)
    monkeypatch.setattr(processes, "status", lambda _: SimpleNamespace(processes=["gateway"]))
    with pytest.raises(Problem) as refused:
        roster.rekey(zone, silent)
    assert refused.value.code == "already_up"
    assert refused.value.hint == f"yingbi down {zone.root}"
    assert everything(zone) == before


def test_it_and_up_wait_for_each_other(zone: ZoneFolder) -> None:
    with only_one(zone, "up"), pytest.raises(Problem, match="`yingbi up`, `node`, `upgrade` or `escrow`") as refused:
        roster.rekey(zone, silent)
    assert refused.value.code == "busy"


@pytest.mark.parametrize(("name", "code"), [("node-9", "no_node"), ("", "no_node"), ("../gateway", "no_node")])
def test_a_node_that_is_not_there_is_not_removed(zone: ZoneFolder, name: str, code: str) -> None:
    with pytest.raises(Problem) as refused:
        roster.remove_node(zone, name, silent)
    assert refused.value.code == code
    assert "node-1, node-2" in refused.value.message


def test_the_last_node_stays(zone: ZoneFolder) -> None:
    roster.remove_node(zone, "node-1", silent)
    assert epochs(zone) == {2}
    with pytest.raises(Problem) as refused:
        roster.remove_node(zone, "node-2", silent)
    assert refused.value.code == "last_node"
    assert epochs(zone) == {2}


def test_a_ceremony_that_fails_leaves_the_zone_as_it_is(zone: ZoneFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here by a journal that was altered: what is spent cannot be told."""
    monkeypatch.setattr(ceremony, "ask", ask_a_process)
    journal = zone.node("node-2") / "enclave" / "journal"
    content = journal.read_bytes()
    journal.write_bytes(content[:10] + bytes([content[10] ^ 1]) + content[11:])
    with pytest.raises(Problem, match="node-2 failed: journal: record 1 was altered") as refused:
        roster.rekey(zone, silent)
    assert refused.value.code == "enclave"
    journal.write_bytes(content)
    swap.finish(zone)
    assert epochs(zone) == {1}


def test_enclaves_of_other_code_get_no_key(zone: ZoneFolder) -> None:
    """The receipts of the earlier epochs would no longer fit the reference value of the profiles."""
    profile = zone.profile("developer")
    profile.write_text(json.dumps({**json.loads(profile.read_text()), "measurement": "00" * 32}))
    with pytest.raises(Problem) as refused:
        roster.rekey(zone, silent)
    assert refused.value.code == "other_code"
    assert epochs(zone) == {1}
