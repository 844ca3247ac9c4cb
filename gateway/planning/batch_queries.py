"""The queries of a batch, each understood, and drafted as if it were asked alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.job_pb2 import LookUpTable
from yingbi.api.v1.plan_pb2 import Plan

from gateway.planning.asked import Asked, read_question, refuse_units
from gateway.planning.distinct import with_counted_key
from gateway.planning.marginals import measure_totals
from gateway.planning.pooled import Pool, pool_subject
from gateway.planning.query import (
    Setting,
    checked,
    draft_of,
    priced,
)
from gateway.planning.shared_ranges import SharedRanges
from gateway.planning.sources import names_in
from gateway.planning.sql import parse_select

_ROWS = ("with_", "from_", "joins", "where")


@dataclass(frozen=True)
class ReadQuery:
    """A query that was understood, and its draft, which is planned for it alone."""

    index: int
    sql: str
    asked: Asked
    draft: Plan
    tables: Mapping[str, LookUpTable]
    """Public ones, by name."""
    pool: Pool | None = None
    """Whose keys the draft has."""
    alone: ReadQuery | None = None
    """The same without a pool, and without shared ranges."""
    ranges: SharedRanges | None = None
    """Which its plan is made of, where its counts share them with other queries."""

    @property
    def by_itself(self) -> ReadQuery:
        """The same, put together with no other."""
        return self.alone or self

    @cached_property
    def pool_subject(self) -> bytes | None:
        """What queries that can be pooled have in common."""
        return pool_subject(self.draft, self.asked)

    @cached_property
    def subject(self) -> bytes:
        """What queries of one plan have in common: rows, groups and clipping."""
        common = Plan(relation=self.draft.relation, group_by=self.draft.group_by, clipping=self.draft.clipping)
        return common.SerializeToString(deterministic=True)


@contextmanager
def naming(index: int) -> Iterator[None]:
    """Say in a problem which query has it."""
    try:
        yield
    except Problem as problem:
        number = index + 1
        raise replace(
            problem,
            message=f"Question {number}: {problem.message}",
            details={**problem.details, "question": str(number)},
        ) from problem


def read_query(
    index: int, sql: str, setting: Setting, tables: Mapping[str, LookUpTable], mentioned: Collection[str] = ()
) -> ReadQuery:
    """Understand query number `index`, counted from 0; of joined tables it keeps `mentioned` columns too.

    Raises:
        Problem: as `plan_question`, naming the query; REFUSED "first_stage_in_batch".
    """
    with naming(index):
        asked = with_counted_key(read_question(parse_select(sql), setting.declaration, tables, mentioned))
        refuse_units(asked, setting.parties)
        _refuse_first_stage(asked)
        draft = draft_of(asked, setting)
        measure_totals(draft, asked)
        return ReadQuery(index, sql, asked, draft, tables)


def _refuse_first_stage(asked: Asked) -> None:
    unknown = asked.selection.keys.unknown
    if unknown:
        names = " and ".join(term.label for term in unknown)
        raise asked.scope.source.refuse(
            "first_stage_in_batch",
            f"Values of {names} are not declared, so they are selected in a first stage, and a batch has none.",
            at=asked.select.args.get("group"),
            hint="Ask this question by itself, or group by columns with declared values.",
        )


def refuse_alone(read: ReadQuery, share: int, setting: Setting) -> None:
    """Refuse a query that could not be asked alone at its part of ρ: a shared plan only helps."""
    with naming(read.index):
        alone = Plan()
        alone.CopyFrom(read.draft)
        checked(priced(alone, share, setting), setting)


def alike(read: Sequence[ReadQuery], setting: Setting) -> list[ReadQuery]:
    """The same, those about the same rows in words about the same rows in the plan.

    Of a joined table a plan keeps the columns that the query names; here it keeps those that any of them names.
    """
    by_words: dict[str, list[ReadQuery]] = {}
    for each in read:
        by_words.setdefault(_words(each.asked.select), []).append(each)
    found = {each.index: again for same in by_words.values() for each, again in _same_rows(same, setting)}
    return [found[each.index] for each in read]


def _same_rows(read: Sequence[ReadQuery], setting: Setting) -> Iterator[tuple[ReadQuery, ReadQuery]]:
    relations = {each.draft.relation.SerializeToString(deterministic=True) for each in read}
    names = {name for each in read for name in names_in(each.asked.select)}
    for each in read:
        again = each
        if len(relations) > 1:
            # More columns may be more than a plan holds: then each keeps its own.
            with suppress(Problem):
                again = read_query(each.index, each.sql, setting, each.tables, names)
        yield each, again


def _words(select: exp.Select) -> str:
    """What a query says of its rows."""
    parts = (select.args.get(name) for name in _ROWS)
    lists = (part if isinstance(part, list) else [part] for part in parts)
    return "\n".join(";".join(each.sql("duckdb", comments=False) if each else "" for each in part) for part in lists)
