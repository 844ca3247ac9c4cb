"""A zone is separate processes that come up together and end together, each with its own files and nothing else's."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from yingbi.api import configuration, credentials

from gateway.zone.folder import ROLES
from tests.zones import Zone, add_visits, new_zone, wait_until

pytestmark = pytest.mark.xdist_group("processes")

NODES = ["node-1", "node-2", "node-3"]
QUESTION = "SELECT clinic, COUNT(*), AVG(pain) FROM visits GROUP BY clinic"
LISTENING = "0A"


@dataclass
class Running:
    """A zone that was started with --detach, what it was asked, and the session of the one who started it."""

    zone: Zone
    answer: Any


@pytest.fixture(scope="module")
def running(zone_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A zone of three nodes that has answered a question."""
    base = tmp_path_factory.mktemp("processes")
    zone = Zone(Path(shutil.copytree(zone_template, base / "zone")), base / "config")
    zone.up()
    try:
        add_visits(zone, base / "data")
        yield Running(zone, zone.json("sql", "visits", QUESTION, "--epsilon", "5"))
    finally:
        zone.down()


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    """A zone of one node, in a folder whose path is longer than a socket's may be and has more than letters."""
    base = tmp_path_factory.mktemp("single") / "a zone of one – 专区" / "nested" / ("deep" * 30)
    zone = new_zone(base, "--nodes", "1", "--auto-approve")
    yield zone
    zone.down()


@pytest.fixture
def stopped_single(single: Zone) -> Iterator[Zone]:
    """The same, not up before a test, nor after it whatever happens in it."""
    yield single
    single.down()


def processes_of(root: Path) -> set[int]:
    """The ids of all live processes that name the zone's folder, or something in it, in their command line."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if any(word == str(root) or word.startswith(f"{root}/") for word in words):
                found.add(int(entry.name))
    return found


def wait_for_no_process(root: Path) -> None:
    try:
        wait_until(lambda: not processes_of(root))
    except AssertionError:
        left = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ") for pid in processes_of(root)]
        assert left == [], "these were still there after a minute"


def all_ids(zone: Zone) -> dict[str, int]:
    """Process ids by role and name."""
    listed = zone.fetch("status", zone.root)["processes"]
    return {f"{one['role']} {one['name']}": one["pid"] for one in listed}


def open_files(pid: int) -> dict[int, str]:
    """What the descriptors of a process stand for."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found[int(entry.name)] = str(entry.readlink())
    return found


