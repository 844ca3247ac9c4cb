"""The receipt of a search among models in rounds: those of all candidates, and that the winner is what they say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from yingbi import stages
from yingbi.api import zcdp
from yingbi.models.in_rounds import score_of
from yingbi.receipt import STANDARD, Check, CheckFunction, bad_receipt, parse
from yingbi.training_receipt import TrainingReceipt
from yingbi.trust import Trust


@dataclass(frozen=True)
class SearchReceipt(TrainingReceipt):
    """Evidence for all rounds of all candidates. Where one model is meant, it is the winner's."""

    candidates: tuple[TrainingReceipt, ...] = field(default=(), repr=False)
    place: int = 0
    """The winner's among them."""

    @classmethod
    def among(cls, candidates: Sequence[TrainingReceipt]) -> SearchReceipt:
        """From the receipts of trainings, two at least, each with a score.

        Raises:
            Problem: BAD_EVIDENCE "receipt_search", where they are not of the same response of the same rows.
        """
        losses = []
        for each in candidates:
            score = score_of(each.model.state)
            if score is None:
                raise bad_receipt("search", "A candidate has no score.")
            losses.append(score.loss.value)
        if len({_subject(each) for each in candidates}) > 1:
            raise bad_receipt("search", "The candidates are of different rows, or predict different things.")
        place = min(range(len(losses)), key=losses.__getitem__)
        best = candidates[place]
        return cls(best.message, best.trust, best.rounds, tuple(candidates), place)

    def to_json(self) -> dict[str, object]:
        return {"search": [each.to_json() for each in self.candidates]}

    def checks(self, trust: Trust, policy: Iterable[CheckFunction] = STANDARD) -> Iterator[Check]:
        """Each check of every candidate's rounds, and then of what they are together."""
        policy = tuple(policy)
        for place, each in enumerate(self.candidates):
            for check in each.checks(trust, policy):
                yield Check(f"{check.name} (candidate {place + 1})", check.finding)
        plans = [own.dossier.plan for each in self.candidates for own in each.rounds]
        rho = stages.rho_units(*plans) / zcdp.RHO_UNITS
        implied = stages.implied_epsilon(plans[0].delta, *plans)
        yield Check(
            "search",
            f"{len(self.candidates)} candidates, of which candidate {self.place + 1} has the least noised loss; "
            f"together ρ = {rho:.6g}, which is ε = {implied:.6g} at δ = {plans[0].delta:g}",
        )


def search_receipt(document: dict[str, object], trust: Trust | None = None) -> SearchReceipt:
    """From a file's content; raises Problem where it holds no receipts of a search."""
    found = document["search"]
    if not isinstance(found, list) or len(found) < 2 or not all(map(_has_rounds, found)):
        raise bad_receipt("format", "The file holds no receipts of a search.")
    rounds = [[parse(json.dumps(one).encode()) for one in each["rounds"]] for each in found]
    return SearchReceipt.among([TrainingReceipt.of(each, trust) for each in rounds])


def _has_rounds(candidate: object) -> bool:
    rounds = candidate.get("rounds") if isinstance(candidate, dict) and len(candidate) == 1 else None
    return isinstance(rounds, list) and bool(rounds)


def _subject(receipt: TrainingReceipt) -> tuple[object, ...]:
    """What a loss is of: data, and the response."""
    plan = receipt.dossier.plan
    classes = tuple(each.SerializeToString(deterministic=True) for each in plan.fit.classes)
    return plan.dataset, plan.dataset_version, plan.delta, plan.fit.columns[-1].name, classes
