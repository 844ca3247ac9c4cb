"""Choosing among models inside one budget: each is trained and scored, and the one with the least noised loss is taken.

**Why it is private.** The ρ that (ε, δ) buys is divided evenly over the candidates; a candidate's part pays for all its
rounds, the one that measures its score among them. Every round is ρ_r-zCDP, also given all that was released before it,
and zCDP composes adaptively by adding up (Bun, Steinke, arXiv 1605.02065, Lemma 2.3): everything that is released,
together, is ρ-zCDP. The winner is a function of released numbers, so naming it costs nothing more. Nothing here rests
on the losers being kept secret, and all of them come back.

**What it costs.** k candidates have 1/k of ρ each, so √k times the noise of one model that is trained alone. Rounds
that are not asked, because a candidate stops early, are not charged. The winner's loss is the least of k noised ones,
so its noise is more often below 0 than above: its ± does not have that.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.display import cell_text
from yingbi.jobs import Progress
from yingbi.models.round_specs import ModelInRounds
from yingbi.models.scores import Score
from yingbi.query import check_parameters
from yingbi.round_learning import RoundsPreview, TrainingInRounds, told_by
from yingbi.rounds_model import RoundsModel
from yingbi.search_receipt import SearchReceipt

MAX_CANDIDATES = 50


@dataclass(frozen=True)
class SearchPreview:
    """What a search would cost, and how exact each candidate would be. Nothing was computed on data."""

    names: tuple[str, ...]
    candidates: tuple[RoundsPreview, ...]
    epsilon: float
    delta: float

    @property
    def rho_units(self) -> int:
        """Of all rounds of all candidates, at most."""
        return sum(each.rho_units for each in self.candidates)

    @property
    def jobs(self) -> int:
        """How many there would be."""
        return sum(each.rounds for each in self.candidates)

    @property
    def excess(self) -> str:
        """Empty if the budget holds it all, else what it lacks."""
        return self.candidates[0].budget.excess_words(self.rho_units, self.jobs)

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever asks should know."""
        count = len(self.candidates)
        price = (
            f"{count} candidates, {self.jobs} rounds in all: each candidate has 1/{count} of ρ, as much as "
            f"ε = {self.candidates[0].plan.epsilon:.3g} buys, and {math.sqrt(count):.2g} times the noise of one model "
            "alone."
        )
        taken = (
            "The model with the least noised loss is taken, whose score flatters it for that; all of them come back."
        )
        return (price, taken)

    def to_json(self) -> dict[str, object]:
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "rho": self.rho_units / zcdp.RHO_UNITS,
            "jobs": self.jobs,
            "excess": self.excess or None,
            "notes": list(self.notes),
            "candidates": [
                {"name": name, **each.to_json()} for name, each in zip(self.names, self.candidates, strict=True)
            ],
        }


@dataclass(frozen=True)
class SearchResult:
    """All candidates, trained and scored."""

    names: tuple[str, ...]
    models: tuple[RoundsModel, ...]

    @property
    def place(self) -> int:
        """The winner's among `models`."""
        return self.receipt.place

    @property
    def best(self) -> RoundsModel:
        """The model with the least noised loss."""
        return self.models[self.place]

    @property
    def scores(self) -> tuple[Score, ...]:
        """Of all models."""
        return tuple(scored(model) for model in self.models)

    @cached_property
    def receipt(self) -> SearchReceipt:
        """Of all rounds of all candidates; where one model is meant, it is the winner's."""
        return SearchReceipt.among([model.receipt for model in self.models])

    @property
    def rho_units(self) -> int:
        """What all rounds of all candidates cost."""
        return sum(model.rho_units for model in self.models)

    @property
    def words(self) -> list[str]:
        """What was found, in some sentences."""
        lines = [
            f"{'*' if place == self.place else ' '} {name}: {score.words}"
            for place, (name, score) in enumerate(zip(self.names, self.scores, strict=True))
        ]
        others = [score.loss for place, score in enumerate(self.scores) if place != self.place]
        if others:
            own, next_best = self.scores[self.place].loss, min(others, key=lambda each: each.value)
            apart, error = next_best.value - own.value, math.hypot(own.error, next_best.error)
            known = "" if apart > 2 * error else ": the noise alone may have decided"
            lines.append(f"ahead of the next by {cell_text(apart, error)}{known}")
        return lines

    def to_json(self) -> dict[str, object]:
        return {
            "winner": self.names[self.place],
            "rho": self.rho_units / zcdp.RHO_UNITS,
            "candidates": [
                {"name": name, "score": score.to_json(), "fingerprint": model.fingerprint}
                for name, score, model in zip(self.names, self.scores, self.models, strict=True)
            ],
            "model": self.best.card,
        }

    def __repr__(self) -> str:
        return "\n".join([*self.words, repr(self.best)])


