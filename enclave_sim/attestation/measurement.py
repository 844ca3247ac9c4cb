"""The measurement of an enclave: which code, interpreter and libraries it runs."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

import yingbi.api

import enclave_sim

_CODE = (".py", ".c", ".so")
LIBRARIES = ("cbor2", "cryptography", "duckdb", "gmpy2", "numpy", "opendp", "phe", "protobuf", "pyarrow")


@cache
def measure() -> bytes:
    """SHA-256 over every source file of the enclave and of the wire contract, and the versions below them.

    The same for the same code, Python release, machine architecture and library versions, wherever it is
    installed; with what was compiled of it (`enclave_sim.compiled`) also for the same compiler. Simulated:
    nothing but this process itself vouches for the value.
    """
    state = hashlib.sha256(b"yingbi/v1/measurement\0")
    for line in measured():
        state.update(line.encode() + b"\n")
    return state.digest()


def measured() -> list[str]:
    """The list behind the measurement, one line an item."""
    lines = [f"python {platform.python_version()} {platform.machine()}"]
    lines += [f"{name} {metadata.version(name)}" for name in LIBRARIES]
    for package in (enclave_sim, yingbi.api):
        root = Path(str(package.__file__)).parent
        for path in sorted(path for path in root.rglob("*") if path.suffix in _CODE):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"{package.__name__}/{path.relative_to(root).as_posix()} {content}")
    return lines
