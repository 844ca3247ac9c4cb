# mypy: ignore-errors
"""What every script shares: it reads its task, times the steps on as many numbers as fit its time, writes the figures.

Runs in the library's own environment: nothing here may need more than Python itself.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_FIRST = 16
_REPEATS = 3


def run(
    packages: Sequence[str],
    prepare: Callable[[SimpleNamespace], Any],
    codec: Callable[[Any, SimpleNamespace], SimpleNamespace],
) -> None:
    """Time the task of `argv[1]` and write to `argv[2]` what came out.

    `prepare(task)` makes a key, untimed. `codec(key, task)` has `encrypt(numbers)`, `add(vectors)`, `wire(vector)` in
    bytes, `part(vector)`, one node's part of opening, `others(vector)`, what the other nodes give, and
    `open(vector, part, others)`, the rest of opening, which gives integers. A library without shares does all of it
    in `open`, and its `part` is None.
    """
    task = SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text()))
    steps = codec(prepare(task), task)
    result = {"versions": {package: metadata.version(package) for package in packages}, "runs": {}}
    for name, numbers in (("packed", task.packed), ("unpacked", task.values)):
        result["runs"][name] = _measured(steps, [int(number) for number in numbers], task)
        Path(sys.argv[2]).write_text(json.dumps(result))


def _measured(steps: SimpleNamespace, numbers: list[int], task: SimpleNamespace) -> dict[str, Any]:
    """Seconds a number of each step, on the wall and of all cores, the fastest of three; and on how many numbers."""
    # What is made once and kept is made now.
    steps.encrypt(numbers[:_FIRST])
    _, (_, processor) = _timed(steps.encrypt, numbers[:_FIRST])
    count = max(_FIRST, min(len(numbers), int(task.seconds * _FIRST / processor)))
    numbers = numbers[:count]
    vector, encrypt = _fastest(steps.encrypt, numbers)
    total, add = _fastest(steps.add, [vector] * task.parties)
    part, part_time = _fastest(steps.part, total) if steps.part else (None, None)
    others = steps.others(total) if steps.part else None
    opened, open_time = _fastest(steps.open, total, part, others)
    if list(opened) != [task.parties * number for number in numbers]:
        raise SystemExit("what was opened is not the sum")
    times = {"encrypt": encrypt, "add": add, "part": part_time, "open": open_time}
    each = {step: [time / count for time in found] for step, found in times.items() if found}
    return {"count": count, "wire": steps.wire(vector) / count, **each}


def _fastest(step: Callable[..., Any], *arguments: Any) -> tuple[Any, list[float]]:
    runs = [_timed(step, *arguments) for _ in range(_REPEATS)]
    return runs[0][0], [min(times[place] for _, times in runs) for place in (0, 1)]


def _timed(step: Callable[..., Any], *arguments: Any) -> tuple[Any, tuple[float, float]]:
    wall, processor = time.perf_counter(), time.process_time()
    result = step(*arguments)
    return result, (time.perf_counter() - wall, time.process_time() - processor)
