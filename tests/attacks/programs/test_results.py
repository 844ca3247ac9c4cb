"""What comes out is the declared count of finite numbers, or None: whatever a program does to say more."""

from __future__ import annotations

import math
import os
import struct
import subprocess
import sys

import pytest

from enclave_sim.sandbox import Sandbox
from tests.attacks.programs.attempts import NO_TABLES, still_works

HONEST = "def run(tables): return [1.5, -2]"

# Programs whose result is not two finite numbers.
WRONG = {
    "too few": "def run(tables): return [1]",
    "too many": "def run(tables): return [1, 2, 3]",
    "none": "def run(tables): return []",
    "nothing": "def run(tables): pass",
    "one number": "def run(tables): return 1.0",
    "NaN": "def run(tables): return [1, float('nan')]",
    "infinite": "def run(tables): return [float('inf'), 1]",
    "text": "def run(tables): return ['one', 'two']",
    "complex": "def run(tables): return [1j, 2]",
    "too large for a float": "def run(tables): return [10**400, 1]",
    "objects": "def run(tables): return [object(), object()]",
    "a generator that never ends": "def run(tables):\n    n = 0\n    while n < 10**6:\n        n += 1\n        yield n",
    "a pickle": "import pickle\ndef run(tables): return pickle.dumps({'rows': [1, 2]})",
    "a pickle to the descriptor": "import os, pickle\ndef run(t): os.write(4, pickle.dumps(print)); os._exit(0)",
    "an exception": "def run(tables): raise ValueError('secret')",
    "the end": "import sys\ndef run(tables): sys.exit('secret')",
    "no function": "answer = [1, 2]",
    "not Python": "def run(tables:",
    "not text": "\udcff\udcfe",
    "a null byte": "def run(tables): return [1, 2]\0",
    "written before": "import os\ndef run(tables):\n    os.write(4, bytes(8))\n    return [1, 2]",
    "written after": "import os\nos._exit = lambda code: os.write(4, b'x')\ndef run(tables): return [1, 2]",
    "half a result": "import os\ndef run(tables): os.write(4, bytes(12)); os._exit(0)",
    "one byte more": "import os\ndef run(tables): os.write(4, bytes(17)); os._exit(0)",
    "NaN to the descriptor": "import os, struct\ndef run(t): os.write(4, struct.pack('<2d', 1, float('inf')))",
}


@pytest.mark.parametrize("source", WRONG.values(), ids=WRONG.keys())
def test_anything_else_is_no_result(sandbox: Sandbox, source: str) -> None:
    assert _inside(sandbox, source) == [None]


def test_two_finite_numbers_are_a_result(sandbox: Sandbox) -> None:
    """So that the refusals above have a reason of their own."""
    assert _inside(sandbox, HONEST) == [(1.5, -2.0)]


PATCHES = {
    "packing": "import struct\nstruct.pack = lambda *a: b'x' * 999",
    "finiteness": "import math\nmath.isfinite = lambda value: True",
    "writing": "import os\nwrite = os.write\nos.write = lambda fd, data: write(fd, bytes(data) * 7)",
    "floats": "import builtins\nbuiltins.float = str",
    "length": "import builtins\nbuiltins.len = lambda what: 2",
    "the harness": "import sys\nharness = sys.modules['enclave_sim.sandbox.harness']\n"
    "harness._write = lambda packed: [os.write(4, b'rows' * 100) for os in [harness.os]]",
}


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES.keys())
def test_a_patched_harness_gains_nothing(sandbox: Sandbox, patch: str) -> None:
    """The program returns NaN and one number too many, and makes the harness blind to it: the host is not."""
    result = _inside(
        sandbox, f"{patch}\ndef run(tables): return [not_a_number, 2, 3]\nimport numpy\nnot_a_number = numpy.nan"
    )
    assert result == [None]
    assert _inside(sandbox, HONEST) == [(1.5, -2.0)]


def test_a_patched_harness_may_give_what_the_program_may_give(sandbox: Sandbox) -> None:
    """It writes to the descriptor itself: two finite numbers are what it was allowed anyway."""
    source = "import os, struct\ndef run(t): os.write(4, struct.pack('<2d', 3, 4)); os._exit(9)"
    assert _inside(sandbox, source) == [(3.0, 4.0)]


def test_what_is_printed_goes_nowhere(sandbox: Sandbox) -> None:
    """Not even to the host's own output: by Python, by C, by descriptor."""
    source = """
import ctypes, os, sys
def run(tables):
    print("canary-out")
    print("canary-err", file=sys.stderr)
    ctypes.CDLL(None).puts(b"canary-c")
    ctypes.CDLL(None).fflush(None)
    for descriptor in (0, 1, 2):
        try: os.write(descriptor, b"canary-fd")
        except OSError: pass
    return [1.5, -2]
"""
    outside = subprocess.run([sys.executable, "-c", source + "run({})"], capture_output=True, check=True, text=True)
    seen = outside.stdout + outside.stderr
    assert all(mark in seen for mark in ("canary-out", "canary-err", "canary-c", "canary-fd"))

    output, its_end = os.pipe()
    kept = os.dup(1), os.dup(2)
    try:
        os.dup2(its_end, 1)
        os.dup2(its_end, 2)
        result = _inside(sandbox, source)
    finally:
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for descriptor in (*kept, its_end):
            os.close(descriptor)
    with os.fdopen(output, "rb") as read:
        assert b"canary" not in read.read()
    assert result == [(1.5, -2.0)]


def test_exit_codes_and_errors_look_alike(sandbox: Sandbox) -> None:
    """Each block ends in another way; what is returned does not say in which."""
    ways = ["os._exit(0)", "os._exit(7)", "os.abort()", "1 / 0", "return [1]", "ctypes.string_at(0)"]
    source = "import ctypes, os\ndef run(tables):\n    way = sorted(tables)[0]\n"
    for number, way in enumerate(ways):
        source += f"    if way == 't{number}': {way}\n"
    blocks = [_named(f"t{number}") for number in range(len(ways))]
    assert list(sandbox.run(source.encode(), blocks, 2, slots=False)) == [None] * len(ways)
    assert still_works(sandbox)


def test_every_bit_that_leaves_is_in_the_numbers(sandbox: Sandbox) -> None:
    """Finite floats pass bit for bit, the smallest and the largest too: to bound them is the caller's part."""
    values = (5e-324, -0.0)
    (result,) = _inside(sandbox, f"def run(tables): return {list(values)}")
    assert result is not None
    assert struct.pack("<2d", *result) == struct.pack("<2d", *values)
    assert _inside(sandbox, f"def run(tables): return [{sys.float_info.max!r}, 0]") == [(sys.float_info.max, 0.0)]
    assert math.isfinite(sys.float_info.max)


def _inside(sandbox: Sandbox, source: str) -> list[tuple[float, ...] | None]:
    program = source.encode(errors="surrogateescape")
    return list(sandbox.run(program, [NO_TABLES], 2, slots=False))


def _named(name: str) -> bytes:
    import pyarrow as pa

    from enclave_sim.sandbox.blocks import pack_tables

    return pack_tables({name: pa.table({"x": [1.0]})})
