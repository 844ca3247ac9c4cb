"""From a model to evaluate to a plan: tables of what is true by what the model says, and sums of its errors.

Every unit (person) counts once: `clipping.max_rows` = 1, so that a unit with m rows has 1/m of each. A row is in one
cell of a table; so the unit's part of a table is the mean of vectors that have one 1, and is 1 long at most, whatever
the rows are and whatever the model says of them. That makes a table of any size one release with Δ = p, p being the
providers that a unit may appear at (`sensitivity.delta2_squared`, range counts of one level). What is measured and
within which bounds is declared or asked for; nothing is of data.

**Binary:** group x truth x score, by equal ranges of the score. All else follows: accuracy at any threshold, ROC and
PR curves, AUC, calibration. **Several classes:** group x truth x predicted, and group x right x confidence, with half
of ρ each. **Numbers:** sums of 1, e, |e|, e², z, z², e being the error and z the response, each cut to its declared
range: W = 6 releases, each with a sixth of ρ; a table of errors would need a width to be chosen for its ranges.

A table is one level of range_counts whose term is the number of the cell: what the plan language has anyway, so that
no new statistic needs a proof.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import EvaluateQuery
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    BoundedSum,
    Call,
    Clipping,
    ColumnReference,
    Comparison,
    Conditional,
    CountMeasure,
    Evaluation,
    EvaluationKey,
    Expression,
    GroupKey,
    Measure,
    Membership,
    Model,
    NamedExpression,
    NullTest,
    Output,
    Plan,
    Projection,
    RangeCountMeasure,
    RangeCounts,
    Relation,
    RowCount,
    Selection,
    Statistic,
    Value,
)

from enclave_sim.plan.evaluations import (
    CONFIDENCE,
    HASH_BYTES,
    MAX_BINS,
    MAX_CLASSES,
    MAX_EVALUATION_KEYS,
    PREDICTED,
    PREDICTION,
)
from enclave_sim.plan.statistics import MAX_BRANCHING
from enclave_sim.plan.values import NUMERIC, to_python, type_name
from gateway.planning import moments
from gateway.planning.asked import refuse_whole_units
from gateway.planning.evaluation_rows import EvaluationRows, read_rows
from gateway.planning.float_expressions import as_float, cut, float_literal, less, over
from gateway.planning.notes import join_notes, provider_notes
from gateway.planning.query import Question, Setting, bought_rho_units, checked, sized
from gateway.planning.scope import Scope, Term
from gateway.planning.statistics import set_prices
from gateway.planning.subjects import Subject, bounded
from gateway.planning.text_lengths import refuse_much_text
from gateway.planning.wording import number

LEAST_BINS, MOST_BINS = 10, 100
CONFIDENCE_BINS = 20
TRUTH = "truth"

_TASKS = {
    Evaluation.TASK_BINARY: "binary",
    Evaluation.TASK_MULTICLASS: "multiclass",
    Evaluation.TASK_REGRESSION: "regression",
}


def plan_evaluation(
    asked: EvaluateQuery,
    declaration: DatasetDeclaration,
    *,
    dataset_version: bytes,
    parties: int,
    epsilon: float,
    delta: float,
) -> Question:
    """The plan that evaluates a model within (ε, δ); the arguments as for `query.plan_question`.

    Raises:
        Problem: a part cannot be read (MALFORMED), names something that is not there (UNKNOWN), or asks for what
            cannot be asked (REFUSED).
    """
    _check_asked(asked)
    setting = Setting(declaration, dataset_version, parties, epsilon, delta)
    rho_units = bought_rho_units(epsilon, delta)
    rows = read_rows(asked, declaration)
    rows.text.read(lambda: refuse_whole_units(rows.scope, rows.parsed.select, parties))
    _refuse_other_inputs(rows)
    by = [_key(rows, term) for term in rows.by]
    # What noise leaves of a count, in units; for choosing how fine scores are told apart.
    noise = setting.parties_per_unit / math.sqrt(2 * rho_units / zcdp.RHO_UNITS)
    told = _told(asked, rows, by, declaration.max_units, noise)
    plan = setting.plan(
        Plan(
            relation=_relation(asked, rows, told),
            clipping=Clipping(max_rows=1, max_groups=1),
            evaluation=told,
        )
    )
    _measure(plan)
    set_prices(plan, [rho_units // len(plan.statistics)] * len(plan.statistics))
    rows.text.read(lambda: refuse_much_text(rows.scope, rows.parsed.select, plan))
    return Question(checked(sized(plan, setting), setting))


def words_of(asked: EvaluateQuery) -> str:
    """The evaluation in one line, where a query would show its SQL."""
    rows = f" FROM {asked.rows}" if asked.rows else ""
    condition = f" WHERE {asked.where}" if asked.where else ""
    by = f" BY {asked.by}" if asked.by else ""
    task = _TASKS.get(asked.task, "MODEL")
    return f"EVALUATE {task} {asked.sha256.hex()} ON {asked.inputs} FOR {asked.response}{rows}{condition}{by}"


def evaluation_notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    """What a developer is told about a plan that evaluates: made of the plan and the declaration alone."""
    unit, told = declaration.privacy_unit, plan.evaluation
    notes = [f"Every {unit} counts once, by the mean over its rows."]
    notes.append("Rows with a NULL in the response, or with a group that is not declared, are left out.")
    span = f"[{number(told.lower)}, {number(told.upper)}]"
    match told.task:
        case Evaluation.TASK_BINARY:
            notes.append(f"Scores are told apart by {told.bins} equal ranges of {span}; others count as the nearest.")
        case Evaluation.TASK_MULTICLASS:
            notes.append(f"Confidence is told apart by {told.bins} equal ranges of {span}.")
        case _:
            error = number(told.error)
            notes.append(f"Errors beyond ±{error} count as ±{error}, and so does a prediction that is no number.")
            notes.append(f"Values of the response outside {span} count as the nearest bound in R² and its mean.")
    if told.by and told.task == Evaluation.TASK_REGRESSION:
        notes.append(f"Any {unit} whose rows are in several groups counts in each, with less weight.")
    return [*notes, *provider_notes(plan, declaration), *join_notes(plan.relation, declaration)]


def _check_asked(asked: EvaluateQuery) -> None:
    if len(asked.sha256) != HASH_BYTES:
        raise _bad("model", f"A model is named by its SHA-256, {HASH_BYTES} bytes.")
    if asked.task not in _TASKS:
        raise _bad("task", "The task is binary, multiclass or regression.")
    widths = {Evaluation.TASK_BINARY: (1, 2), Evaluation.TASK_REGRESSION: (1,)}.get(asked.task)
    if not asked.output or not (asked.width in widths if widths else 2 <= asked.width <= MAX_CLASSES):
        allowed = " or ".join(map(str, widths)) if widths else f"2 to {MAX_CLASSES}"
        message = f"For {_TASKS[asked.task]} the model's output has {allowed} numbers for a row, not {asked.width}."
        raise _bad("output", message)
    if asked.HasField("bins") and not 2 <= asked.bins <= MAX_BINS:
        raise _bad("bins", f"There are 2 to {MAX_BINS} ranges of scores, not {asked.bins}.")
    if asked.HasField("lower") != asked.HasField("upper") or (
        asked.HasField("lower") and not -math.inf < asked.lower < asked.upper < math.inf
    ):
        raise _bad("scores", "Scores lie between two numbers, the lower one first.")
    if asked.HasField("error") and not 0 < asked.error < math.inf:
        raise _bad("error", "The largest error that is told apart is a number above 0.")


def _refuse_other_inputs(rows: EvaluationRows) -> None:
    for term in rows.inputs:
        if term.type not in (*NUMERIC, COLUMN_TYPE_BOOL):
            message = f"{term.label} is a {type_name(term.type)}; a model is given numbers and bools."
            raise rows.refused("not_numeric", "inputs", message, "write a condition: clinic = 'north'")


def _key(rows: EvaluationRows, term: Term) -> EvaluationKey:
    listed = term.listed(MAX_BRANCHING)
    if not listed:
        message = f"{term.label} has no short list of declared values to make groups by."
        hint = f"where=\"{term.label} IN ('a', 'b')\", or a condition, as {term.label} > 10"
        raise rows.refused("undeclared_values", "by", message, hint)
    return EvaluationKey(name=term.label, values=listed)


def _told(
    asked: EvaluateQuery, rows: EvaluationRows, by: Sequence[EvaluationKey], max_units: int, noise: float
) -> Evaluation:
    """The evaluation but for its statistics."""
    if len(by) > MAX_EVALUATION_KEYS:
        raise rows.refused("too_many_groups", "by", f"There are at most {MAX_EVALUATION_KEYS} keys.", "leave some out")
    groups = math.prod(len(key.values) for key in by)
    lower, upper = (asked.lower, asked.upper) if asked.HasField("lower") else (0.0, 1.0)
    told = Evaluation(
        model=Model(
            sha256=asked.sha256,
            inputs=[_input(place) for place in range(len(rows.inputs))],
            output=asked.output,
            width=asked.width,
            reading=Model.READING_LARGEST if asked.task == Evaluation.TASK_MULTICLASS else Model.READING_NUMBER,
            column=asked.width - 1 if asked.task == Evaluation.TASK_BINARY else 0,
        ),
        task=asked.task,
        response=asked.response,
        by=by,
        lower=lower,
        upper=upper,
    )
    match asked.task:
        case Evaluation.TASK_BINARY:
            _check_binary(rows)
            told.bins = _bins(
                asked, rows, groups, 2, min(MOST_BINS, max(LEAST_BINS, round((max_units / noise) ** 0.4)))
            )
        case Evaluation.TASK_MULTICLASS:
            told.classes.extend(_classes(asked, rows))
            count = len(told.classes)
            if groups * count * (count + 1) > MAX_BRANCHING:
                raise _too_many(rows, f"{groups} groups and {count} classes")
            told.bins = _bins(asked, rows, groups, 2, CONFIDENCE_BINS)
        case _:
            subject = bounded(rows.response) if rows.response.type in NUMERIC else None
            if subject is None:
                message = f"{rows.response.label} has no declared bounds, which say how large an error can be."
                hint = f"write LEAST(GREATEST({rows.response.label}, lower), upper) with numbers for lower and upper"
                raise rows.refused("no_bounds", "response", message, hint)
            told.lower, told.upper = subject.lower, subject.upper
            told.error = asked.error if asked.HasField("error") else (subject.upper - subject.lower) / 2
    return told


def _bins(asked: EvaluateQuery, rows: EvaluationRows, groups: int, truths: int, wanted: int) -> int:
    most = MAX_BRANCHING // (groups * truths) - 1
    if asked.HasField("bins"):
        wanted, least = asked.bins, asked.bins
    else:
        least = 5
    if most < least:
        raise _too_many(rows, f"{groups} groups with {least} ranges of scores or more")
    # Even, where nobody says how many: then the middle is between two ranges.
    return wanted if asked.HasField("bins") else min(wanted, most) // 2 * 2


def _too_many(rows: EvaluationRows, what: str) -> Problem:
    message = f"{what} make a table of more than {MAX_BRANCHING:,} cells."
    return rows.refused("too_many_groups", "by", message, "evaluate with fewer groups, or for some at a time")


def _check_binary(rows: EvaluationRows) -> None:
    term = rows.response
    listed = term.listed(3) if term.type == COLUMN_TYPE_INT64 else None
    if term.type == COLUMN_TYPE_BOOL or (listed and {each.int64_value for each in listed} <= {0, 1}):
        return
    message = f"{term.label} is no condition, nor a number that is declared to be 0 or 1."
    raise rows.refused("not_binary", "response", message, "write what the model predicts: status = 'dead'")


def _classes(asked: EvaluateQuery, rows: EvaluationRows) -> list[Value]:
    term = rows.response
    listed = None if term.type == COLUMN_TYPE_FLOAT64 else term.listed(MAX_CLASSES)
    found = list(asked.classes) or sorted(listed or (), key=to_python)
    if not found:
        message = f"{term.label} has no short list of declared values to be classes."
        raise rows.refused("undeclared_values", "response", message, "name them: classes=['a', 'b']")
    known = {to_python(value) for value in listed} if listed else None
    for value in asked.classes:
        if value.WhichOneof("kind") != _KINDS.get(term.type) or (known is not None and to_python(value) not in known):
            message = f"{to_python(value)!r} is no value of {term.label}."
            raise rows.refused("undeclared_values", "classes", message, "name declared values of the response")
    if len(found) != asked.width or len({to_python(value) for value in found}) < len(found):
        message = f"The model tells {asked.width} classes apart, and {term.label} has {len(found)}."
        raise rows.refused("other_classes", "classes", message, "name the response's values in the model's order")
    return found


_KINDS = {COLUMN_TYPE_INT64: "int64_value", COLUMN_TYPE_BOOL: "bool_value", 4: "string_value", 5: "date_days"}


def _relation(asked: EvaluateQuery, rows: EvaluationRows, told: Evaluation) -> Relation:
    """The rows that count, as columns of numbers: inputs, truth, and the place of each group's value."""
    scope, response = rows.scope, rows.response
    condition = _present(scope, response)
    if not asked.keep_nulls:
        for term in rows.inputs:
            condition = _both(condition, _present(scope, term))
    if told.classes:
        condition = _both(condition, _among(response, told.classes))
    for term, key in zip(rows.by, told.by, strict=True):
        condition = _both(condition, _among(term, key.values))
    input_ = scope.relation
    if condition is not None:
        input_ = Relation(selection=Selection(input=input_, condition=condition))
    named = {_input(place): _as_number(term) for place, term in enumerate(rows.inputs)}
    named[TRUTH] = _place(response, told.classes) if told.classes else _as_number(response)
    named |= {
        _group(at): _place(*pair) for at, pair in enumerate(zip(rows.by, (k.values for k in told.by), strict=True))
    }
    columns = [NamedExpression(name=name, expression=expression) for name, expression in named.items()]
    return Relation(projection=Projection(input=input_, columns=columns))


