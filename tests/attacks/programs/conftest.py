"""One sandbox for all attacks, started by a host that has something to steal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from enclave_sim.sandbox import Limits, Sandbox, SandboxUnavailableError
from tests.attacks.programs.attempts import SECRET, VARIABLE

LIMITS = Limits(seconds=4.0, memory_bytes=128 << 20, block_bytes=16 << 20)


@pytest.fixture(scope="session")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Readable for everybody."""
    folder = tmp_path_factory.mktemp("victim")
    file = folder / "secret"
    file.write_text(SECRET)
    file.chmod(0o644)
    return file


@pytest.fixture(scope="session")
def sandbox(secret_file: Path) -> Iterator[Sandbox]:
    """Its host has the secret in a file, in its environment, and in a descriptor that children inherit."""
    descriptor = os.open(secret_file, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    os.environ |= {VARIABLE: SECRET, VARIABLE + "_FD": str(descriptor)}
    try:
        started = Sandbox(LIMITS)
    except SandboxUnavailableError as unavailable:
        pytest.skip(str(unavailable))
    yield started
    started.close()
    os.close(descriptor)
    del os.environ[VARIABLE], os.environ[VARIABLE + "_FD"]
