"""Templates: what is equal in all the plans that one standing approval lets run. Pure and total, for whoever signs
one, for the gateway and for the enclave.

A template is a plan in canonical form with these fields blanked, and no others:

| Kind | Blanked |
|---|---|
| rounds | of `fit.round` all but `rounds`, `objective`, hidden layers; the vectors, their σ, prices, slot width |
| constants | the constants of comparisons in filters whose position is declared, each within its range |

**Rounds.** A training has three phases: round 0, round 1 and the gradients. Their vectors are of different kinds, and
what they are cut to follows from releases that are not there when the first round is approved. So the template leaves
the vector out, and three rules take its place. Its kind is the phase's (`_KINDS`), and so is that of the score that a
step with an objective has beside it. Its terms are the columns of the
relation, which the template holds, each shifted and scaled by a constant at most (`_is_column`). And a phase has one
clipping bound, σ, price and shape: `phase_of` is the same for all rounds in it, which whoever counts uses compares.

**Constants.** Filters are the conditions of selections and what is called `filter`; a constant is an int64, float64,
date or timestamp that is itself a side of a comparison. `constants_of` lists them, in the order of the message's
fields. What makes keys, terms, bounds or texts is never blanked.

*Claim.* A plan that fits a template costs its people no more privacy than its stated price, whatever stands in the
blanked fields.

*Proof.* Nothing here is used in the place of a check. An enclave proves the sensitivity of each plan as it stands
(`enclave_sim.plan.sensitivity`), by its clipping bounds alone: neither constants of filters nor those of a model's
vector appear in it. From that and from σ it computes the price, refuses a plan that states another, and charges it.
What a standing approval adds are limits: of one price, of the sum of prices and of their number. zCDP composes
adaptively by adding, so the sum is a bound also where each plan is chosen by what the ones before released, as the
rounds of a model are. ∎ A template bounds what is asked, its price bounds what is learnt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.protobuf.message import Message

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.training import SET_UP_ROUNDS, measures_objective
from yingbi.api.v1.job_pb2 import ConstantRange, StandingApproval
from yingbi.api.v1.plan_pb2 import (
    BinnedGradient,
    Call,
    Comparison,
    Expression,
    Fit,
    ModelVector,
    Network,
    Plan,
    Selection,
    TrainingRound,
    Value,
)

ORDERED = ("int64_value", "float64_value", "date_days", "timestamp_micros")
"""Kinds of constants that have a range."""
MAX_RANGES = 100
_KINDS: Mapping[Fit.Model.ValueType, tuple[str, str, str]] = {
    Fit.MODEL_LOGISTIC_REGRESSION: ("moments", "products", "generalized_linear"),
    Fit.MODEL_POISSON_REGRESSION: ("moments", "products", "generalized_linear"),
    Fit.MODEL_K_MEANS: ("moments", "nearest_centre", "nearest_centre"),
    Fit.MODEL_NEURAL_NETWORK: ("moments", "network", "network"),
    Fit.MODEL_EXPLAINABLE_BOOSTING: ("counts", "binned_gradient", "binned_gradient"),
}
"""The vectors of a model's three phases."""


def kind_of(plan: Plan) -> StandingApproval.Kind.ValueType:
    """What kind of standing approval there is of a plan; KIND_UNSPECIFIED where there is none.

    None is of programs, evaluations, synthetic rows, models of one job, and first stages of a question.
    """
    if plan.fit.HasField("round"):
        return StandingApproval.KIND_ROUNDS if _is_round(plan) else StandingApproval.KIND_UNSPECIFIED
    others = {"program", "evaluation", "synthesis", "fit", "key_selection"}
    is_query = plan.HasField("relation") and others.isdisjoint(field.name for field, _ in plan.ListFields())
    measured = all(not each.HasField("unit_norms") and not each.HasField("model_vector") for each in plan.statistics)
    return StandingApproval.KIND_CONSTANTS if is_query and measured else StandingApproval.KIND_UNSPECIFIED


