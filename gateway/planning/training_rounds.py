"""What all models have in common that are trained in rounds: their formula, a round's number, its price and its plan.

Each round is a plan of its own, with one `ModelVector`; the ρ of the whole training is split over rounds
(`yingbi.api.training`), and zCDP composes adaptively by adding. What a round asks of each row is its model's:
`model_rounds`, `model_clusters`, `network_rounds`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlglot import exp
from yingbi.api.training import rho_units_of_round
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    Clipping,
    ColumnReference,
    Expression,
    Fit,
    ModelVector,
    Plan,
    SecondMoments,
    Statistic,
    Value,
)

from enclave_sim.plan.validation import FRACTION_BITS
from gateway.planning.asked import refuse_whole_units
from gateway.planning.expressions import compile_term
from gateway.planning.model_columns import Column, Shape, Variable, column_name, design_rows, variable_of
from gateway.planning.model_formulas import Factor, ModelFormula, read_formula, refused
from gateway.planning.model_rows import ModelText, read_rows, text_of
from gateway.planning.notes import join_notes, provider_notes
from gateway.planning.query import Question, Setting, bought_rho_units, checked, sized
from gateway.planning.round_options import check_class_weights, check_penalty, round_shares, round_vectors
from gateway.planning.scope import Scope, Term
from gateway.planning.statistics import set_prices
from gateway.planning.text_lengths import refuse_much_text
from gateway.planning.wording import number

_CUT = {
    Fit.MODEL_K_MEANS: "Any {unit} who is far from every centre pulls at the nearest as if they were less far.",
    Fit.MODEL_NEURAL_NETWORK: "Any {unit} whose gradient is long, as it is where the model is far off, weighs less.",
    Fit.MODEL_EXPLAINABLE_BOOSTING: "The model adds up what variables say by bins; neighbouring bins that few are "
    "in are joined, and the shapes smoothed, by released numbers alone.",
}

SQUARES = {Shape.SIGN: 1.0, Shape.INDICATOR: 0.5, Shape.NUMBER: 0.25}
"""What a column's mean square is taken to be at most."""


def moments(terms: Sequence[Expression], squares: Sequence[float]) -> ModelVector:
    """Of round 0: 1, the terms and their squares, cut to the length where terms have these mean squares."""
    length = math.sqrt(1 + math.fsum(squares) + math.fsum(each * each for each in squares))
    return ModelVector(terms=terms, max_norm=steps(length), second_moments=SecondMoments())


@dataclass(frozen=True)
class ModelRead:
    """What a model's formula means of a dataset."""

    formula: ModelFormula
    text: ModelText
    select: exp.Select
    scope: Scope
    terms: Mapping[Factor, Term]
    variables: Mapping[Factor, Variable]


def read_model(
    asked: TrainQuery, declaration: DatasetDeclaration, parties: int, *, has_response: bool = True
) -> ModelRead:
    """The formula's factors as terms and variables.

    Raises:
        Problem: it cannot be read, or takes the constant away, which models in rounds always have.
    """
    formula = read_formula(asked.formula, has_response=has_response)
    if not formula.intercept:
        at = 0 if has_response else formula.text.find("~")
        raise refused(formula.text, at, "This model always has a constant.", "leave - 1 or + 0 out")
    text = text_of(asked, formula, declaration)
    parsed, scope = read_rows(text, declaration)
    text.read(lambda: refuse_whole_units(scope, parsed.select, parties))
    pairs = zip(formula.factors, parsed.select.expressions, strict=True)
    terms = {factor: text.read(partial(compile_term, scope, node)) for factor, node in pairs}
    variables = {factor: variable_of(formula, factor, term, scope) for factor, term in terms.items()}
    return ModelRead(formula, text, parsed.select, scope, terms, variables)


