"""The first of two stages: what is asked before a query whose keys, or whose clipping bound, nobody declared.

A first stage is a plan like any other, with a price and a receipt. It releases which values of the unknown keys
enough units have (`enclave_sim.privacy.key_selection`), and how many units have how many rows. The second
stage's keys and clipping bound are computed from that release alone, so they are as public as the release is.
"""

from __future__ import annotations

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
from enclave_sim.plan.values import PythonValue, is_valid, to_python
from enclave_sim.privacy.gaussian import SigmaTooLargeError, sigma_for
from enclave_sim.privacy.key_selection import MAX_KEYS_PER_UNIT, lowest_threshold
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
_CLEAR_DEVIATIONS = 3
"""A count of units that is less than so many standard deviations may be noise alone."""

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
    """Whether a clipping bound matters: units may have several rows, and something else than units is counted."""
    counts_rows = any(not statistic.HasField("distinct_units") for statistic in draft.statistics)
    return draft.clipping.max_rows > 1 and counts_rows


def first_stage_plan(draft: Plan, unknown: Sequence[Term], rho_units: int) -> Plan:
    """The plan of the first stage, complete but for its slot width.

    Args:
        draft: the second stage's plan before its budget is shared; its `clipping.max_rows` is the declared bound.
        unknown: keys of it, to be selected; none where the bound alone is asked for.
        rho_units: the whole query's.

    Raises:
        Problem: REFUSED "too_little_epsilon" or "too_little_delta", when no noise is large enough.
    """
    plan = Plan(
        language_version=draft.language_version,
        dataset=draft.dataset,
        dataset_version=draft.dataset_version,
        relation=draft.relation,
        statistics=[Statistic(unit_norms=_norms(draft))],
        clipping=Clipping(max_rows=draft.clipping.max_rows, max_groups=1),
        fraction_bits=draft.fraction_bits,
        noise=draft.noise,
        epsilon=draft.epsilon,
        delta=draft.delta,
    )
    share_budget(plan, _part(rho_units, NORMS_PERCENT))
    if unknown:
        plan.key_selection.CopyFrom(_selection(plan, unknown, _part(rho_units, KEYS_PERCENT)))
    return plan


def rest_of(rho_units: int, *, selects_keys: bool) -> int:
    """What of a query's ρ is left to the second stage."""
    return rho_units - _part(rho_units, NORMS_PERCENT) - (_part(rho_units, KEYS_PERCENT) if selects_keys else 0)


def edges(max_rows: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, ... below `max_rows`, then `max_rows` itself."""
    found, power = [1], 2
    while power < max_rows:
        found += [power, power + power // 2]
        power *= 2
    return sorted({edge for edge in found if edge < max_rows} | {max_rows})


def bound_of(stage: Plan, norms: Sequence[int], draft: Plan, *, groups: int, rho_units: int) -> int:
    """The clipping bound that a first stage's release suggests for a second stage with so many groups and so much ρ.

    Args:
        stage: the first stage's plan.
        norms: what was opened of it.
    """
    statistic, step = stage.statistics[0], float(2**stage.fraction_bits)
    rho = rho_units / budget_parts(draft) / zcdp.RHO_UNITS
    return clipping_bound(
        statistic.unit_norms.edges,
        [count / step for count in norms],
        deviation=stage.noise.parties**0.5 * statistic.sigma / step,
        noise=draft.noise.parties_per_unit / (2 * rho) ** 0.5,
        groups=groups,
    )


def clipping_bound(
    edges: Sequence[int], counts: Sequence[float], *, deviation: float, noise: float, groups: int
) -> int:
    """The edge C with the least mean squared error of COUNT(*), over the groups.

    A count has noise of variance (noise·C)². Clipping to C takes s − C rows from a unit with s > C rows; all
    that are taken, spread evenly over the groups, are a bias whose square is added. A unit counts as having as
    many rows as its cell's edge, so the bias is not understated within a cell. Counts that may be noise alone
    count as none; where all may be, nothing is known and C is the last edge.

    Args:
        edges: ascending; the candidates.
        counts: noisy numbers of units with at most so many rows, and of those with more than the last edge.
        deviation: the standard deviation of the noise in each of `counts`.
        noise: the standard deviation of COUNT(*) per row of C.
        groups: how many.
    """
    clear = [count if count >= _CLEAR_DEVIATIONS * deviation else 0.0 for count in counts]
    if not any(clear):
        return edges[-1]
    rows = [*edges, edges[-1]]

    def squared_error(bound: int) -> float:
        lost = sum(units * max(0, size - bound) for units, size in zip(clear, rows, strict=True))
        return (noise * bound) ** 2 + (lost / groups) ** 2

    return min(edges, key=squared_error)


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
    for statistic in stage.statistics:
        if statistic.HasField("unit_norms"):
            most = statistic.unit_norms.edges[-1]
            yield (
                f"How many rows units have is measured first, for {NORMS_PERCENT} % of the price; the clipping "
                f"bound follows from it. It is at most {most:,}, for which errors are foretold."
            )


def _part(rho_units: int, percent: int) -> int:
    return max(1, rho_units * percent // 100)


def _norms(draft: Plan) -> UnitNorms:
    # Over fewer keys a unit's norm is not smaller, so leaving some out errs on the safe side.
    keys = [key.expression for key in draft.group_by[:MAX_SELECTED_KEYS]]
    return UnitNorms(keys=keys, edges=edges(draft.clipping.max_rows))


def _selection(plan: Plan, unknown: Sequence[Term], rho_units: int) -> KeySelection:
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
    max_keys = min(MAX_KEYS_PER_UNIT, plan.clipping.max_rows)
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
