"""How much text a plan goes through: a bound on what one unit's texts can add to the time that it takes.

*The claim.* Let a unit have at most `max_rows_per_unit` rows in each table, or `COUNTED_ROWS` where more are declared.
Whatever its texts are, the operators of an accepted plan go through them in at most `MAX_WORK` steps, a step being
what it takes to read a byte, about a nanosecond. That is a quarter of the narrowest step of the release grid at most
(`tests/attacks/test_time_buckets.py` searches for plans that do worse). Rows themselves take time, too; that time
depends on their number and on no text.

*The argument.* By induction over relations and expressions, every text column or expression has a `Text`: the most
bytes that one text of it has, and the most that all texts of one unit have together.

- A stored column's texts are cut to its `max_length`, and those of a unit have at most `unit_bytes` together, however
  many rows it has; more is not sealed (`sealed.preparation`). Only columns of short texts, `LISTED_LENGTH` at most, may
  have more of them, with more rows than declared: what these add depends on the number of rows, as all else about rows.
- Selections and rankings make no text, aggregations choose some of those below them. A join repeats a row of one side
  at most as often as the unit keeps rows of the other.
- Constants and look-ups put bytes into each row that are the plan's. They depend on the number of rows alone, and are
  counted for the rows that are declared.
- Of what functions put together, cut out or choose, the bytes are those of the operands, or fewer.

No operator takes longer than a number of steps for each byte of its operands, which `_STEPS` has for functions and
`_pattern_steps` for LIKE. They are measured, on the worst texts that were found, and rounded up.

An expression that is written twice is counted twice, though an engine may compute it once; and every operand of a
condition is counted, though an engine may stop at the first. So the bound holds whichever of it an engine does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.message import Message
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_STRING,
    Call,
    Conditional,
    Expression,
    LookUp,
    Membership,
    Pattern,
    Plan,
    Relation,
    UnitMeasure,
    Value,
)

from enclave_sim.plan.errors import PlanError, require
from enclave_sim.plan.relations import max_rows_bound
from enclave_sim.plan.schema import LONGEST_CHARACTER, is_unit, max_length, unit_bytes

MAX_WORK = 8_000_000
"""Steps for the texts of one unit."""

COUNTED_ROWS = 1000
"""Rows of a unit that are counted where more are declared: by their number alone more of them take more than a step."""

MAX_TEXT = 2**20
"""UTF-8 bytes of one text that is put together: an engine holds those of many rows at a time."""

UNSEALING = 2
"""Steps for each stored byte of a column, wherever it is named: to decrypt and to decompress."""

KEEPING = 4
"""Steps for each byte of what a projection, a key or a measure is made of: to hash, to compare, to copy."""

ORDERING = 8
"""Steps for each byte of what rows are ranked by."""

_NUMBER_BYTES = 20
"""Bytes of a number, a date or a truth value as a text."""

_CONSTANT_SHARE = 16
"""Bytes that are compared in a step."""

_STEPS: Mapping[Call.Function.ValueType, int] = {
    Call.FUNCTION_LOWER: 25,
    Call.FUNCTION_UPPER: 25,
    Call.FUNCTION_TRIM: 12,
    Call.FUNCTION_LENGTH: 1,
    Call.FUNCTION_SUBSTRING: 2,
    Call.FUNCTION_CONCATENATE: 2,
    Call.FUNCTION_LEAST: 2,
    Call.FUNCTION_GREATEST: 2,
    Call.FUNCTION_COALESCE: 1,
    Call.FUNCTION_TO_INT64: 4,
}
"""Steps for each byte of the operands; other functions take no texts."""


@dataclass(frozen=True)
class Text:
    """UTF-8 bytes of a column or expression; 0 for what is no string."""

    longest: int = 0
    """Of one row, at most."""
    together: int = 0
    """Of all rows of one unit, at most."""
    sealed: int = 0
    """Of a stored column, which has to be unsealed where it is named: as `together`, no row being repeated."""


@dataclass(frozen=True)
class Rows:
    """What of a relation counts here."""

    rows: int
    """Rows of one unit that are counted."""
    texts: Mapping[str, Text]
    """Of string columns, by name."""
    work: int
    """Steps that one unit's texts take up to here."""


_NO_TEXT = Text()
_CHOOSING = (UnitMeasure.FUNCTION_MINIMUM, UnitMeasure.FUNCTION_MAXIMUM)
_NOT_WALKED = (Relation.DESCRIPTOR, Value.DESCRIPTOR)
"""Relations are gone through by themselves, and in values there is no expression."""


def check_text_work(plan: Plan, declaration: DatasetDeclaration) -> None:
    """Refuse a plan that goes through more of a unit's text than is allowed.

    Args:
        plan: one whose relation and expressions are well-formed.
        declaration: one that `schema.check_declaration` accepts.

    Raises:
        PlanError: naming the bound.
    """
    require_work(total_work(plan, declaration), "plan")


