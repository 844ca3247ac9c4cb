"""What whoever decides about a job is told beside its numbers: sentences from public facts. Pure.

Nothing here decides anything, and nothing here sees data: a flag follows from plans, from who asked them, and from the
ledger. That two questions are alike is found by their plans, whatever their SQL looks like: same tables, and conditions
of which at most one is another. Two such answers, subtracted, tell of the few people between them; noise covers it as
the budget says, and a person may want to know.

Keeps: APP-04
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf.message import Message
from yingbi.api import digests
from yingbi.api.v1.job_pb2 import Flag
from yingbi.api.v1.plan_pb2 import Expression, Plan

from enclave_sim.plan.relations import scans
from gateway.planning.declared import columns_in

NOTICE, WARNING = "notice", "warning"
SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "budget_over": "The dataset's budget does not hold this: approving it would end in a refusal.",
        "budget_after": "After this {share} of everybody's budget is spent for good.",
        "similar_near": "Earlier jobs that asked the same with one condition more, less or changed: {count}, of"
        " {organisations}. The difference of two such answers is about the people between them.",
        "similar_same": "Earlier jobs that asked the same: {count}, of {organisations}. Answers of one question,"
        " averaged, have less noise than each.",
        "columns_together": "{count} columns together make the groups: {columns}. Few people share all of them.",
        "first_of_dataset": "{organisation} asks this dataset for the first time.",
        "first_of_kind": "{organisation} has not asked a question of this kind yet.",
        "volume": "{organisation} asked {today} times within a day; usual is {usual}.",
        "simulated": "The enclaves are simulated: no hardware keeps these {nodes} nodes' operators from the rows in"
        " use.",
    }
)
"""What flags say, each with its parts; who shows them in another language has the parts too."""
MANY_COLUMNS = 4
"""Columns that group or select rows, from which on together they may single people out."""
MOST_SHOWN = 10
A_DAY = 86_400.0
USUAL_DAYS = 28
UNUSUAL, LEAST_UNUSUAL = 4, 10
"""A day's jobs are unusually many from this multiple of the usual number on, and from this number on."""


@dataclass(frozen=True)
class Likeness:
    """What of a plan tells whether another one asks nearly the same."""

    tables: frozenset[str]
    conditions: frozenset[bytes]
    measured: bytes
    """A digest of what is computed over which groups; counts of rows and of values are one, since conditions decide
    which of the two a plan takes."""
    shape: bytes
    """A digest of the plan without its numbers: the kind of question."""
    selecting: frozenset[str]
    """Names of columns that group or select rows."""

    @classmethod
    def of(cls, plan: Plan) -> Likeness:
        """What is looked at of a plan. Constants are in its conditions alone."""
        found = list(_conditions(plan.relation))
        keys = [key.expression for key in plan.group_by]
        return cls(
            tables=scans(plan.relation) | {each.table for each in plan.program.tables},
            conditions=frozenset(each.SerializeToString(deterministic=True) for each in found),
            measured=_digest_of_words(
                plan.program.sha256.hex(),
                *sorted(_measured(plan)),
                "by",
                *sorted({" ".join(_words(key)) for key in keys}),
            ),
            shape=_digest_of_words(plan.program.sha256.hex(), *_words(plan)),
            selecting=frozenset(name for each in (*found, *keys) for name in columns_in(each)),
        )

    def differs_by(self, other: Likeness) -> int | None:
        """How many conditions one has and the other has not; None where they are about different things."""
        if not self.tables & other.tables or self.measured != other.measured:
            return None
        return len(self.conditions ^ other.conditions)


@dataclass(frozen=True)
class Earlier:
    """A job that was asked before, by anyone in the zone. `at` is in seconds since 1970."""

    job: str
    organisation: str
    at: float
    likeness: Likeness


@dataclass(frozen=True)
class Spending:
    """Of one account, in units of rho; and the job's price."""

    limit: int
    spent: int
    price: int


def flags_of(
    asked: Earlier, earlier: Sequence[Earlier], dataset: Spending, *, simulated: bool, nodes: int
) -> list[Flag]:
    """What there is to say of the job `asked`, warnings first.

    Args:
        asked: the job that waits.
        earlier: jobs on the same dataset that were asked before, without it.
        dataset: everybody's spending on the dataset.
        simulated: whether the zone's enclaves are.
        nodes: that compute it.
    """
    found = [
        *_budget(dataset),
        *_alike(asked, earlier),
        *_columns_together(asked.likeness),
        *_first_use(asked, earlier),
        *_volume(asked, earlier),
    ]
    if simulated:
        found.append(_flag("simulated", WARNING, "simulated", nodes=nodes))
    return sorted(found, key=lambda flag: flag.level != WARNING)


