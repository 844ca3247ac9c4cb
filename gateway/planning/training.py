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
from functools import partial

from sqlglot import exp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import (
    Clipping,
    Fit,
    Plan,
)

from enclave_sim.privacy.clipping import SIXTEENTHS
from gateway.planning import model_clusters, model_rounds, network_rounds, stages, training_rounds
from gateway.planning.asked import refuse_whole_units
from gateway.planning.expressions import compile_term
from gateway.planning.model_columns import class_of, variable_of
from gateway.planning.model_designs import Design, design_of
from gateway.planning.model_formulas import read_formula
from gateway.planning.model_rows import ModelText, read_rows, text_of
from gateway.planning.notes import join_notes, provider_notes
from gateway.planning.query import Question, Setting, bought_rho_units, checked, priced, sized
from gateway.planning.round_options import option_words
from gateway.planning.scope import Scope
from gateway.planning.stages import FirstStage
from gateway.planning.text_lengths import refuse_much_text
from gateway.planning.wording import number

_NAMES = {
    Fit.MODEL_LINEAR_REGRESSION: "LinearRegression",
    Fit.MODEL_GAUSSIAN_NAIVE_BAYES: "GaussianNB",
    Fit.MODEL_PRINCIPAL_COMPONENTS: "PCA",
    **model_rounds.MODELS,
    **model_clusters.MODELS,
    **network_rounds.MODELS,
}
_IN_ROUNDS = {
    **dict.fromkeys(model_rounds.MODELS, model_rounds.plan_round),
    **dict.fromkeys(model_clusters.MODELS, model_clusters.plan_clusters),
    **dict.fromkeys(network_rounds.MODELS, network_rounds.plan_network_round),
}
"""Of each model that is trained in rounds: the plan of one of them."""


_AFTERWARDS = {
    Fit.MODEL_LINEAR_REGRESSION: "Where the noise could hide a direction of the regressors, a ridge is added that "
    "shrinks coefficients; the answer says how large it is. It is made of released numbers alone.",
    Fit.MODEL_GAUSSIAN_NAIVE_BAYES: "A variance that its noise could hide is told as large as that noise. It follows "
    "from released numbers alone.",
    Fit.MODEL_PRINCIPAL_COMPONENTS: "Components whose variances differ by less than their noise are mixed with each "
    "other; their ± says so.",
}


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
    plan = _IN_ROUNDS.get(asked.model)
    if plan is not None:
        if auto_bounds or first_stage is not None:
            raise Problem(
                Kind.REFUSED,
                "not_supported",
                "A model that is trained in rounds finds its scales by itself.",
                field="bounds",
                hint="leave bounds out",
            )
        return plan(asked, declaration, dataset_version=dataset_version, parties=parties, epsilon=epsilon, delta=delta)
    _check_model(asked)
    setting = Setting(declaration, dataset_version, parties, epsilon, delta)
    rho_units = bought_rho_units(epsilon, delta)
    formula = read_formula(asked.formula, has_response=asked.model != Fit.MODEL_PRINCIPAL_COMPONENTS)
    text = text_of(asked, formula, declaration)
    parsed, scope = read_rows(text, declaration)
    text.read(lambda: refuse_whole_units(scope, parsed.select, parties))
    pairs = zip(formula.factors, parsed.select.expressions, strict=True)
    terms = {factor: text.read(partial(compile_term, scope, node)) for factor, node in pairs}
    has_classes = asked.model == Fit.MODEL_GAUSSIAN_NAIVE_BAYES
    variables = {
        factor: class_of(formula, factor, term)
        if has_classes and factor == formula.left
        else variable_of(formula, factor, term, scope)
        for factor, term in terms.items()
    }
    if auto_bounds:
        _refuse_auto_bounds(scope, parsed.select.args["from_"], text)
    design = design_of(asked.model, formula, variables, scope, auto_bounds=auto_bounds)
    draft = setting.plan(
        Plan(
            relation=design.relation,
            group_by=design.group_by,
            statistics=design.statistics,
            clipping=Clipping(max_rows=1, max_groups=1, joint_norm=design.joint_norm),
            outputs=design.outputs,
            fit=_fit(asked, design),
        )
    )
    text.read(lambda: refuse_much_text(scope, parsed.select, draft))
    if not auto_bounds:
        return Question(checked(priced(draft, rho_units, setting), setting))
    stage = stages.first_stage_plan(draft, [], rho_units, auto_bounds=True)
    rest = stages.rest_of(rho_units, selects_keys=False)
    if first_stage is None:
        outlook = priced(draft, rest, setting)
        return Question(checked(sized(stage, setting), setting), checked(outlook, setting))
    stages.set_bound(draft, stage, first_stage.norms, rest)
    return Question(checked(priced(draft, rest, setting), setting))


