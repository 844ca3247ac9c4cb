"""Several queries planned together: those about the same rows and the same groups share one plan.

What two queries both need is then measured once, for both. Each of n queries brings an equal part of the batch's ρ
and lays it on the statistics that it would have alone, in the shares that it would give them; a statistic of a shared
plan has what all queries lay on it.

*Claim.* Every number of an answer has at most the variance that it has when its query is asked alone at its part of
ρ, for numbers that are linear in the cells exactly, for others to first order (rounding of σ to whole grid steps
aside).

*Proof.* A statistic's noise has a variance in inverse proportion to its share (`enclave_sim.privacy.gaussian`). Take
one query. A statistic that it would have alone is in the shared plan with at least the share that it has there, and
noises are independent. The one exception is a plain sum of x, cut to [c - h, c + h], where another query makes the
plan measure x by the sum A of (x - c)/h and the count N. Its share goes to A and N in the proportion h : |c|. Two
measurements of so many parts of the share, A' and N', make of hA' + cN' a number whose variance is

    h² / (h/(h + |c|)) + c² / (|c|/(h + |c|)) = (h + |c|)²

times that of one statistic at the whole share: just that of the plain sum, whose terms reach h + |c|. So a query's
numbers could be computed from independent measurements that cost what it brings, with the variances that it has
alone. The shared plan measures each statistic once, at the sum of the shares: as exactly as the mean, weighed by
inverse variances, of all the measurements laid on it, and by Gauss and Markov no unbiased linear estimator made of
them has a smaller variance. The same holds where totals are measured beside the finest groups (`marginals`): all
marginals that a query would have alone are in the shared plan with at least their shares, and numbers are the
least-squares estimates from all that are there. The formulas of an answer have the same linear parts, so the same
holds for them. ∎

Queries that group the same rows by different keys (`pooled`) are drafts by the keys of all of them, so the same proof
holds. Counts under different conditions (`shared_ranges`) are put on one statistic only where the variance of each,
which is exact, is not above that which it has alone.

Privacy needs none of this: enclaves check every plan and its price by themselves, and ρ adds up over plans.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from sqlglot import exp
from yingbi.api.marginals import Keys
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import plan_pb2
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import LookUpTable, View
from yingbi.api.v1.plan_pb2 import Formula, GroupingSet, NonNullCount, Output, Plan, RowCount, Statistic

from enclave_sim.plan.sensitivity import groups as count_groups
from enclave_sim.plan.sensitivity import total_rho_units
from gateway.planning.asked import Asked, read_question, refuse_units
from gateway.planning.distinct import set_thresholds, with_counted_key
from gateway.planning.marginals import by_all_keys, has_marginals, keys_of, measure, measure_totals
from gateway.planning.plan_measures import formulas_of
from gateway.planning.pooled import Pool, pool_subject
from gateway.planning.public_tables import check_tables
from gateway.planning.query import (
    Setting,
    bought_rho_units,
    checked,
    draft_of,
    output_of,
    presentation_of,
    priced,
    refuse_size,
    sized,
)
from gateway.planning.selection import Shown
from gateway.planning.shared_ranges import SharedRanges, range_subject, shared_ranges
from gateway.planning.sources import names_in
from gateway.planning.sql import parse_select
from gateway.planning.statistics import Chooser, set_prices, shares_of, too_little_epsilon
from gateway.planning.sums import bounded_sum

MAX_QUESTIONS = 32

MAX_SHARED_PARTS = 1_500_000
"""Groups times parts of formulas of a shared plan: whoever verifies its receipt computes them all."""

_QUANTILE_PARTS = 70
"""What reading a tree of counts comes to."""

_ROWS = ("with_", "from_", "joins", "where")


@dataclass(frozen=True)
class BatchQuestion:
    """Where one query's answer comes from."""

    plan: int
    """Which of the batch's plans measures it."""
    view: View
    """What is shown of that plan."""