def _flag(code: str, level: str, sentence: str, jobs: Sequence[str] = (), **parts: object) -> Flag:
    said = {name: str(part) for name, part in parts.items()}
    text = SENTENCES[sentence].format(**said)
    return Flag(code=code, level=level, text=text, jobs=jobs[:MOST_SHOWN], sentence=sentence, parts=said)


def _budget(dataset: Spending) -> Iterator[Flag]:
    after = dataset.spent + dataset.price
    share = after / dataset.limit if dataset.limit else 1.0
    if after > dataset.limit:
        yield _flag("budget", WARNING, "budget_over")
    else:
        yield _flag("budget", WARNING if share >= 0.8 else NOTICE, "budget_after", share=f"{100 * share:.3g}%")


def _alike(asked: Earlier, earlier: Sequence[Earlier]) -> Iterator[Flag]:
    by_difference = [(asked.likeness.differs_by(each.likeness), each) for each in earlier]
    same = [each for difference, each in by_difference if difference == 0]
    near = [each for difference, each in by_difference if difference in (1, 2)]
    if near:
        yield _similar(WARNING, "similar_near", near)
    if same:
        yield _similar(NOTICE, "similar_same", same)


def _similar(level: str, sentence: str, found: Sequence[Earlier]) -> Flag:
    who = ", ".join(sorted({each.organisation for each in found}))
    return _flag("similar", level, sentence, [each.job for each in found], count=len(found), organisations=who)


def _columns_together(likeness: Likeness) -> Iterator[Flag]:
    if len(likeness.selecting) >= MANY_COLUMNS:
        names = ", ".join(sorted(likeness.selecting))
        yield _flag("sensitive_columns", WARNING, "columns_together", count=len(likeness.selecting), columns=names)


def _first_use(asked: Earlier, earlier: Sequence[Earlier]) -> Iterator[Flag]:
    own = [each for each in earlier if each.organisation == asked.organisation]
    if not own:
        yield _flag("first_use", NOTICE, "first_of_dataset", organisation=asked.organisation)
    elif all(each.likeness.shape != asked.likeness.shape for each in own):
        yield _flag("first_use", NOTICE, "first_of_kind", organisation=asked.organisation)


def _volume(asked: Earlier, earlier: Sequence[Earlier]) -> Iterator[Flag]:
    own = [asked.at - each.at for each in earlier if each.organisation == asked.organisation]
    today = sum(age < A_DAY for age in own) + 1
    usual = sum(A_DAY <= age < (USUAL_DAYS + 1) * A_DAY for age in own) / USUAL_DAYS
    if today >= max(LEAST_UNUSUAL, UNUSUAL * usual):
        yield _flag("volume", WARNING, "volume", organisation=asked.organisation, today=today, usual=f"{usual:.1f}")


def _conditions(message: Message) -> Iterator[Expression]:
    """What rows are selected by, each operand of AND by itself."""
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        parts = value if descriptor.is_repeated else [value]
        for part in parts:
            if descriptor.name in ("condition", "filter") and isinstance(part, Expression):
                yield from part.conjunction.operands if part.HasField("conjunction") else [part]
            else:
                yield from _conditions(part)


def _measured(plan: Plan) -> set[str]:
    """What is measured, each once: sums and ranges of which columns, and counts."""
    kinds = ((each, each.WhichOneof("kind") or "") for each in plan.statistics)
    return {
        "count" if kind in ("row_count", "non_null_count") else " ".join([kind, *sorted(set(columns_in(each)))])
        for each, kind in kinds
    }


def _digest_of_words(*words: str) -> bytes:
    return digests.digest("likeness", *(word.encode() for word in words))


def _words(message: Message) -> Iterator[str]:
    """The plan's fields and columns, without constants: values, bounds, prices."""
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        yield descriptor.name
        for part in value if descriptor.is_repeated else [value]:
            name = descriptor.message_type.name
            if name == "ColumnReference":
                yield part.name
            elif name not in ("Value", "Clipping", "Noise"):
                yield from _words(part)
