"""Which code powers.c runs and which memory it touches is the same whatever the secret is.

The compiler instruments every block of code and every memory access, and `tracing.c` hashes their addresses in order.
What this does not see: the time of one instruction, which for the multiplications used does not depend on the numbers.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from enclave_sim.paillier import native

COMPILER = os.environ.get("CC", "cc")
TRACING = Path(__file__).with_name("tracing.c")
MODULUS = native.modulus_of(random.Random(1).getrandbits(511) | 1 << 511 | 1)
pytestmark = pytest.mark.skipif(
    not native.is_there() or shutil.which(COMPILER) is None, reason="powers.c cannot be compiled or cannot run here"
)

Function = Callable[[int], tuple[int, int]]


def traced(folder: Path, source: str) -> ctypes.CDLL:
    """`source` with instrumentation. Its memory always lies at the same place."""
    file = folder / "powers.c"
    file.write_text(source)
    renamed = ["-Daligned_alloc=trace_alloc", "-Dfree=trace_free"]
    instrumented = ["-fsanitize=thread", "-fsanitize-coverage=trace-pc", '-DPOWERS_SOURCE="traced"', *renamed]
    common = [COMPILER, "-std=c11", "-O3", "-fPIC", "-c"]
    objects = [folder / "powers.o", folder / "tracing.o"]
    subprocess.run([*common, *instrumented, str(file), "-o", str(objects[0])], check=True, capture_output=True)
    subprocess.run([*common, str(TRACING), "-o", str(objects[1])], check=True, capture_output=True)
    library = folder / "traced.so"
    subprocess.run([COMPILER, "-shared", *map(str, objects), "-o", str(library)], check=True, capture_output=True)
    loaded = ctypes.CDLL(str(library))
    native.declare(loaded)
    loaded.trace_hash.restype = loaded.trace_events.restype = ctypes.c_uint64
    return loaded


def of_one_exponent(library: ctypes.CDLL) -> Function:
    """The trace of powers of eight bases to an exponent of 256 bits; everything but the exponent stays as it is."""
    size = 8 * MODULUS.words
    bases = b"".join((3**150 + lane).to_bytes(size, "little") for lane in range(native.LANES))
    secret, out = ctypes.create_string_buffer(32), ctypes.create_string_buffer(size * native.LANES)

    def call(exponent: int) -> tuple[int, int]:
        secret.raw = exponent.to_bytes(32, "little")
        library.trace_start()
        assert library.powers_of(*MODULUS.arguments, native.LANES, bases, 4, secret, out) == 0
        traces = library.trace_hash(), library.trace_events()
        assert int.from_bytes(out.raw[:size], "little") == pow(3**150, exponent, MODULUS.n)
        return traces

    return call


def of_fixed_base(library: ctypes.CDLL) -> Function:
    """The trace of eight powers of 3, whose exponents of 100 bits are made from one number."""
    size, windows = 8 * MODULUS.words, 20
    table = native.table_of(MODULUS, 3, 5, windows)
    secret, out = ctypes.create_string_buffer(16 * native.LANES), ctypes.create_string_buffer(size * native.LANES)
    shape = table.numbers, table.width, windows, native.LANES, 2

    def call(exponent: int) -> tuple[int, int]:
        drawn = random.Random(exponent)
        exponents = [exponent % 2**100, *(drawn.getrandbits(100) for _ in range(native.LANES - 1))]
        secret.raw = b"".join(e.to_bytes(16, "little") for e in exponents)
        library.trace_start()
        assert library.powers_of_fixed(*MODULUS.arguments, *shape, secret, out) == 0
        traces = library.trace_hash(), library.trace_events()
        assert int.from_bytes(out.raw[:size], "little") == pow(3, exponents[0], MODULUS.n)
        return traces

    return call


def of_one_number(library: ctypes.CDLL) -> Function:
    """The trace of a power of one base to an exponent of 256 bits."""
    size = 8 * MODULUS.words
    base, secret, out = (
        (3**150).to_bytes(size, "little"),
        ctypes.create_string_buffer(32),
        ctypes.create_string_buffer(size),
    )

    def call(exponent: int) -> tuple[int, int]:
        secret.raw = exponent.to_bytes(32, "little")
        library.trace_start()
        assert library.power_of_one(*MODULUS.arguments, base, 4, secret, out) == 0
        traces = library.trace_hash(), library.trace_events()
        assert int.from_bytes(out.raw, "little") == pow(3**150, exponent, MODULUS.n)
        return traces

    return call


def of_fixed_base_and_one_exponent(library: ctypes.CDLL) -> Function:
    """The trace of one power of 3, to an exponent of 100 bits."""
    size, windows = 8 * MODULUS.words, 20
    table = native.table_of(MODULUS, 3, 5, windows)
    secret, out = ctypes.create_string_buffer(16), ctypes.create_string_buffer(size)

    def call(exponent: int) -> tuple[int, int]:
        secret.raw = (exponent % 2**100).to_bytes(16, "little")
        library.trace_start()
        assert library.power_of_fixed_one(*MODULUS.arguments, table.numbers, table.width, windows, 2, secret, out) == 0
        traces = library.trace_hash(), library.trace_events()
        assert int.from_bytes(out.raw, "little") == pow(3, exponent % 2**100, MODULUS.n)
        return traces

    return call


FUNCTIONS = (of_one_exponent, of_fixed_base, of_one_number, of_fixed_base_and_one_exponent)
SECRETS = [0, 1, 31, 2**99 - 1, 2**100 + 17, 2**256 - 1, *(random.Random(i).getrandbits(256) for i in range(3))]

CAREFUL_TABLES = {
    "int64_t entry = 0; entry < POWER_ENTRIES; entry++": "int64_t entry = (int64_t)digit, once = 1; once--;",
    "int64_t place = 0; place < 1 << width; place++": "int64_t place = 0; place <= (int64_t)digits[0]; place++",
    "int64_t each = 0; each < entries; each++": "int64_t each = (int64_t)digit, once = 1; once--;",
}
CAREFUL_STEP = "        multiply(&m, power, power, chosen);"


def test_no_address_depends_on_a_secret(tmp_path: Path) -> None:
    library = traced(tmp_path, native.SOURCE.read_text())
    for function in (make(library) for make in FUNCTIONS):
        found = {function(secret) for secret in SECRETS}
        assert len(found) == 1
        assert found.pop()[1] > 1_000


def test_the_trace_would_show_a_table_of_which_one_entry_is_read(tmp_path: Path) -> None:
    source = native.SOURCE.read_text()
    for careful, leaking in CAREFUL_TABLES.items():
        assert source.count(careful) == 1
        source = source.replace(careful, leaking)
    library = traced(tmp_path, source)
    for function in (make(library) for make in FUNCTIONS):
        assert len({function(secret) for secret in SECRETS}) > 1


def test_the_trace_would_show_a_branch(tmp_path: Path) -> None:
    source = native.SOURCE.read_text()
    assert source.count(CAREFUL_STEP) == 1
    condition = "        if (digit_of(exponent, exponent_words, place, POWER_BITS))"
    function = of_one_exponent(traced(tmp_path, source.replace(CAREFUL_STEP, f"{condition}\n{CAREFUL_STEP}")))
    assert len({function(secret) for secret in SECRETS}) > 1