@dataclass(frozen=True)
class Batch:
    """Queries, planned together."""

    plans: tuple[Plan, ...]
    questions: tuple[BatchQuestion, ...]
    """In the order asked."""

    @property
    def rho_units(self) -> int:
        """What all plans cost."""
        return sum(map(total_rho_units, self.plans))

    def asked_of(self, plan: int) -> list[int]:
        """Which queries a plan answers, by their places in the batch."""
        return [index for index, question in enumerate(self.questions) if question.plan == plan]


@dataclass(frozen=True)
class _Read:
    """A query that was understood, and its draft, which is planned for it alone."""

    index: int
    sql: str
    asked: Asked
    draft: Plan
    tables: Mapping[str, LookUpTable]
    """Public ones, by name."""
    pool: Pool | None = None
    """Whose keys the draft has."""
    alone: _Read | None = None
    """The same without a pool, and without shared ranges."""
    ranges: SharedRanges | None = None
    """Which its plan is made of, where its counts share them with other queries."""

    @cached_property
    def pool_subject(self) -> bytes | None:
        """What queries that can be pooled have in common."""
        return pool_subject(self.draft, self.asked)

    @cached_property
    def subject(self) -> bytes:
        """What queries of one plan have in common: rows, groups and clipping."""
        common = Plan(relation=self.draft.relation, group_by=self.draft.group_by, clipping=self.draft.clipping)
        return common.SerializeToString(deterministic=True)


def plan_batch(
    queries: Sequence[str],
    declaration: DatasetDeclaration,
    *,
    dataset_version: bytes,
    parties: int,
    epsilon: float,
    delta: float,
    lookups: Sequence[LookUpTable] = (),
) -> Batch:
    """The plans that together answer queries within (ε, δ).

    Args:
        queries: 1 to `MAX_QUESTIONS`, each as for `plan_question`. One that needs a first stage is refused.
        epsilon, delta: the whole batch's, which each plan states: its own part is smaller.
        lookups: public tables that any of the queries may join with.

    Returns:
        With plans that `enclave_sim.plan.validation.check_plan` accepts.

    Raises:
        Problem: as `plan_question`, the message beginning with "Question n: " and `details["question"]` n, counted
            from 1; MALFORMED "batch" for too few or too many queries; REFUSED "first_stage_in_batch".
    """
    if not 1 <= len(queries) <= MAX_QUESTIONS:
        raise Problem(
            Kind.MALFORMED,
            "batch",
            f"A batch has 1 to {MAX_QUESTIONS} questions, not {len(queries)}.",
            field="sql",
            hint="Ask in several batches." if queries else None,
        )
    setting = Setting(declaration, dataset_version, parties, epsilon, delta)
    bought = bought_rho_units(epsilon, delta)
    share = bought // len(queries)
    tables = check_tables(lookups, declaration)
    read = [_read(index, sql, setting, tables) for index, sql in enumerate(queries)]
    for each in read:
        _refuse_alone(each, share, setting)
    groups = _pooled(_ranged(_together(_alike(read, setting))))
    planned = [found for group in groups for found in _planned(group, share, setting)]
    questions = {
        each.index: BatchQuestion(number, view)
        for number, (group, _, views) in enumerate(planned)
        for each, view in zip(group, views, strict=True)
    }
    batch = Batch(tuple(plan for _, plan, _ in planned), tuple(questions[index] for index in range(len(queries))))
    if batch.rho_units > bought:  # the least that a statistic costs, too often
        raise too_little_epsilon()
    return batch


@contextmanager
def _naming(index: int) -> Iterator[None]:
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


def _read(
    index: int, sql: str, setting: Setting, tables: Mapping[str, LookUpTable], mentioned: Collection[str] = ()
) -> _Read:
    with _naming(index):
        asked = with_counted_key(read_question(parse_select(sql), setting.declaration, tables, mentioned))
        refuse_units(asked, setting.parties)
        _refuse_first_stage(asked)
        draft = draft_of(asked, setting)
        measure_totals(draft, asked)
        return _Read(index, sql, asked, draft, tables)


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


