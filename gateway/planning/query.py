"""From a SQL query to a plan."""

from __future__ import annotations

from math import prod

from sqlglot import exp
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Clipping, GroupKey, Noise, Plan

from enclave_sim.plan.outputs import MAX_OUTPUTS
from enclave_sim.plan.sensitivity import MAX_SLOT_BITS, slot_bits_needed
from enclave_sim.plan.statistics import MAX_STATISTICS
from enclave_sim.plan.validation import (
    FRACTION_BITS,
    LANGUAGE_VERSION,
    MAX_CELLS,
    MAX_GROUPS,
    MAX_KEYS,
    check_plan,
)
from gateway.planning.conditions import compile_filter
from gateway.planning.scope import Scope, reference, table_scope
from gateway.planning.selection import Aggregate, Selection, ShownAggregate, read_selection
from gateway.planning.sql import ParsedSelect, parse_select
from gateway.planning.statistics import Measurement, choose_statistics, share_budget

# Parts of a SELECT that other rows or tables come in by; looked at before names are.
_SOURCES = {
    "with_": ("WITH cannot be asked.", "Name a table of the dataset in FROM."),
    "joins": ("Only one table can be asked at a time.", "Ask each table by itself."),
    "laterals": ("Only one table can be asked at a time.", "Ask each table by itself."),
}
# Parts that come after the list; looked at last, since a raw column is the greater surprise.
_TAIL = {
    "distinct": ("SELECT DISTINCT cannot be asked.", "Use GROUP BY with a column that has declared values."),
    "having": ("HAVING cannot be asked.", "Leave it out and filter the answer."),
    "qualify": ("QUALIFY cannot be asked.", "Leave it out and filter the answer."),
    "windows": ("Window functions cannot be asked.", "Leave WINDOW out."),
    "order": ("ORDER BY cannot be asked.", "Leave it out and sort the answer."),
    "limit": ("LIMIT cannot be asked.", "Leave it out and cut the answer."),
    "offset": ("OFFSET cannot be asked.", "Leave it out and cut the answer."),
    "sample": ("Sampling cannot be asked.", "Leave it out: every row is used."),
    "into": ("A query writes nothing.", "Leave INTO out."),
}
_UNDERSTOOD = frozenset({"expressions", "from_", "where", "group"})


def plan_query(
    sql: str,
    declaration: DatasetDeclaration,
    *,
    dataset_version: bytes,
    parties: int,
    epsilon: float,
    delta: float,
) -> Plan:
    """The plan that answers a query within (ε, δ).

    Args:
        sql: one SELECT over one table; `selection` and `conditions` say what may stand in it.
        declaration: one that `enclave_sim.plan.schema.check_declaration` accepts.
        dataset_version: of the dataset at present.
        parties: how many providers add noise; at least 1.
        epsilon, delta: the whole query's; see `yingbi.api.zcdp.check_parameters`.

    Returns:
        A plan that `enclave_sim.plan.validation.check_plan` accepts.

    Raises:
        Problem: the query or a parameter cannot be read (MALFORMED), names something that is not there
            (UNKNOWN), or asks for what cannot be asked (REFUSED).
    """
    rho_units = _rho_units(epsilon, delta)
    parsed = parse_select(sql)
    scope = _scope(parsed, declaration)
    selection = read_selection(scope, parsed)
    where = parsed.select.args.get("where")
    condition = compile_filter(scope, where.this) if isinstance(where, exp.Where) else None
    _refuse_parts(parsed, _TAIL)
    _refuse_other_parts(parsed)
    _refuse_units_elsewhere(scope, selection, parties)
    measurement = choose_statistics(selection)
    _refuse_size(selection, measurement)
    plan = _plan(scope, selection, measurement, parties)
    plan.dataset_version, plan.epsilon, plan.delta = dataset_version, epsilon, delta
    if condition is not None:
        plan.filter.CopyFrom(condition)
    share_budget(plan, rho_units)
    plan.slot_bits = slot_bits_needed(plan, max_units=declaration.max_units)
    if plan.slot_bits > MAX_SLOT_BITS:
        raise Problem(
            Kind.REFUSED,
            "too_wide",
            f"A cell of the answer would need {plan.slot_bits} bits; {MAX_SLOT_BITS} are there.",
            hint="Ask with a larger epsilon; the dataset's max_units and max_rows_per_unit count as well.",
        )
    check_plan(plan, declaration, dataset_version=dataset_version)
    return plan


