"""The gateway's memory, dumped while jobs run, holds no patient's value and no provider's partial sum.

Promise (design, section 3): the gateway never sees rows or a provider's partial sum. The same search, as a
positive control, finds the canary in the memory of an enclave.
"""

from __future__ import annotations

import hashlib
import re
import struct
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from tests.zones import Zone

pytestmark = pytest.mark.xdist_group("memory")

CANARY_TEXT = "Canary-5f1d9e2b7c"
CANARY_NUMBER = 7_316_492_058_133
PEOPLE = 400
# So many that a partial sum has five bytes that are not zero: a small number is everywhere.
ROWS_OF_EACH = 1000
METADATA = """
dataset: canaries
zone: test
title: {en: "Canaries"}
grade: 2
source: "made up for tests"
privacy_unit: person
max_units: 1000
units_disjoint: true
budget: {epsilon: 1000, delta: 1.0e-7}
tables:
  birds:
    file: birds.parquet
    max_rows_per_unit: 1000
    columns:
      person: {type: int64, role: unit}
      song:   {type: string}
      ring:   {type: int64}
      weight: {type: float64, lower: -1, upper: 1}
"""


def test_a_dump_of_the_gateway_holds_no_value_and_no_partial_sum(fresh_zone: Zone, tmp_path: Path) -> None:
    weights = {person: round(0.5 + 0.0013 * person, 6) for person in range(PEOPLE)}
    fresh_zone.add(tmp_path / "data", METADATA, {"birds": _birds(weights)})
    needles = [*_texts(CANARY_TEXT), *_numbers(CANARY_NUMBER)]
    for total in _partial_sums(weights):
        needles += _numbers(total)
    (gateway,) = fresh_zone.processes("gateway").values()
    enclaves = fresh_zone.processes("enclave").values()

    found_in_gateway: set[bytes] = set()
    found_in_enclaves: set[bytes] = set()
    asking = threading.Thread(target=_ask, args=(fresh_zone,))
    asking.start()
    while asking.is_alive():
        found_in_gateway |= search(gateway, needles)
        if not found_in_enclaves:
            found_in_enclaves = {found for one in enclaves for found in search(one, [CANARY_TEXT.encode()])}
    asking.join()
    found_in_gateway |= search(gateway, needles)

    assert CANARY_TEXT.encode() in found_in_enclaves, "the search finds nothing where there is something"
    assert not found_in_gateway


def search(pid: int, needles: list[bytes]) -> set[bytes]:
    """Which of `needles` are in the memory that a process may write to, where all its values are."""
    found: set[bytes] = set()
    try:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for start, end in _mappings(pid):
                try:
                    memory.seek(start)
                    content = memory.read(end - start)
                except (OSError, ValueError, OverflowError):
                    continue  # the kernel's own pages
                found.update(needle for needle in needles if needle in content)
    except PermissionError:
        pytest.skip("this user may not read another process's memory")
    return found


def _mappings(pid: int) -> list[tuple[int, int]]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    readable = [re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line) for line in lines if "[v" not in line]
    return [(int(one[1], 16), int(one[2], 16)) for one in readable if one]


def _birds(weights: dict[int, float]) -> pa.Table:
    return pa.table(
        {
            "person": list(weights) * ROWS_OF_EACH,
            "song": [CANARY_TEXT] * len(weights) * ROWS_OF_EACH,
            "ring": [CANARY_NUMBER] * len(weights) * ROWS_OF_EACH,
            "weight": list(weights.values()) * ROWS_OF_EACH,
        }
    )


def _ask(zone: Zone) -> None:
    for number in range(4):
        question = f"SELECT SUM(weight) AS s{number} FROM birds WHERE song <> 'x' AND ring > {number}"
        assert zone.run("sql", "canaries", question, "--epsilon", "1").code == 0


def _partial_sums(weights: dict[int, float]) -> list[int]:
    """What each of the three nodes adds up exactly, in grid steps, before noise."""
    sums = [0, 0, 0]
    for person, weight in weights.items():
        owner = int.from_bytes(hashlib.sha256(str(person).encode()).digest()[:8], "big") % 3
        sums[owner] += int(weight * 2**16 + 0.5) * ROWS_OF_EACH
    assert all(total > 2**32 for total in sums), "a small number is everywhere"
    return sums


def _texts(text: str) -> list[bytes]:
    return [text.encode(), text.encode("utf-16-le"), text.encode("utf-32-le")]


def _numbers(number: int) -> list[bytes]:
    """As machine words, and as text where it is long enough not to occur by chance."""
    return [struct.pack("<q", number), struct.pack("<d", float(number)), str(number).encode()]
