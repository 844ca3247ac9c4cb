"""What a round would release of made-up rows, with as much noise. Pure, but for the draws."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from yingbi.api.v1.plan_pb2 import Plan
from yingbi.cells import Layout
from yingbi.mock_rows import UnitRows, no_mock
from yingbi.models.in_rounds import round_kind
from yingbi.rounds import Released


def mock_release(plan: Plan, units: Sequence[UnitRows], draw: random.Random) -> Released:
    """The round's vectors; raises Problem, where no row has all variables."""
    empty = Released.of(plan, [0] * Layout.of(plan).length)
    totals = [_total(each, units) for each in _of_one_vector(plan)]
    deviations = (empty.deviation, empty.score_deviation)
    noised = [
        tuple(each + draw.gauss(0, deviation) for each in total)
        for total, deviation in zip(totals, deviations, strict=False)
    ]
    scores = noised[1] if len(noised) > 1 else ()
    return Released(plan, noised[0], empty.deviation, scores, empty.score_deviation)


def _of_one_vector(plan: Plan) -> list[Plan]:
    """A round's plan; of a step with an objective two: its own vector's, and its score's as the last round has it."""
    found = []
    for place, statistic in enumerate(plan.statistics):
        own = Plan()
        own.CopyFrom(plan)
        del own.statistics[:]
        own.statistics.append(statistic)
        if place:
            own.fit.round.scored, own.fit.round.number = True, own.fit.round.rounds - 1
        found.append(own)
    return found


def _total(plan: Plan, units: Sequence[UnitRows]) -> list[float]:
    """Of a plan with one vector, without noise."""
    kind, vector = round_kind(plan.fit.model), plan.statistics[0].model_vector
    bound = vector.max_norm / 2.0**plan.fraction_bits
    total: list[float] | None = None
    for unit in units:
        rows = [row for row in kind.rows(plan.fit, unit.columns) if all(map(math.isfinite, row))]
        vectors = [kind.row_vector(plan, row) for row in rows]
        if not vectors:
            continue
        mean = [math.fsum(parts) / len(vectors) for parts in zip(*vectors, strict=True)]
        factor = min(1.0, bound / (math.hypot(*mean) or 1.0))
        total = [0.0] * len(mean) if total is None else total
        total = [before + factor * part for before, part in zip(total, mean, strict=True)]
    if total is None:
        raise no_mock("no row has all variables")
    return total
