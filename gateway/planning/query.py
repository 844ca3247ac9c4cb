"""From a SQL query to a plan, or to the plans of two stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import plan_pb2
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import LookUpTable
from yingbi.api.v1.plan_pb2 import Clipping, GroupingSet, Noise, Output, OutputOrdering, Plan

from enclave_sim.plan.outputs import MAX_OUTPUTS
from enclave_sim.plan.sensitivity import MAX_SLOT_BITS, slot_bits_needed, total_rho_units
from enclave_sim.plan.sensitivity import cells as count_cells
from enclave_sim.plan.statistics import MAX_STATISTICS
from enclave_sim.plan.validation import (
    FRACTION_BITS,
    LANGUAGE_VERSION,
    MAX_CELLS,
    MAX_GROUPS,
    MAX_KEYS,
    MAX_ROWS,
    PlanError,
    check_plan,
)
from enclave_sim.plan.values import from_python
from gateway.planning import stages
from gateway.planning.asked import Asked, read_question, refuse_units
from gateway.planning.coarser import coarser_dates
from gateway.planning.distinct import set_thresholds, with_counted_key
from gateway.planning.marginals import measure_totals
from gateway.planning.presentation import Ordering, Presentation
from gateway.planning.public_tables import check_tables
from gateway.planning.scope import Term
from gateway.planning.selection import Shown, ShownKey
from gateway.planning.sql import parse_select
from gateway.planning.stages import FirstStage
from gateway.planning.statistics import Chooser, share_budget
from gateway.planning.text_lengths import refuse_much_text


@dataclass(frozen=True)
class Question:
    """A query, planned: the plan to run next and, where that is a first stage, what follows it."""

    plan: Plan
    outlook: Plan | None = None
    """Like the plan of the second stage, each unknown key with one value without a kind."""
    later_rho_units: int = 0
    """Of a model that is trained in rounds: what those after this one cost at most."""
    later_plans: int = 0
    """How many these are."""

    @property
    def rho_units(self) -> int:
        """What is still to be paid for the answer."""
        outlook = 0 if self.outlook is None else total_rho_units(self.outlook)
        return total_rho_units(self.plan) + outlook + self.later_rho_units

    @property
    def plans(self) -> int:
        """How many plans are still to be run for the answer."""
        return 1 + (self.outlook is not None) + self.later_plans


@dataclass(frozen=True)
class Setting:
    """What a query is planned for: data, providers, and the guarantee that its plans state."""

    declaration: DatasetDeclaration
    dataset_version: bytes
    parties: int
    epsilon: float
    delta: float

    @property
    def parties_per_unit(self) -> int:
        """At how many providers one unit may appear."""
        return 1 if self.declaration.units_disjoint else self.parties

    def plan(self, asked: Plan) -> Plan:
        """What is asked, as a plan for this: what every plan says of its data, its noise and its guarantee is added."""
        asked.language_version = LANGUAGE_VERSION
        asked.dataset, asked.dataset_version = self.declaration.dataset, self.dataset_version
        asked.fraction_bits = FRACTION_BITS
        curious = self.declaration.curious_providers
        asked.noise.CopyFrom(Noise(parties=self.parties, parties_per_unit=self.parties_per_unit, curious=curious))
        asked.epsilon, asked.delta = self.epsilon, self.delta
        return asked


def plan_query(
    sql: str,
    declaration: DatasetDeclaration,
    *,
    dataset_version: bytes,
    parties: int,
    epsilon: float,
    delta: float,
    auto_bounds: bool = False,
    first_stage: FirstStage | None = None,
    lookups: Sequence[LookUpTable] = (),
) -> Plan:
    """The plan of `plan_question` alone."""
    return plan_question(
        sql,
        declaration,
        dataset_version=dataset_version,
        parties=parties,
        epsilon=epsilon,
        delta=delta,
        auto_bounds=auto_bounds,
        first_stage=first_stage,
        lookups=lookups,
    ).plan


def plan_question(
    sql: str,
    declaration: DatasetDeclaration,
    *,
    dataset_version: bytes,
    parties: int,
    epsilon: float,
    delta: float,
    auto_bounds: bool = False,
    first_stage: FirstStage | None = None,
    lookups: Sequence[LookUpTable] = (),
) -> Question:
    """The plan that answers a query within (ε, δ), or the first stage of it where one is needed.

    Args:
        sql: one SELECT; `sources`, `expressions`, `selection` and `presentation` say what may stand in it.
        declaration: one that `enclave_sim.plan.schema.check_declaration` accepts.
        dataset_version: of the dataset at present.
        parties: how many providers add noise; at least 1.
        epsilon, delta: the whole query's, both stages together; see `yingbi.api.zcdp.check_parameters`.
        auto_bounds: find the clipping bound in a first stage, where it matters. A first stage for unknown keys
            finds it anyway.
        first_stage: what the first stage of this very query released.
        lookups: public tables that the query may join with.

    Returns:
        With a plan that `enclave_sim.plan.validation.check_plan` accepts.

    Raises:
        Problem: the query or a parameter cannot be read (MALFORMED), names something that is not there
            (UNKNOWN), or asks for what cannot be asked (REFUSED). After a first stage also REFUSED "no_keys" and
            "too_many_groups".
    """
    rho_units = bought_rho_units(epsilon, delta)
    setting = Setting(declaration, dataset_version, parties, epsilon, delta)
    asked = with_counted_key(read_question(parse_select(sql), declaration, check_tables(lookups, declaration)))
    refuse_units(asked, parties)
    draft, unknown = draft_of(asked, setting), asked.selection.keys.unknown
    if not unknown and not (auto_bounds and stages.needs_bound(draft)):
        if first_stage is not None:
            raise Problem(Kind.MALFORMED, "first_stage", "The query has no first stage.", field="first_stage")
        measure_totals(draft, asked)
        return Question(checked(priced(draft, rho_units, setting), setting))
    stage = stages.first_stage_plan(draft, unknown, rho_units, auto_bounds=auto_bounds)
    rest = stages.rest_of(rho_units, selects_keys=bool(unknown))
    if first_stage is None:
        # Whatever would be refused in the second stage is refused before the first is paid.
        checked(priced(stages.with_examples(draft, unknown), rest, setting), setting)
        return Question(checked(sized(stage, setting), setting), priced(draft, rest, setting))
    second = draft_of(_with_found_keys(asked, first_stage), setting)
    stages.set_bound(second, stage, first_stage.norms, rest)
    return Question(checked(priced(second, rest, setting), setting))


def bought_rho_units(epsilon: float, delta: float) -> int:
    """What (ε, δ) buys; MALFORMED "epsilon" or "delta" for what no request may carry."""
    try:
        zcdp.check_parameters(epsilon, delta)
        return zcdp.rho_units_for(epsilon, delta, zcdp.kept_delta0_units(delta))
    except zcdp.BadPrivacyParameter as error:
        raise Problem(Kind.MALFORMED, error.field, f"{error}.", field=error.field) from error


def _with_found_keys(asked: Asked, first_stage: FirstStage) -> Asked:
    keys = asked.selection.keys
    if not all(first_stage.keys) or len(first_stage.keys) != len(keys.unknown):
        names = " or ".join(term.label for term in keys.unknown)
        raise Problem(
            Kind.REFUSED,
            "no_keys",
            f"No value of {names} has enough units to be named; what the first stage cost is spent.",
            field="sql",
            hint=_easier(keys.unknown),
        )
    known = asked.knowing(first_stage.keys)
    groups = known.selection.keys.groups
    if groups > MAX_GROUPS:
        raise Problem(
            Kind.REFUSED,
            "too_many_groups",
            f"With the values found, the query makes {groups:,} groups; {MAX_GROUPS:,} are allowed. "
            "What the first stage cost is spent.",
            field="sql",
            hint="Group by fewer columns, or by something coarser.",
        )
    return known


def _easier(unknown: Sequence[Term]) -> str:
    """What to ask where no value was found."""
    ways = filter(None, (coarser_dates(term.expression) for term in unknown))
    return f"Ask with a larger epsilon, or {next(ways, 'group by something coarser')}."


def priced(plan: Plan, rho_units: int, setting: Setting) -> Plan:
    """The plan with the noise that it has at this price."""
    share_budget(plan, rho_units)
    set_thresholds(plan, plan)
    return sized(plan, setting)


def sized(plan: Plan, setting: Setting) -> Plan:
    """The plan with the slot width that its noise needs; REFUSED "too_wide" where no slot is as wide."""
    plan.slot_bits = slot_bits_needed(plan, max_units=setting.declaration.max_units)
    if plan.slot_bits > MAX_SLOT_BITS:
        raise Problem(
            Kind.REFUSED,
            "too_wide",
            f"A cell of the answer would need {plan.slot_bits} bits; {MAX_SLOT_BITS} are there.",
            hint="Ask with a larger epsilon; the dataset's max_units and max_rows_per_unit count as well.",
        )
    return plan


def checked(plan: Plan, setting: Setting) -> Plan:
    """The plan, which every enclave will accept; REFUSED "too_complex" where none would."""
    try:
        check_plan(plan, setting.declaration, dataset_version=setting.dataset_version)
    except PlanError as error:
        raise _too_complex(error) from error
    return plan


def refuse_size(plan: Plan, groups: int) -> None:
    """Refuse more cells, statistics or columns than a plan holds."""
    cells = count_cells(plan)
    if cells > MAX_CELLS or len(plan.group_by) > MAX_KEYS:
        raise Problem(
            Kind.REFUSED,
            "too_many_groups",
            f"The query makes {groups:,} groups and {cells:,} cells; {MAX_CELLS:,} cells are allowed.",
            field="sql",
            hint="Group by fewer columns or wider ranges, or ask for fewer statistics.",
        )
    if len(plan.statistics) > MAX_STATISTICS or len(plan.outputs) > MAX_OUTPUTS:
        raise Problem(
            Kind.REFUSED,
            "too_many_statistics",
            f"The query needs {len(plan.statistics)} statistics and {len(plan.outputs)} columns; "
            f"{MAX_STATISTICS} and {MAX_OUTPUTS} are allowed.",
            field="sql",
            hint="Ask in several queries.",
        )


def draft_of(asked: Asked, setting: Setting) -> Plan:
    """The plan but for its noise and its slot width; each key that is not known yet has one value of no kind."""
    scope, keys = asked.scope, asked.selection.keys
    max_rows = min(scope.max_rows, MAX_ROWS)
    chooser = Chooser(asked.aggregates, keys.groups)
    outputs = [output_of(column, chooser) for column in asked.selection.shown]
    presentation = presentation_of(asked.presentation, chooser)
    plan = setting.plan(
        Plan(
            relation=scope.relation,
            group_by=keys.messages(),
            statistics=chooser.statistics,
            clipping=Clipping(max_rows=max_rows, max_groups=min(_most_groups(asked), max_rows)),
            outputs=outputs,
            grouping_sets=[GroupingSet(keys=chosen) for chosen in keys.sets],
            presentation=presentation,
        )
    )
    refuse_size(plan, keys.groups)
    refuse_much_text(scope, asked.select, plan)
    return plan


def _most_groups(asked: Asked) -> int:
    """In how many groups a unit can be: in one of those that only keys differ in which are constant for each unit."""
    keys = asked.selection.keys
    varying = [
        # Of an unknown key a unit may have as many values as rows.
        MAX_ROWS if listed is None else len(listed)
        for term, listed in zip(keys.terms, keys.values, strict=True)
        if not asked.scope.is_constant(term.expression)
    ]
    return prod(varying)


def output_of(column: Shown, chooser: Chooser) -> Output:
    """A column of the answer, computed from what the chooser measures."""
    if isinstance(column, ShownKey):
        return Output(name=column.name, key=column.key, labels=[from_python(label) for label in column.labels])
    formula = chooser.formula(column.formula)
    if formula.HasField("measure"):
        return Output(name=column.name, measure=formula.measure)
    return Output(name=column.name, formula=formula)


def presentation_of(asked: Presentation, chooser: Chooser) -> plan_pb2.Presentation | None:
    """Which rows are shown, and in which order; None for all as they come."""
    if asked == Presentation():
        return None
    return plan_pb2.Presentation(
        having=None if asked.having is None else chooser.formula(asked.having),
        qualify=None if asked.qualify is None else chooser.formula(asked.qualify),
        order_by=[_ordering(ordering, chooser) for ordering in asked.order_by],
        limit=asked.limit,
        offset=asked.offset,
    )


def _ordering(asked: Ordering, chooser: Chooser) -> OutputOrdering:
    ordering = OutputOrdering(descending=asked.descending, nulls_first=asked.nulls_first)
    if isinstance(asked.by, int):
        ordering.output = asked.by
    else:
        ordering.formula.CopyFrom(chooser.formula(asked.by))
    return ordering


def _too_complex(error: PlanError) -> Problem:
    """What was read piece by piece may together be more than a plan holds."""
    return Problem(
        Kind.REFUSED,
        "too_complex",
        f"The query is more than a plan holds: {error}.",
        field="sql",
        hint="Shorten its expressions, or ask in several queries.",
    )
