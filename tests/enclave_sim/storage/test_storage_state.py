"""A node's root: made once, sealed to its code, never older than the platform's counters say."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.storage import state
from enclave_sim.storage.state import (
    CODE,
    HANDOVER,
    KEYS,
    NEXT,
    SEALED,
    OtherCodeError,
    RolledBackError,
    Root,
    RootError,
)
from gateway.zone.authority import Authority, certificate_pem
from tests.kills import kill_everywhere

CA = certificate_pem(Authority.new("test CA").certificate)
OPERATOR = bytes(range(32))
NEW_CODE = b"n" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of an enclave that never ran."""
    (tmp_path / "enclave" / "platform").mkdir(parents=True)
    policy = {"developers": [], "operators": [OPERATOR.hex()], "auto_approve": False}
    (tmp_path / "enclave" / "policy.json").write_text(json.dumps(policy))
    return tmp_path / "enclave"


def platform(folder: Path, code: bytes | None = None) -> SimulatedBackend:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    return SimulatedBackend("node-1", b"s" * 32, key, (b"", b""), folder / "platform", code)


def opened(folder: Path, code: bytes | None = None) -> Root:
    return state.open_root(folder, platform(folder, code), CA)


def taken(folder: Path, code: bytes = NEW_CODE) -> Root:
    """What new code has once it took over."""
    state.take_over(folder, platform(folder, code))
    return opened(folder, code)


def renewed(folder: Path) -> Root:
    """What a rotation of keys makes of the state."""
    root = opened(folder)
    following = replace(root, key_version=root.key_version + 1)
    state.commit(folder, platform(folder), following, KEYS)
    return following


def handed_over(folder: Path, code: bytes = NEW_CODE) -> None:
    state.hand_over(folder, platform(folder), opened(folder), code)


def copy(folder: Path, target: Path, number: int) -> Path:
    return Path(shutil.copytree(folder, target / f"copy-{number}"))


def at(target: Path, number: int) -> Root:
    return opened(target / f"copy-{number}")


