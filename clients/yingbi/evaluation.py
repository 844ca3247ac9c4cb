"""A model of one's own, evaluated on rows that nobody sees.

The file goes to each provider's enclave encrypted, after its evidence was verified; the gateway has its hash alone. It
is checked here before anything is asked, and by every enclave before anything is charged: `yingbi.api.models.check`.
"""

from __future__ import annotations

import datetime
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from yingbi.api.models.check import CheckedModel, check_model, refused
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import EvaluateQuery, SealedProgram
from yingbi.api.v1.job_pb2 import Query as QueryMessage
from yingbi.api.v1.plan_pb2 import Evaluation as Told
from yingbi.api.v1.plan_pb2 import Plan, Value
from yingbi.display import cell_text
from yingbi.jobs import Answer, Job, Progress
from yingbi.mock import mock_tables
from yingbi.programs import sealed_for
from yingbi.quality import Group, Quality, groups_of, quality_of
from yingbi.query import Preview, Query, not_what_was_asked

TASKS = {
    "binary": Told.TASK_BINARY,
    "multiclass": Told.TASK_MULTICLASS,
    "regression": Told.TASK_REGRESSION,
}
MOCK_ROWS = 1000


@dataclass(frozen=True)
class Evaluation(Query):
    """A model to evaluate on one dataset, not asked yet. `sql` is empty."""

    file: bytes = field(default=b"", repr=False)
    asked: EvaluateQuery = field(default_factory=EvaluateQuery, hash=False)
    declaration: DatasetDeclaration | None = field(default=None, repr=False, compare=False)

    @property
    def sha256(self) -> bytes:
        """What the plan names the model by."""
        return hashlib.sha256(self.file).digest()

    def run(
        self,
        epsilon: float,
        delta: float | None = None,
        *,
        request_id: str | None = None,
        wait: bool = True,
        progress: Progress | bool | None = None,
    ) -> ModelQuality:
        """Evaluate, and wait for what comes of it; see `Query.run`."""
        return quality_answer(super().run(epsilon, delta, request_id=request_id, wait=wait, progress=progress))

    def mock(
        self,
        epsilon: float,
        *,
        rows: int = MOCK_ROWS,
        seed: int | None = None,
        frame: Mapping[str, Sequence[Any]] | None = None,
    ) -> Quality:
        """The same on made-up rows, with noise as large as the real one's: nothing of the zone's data.

        Runs the model here, which needs onnxruntime.

        Args:
            rows: of each table.
            frame: rows of your own in their place, each a person's one row, with the inputs, the response and the
                groups as columns, as they were written.

        Raises:
            Problem: as `preview`; REFUSED "mock", where the rows are said in SQL, or onnxruntime is not installed.
        """
        from yingbi.evaluation_mock import mocked

        assert self.declaration is not None
        plan = self.preview(epsilon).plan
        if frame is None:
            if self.asked.rows or self.asked.where:
                raise no_mock("rows and where are SQL")
            frame = _frame(self.declaration, rows, seed)
        opened = mocked(plan, self.asked, self.file, frame)
        # No privacy rests on it.
        drawn = random.Random(seed)  # noqa: S311
        return quality_of(plan, noised(plan, opened, drawn))

    def _message(self, epsilon: float, delta: float | None) -> QueryMessage:
        message = super()._message(epsilon, delta)
        message.evaluate.CopyFrom(self.asked)
        return message

    def _preview(self, question: QueryMessage, first: Job | None = None) -> Preview:
        preview = super()._preview(question, first)
        _check_plan(preview.plan, question.evaluate)
        return preview

    def _programs(self, preview: Preview) -> Sequence[SealedProgram]:
        """Sealed to the enclaves that hold the key, which are asked for evidence first."""
        return sealed_for(preview, self.gateway, self.file)


@dataclass(frozen=True)
class ModelQuality(Answer):
    """How good a model is. Its table has every measure of every group, recomputed from the receipt's opened integers.

    ± is the standard error of noise and sampling together.
    """

    @cached_property
    def quality(self) -> Quality:
        """The measures by themselves, with curves."""
        return quality_of(self.plan, self.receipt.dossier.body.opened)

    @property
    def everybody(self) -> Group:
        """The measures of all rows together."""
        return self.quality.everybody

    @property
    def groups(self) -> tuple[Group, ...]:
        """Everybody, then each value of each key."""
        return self.quality.groups

    @property
    def model_sha256(self) -> str:
        """Of the file that was evaluated, in hexadecimal."""
        return self.plan.evaluation.model.sha256.hex()

    @property
    def words(self) -> list[str]:
        """What was evaluated, in some sentences."""
        told = self.plan.evaluation
        about = {
            Told.TASK_BINARY: f"a score in the upper half of [{told.lower:g}, {told.upper:g}] says that it is so",
            Told.TASK_MULTICLASS: "of several classes the one with the largest number is predicted",
        }.get(told.task, f"errors beyond ±{told.error:g} count as that")
        return [about, f"model {self.model_sha256}"]

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {
            "model": self.model_sha256,
            "groups": [group.to_json() for group in self.groups],
        }

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *self.words])


def quality_answer(answer: Answer) -> ModelQuality:
    """What an answer says of a model; BAD_EVIDENCE where its plan evaluates none."""
    if not isinstance(answer, ModelQuality):
        raise not_what_was_asked("evaluates no model")
    return answer


