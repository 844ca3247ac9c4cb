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

from collections.abc import Sequence
from dataclasses import dataclass

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import LookUpTable, View
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.sensitivity import total_rho_units
from gateway.planning.batch_groups import pooled, ranged, together
from gateway.planning.batch_queries import ReadQuery, alike, read_query, refuse_alone
from gateway.planning.distinct import set_thresholds
from gateway.planning.public_tables import check_tables
from gateway.planning.query import (
    Setting,
    bought_rho_units,
    checked,
    sized,
)
from gateway.planning.shared_plan import shared_plan, shares_together
from gateway.planning.statistics import set_prices, too_little_epsilon

MAX_QUESTIONS = 32


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
    read = [read_query(index, sql, setting, tables) for index, sql in enumerate(queries)]
    for each in read:
        refuse_alone(each, share, setting)
    groups = pooled(ranged(together(alike(read, setting))))
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


def _planned(
    group: Sequence[ReadQuery], share: int, setting: Setting
) -> list[tuple[Sequence[ReadQuery], Plan, list[View]]]:
    """The plan of a group; or one for each query of it, where the shared one is more than a plan holds."""
    plan, views = shared_plan(group)
    drafts = [each.draft for each in group]
    shares = [share * len(group)] if group[0].ranges else shares_together(plan.statistics, drafts, share)
    if not all(shares):
        # Queries that know different things of the same rows may need statistics that none of them has alone.
        return [planned for each in group for planned in _planned([each.by_itself], share, setting)]
    try:
        set_prices(plan, shares)
        set_thresholds(plan, plan)
        for view in views:
            set_thresholds(plan, view)
        return [(group, checked(sized(plan, setting), setting), views)]
    except Problem:
        if len(group) == 1 and group[0].alone is None:
            raise
        return [planned for each in group for planned in _planned([each.by_itself], share, setting)]
