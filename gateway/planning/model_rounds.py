"""From a logistic or Poisson regression to the plan of one round of its training.

Each round is a plan of its own, with one `ModelVector`: every person makes one vector, the mean over their rows, which
the engines cut to a norm (`enclave_sim.plan.sensitivity` has the proof). What rounds before released stands in the plan
as constants, and so is public; who asks works it out (the SDK, `yingbi.generalized_linear`), and nothing here needs it
to be right. The ρ of the whole training is split by `SHARES`; zCDP composes adaptively by adding.

**Norms.** Round 0 has 1, z, the response over its bound, and their squares; a regressor whose values are not known
counts as if its mean square were 1/4, which is more than that of values spread around the middle of their range. Round
1 has all products of (1, x), x being scaled to a mean square of 1: 5 or 7 times each, they are as long as 5 + 5|x|²,
for which 5 times the number of columns is taken. Vectors that are longer weigh less, by regressors alone. A gradient is
r·x, with |r| at most `max_residual` and x cut to the root of the number of columns: so its norm is the product of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from yingbi.api.model_vectors import SQUARE
from yingbi.api.training import SET_UP_ROUNDS, parameters_of_model
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    Conditional,
    Expression,
    Fit,
    FitColumn,
    FitFactor,
    GeneralizedLinear,
    ModelVector,
    SecondMoments,
    Value,
)

from enclave_sim.plan.models.generalized_linear import MAX_CLASSES
from enclave_sim.privacy.vector_clipping import MAX_NORM
from gateway.planning.float_expressions import as_float, cut, float_literal, less, over
from gateway.planning.model_columns import (
    Column,
    Shape,
    Variable,
    equals,
    regressors_of,
    too_many,
)
from gateway.planning.model_formulas import Factor, ModelFormula, bad, refused
from gateway.planning.query import Question, Setting
from gateway.planning.round_options import check_number, class_indicators, does_not_fit, indicator_squares
from gateway.planning.scope import Term
from gateway.planning.training_rounds import (
    SQUARES,
    column_of,
    moments,
    read_model,
    round_question,
    steps,
)
from gateway.planning.wording import number

MODELS = {Fit.MODEL_LOGISTIC_REGRESSION: "LogisticRegression", Fit.MODEL_POISSON_REGRESSION: "PoissonRegression"}
MAX_PARAMETERS = 120
"""Of a model: what the SDK can invert in a moment."""


def plan_round(
    asked: TrainQuery,
    declaration: DatasetDeclaration,
    *,
    dataset_version: bytes,
    parties: int,
    epsilon: float,
    delta: float,
) -> Question:
    """The plan of the round that is asked for; (ε, δ) are the whole training's.

    Raises:
        Problem: as `training.plan_training`; MALFORMED "round", where what is said of earlier rounds does not fit the
            model.
    """
    read = read_model(asked, declaration, parties)
    formula, variables = read.formula, read.variables
    response, classes = response_of(asked, formula, variables[formula.response], read.terms[formula.response])
    columns = [*regressors_of(formula, variables), response]
    if len(columns) == 1:
        raise bad(formula.text, 0, "The formula has no regressors.")
    parameters = parameters_of_model(asked.model, len(columns), len(classes))
    if parameters > MAX_PARAMETERS:
        raise too_many(formula, f"{parameters:,} coefficients", f"{MAX_PARAMETERS}")
    _check_round(asked, len(columns), parameters)
    vector = _vector(asked, columns, classes)
    if vector.max_norm > MAX_NORM:
        raise refused(
            formula.text,
            formula.response.start,
            f"{formula.response.text} may be up to {number(response.message.half_range)}, which is too large to count.",
            f"write LEAST({formula.response.text}, 100), or a smaller unit",
        )
    setting = Setting(declaration, dataset_version, parties, epsilon, delta)
    return round_question(asked, read, columns, classes, vector, setting)


def response_of(
    asked: TrainQuery, formula: ModelFormula, variable: Variable, term: Term
) -> tuple[Column, Sequence[Value]]:
    """The response as it is counted, not scaled, and what its classes are; raises Problem, in the formula."""
    if asked.model == Fit.MODEL_POISSON_REGRESSION:
        return _count(formula, variable), ()
    subject, factor = variable.subject, formula.response
    if subject is None:
        if not 2 <= len(variable.levels) <= MAX_CLASSES:
            message = f"{factor.text} has {len(variable.levels):,} values; 2 to {MAX_CLASSES} can be predicted."
            raise refused(formula.text, factor.start, message, "make it coarser, or say its values in where")
        branches = [
            Conditional.Branch(condition=equals(variable.expression, level), result=float_literal(float(index)))
            for index, level in enumerate(variable.levels)
            if index
        ]
        indexed = Expression(conditional=Conditional(branches=branches, otherwise=float_literal(0.0)))
        return _response(factor, indexed, float(len(variable.levels) - 1)), variable.levels
    if not variable.is_binary:
        ends = f"{number(subject.lower)} to {number(subject.upper)}"
        raise refused(
            formula.text,
            factor.start,
            f"{factor.text} is a number from {ends}, and LogisticRegression predicts classes.",
            f"compare it, as ({factor.text} > 1), write C({factor.text}) for one with declared values, or take "
            "PoissonRegression for counts",
        )
    raw = less(cut(as_float(subject), subject.lower, subject.upper), subject.lower)
    if term.type == COLUMN_TYPE_BOOL:
        return _response(factor, raw, 1.0), (Value(bool_value=False), Value(bool_value=True))
    first = int(subject.lower)
    return _response(factor, raw, 1.0), (Value(int64_value=first), Value(int64_value=first + 1))


def _count(formula: ModelFormula, variable: Variable) -> Column:
    subject, factor = variable.subject, formula.response
    if subject is None or subject.lower < 0:
        found = "a category" if subject is None else f"from {number(subject.lower)}"
        message = f"PoissonRegression predicts counts from 0, and {factor.text} is {found}."
        raise refused(
            formula.text, factor.start, message, "LinearRegression takes any number, LogisticRegression classes"
        )
    return _response(factor, cut(as_float(subject), 0.0, subject.upper), subject.upper)


def _response(factor: Factor, expression: Expression, most: float) -> Column:
    message = FitColumn(
        name=factor.text, factors=[FitFactor(variable=factor.text)], centre=0, half_range=most, lower=0, upper=1
    )
    return Column(message, expression, Shape.NUMBER, (factor,), is_apart=False)


def _check_round(asked: TrainQuery, columns: int, parameters: int) -> None:
    check_number(asked)
    own, regressors = asked.round, columns - 1
    scaled = regressors if own.number == 1 else 0
    is_gradient = own.number >= SET_UP_ROUNDS
    expected = (scaled, scaled, columns * columns if is_gradient else 0, parameters if is_gradient else 0)
    found = tuple(map(len, (own.centres, own.scales, own.transform, own.parameters)))
    numbers = [*own.centres, *own.scales, *own.transform, *own.parameters, own.max_residual]
    sound = all(map(math.isfinite, numbers)) and all(scale > 0 for scale in own.scales)
    if found != expected or not sound or (own.max_residual > 0) != is_gradient:
        raise does_not_fit(asked)


def _vector(asked: TrainQuery, columns: Sequence[Column], values: Sequence[Value]) -> ModelVector:
    classes = len(values)
    own, regressors = asked.round, [column_of(index) for index in range(1, len(columns))]
    response = column_of(len(columns))
    if own.number == 0:
        squares = [SQUARES[column.kind] for column in columns[:-1]]
        if classes <= 2:
            regressors.append(over(response, columns[-1].message.half_range))
            squares.append(1.0 if classes else 0.25)
        indicators = class_indicators(asked, response, values)
        regressors += indicators
        squares += indicator_squares(indicators)
        return moments(regressors, squares)
    if own.number < SET_UP_ROUNDS:
        scaled = [over(less(*pair[:2]), pair[2]) for pair in zip(regressors, own.centres, own.scales, strict=True)]
        products = SecondMoments(products=True)
        return ModelVector(terms=scaled, max_norm=steps(SQUARE * len(columns)), second_moments=products)
    length = math.sqrt(len(columns))
    model = GeneralizedLinear(
        family=_family(asked, classes),
        classes=classes if classes > 2 else 0,
        parameters=own.parameters,
        transform=own.transform,
        max_length=length,
        max_residual=own.max_residual,
        max_exponent=math.log(max(columns[-1].message.half_range, 1.0)),
    )
    norm = steps(length * own.max_residual)
    return ModelVector(terms=[*regressors, response], max_norm=norm, generalized_linear=model)


def _family(asked: TrainQuery, classes: int) -> GeneralizedLinear.Family.ValueType:
    if asked.model == Fit.MODEL_POISSON_REGRESSION:
        return GeneralizedLinear.FAMILY_POISSON_LOG
    return GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT if classes > 2 else GeneralizedLinear.FAMILY_BERNOULLI_LOGIT