def _input(place: int) -> str:
    return f"x{place + 1}"


def _group(place: int) -> str:
    return f"g{place + 1}"


def _as_number(term: Term) -> Expression:
    return as_float(Subject(term.expression, term.type == COLUMN_TYPE_FLOAT64))


def _present(scope: Scope, term: Term) -> Expression | None:
    return moments.present(Subject(term.expression, nullable=scope.is_nullable(term.expression)), None)


def _both(first: Expression | None, second: Expression | None) -> Expression | None:
    return first if second is None else moments.both(first, second)


def _among(term: Term, values: Sequence[Value]) -> Expression:
    return Expression(membership=Membership(operand=term.expression, values=values))


def _place(term: Term, values: Sequence[Value]) -> Expression:
    """The place of its value among these, as a float64; NULL for none."""
    branches = [
        Conditional.Branch(
            condition=Expression(
                comparison=Comparison(
                    operator=Comparison.OPERATOR_EQUAL, left=term.expression, right=Expression(literal=value)
                )
            ),
            result=float_literal(float(place)),
        )
        for place, value in enumerate(values)
    ]
    return Expression(conditional=Conditional(branches=branches))


def _measure(plan: Plan) -> None:
    """Add the statistics, and the outputs that say how many people there are."""
    told = plan.evaluation
    groups = [(len(key.values), _column(_group(at))) for at, key in enumerate(told.by)]
    match told.task:
        case Evaluation.TASK_BINARY:
            _add_table(plan, [*groups, (2, _column(TRUTH)), (told.bins + 1, _bin(PREDICTION, told))])
        case Evaluation.TASK_MULTICLASS:
            count, predicted = len(told.classes), _or_else(_column(PREDICTED, COLUMN_TYPE_INT64), len(told.classes))
            _add_table(plan, [*groups, (count, _column(TRUTH)), (count + 1, predicted)])
            _add_table(plan, [*groups, (2, _is_right()), (told.bins + 1, _bin(CONFIDENCE, told))])
        case _:
            _add_sums(plan, groups)
            return
    whole = plan.statistics[0].range_counts.branching
    everybody = RangeCountMeasure(range_counts=0, first_leaf=0, end_leaf=whole)
    plan.outputs.append(Output(name="people", measure=Measure(range_count=everybody)))


