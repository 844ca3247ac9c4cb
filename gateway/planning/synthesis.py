"""From columns to a plan: the marginals that rows are made up from, all in one plan.

Every unit (person) counts once. Each column is cut into levels (`synthesis_columns`); every pair of columns makes a
marginal, a count of units by both levels; a few triples, coarser, are held out to tell how good the fit is; and the
units are counted. The SDK fits a joint distribution to the pairs and draws rows from it: post-processing.

**One stage and all pairs, not a choice of some.** MST and AIM choose pairs by looking at the data, which costs ρ, and
measure those. All pairs of d columns need no choice; the noise of each grows with √(d(d-1)/2) and so with d. For
ten columns that is less than what a tree of pairs misses (docs/synthetic.md has figures); which of the pairs a fit can
use is chosen from what was opened, for nothing.

**Sensitivity.** A marginal is a range_counts of one level, whose term is the index of a row's combination of levels,
with C = `clipping.max_rows` = 1: a unit with m rows adds 1/m for each. So `sensitivity.delta2_squared` has the proof: a
unit moves the vector of one marginal by p at most in L2 norm, p being the providers that it may appear at, whatever its
rows hold and however many they are. Every marginal is a release by itself, and prices add up. There is one weight, 1/m,
for all marginals of a unit, since the plan has no groups: so the marginals are those of one table.

**How ρ is shared.** Noise of σ moves a marginal of n cells by σ·n/√(2π) units in total variation, on average, and costs
1/2σ². The sum of the former over all pairs is least, for one sum of the latter, where σ falls with the cube root of n:
where a pair has a share of ρ in proportion to n^(2/3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import combinations

from sqlglot import exp
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import SynthesizeQuery
from yingbi.api.v1.plan_pb2 import (
    Call,
    Clipping,
    CountMeasure,
    Expression,
    Measure,
    Output,
    Plan,
    RangeCounts,
    RowCount,
    Statistic,
    Synthesis,
    SynthesisColumn,
    SynthesisTable,
)

from enclave_sim.plan.statistics import MAX_BRANCHING
from enclave_sim.plan.syntheses import MAX_COLUMNS, levels_of
from enclave_sim.plan.validation import MAX_CELLS
from gateway.planning.asked import refuse_whole_units
from gateway.planning.composed import ComposedSelect
from gateway.planning.expressions import compile_term
from gateway.planning.float_expressions import float_literal, over
from gateway.planning.notes import join_notes, provider_notes
from gateway.planning.query import Question, Setting, bought_rho_units, checked, sized
from gateway.planning.scope import Scope
from gateway.planning.statistics import set_prices
from gateway.planning.synthesis_columns import (
    MAX_BINS,
    MIN_BINS,
    LevelledColumn,
    level_rows,
    levelled,
    reference,
)
from gateway.planning.synthesis_text import read_rows, text_of
from gateway.planning.text_lengths import refuse_much_text
from gateway.planning.wording import number

UNITS_SHARE = 0.02
"""Of ρ: for the number of units."""

HELD_OUT_SHARE = 0.08
"""Of ρ: for the marginals that the fit does not see."""

HELD_OUT = 3
HELD_OUT_LEVELS = 5
"""Of each column in one of them, at most: of few cells, each is known well enough to compare with."""

WANTED_DISTANCE = 0.04
"""The total variation that noise makes of a pair of numbers, where there are as many units as are declared."""

LEAST_BINS = 4
"""Without being asked for."""


def plan_synthesis(
    asked: SynthesizeQuery,
    declaration: DatasetDeclaration,
    *,
    dataset_version: bytes,
    parties: int,
    epsilon: float,
    delta: float,
) -> Question:
    """The plan that measures the marginals of some columns within (ε, δ).

    The arguments are as for `query.plan_question`.

    Raises:
        Problem: a parameter or a column cannot be read (MALFORMED), names something that is not there (UNKNOWN), or
            asks for what cannot be asked (REFUSED).
    """
    setting = Setting(declaration, dataset_version, parties, epsilon, delta)
    rho_units = bought_rho_units(epsilon, delta)
    text = text_of(asked, declaration)
    parsed, scope = read_rows(text, declaration)
    text.read(lambda: refuse_whole_units(scope, parsed.select, parties))
    nodes = _columns(parsed.select, scope, text)
    bins = _bins(asked, len(nodes), rho_units, setting.parties_per_unit, declaration.max_units)
    columns = [text.read(partial(_levelled, scope, name, node, bins)) for name, node in nodes.items()]
    _refuse_size(columns, list(nodes.values()), scope, text)
    tables, shares = _tables([each.message for each in columns])
    draft = setting.plan(
        Plan(
            relation=level_rows(scope, columns),
            statistics=[Statistic(row_count=RowCount()), *(_marginal(table, columns) for table in tables)],
            clipping=Clipping(max_rows=1, max_groups=1),
            outputs=[Output(name="units", measure=Measure(count=CountMeasure(statistic=0)))],
            synthesis=Synthesis(
                columns_text=asked.columns, columns=[column.message for column in columns], tables=tables
            ),
        )
    )
    text.read(lambda: refuse_much_text(scope, parsed.select, draft))
    set_prices(draft, [max(1, math.floor(rho_units * share)) for share in shares])
    return Question(text.read(lambda: checked(sized(draft, setting), setting)))


def words_of(asked: SynthesizeQuery) -> str:
    """The request in one line, where a query would show its SQL."""
    rows = f" FROM {asked.source}" if asked.source else ""
    condition = f" WHERE {asked.where}" if asked.where else ""
    bins = f" IN {asked.bins} BINS" if asked.HasField("bins") else ""
    return f"SYNTHESIZE {asked.columns}{rows}{condition}{bins}"


def synthesis_notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    """What a developer is told about a plan that measures marginals: made of the plan and the declaration alone."""
    unit, synthesis = declaration.privacy_unit, plan.synthesis
    pairs = sum(not table.held_out for table in synthesis.tables)
    notes = [
        f"Every {unit} counts once: of one with m rows each row counts 1/m. A made-up row stands for one {unit}.",
        f"{pairs:,} marginals are measured to fit to, and {len(synthesis.tables) - pairs} to tell how good the fit is. "
        "What columns have in common beyond pairs of them is not in the rows.",
    ]
    notes += [_note_of(column) for column in synthesis.columns]
    notes += join_notes(plan.relation, declaration)
    return [*notes, *provider_notes(plan, declaration)]


def _note_of(column: SynthesisColumn) -> str:
    missing = ", and NULL," if column.nullable else ""
    if column.values:
        return f"{column.name}: {len(column.values)} declared values{missing} are kept; rows with others are left out."
    top = column.upper - 1 if column.integral else column.upper
    return (
        f"{column.name}: {number(column.lower)} to {number(top)} in {column.bins} ranges{missing} are told apart; "
        "values beyond count as the nearest, and within a range all are as likely."
    )


def _columns(select: exp.Select, scope: Scope, text: ComposedSelect) -> dict[str, exp.Expr]:
    """The expressions by their names."""
    found: dict[str, exp.Expr] = {}
    for item in select.expressions:
        name = item.alias_or_name or item.sql(dialect="duckdb")
        node = item.this if isinstance(item, exp.Alias) else item
        if name.lower() in (other.lower() for other in found):
            problem = scope.source.malformed(
                "same_name", f"Two columns are called {name}.", at=node, hint="Name one of them with AS."
            )
            raise text.told(problem)
        found[name] = node
    if not 2 <= len(found) <= MAX_COLUMNS:
        hint = "Ask for its counts with GROUP BY." if len(found) < 2 else "Leave some out."
        message = f"2 to {MAX_COLUMNS} columns make a synthesis, not {len(found)}."
        raise text.told(scope.source.refuse("columns", message, at=select.expressions[0], hint=hint))
    return found


def _levelled(scope: Scope, name: str, node: exp.Expr, bins: int) -> LevelledColumn:
    return levelled(scope, node, name, compile_term(scope, node), bins)


def _bins(asked: SynthesizeQuery, columns: int, rho_units: int, providers: int, max_units: int) -> int:
    """Into how many ranges a number is cut: as many as leave `WANTED_DISTANCE` at as many units as are declared."""
    if asked.HasField("bins"):
        if not MIN_BINS <= asked.bins <= MAX_BINS:
            raise Problem(
                Kind.MALFORMED,
                "bins",
                f"A number is cut into {MIN_BINS} to {MAX_BINS} ranges, not {asked.bins:,}.",
                field="bins",
                hint="leave bins out to have them chosen",
            )
        return asked.bins
    pairs = columns * (columns - 1) / 2
    fitted = (1 - UNITS_SHARE - HELD_OUT_SHARE) * rho_units / zcdp.RHO_UNITS
    deviation = providers * math.sqrt(max(pairs, 1) / (2 * fitted))
    cells = WANTED_DISTANCE * max_units / (deviation * math.sqrt(1 / (2 * math.pi)))
    return min(MAX_BINS, max(LEAST_BINS, math.floor(math.sqrt(cells))))


def _refuse_size(
    columns: Sequence[LevelledColumn], nodes: Sequence[exp.Expr], scope: Scope, text: ComposedSelect
) -> None:
    """Refuse pairs of columns that have more combinations than one marginal, or all of them than a plan."""
    sizes = [levels_of(column.message) for column in columns]
    for one, other in combinations(range(len(columns)), 2):
        cells = sizes[one] * sizes[other]
        if cells > MAX_BRANCHING:
            larger = one if sizes[one] >= sizes[other] else other
            names = f"{columns[one].message.name} and {columns[other].message.name}"
            problem = scope.source.refuse(
                "too_many_levels",
                f"{names} have {cells:,} combinations of values; {MAX_BRANCHING:,} are the most.",
                at=nodes[larger],
                hint="Ask for fewer bins, or make values coarser, as CASE WHEN ... END or FLOOR(x / 10) AS x.",
            )
            raise text.told(problem)
    total = sum(one * other for one, other in combinations(sizes, 2))
    if total > MAX_CELLS - HELD_OUT * HELD_OUT_LEVELS**3 - 1:
        message = f"The columns have {total:,} combinations of two values; about {MAX_CELLS:,} are the most."
        hint = "Leave columns out, or ask for fewer bins."
        raise text.told(scope.source.refuse("too_many_levels", message, at=nodes[0], hint=hint))


def _tables(columns: Sequence[SynthesisColumn]) -> tuple[list[SynthesisTable], list[float]]:
    """The marginals, and the shares of ρ: of the units, then of each marginal."""
    sizes = [levels_of(column) for column in columns]
    pairs = list(combinations(range(len(columns)), 2))
    weights = [(sizes[one] * sizes[other]) ** (2 / 3) for one, other in pairs]
    held_out = _held_out(len(columns))
    tables = [SynthesisTable(statistic=index, columns=pair, merged=[1, 1]) for index, pair in enumerate(pairs, start=1)]
    for index, chosen in enumerate(held_out, start=1 + len(pairs)):
        merged = [-(-sizes[column] // HELD_OUT_LEVELS) for column in chosen]
        tables.append(SynthesisTable(statistic=index, columns=chosen, merged=merged, held_out=True))
    fitted = 1 - UNITS_SHARE - HELD_OUT_SHARE
    shares = [UNITS_SHARE, *(fitted * weight / sum(weights) for weight in weights)]
    return tables, shares + [HELD_OUT_SHARE / len(held_out)] * len(held_out)


def _held_out(columns: int) -> list[tuple[int, ...]]:
    """Columns to be measured together, and not fitted to: triples that no two of have two columns in common, if they
    can be; of two columns the pair."""
    if columns == 2:
        return [(0, 1)]
    chosen: list[tuple[int, ...]] = []
    for most_common in (1, 2):
        for triple in combinations(range(columns), 3):
            if len(chosen) < HELD_OUT and all(len(set(triple) & set(each)) <= most_common for each in chosen):
                chosen.append(triple)
    return chosen


def _marginal(table: SynthesisTable, columns: Sequence[LevelledColumn]) -> Statistic:
    """A count of rows by their combinations of levels: one level of ranges, each around one index."""
    term: Expression | None = None
    cells = 1
    for place, merged in zip(table.columns, table.merged, strict=True):
        size = -(-levels_of(columns[place].message) // merged)
        level = reference(place)
        if merged > 1:
            level = _call(Call.FUNCTION_FLOOR, over(level, float(merged)))
        if term is not None:
            level = _call(Call.FUNCTION_ADD, _call(Call.FUNCTION_MULTIPLY, term, float_literal(float(size))), level)
        term, cells = level, cells * size
    return Statistic(range_counts=RangeCounts(term=term, lower=-0.5, upper=cells - 0.5, branching=cells, levels=1))


def _call(function: Call.Function.ValueType, *operands: Expression) -> Expression:
    return Expression(call=Call(function=function, operands=operands))
