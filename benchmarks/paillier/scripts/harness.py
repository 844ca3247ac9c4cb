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
    """Seconds a number of each step, on the wall and of all cores; and on how many numbers they were taken."""

    def total(some: list[int]) -> Any:
        return steps.add([steps.encrypt(some)] * task.parties)

    # What is made once and kept is made now.
    sample = numbers[:_FIRST]
    steps.encrypt(sample)
    _, (_, processor) = _timed(steps.encrypt, sample)
    encrypted = numbers[: _fitting(processor, task.seconds)]
    vector, encrypt = _fastest(task, steps.encrypt, encrypted)
    _, add = _fastest(task, steps.add, [vector] * task.parties)
    opened = numbers[: _fitting(_opening_time(steps, total(sample)), task.seconds)]
    sums = total(opened)
    part, part_time = _fastest(task, steps.part, sums) if steps.part else (None, None)
    others = steps.others(sums) if steps.part else None
    found, open_time = _fastest(task, steps.open, sums, part, others)
    if list(found) != [task.parties * number for number in opened]:
        raise SystemExit("what was opened is not the sum")
    times = {"encrypt": (encrypt, encrypted), "add": (add, encrypted), "part": (part_time, opened)}
    times["open"] = (open_time, opened)
    each = {step: [time / len(some) for time in taken] for step, (taken, some) in times.items() if taken}
    return {"encrypted": len(encrypted), "opened": len(opened), "wire": steps.wire(vector) / len(encrypted), **each}


def _opening_time(steps: SimpleNamespace, total: Any) -> float:
    part, (_, of_part) = _timed(steps.part, total) if steps.part else (None, (0.0, 0.0))
    _, (_, of_rest) = _timed(steps.open, total, part, steps.others(total) if steps.part else None)
    return of_part + of_rest


def _fitting(seconds_of_first: float, seconds: float) -> int:
    return max(_FIRST, int(_FIRST * seconds / seconds_of_first))


def _fastest(task: SimpleNamespace, step: Callable[..., Any], *arguments: Any) -> tuple[Any, list[float]]:
    """Of three runs, or of as many as fit the time."""
    runs = [_timed(step, *arguments)]
    while len(runs) < _REPEATS and sum(processor for _, (_, processor) in runs) < task.seconds:
        runs.append(_timed(step, *arguments))
    return runs[0][0], [min(times[place] for _, times in runs) for place in (0, 1)]


def _timed(step: Callable[..., Any], *arguments: Any) -> tuple[Any, tuple[float, float]]:
    wall, processor = time.perf_counter(), time.process_time()
    result = step(*arguments)
    return result, (time.perf_counter() - wall, time.process_time() - processor)
