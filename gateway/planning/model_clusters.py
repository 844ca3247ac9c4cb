"""From k-means to the plan of one of its rounds.

Round 0 measures means and squares of the columns; from them who asks works out where to begin, as public as what was
released. Every further round takes centres: each row is counted at the nearest, with the way from there to it, which is
Lloyd's step, with noise. Columns are scaled to [-1, 1] by their bounds, and distances are of that. Each round is a plan
of its own, with one `ModelVector` (`enclave_sim.plan.sensitivity` has the proof); the ρ of the training is split as for
other models in rounds (`yingbi.api.training`).

**Norms.** Round 0 is cut as `training_rounds` has it. A row's vector in further rounds is no longer than √21/4,
whatever the row and the centres are (see NearestCentre in plan.proto), and a unit's is the mean of its rows': that is
the norm, nobody is cut, and the noise does not grow with the number of centres or columns.
"""

from __future__ import annotations

import math

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import Expression, Fit, ModelVector, NearestCentre

from enclave_sim.plan.models.nearest_centre import MAX_CENTRES
from enclave_sim.plan.models.row_work import MAX_ROW_WORK, row_work
from gateway.planning.model_columns import regressors_of, too_many
from gateway.planning.model_formulas import ModelFormula
from gateway.planning.query import Question, Setting
from gateway.planning.round_options import check_number, does_not_fit
from gateway.planning.training_rounds import (
    SQUARES,
    column_of,
    moments,
    read_model,
    round_question,
    steps,
)

MODELS = {Fit.MODEL_K_MEANS: "KMeans"}

_LENGTH = math.sqrt(21) / 4


def plan_clusters(
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
        Problem: as `training.plan_training`; MALFORMED "clusters", for a number of centres that is out of range;
            MALFORMED "round", where what is said of earlier rounds does not fit the model.
    """
    if not 1 <= asked.components <= MAX_CENTRES:
        message = f"There are 1 to {MAX_CENTRES:,} clusters, not {asked.components:,}."
        raise Problem(Kind.MALFORMED, "clusters", message, field="clusters", hint="say how many, as in clusters=5")
    read = read_model(asked, declaration, parties, has_response=False)
    columns = regressors_of(read.formula, read.variables)
    _check_round(asked, len(columns))
    _refuse_much_work(asked, read.formula, len(columns))
    vector = _vector(asked, [SQUARES[each.kind] for each in columns])
    return round_question(
        asked, read, columns, (), vector, Setting(declaration, dataset_version, parties, epsilon, delta)
    )


def _check_round(asked: TrainQuery, columns: int) -> None:
    check_number(asked)
    own = asked.round
    expected = asked.components * columns if own.number else 0
    nothing = not (own.centres or own.scales or own.transform)
    sound = all(map(math.isfinite, [*own.parameters, own.max_residual]))
    if len(own.parameters) != expected or not nothing or not sound or (own.max_residual > 0) != (own.number > 0):
        raise does_not_fit(asked)


def _refuse_much_work(asked: TrainQuery, formula: ModelFormula, columns: int) -> None:
    """In the first round already: what the later ones would cost a row; raises Problem."""
    centres = NearestCentre(centres=[0.0] * (asked.components * columns))
    work = row_work(ModelVector(terms=[Expression()] * columns, nearest_centre=centres))
    if work > MAX_ROW_WORK:
        most = asked.components * MAX_ROW_WORK // work
        raise too_many(formula, f"{asked.components:,} clusters of {columns} columns", f"{most:,} of so many columns")


def _vector(asked: TrainQuery, squares: list[float]) -> ModelVector:
    terms = [column_of(index) for index in range(1, len(squares) + 1)]
    if asked.round.number == 0:
        return moments(terms, squares)
    own = NearestCentre(centres=asked.round.parameters, max_distance=asked.round.max_residual)
    return ModelVector(terms=terms, max_norm=steps(_LENGTH), nearest_centre=own)
