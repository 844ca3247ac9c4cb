"""The first of two stages: what is asked before a query whose keys, or whose clipping bound, nobody declared.

A first stage is a plan like any other, with a price and a receipt. It releases which values of the unknown keys
enough units have (`enclave_sim.privacy.key_selection`), and how many units have how many rows. The second
stage's keys and clipping bound are computed from that release alone, so they are as public as the release is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    Clipping,
    ColumnType,
    KeySelection,
    KeyValues,
    Plan,
    Statistic,
    UnitNorms,
    Value,
)
from yingbi.api.v1.receipt_pb2 import ContributionBody, ReceiptBody

from enclave_sim.plan.key_selection import MAX_SELECTED_KEYS, selection_price
from enclave_sim.plan.releases import unknown_shares
from enclave_sim.plan.sensitivity import JOINABLE
from enclave_sim.plan.sensitivity import groups as count_groups
from enclave_sim.plan.values import PythonValue, is_valid, to_python
from enclave_sim.privacy.clipping import MAX_JOINT_NORM, SIXTEENTHS
from enclave_sim.privacy.gaussian import SigmaTooLargeError, sigma_for
from enclave_sim.privacy.key_selection import MAX_KEYS_PER_UNIT, lowest_threshold
from gateway.planning.coarser import coarser_dates
from gateway.planning.scope import Term
from gateway.planning.statistics import budget_parts, share_budget, too_little_epsilon
from gateway.planning.wording import text_of

NORMS_PERCENT = 5
"""Of a query's ρ: for the numbers of rows that units have."""
KEYS_PERCENT = 20
"""Of a query's ρ: for selecting keys."""

_DELTA0_PARTS = 100
"""One selection takes this part of what is kept for δ₀: a dataset has enough for a hundred at its full budget."""
_MOST_DELTA0_UNITS = 2**63
_CLEAR_DEVIATIONS = 4
"""Counts of units that together are less than so many standard deviations may be noise alone."""
_TAIL = 9
_JOINT_EDGES = 4
"""For each doubling of a joint vector's norm."""

_EXAMPLES: dict[ColumnType.ValueType, Value] = {
    COLUMN_TYPE_BOOL: Value(bool_value=False),
    COLUMN_TYPE_INT64: Value(int64_value=0),
    COLUMN_TYPE_STRING: Value(string_value=""),
    COLUMN_TYPE_DATE: Value(date_days=0),
    COLUMN_TYPE_TIMESTAMP: Value(timestamp_micros=0),
}


@dataclass(frozen=True)
class FirstStage:
    """What a first stage released."""

    keys: tuple[tuple[PythonValue, ...], ...]
    """The values of each unknown key, ascending, in the order of the key selection."""
    norms: tuple[int, ...]
    """The opened counts of units by norm, in grid steps; one more than there are edges."""

    @classmethod
    def of(cls, release: ReceiptBody) -> FirstStage:
        """What a receipt says: of each key all values that any provider selected, and the opened vector."""
        keys = Plan.FromString(release.plan).key_selection.keys
        selected = [
            combination
            for signed in release.manifest.contributions
            for combination in ContributionBody.FromString(signed.body).selected_keys
            if len(combination.values) == len(keys)
        ]
        return cls(tuple(_values(selected, index) for index in range(len(keys))), tuple(release.opened))


def needs_bound(draft: Plan) -> bool:
    """Whether a clipping bound matters: a unit may have several rows, or a sum that is less than a row's bounds."""
    kinds = {statistic.WhichOneof("kind") for statistic in draft.statistics}
    return (draft.clipping.max_rows > 1 and kinds != {"distinct_units"}) or "bounded_sum" in kinds


def first_stage_plan(draft: Plan, unknown: Sequence[Term], rho_units: int, *, auto_bounds: bool) -> Plan:
    """The plan of the first stage, complete but for its slot width.

    Args:
        draft: the second stage's plan before its budget is shared; its `clipping.max_rows` is the declared bound.
        unknown: keys of it, to be selected; none where the bound alone is asked for.
        auto_bounds: measure the norms of what units add to this very question, where its statistics make one
            vector. Otherwise of their rows: so the stage is one for all questions about the same keys, and its
            receipt is replayed at no cost.
        rho_units: the whole query's.

    Raises:
        Problem: REFUSED "too_little_epsilon" or "too_little_delta", when no noise is large enough.
    """
    plan = Plan(
        language_version=draft.language_version,
        dataset=draft.dataset,
        dataset_version=draft.dataset_version,
        relation=draft.relation,
        statistics=[Statistic(unit_norms=_norms(draft, _joint_vector(draft) if auto_bounds else []))],
        clipping=Clipping(max_rows=draft.clipping.max_rows, max_groups=1),
        fraction_bits=draft.fraction_bits,
        noise=draft.noise,
        epsilon=draft.epsilon,
        delta=draft.delta,
    )
    share_budget(plan, _part(rho_units, NORMS_PERCENT))
    if unknown:
        plan.key_selection.CopyFrom(
            _selection(plan, unknown, _part(rho_units, KEYS_PERCENT), draft.clipping.max_groups)
        )
    return plan


