"""Sandboxes whose first process is started by another one, as an enclave's are; and which are kept for the next."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from yingbi.api.configuration import SANDBOX
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import Program

from enclave_sim.identity import Configuration
from enclave_sim.programs import Sandboxes, packages_named
from enclave_sim.sandbox import Limits, Sandbox, SandboxUnavailableError, launcher, zygote_process
from enclave_sim.sandbox import sandbox as sandbox_module
from enclave_sim.sandbox.blocks import pack_tables
from enclave_sim.sandbox.launcher import Launched
from enclave_sim.sandbox.limits import MODELS
from enclave_sim.sandbox.zygote_process import Zygote, ZygoteProcess, start_zygote

LIMITS = Limits(seconds=1.0, memory_bytes=128 << 20, block_bytes=16 << 20, packages=())
ROWS = b"def run(tables): return [len(tables['people'])]"
FEW_MODULES = "import enclave_sim.sandbox.preload as p; p._OF = {'scipy': 'version'}"
IMPORT = "from enclave_sim.sandbox.zygote import start"
PEOPLE = pa.table({"age": [30.0, 40.0]})


@pytest.fixture(scope="module")
def few_modules() -> Iterator[None]:
    """Loaded at once; and a machine without a sandbox has none to launch."""
    with pytest.MonkeyPatch.context() as patch:
        bootstrap = zygote_process.BOOTSTRAP
        patch.setattr(zygote_process, "BOOTSTRAP", bootstrap.replace(IMPORT, f"{FEW_MODULES}\n{IMPORT}"))
        try:
            start_zygote(LIMITS).close()
        except SandboxUnavailableError as unavailable:
            pytest.skip(str(unavailable))
        yield


class Launching:
    """A launcher on a thread, and the processes that it started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[ZygoteProcess] = []
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        monkeypatch.setattr(launcher, "start_zygote", self._start)
        self.channel = here
        self.launched = Launched(here)
        self.thread = threading.Thread(target=self._serve, args=(there,))
        self.thread.start()

    def _serve(self, channel: socket.socket) -> None:
        with channel:
            launcher.serve(channel)

    def _start(self, limits: Limits) -> ZygoteProcess:
        self.started.append(start_zygote(limits))
        return self.started[-1]

    def alive(self) -> list[bool]:
        return [Path(f"/proc/{zygote.process.pid}").exists() for zygote in self.started]


@pytest.fixture
def launching(few_modules: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launching]:
    made = Launching(monkeypatch)
    yield made
    made.channel.close()
    made.thread.join(60)
    assert made.alive() == [False] * len(made.started), "what it started outlived whom it was for"


def _run(sandbox: Sandbox) -> list[tuple[float, ...] | None]:
    return list(sandbox.run(ROWS, [pack_tables({"people": PEOPLE})], 1, slots=False))


def test_a_launched_sandbox_runs_programs_and_ends_when_it_is_closed(launching: Launching) -> None:
    with Sandbox(LIMITS, launching.launched.start_zygote) as sandbox:
        assert _run(sandbox) == [(2.0,)]
        assert launching.alive() == [True]
        # One that is lost is replaced by the launcher, too.
        launching.started[0].process.kill()
        launching.started[0].process.wait(60)
        assert _run(sandbox) == [None]
        assert _run(sandbox) == [(2.0,)]
    assert launching.alive() == [False, False]