def _refuse_alone(read: _Read, share: int, setting: Setting) -> None:
    """Refuse a query that could not be asked alone at its part of ρ: a shared plan only helps."""
    with _naming(read.index):
        alone = Plan()
        alone.CopyFrom(read.draft)
        checked(priced(alone, share, setting), setting)


def _alike(read: Sequence[_Read], setting: Setting) -> list[_Read]:
    """The same, those about the same rows in words about the same rows in the plan.

    Of a joined table a plan keeps the columns that the query names; here it keeps those that any of them names.
    """
    by_words: dict[str, list[_Read]] = {}
    for each in read:
        by_words.setdefault(_words(each.asked.select), []).append(each)
    found = {each.index: again for same in by_words.values() for each, again in _same_rows(same, setting)}
    return [found[each.index] for each in read]


def _same_rows(read: Sequence[_Read], setting: Setting) -> Iterator[tuple[_Read, _Read]]:
    relations = {each.draft.relation.SerializeToString(deterministic=True) for each in read}
    names = {name for each in read for name in names_in(each.asked.select)}
    for each in read:
        again = each
        if len(relations) > 1:
            # More columns may be more than a plan holds: then each keeps its own.
            with suppress(Problem):
                again = _read(each.index, each.sql, setting, each.tables, names)
        yield each, again


def _words(select: exp.Select) -> str:
    """What a query says of its rows."""
    parts = (select.args.get(name) for name in _ROWS)
    lists = (part if isinstance(part, list) else [part] for part in parts)
    return "\n".join(";".join(each.sql("duckdb", comments=False) if each else "" for each in part) for part in lists)


def _together(read: Sequence[_Read]) -> list[list[_Read]]:
    """The queries by the plans that they share."""
    found: list[list[_Read]] = []
    for each in read:
        group = next((group for group in found if group[0].subject == each.subject and _fit([*group, each])), None)
        if group is None:
            found.append([each])
        else:
            group.append(each)
    return found


def _ranged(groups: Sequence[list[_Read]]) -> list[list[_Read]]:
    """The same, counts of ranges of one expression put together where that makes them more exact."""
    found = list(groups)
    subjects = {subject for group in groups for subject in [_range_subject(group)] if subject is not None}
    for subject in sorted(subjects):
        # Queries of one group measure what they share once already.
        alone = [group[0] for group in found if len(group) == 1 and _range_subject(group) == subject]
        while (shared := shared_ranges([read.draft for read in alone])) is not None:
            ranges, indexes = shared
            together = [replace(alone[index], ranges=ranges, alone=alone[index]) for index in indexes]
            numbers = {read.index for read in together}
            alone = [read for read in alone if read.index not in numbers]
            found = [*(group for group in found if group[0].index not in numbers), together]
    return sorted(found, key=lambda group: group[0].index)


def _range_subject(group: Sequence[_Read]) -> bytes | None:
    return range_subject(group[0].draft) if group[0].ranges is None else None


def _pooled(groups: Sequence[list[_Read]]) -> list[list[_Read]]:
    """The same, those about the same rows by different keys put together where that makes them more exact."""
    found: list[list[_Read]] = []
    waiting = list(groups)
    while waiting:
        group = waiting.pop(0)
        for other in waiting:
            both = _pool([*group, *other]) if _is_alike(group, other) else None
            if both is not None:
                # With more keys than before others may be of use.
                waiting = [both, *(each for each in [*found, *waiting] if each is not other)]
                found = []
                break
        else:
            found.append(group)
    return sorted(found, key=lambda group: min(read.index for read in group))


def _is_alike(one: Sequence[_Read], other: Sequence[_Read]) -> bool:
    subject = _pool_subject(one)
    return subject is not None and subject == _pool_subject(other)


def _pool_subject(group: Sequence[_Read]) -> bytes | None:
    if any(read.ranges for read in group):
        return None
    subjects = {read.pool_subject for read in map(_without_pool, group)}
    return subjects.pop() if len(subjects) == 1 else None


