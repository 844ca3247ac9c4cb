"""The receipt of a model that was trained in rounds: those of all its rounds, and that each follows from the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from yingbi import stages
from yingbi.answer import Table, lines_table
from yingbi.api import zcdp
from yingbi.api.v1 import receipt_pb2
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.cells import PlanError
from yingbi.models.in_rounds import FittedInRounds, objectives_of, round_kind, rule_of, score_of
from yingbi.receipt import STANDARD, Check, CheckFunction, Receipt, bad_receipt, document_of, parse
from yingbi.rounds import Released, followed
from yingbi.trust import Trust


@dataclass(frozen=True)
class TrainingReceipt(Receipt):
    """Evidence for all rounds. Where one is meant, as by `dossier` and `job`, it is the last."""

    rounds: tuple[Receipt, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, rounds: Sequence[receipt_pb2.Receipt], trust: Trust | None = None) -> TrainingReceipt:
        """From the receipts of rounds, of which there is one at least, in their order."""
        return cls(rounds[-1], trust, tuple(Receipt(each, trust) for each in rounds))

    def to_json(self) -> dict[str, object]:
        return {"rounds": [document_of(each.message) for each in self.rounds]}

    def table(self, view: Plan | None = None) -> Table:
        plan = self.dossier.plan
        return lines_table(plan, round_kind(plan.fit.model).lines(self.model))

    @cached_property
    def model(self) -> FittedInRounds:
        """The model that the rounds come to, every one of them worked out anew.

        Raises:
            Problem: BAD_EVIDENCE "receipt_rounds", where one does not follow from those before it.
        """
        try:
            released = [Released.of(each.dossier.plan, each.dossier.body.opened) for each in self.rounds]
            kind = round_kind(released[0].plan.fit.model)
            state = followed(rule_of(released[0].plan.fit.round, released[0].plan.fit.model), released).state
            if not kind.has_steps(state):
                raise PlanError("there is no round that makes a model")
            model = kind.model(state)
        except PlanError as error:
            raise bad_receipt("rounds", f"The model cannot be recomputed: {error}.") from error
        return model

    @property
    def rho_units(self) -> int:
        """What all rounds were charged."""
        return sum(each.dossier.body.rho_units for each in self.rounds)

    def checks(self, trust: Trust, policy: Iterable[CheckFunction] = STANDARD) -> Iterator[Check]:
        """Each check of all rounds, and then of what they are together."""
        for check in policy:
            found = [check(each.dossier, trust) for each in self.rounds]
            yield Check(found[-1].name, f"holds of all {len(found)} rounds; of the last: {found[-1].finding}")
        yield self._rounds_follow()

    def _rounds_follow(self) -> Check:
        model, plan = self.model, self.dossier.plan
        implied = stages.implied_epsilon(plan.delta, *(each.dossier.plan for each in self.rounds))
        if not zcdp.covers(plan.epsilon, implied):
            raise bad_receipt("guarantee", f"The rounds claim ε = {plan.epsilon:g}; their charges imply {implied:g}.")
        score, objectives = score_of(model.state), objectives_of(model.state)
        told = [f"before the last step {each.objective_words}" for each in objectives[-1:]]
        told += [] if score is None else [score.words]
        return Check(
            "rounds",
            f"{len(self.rounds)} of {plan.fit.round.rounds}, each worked out again from those before; together ρ = "
            f"{self.rho_units / zcdp.RHO_UNITS:.6g}, within ε = {plan.epsilon:g}; the model's fingerprint is "
            f"{'; '.join([model.fingerprint, *told])}",
        )


def training_receipt(content: bytes, trust: Trust | None = None) -> TrainingReceipt | None:
    """From a file's content, if it holds the receipts of rounds; raises Problem where one of them is none."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, dict) and set(document) == {"search"}:
        from yingbi.search_receipt import search_receipt

        return search_receipt(document, trust)
    if not isinstance(document, dict) or set(document) != {"rounds"}:
        return None
    rounds = document["rounds"]
    if not isinstance(rounds, list) or not rounds:
        raise bad_receipt("format", "The file holds no receipt of a round.")
    return TrainingReceipt.of([parse(json.dumps(each).encode()) for each in rounds], trust)