def total_work(plan: Plan, declaration: DatasetDeclaration) -> int:
    """Steps that one unit's texts take in all of a plan; raises PlanError as `check_text_work` for one long text."""
    over = rows_of(plan.relation, declaration)
    return over.work + _kept(_expressions(plan), over)


def check_expression_work(expression: Expression, over: Rows, path: str) -> None:
    """Refuse an expression that alone goes through more of a unit's text than a plan may.

    Raises:
        PlanError: with the path.
    """
    require_work(_of(expression, over)[1], path)


def require_work(work: int, path: str) -> None:
    """Refuse more work than is allowed.

    Raises:
        TextWorkError: with the path.
    """
    if work > MAX_WORK:
        raise TextWorkError(path, work)


class TextWorkError(PlanError):
    """A plan goes through too much text: `work` steps."""

    def __init__(self, path: str, work: int) -> None:
        super().__init__(path, f"goes through one unit's texts in {work:,} steps; {MAX_WORK:,} are allowed")
        self.work, self.most = work, MAX_WORK


def kept_work(expression: Expression, over: Rows, steps: int = KEEPING) -> int:
    """Steps for computing an expression over the rows of a relation, and so many for each byte of what it is."""
    text, work = _of(expression, over)
    return work + steps * text.together


def rows_of(relation: Relation, declaration: DatasetDeclaration) -> Rows:
    """The texts of a well-formed relation, and the work for them."""
    match relation.WhichOneof("kind"):
        case "scan":
            return _scan(relation.scan.table, declaration)
        case "selection":
            below = rows_of(relation.selection.input, declaration)
            _, work = _of(relation.selection.condition, below)
            return Rows(below.rows, below.texts, below.work + work)
        case "projection":
            below = rows_of(relation.projection.input, declaration)
            named = {column.name: column.expression for column in relation.projection.columns}
            return Rows(below.rows, _texts(named, below), below.work + _kept(named.values(), below))
        case "unit_aggregation":
            return _aggregation(relation, declaration)
        case "unit_ranking":
            below = rows_of(relation.unit_ranking.input, declaration)
            work = _kept(_expressions(relation.unit_ranking), below, ORDERING)
            return Rows(below.rows, below.texts, below.work + work)
        case "unit_join":
            return _join(relation, declaration)
        case other:
            raise PlanError("relation", f"has a part of an unknown kind: {other}")


def _scan(name: str, declaration: DatasetDeclaration) -> Rows:
    table = next(table for table in declaration.tables if table.name == name)
    rows = min(table.max_rows_per_unit, COUNTED_ROWS)
    texts = {}
    for column in table.columns:
        if column.type == COLUMN_TYPE_STRING and not is_unit(column):
            together = unit_bytes(column, rows)
            texts[column.name] = Text(max_length(column), together, together)
    return Rows(rows, texts, 0)


def _aggregation(relation: Relation, declaration: DatasetDeclaration) -> Rows:
    aggregation = relation.unit_aggregation
    below = rows_of(aggregation.input, declaration)
    named = {key.name: key.expression for key in aggregation.keys}
    # A measure that is a text is one of its argument's.
    named |= {each.name: each.argument for each in aggregation.measures if each.function in _CHOOSING}
    texts = _texts(named, below)
    work = below.work + _kept(_expressions(aggregation), below)
    if aggregation.keys:
        return Rows(below.rows, texts, work)
    return Rows(1, {name: Text(text.longest, min(text.longest, text.together)) for name, text in texts.items()}, work)


def _join(relation: Relation, declaration: DatasetDeclaration) -> Rows:
    join = relation.unit_join
    left, right = rows_of(join.left, declaration), rows_of(join.right, declaration)
    # As many as there may be of a unit with more rows than are declared.
    most_left = min(max_rows_bound(join.left), join.max_left_rows)
    most_right = min(max_rows_bound(join.right), join.max_right_rows)
    texts = {**_repeated(left, most_left, most_right), **_repeated(right, most_right, most_left)}
    pairs = Rows(min(left.rows, most_left) * min(right.rows, most_right), texts, left.work + right.work)
    work = _of(join.condition, pairs)[1] if join.HasField("condition") else 0
    return Rows(pairs.rows, texts, pairs.work + work)


def _repeated(rows: Rows, kept: int, times: int) -> dict[str, Text]:
    """The texts of one side, of which a unit keeps so many rows, each with so many of the other side."""
    return {
        name: Text(text.longest, min(text.together, kept * text.longest) * times, text.sealed)
        for name, text in rows.texts.items()
    }


def _texts(named: Mapping[str, Expression], over: Rows) -> dict[str, Text]:
    found = {name: _of(expression, over)[0] for name, expression in named.items()}
    return {name: text for name, text in found.items() if text != _NO_TEXT}


def _kept(expressions: Iterable[Expression], over: Rows, steps: int = KEEPING) -> int:
    return sum(kept_work(each, over, steps) for each in expressions)