def _pool(group: Sequence[_Read]) -> list[_Read] | None:
    """The queries with the keys of all of them; None where that gains nothing, or is more than a plan holds."""
    alone = sorted(map(_without_pool, group), key=lambda read: read.index)
    pool = Pool.of([read.draft for read in alone])
    questions = [pool.places(read.draft) for read in alone]
    tables = sum(len(read.draft.statistics) for read in alone)
    in_order = all(list(places) == sorted(places) for places in questions)
    if not in_order or not pool.is_small or not pool.gains(questions, tables):
        return None
    pooled = [replace(read, draft=pool.draft(read.draft), pool=pool, alone=read) for read in alone]
    return pooled if _fit(pooled) else None


def _without_pool(read: _Read) -> _Read:
    return read.alone or read


def _fit(group: Sequence[_Read]) -> bool:
    try:
        draft, views = _shared(group)
        cells = count_groups(draft)
        refuse_size(draft, cells)
    except Problem:
        return False
    if any(each.HasField("marginal") for each in draft.statistics) and any(map(_has_window, views)):
        return False  # Windows need to know what the noises of different rows have in common.
    return cells * sum(_parts(output) for output in draft.outputs) <= MAX_SHARED_PARTS


def _has_window(view: View) -> bool:
    return any(formula.HasField("window") for formula in formulas_of(view))


def _parts(output: Output) -> int:
    """Measures, constants and operations of a column."""
    pending, count = [output.formula if output.HasField("formula") else Formula(measure=output.measure)], 0
    while pending:
        formula = pending.pop()
        count += _QUANTILE_PARTS if formula.measure.HasField("quantile") else 1
        pending += [*formula.operation.operands, *formula.window.operands]
        pending += [ordering.formula for ordering in formula.window.order_by]
    return count


def _shared(group: Sequence[_Read]) -> tuple[Plan, list[View]]:
    """The draft that answers all queries of a group, and what each of them shows of it."""
    if group[0].ranges is not None:
        plan, views = group[0].ranges.plan()
        plan.outputs.extend(_all_outputs(group, views))
        return plan, views
    plan = Plan()
    plan.CopyFrom(group[0].draft)
    if len(group) == 1 and group[0].pool is None:
        return plan, [View(outputs=plan.outputs, grouping_sets=plan.grouping_sets, presentation=_presentation(plan))]
    chooser = Chooser((found for each in group for found in each.asked.aggregates), count_groups(plan))
    views = [
        View(
            outputs=[_output(each, column, own) for column in each.asked.selection.shown],
            grouping_sets=each.draft.grouping_sets,
            presentation=presentation_of(each.asked.presentation, own),
        )
        for each in group
        for own in [chooser.asking(each.asked.aggregates)]
    ]
    for name in ("statistics", "outputs", "grouping_sets", "presentation"):
        plan.ClearField(name)
    plan.statistics.extend(chooser.statistics)
    plan.outputs.extend(_all_outputs(group, views))
    _measure_totals(plan, group)
    return plan, views


def _output(read: _Read, column: Shown, chooser: Chooser) -> Output:
    output = output_of(column, chooser)
    return output if read.pool is None else read.pool.output(output, _without_pool(read).draft)


def _measure_totals(plan: Plan, group: Sequence[_Read]) -> None:
    """Measure in a shared plan the marginals that its queries measure alone; all rows of its own follow from them.

    Raises:
        Problem: they are more than a plan holds, so the queries do not share one.
    """
    everything = tuple(range(len(plan.group_by)))
    chosen: dict[int, dict[Keys, None]] = {}
    for each in group:
        for statistic in filter(has_marginals, each.draft.statistics):
            for index, _ in _measured_by(by_all_keys(statistic), plan.statistics):
                chosen.setdefault(index, {})[keys_of(statistic, len(everything))] = None
    if all(list(keys) == [everything] for keys in chosen.values()):
        return
    if not measure(plan, {index: tuple(keys) for index, keys in chosen.items()}):
        raise Problem(Kind.REFUSED, "too_many_statistics", "The queries measure more marginals than a plan holds.")
    sets = {
        tuple(keys.keys): None for each in group for keys in each.draft.grouping_sets or [GroupingSet(keys=everything)]
    }
    covered = [keys for keys in dict.fromkeys(sets) if all(_covers(measured, keys) for measured in chosen.values())]
    plan.grouping_sets.extend(GroupingSet(keys=keys) for keys in covered or [()])


