"""`yingbi upgrade`, `yingbi escrow`, `yingbi node rotate-keys` on a zone's folder, from the command line on.

The enclaves' programs run in this process, on keys far too short; `enclave_sim` has the tests of what they refuse.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from yingbi.api.evidence import verify_evidence
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import Evidence
from yingbi.cli.main import main
from yingbi.profile import Profile

from enclave_sim import ceremony as enclave_ceremony
from enclave_sim import kernel
from enclave_sim.attestation import simulated
from enclave_sim.attestation.measurement import measure
from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.enclave import load_enclave
from enclave_sim.storage.state import RootError
from enclave_sim.upkeep import ACTIONS
from gateway.zone import ceremony, processes, roster, swap, upkeep
from gateway.zone.folder import ROLES, ZoneFolder
from tests.gateway.zone.test_roster_changes import epochs, in_this_process, made, zone

__all__ = ["in_this_process", "made", "zone"]

NEW_CODE = b"n" * 32
run_a_program = upkeep.run


@pytest.fixture(autouse=True)
def programs_in_this_process(in_this_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(folder: ZoneFolder, node: str, action: str, given: Sequence[bytes] = ()) -> list[bytes]:
        enclave = folder.node(node) / "enclave"
        backend = SimulatedBackend.load(enclave / "platform")
        try:
            return ACTIONS[action](enclave, folder.ca_file.read_bytes(), backend, list(given))
        except RootError as error:
            raise Problem(Kind.REFUSED, "enclave_refused", f"The enclave of {node} refuses: {error}.") from error

    monkeypatch.setattr(upkeep, "run", run)


@pytest.fixture
def other_code(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Install other code."""

    def install() -> None:
        for module in (simulated, enclave_ceremony):
            monkeypatch.setattr(module, "measure", lambda: NEW_CODE)
        monkeypatch.setattr(ceremony, "measured", lambda: ["python 4", NEW_CODE.hex()])

    return install