def _rho_units(epsilon: float, delta: float) -> int:
    try:
        return zcdp.rho_units_for(epsilon, delta)
    except zcdp.BadPrivacyParameter as error:
        raise Problem(Kind.MALFORMED, error.field, f"{error}.", field=error.field) from error


def _scope(parsed: ParsedSelect, declaration: DatasetDeclaration) -> Scope:
    _refuse_parts(parsed, _SOURCES)
    return table_scope(parsed, declaration)


def _refuse_parts(parsed: ParsedSelect, parts: dict[str, tuple[str, str]]) -> None:
    for name, (message, hint) in parts.items():
        part = parsed.select.args.get(name)
        if part:
            node = part[0] if isinstance(part, list) else part
            raise parsed.source.unsupported(message, at=node if isinstance(node, exp.Expr) else None, hint=hint)


def _refuse_other_parts(parsed: ParsedSelect) -> None:
    for name, part in parsed.select.args.items():
        if part and name not in _UNDERSTOOD:
            node = part[0] if isinstance(part, list) else part
            raise parsed.source.unsupported(
                f"{name.strip('_').replace('_', ' ').upper()} cannot be asked.",
                at=node if isinstance(node, exp.Expr) else parsed.select,
                hint="Ask with SELECT, FROM, WHERE and GROUP BY only.",
            )


def _refuse_units_elsewhere(scope: Scope, selection: Selection, parties: int) -> None:
    counts_units = any(
        isinstance(item, ShownAggregate) and item.aggregate is Aggregate.UNITS for item in selection.shown
    )
    if counts_units and parties > 1 and not scope.declaration.units_disjoint:
        raise Problem(
            Kind.REFUSED,
            "units_not_disjoint",
            "A unit may appear at several providers, each of which would count it.",
            field="sql",
            hint="Ask for COUNT(*).",
        )


def _refuse_size(selection: Selection, measurement: Measurement) -> None:
    groups = prod(len(key.values) for key in selection.keys)
    if groups > MAX_GROUPS or groups * len(measurement.statistics) > MAX_CELLS or len(selection.keys) > MAX_KEYS:
        raise Problem(
            Kind.REFUSED,
            "too_many_groups",
            f"The query makes {groups:,} groups; {MAX_GROUPS:,} are allowed, and {MAX_CELLS:,} cells in all.",
            field="sql",
            hint="Group by fewer columns.",
        )
    if len(measurement.statistics) > MAX_STATISTICS or len(measurement.outputs) > MAX_OUTPUTS:
        raise Problem(
            Kind.REFUSED,
            "too_many_statistics",
            f"The query needs {len(measurement.statistics)} statistics and {len(measurement.outputs)} columns; "
            f"{MAX_STATISTICS} and {MAX_OUTPUTS} are allowed.",
            field="sql",
            hint="Ask in several queries.",
        )


def _plan(scope: Scope, selection: Selection, measurement: Measurement, parties: int) -> Plan:
    groups = prod(len(key.values) for key in selection.keys)
    max_rows = scope.table.max_rows_per_unit
    return Plan(
        language_version=LANGUAGE_VERSION,
        dataset=scope.declaration.dataset,
        table=scope.table.name,
        group_by=[_group_key(key) for key in selection.keys],
        statistics=measurement.statistics,
        clipping=Clipping(max_rows=max_rows, max_groups=min(groups, max_rows)),
        fraction_bits=FRACTION_BITS,
        noise=Noise(parties=parties, parties_per_unit=1 if scope.declaration.units_disjoint else parties),
        outputs=measurement.outputs,
    )


def _group_key(column: ColumnDeclaration) -> GroupKey:
    return GroupKey(column=reference(column), values=column.values)
