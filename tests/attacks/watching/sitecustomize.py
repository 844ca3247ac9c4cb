"""Read by every Python process of a zone that is watched, before its program: it stops where a test looks into it.

What the programs do is unchanged but for where the dealer's primes come from. What an enclave computed is told to the
test through files outside the zone, so that the test knows what to search for.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

WATCH = Path(os.environ["YINGBI_WATCH"])


def stop(point: str) -> None:
    """Say that this process is at `point`, and stay there as long as the test wants."""
    if (WATCH / f"stop.{point}").exists():
        (WATCH / f"{point}.{os.getpid()}").touch()
        while (WATCH / f"stop.{point}").exists():
            time.sleep(0.02)


def tell(kind: str, numbers: list[int]) -> None:
    """Let the test know what this process has computed."""
    with (WATCH / f"{kind}.{os.getpid()}").open("a") as file:
        file.write(json.dumps(numbers) + "\n")


def watch_dealer() -> None:
    """Its primes are the test's; it stops before it writes what it dealt."""
    from enclave_sim import frames
    from enclave_sim.paillier import dealer

    write = frames.write_frame

    def generate_modulus(bits: int) -> tuple[int, int]:
        p, q = json.loads((WATCH / "primes").read_text())
        assert (p * q).bit_length() == bits
        return p, q

    def write_frame(*arguments: Any) -> None:
        stop("dealt")
        write(*arguments)

    dealer.generate_modulus = generate_modulus
    frames.write_frame = write_frame


def watch_enclave() -> None:
    """It stops when it has its sum, which it tells, as it does its noise; and when it has its part of an opening."""
    from enclave_sim import jobs, opening
    from enclave_sim.engine.duckdb_engine import DuckDBEngine

    add_up, sample, decrypt = DuckDBEngine.contribution, jobs.sample_share, opening.partial_decrypt

    def contribution(*arguments: Any) -> list[int]:
        exact = add_up(*arguments)
        tell("exact", exact)
        stop("summed")
        return exact

    def sample_share(cells: int, sigma: int) -> list[int]:
        noise = sample(cells, sigma)
        tell("noise", noise)
        return noise

    def partial_decrypt(*arguments: Any) -> list[int]:
        parts = decrypt(*arguments)
        stop("opening")
        return parts

    DuckDBEngine.contribution = contribution  # type: ignore[assignment, method-assign]
    jobs.sample_share = sample_share
    opening.partial_decrypt = partial_decrypt


if "enclave_sim.ceremony" in sys.orig_argv:
    watch_dealer()
elif "enclave_sim.enclave_process" in sys.orig_argv:
    watch_enclave()
elif sys.orig_argv[1:4] == ["-m", "yingbi", "init"]:
    atexit.register(stop, "made")
