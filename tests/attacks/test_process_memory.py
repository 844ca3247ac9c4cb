"""Dumps of every process of a zone, and all of its files: no key, no other's share, no sum and no row outside.

Promises (design, section 3): the key is shared among the enclaves and nobody holds it; the gateway never sees rows or a
provider's partial sum; only the noised total is opened. The zone's key is dealt by the real processes from primes that
the tests know. Its processes stop where the numbers in question are in memory, so that every search has a control
that finds something: the dealer before it ends, each enclave's own share and sum, the noised total at the gateway.

What this cannot show: a form of a number that nobody thought of, and what was overwritten before the processes stopped.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from google.protobuf.json_format import ParseDict
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.v1.receipt_pb2 import Receipt, ReceiptBody

from enclave_sim.paillier.packing import pack
from enclave_sim.plan.layout import layout_of
from tests.attacks.dumps import Needles, forms, named, vector_forms
from tests.attacks.watched import KEY, PUBLIC, N, Watched, watched_zone
from tests.zones import Zone

pytestmark = pytest.mark.xdist_group("memory")

PEOPLE = 400
# So many that a sum is longer than 32 bits: a small number is everywhere.
ROWS_OF_EACH = 1000
COLUMNS = "abcd"
QUESTIONS = 3
# Of letters that in no encoding are mostly zeros, which would be like everything in memory.
CANARY_TEXT = "金丝雀笼"
CANARY_NUMBER = 7_316_492_058_133
METADATA = """
dataset: numbers
zone: test
title: {en: "Numbers"}
grade: 2
source: "made up for tests"
privacy_unit: person
max_units: 1000
units_disjoint: true
budget: {epsilon: 1000, delta: 1.0e-7}
tables:
  numbers:
    file: numbers.parquet
    max_rows_per_unit: 1000
    columns:
      person: {type: int64, role: unit}
      song:   {type: string}
      ring:   {type: int64}
""" + "".join(f"      {name}: {{type: float64, lower: -1, upper: 1}}\n" for name in COLUMNS)
QUESTION = f"SELECT {', '.join(f'SUM({name}) AS sum_{name}' for name in COLUMNS)} FROM numbers"


ENCLAVES = ("enclave node-1", "enclave node-2", "enclave node-3")
POINTS = ("summed", "opening", "done")
Found = dict[str, set[str]]


@dataclass(frozen=True)
class Asked:
    """A job that was looked into: what was found by process at each point, and what the needles were made of."""

    found: dict[str, Found]
    exact: dict[str, list[int]]
    noise: dict[str, list[int]]
    released: list[int]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched_zone(tmp_path_factory.mktemp("watched")) as made:
        yield made


@pytest.fixture(scope="module")
def asked(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Every enclave stops when it has its sum, two when they have their parts of the opening; then the job ends."""
    zone, key = watched.zone, {**named(KEY), **named(PUBLIC), **watched.shares()}
    zone.add(tmp_path_factory.mktemp("numbers"), METADATA, {"numbers": _rows()})
    enclaves = watched.enclaves()
    found = {}
    with zone.stopping("opening") as with_its_part:
        with zone.stopping("summed") as with_its_sum:
            asking = zone.begin("sql", "numbers", QUESTION, "--epsilon", "1", "--json")
            with_its_sum(3)
            exact = {name: zone.told("exact", pid)[-1] for name, pid in enclaves.items()}
            sums = {**_named("the sum of", exact), **_as("the exact total", _total(exact.values()))}
            found["summed"] = watched.found(Needles({**key, **sums}))
        with_its_part(2)
        noise = {name: [cell for cells in zone.told("noise", pid) for cell in cells] for name, pid in enclaves.items()}
        noised = {name: _total([exact[name], noise[name]]) for name in enclaves}
        sums |= _named("the noised sum of", noised)
        found["opening"] = watched.found(Needles({**key, **sums}))
    output, errors = asking.communicate(timeout=60)
    assert asking.returncode == 0, errors
    released = _total(noised.values())
    body = ReceiptBody.FromString(ParseDict(json.loads(output)["receipt"], Receipt()).body)
    sums |= _packed(exact, noised, Plan.FromString(body.plan))
    found["done"] = watched.found(Needles({**key, **sums, **_as("the release", released)}))
    return Asked(found, exact, noise, list(body.opened))