def _fit(asked: TrainQuery, design: Design) -> Fit:
    fit = Fit()
    fit.CopyFrom(design.fit)
    fit.model, fit.formula = asked.model, asked.formula
    if asked.HasField("alpha"):
        fit.alpha = asked.alpha
    if asked.model == Fit.MODEL_PRINCIPAL_COMPONENTS:
        fit.components, fit.standardized = asked.components or len(fit.columns), asked.standardized
        if fit.components > len(fit.columns):
            message = f"The formula has {len(fit.columns)} columns, and so no {fit.components} components."
            hint = f"from 1 to {len(fit.columns)}; left out, all"
            raise Problem(Kind.MALFORMED, "components", message, field="components", hint=hint)
    return fit


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
    given = [f"alpha = {asked.alpha:.17g}"] if asked.HasField("alpha") else []
    what = "clusters" if asked.model == Fit.MODEL_K_MEANS else "components"
    given += [f"{what} = {asked.components}"] if asked.components else []
    given += ["standardized"] if asked.standardized else []
    given += option_words(asked)
    parameters = f" WITH {', '.join(given)}" if given else ""
    rows = f" FROM {asked.rows}" if asked.rows else ""
    condition = f" WHERE {asked.where}" if asked.where else ""
    own = f" (round {asked.round.number + 1} of {asked.round.rounds})" if asked.HasField("round") else ""
    return f"TRAIN {_NAMES.get(asked.model, 'MODEL')} {asked.formula}{rows}{condition}{parameters}{own}"


def training_notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    """What a developer is told about a plan that trains: made of the plan and the declaration alone."""
    if plan.fit.HasField("round"):
        return training_rounds.round_notes(plan, declaration)
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
    # A length that is known has sums around the middle of their ranges; one that is found has none.
    if plan.clipping.joint_norm and not any(each.bounded_sum.centre for each in plan.statistics):
        length = number(round(plan.clipping.joint_norm / SIXTEENTHS, 2))
        notes.append(
            f"Any {unit} whose moments are together longer than {length} weighs less, so that they are as long as that."
        )
    notes.append(_AFTERWARDS[fit.model])
    return [*notes, *provider_notes(plan, declaration)]


def _check_model(asked: TrainQuery) -> None:
    if asked.model not in _NAMES:
        names = ["Ridge", *_NAMES.values()]
        raise Problem(
            Kind.REFUSED,
            "model_not_there",
            "This model is not there yet.",
            field="model",
            hint=f"{', '.join(names[:-1])} and {names[-1]} are",
        )
    if asked.HasField("alpha") and asked.model != Fit.MODEL_LINEAR_REGRESSION:
        message = f"{_NAMES[asked.model]} has no alpha."
        raise Problem(Kind.MALFORMED, "alpha", message, field="alpha", hint="leave it out")
    if asked.HasField("class_weights"):
        message = "LogisticRegression and NeuralNetwork have class weights."
        raise Problem(Kind.MALFORMED, "class_weight", message, field="class_weight", hint="leave class_weight out")
    if (asked.components or asked.standardized) and asked.model != Fit.MODEL_PRINCIPAL_COMPONENTS:
        message = f"{_NAMES[asked.model]} has no components."
        raise Problem(Kind.MALFORMED, "components", message, field="components", hint="leave them out")
    if asked.HasField("alpha") and not 0 <= asked.alpha < math.inf:
        message = f"The ridge alpha is a number from 0, not {asked.alpha:g}."
        raise Problem(Kind.MALFORMED, "alpha", message, field="alpha", hint="leave it out for least squares")