def _expressions(message: Message) -> Iterator[Expression]:
    """The outermost expressions in a message, whatever they are in; but for those of relations in it."""
    for field, content in message.ListFields():
        if field.message_type is None or field.message_type in _NOT_WALKED:
            continue
        for part in [content] if isinstance(content, Message) else content:
            if isinstance(part, Expression):
                yield part
            else:
                yield from _expressions(part)


def _of(expression: Expression, over: Rows) -> tuple[Text, int]:  # noqa: PLR0911, PLR0912 - one for each kind
    """The text that an expression is, and the steps for computing it."""
    match expression.WhichOneof("kind"):
        case "column":
            text = over.texts.get(expression.column.name, _NO_TEXT)
            return Text(text.longest, text.together), text.together + UNSEALING * text.sealed
        case "literal":
            return _constant([expression.literal], over), 0
        case "call":
            return _call(expression.call, over)
        case "conditional":
            return _conditional(expression.conditional, over)
        case "pattern":
            text, work = _of(expression.pattern.operand, over)
            return _NO_TEXT, work + _pattern_steps(expression.pattern) * text.together
        case "membership":
            return _membership(expression.membership, over)
        case "look_up":
            return _look_up(expression.look_up, over)
        case "comparison":
            parts = [_of(expression.comparison.left, over), _of(expression.comparison.right, over)]
        case "conjunction":
            parts = [_of(operand, over) for operand in expression.conjunction.operands]
        case "disjunction":
            parts = [_of(operand, over) for operand in expression.disjunction.operands]
        case "negation":
            parts = [_of(expression.negation.operand, over)]
        case "null_test":
            parts = [_of(expression.null_test.operand, over)]
        case other:
            raise PlanError("plan", f"has an expression of an unknown kind: {other}")
    return _NO_TEXT, sum(work + text.together for text, work in parts)


def _call(call: Call, over: Rows) -> tuple[Text, int]:
    parts = [_of(operand, over) for operand in call.operands]
    texts = [text for text, _ in parts]
    work = sum(work for _, work in parts)
    together, longest = sum(text.together for text in texts), max((text.longest for text in texts), default=0)
    if together:
        work += _STEPS[call.function] * together
    match call.function:
        case Call.FUNCTION_TO_STRING:
            return Text(_NUMBER_BYTES, _NUMBER_BYTES * over.rows), work
        case Call.FUNCTION_LENGTH | Call.FUNCTION_TO_INT64:
            return _NO_TEXT, work
        case Call.FUNCTION_CONCATENATE:
            whole = sum(text.longest for text in texts)
            require(whole <= MAX_TEXT, "plan", f"puts together texts of more than {MAX_TEXT:,} bytes")
            return Text(whole, together), work
        case Call.FUNCTION_SUBSTRING:
            most = min(longest, LONGEST_CHARACTER * call.operands[2].literal.int64_value)
            return Text(most, min(together, most * over.rows)), work
        case _:
            return Text(longest, together), work


def _conditional(conditional: Conditional, over: Rows) -> tuple[Text, int]:
    """Each row takes one result, which row which is not known."""
    conditions = sum(_of(branch.condition, over)[1] for branch in conditional.branches)
    results = [_of(branch.result, over) for branch in conditional.branches]
    if conditional.HasField("otherwise"):
        results.append(_of(conditional.otherwise, over))
    together = sum(text.together for text, _ in results)
    work = conditions + sum(work for _, work in results) + together
    return Text(max(text.longest for text, _ in results), together), work


def _membership(membership: Membership, over: Rows) -> tuple[Text, int]:
    """Looking for a text among others takes a comparison with each at most, of as many bytes as the shorter one has."""
    text, work = _of(membership.operand, over)
    if not text.together:
        return _NO_TEXT, work
    lengths = [len(value.string_value.encode()) for value in membership.values]
    compared = sum(min(text.together, over.rows * length) for length in lengths)
    return _NO_TEXT, work + text.together + compared // _CONSTANT_SHARE


def _look_up(look_up: LookUp, over: Rows) -> tuple[Text, int]:
    """By a hash, and a comparison with what has the same one."""
    text, work = _of(look_up.operand, over)
    found = _constant([entry.value for entry in look_up.entries], over)
    return found, work + KEEPING * text.together


def _constant(values: Iterable[Value], over: Rows) -> Text:
    longest = max((len(value.string_value.encode()) for value in values), default=0)
    return Text(longest, longest * over.rows)


def _pattern_steps(pattern: Pattern) -> int:
    """Steps of LIKE for each byte of a text.

    The parts between % are looked for one after another, each where the one before it ends, and none is left again. At
    a place of the text a part is compared up to its end. Without _ it is looked for much faster.
    """
    parts = pattern.pattern.split("%")
    lengths = [(len(part.encode()), "_" in part) for part in parts]
    return 6 + max(5 * length if has_any else length // 64 for length, has_any in lengths)