def rest_of(rho_units: int, *, selects_keys: bool) -> int:
    """What of a query's ρ is left to the second stage."""
    return rho_units - _part(rho_units, NORMS_PERCENT) - (_part(rho_units, KEYS_PERCENT) if selects_keys else 0)


def edges(largest: int, per_doubling: int = 2) -> list[int]:
    """Whole numbers from 1 to `largest`, so many for each doubling."""
    steps = range(math.ceil(per_doubling * math.log2(largest)))
    return sorted({round(2 ** (step / per_doubling)) for step in steps} | {1, largest})


def set_bound(plan: Plan, stage: Plan, norms: Sequence[int], rho_units: int) -> None:
    """Clip a second stage's plan as a first stage's release suggests.

    Args:
        plan: complete but for its noise; its groups are known. Changed in place.
        stage: the first stage's plan.
        norms: what was opened of it.
        rho_units: what `plan` is to cost.
    """
    statistic, step = stage.statistics[0], float(2**stage.fraction_bits)
    is_joint = bool(statistic.unit_norms.vector)
    parts = 1 if is_joint else budget_parts(plan)
    rho = rho_units / parts / zcdp.RHO_UNITS
    bound = clipping_bound(
        statistic.unit_norms.edges,
        [count / step for count in norms],
        deviation=stage.noise.parties**0.5 * statistic.sigma / step,
        noise=plan.noise.parties_per_unit * (plan.noise.parties / unknown_shares(plan) / (2 * rho)) ** 0.5,
        groups=count_groups(plan),
    )
    if is_joint:
        plan.clipping.joint_norm = bound
    else:
        plan.clipping.max_rows = bound


def clipping_bound(
    edges: Sequence[int], counts: Sequence[float], *, deviation: float, noise: float, groups: int
) -> int:
    """The edge C with the least mean squared error of a count, over the groups, as far as the release tells.

    A count has noise of variance (noise·C)². Clipping to C takes a vector of length s − C from a unit whose
    vector has length s > C. All that is taken together is at most as long as the sum of these lengths, L, and so
    is at most L / √groups in the root mean square of the groups: a bias whose square is added. A unit counts as
    being as long as its cell's edge, so the bias is not understated within a cell.

    The last cells are mostly noise: see `_believed`. Where nothing is known, C is the last edge.

    Args:
        edges: ascending; the candidates.
        counts: noisy numbers of units up to each edge, and of those beyond the last one.
        deviation: the standard deviation of the noise in each of `counts`.
        noise: the standard deviation of a count per unit of C.
        groups: how many.
    """
    lengths = [*edges, edges[-1]]
    believed = _believed(lengths, counts, deviation)
    if not believed:
        return edges[-1]

    def squared_error(bound: int) -> float:
        lost = sum(max(0.0, units) * max(0, length - bound) for units, length in zip(believed, lengths, strict=True))
        return (noise * bound) ** 2 + lost**2 / groups

    return min(edges, key=squared_error)


def _believed(lengths: Sequence[int], counts: Sequence[float], deviation: float) -> list[float]:
    """How many units each cell is taken to have; none at all where not even all of them together are to be seen.

    The counts are taken as they are up to the last cell at which the units there and beyond are clearly some
    together. How those are spread no cell shows any more: they are taken to become fewer by the power `_TAIL` of
    length, steeply, as a bound that nobody needs makes every answer worse, and to be no more than the counts leave
    room for. In `python -m benchmarks.peers` the bound so chosen is near the best one, however large the declared
    one is.
    """
    beyond = list(itertools.accumulate(reversed(counts)))[::-1]
    errors = [deviation * (len(counts) - cell) ** 0.5 for cell in range(len(counts))]
    clear = [
        cell for cell, error in enumerate(errors) if beyond[cell] > 0 and beyond[cell] >= _CLEAR_DEVIATIONS * error
    ]
    if not clear:
        return []
    last = clear[-1]
    believed, left = list(counts[:last]), beyond[last]
    for cell in range(last + 1, len(counts)):
        decay = (lengths[cell - 1] / lengths[cell]) ** _TAIL if lengths[cell] > lengths[cell - 1] else 0.0
        further = min(left * decay, max(0.0, beyond[cell] + errors[cell]))
        believed.append(left - further)
        left = further
    return [*believed, left]