def constants_of(plan: Plan) -> list[Value]:
    """The constants in the plan's filters that may have a range, by position; they are the plan's own messages."""
    return list(_constants(plan, inside=False))


def template_of(plan: Plan, ranges: list[ConstantRange] | None = None) -> bytes:
    """The 32-byte hash of the plan's template, `ranges` saying which constants are blanked; of any message.

    A range at a position that the plan does not have blanks nothing.
    """
    blank = Plan()
    blank.CopyFrom(plan)
    if plan.fit.HasField("round"):
        _blank_round(blank)
    constants = constants_of(blank)
    for each in ranges or ():
        if each.position < len(constants):
            _blank(constants[each.position])
    # Which positions are blanked is part of it: a blanked constant is not a constant that is 0.
    positions = ",".join(str(each.position) for each in ranges or ())
    return digests.digest(digests.TEMPLATE, positions.encode(), blank.SerializeToString(deterministic=True))


def phase_of(plan: Plan) -> str:
    """What is the same in all rounds of one phase: its number and, in hexadecimal, a hash of what is measured how.

    Of another plan than a round's: the empty text.
    """
    if not plan.fit.HasField("round"):
        return ""
    blank = Plan(statistics=plan.statistics, slot_bits=plan.slot_bits)
    for each in blank.statistics:
        _blank_vector(each.model_vector)
    hash_ = digests.digest(digests.TEMPLATE, b"phase", blank.SerializeToString(deterministic=True))
    return f"{_phase(plan)}:{hash_.hex()}"


def check_fits(standing: StandingApproval, plan: Plan, *, rho_units: int) -> None:
    """Raise Problem REFUSED unless the plan is of the standing approval's template, at no more than it allows.

    How much of it is left is not looked at. Total: any two messages have an answer.

    Args:
        rho_units: what the plan costs, in 10^-12 of ρ.
    """
    if plan.dataset != standing.dataset:
        raise _refused("other_dataset", f"The standing approval is about {standing.dataset}.")
    kind = kind_of(plan)
    if kind == StandingApproval.KIND_UNSPECIFIED or kind != standing.kind:
        raise _refused("other_template", "The standing approval is of another kind of plan.")
    if rho_units > standing.rho_units_a_job:
        raise _refused("other_price", "The plan costs more than the standing approval allows a job.")
    ranges = list(standing.ranges)
    if kind == StandingApproval.KIND_ROUNDS and ranges:
        raise _refused("other_template", "Rounds of a model have no ranges.")
    if [each.position for each in ranges] != sorted({each.position for each in ranges}) or len(ranges) > MAX_RANGES:
        raise _refused("other_template", "The standing approval's ranges are not in order.")
    if template_of(plan, ranges) != standing.template_hash:
        raise _refused("other_template", "The plan differs from the approved one in more than was left open.")
    constants = constants_of(plan)
    for each in ranges:
        if each.position >= len(constants) or not _within(constants[each.position], each):
            raise _refused("out_of_range", f"Constant {each.position} of the plan is outside its approved range.")


def check_known(terms: StandingApproval, body: bytes) -> None:
    """Raise Problem REFUSED unless `terms` are all that the signed bytes `body` say.

    A limit that this code does not know would be signed and not kept.
    """
    known = StandingApproval()
    known.CopyFrom(terms)
    known.DiscardUnknownFields()  # type: ignore[no-untyped-call, unused-ignore]
    if known.SerializeToString(deterministic=True) != body:
        raise _refused("bad_standing_approval", "The standing approval has limits that are not known here.")


def number_of(value: Value) -> int | float | None:
    """A constant as a number, days or microseconds; None for one of another kind."""
    kind = value.WhichOneof("kind")
    return getattr(value, kind) if kind in ORDERED else None


def _within(value: Value, declared: ConstantRange) -> bool:
    """NaN is in no range."""
    kinds = {each.WhichOneof("kind") for each in (value, declared.lower, declared.upper)}
    numbers = [number_of(each) for each in (declared.lower, value, declared.upper)]
    lower, own, upper = numbers
    if len(kinds) != 1 or lower is None or own is None or upper is None:
        return False
    return lower <= own <= upper


