"""What a query asks, before anything is decided about how it is measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import LookUpTable

from enclave_sim.plan.relations import WHOLE_UNIT_OPERATORS, operators_of
from gateway.planning.aggregates import Aggregate, Function
from gateway.planning.formulas import aggregates_of
from gateway.planning.keys import Listed
from gateway.planning.presentation import Presentation, read_presentation
from gateway.planning.scope import Scope
from gateway.planning.selection import Selection, ShownFormula, labelled, read_selection
from gateway.planning.sources import read_source
from gateway.planning.sql import ParsedSelect
from gateway.planning.tabulations import tabulated

# Parts of a SELECT that are looked at last: a raw column is the greater surprise.
_REFUSED = {
    "distinct": ("SELECT DISTINCT cannot be asked.", "Use GROUP BY with a column that has declared values."),
    "sample": ("Sampling cannot be asked.", "Leave it out: every row is used."),
    "into": ("A query writes nothing.", "Leave INTO out."),
}
_SOURCE = frozenset({"with_", "from_", "joins", "laterals", "where"})
_UNDERSTOOD = _SOURCE | {"expressions", "group", "having", "qualify", "windows", "order", "limit", "offset"}


@dataclass(frozen=True)
class Asked:
    """A query that was understood."""

    select: exp.Select
    scope: Scope
    selection: Selection
    presentation: Presentation

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """All that is asked for, shown or not."""
        shown = [column.formula for column in self.selection.shown if isinstance(column, ShownFormula)]
        return tuple(found for formula in (*shown, *self.presentation.formulas) for found in aggregates_of(formula))

    def knowing(self, found: Sequence[Listed]) -> Asked:
        """The same with values for the unknown keys."""
        return replace(self, selection=replace(self.selection, keys=self.selection.keys.knowing(found)))


def read_question(
    parsed: ParsedSelect,
    declaration: DatasetDeclaration,
    lookups: Mapping[str, LookUpTable] | None = None,
    mentioned: Collection[str] = (),
) -> Asked:
    """The meaning of a SELECT; `lookups` are from `public_tables.check_tables`.

    Args:
        mentioned: names that its rows are to keep, beside those that it says itself.

    Raises:
        Problem: with the place of whatever cannot be asked.
    """
    scope = read_source(parsed.source, parsed.select, declaration, lookups, mentioned)
    rows = tabulated(scope, parsed)
    scope, parsed = rows.scope, rows.parsed
    selection = labelled(read_selection(scope, parsed), rows.labels)
    presentation = read_presentation(scope, parsed.select, selection)
    for name, (message, hint) in _REFUSED.items():
        part = parsed.select.args.get(name)
        if part:
            raise parsed.source.unsupported(message, at=_node(part), hint=hint)
    for name, part in parsed.select.args.items():
        if part and name not in _UNDERSTOOD:
            raise parsed.source.unsupported(
                f"{name.strip('_').replace('_', ' ').upper()} cannot be asked.",
                at=_node(part) or parsed.select,
                hint="Ask with SELECT, FROM, JOIN, WHERE, GROUP BY, HAVING, QUALIFY, ORDER BY and LIMIT.",
            )
    return Asked(parsed.select, scope, selection, presentation)


def _node(part: object) -> exp.Expr | None:
    node = part[0] if isinstance(part, list) else part
    return node if isinstance(node, exp.Expr) else None


def refuse_units(asked: Asked, parties: int) -> None:
    """Refuse what needs all rows of a unit at one provider, or one group for each unit, where that is not so."""
    source = asked.scope.source
    refuse_whole_units(asked.scope, asked.select, parties)
    counts_units = any(aggregate.function is Function.UNITS for aggregate in asked.aggregates)
    counted = next((aggregate.counted for aggregate in asked.aggregates if aggregate.counted is not None), None)
    scattered = _is_scattered(asked.scope, parties)
    if scattered and counts_units:
        raise source.refuse(
            "units_not_disjoint",
            "A unit may appear at several providers, each of which would count it.",
            at=asked.select.find(exp.Distinct),
            hint="Ask for COUNT(*).",
        )
    if scattered and counted is not None:
        raise source.refuse(
            "units_not_disjoint",
            "A unit may appear at several providers, so nobody can tell how many units have a value.",
            at=counted.node,
            hint=f"Ask for COUNT(*) with GROUP BY {counted.term.label}.",
        )
    if counts_units and asked.selection.keys.sets:
        raise source.unsupported(
            "Units cannot be counted with ROLLUP, CUBE or GROUPING SETS: one unit may be in several groups.",
            at=asked.select.find(exp.Distinct),
            hint="Ask for COUNT(DISTINCT ...) in one query for each set of keys.",
        )


def refuse_whole_units(scope: Scope, select: exp.Select, parties: int) -> None:
    """Refuse rows that are made of all rows of a unit, where no provider may have them all."""
    whole = (part for part in operators_of(scope.relation) if part.WhichOneof("kind") in WHOLE_UNIT_OPERATORS)
    if _is_scattered(scope, parties) and any(whole):
        raise scope.source.refuse(
            "units_not_disjoint",
            "A unit may appear at several providers, so no provider has all rows to join or aggregate for it.",
            at=select.args["from_"],
            hint="Ask each table by itself, row by row.",
        )


def _is_scattered(scope: Scope, parties: int) -> bool:
    return parties > 1 and not scope.declaration.units_disjoint