def with_examples(draft: Plan, unknown: Sequence[Term]) -> Plan:
    """A copy with one value of the right type for each unknown key: what can be checked before keys are known."""
    example = Plan()
    example.CopyFrom(draft)
    missing = [value for key in example.group_by for value in key.values if value.WhichOneof("kind") is None]
    for value, term in zip(missing, unknown, strict=True):
        value.CopyFrom(_EXAMPLES[term.type])
    example.clipping.max_groups = 1
    return example


def stage_notes(stage: Plan) -> list[str]:
    """What a first stage does and at what share of the price, in words; none for another plan."""
    return list(_notes(stage))


def _notes(stage: Plan) -> Iterator[str]:
    if stage.HasField("key_selection"):
        selection = stage.key_selection
        names = ", ".join(text_of(key) for key in selection.keys)
        units = -(-selection.threshold // 2**stage.fraction_bits)
        yield (
            f"Values of {names} are not declared: first, those that enough units have are selected privately, "
            f"for {KEYS_PERCENT} % of the price."
        )
        yield (
            f"About {units:,} units at one provider must have a value for it to be found; more where units have "
            "several values each. Rows with other values are in no group."
        )
        # A month, say, is coarse already: of that only the refusal speaks.
        for key in filter(lambda each: each.HasField("column"), selection.keys):
            coarser = coarser_dates(key)
            if coarser is not None:
                yield f"Few units may share a value of {text_of(key)}: {coarser}."
    for statistic in stage.statistics:
        if statistic.HasField("unit_norms"):
            yield _bound_note(statistic.unit_norms, stage.clipping.max_rows)


def _bound_note(norms: UnitNorms, most: int) -> str:
    what = "How much units add to the answer" if norms.vector else "How many rows units have"
    return (
        f"{what} is measured first, for {NORMS_PERCENT} % of the price; the clipping bound follows from it. "
        f"It is at most that of {most:,} {'row' if most == 1 else 'rows'}, for which errors are foretold."
    )


def _part(rho_units: int, percent: int) -> int:
    return max(1, rho_units * percent // 100)


def _norms(draft: Plan, vector: Sequence[Statistic]) -> UnitNorms:
    # Over fewer keys a unit's norm is not smaller, so leaving some out errs on the safe side.
    keys = [key.expression for key in draft.group_by[:MAX_SELECTED_KEYS]]
    if not vector:
        return UnitNorms(keys=keys, edges=edges(draft.clipping.max_rows))
    # Every row's term is within 1, so no vector is longer.
    longest = math.ceil(SIXTEENTHS * draft.clipping.max_rows * len(vector) ** 0.5)
    return UnitNorms(keys=keys, edges=edges(longest, _JOINT_EDGES), vector=vector)


def _joint_vector(draft: Plan) -> list[Statistic]:
    """The draft's statistics where they can all be clipped as one vector; none otherwise."""
    joinable = all(statistic.WhichOneof("kind") in JOINABLE for statistic in draft.statistics)
    # Sums of groups that only a key tells apart which is left out could cancel, and the vector look short.
    joinable = joinable and len(draft.group_by) <= MAX_SELECTED_KEYS
    within = SIXTEENTHS * draft.clipping.max_rows * len(draft.statistics) ** 0.5 < MAX_JOINT_NORM
    return list(draft.statistics) if joinable and within else []


def _selection(plan: Plan, unknown: Sequence[Term], rho_units: int, most_groups: int) -> KeySelection:
    providers = plan.noise.parties_per_unit
    delta0 = min(zcdp.kept_delta0_units(plan.delta) // _DELTA0_PARTS, _MOST_DELTA0_UNITS) // providers
    if not delta0:
        raise Problem(
            Kind.REFUSED,
            "too_little_delta",
            f"With delta {plan.delta:g} no value of a key that is not declared can be named.",
            field="delta",
            hint="Ask with a larger delta, or group by columns with declared values.",
        )
    try:
        # At each provider its own noise protects its units, in full.
        sigma = sigma_for(1 << (2 * plan.fraction_bits), max(1, rho_units // providers), 1, 1)
    except SigmaTooLargeError as error:
        raise too_little_epsilon() from error
    max_keys = min(MAX_KEYS_PER_UNIT, plan.clipping.max_rows, most_groups)
    return KeySelection(
        keys=[term.expression for term in unknown],
        max_keys=max_keys,
        sigma=sigma,
        threshold=lowest_threshold(sigma, max_keys, delta0, plan.fraction_bits),
        rho_units=selection_price(plan, sigma),
        delta0_units=delta0 * providers,
    )


def _values(selected: Sequence[KeyValues], index: int) -> tuple[PythonValue, ...]:
    """NULL, and a date that no calendar has, make no group."""
    constants: Iterator[Value] = (combination.values[index] for combination in selected)
    return tuple(sorted({to_python(value) for value in constants if is_valid(value)}))
