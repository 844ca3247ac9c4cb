"""Questions in two stages: what the first one selected, and whether the second follows from it. Pure.

A question whose group keys nobody declared, or whose clipping bound is to be found, has a first stage: a job of its
own, with a price and a receipt. Its enclaves sign which values they selected; the second stage's keys are those
values and no others.
"""

from __future__ import annotations

from collections.abc import Sequence

from yingbi.answer import to_python
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import Expression, Plan, Value
from yingbi.api.v1.receipt_pb2 import ContributionBody

REQUEST_SUFFIX = "/keys"
"""What the request id of a first stage ends in, after that of its question."""
_SECOND_STAGE_SHARE = 0.96
"""Of what a question's ε and δ buy, a second stage has 95 % at most; rounding of σ is in the rest."""


def is_first_stage(plan: Plan) -> bool:
    """Whether a plan selects keys or measures units, and so has no answer of its own."""
    return plan.HasField("key_selection") or any(part.HasField("unit_norms") for part in plan.statistics)


def may_be_second_stage(plan: Plan) -> bool:
    """Whether a plan leaves enough of its price for a first stage, which takes 5 % or more.

    A plan that charges (nearly) all that its ε and δ buy has none. One of much ε and little sensitivity may charge
    less without having had one.
    """
    try:
        whole = zcdp.bought(plan.epsilon, plan.delta)[0]
    except zcdp.BadPrivacyParameter:
        return False
    return not is_first_stage(plan) and rho_units(plan) <= _SECOND_STAGE_SHARE * whole


def rho_units(*plans: Plan) -> int:
    """What plans charge together, in 1 / `zcdp.RHO_UNITS`."""
    statistics = sum(statistic.rho_units for plan in plans for statistic in plan.statistics)
    return statistics + sum(plan.key_selection.rho_units for plan in plans)


def implied_epsilon(delta: float, *plans: Plan) -> float:
    """The ε that the charges of plans come to at δ, the part of it that key selection takes left out.

    Raises:
        ValueError: δ, or what is left of it, is none.
    """
    delta0 = sum(plan.key_selection.delta0_units for plan in plans)
    return zcdp.epsilon_of(rho_units(*plans), zcdp.delta_without(delta, delta0))


def check_selected(plan: Plan, contributions: Sequence[ContributionBody]) -> int:
    """The number of different combinations that contributions selected.

    Raises:
        ValueError: one has not a value for each key of the plan.
    """
    keys = len(plan.key_selection.keys)
    found = [combination for body in contributions for combination in body.selected_keys]
    if any(not keys or len(combination.values) != keys for combination in found):
        raise ValueError("selected keys are not those that the plan asks for")
    return len({combination.SerializeToString(deterministic=True) for combination in found})


def check_follows(second: Plan, first: Plan, contributions: Sequence[ContributionBody]) -> None:
    """Refuse a second stage that is not what follows from the first.

    Args:
        second: the plan to be paid for.
        first, contributions: from a receipt that verifies.

    Raises:
        Problem: BAD_EVIDENCE "stages_differ"; nothing was asked then.
    """
    if is_first_stage(second):
        raise _differ("is a first stage again")
    subject = (first.dataset, first.dataset_version, first.epsilon, first.delta, first.relation)
    if (second.dataset, second.dataset_version, second.epsilon, second.delta, second.relation) != subject:
        raise _differ("is about other data, or at another price, than the first")
    listed = {_bytes(key.expression): [_bytes(value) for value in key.values] for key in second.group_by}
    for index, expression in enumerate(first.key_selection.keys):
        found = [combination.values[index] for body in contributions for combination in body.selected_keys]
        selected = {_bytes(value) for value in found if _makes_a_group(value)}
        values = listed.get(_bytes(expression), [])
        if set(values) != selected or len(values) != len(selected):
            raise _differ("groups by other values than the enclaves selected")


def _makes_a_group(value: Value) -> bool:
    """NULL does not, nor a date that no calendar has."""
    try:
        return to_python(value) is not None
    except OverflowError:
        return False


def _bytes(message: Value | Expression) -> bytes:
    return message.SerializeToString(deterministic=True)


def _differ(what: str) -> Problem:
    return Problem(
        Kind.BAD_EVIDENCE,
        "stages_differ",
        f"The second stage that the gateway planned {what}. It was not asked.",
        hint="Tell the zone's operator.",
    )