def _total(vectors: Iterable[Sequence[int]]) -> list[int]:
    return [sum(cells) for cells in zip(*vectors, strict=True)]


def _as(name: str, vector: Sequence[int]) -> dict[bytes, str]:
    return dict.fromkeys(vector_forms(vector).values(), name)


def _named(what: str, vectors: Mapping[str, Sequence[int]]) -> dict[bytes, str]:
    return {form: name for owner, vector in vectors.items() for form, name in _as(f"{what} {owner}", vector).items()}


def _packed(exact: Mapping[str, list[int]], noised: Mapping[str, list[int]], plan: Plan) -> dict[bytes, str]:
    """The plaintexts that ciphertexts hold, of all that nobody may see."""
    layout = layout_of(plan, N.bit_length())
    vectors = {
        **{f"the sum of {name}": vector for name, vector in exact.items()},
        **{f"the noised sum of {name}": vector for name, vector in noised.items()},
        "the exact total": _total(exact.values()),
    }
    assert layout.plaintexts == 1
    return named({name: pack(vector, layout)[0] for name, vector in vectors.items()})


def _rows() -> pa.Table:
    people = [person for person in range(PEOPLE) for _ in range(ROWS_OF_EACH)]
    numbers = {
        name: [0.5 + 0.0611 * place + 0.0007 * person for person in people] for place, name in enumerate(COLUMNS)
    }
    canaries = {"song": [CANARY_TEXT] * len(people), "ring": [CANARY_NUMBER] * len(people)}
    return pa.table({"person": people, **canaries, **numbers})


def test_the_numbers_searched_for_are_those_that_the_release_was_made_of(asked: Asked) -> None:
    assert asked.released == _total([*asked.exact.values(), *asked.noise.values()])
    assert min(cell for vector in asked.exact.values() for cell in vector) > 2**32, "a small number is everywhere"


def test_the_control_a_dealer_before_it_ends_holds_the_key(watched: Watched) -> None:
    assert watched.in_dealer >= {"p", "q"}


def test_init_holds_neither_the_key_nor_a_share_when_it_ends(watched: Watched) -> None:
    """It carries the dealer's answer, which is sealed, to the nodes' folders."""
    assert watched.in_init == {"n"}


@pytest.mark.parametrize("point", POINTS)
def test_no_process_and_no_file_holds_the_key(asked: Asked, point: str) -> None:
    assert {name for found in asked.found[point].values() for name in found & set(KEY)} == set()
    assert "n" in asked.found[point]["files"], "the search finds nothing where there is something"


@pytest.mark.parametrize("point", POINTS)
def test_each_enclave_holds_its_own_share_and_nobody_else_holds_any(asked: Asked, point: str) -> None:
    for owner, found in asked.found[point].items():
        shares = {name for name in found if "share" in name}
        assert shares == ({f"the share of {owner}"} if owner in ENCLAVES else set()), owner


@pytest.mark.parametrize("point", POINTS)
def test_no_sum_leaves_its_enclave_and_nobody_adds_them_up(asked: Asked, point: str) -> None:
    """Neither before its noise nor after, neither cell by cell nor packed for encryption."""
    for owner, found in asked.found[point].items():
        sums = {name for name in found if "sum of" in name or "exact" in name}
        assert sums <= ({f"the sum of {owner}", f"the noised sum of {owner}"} if owner in ENCLAVES else set()), owner


def test_the_control_each_enclave_holds_its_sum_and_the_gateway_the_release(asked: Asked) -> None:
    for owner in ENCLAVES:
        assert f"the sum of {owner}" in asked.found["summed"][owner]
    assert "the release" in asked.found["done"]["gateway gateway"]
    holders = (found for name, found in asked.found["done"].items() if not name.startswith("console"))
    assert all("n" in found for found in holders), "the key's public half is with all but the console"
    assert "the release" not in asked.found["opening"]["gateway gateway"]


