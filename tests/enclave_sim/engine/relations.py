"""Relations of the plan language in a line."""

from collections.abc import Mapping, Sequence

from yingbi.api.v1.plan_pb2 import (
    Expression,
    NamedExpression,
    Ordering,
    Projection,
    Relation,
    Scan,
    Selection,
    UnitAggregation,
    UnitJoin,
    UnitMeasure,
    UnitRanking,
)

from .expressions import Operand, operand


def scan(table: str) -> Relation:
    return Relation(scan=Scan(table=table))


VISITS = scan("visits")


def selected(over: Relation, condition: Expression) -> Relation:
    return Relation(selection=Selection(input=over, condition=condition))


def projected(over: Relation, columns: Mapping[str, Operand]) -> Relation:
    return Relation(projection=Projection(input=over, columns=_named(columns)))


def aggregated(over: Relation, keys: Mapping[str, Operand], *measures: UnitMeasure) -> Relation:
    return Relation(unit_aggregation=UnitAggregation(input=over, keys=_named(keys), measures=measures))


def measure(name: str, function: str, argument: Operand | None = None, where: Expression | None = None) -> UnitMeasure:
    """The function by its name in lower case: `count_rows`."""
    return UnitMeasure(
        name=name,
        function=UnitMeasure.Function.Value(f"FUNCTION_{function.upper()}"),
        argument=None if argument is None else operand(argument),
        filter=where,
    )


def ranked(over: Relation, name: str, by: Sequence[Ordering | Operand], within: Sequence[Operand] = ()) -> Relation:
    """A ranking in the order of `by`, ascending unless it says `descending`."""
    order_by = [given if isinstance(given, Ordering) else Ordering(expression=operand(given)) for given in by]
    parts = [operand(given) for given in within]
    return Relation(unit_ranking=UnitRanking(input=over, name=name, partition_by=parts, order_by=order_by))


def descending(given: Operand) -> Ordering:
    return Ordering(expression=operand(given), descending=True)


def joined(
    left: Relation,
    right: Relation,
    on: Expression | None = None,
    kind: str = "inner",
    max_left_rows: int = 1023,
    max_right_rows: int = 1023,
) -> Relation:
    join = UnitJoin(
        left=left,
        right=right,
        kind=UnitJoin.Kind.Value(f"KIND_{kind.upper()}"),
        condition=on,
        max_left_rows=max_left_rows,
        max_right_rows=max_right_rows,
    )
    return Relation(unit_join=join)


def _named(columns: Mapping[str, Operand]) -> list[NamedExpression]:
    return [NamedExpression(name=name, expression=operand(given)) for name, given in columns.items()]