def _covers(measured: Iterable[Keys], keys: Keys) -> bool:
    return any(set(keys) <= set(each) for each in measured)


def _presentation(plan: Plan) -> plan_pb2.Presentation | None:
    return plan.presentation if plan.HasField("presentation") else None


def _all_outputs(group: Sequence[_Read], views: Sequence[View]) -> list[Output]:
    """Every column of all queries, once; named after the first query that has it, so that no two are called alike."""
    found: dict[bytes, Output] = {}
    for read, view in zip(group, views, strict=True):
        for output in view.outputs:
            named = Output()
            named.CopyFrom(output)
            named.ClearField("name")
            content = named.SerializeToString(deterministic=True)
            named.name = f"{read.index + 1}: {output.name}"
            found.setdefault(content, named)
    return list(found.values())


def _planned(group: Sequence[_Read], share: int, setting: Setting) -> list[tuple[Sequence[_Read], Plan, list[View]]]:
    """The plan of a group; or one for each query of it, where the shared one is more than a plan holds."""
    plan, views = _shared(group)
    drafts = [each.draft for each in group]
    shares = [share * len(group)] if group[0].ranges else _shares(plan.statistics, drafts, share)
    if not all(shares):
        # Queries that know different things of the same rows may need statistics that none of them has alone.
        return [planned for each in map(_without_pool, group) for planned in _planned([each], share, setting)]
    try:
        set_prices(plan, shares)
        set_thresholds(plan, plan)
        for view in views:
            set_thresholds(plan, view)
        return [(group, checked(sized(plan, setting), setting), views)]
    except Problem:
        if len(group) == 1 and group[0].alone is None:
            raise
        return [planned for each in map(_without_pool, group) for planned in _planned([each], share, setting)]


def _shares(shared: Sequence[Statistic], alone: Iterable[Plan], share: int) -> list[int]:
    """What each statistic of a shared plan has of the ρ of its queries: all that they lay on it."""
    totals = [Fraction(0)] * len(shared)
    for draft in alone:
        for statistic, part in zip(draft.statistics, shares_of(draft, share), strict=True):
            for index, fraction in _measured_by(statistic, shared):
                totals[index] += part * fraction
    return [math.floor(total) for total in totals]


def _measured_by(statistic: Statistic, shared: Sequence[Statistic]) -> list[tuple[int, Fraction]]:
    """Which statistics of a shared plan take the place of one, and which part of its share each of them has."""
    places = {each.SerializeToString(deterministic=True): index for index, each in enumerate(shared)}
    place = places.get(statistic.SerializeToString(deterministic=True))
    if place is not None:
        return [(place, Fraction(1))]
    # A plain sum that is derived from the centred one and the count.
    plain = statistic.bounded_sum
    centred = Statistic()
    centred.CopyFrom(statistic)
    centred.bounded_sum.CopyFrom(bounded_sum(plain.term, plain.lower, plain.upper, centred=True))
    counts = [Statistic(non_null_count=NonNullCount(term=plain.term)), Statistic(row_count=RowCount())]
    for each in counts:
        for name in ("filter", "marginal"):
            if statistic.HasField(name):
                getattr(each, name).CopyFrom(getattr(statistic, name))
    # Where x is never NULL, its count is that of the rows.
    found = [places.get(each.SerializeToString(deterministic=True)) for each in counts]
    count = next(place for place in found if place is not None)
    half, centre = Fraction(centred.bounded_sum.half_range), abs(Fraction(centred.bounded_sum.centre))
    return [
        (places[centred.SerializeToString(deterministic=True)], half / (half + centre)),
        (count, centre / (half + centre)),
    ]