@pytest.fixture
def yingbi(zone: ZoneFolder, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command; its document, which has to have the exit code `code`."""
    monkeypatch.setenv("YINGBI_ZONE", str(zone.root))

    def call(*arguments: object, code: int = 0) -> Any:
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            found = main([*map(str, arguments), "--json"])
        assert found == code, (out.getvalue(), err.getvalue())
        return json.loads(out.getvalue() or "null")

    return call


def keys(folder: ZoneFolder) -> list[bytes]:
    """Under which each node's enclave signs, once it started."""
    found = []
    for name in folder.node_names:
        enclave = load_enclave(folder.node(name) / "enclave", folder.ca_file.read_bytes())
        enclave.journal.close()
        found.append(enclave.identity.public_signing_key)
    return found


def test_an_upgrade_takes_three_commands_and_keeps_the_nodes(
    zone: ZoneFolder, yingbi: Callable[..., Any], other_code: Callable[[], None], tmp_path: Path
) -> None:
    before, policy = keys(zone), tmp_path / "upgrade.pb"
    approved = yingbi("upgrade", "approve", zone.root, NEW_CODE.hex(), "--to", policy)
    assert (approved["old_measurement"], approved["nodes"]) == (measure().hex(), ["node-1", "node-2"])
    assert yingbi("upgrade", "prepare", zone.root, policy)["prepared"] == ["node-1", "node-2"]
    assert keys(zone) == before
    other_code()
    finished = yingbi("upgrade", "finish", zone.root)
    assert (finished["measurement"], finished["key"]["epoch"]) == (NEW_CODE.hex(), 2)
    assert (keys(zone), epochs(zone)) == (before, {2})
    # Profiles follow, and still know what the receipts of before name.
    for role in ROLES:
        trust = Profile.load(zone.profile(role)).trust
        assert (trust.measurement, trust.earlier) == (NEW_CODE.hex(), (measure().hex(),))
    assert yingbi("upgrade", "finish", zone.root, code=3)["code"] == "same_code"
    roster.rekey(zone, lambda _: None)
    assert epochs(zone) == {3}


def test_an_upgrade_that_is_not_prepared_changes_nothing(
    zone: ZoneFolder, yingbi: Callable[..., Any], tmp_path: Path
) -> None:
    """Also where one node is ready and another is not: then neither is taken."""
    policy = tmp_path / "upgrade.pb"
    yingbi("upgrade", "approve", zone.root, NEW_CODE.hex(), "--to", policy)
    upkeep.run(zone, "node-1", "hand-over", [policy.read_bytes()])
    with pytest.MonkeyPatch.context() as patch:
        for module in (simulated, enclave_ceremony):
            patch.setattr(module, "measure", lambda: NEW_CODE)
        patch.setattr(ceremony, "measured", lambda: [NEW_CODE.hex()])
        said = yingbi("upgrade", "finish", zone.root, code=3)
        assert said["code"] == "enclave_refused"
        assert "yingbi upgrade prepare" in said["message"]
    assert epochs(zone) == {1}


def test_an_upgrade_that_was_killed_is_finished_by_doing_it_again(
    zone: ZoneFolder,
    yingbi: Callable[..., Any],
    other_code: Callable[[], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here in the ceremony, with both nodes taken over already."""
    policy = tmp_path / "upgrade.pb"
    yingbi("upgrade", "approve", zone.root, NEW_CODE.hex(), "--to", policy)
    yingbi("upgrade", "prepare", zone.root, policy)
    other_code()
    with monkeypatch.context() as patch:
        patch.setattr(ceremony, "hold", _killed)
        yingbi("upgrade", "finish", zone.root, code=130)
    assert (zone.root / swap.PREPARED).exists()
    yingbi("upgrade", "finish", zone.root)
    assert epochs(zone) == {2}


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("measurement", "code"), [("ab", "measurement"), ("x" * 64, "measurement"), (measure().hex(), "same_code")]
)
def test_what_is_no_other_measurement_is_not_approved(
    zone: ZoneFolder, yingbi: Callable[..., Any], tmp_path: Path, measurement: str, code: str
) -> None:
    refused = yingbi(
        "upgrade", "approve", zone.root, measurement, "--to", tmp_path / "p", code=3 if code == "same_code" else 2
    )
    assert (refused["code"], (tmp_path / "p").exists()) == (code, False)


def test_a_file_that_is_no_policy_is_refused(zone: ZoneFolder, yingbi: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"\xff\xff\xff")
    assert yingbi("upgrade", "prepare", zone.root, tmp_path / "p", code=2)["code"] == "file"
    assert yingbi("upgrade", "prepare", zone.root, tmp_path / "none", code=2)["code"] == "file"


@pytest.fixture
def shares(zone: ZoneFolder, yingbi: Callable[..., Any], tmp_path: Path) -> list[str]:
    """Of node-1, for three holders, any two of whom restore it."""
    options: list[object] = []
    for name in ("Ann", "Bo", "Cy"):
        yingbi("escrow", "key", name, "--to", tmp_path / f"{name}.key")
        options += ["--holder", tmp_path / f"{name}.key.pub"]
    document = yingbi("escrow", "split", zone.root, "node-1", *options, "--threshold", 2, "--to", tmp_path / "shares")
    found: list[str] = document["shares"]
    assert [Path(share).name for share in found] == [
        f"node-1-{n}-{who}.share" for n, who in ((1, "Ann"), (2, "Bo"), (3, "Cy"))
    ]
    return found


@pytest.mark.parametrize("lost", [["node-1"], ["node-1", "node-2"]])
def test_a_lost_platform_is_restored_by_its_holders(
    zone: ZoneFolder, yingbi: Callable[..., Any], shares: list[str], tmp_path: Path, lost: list[str]
) -> None:
    """A drill first; then the platform's folder is deleted, and where it was the last one, its root's certificate."""
    before, asked = keys(zone), tmp_path / "request.json"
    assert not yingbi("escrow", "request", zone.root, "node-1", "--to", asked)["new_platform"]
    drilled = _released(yingbi, shares, asked, tmp_path / "drill")
    assert yingbi("escrow", "drill", zone.root, "node-1", *drilled)["opens"]
    for name in lost:
        shutil.move(zone.node(name) / "enclave" / "platform", tmp_path / f"platform-of-{name}")
    assert yingbi("escrow", "request", zone.root, "node-1", "--to", asked)["new_platform"]
    # What was released for the drill opens nothing here.
    said = yingbi("escrow", "restore", zone.root, "node-1", *drilled, code=3)["message"]
    assert "the share of Ann was changed, or was released to another enclave" in said
    released = _released(yingbi, shares, asked, tmp_path / "again")
    few = yingbi("escrow", "restore", zone.root, "node-1", released[0], code=3)["message"]
    assert "it takes 2 of 3 shares, and 1 came; ask 1 more of Bo, Cy" in few
    assert yingbi("escrow", "restore", zone.root, "node-1", *released)["restored"]
    for name in lost[1:]:
        shutil.move(tmp_path / f"platform-of-{name}", zone.node(name) / "enclave" / "platform")
    assert keys(zone) == before
    roster.rekey(zone, lambda _: None)
    assert epochs(zone) == {2}


def _released(yingbi: Callable[..., Any], shares: list[str], asked: Path, target: Path) -> list[Path]:
    """By Ann and Bo."""
    target.mkdir()
    for share, name in zip(shares, ("Ann", "Bo"), strict=False):
        key = target.parent / f"{name}.key"
        yingbi("escrow", "release", share, asked, "--key", key, "--to", target / name)
    return sorted(target.iterdir())


def test_what_cannot_be_split_is_refused_before_anything_is_written(
    zone: ZoneFolder, yingbi: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    yingbi("escrow", "key", "Ann", "--to", tmp_path / "a")
    yingbi("escrow", "key", "Ann", "--to", tmp_path / "b")
    assert yingbi("escrow", "key", "Ann", "--to", tmp_path / "a", code=3)["code"] == "file_exists"
    (tmp_path / "c.pub").write_text(json.dumps({"name": "Cy", "public_key": "00" * 32}))
    both: list[object] = ["--holder", tmp_path / "a.pub", "--holder", tmp_path / "b.pub"]
    at: list[object] = ["--to", tmp_path / "shares"]
    cases: list[tuple[list[object], int, str]] = [
        (["node-9", *both, "--threshold", 2, *at], 2, "no_node"),
        (["node-1", *both, "--threshold", 3, *at], 2, "threshold"),
        (["node-1", *both, "--threshold", 1, *at], 2, "threshold"),
        (["node-1", *both[:2], "--threshold", 2, *at], 2, "threshold"),
        # Both are called Ann.
        (["node-1", *both, "--threshold", 2, *at], 3, "enclave_refused"),
        (["node-1", *both, "--threshold", 2, "--to", tmp_path], 3, "folder_in_use"),
        (["node-1", "--holder", tmp_path / "a", *both[:2], "--threshold", 2, *at], 2, "file"),
        # A key of another cipher suite.
        (["node-1", "--holder", tmp_path / "c.pub", *both[:2], "--threshold", 2, *at], 2, "file"),
    ]
    for arguments, code, named in cases:
        assert yingbi("escrow", "split", zone.root, *arguments, code=code)["code"] == named
    monkeypatch.setattr(processes, "status", lambda _: SimpleNamespace(processes=["gateway"]))
    assert yingbi("escrow", "split", zone.root, "node-1", *both, "--threshold", 2, *at, code=3)["code"] == "already_up"
    assert not (tmp_path / "shares").exists()


def test_the_enclaves_program_answers_in_frames_and_refuses_in_a_sentence(zone: ZoneFolder) -> None:
    """In a process of its own, as it runs outside of tests."""
    (answer,) = run_a_program(zone, "node-1", "recipient")
    assert verify_evidence(Evidence.FromString(answer), zone.ca_file.read_bytes()).node == "node-1"
    with pytest.raises(Problem, match="The enclave of node-1 refuses: there is no share") as refused:
        run_a_program(zone, "node-1", "drill")
    assert refused.value.code == "enclave_refused"
    with pytest.raises(Problem, match="is no document of its kind"):
        run_a_program(zone, "node-1", "drill", [b"\xff"])


def test_keys_at_rest_are_renewed_while_the_zone_is_down(
    zone: ZoneFolder, yingbi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert yingbi("node", "rotate-keys", zone.root, "node-2") == {"node": "node-2", "key_version": 2}
    assert epochs(zone) == {1}
    assert yingbi("node", "rotate-keys", zone.root, "node-3", code=2)["code"] == "no_node"
    monkeypatch.setattr(processes, "status", lambda _: SimpleNamespace(processes=["gateway"]))
    assert yingbi("node", "rotate-keys", zone.root, "node-2", code=3)["code"] == "already_up"


def test_the_enclaves_program_follows_no_link_out_of_its_folder(zone: ZoneFolder, tmp_path: Path) -> None:
    """Whoever has the enclave's own user may leave one there, and root starts this program."""
    try:
        kernel.landlock_version()
    except OSError as error:
        pytest.skip(f"no process is confined to its own files here: {error}")
    outside = tmp_path / "outside"
    outside.write_text("kept")
    (zone.node("node-1") / "enclave" / "escrow.recipient").symlink_to(outside)
    with pytest.raises(Problem, match="Permission denied"):
        run_a_program(zone, "node-1", "recipient")
    assert outside.read_text() == "kept"
