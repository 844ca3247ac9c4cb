"""The questions that were planned last: whoever asks has previewed the same one a moment ago.

Planning is a pure function of the key here, so a kept plan is the plan that planning again would make.
"""

from __future__ import annotations

from yingbi.api.v1.job_pb2 import Query

from gateway.governance.callers import Caller
from gateway.governance.registration import RegisteredDataset
from gateway.planning.query import Question, plan_question
from gateway.planning.stages import FirstStage

KEPT = 32


class RecentPlans:
    """Plans questions, and keeps the last of them. Plans are read and never changed."""

    def __init__(self) -> None:
        self._questions: dict[tuple[object, ...], Question] = {}

    def question(
        self,
        caller: Caller,
        query: Query,
        dataset: RegisteredDataset,
        parties: int,
        first_stage: FirstStage | None = None,
    ) -> Question:
        """The query, planned; raises Problem.

        Each caller has plans of their own, or the time that a preview takes would tell what others asked.
        """
        key = (
            caller.name,
            query.SerializeToString(deterministic=True),
            dataset.declaration.SerializeToString(deterministic=True),
            dataset.version,
            parties,
            first_stage,
        )
        found = self._questions.pop(key, None) or _plan(query, dataset, parties, first_stage)
        self._questions[key] = found
        if len(self._questions) > KEPT:
            del self._questions[next(iter(self._questions))]
        return found


def _plan(query: Query, dataset: RegisteredDataset, parties: int, first_stage: FirstStage | None) -> Question:
    return plan_question(
        query.sql,
        dataset.declaration,
        dataset_version=dataset.version,
        parties=parties,
        epsilon=query.epsilon,
        delta=query.delta if query.HasField("delta") else dataset.declaration.budget_delta,
        auto_bounds=query.auto_bounds,
        first_stage=first_stage,
        lookups=query.lookups,
    )
