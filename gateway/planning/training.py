"""From a model and its formula to a plan: linear regression from one total of second moments.

Every unit (person) counts once. Each of its rows makes a vector z of numbers within [-1, 1]: the regressors and the
response, scaled by what is declared of them and cut to it. What is released are sums over units of the *means* over a
unit's rows of z_i and z_i·z_j. Least squares needs nothing else.

**Why the mean and not the sum.** With at most C rows a unit the sum of its moments has C times the length, and so
needs C times the noise; it says C times as much only for units that have C rows. The mean has, of all weights of
units that one unit moves by 1, the largest total; and it weighs by numbers of rows alone. Had a unit's vector been cut
to a length that its values decide, units that the model fits badly would weigh less, and the fit would be biased. In
the plan this is `clipping.max_rows` = 1: a unit with m rows has all its cells divided by m.

**Sensitivity.** Each statistic is a bounded_sum or row_count with C = 1, so `sensitivity.delta2_squared` has the
proof: it moves by p at most, p being the providers that a unit may appear at. With W of them, each with a W-th of ρ,
the vector of all moments is a Gaussian release with Δ² = W·p². No statistic is of data: ranges, values of categories
and which moments are measured are the declaration's and the formula's.

**What is not measured.** z² where z is 0 or 1 (it is z) or -1 or 1 (it is 1), and products of different values of one
category (they are 0). A moment that lies in [a, b] is summed around the middle of that, and the number of units makes
up for it: a square has half the noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from itertools import combinations_with_replacement, product

from sqlglot import exp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_STRING,
    Call,
    Clipping,
    ColumnReference,
    Comparison,
    Conditional,
    Conjunction,
    CountMeasure,
    Expression,
    Fit,
    FitColumn,
    FitFactor,
    Measure,
    Membership,
    NamedExpression,
    Noise,
    Output,
    Plan,
    Projection,
    Relation,
    RowCount,
    Selection,
    Statistic,
    SumMeasure,
    Value,
)

from enclave_sim.plan.fits import MAX_FIT_COLUMNS, NO_MOMENT
from enclave_sim.plan.statistics import MAX_PLAIN_STATISTICS, MAX_STATISTICS
from enclave_sim.plan.validation import FRACTION_BITS, LANGUAGE_VERSION
from enclave_sim.plan.values import NUMERIC, to_python, type_name
from enclave_sim.privacy.clipping import SIXTEENTHS
from gateway.planning import moments, stages
from gateway.planning.asked import refuse_whole_units
from gateway.planning.expressions import compile_term
from gateway.planning.model_formulas import Factor, ModelFormula, Term, bad, position, read_formula, refused
from gateway.planning.model_rows import ModelText, read_rows, text_of
from gateway.planning.notes import join_notes
from gateway.planning.query import Question, Setting, bought_rho_units, checked, priced, sized
from gateway.planning.scope import Scope
from gateway.planning.scope import Term as SqlTerm
from gateway.planning.stages import FirstStage
from gateway.planning.subjects import Subject, bounded
from gateway.planning.sums import bounded_sum, centre_of
from gateway.planning.text_lengths import refuse_much_text
from gateway.planning.wording import number

MAX_LEVELS = 1000
"""Values of a category that are looked at; how many make columns, the number of moments decides."""

_NAMES = {Fit.MODEL_LINEAR_REGRESSION: "LinearRegression"}


class Shape(Enum):
    """What a column is known to hold, beside numbers between its ends."""

    NUMBER = auto()
    INDICATOR = auto()
    """0 or 1."""
    SIGN = auto()
    """-1 or 1."""


@dataclass(frozen=True)
class Variable:
    """What a factor means."""

    factor: Factor
    subject: Subject | None
    """Of a number."""
    levels: tuple[Value, ...]
    """Of a category, in declared order."""
    expression: Expression
    is_binary: bool = False
    """Whether it is one of two neighbouring whole numbers once it is cut to its bounds."""


@dataclass(frozen=True)
class Column:
    """A column z of the design, or the response: within [lower, upper], which is within [-1, 1]."""

    message: FitColumn
    expression: Expression
    kind: Shape
    term: Term
    is_apart: bool
    """Whether it is 0 where another column of its term is not."""

    @property
    def ends(self) -> tuple[float, float]:
        """Between which z lies."""
        return self.message.lower, self.message.upper


def plan_training(
    asked: TrainQuery,
    declaration: DatasetDeclaration,
    *,
    dataset_version: bytes,
    parties: int,
    epsilon: float,
    delta: float,
    auto_bounds: bool = False,
    first_stage: FirstStage | None = None,
) -> Question:
    """The plan that measures a model's moments within (ε, δ), or its first stage.

    The arguments are as for `query.plan_question`. With `auto_bounds` how long units' vectors of moments are is
    measured first, for a twentieth of ρ, and all moments are clipped together to the length that follows: far less
    noise where values are seldom near the ends of their ranges. A unit whose vector is longer weighs less. All its
    moments do, so what is an exact line of the rows stays one; where the response has a spread around the line, units
    far from it weigh less too, and the residual is told smaller than it is. Clipping sees sums over a unit's rows, so
    this is for rows of which a unit has one.

    Raises:
        Problem: a parameter or the formula cannot be read (MALFORMED), names something that is not there (UNKNOWN),
            or asks for what cannot be asked (REFUSED).
    """
    _check_model(asked)
    rho_units = bought_rho_units(epsilon, delta)
    formula = read_formula(asked.formula)
    text = text_of(asked, formula, declaration)
    parsed, scope = read_rows(text, declaration)
    text.read(lambda: refuse_whole_units(scope, parsed.select, parties))
    pairs = zip(formula.factors, parsed.select.expressions, strict=True)
    terms = {factor: text.read(partial(compile_term, scope, node)) for factor, node in pairs}
    variables = {factor: _variable(formula, factor, term, scope) for factor, term in terms.items()}
    columns = _columns(formula, variables)
    if auto_bounds:
        _refuse_auto_bounds(scope, parsed.select.args["from_"], text)
    measured = _measured(formula, columns, centred=not auto_bounds)
    draft = Plan(
        language_version=LANGUAGE_VERSION,
        dataset=declaration.dataset,
        dataset_version=dataset_version,
        relation=_relation(scope, list(variables.values()), columns),
        statistics=measured.statistics,
        clipping=Clipping(max_rows=1, max_groups=1),
        fraction_bits=FRACTION_BITS,
        noise=Noise(
            parties=parties,
            parties_per_unit=1 if declaration.units_disjoint else parties,
            curious=declaration.curious_providers,
        ),
        outputs=measured.outputs,
        epsilon=epsilon,
        delta=delta,
        fit=Fit(
            model=asked.model,
            formula=asked.formula,
            columns=[column.message for column in columns],
            intercept=formula.intercept,
            moments=measured.moments,
            alpha=asked.alpha if asked.HasField("alpha") else None,
        ),
    )
    text.read(lambda: refuse_much_text(scope, parsed.select, draft))
    setting = Setting(declaration, dataset_version, parties, epsilon, delta)
    if not auto_bounds:
        return Question(checked(priced(draft, rho_units, setting), setting))
    stage = stages.first_stage_plan(draft, [], rho_units, auto_bounds=True)
    rest = stages.rest_of(rho_units, selects_keys=False)
    if first_stage is None:
        outlook = priced(draft, rest, setting)
        return Question(checked(sized(stage, setting), setting), checked(outlook, setting))
    stages.set_bound(draft, stage, first_stage.norms, rest)
    return Question(checked(priced(draft, rest, setting), setting))


def _refuse_auto_bounds(scope: Scope, node: exp.Expr, text: ModelText) -> None:
    if scope.max_rows > 1:
        raise text.told(
            scope.source.refuse(
                "not_supported",
                f"A unit may have {scope.max_rows:,} rows here; clipping bounds are found for one row of each alone.",
                at=node,
                hint="Leave bounds out: every unit then counts as the mean of its rows.",
            )
        )


def words_of(asked: TrainQuery) -> str:
    """The model in one line, where a query would show its SQL."""
    penalty = f" WITH alpha = {asked.alpha:.17g}" if asked.HasField("alpha") else ""
    rows = f" FROM {asked.rows}" if asked.rows else ""
    condition = f" WHERE {asked.where}" if asked.where else ""
    return f"TRAIN {_NAMES.get(asked.model, 'MODEL')} {asked.formula}{rows}{condition}{penalty}"


def training_notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    """What a developer is told about a plan that trains: made of the plan and the declaration alone."""
    unit, fit = declaration.privacy_unit, plan.fit
    notes = [
        f"Every {unit} counts once, by the mean over its rows that the model uses; where errors are told by rows, one "
        f"is one {unit}.",
        "Rows with a NULL in any variable of the formula are left out, and those with a value of a category that is "
        "not declared.",
    ]
    seen: dict[str, None] = {}
    for column in fit.columns:
        if any(factor.HasField("level") for factor in column.factors):
            continue
        lower, upper = (column.centre + column.half_range * end for end in (column.lower, column.upper))
        seen[f"Values of {column.name} outside [{number(lower)}, {number(upper)}] count as the nearest bound."] = None
    notes += [*seen, *join_notes(plan.relation, declaration)]
    if plan.clipping.joint_norm:
        length = number(round(plan.clipping.joint_norm / SIXTEENTHS, 2))
        notes.append(
            f"A {unit} whose moments are together longer than {length} weighs less, so that they are as long as that."
        )
    notes.append(
        "Where the noise could hide a direction of the regressors, a ridge is added that shrinks coefficients; the "
        "answer says how large it is. It is made of released numbers alone."
    )
    if plan.noise.parties_per_unit > 1:
        notes.append(
            f"One {unit} may appear at {plan.noise.parties_per_unit} providers and counts once at each; the noise "
            "allows for all of them."
        )
    return notes


def _check_model(asked: TrainQuery) -> None:
    if asked.model != Fit.MODEL_LINEAR_REGRESSION:
        raise Problem(
            Kind.REFUSED,
            "model_not_there",
            "This model is not there yet.",
            field="model",
            hint="LinearRegression and Ridge are",
        )
    if asked.HasField("alpha") and not 0 <= asked.alpha < math.inf:
        message = f"The ridge alpha is a number from 0, not {asked.alpha:g}."
        raise Problem(Kind.MALFORMED, "alpha", message, field="alpha", hint="leave it out for least squares")


def _variable(formula: ModelFormula, factor: Factor, term: SqlTerm, scope: Scope) -> Variable:
    """A number with bounds, or a category with values."""
    if factor.is_category or term.type == COLUMN_TYPE_STRING:
        return _category(formula, factor, term)
    if term.type == COLUMN_TYPE_BOOL:
        as_number = Expression(call=Call(function=Call.FUNCTION_TO_FLOAT64, operands=[term.expression]))
        return Variable(factor, Subject(as_number, True, 0.0, 1.0), (), term.expression, is_binary=True)
    if term.type not in NUMERIC:
        raise Problem(
            Kind.REFUSED,
            "not_numeric",
            f"{factor.text} is a {type_name(term.type)}, neither a number nor a category with declared values.",
            field="formula",
            position=position(formula.text, factor.start),
            hint=f"Write an expression, as YEAR({factor.text}), with WHERE or declared bounds saying which years.",
        )
    subject = bounded(term)
    if subject is None:
        raise _no_bounds(formula, factor, scope)
    is_binary = subject.upper - subject.lower == 1 and term.domain.integral and term.type != COLUMN_TYPE_FLOAT64
    return Variable(factor, subject, (), term.expression, is_binary=is_binary)


def _no_bounds(formula: ModelFormula, factor: Factor, scope: Scope) -> Problem:
    known = [attribute.label for attribute in scope.attributes if attribute.domain.bounds() is not None]
    others = f" Declared are those of {', '.join(known[:10])}." if known else ""
    return Problem(
        Kind.REFUSED,
        "no_bounds",
        f"{factor.text} has no declared bounds, which say how much one unit can move a sum.",
        field="formula",
        position=position(formula.text, factor.start),
        hint=f"Write LEAST(GREATEST({factor.text}, lower), upper) with numbers for lower and upper.{others}",
    )


def _category(formula: ModelFormula, factor: Factor, term: SqlTerm) -> Variable:
    levels = None if term.type == COLUMN_TYPE_FLOAT64 else term.listed(MAX_LEVELS)
    if not levels:
        raise Problem(
            Kind.REFUSED,
            "undeclared_values",
            f"{factor.text} has no short list of declared values to make columns of.",
            field="formula",
            position=position(formula.text, factor.start),
            hint=f"Say the values: where=\"{factor.text} IN ('a', 'b')\", or have the dataset declare them.",
        )
    return Variable(factor, None, levels, term.expression)


def _columns(formula: ModelFormula, variables: Mapping[Factor, Variable]) -> list[Column]:
    """The regressors and, last, the response."""
    response = variables[formula.response]
    if response.subject is None:
        raise refused(
            formula.text,
            formula.response.start,
            f"{formula.response.text} is a category, which no line predicts.",
            "LogisticRegression is not there yet; a bool or a number with the values 0 and 1 can be a response here",
        )
    if any(formula.response in term for term in formula.terms):
        message = f"{formula.response.text} is on both sides of the formula."
        raise bad(formula.text, formula.response.start, message, "leave it out on the right")
    found = [column for term in formula.terms for column in _of_term(formula, term, variables)]
    if not found and not formula.intercept:
        raise bad(formula.text, 0, "The formula has neither regressors nor a constant.")
    if len(found) + 1 > MAX_FIT_COLUMNS:
        raise _too_many(formula, f"{len(found):,} regressors", f"{MAX_FIT_COLUMNS - 1}")
    return [*found, _column(formula, (formula.response,), (None,), variables)]


def _of_term(formula: ModelFormula, term: Term, variables: Mapping[Factor, Variable]) -> list[Column]:
    """Of a product of numbers one column; with categories one for each combination of their values.

    A category's first value is left out where the term without the category is in the model too, the constant being
    the term of nothing: it would be the sum of the others (as R does it).
    """
    present = {frozenset(each) for each in formula.terms}
    if formula.intercept:
        present.add(frozenset())
    choices: list[Sequence[Value | None]] = []
    for factor in term:
        levels = variables[factor].levels
        rest = frozenset(term) - {factor}
        choices.append(levels[1:] if levels and rest in present else levels or (None,))
    if math.prod(map(len, choices)) > MAX_FIT_COLUMNS:
        name = ":".join(factor.name for factor in term)
        raise _too_many(formula, f"{math.prod(map(len, choices)):,} columns of {name}", f"{MAX_FIT_COLUMNS - 1}")
    chosen = list(product(*choices))
    return [_column(formula, term, levels, variables, is_alone=len(chosen) == 1) for levels in chosen]


def _column(
    formula: ModelFormula,
    term: Term,
    levels: Sequence[Value | None],
    variables: Mapping[Factor, Variable],
    *,
    is_alone: bool = True,
) -> Column:
    """One column. Of a term with others, which are 0 where it is not, it stays 0 there: it has no centre."""
    own = [variables[factor] for factor in term]
    subjects = [variable.subject for variable in own if variable.subject is not None]
    has_level = len(subjects) < len(own)
    lower, upper = _range_of(subjects)
    if has_level:
        lower, upper = min(lower, 0.0), max(upper, 0.0)
    centre = centre_of(lower, upper) if formula.intercept and is_alone else 0.0
    # What rounding takes beyond 1 is cut by the sums' own bounds.
    half = max(upper - centre, centre - lower)
    conditions = [
        _equals(variable.expression, level) for variable, level in zip(own, levels, strict=True) if level is not None
    ]
    message = FitColumn(
        name=":".join(_shown(factor, level) for factor, level in zip(term, levels, strict=True)),
        factors=[FitFactor(variable=f.text, level=level) for f, level in zip(term, levels, strict=True)],
        centre=centre,
        half_range=half,
        lower=max(-1.0, (lower - centre) / half),
        upper=min(1.0, (upper - centre) / half),
    )
    raw = _where(conditions, _product([_clipped(subject) for subject in subjects]))
    return Column(message, _over(_less(raw, centre), half), _kind(own, message), term, not is_alone)


def _kind(own: Sequence[Variable], message: FitColumn) -> Shape:
    binary = all(variable.subject is None or variable.is_binary for variable in own)
    at_ends = (message.lower, message.upper)
    if binary and at_ends == (0.0, 1.0):
        return Shape.INDICATOR
    # Half the distance of 0 and 1: a product of whole numbers that is between other ends has more values than two.
    if binary and at_ends == (-1.0, 1.0) and message.half_range == 0.5:
        return Shape.SIGN
    return Shape.NUMBER


def _range_of(subjects: Sequence[Subject]) -> tuple[float, float]:
    lower = upper = 1.0
    for subject in subjects:
        ends = [one * other for one in (lower, upper) for other in (subject.lower, subject.upper)]
        lower, upper = min(ends), max(ends)
    return lower, upper


def _shown(factor: Factor, level: Value | None) -> str:
    if level is None:
        return factor.text
    return f"{factor.name}[{to_python(level)}]"


@dataclass
class _Measured:
    """Statistics, what is read off them, and which of that each moment is."""

    centred: bool
    statistics: list[Statistic]
    outputs: list[Output]
    moments: list[int]


def _measured(formula: ModelFormula, columns: Sequence[Column], *, centred: bool) -> _Measured:
    """Sums around the middle of their ranges, or, for a vector that is to be short, around 0."""
    most = MAX_PLAIN_STATISTICS if centred else MAX_STATISTICS
    found = _Measured(centred, [Statistic(row_count=RowCount())], [Output(name="units", measure=_count())], [])
    index: dict[tuple[int, int], int] = {(0, 0): 0}
    for left, right in combinations_with_replacement(range(len(columns) + 1), 2):
        if (left, right) not in index:
            index[left, right] = _moment(formula, columns, left, right, index, found)
        found.moments.append(index[left, right])
    if len(found.statistics) > most:
        raise _too_many(formula, f"{len(found.statistics):,} moments to measure", f"{most}")
    return found


def _moment(
    formula: ModelFormula,
    columns: Sequence[Column],
    left: int,
    right: int,
    index: Mapping[tuple[int, int], int],
    found: _Measured,
) -> int:
    """The output that the sum of z_left · z_right is; a new one where it does not follow from what is measured."""
    if left == 0 and not formula.intercept:
        return NO_MOMENT
    second = columns[right - 1]
    if left == right and second.kind is Shape.SIGN:
        return index[0, 0]
    if left == right and second.kind is Shape.INDICATOR and formula.intercept:
        return index[0, right]
    term, ends, name = _reference(right), second.ends, second.message.name
    if left:
        first = columns[left - 1]
        if left != right and first.term == second.term and first.is_apart:
            return NO_MOMENT
        term = _product([_reference(left), term])
        ends = _squared(ends) if left == right else _times(first.ends, ends)
        name = f"{first.message.name} * {name}"
    total = bounded_sum(term, *ends, centred=found.centred)
    measure = SumMeasure(bounded_sum=len(found.statistics))
    if total.centre:
        measure.non_null_count = 0
    found.statistics.append(Statistic(bounded_sum=total))
    found.outputs.append(Output(name=f"{name} ({len(found.outputs)})", measure=Measure(sum=measure)))
    return len(found.outputs) - 1


def _count() -> Measure:
    return Measure(count=CountMeasure(statistic=0))


def _times(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    ends = [a * b for a in one for b in other]
    return min(ends), max(ends)


def _squared(ends: tuple[float, float]) -> tuple[float, float]:
    squares = [end * end for end in ends]
    return (0.0 if ends[0] < 0 < ends[1] else min(squares)), max(squares)


def _relation(scope: Scope, variables: Sequence[Variable], columns: Sequence[Column]) -> Relation:
    """The rows with all variables, as the columns of the design and the response."""
    condition: Expression | None = None
    for variable in variables:
        condition = _both(condition, _usable(variable, scope))
    rows = scope.relation
    if condition is not None:
        rows = Relation(selection=Selection(input=rows, condition=condition))
    named = [NamedExpression(name=_name(index), expression=each.expression) for index, each in enumerate(columns, 1)]
    return Relation(projection=Projection(input=rows, columns=named))


def _usable(variable: Variable, scope: Scope) -> Expression | None:
    if variable.levels:
        return Expression(membership=Membership(operand=variable.expression, values=variable.levels))
    nullable = scope.is_nullable(variable.expression)
    return moments.present(Subject(variable.expression, nullable=nullable), None)


def _both(first: Expression | None, second: Expression | None) -> Expression | None:
    return first if second is None else moments.both(first, second)


def _name(index: int) -> str:
    return f"z{index}"


def _reference(index: int) -> Expression:
    return Expression(column=ColumnReference(name=_name(index), type=COLUMN_TYPE_FLOAT64))


def _clipped(subject: Subject) -> Expression:
    """The number as float64, cut to its bounds."""
    value = subject.expression
    if not subject.is_float:
        value = Expression(call=Call(function=Call.FUNCTION_TO_FLOAT64, operands=[value]))
    branches = [
        Conditional.Branch(condition=_compared(value, operator, end), result=_number(end))
        for operator, end in (
            (Comparison.OPERATOR_LESS, subject.lower),
            (Comparison.OPERATOR_GREATER, subject.upper),
        )
    ]
    return Expression(conditional=Conditional(branches=branches, otherwise=value))


def _where(conditions: Sequence[Expression], value: Expression) -> Expression:
    """The value where all conditions hold, else 0."""
    if not conditions:
        return value
    every = conditions[0] if len(conditions) == 1 else Expression(conjunction=Conjunction(operands=conditions))
    branch = Conditional.Branch(condition=every, result=value)
    return Expression(conditional=Conditional(branches=[branch], otherwise=_number(0.0)))


def _product(factors: Sequence[Expression]) -> Expression:
    if not factors:
        return _number(1.0)
    made = factors[0]
    for factor in factors[1:]:
        made = Expression(call=Call(function=Call.FUNCTION_MULTIPLY, operands=[made, factor]))
    return made


def _less(value: Expression, subtracted: float) -> Expression:
    if subtracted == 0:
        return value
    return Expression(call=Call(function=Call.FUNCTION_SUBTRACT, operands=[value, _number(subtracted)]))


def _over(value: Expression, divisor: float) -> Expression:
    if divisor == 1:
        return value
    return Expression(call=Call(function=Call.FUNCTION_DIVIDE, operands=[value, _number(divisor)]))


def _equals(operand: Expression, level: Value) -> Expression:
    comparison = Comparison(operator=Comparison.OPERATOR_EQUAL, left=operand, right=Expression(literal=level))
    return Expression(comparison=comparison)


def _compared(operand: Expression, operator: Comparison.Operator.ValueType, end: float) -> Expression:
    return Expression(comparison=Comparison(operator=operator, left=operand, right=_number(end)))


def _number(value: float) -> Expression:
    return Expression(literal=Value(float64_value=value))


def _too_many(formula: ModelFormula, found: str, allowed: str) -> Problem:
    return Problem(
        Kind.REFUSED,
        "too_many_regressors",
        f"The model has {found}; {allowed} are allowed.",
        field="formula",
        position=position(formula.text, 0),
        hint="Leave some out, or make categories coarser.",
    )
