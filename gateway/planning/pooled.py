"""Questions that group the same rows by different keys, in one plan: each measures a marginal of one table.

`GROUP BY a`, `GROUP BY b` and `GROUP BY a, b` of the same rows are marginals of the table by a and b, and what one says
of the others makes all of them more exact (`yingbi.api.marginals`). For that a row has to be in the table whatever
keys it has: `GROUP BY a` counts those whose b is NULL, or not listed. So every key gets one more value, the rest,
which stands for them; a question by that key does not show it, and totals over it have it.

The table is not measured itself, but where a question is by all keys; what is added up is never more than what each
question measures alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from yingbi.api import marginals
from yingbi.api.marginals import Keys
from yingbi.api.v1.plan_pb2 import (
    Conditional,
    Expression,
    GroupingSet,
    GroupKey,
    Membership,
    Output,
    Plan,
    Value,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.expressions import MAX_NODES
from enclave_sim.plan.relations import max_rows_bound
from enclave_sim.plan.size import check_size
from enclave_sim.plan.validation import MAX_GROUPS
from gateway.planning.asked import Asked
from gateway.planning.marginals import LEAST_GAIN, MAX_MARGINAL_KEYS, MAX_WORK, has_marginals
from gateway.planning.plan_measures import formulas_of


@dataclass(frozen=True)
class Pool:
    """The keys of several questions."""

    keys: tuple[GroupKey, ...]
    """As the questions have them, each once."""

    @classmethod
    def of(cls, drafts: Sequence[Plan]) -> Pool:
        """All keys of some drafts."""
        found: list[GroupKey] = []
        for draft in drafts:
            found += [key for key in draft.group_by if key not in found]
        return cls(tuple(found))

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values each key has, with the rest."""
        return tuple(len(key.values) + 1 for key in self.keys)

    @property
    def is_small(self) -> bool:
        """Whether a plan holds the table by all keys, and there are not too many of them."""
        return len(self.keys) <= MAX_MARGINAL_KEYS and prod(self.sizes) <= MAX_GROUPS

    def places(self, draft: Plan) -> Keys:
        """Where the keys of a draft are here: ascending, or its rows would come in another order."""
        return tuple(self.keys.index(key) for key in draft.group_by)

    def gains(self, questions: Sequence[Keys], tables: int) -> bool:
        """Whether the variances of questions by these keys, which are alike, become less on average.

        Args:
            tables: how many are measured.
        """
        weights = {keys: float(questions.count(keys)) for keys in questions}
        if marginals.work(self.sizes, tuple(weights), tuple(weights)) * tables > MAX_WORK:
            return False
        ratios = [marginals.variance(self.sizes, weights, keys) * weights[keys] for keys in questions]
        return sum(ratios) <= len(ratios) * (1 - LEAST_GAIN)

    def draft(self, draft: Plan) -> Plan:
        """The draft of a question as one by the keys of the pool; its outputs and presentation are as they were."""
        places = self.places(draft)
        found = Plan()
        found.CopyFrom(draft)
        found.ClearField("group_by")
        found.group_by.extend(map(_with_rest, self.keys))
        found.grouping_sets.add(keys=places)
        found.clipping.max_groups = 1
        if len(places) < len(self.keys):
            for statistic in found.statistics:
                statistic.marginal.CopyFrom(GroupingSet(keys=places))
        return found

    def output(self, output: Output, draft: Plan) -> Output:
        """A column of the question that a draft is of, by the keys of the pool."""
        if not output.HasField("key"):
            return output
        own = draft.group_by[output.key]
        # The rest is not shown, whatever it is called.
        return Output(name=output.name, key=self.keys.index(own), labels=[*own.values, own.values[-1]])


def pool_subject(draft: Plan, asked: Asked) -> bytes | None:
    """What questions that can be pooled have in common; None for one that cannot.

    As for totals (`marginals`), a unit has to count alike in all marginals: because no unit has more rows than are
    counted in full, or because it has one value of every key.
    """
    plain = not draft.grouping_sets and all(map(has_marginals, draft.statistics)) and not draft.clipping.joint_norm
    has_window = any(formula.HasField("window") for formula in formulas_of(draft))
    if not plain or has_window or any(output.labels for output in draft.outputs):
        return None
    if not all(map(_is_short, draft.group_by)):
        return None
    bound = draft.clipping.max_rows
    in_full = bound == 1 or max_rows_bound(draft.relation) <= bound
    if not in_full and not all(asked.scope.is_constant(key.expression) for key in draft.group_by):
        return None
    common = Plan(relation=draft.relation)
    common.clipping.max_rows = bound
    return common.SerializeToString(deterministic=True)


def _is_short(key: GroupKey) -> bool:
    """Whether a plan holds the key with a rest."""
    try:
        check_size(_with_rest(key).expression, "key", max_parts=MAX_NODES)
    except PlanError:
        return False
    return True


def _with_rest(key: GroupKey) -> GroupKey:
    """The key by the numbers of its values, and one more for all other rows."""
    branches = [
        Conditional.Branch(
            condition=Expression(membership=Membership(operand=key.expression, values=[value])), result=_number(number)
        )
        for number, value in enumerate(key.values)
    ]
    numbered = Conditional(branches=branches, otherwise=_number(len(branches)))
    values = [Value(int64_value=number) for number in range(len(branches) + 1)]
    return GroupKey(expression=Expression(conditional=numbered), values=values, rest=True)


def _number(number: int) -> Expression:
    return Expression(literal=Value(int64_value=number))