def evaluate_query(
    file: bytes,
    *,
    inputs: str | Sequence[str],
    response: str,
    task: str,
    by: str | Sequence[str] = (),
    rows: str = "",
    where: str = "",
    output: str | None = None,
    classes: Sequence[bool | int | str | datetime.date] = (),
    scores: tuple[float, float] | None = None,
    largest_error: float | None = None,
    bins: int | None = None,
    keep_nulls: bool = False,
) -> EvaluateQuery:
    """What is asked of a model's file, which is checked.

    Raises:
        Problem: REFUSED "model", where its prediction of a row may depend on others, or it has other inputs or outputs
            than are named; MALFORMED "task".
    """
    if task not in TASKS:
        raise Problem(
            Kind.MALFORMED, "task", f"There is no task {task!r}.", field="task", hint="binary, multiclass or regression"
        )
    checked = check_model(file)
    name = _output_of(checked, output, task)
    listed = inputs if isinstance(inputs, str) else ", ".join(inputs)
    _check_inputs(checked, inputs)
    query = EvaluateQuery(
        sha256=hashlib.sha256(file).digest(),
        task=TASKS[task],
        inputs=listed,
        response=response,
        by=by if isinstance(by, str) else ", ".join(by),
        rows=rows,
        where=where,
        output=name,
        width=checked.outputs[name],
        classes=[_value(each) for each in classes],
        error=largest_error,
        bins=bins,
        keep_nulls=keep_nulls,
    )
    if scores is not None:
        query.lower, query.upper = scores
    return query


def _check_inputs(checked: CheckedModel, inputs: str | Sequence[str]) -> None:
    if isinstance(inputs, str):
        return
    if len(inputs) != checked.width:
        named = ", ".join(f"{each.name} ({each.width})" for each in checked.inputs)
        raise refused(f"it takes {checked.width} numbers of a row ({named}), and {len(inputs)} are given")


def _output_of(checked: CheckedModel, output: str | None, task: str) -> str:
    if output is not None:
        if output not in checked.outputs:
            raise refused(f"it has no output {output!r} of numbers", hint=f"it has {', '.join(checked.outputs)}")
        return output
    fitting = {"binary": (1, 2), "regression": (1,)}.get(task)
    found = [name for name, width in checked.outputs.items() if (width in fitting if fitting else width > 1)]
    if len(found) != 1:
        what = "several outputs fit" if found else "none of its outputs fits"
        has = ", ".join(f"{name} ({width})" for name, width in checked.outputs.items())
        raise refused(f"{what} the task {task}", hint=f"name one with output=; it has {has}")
    return found[0]


def _value(value: bool | int | str | datetime.date) -> Value:
    match value:
        case bool():
            return Value(bool_value=value)
        case int():
            return Value(int64_value=value)
        case str():
            return Value(string_value=value)
        case datetime.date() if not isinstance(value, datetime.datetime):
            return Value(date_days=(value - datetime.date(1970, 1, 1)).days)
        case _:
            raise Problem(Kind.MALFORMED, "classes", f"{value!r} cannot be a class.", field="classes")


def read_model(model: str | Path | bytes) -> bytes:
    """A model's file, unless it is given; MALFORMED "file"."""
    if isinstance(model, bytes):
        return model
    try:
        return Path(model).read_bytes()
    except OSError as error:
        message = f"Cannot read {str(model)!r}: {error.strerror}."
        raise Problem(Kind.MALFORMED, "file", message, field="model") from error


def _check_plan(plan: Plan, asked: EvaluateQuery) -> None:
    """The plan evaluates this model and no other, for what was asked."""
    told = plan.evaluation
    if not plan.HasField("evaluation") or told.model.sha256 != asked.sha256:
        raise not_what_was_asked("evaluates another model")
    if (told.task, told.response, told.model.output) != (asked.task, asked.response, asked.output):
        raise not_what_was_asked("evaluates it for another task")
    if bool(told.by) != bool(asked.by.strip()):
        raise not_what_was_asked("has other groups")
    if asked.classes and list(told.classes) != list(asked.classes):
        raise not_what_was_asked("has other classes")
    bounds = (asked.lower, asked.upper) if asked.HasField("lower") else (0.0, 1.0)
    if told.task != Told.TASK_REGRESSION and (told.lower, told.upper) != bounds:
        raise not_what_was_asked("has scores between other numbers")
    if asked.HasField("error") and told.error != asked.error:
        raise not_what_was_asked("has another largest error")


def noised(plan: Plan, opened: Sequence[float], drawn: random.Random) -> list[int]:
    """Exact cells, in grid steps, with noise like that of all providers."""
    sigmas = [
        statistic.sigma
        for statistic in plan.statistics
        for _ in range(statistic.range_counts.branching or groups_of(plan))
    ]
    parties = plan.noise.parties**0.5
    return [round(value + drawn.gauss(0.0, sigma * parties)) for value, sigma in zip(opened, sigmas, strict=True)]


def _frame(declaration: DatasetDeclaration, rows: int, seed: int | None) -> dict[str, list[Any]]:
    """Made-up rows of the table that has the names; several are laid side by side, row by row."""
    columns: dict[str, list[Any]] = {}
    for table in mock_tables(declaration, rows, seed):
        for place, name in enumerate(table.header):
            columns.setdefault(name, [row[place] for row in table.rows])
    return columns


def no_mock(why: str) -> Problem:
    """The problem with what cannot be tried on made-up rows."""
    return Problem(
        Kind.REFUSED,
        "mock",
        f"This cannot be tried on made-up rows here: {why}.",
        field="mock",
        hint="pass a frame of rows of your own, with the inputs, the response and the groups as columns",
    )


def summary(quality: Quality) -> list[list[str]]:
    """Group, measure and number, for showing."""
    return [
        [group.name, name, "–" if each.value is None else cell_text(each.value, each.std_error)]
        for group in quality.groups
        for name, each in group.measures.items()
    ]