def test_it_is_made_once_and_is_in_no_file(folder: Path) -> None:
    root = opened(folder)
    assert opened(folder) == root
    assert (root.versions, root.authorities) == ((1, 0), frozenset({OPERATOR}))
    assert all(root.secret not in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_keys_of_two_purposes_zones_and_versions_differ(folder: Path) -> None:
    root = opened(folder)
    others = [replace(root, zone=bytes(32)), replace(root, key_version=2), replace(root, secret=bytes(32))]
    assert len({root.zone_key(), *(other.zone_key() for other in others)}) == 4
    assert len({root.derive("signing"), root.derive("journal"), root.derive("zone key"), root.zone_key()}) == 4


def test_it_is_of_one_zone(folder: Path) -> None:
    opened(folder)
    other = certificate_pem(Authority.new("test CA").certificate)
    with pytest.raises(RootError, match="another zone"):
        state.open_root(folder, platform(folder), other)


def test_killed_while_it_is_made_or_renewed_there_is_one_state(folder: Path, tmp_path: Path) -> None:
    """Before the count the old one, after it the new one; and the root, once it was shown, is the same."""

    steps = kill_everywhere(lambda number: partial(opened, copy(folder, tmp_path, number)), partial(at, tmp_path))
    root = opened(folder)
    versions = []

    def check(number: int) -> None:
        found = at(tmp_path / "renewed", number)
        assert found.secret == root.secret
        versions.append(found.key_version)

    more = kill_everywhere(lambda number: partial(renewed, copy(folder, tmp_path / "renewed", number)), check)
    assert min(steps, more) >= 4
    assert versions == sorted(versions)
    assert set(versions) == {1, 2}


def test_an_older_state_put_back_is_refused(folder: Path) -> None:
    opened(folder)
    old = (folder / SEALED).read_bytes()
    renewed(folder)
    for name in (SEALED, NEXT):
        now = (folder / SEALED).read_bytes()
        (folder / SEALED).write_bytes(old)
        (folder / name).write_bytes(old)
        with pytest.raises(RolledBackError, match="put back to an earlier state"):
            opened(folder)
        (folder / SEALED).write_bytes(now)
    (folder / NEXT).unlink()
    assert opened(folder).key_version == 2


def test_a_renewal_that_was_never_counted_does_not_come_true_after_a_change_of_code(folder: Path) -> None:
    """Else the code before an upgrade could be run again."""
    root = opened(folder)
    uncounted = platform(folder).seal(state._encode(replace(root, key_version=2)), state._PURPOSE)
    handed_over(folder)
    taken(folder)
    for name in (SEALED, NEXT):
        (folder / name).write_bytes(uncounted)
    with pytest.raises(RolledBackError):
        opened(folder)


def test_a_torn_file_of_the_next_state_is_as_good_as_none(folder: Path) -> None:
    root = opened(folder)
    (folder / NEXT).write_bytes(platform(folder).seal(b"x" * 200, state._PURPOSE)[:50])
    assert opened(folder) == root


def test_other_code_opens_nothing_and_is_told_how_to(folder: Path) -> None:
    opened(folder)
    with pytest.raises(OtherCodeError, match="yingbi upgrade approve"):
        opened(folder, NEW_CODE)


def test_what_was_handed_over_is_opened_by_the_code_it_was_for_and_then_by_no_other(folder: Path) -> None:
    root = opened(folder)
    handed_over(folder)
    # Until the new code takes it, the old one runs on, even where the new one was started too early.
    with pytest.raises(OtherCodeError, match="yingbi upgrade finish"):
        opened(folder, NEW_CODE)
    assert opened(folder) == root
    old, handover = (folder / SEALED).read_bytes(), (folder / HANDOVER).read_bytes()
    for look in (opened, taken):
        with pytest.raises(OtherCodeError, match="yingbi upgrade approve"):
            look(folder, b"o" * 32)
    assert taken(folder) == replace(root, code_version=1) == taken(folder)
    with pytest.raises(OtherCodeError):
        opened(folder)
    # Nor where the old state is put back, nor by a second taking over.
    (folder / SEALED).write_bytes(old)
    with pytest.raises(RolledBackError):
        opened(folder)
    (folder / HANDOVER).write_bytes(handover)
    with pytest.raises(RolledBackError, match="prepare"):
        taken(folder)


def test_killed_while_new_code_takes_over_the_new_code_has_it(folder: Path, tmp_path: Path) -> None:
    handed_over(folder)

    def check(number: int) -> None:
        assert taken(tmp_path / f"copy-{number}").code_version == 1

    steps = kill_everywhere(lambda number: partial(taken, copy(folder, tmp_path, number)), check)
    assert steps >= 4


def test_what_changed_since_it_was_handed_over_is_handed_over_again(folder: Path) -> None:
    opened(folder)
    handed_over(folder)
    renewed(folder)
    with pytest.raises(RolledBackError, match="repeat `yingbi upgrade prepare`"):
        taken(folder)
    handed_over(folder)
    assert taken(folder).versions == (2, 1)


@pytest.mark.parametrize("lost", ["platform", "state", "before"])
def test_without_its_root_a_node_that_holds_a_key_does_not_begin_anew(folder: Path, lost: str) -> None:
    """Its data would be lost silently. `before`: a zone of a version that had no roots."""
    if lost != "before":
        opened(folder)
    (folder / "key_epoch.pb").write_bytes(b"")
    if lost == "state":
        (folder / SEALED).unlink()
    if lost == "platform":
        shutil.rmtree(folder / "platform")
        (folder / "platform").mkdir()
    with pytest.raises(RootError, match="make it anew; where the platform was lost, restore the root"):
        opened(folder)
    assert not (folder / NEXT).exists()


def test_a_root_of_another_format_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(folder)
    monkeypatch.setattr(state, "FORMAT", 2)
    with pytest.raises(RootError, match="format 1, and this version reads format 2 only"):
        opened(folder)


def test_a_root_is_restored_on_a_platform_without_one_and_on_no_other(folder: Path, tmp_path: Path) -> None:
    """Killed anywhere, it can be restored again; key version and counter agree."""
    opened(folder)
    root = renewed(folder)
    with pytest.raises(RootError, match="nothing was restored"):
        state.restore(folder, platform(folder), root)
    shutil.rmtree(folder / "platform")
    (folder / "platform").mkdir()

    def restore(copied: Path) -> SimulatedBackend:
        backend = replace(platform(copied), secret=b"new" * 8)
        state.restore(copied, backend, root)
        return backend

    def check(number: int) -> None:
        copied = tmp_path / f"copy-{number}"
        with suppress(RootError):
            restore(copied)
        backend = replace(platform(copied), secret=b"new" * 8)
        assert state.open_root(copied, backend, CA) == root
        assert (backend.count(KEYS), backend.count(CODE)) == (2, 0)

    assert kill_everywhere(lambda number: partial(restore, copy(folder, tmp_path, number)), check) >= 4
