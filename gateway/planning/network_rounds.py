"""From a small network, or an additive model of bins, to the plan of one round of its training.

As in `model_rounds`, each round is a plan of its own with one `ModelVector`, whose constants are what rounds before
made; the SDK works them out (`yingbi.models.network_rule`, `boosting_rule`). Every round is over all rows: with batches
drawn at random a round would cost less, but who draws them would have to be trusted not to look, and a round could not
be computed again. Full batches cost what the Gaussian mechanism costs, and nothing rests on a draw.

**Norms.** Round 0 of a network is that of `training_rounds`. A gradient is cut to `max_gradient`, which the SDK
chooses: a row's gradient has no useful bound of its own. A boosting step has r, within [-1, 1], in one bin of each
feature, so its norm is the root of their number, and nothing is ever cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from yingbi.api.model_vectors import layers
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import (
    BinnedGradient,
    Bins,
    Conditional,
    Expression,
    Fit,
    FitColumn,
    FitFactor,
    ModelVector,
    Network,
    Value,
)

from enclave_sim.plan.models.network import MAX_HIDDEN, MAX_LAYERS
from gateway.planning.float_expressions import float_literal
from gateway.planning.model_columns import Column, Shape, Variable, columns_of, equals, regressors_of, too_many
from gateway.planning.model_formulas import Factor, ModelFormula, bad, refused
from gateway.planning.model_rounds import response_of
from gateway.planning.query import Question, Setting
from gateway.planning.round_options import check_number, class_indicators, does_not_fit, indicator_squares
from gateway.planning.training_rounds import (
    SQUARES,
    ModelRead,
    column_of,
    moments,
    read_model,
    round_question,
    steps,
)

MODELS = {
    Fit.MODEL_NEURAL_NETWORK: "NeuralNetwork",
    Fit.MODEL_EXPLAINABLE_BOOSTING: "ExplainableBoosting",
}
MAX_PARAMETERS = 10_000
"""Of a network, or bins of an additive model."""
MAX_GRADIENT = 16.0
GRADIENT_BITS = 22
BINS = 32
"""Of a number."""
MAX_BINS = 200
"""Of a category."""


def plan_network_round(
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
        Problem: as `model_rounds.plan_round`.
    """
    check_number(asked)
    read = read_model(asked, declaration, parties)
    if not read.formula.terms:
        raise bad(read.formula.text, 0, "The formula has no regressors.")
    response, classes = _response(asked, read)
    setting = Setting(declaration, dataset_version, parties, epsilon, delta)
    if asked.model == Fit.MODEL_NEURAL_NETWORK:
        columns = [*regressors_of(read.formula, read.variables), response]
        return round_question(asked, read, columns, classes, _network(asked, read.formula, columns, classes), setting)
    columns = [*(_feature(read, each) for each in read.formula.terms), response]
    return round_question(asked, read, columns, classes, _boosting(asked, read, columns, classes), setting)


def _response(asked: TrainQuery, read: ModelRead) -> tuple[Column, Sequence[Value]]:
    """A class's number, or a number within [-1, 1]."""
    formula, variables = read.formula, read.variables
    variable = variables[formula.response]
    if any(formula.response in term for term in formula.terms):
        message = f"{formula.response.text} is on both sides of the formula."
        raise bad(formula.text, formula.response.start, message, "leave it out on the right")
    if variable.subject is not None and not variable.is_binary:
        return columns_of(formula, variables)[-1], ()
    response, classes = response_of(asked, formula, variable, read.terms[formula.response])
    if asked.model == Fit.MODEL_EXPLAINABLE_BOOSTING and len(classes) > 2:
        raise refused(
            formula.text,
            formula.response.start,
            f"{formula.response.text} has {len(classes)} values; ExplainableBoosting predicts a number or one of two.",
            "compare it with one of them, or take NeuralNetwork or LogisticRegression",
        )
    return response, classes


def _network(
    asked: TrainQuery, formula: ModelFormula, columns: Sequence[Column], classes: Sequence[Value]
) -> ModelVector:
    own, network = asked.round, asked.round.network
    if not (1 <= len(network.hidden) <= MAX_LAYERS and all(1 <= each <= MAX_HIDDEN for each in network.hidden)):
        message = f"A network has one or two hidden layers of 1 to {MAX_HIDDEN}."
        raise Problem(Kind.MALFORMED, "hidden", message, field="hidden", hint="leave hidden out for one of 32")
    shape = Network(family=_family(classes), classes=len(classes) if len(classes) > 2 else 0, hidden=network.hidden)
    parameters = sum(sums * (inputs + 1) for sums, inputs in layers(shape, len(columns) - 1))
    if parameters > MAX_PARAMETERS:
        raise too_many(formula, f"{parameters:,} parameters", f"{MAX_PARAMETERS:,}")
    terms = [column_of(index) for index in range(1, len(columns) + 1)]
    if own.number == 0:
        indicators = class_indicators(asked, terms[-1], classes)
        return _moments(terms if len(classes) <= 2 else terms[:-1], columns, classes, indicators)
    fits = (network.family, network.classes) == (shape.family, shape.classes) and network.hidden == shape.hidden
    fits = fits and len(network.parameters) == parameters and 0 < own.max_gradient <= MAX_GRADIENT
    fits = fits and len(network.scales) == len(network.shifts) == len(columns)
    if not fits or not all(map(math.isfinite, [*network.scales, *network.shifts])):
        raise does_not_fit(asked)
    # A gradient is in steps of 2^-22.
    norm = math.ceil(own.max_gradient * 2**GRADIENT_BITS)
    return ModelVector(terms=terms, max_norm=norm, network=network)


