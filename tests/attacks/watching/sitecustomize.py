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
from collections.abc import Callable
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


def after(place: Any, name: str, then: Callable[[Any], None]) -> None:
    """Call `then` with what the function of this name has found, before its caller has it."""
    function = getattr(place, name)

    def call(*arguments: Any, **named: Any) -> Any:
        found = function(*arguments, **named)
        then(found)
        return found

    setattr(place, name, call)


def watch_dealer() -> None:
    """Its primes are the test's; it stops when it has dealt, before it answers."""
    from enclave_sim.paillier import dealer

    def generate_modulus(bits: int = dealer.MODULUS_BITS) -> tuple[int, int]:
        p, q = json.loads((WATCH / "primes").read_text())
        assert (p * q).bit_length() == bits
        return p, q

    dealer.generate_modulus = generate_modulus
    after(dealer, "deal", lambda _: stop("dealt"))


def watch_enclave() -> None:
    """Once it is confined, since what it imports starts threads; it may write to the test's folder, too."""
    from enclave_sim import privilege

    writable = privilege.writable_paths
    privilege.writable_paths = lambda: [*writable(), WATCH]
    # A user of its own would not reach the test's folder, whose parents are closed.
    privilege._become = lambda user: None
    after(privilege, "give_up", lambda _: watch_confined_enclave())


def watch_confined_enclave() -> None:
    """It stops when it has its sum, which it tells, as it does its noise; and when it has its part of an opening."""
    from enclave_sim import jobs, opening
    from enclave_sim.engine.duckdb_engine import DuckDBEngine

    after(DuckDBEngine, "contribution", lambda exact: tell("exact", exact))
    after(DuckDBEngine, "contribution", lambda _: stop("summed"))
    after(jobs, "sample_share", lambda noise: tell("noise", noise))
    after(opening, "partial_decrypt", lambda _: stop("opening"))


if "enclave_sim.ceremony" in sys.orig_argv:
    watch_dealer()
elif "enclave_sim.start_enclave" in sys.orig_argv:
    watch_enclave()
elif sys.orig_argv[1:4] == ["-m", "yingbi", "init"]:
    atexit.register(stop, "made")