def _constants(message: Message, *, inside: bool) -> Iterator[Value]:
    """Below a message, in the order of its fields."""
    if inside and isinstance(message, Comparison):
        for side in (message.left, message.right):
            if side.HasField("literal") and side.literal.WhichOneof("kind") in ORDERED:
                yield side.literal
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        begins = field.name == "filter" or (isinstance(message, Selection) and field.name == "condition")
        # What is inside of a filter but makes a value of its own, as CASE, is compared all the same.
        for each in value if field.is_repeated else (value,):
            yield from _constants(each, inside=inside or begins)


def _blank(value: Value) -> None:
    kind = value.WhichOneof("kind")
    if kind in ORDERED:
        setattr(value, kind, 0)


def _blank_round(plan: Plan) -> None:
    said, is_round = plan.fit.round, _is_round(plan)
    kept = TrainingRound(rounds=said.rounds, objective=said.objective)
    if said.HasField("network"):
        kept.network.CopyFrom(Network(hidden=said.network.hidden))
    plan.fit.round.CopyFrom(kept)
    plan.slot_bits = 0
    if is_round:
        # Whether steps have another one is said by the round.
        del plan.statistics[1:]
    for each in plan.statistics:
        if each.HasField("model_vector"):
            each.model_vector.Clear()
            each.sigma = each.rho_units = 0


def _blank_vector(vector: ModelVector) -> None:
    """All constants of rows' vectors, and nothing of what they are cut to."""
    terms = [_without_constants(each) for each in vector.terms]
    vector.ClearField("terms")
    vector.terms.extend(terms)
    match vector.WhichOneof("kind"):
        case "generalized_linear":
            del vector.generalized_linear.parameters[:], vector.generalized_linear.transform[:]
        case "nearest_centre":
            vector.nearest_centre.Clear()
            vector.nearest_centre.SetInParent()
        case "network":
            network = vector.network
            del network.parameters[:], network.scales[:], network.shifts[:]
        case "binned_gradient":
            vector.binned_gradient.CopyFrom(BinnedGradient(family=vector.binned_gradient.family))


def _without_constants(term: Expression) -> Expression:
    """The column that a term is of: round 1 shifts and scales each by what round 0 released."""
    while term.HasField("call") and term.call.operands:
        term = term.call.operands[0]
    return term


def _is_round(plan: Plan) -> bool:
    own = plan.fit.round
    if plan.fit.model not in _KINDS or own.number >= own.rounds:
        return False
    if len(plan.statistics) != 1 + measures_objective(own, plan.fit.model):
        return False
    for statistic in plan.statistics:
        vector = statistic.model_vector
        fits = statistic.HasField("model_vector") and _vector_kind(vector) == _KINDS[plan.fit.model][_phase(plan)]
        # The columns are the template's, since its rows have these and no others; the vector's terms are blanked.
        if not fits or not all(map(_is_column, vector.terms)):
            return False
    are_scores = all(each.model_vector.HasField("score") for each in plan.statistics[1:])
    return are_scores and plan.relation.HasField("projection")


def _phase(plan: Plan) -> int:
    return min(plan.fit.round.number, SET_UP_ROUNDS)


def _vector_kind(vector: ModelVector) -> str:
    match vector.WhichOneof("kind"):
        case "second_moments":
            return "products" if vector.second_moments.products else "moments"
        case "binned_gradient" if vector.binned_gradient.family == BinnedGradient.FAMILY_COUNT:
            return "counts"
        case other:
            return other or ""


def _is_column(term: Expression) -> bool:
    """c, c - constant, c / constant or (c - constant) / constant, c being a column of the relation."""
    for function in (Call.FUNCTION_DIVIDE, Call.FUNCTION_SUBTRACT):
        call = term.call
        if term.HasField("call") and call.function == function and len(call.operands) == 2:
            if not call.operands[1].HasField("literal"):
                return False
            term = call.operands[0]
    return term.HasField("column")


def _refused(code: str, message: str) -> Problem:
    return Problem(Kind.REFUSED, code, message)