@pytest.mark.requirement("GRD-02", "GRD-07")
def test_while_jobs_run_the_gateway_and_the_nodes_hold_no_value_and_no_sum(watched: Watched, asked: Asked) -> None:
    """Nothing stops here: the same question as before, so the same sums, in other words each time."""
    needles = Needles({**_canaries(), **_named("the sum of", asked.exact)})
    enclaves = watched.enclaves().values()
    outside = set(watched.processes().values()) - set(enclaves)
    asking = threading.Thread(target=_ask_again, args=(watched.zone,))
    in_enclaves: set[str] = set()
    found: set[str] = set()
    asking.start()
    while asking.is_alive():
        found |= {name for pid in outside for name in needles.found_in_process(pid)}
        if "a value" not in in_enclaves:
            in_enclaves |= {name for pid in enclaves for name in needles.found_in_process(pid)}
    asking.join(60)
    found |= {name for pid in outside for name in needles.found_in_process(pid)}
    for name, pid in watched.enclaves().items():
        assert watched.zone.told("exact", pid) == [asked.exact[name]] * (1 + QUESTIONS)
    assert "a value" in in_enclaves, "the search finds nothing where there is something"
    assert found == set()
    assert needles.found_in_files(watched.zone.root) == set()


def _ask_again(zone: Zone) -> None:
    for number in range(QUESTIONS):
        question = f"{QUESTION} WHERE song <> 'x' AND ring > {number}"
        zone.run("sql", "numbers", question, "--epsilon", "1")


def _canaries() -> dict[bytes, str]:
    texts = [CANARY_TEXT.encode(code) for code in ("utf-8", "utf-16-le", "utf-32-le")]
    numbers = [struct.pack("<q", CANARY_NUMBER), struct.pack("<d", CANARY_NUMBER), str(CANARY_NUMBER).encode()]
    return dict.fromkeys([*texts, *numbers], "a value")


HOLDER = """
import sys, gmpy2
from yingbi.api.v1.node_pb2 import OpenedTotal
number, cells = int(sys.stdin.readline()), [int(cell) for cell in sys.stdin.readline().split()]
message = OpenedTotal(cells=cells[:4])
held = [
    number * 3, gmpy2.mpz(number * 5), (number * 7).to_bytes(200, "big"), f"{number * 11:x}", str(number * 13),
    message, OpenedTotal(cells=cells[4:8]).SerializeToString(), [float(cell) for cell in cells[8:12]],
]
print(flush=True)
sys.stdin.readline()
"""


def test_the_control_a_process_that_holds_a_form_is_seen_to() -> None:
    """The forms are made here by their rules, and there by what makes them in an enclave."""
    number, cells = KEY["p"], [3**22 * (40 + place) for place in range(12)]
    needles = {
        **{forms(number * 3)["digits of Python"]: "digits of Python"},
        **{forms(number * 5)["words"]: "words"},
        **{forms(number * 7)["bytes"]: "bytes"},
        **{forms(number * 11)["hexadecimal"]: "hexadecimal"},
        **{forms(number * 13)["decimal"]: "decimal"},
        **{vector_forms(cells[:4])["int64"]: "int64"},
        **{vector_forms(cells[4:8])["zigzag varints"]: "zigzag varints"},
        **{vector_forms(cells[8:12])["cell 0, float"]: "float"},
        **{vector_forms(cells[8:12])["cell 0, int"]: "int"},
        **{forms(number * 17)["words"]: "what nobody holds"},
    }
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(f"{number}\n{' '.join(map(str, cells))}\n")
        holder.stdin.flush()
        holder.stdout.readline()
        found = Needles(needles).found_in_process(holder.pid)
        holder.stdin.close()
    assert found == set(needles.values()) - {"what nobody holds"}


def test_the_control_what_is_at_any_place_of_a_file_is_found(tmp_path: Path) -> None:
    needle = bytes(range(16, 32))
    for place in (0, 1, 2, 3, 4095, 4096, 9000):
        (tmp_path / "file").write_bytes(bytes(place) + needle)
        assert Needles({needle: "it"}).found_in_files(tmp_path) == {"it"}
        (tmp_path / "file").write_bytes(bytes(place) + needle[:-1])
        assert Needles({needle: "it"}).found_in_files(tmp_path) == set()