def mapped_files(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def listening_at(pid: int) -> list[str]:
    """The addresses, as the kernel writes them, of the TCP sockets on which a process listens."""
    inodes = {target[8:-1] for target in open_files(pid).values() if target.startswith("socket:[")}
    addresses = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and fields[9] in inodes:
                addresses.append(fields[1].split(":")[0])
    return addresses


def foreground(zone: Zone, *options: str) -> tuple[subprocess.Popen[str], str]:
    """A `yingbi up` that stays, and the line that it printed when ready."""
    up = zone.begin("up", str(zone.root), *options)
    assert up.stdout
    return up, up.stdout.readline()


def test_status_shows_gateway_nodes_and_enclaves_as_separate_processes(running: Running) -> None:
    shown = running.zone.json("status", running.zone.root)
    host, port = shown["gateway"].split(":")
    assert (host, int(port) > 0) == ("127.0.0.1", True)
    assert all(one.keys() == {"role", "name", "pid"} for one in shown["processes"])
    named = sorted((one["role"], one["name"]) for one in shown["processes"])
    parts = [(role, name) for role in ("node", "enclave") for name in NODES]
    assert named == sorted([("gateway", "gateway"), ("console", "console"), *parts])
    ids = {one["pid"] for one in shown["processes"]}
    assert len(ids) == 8
    # There is no other process, and no help from threads that look like processes.
    assert processes_of(running.zone.root) == ids
    assert json.loads(running.zone.run("status", running.zone.root).stdout) == shown


def test_the_gateway_has_no_file_of_a_node_and_no_key_open(running: Running) -> None:
    root, pid = running.zone.root, all_ids(running.zone)["gateway gateway"]
    asking = running.zone.begin("sql", "visits", "SELECT SUM(pain) FROM visits", "--epsilon", "3")
    seen: set[str] = set()
    while asking.poll() is None:
        seen |= set(open_files(pid).values())
    assert asking.returncode == 0
    assert str(root / "gateway" / "gateway.db") in seen
    inside = {Path(target).relative_to(root).parts[0] for target in seen if target.startswith(f"{root}/")}
    assert inside == {"gateway", "logs"}
    assert not [target for target in seen if target.endswith((".key", "key_share.pb", "secret", ".parquet"))]
    for folder in ("nodes", "authority", "profiles"):
        assert f"{root}/{folder}" not in mapped_files(pid)


def test_a_node_has_nothing_of_another_node_or_of_the_gateway_open(running: Running) -> None:
    root, ids = running.zone.root, all_ids(running.zone)
    for role in ("node", "enclave"):
        for name in NODES:
            of_zone = [target for target in open_files(ids[f"{role} {name}"]).values() if target.startswith(f"{root}/")]
            allowed = (f"{root}/nodes/{name}/", f"{root}/logs/{name}.log")
            assert [target for target in of_zone if not target.startswith(allowed)] == [], (role, name)


def test_an_enclave_holds_no_right_that_it_does_not_need_and_its_evidence_says_so(running: Running) -> None:
    """As the kernel tells of it; its node, which gives up nothing, is the control."""
    shown = {one["node"]: one for one in running.zone.fetch("attest")["enclaves"]}
    ids = all_ids(running.zone)
    for name in NODES:
        enclave, node = (status_of(ids[f"{role} {name}"]) for role in ("enclave", "node"))
        held = set(shown[name]["configuration"])
        assert held >= {configuration.NO_NEW_PRIVILEGES, configuration.NOT_DUMPABLE, configuration.NO_CORE_DUMPS}
        log = (running.zone.root / "logs" / f"{name}.log").read_text()
        assert all(measure in held or f"{measure} (" in log for measure in configuration.MEASURES)
        for measure, line, value in KERNEL_SAYS:
            assert (enclave[line] == value) == (measure in held), (name, measure)
        assert (node["NoNewPrivs"], node["Seccomp"]) == ("0", "0")
        limits = Path(f"/proc/{ids[f'enclave {name}']}/limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
        networks = {Path(f"/proc/{ids[f'{role} {name}']}/ns/net").readlink() for role in ("enclave", "node")}
        assert len(networks) == (2 if configuration.OWN_NETWORK in held else 1)


KERNEL_SAYS = (
    (configuration.NO_CAPABILITIES, "CapPrm", "0" * 16),
    (configuration.NO_NEW_PRIVILEGES, "NoNewPrivs", "1"),
    (configuration.SYSTEM_CALLS, "Seccomp", "2"),
)


def status_of(pid: int) -> dict[str, str]:
    """What the kernel says of a process, which may be of another user."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_only_gateway_and_console_listen_and_only_on_loopback(running: Running) -> None:
    # 127.0.0.1, also as IPv6 writes it.
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    for name, pid in all_ids(running.zone).items():
        addresses = listening_at(pid)
        # One port for callers and one for nodes, which dial out; one for browsers.
        assert len(addresses) == {"gateway gateway": 2, "console console": 1}.get(name, 0), (name, addresses)
        assert set(addresses) <= loopback


def test_detached_processes_have_a_session_of_their_own_and_no_pipe_of_the_caller(running: Running) -> None:
    # That `up --detach` has ended with its pipes closed is in the fixture: it read them to their end.
    root = running.zone.root
    for name, pid in all_ids(running.zone).items():
        assert os.getsid(pid) != os.getsid(0), name
        files = open_files(pid)
        log = root / "logs" / f"{name.split()[1]}.log"
        assert [files[number] for number in (0, 1, 2)] == ["/dev/null", str(log), str(log)], name
    assert os.getsid(all_ids(running.zone)["gateway gateway"]) not in {os.getsid(0), os.getpgid(0)}


def test_folders_are_0700_and_secrets_0600(running: Running) -> None:
    root = running.zone.root

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    for folder in (root, root / "authority", root / "gateway", root / "profiles", *(root / "nodes" / n for n in NODES)):
        assert mode(folder) == 0o700, folder
    secrets = [*root.rglob("*.key"), *root.glob("profiles/*"), *root.rglob("key_share.pb"), *root.rglob("platform/*")]
    assert len(secrets) > 3 + 2 + 3 + 3
    for secret in (*secrets, *root.rglob("ingest.sock")):
        assert mode(secret) == 0o600, secret


def test_the_gateways_folder_holds_no_token_and_no_ca_key(running: Running) -> None:
    root = running.zone.root
    found = [path for part in ("gateway", "logs", "run") for path in (root / part).rglob("*")]
    content = b"".join(path.read_bytes() for path in found if path.is_file())
    for role in ROLES:
        token = json.loads((root / "profiles" / f"{role}.json").read_text())["token"]
        bearer = credentials.bearer(token)
        assert token.encode() not in content
        assert bearer.encode() not in content
        assert credentials.bearer_hash(bearer).encode() in content
    key = (root / "authority" / "ca.key").read_bytes()
    assert key.splitlines()[1] not in content
    assert b"Raw-Secret-Note" not in content


def test_a_restart_keeps_datasets_budget_and_results(running: Running) -> None:
    zone, answer = running.zone, running.answer
    kept = [zone.fetch("datasets"), zone.fetch("jobs"), zone.fetch("result", answer["job"])]
    stopped = zone.fetch("down", zone.root)["stopped"]
    assert len(stopped) == 8
    wait_for_no_process(zone.root)
    shown = zone.fetch("status", zone.root)
    assert (shown["gateway"], shown["processes"]) == (None, [])

    zone.up()
    assert [zone.fetch("datasets"), zone.fetch("jobs"), zone.fetch("result", answer["job"])] == kept
    again = zone.fetch("sql", "visits", QUESTION, "--epsilon", "5")
    assert (again["replayed"], again["rows"]) == (True, answer["rows"])
    # What is sealed can be unsealed again.
    spent = zone.spent("visits")
    assert zone.fetch("sql", "visits", QUESTION, "--epsilon", "6")["state"] == "succeeded"
    assert zone.spent("visits") > spent

    zone.fetch("down", zone.root)
    wait_for_no_process(zone.root)


def test_one_node_works_from_end_to_end_with_the_plain_mechanism(stopped_single: Zone, tmp_path: Path) -> None:
    stopped_single.up()
    assert list(all_ids(stopped_single)) == ["gateway gateway", "node node-1", "console console", "enclave node-1"]
    add_visits(stopped_single, tmp_path)
    receipt = tmp_path / "receipt.json"
    answer = stopped_single.json("sql", "visits", QUESTION, "--epsilon", "20", "--save-receipt", receipt)
    for row, errors, exact in zip(answer["rows"], answer["std_errors"], [300, 300, 0], strict=True):
        assert abs(row[1] - exact) < 6 * errors[1]
    verified = stopped_single.fetch("receipt", "verify", receipt)
    (mechanism,) = [check["finding"] for check in verified["checks"] if check["check"] == "mechanism"]
    assert mechanism.startswith("discrete Gaussian; ")
    stopped_single.fetch("down", stopped_single.root)
    wait_for_no_process(stopped_single.root)


def test_foreground_up_prints_one_ready_line_and_an_interrupt_stops_everything(stopped_single: Zone) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    up, ready = foreground(stopped_single, "--port", str(port))
    said = json.loads(ready)
    assert said["gateway"] == f"127.0.0.1:{port}"
    # One more address, of the console, by the name that browsers take for this machine.
    assert said.keys() == {"gateway", "console"}
    assert re.fullmatch(r"http://localhost:[0-9]+", said["console"])
    assert stopped_single.fetch("status", stopped_single.root)["console"] == said["console"]
    assert stopped_single.fetch("status", stopped_single.root)["gateway"] == f"127.0.0.1:{port}"
    assert stopped_single.fetch("datasets").keys() == {"datasets"}
    up.send_signal(signal.SIGINT)
    out, err = up.communicate(timeout=60)
    assert up.returncode == 0
    assert out == ""
    assert "Traceback" not in err
    wait_for_no_process(stopped_single.root)


def test_without_a_port_a_taken_default_gives_way_to_a_free_one_and_down_ends_a_foreground_zone(
    stopped_single: Zone,
) -> None:
    with contextlib.ExitStack() as stack:
        default = stack.enter_context(socket.socket())
        taken = True
        try:
            default.bind(("127.0.0.1", 7443))
            default.listen()
        except OSError:
            taken = False  # another test's zone holds it, and may let it go at any moment
        up, ready = foreground(stopped_single)
        address = json.loads(ready)["gateway"]
        assert address != "127.0.0.1:0"
        assert not taken or address != "127.0.0.1:7443"
    assert len(stopped_single.fetch("down", stopped_single.root)["stopped"]) == 4
    assert up.communicate(timeout=60)[0] == ""
    wait_for_no_process(stopped_single.root)


def test_a_killed_foreground_up_leaves_no_process(stopped_single: Zone) -> None:
    up, ready = foreground(stopped_single)
    assert ready
    assert len(processes_of(stopped_single.root)) == 5
    up.kill()
    up.communicate(timeout=60)
    wait_for_no_process(stopped_single.root)
    # And the zone can be started again.
    stopped_single.up()
    assert len(all_ids(stopped_single)) == 4
    stopped_single.fetch("down", stopped_single.root)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_up_that_is_ended_while_it_starts_leaves_no_process(stopped_single: Zone, number: signal.Signals) -> None:
    up = stopped_single.begin("up", str(stopped_single.root))
    # The gateway and the node are there, the enclave is on its way.
    wait_until(lambda: len(processes_of(stopped_single.root)) >= 3, seconds=60)
    up.send_signal(number)
    out, _ = up.communicate(timeout=60)
    assert up.returncode != 0
    assert out == ""
    wait_for_no_process(stopped_single.root)
    shown = stopped_single.fetch("status", stopped_single.root)
    assert (shown["gateway"], shown["processes"]) == (None, [])