def _add_table(plan: Plan, axes: Sequence[tuple[int, Expression]]) -> None:
    """Rows by the combination of several places: sizes, and the place on each axis as a float64."""
    size, cell = 1, float_literal(0.5)
    for length, place in reversed(axes):
        cell = _call(Call.FUNCTION_ADD, cell, _times(place, float(size)))
        size *= length
    table = RangeCounts(term=cell, lower=0.0, upper=float(size), branching=size, levels=1)
    plan.statistics.append(Statistic(range_counts=table))


def _add_sums(plan: Plan, groups: Sequence[tuple[int, Expression]]) -> None:
    told = plan.evaluation
    for length, place in groups:
        plan.group_by.append(GroupKey(expression=place, values=[Value(float64_value=float(v)) for v in range(length)]))
    apart = _call(Call.FUNCTION_SUBTRACT, _column(TRUTH), _column(PREDICTION))
    error = cut(_if_there(PREDICTION, over(apart, told.error), float_literal(1.0)), -1.0, 1.0)
    half = (told.upper - told.lower) / 2
    response = cut(over(less(_column(TRUTH), told.lower + half), half), -1.0, 1.0)
    size = _call(Call.FUNCTION_ABSOLUTE, error)
    signed, positive = (-1.0, 0.0, 1.0), (0.0, 0.5, 0.5)
    plan.statistics.append(Statistic(row_count=RowCount()))
    for term, (lower, centre, reach) in (
        (error, signed),
        (size, positive),
        (_call(Call.FUNCTION_MULTIPLY, error, error), positive),
        (response, signed),
        (_call(Call.FUNCTION_MULTIPLY, response, response), positive),
    ):
        bounded_sum = BoundedSum(term=term, lower=lower, upper=1.0, centre=centre, half_range=reach)
        plan.statistics.append(Statistic(bounded_sum=bounded_sum))
    for at, key in enumerate(told.by):
        plan.outputs.append(Output(name=key.name, key=at, labels=key.values))
    plan.outputs.append(Output(name="people", measure=Measure(count=CountMeasure(statistic=0))))