def round_question(
    asked: TrainQuery,
    read: ModelRead,
    columns: Sequence[Column],
    classes: Sequence[Value],
    vector: ModelVector,
    setting: Setting,
) -> Question:
    """The plan of a round with this vector of the design's columns, at its part of the price, and what comes after.

    Raises:
        Problem: what is asked beside the formula does not go with the model (`round_options`).
    """
    check_penalty(asked)
    check_class_weights(asked, read.formula, classes)
    vectors = round_vectors(asked, vector, classes)
    draft = setting.plan(
        Plan(
            relation=design_rows(read.scope, list(read.variables.values()), columns),
            statistics=[Statistic(model_vector=each) for each in vectors],
            clipping=Clipping(max_rows=1, max_groups=1),
            fit=Fit(
                model=asked.model,
                formula=asked.formula,
                columns=[column.message for column in columns],
                intercept=True,
                components=asked.components,
                round=asked.round,
                classes=classes,
                alpha=asked.alpha if asked.HasField("alpha") else None,
                class_weights=asked.class_weights if asked.HasField("class_weights") else None,
            ),
        )
    )
    read.text.read(lambda: refuse_much_text(read.scope, read.select, draft))
    rho_units, rounds, own = bought_rho_units(setting.epsilon, setting.delta), asked.round.rounds, asked.round.number
    costs = [rho_units_of_round(rho_units, each, rounds, scored=asked.round.scored) for each in range(own, rounds)]
    set_prices(draft, round_shares(asked, costs[0]))
    plan = checked(sized(draft, setting), setting)
    return Question(plan, later_rho_units=sum(costs[1:]), later_plans=rounds - own - 1)


def round_notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    """What a developer is told about a model that is trained in rounds."""
    unit, fit = declaration.privacy_unit, plan.fit
    seen: dict[str, None] = {}
    is_clusters = fit.model == Fit.MODEL_K_MEANS
    for column in fit.columns if is_clusters else fit.columns[:-1]:
        if not any(factor.HasField("level") for factor in column.factors):
            ends = (number(column.centre + column.half_range * end) for end in (column.lower, column.upper))
            seen[f"Values of {column.name} outside [{', '.join(ends)}] count as the nearest bound."] = None
    notes = [
        f"Every {unit} counts once, by the mean over its rows that the model uses.",
        "Rows with a NULL in any variable of the formula are left out, and those with a value of a category that is "
        "not declared.",
        *seen,
        *join_notes(plan.relation, declaration),
        f"The model is trained in {fit.round.rounds} rounds, each a job that is charged by itself; one that is asked "
        "again as it was is not charged again.",
        _CUT.get(fit.model, "Any {unit} whose regressors are far from everybody else's weighs less.").format(unit=unit),
    ]
    if fit.model == Fit.MODEL_POISSON_REGRESSION:
        notes.append(
            "Counts that are further from what is expected than twice the counts' deviation count as if they were as "
            "far as that: of responses with a long tail the model is low."
        )
    if fit.HasField("alpha"):
        notes.append("The penalty is added to released gradients, and costs nothing; errors do not have what it does.")
    if fit.HasField("class_weights"):
        notes.append(
            f"Any {unit} of a class with a smaller weight counts for less, beside the same noise: models with weights "
            "that are far apart are less exact."
        )
    if fit.round.objective:
        notes.append(
            "Each step also tells how well the model fits before it, on the very rows it is trained on, for 4 % of the "
            "step's price. Class weights and the penalty are not in it."
        )
    if fit.round.scored:
        notes.append(
            "The last round tells how well the model fits the very rows it was trained on; it fits others less well. "
            "Class weights and the penalty are not in it."
        )
    return [*notes, *provider_notes(plan, declaration)]


def steps(length: float) -> int:
    """A length in grid steps, rounded up."""
    return math.ceil(min(length * (1 << FRACTION_BITS), 2.0**40))


def column_of(index: int) -> Expression:
    """A column of the design, from 1; the response last."""
    return Expression(column=ColumnReference(name=column_name(index), type=COLUMN_TYPE_FLOAT64))