def _family(classes: Sequence[Value]) -> Network.Family.ValueType:
    if not classes:
        return Network.FAMILY_IDENTITY
    return Network.FAMILY_MULTINOMIAL_LOGIT if len(classes) > 2 else Network.FAMILY_BERNOULLI_LOGIT


def _moments(
    terms: Sequence[Expression], columns: Sequence[Column], classes: Sequence[Value], indicators: Sequence[Expression]
) -> ModelVector:
    squares = [SQUARES[column.kind] for column in columns[:-1]]
    if len(terms) == len(columns):
        squares.append(1.0 if classes else 0.25)
    return moments([*terms, *indicators], [*squares, *indicator_squares(indicators)])


def _feature(read: ModelRead, term: Sequence[Factor]) -> Column:
    """A number as any model has it; a category by the number of its value."""
    formula = read.formula
    if len(term) != 1:
        names = ":".join(factor.name for factor in term)
        message = f"{names} is a product, and this model adds up what single variables say."
        raise refused(formula.text, term[0].start, message, "leave it out, or write an expression in brackets")
    (factor,) = term
    variable = read.variables[factor]
    if variable.subject is not None:
        # As of a formula with this variable alone.
        alone = ModelFormula(formula.text, formula.response, (tuple(term),), formula.intercept)
        return regressors_of(alone, read.variables)[0]
    return _numbered(formula, factor, variable)


def _numbered(formula: ModelFormula, factor: Factor, variable: Variable) -> Column:
    levels = variable.levels
    if not 2 <= len(levels) <= MAX_BINS:
        message = f"{factor.text} has {len(levels):,} values; 2 to {MAX_BINS} can be told apart."
        raise refused(formula.text, factor.start, message, "make it coarser, or say its values in where")
    last = len(levels) - 1
    branches = [
        Conditional.Branch(condition=equals(variable.expression, level), result=float_literal(index / last))
        for index, level in enumerate(levels)
        if index
    ]
    column = FitColumn(
        name=factor.name,
        factors=[FitFactor(variable=factor.text)],
        centre=0,
        half_range=1,
        lower=0,
        upper=1,
        levels=levels,
    )
    indexed = Expression(conditional=Conditional(branches=branches, otherwise=float_literal(0.0)))
    return Column(column, indexed, Shape.NUMBER, (factor,), is_apart=False)


def _boosting(asked: TrainQuery, read: ModelRead, columns: Sequence[Column], classes: Sequence[Value]) -> ModelVector:
    own, given = asked.round, asked.round.binned_gradient
    terms = [column_of(index) for index in range(1, len(columns) + 1)]
    if own.number == 0:
        # The response is counted by bin too, which says where it is and how far it is spread.
        features = [_bins(column, read) for column in columns[:-1]]
        features.append(Bins(edges=[0.5], scores=[0, 0]) if classes else _bins(columns[-1], read))
        made = BinnedGradient(family=BinnedGradient.FAMILY_COUNT, features=features, scale=1)
        return _checked_size(read.formula, ModelVector(terms=[*terms, terms[-1]], binned_gradient=made))
    family = BinnedGradient.FAMILY_BERNOULLI_LOGIT if classes else BinnedGradient.FAMILY_IDENTITY
    if given.family != family or len(given.features) != len(columns) - 1:
        raise does_not_fit(asked)
    return _checked_size(read.formula, ModelVector(terms=terms, binned_gradient=given))


def _bins(column: Column, read: ModelRead) -> Bins:
    """Of a category, and of whole numbers that are few, a bin for each; of others bins of the same width."""
    lower, upper = column.ends
    count = BINS
    if column.message.levels:
        count = len(column.message.levels)
        edges = [(index + 0.5) / (count - 1) for index in range(count - 1)]
        return Bins(edges=edges, scores=[0] * count)
    if read.variables[column.term[0]].is_binary:
        count = 2
    edges = [lower + (upper - lower) * (index + 1) / count for index in range(count - 1)]
    return Bins(edges=edges, scores=[0] * count)


def _checked_size(formula: ModelFormula, vector: ModelVector) -> ModelVector:
    features = vector.binned_gradient.features
    bins = sum(len(feature.scores) for feature in features)
    if bins > MAX_PARAMETERS:
        raise too_many(formula, f"{bins:,} bins", f"{MAX_PARAMETERS:,}")
    vector.max_norm = steps(math.sqrt(len(features)))
    return vector