def _bin(column: str, told: Evaluation) -> Expression:
    """Which range a number of the model's is in; the last place where there is none."""
    share = _times(less(_column(column), told.lower), told.bins / (told.upper - told.lower))
    return _if_there(
        column, _call(Call.FUNCTION_FLOOR, cut(share, 0.0, told.bins - 0.5)), float_literal(float(told.bins))
    )


def _is_right() -> Expression:
    predicted = _as_float64(_column(PREDICTED, COLUMN_TYPE_INT64))
    same = Comparison(operator=Comparison.OPERATOR_EQUAL, left=predicted, right=_column(TRUTH))
    branch = Conditional.Branch(condition=Expression(comparison=same), result=float_literal(1.0))
    return Expression(conditional=Conditional(branches=[branch], otherwise=float_literal(0.0)))


def _if_there(column: str, then: Expression, otherwise: Expression) -> Expression:
    missing = Expression(null_test=NullTest(operand=_column(column)))
    branch = Conditional.Branch(condition=missing, result=otherwise)
    return Expression(conditional=Conditional(branches=[branch], otherwise=then))


def _or_else(column: Expression, otherwise: int) -> Expression:
    missing = Expression(null_test=NullTest(operand=column))
    branch = Conditional.Branch(condition=missing, result=float_literal(float(otherwise)))
    return Expression(conditional=Conditional(branches=[branch], otherwise=_as_float64(column)))


def _column(name: str, kind: int = COLUMN_TYPE_FLOAT64) -> Expression:
    return Expression(column=ColumnReference(name=name, type=kind))  # type: ignore[arg-type]


def _as_float64(expression: Expression) -> Expression:
    return _call(Call.FUNCTION_TO_FLOAT64, expression)


def _times(expression: Expression, factor: float) -> Expression:
    return expression if factor == 1 else _call(Call.FUNCTION_MULTIPLY, expression, float_literal(factor))


def _call(function: Call.Function.ValueType, *operands: Expression) -> Expression:
    return Expression(call=Call(function=function, operands=operands))


def _bad(field: str, message: str) -> Problem:
    return Problem(Kind.MALFORMED, field, message, field=field)
