"""The questions that were planned last: whoever asks has previewed the same one a moment ago.

Planning is a pure function of the question, the dataset's version and the number of parties, so a kept plan is the
plan that planning again would make. What it is asked under is no part of it, and is looked up for each request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import Query
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.canonical import encode, plan_hash
from enclave_sim.plan.sensitivity import charge_of, is_first_stage
from enclave_sim.privacy.accounting import Charge
from gateway.governance.callers import Caller
from gateway.governance.registration import RegisteredDataset
from gateway.jobs.kinds import kind_of
from gateway.jobs.service_forms import check_form
from gateway.planning.evaluation import evaluation_notes, plan_evaluation
from gateway.planning.notes import clipping_notes
from gateway.planning.programs import plan_program, program_notes
from gateway.planning.query import Question, plan_question
from gateway.planning.readable import readable
from gateway.planning.stages import FirstStage, stage_notes
from gateway.planning.synthesis import plan_synthesis, synthesis_notes
from gateway.planning.training import plan_training, training_notes

KEPT = 32


@dataclass(frozen=True)
class Planned:
    """A question, planned for a version of a dataset, and what follows from that: worked out once, when needed."""

    dataset: RegisteredDataset
    question: Question

    @property
    def plan(self) -> Plan:
        """What is run next."""
        return self.question.plan

    @cached_property
    def plan_bytes(self) -> bytes:
        """The plan's canonical bytes."""
        return encode(self.plan)

    @cached_property
    def plan_hash(self) -> bytes:
        """What the plan is signed by, 32 bytes."""
        return plan_hash(self.plan_bytes)

    @cached_property
    def charge(self) -> Charge:
        """What running the plan costs."""
        return charge_of(self.plan)

    @cached_property
    def notes(self) -> list[str]:
        """What a developer is told about the plan."""
        return notes_of(self.plan, self.dataset.declaration)


class RecentPlans:
    """Plans questions, and keeps the last of them. Plans are read and never changed."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], Planned] = {}

    def kept(self, caller: Caller, query: Query, parties: int, first_stage: FirstStage | None = None) -> Planned | None:
        """The query as it was planned last, for whichever version of the dataset: whoever uses it compares that."""
        return self._kept.get(_key(caller, query, parties, first_stage))

    def question(
        self,
        caller: Caller,
        query: Query,
        dataset: RegisteredDataset,
        parties: int,
        first_stage: FirstStage | None = None,
    ) -> Planned:
        """The query, planned; raises Problem.

        Each caller has plans of their own, or the time that a preview takes would tell what others asked.
        """
        key = _key(caller, query, parties, first_stage)
        found = self._kept.pop(key, None)
        if found is None or found.dataset != dataset:
            found = Planned(dataset, _plan(query, dataset, parties, first_stage))
        self._kept[key] = found
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return found


def notes_of(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    """What a developer is told about a plan, of a first stage or of an answer."""
    if plan.HasField("program"):
        return program_notes(plan, declaration)
    if plan.HasField("evaluation"):
        return evaluation_notes(plan, declaration)
    if plan.HasField("fit"):
        return training_notes(plan, declaration)
    if plan.HasField("synthesis"):
        return synthesis_notes(plan, declaration)
    return stage_notes(plan) if is_first_stage(plan) else clipping_notes(plan, declaration)


def _key(caller: Caller, query: Query, parties: int, first_stage: FirstStage | None) -> tuple[object, ...]:
    return caller.name, query.SerializeToString(deterministic=True), parties, first_stage


def _plan(query: Query, dataset: RegisteredDataset, parties: int, first_stage: FirstStage | None) -> Question:
    check_form(kind_of(query), dataset.declaration)
    with readable(dataset.declaration) as declaration:
        return _planned(query, replace(dataset, declaration=declaration), parties, first_stage)


def _planned(query: Query, dataset: RegisteredDataset, parties: int, first_stage: FirstStage | None) -> Question:
    delta = query.delta if query.HasField("delta") else dataset.declaration.budget_delta
    if query.HasField("program"):
        return plan_program(
            query.program,
            dataset.declaration,
            dataset_version=dataset.version,
            parties=parties,
            epsilon=query.epsilon,
            delta=delta,
        )
    if query.HasField("synthesize"):
        return plan_synthesis(
            query.synthesize,
            dataset.declaration,
            dataset_version=dataset.version,
            parties=parties,
            epsilon=query.epsilon,
            delta=delta,
        )
    if query.HasField("evaluate"):
        return plan_evaluation(
            query.evaluate,
            dataset.declaration,
            dataset_version=dataset.version,
            parties=parties,
            epsilon=query.epsilon,
            delta=delta,
        )
    if query.HasField("train"):
        return plan_training(
            query.train,
            dataset.declaration,
            dataset_version=dataset.version,
            parties=parties,
            epsilon=query.epsilon,
            delta=delta,
            auto_bounds=query.auto_bounds,
            first_stage=first_stage,
        )
    return plan_question(
        query.sql,
        dataset.declaration,
        dataset_version=dataset.version,
        parties=parties,
        epsilon=query.epsilon,
        delta=delta,
        auto_bounds=query.auto_bounds,
        first_stage=first_stage,
        lookups=query.lookups,
    )