def test_what_a_launcher_cannot_start_is_said_and_it_goes_on(
    launching: Launching, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limits in ({"seconds": 1}, {"seconds": -1, "packages": []}, {"packages": ["os"]}, {"x": 1, "packages": []}):
        answer, descriptors = launching.launched.ask({"start": limits})
        assert "failed" in answer
        assert descriptors == []
    monkeypatch.setattr(launcher, "MOST_ZYGOTES", 1)
    only = launching.launched.start_zygote(LIMITS)
    with pytest.raises(SandboxUnavailableError, match="already"):
        launching.launched.start_zygote(LIMITS)
    only.close()
    assert launching.alive() == [False]


def test_without_its_launcher_an_enclave_has_no_sandbox(launching: Launching) -> None:
    launching.channel.shutdown(socket.SHUT_RDWR)
    with pytest.raises(SandboxUnavailableError, match="launcher"):
        Sandbox(LIMITS, launching.launched.start_zygote)


@pytest.fixture
def opened(few_modules: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Sandboxes, list[Limits]]]:
    """The sandboxes of an enclave, and what was started for them."""
    started: list[Limits] = []

    def start(limits: Limits) -> Zygote:
        started.append(limits)
        return start_zygote(limits)

    sandboxes = Sandboxes(start, Configuration(["own user"]))
    yield sandboxes, started
    sandboxes._end()


def _open(sandboxes: Sandboxes, code: bytes = ROWS, millis: int = 500) -> list[float]:
    with sandboxes.open(Program(block_millis=millis), code) as run:
        return [next(iter(result)) for result in run(code, [{"people": PEOPLE}], 1) if result]


def test_the_next_program_of_the_same_limits_needs_no_new_one(opened: tuple[Sandboxes, list[Limits]]) -> None:
    """And what isolates programs goes into the evidence with the first."""
    sandboxes, started = opened
    assert sandboxes._configuration.facts == ("own user",)
    assert [_open(sandboxes), _open(sandboxes)] == [[2.0], [2.0]]
    assert len(started) == 1
    assert sandboxes._kept is not None
    assert list(sandboxes._configuration.facts) == ["own user", SANDBOX + sandboxes._kept.profile.digest]
    assert _open(sandboxes, millis=600) == [2.0]
    assert [limits.seconds for limits in started] == [0.5, 0.6]


def test_a_kept_one_proves_itself_again_and_is_replaced_where_it_cannot(
    opened: tuple[Sandboxes, list[Limits]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sandboxes, started = opened
    _open(sandboxes)
    assert sandboxes._kept is not None
    sandboxes._kept._zygote.abandon()
    assert _open(sandboxes) == [2.0]
    assert len(started) == 2
    # Where no new one can either, nothing runs.
    monkeypatch.setattr(sandbox_module, "PROGRAM", b"def run(tables): return [0] * 19")
    with pytest.raises(Problem) as refused:
        _open(sandboxes)
    assert refused.value.code == "sandbox_unavailable"
    assert sandboxes._kept is None


@pytest.mark.parametrize(
    ("code", "packages"),
    [
        (b"import numpy", ()),
        (b"from scipy import stats", ("scipy",)),
        (b"import sklearn.tree", ("scipy", "sklearn")),
        (b"# sklearn, one day", ("scipy", "sklearn")),
        (b"\xff scipy", ("scipy",)),
    ],
)
def test_optional_packages_are_loaded_for_programs_that_name_them(code: bytes, packages: tuple[str, ...]) -> None:
    assert packages_named(code) == packages


@pytest.mark.parametrize(("packages", "there"), [((), 0.0), (("scipy",), 1.0)])
def test_a_package_that_was_not_loaded_is_not_there(few_modules: None, packages: tuple[str, ...], there: float) -> None:
    source = b"""
import importlib
def run(tables):
    try:
        importlib.import_module("sci" + "py")
    except ImportError:
        return [0]
    return [1]
"""
    with Sandbox(replace(LIMITS, packages=packages)) as sandbox:
        assert list(sandbox.run(source, [pack_tables({})], 1, slots=False)) == [(there,)]
        assert any(module.startswith("scipy") for module in sandbox.profile.modules) == bool(there)


def test_a_sandbox_for_models_has_loaded_what_models_need_alone(few_modules: None) -> None:
    pytest.importorskip(MODELS)
    with Sandbox(replace(LIMITS, packages=(MODELS,))) as sandbox:
        loaded = {module.split()[0] for module in sandbox.profile.modules}
    assert {"numpy", MODELS} <= loaded
    assert not {"pandas", "scipy", "sklearn"} & loaded