@dataclass(frozen=True)
class Search:
    """Several models in rounds, of the same rows and the same response, not asked yet."""

    trainings: tuple[TrainingInRounds, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, trainings: Sequence[TrainingInRounds]) -> Search:
        """A search among these.

        Raises:
            Problem: MALFORMED "candidates", where they cannot be compared: fewer than two, without a score, or of
                different rows.
        """
        specs = [each.spec for each in trainings]
        if not 2 <= len(specs) <= MAX_CANDIDATES:
            raise _candidates(f"A search is among 2 to {MAX_CANDIDATES} models, not {len(specs)}.")
        for spec in specs:
            if not spec.score:
                raise _candidates(f"{spec!r} has no score.", "say score=True")
            if _response(spec) != _response(specs[0]):
                raise _candidates("The models are of different responses or rows.", "their losses cannot be compared")
        return cls(tuple(trainings), names_of(specs))

    def preview(self, epsilon: float, delta: float | None = None) -> SearchPreview:
        """What all candidates would cost together. Costs nothing and touches no data.

        Raises:
            Problem: as `TrainingInRounds.preview`; MALFORMED "candidates" for models of classes beside others.
        """
        check_parameters(epsilon, delta)
        known = self.trainings[0].preview(epsilon, delta).plan.delta if delta is None else delta
        part = part_of(epsilon, known, len(self.trainings))
        previews = tuple(each.preview(part, known) for each in self.trainings)
        if len({(bool(each.plan.fit.classes), each.plan.dataset_version) for each in previews}) > 1:
            raise _candidates("Some models predict classes and others numbers.", "their losses cannot be compared")
        return SearchPreview(self.names, previews, epsilon, known)

    def run(
        self,
        epsilon: float,
        delta: float | None = None,
        *,
        request_id: str | None = None,
        resumes: bool | None = None,
        progress: Progress | bool | None = None,
        say: Callable[[str], None] | None = None,
    ) -> SearchResult:
        """Train and score all candidates, one after another.

        Args:
            epsilon: the price of all of them together.
            delta: by default the dataset's.
            request_id: asking again with the same one goes on where the search ended.
            resumes: whether some of it may be paid for already; by default where there is a request id.
            progress, say: as of `TrainingInRounds.run`.

        Raises:
            Problem: as of `TrainingInRounds.run`; REFUSED "over_budget", before anything is asked, where the budget
                does not hold all candidates.
        """
        own = uuid.uuid4().hex if request_id is None else request_id
        foreseen, told = self.preview(epsilon, delta), told_by(progress) if say is None else say
        # What an earlier request with this id was charged is not charged again: the gateway decides then.
        if foreseen.excess and not (request_id is not None if resumes is None else resumes):
            hint = "fewer candidates, or a smaller epsilon; nothing was asked"
            raise Problem(Kind.REFUSED, "over_budget", f"The search would cost {foreseen.excess}.", hint=hint)
        part, models = foreseen.candidates[0].plan.epsilon, list[RoundsModel]()
        for place, (name, each) in enumerate(zip(self.names, self.trainings, strict=True)):
            head = f"{name} ({place + 1} of {len(self.trainings)})"
            try:
                models.append(
                    each.run(
                        part,
                        foreseen.delta,
                        request_id=f"{own}/candidate-{place}",
                        progress=progress,
                        say=lambda line, head=head: told(f"{head}: {line}"),  # type: ignore[misc]
                    )
                )
            except Problem as problem:
                raise _broken(problem, place, head, own) from problem
        return SearchResult(self.names, tuple(models))


def part_of(epsilon: float, delta: float, candidates: int) -> float:
    """The ε of one candidate: all of them together cost what ε buys at most.

    Raises:
        Problem: MALFORMED "epsilon", for parameters that no request may carry.
    """
    check_parameters(epsilon, delta)
    rho_units = zcdp.bought(epsilon, delta)[0] // candidates
    part = zcdp.asked_epsilon(rho_units, delta)
    # It was rounded up into a float.
    while part > 0 and zcdp.bought(part, delta)[0] > rho_units:
        part = math.nextafter(part, 0)
    check_parameters(part, delta)
    return part


def scored(model: RoundsModel) -> Score:
    """The model's score; a search asks for none without."""
    assert model.score is not None
    return model.score


def names_of(specs: Sequence[ModelInRounds]) -> tuple[str, ...]:
    """What tells candidates apart: the fields in which they differ, and the kind where kinds differ."""
    kinds = len({type(spec) for spec in specs}) > 1
    names = dict.fromkeys(field.name for spec in specs for field in fields(spec))
    given = [{name: getattr(spec, name) for name in names if hasattr(spec, name)} for spec in specs]
    differing = [name for name in names if any(each.get(name) != given[0].get(name) for each in given)]
    found = []
    for spec, own in zip(specs, given, strict=True):
        told = [f"{name}={_shown(own[name])}" for name in differing if name in own]
        found.append(" ".join([*([type(spec).__name__] if kinds or not told else []), *told]))
    return tuple(found)


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _response(spec: ModelInRounds) -> tuple[str, str, str]:
    return spec.formula.partition("~")[0].strip(), spec.rows, spec.where


def _candidates(message: str, hint: str = "") -> Problem:
    return Problem(Kind.MALFORMED, "candidates", message, field="candidates", hint=hint or None)


def _broken(problem: Problem, place: int, head: str, request_id: str) -> Problem:
    if not place and problem.code in ("rounds_need_approval",):
        return problem
    return Problem(
        problem.kind,
        problem.code,
        f"{head}: {problem.message} {place} candidates before it are done and charged.",
        hint=f"rounds that are done cost nothing when the search is made again with --request-id {request_id}",
        details={**(problem.details or {}), "candidates": str(place), "request_id": request_id},
    )
