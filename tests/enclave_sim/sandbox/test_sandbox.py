"""What users of the sandbox count on: slots, restarts, one honest answer a block, refusal where it cannot be proven."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from enclave_sim.sandbox import Limits, Sandbox, SandboxUnavailableError, zygote_process
from enclave_sim.sandbox.blocks import pack_tables

MEAN = b"def run(tables): return [tables['people']['age'].mean(), len(tables['people'])]"
LIMITS = Limits(seconds=1.0, memory_bytes=128 << 20, block_bytes=16 << 20)


# Enough for these tests, and loaded at once.
FEW_MODULES = "import enclave_sim.sandbox.preload as p; p._OF = {}"
IMPORT = "from enclave_sim.sandbox.zygote import start"


@pytest.fixture(scope="module", autouse=True)
def few_modules() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zygote_process, "BOOTSTRAP", zygote_process.BOOTSTRAP.replace(IMPORT, f"{FEW_MODULES}\n{IMPORT}"))
        yield


@pytest.fixture(scope="module")
def sandbox(few_modules: None) -> Iterator[Sandbox]:
    try:
        started = Sandbox(LIMITS)
    except SandboxUnavailableError as unavailable:
        pytest.skip(str(unavailable))
    yield started
    started.close()


def _people(*ages: float) -> bytes:
    return pack_tables({"people": pa.table({"age": pa.array(ages, pa.float64())})})


def _process_of(sandbox: Sandbox) -> subprocess.Popen[bytes]:
    assert isinstance(sandbox._zygote, zygote_process.ZygoteProcess)
    return sandbox._zygote.process


def test_each_block_gets_its_own_answer(sandbox: Sandbox) -> None:
    blocks = [_people(30, 40), _people(), _people(50)]
    assert list(sandbox.run(MEAN, blocks, 2, slots=False)) == [(35.0, 2.0), None, (50.0, 1.0)]


def test_what_it_says_of_itself_names_all_layers(sandbox: Sandbox) -> None:
    wanted = {"empty root", "frozen clock", "no capabilities", "no new privileges", "not dumpable", "rlimits"}
    wanted |= {f"namespace {name}" for name in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")}
    assert wanted | {"seccomp allow-list", "no writable code"} <= set(sandbox.profile.layers)
    assert len(bytes.fromhex(sandbox.profile.digest)) == 32


def test_a_run_takes_its_slots_and_gives_results_at_their_ends(sandbox: Sandbox) -> None:
    """An early end, a late one and a crash come at the same times, which the numbers of blocks and seconds fix."""
    source = b"""
def run(tables):
    if 'loop' in tables:
        while True: pass
    if 'crash' in tables: os._exit(1)
    return [1]
"""
    blocks = [pack_tables({name: pa.table({"x": [1]})}) for name in ("quick", "loop", "crash")]
    started = time.monotonic()
    read = iter(blocks)
    came = []
    for result in sandbox.run(source, read, 1):
        came.append((result, time.monotonic() - started))
    assert [result for result, _ in came] == [(1.0,), None, None]
    for slot, (_, moment) in enumerate(came, start=1):
        assert moment >= slot * LIMITS.seconds


def test_a_block_is_read_in_its_slot_and_not_before(sandbox: Sandbox) -> None:
    read: list[int] = []

    def blocks() -> Iterator[bytes]:
        for number in itertools.count():
            read.append(number)
            yield _people(number)

    results = sandbox.run(MEAN, blocks(), 2)
    assert next(results) == (0.0, 1.0)
    assert read == [0]


def test_a_lost_zygote_costs_the_run_its_other_blocks_but_not_its_schedule(sandbox: Sandbox) -> None:
    """There is no second try, and no new zygote between slots: that would take its time."""
    started = time.monotonic()
    results = sandbox.run(MEAN, [_people(1), _people(2), _people(3)], 2)
    assert next(results) == (1.0, 1.0)
    zygote = _process_of(sandbox)
    zygote.kill()
    zygote.wait(60)
    assert list(results) == [None, None]
    assert time.monotonic() - started >= 3 * LIMITS.seconds
    digest = sandbox.profile.digest
    assert list(sandbox.run(MEAN, [_people(4)], 2, slots=False)) == [(4.0, 1.0)]
    assert sandbox.profile.digest == digest


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("import enclave_sim.kernel as k; k.seccomp = lambda program: None", "self-test could do"),
        ("import enclave_sim.kernel as k; k.landlock_deny_all = lambda version: None", "Landlock"),
        (
            "import enclave_sim.kernel as k; unshare = k.unshare; "
            "k.unshare = lambda flags: unshare(flags & ~k.CLONE_NEWNET)",
            "namespaces: net",
        ),
        ("import enclave_sim.kernel as k; k.keep_capabilities = lambda mask: None", "capabilities"),
        ("import enclave_sim.kernel as k; k.pivot_root = lambda new, old: None", "mount"),
        ("import enclave_sim.sandbox.frozen_clock as f; f.FrozenClock.install = lambda self: None", "vDSO"),
        ("import mmap; page = mmap.mmap(-1, 4096, prot=7)", "writable and executable"),
    ],
    ids=["seccomp", "landlock", "namespaces", "capabilities", "root", "clock", "writable code"],
)
def test_a_missing_layer_is_found_when_it_starts(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, broken: str, reason: str
) -> None:
    bootstrap = zygote_process.BOOTSTRAP
    monkeypatch.setattr(zygote_process, "BOOTSTRAP", bootstrap.replace(IMPORT, f"{broken}\n{IMPORT}"))
    with pytest.raises(SandboxUnavailableError, match=reason):
        Sandbox(LIMITS)


def test_nothing_is_left_of_a_closed_sandbox(sandbox: Sandbox) -> None:
    """Neither processes nor descriptors of the host."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with Sandbox(LIMITS) as closed:
        assert list(closed.run(MEAN, [_people(1)], 2, slots=False)) == [(1.0, 1.0)]
        process = _process_of(closed).pid
    assert not Path(f"/proc/{process}").exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_limits_are_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        Limits(seconds=0)
