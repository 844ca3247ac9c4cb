"""What the Decision page shows, made of the gateway's answers. Pure: no call is made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from yingbi.api import digests, zcdp
from yingbi.api.problem import Problem
from yingbi.api.v1.agreement_pb2 import RegisteredAgreement
from yingbi.api.v1.job_pb2 import JOB_STATE_WAITING_FOR_APPROVAL, Approval, Decision, Flag, NeededApproval
from yingbi.display import shown_source
from yingbi.jobs import Job

from yingbi_dashboard import catalogue
from yingbi_dashboard.highlight import Piece, pieces
from yingbi_dashboard.mock_answer import Expected, expected
from yingbi_dashboard.program_diff import Comparison, comparison_of

FLAG_TITLES = {
    "budget": "flag.budget",
    "similar": "flag.similar",
    "sensitive_columns": "flag.sensitive_columns",
    "first_use": "flag.first_use",
    "volume": "flag.volume",
    "simulated": "flag.simulated",
}
FLAG_SENTENCES = {
    "budget_over": "flagged.budget_over",
    "budget_after": "flagged.budget_after",
    "similar_near": "flagged.similar_near",
    "similar_same": "flagged.similar_same",
    "columns_together": "flagged.columns_together",
    "first_of_dataset": "flagged.first_of_dataset",
    "first_of_kind": "flagged.first_of_kind",
    "volume": "flagged.volume",
    "simulated": "flagged.simulated",
}
"""What flags say, by the gateway's names of the sentences."""
KIND_NAMES = {
    "query": "kind.query",
    "train": "kind.train",
    "program": "kind.program",
    "evaluate": "kind.evaluate",
    "synthesize": "kind.synthesize",
}
ORGANISATION_NAMES = {"provider": "role.provider", "supervisor": "role.supervisor"}
STATE_NAMES = {
    0: "state.unknown",
    1: "state.previewed",
    2: "state.waiting",
    3: "state.queued",
    4: "state.running",
    5: "state.succeeded",
    6: "state.failed",
    7: "state.refused",
    8: "state.cancelled",
}
MODE_NAMES = {"query": "mode.query", "model": "mode.model"}


@dataclass(frozen=True)
class Part:
    """A part of a bar, as percents of the whole: from where, how wide; `kind` is "spent", "this" or "other"."""

    kind: str
    start: float
    width: float


@dataclass(frozen=True)
class Bar:
    """What of one budget is spent, and what this job takes, as epsilon at the budget's delta."""

    title: str
    owner: str
    spent: float
    price: float
    limit: float
    parts: tuple[Part, ...]
    fits: bool


@dataclass(frozen=True)
class Terms:
    """What the agreement says that matters for one job."""

    name: str
    purpose: str
    scenario: str
    starts: str
    expires: str
    uses_left: int | None
    max_uses: int | None


@dataclass(frozen=True)
class ShownFlag:
    """A flag by the keys of its title and its sentence; without the latter it is in the gateway's own words alone."""

    title: str
    is_warning: bool
    sentence: str
    parts: Mapping[str, str]
    text: str


@dataclass(frozen=True)
class Page:
    """Everything on the page."""

    decision: Decision
    plan_hash: str
    request: list[Piece]
    source: list[Piece]
    source_problem: str
    comparison: Comparison | None
    flags: list[ShownFlag]
    warnings: int
    terms: Terms | None
    terms_problem: Problem | None
    bars: list[Bar]
    organisations: list[tuple[str, float]]
    expected: Expected | None
    similar: list[str]
    since: str
    waits: bool

    @property
    def may(self) -> bool:
        """Whether the reader may decide."""
        return self.waits and not self.decision.may_not

    @property
    def state(self) -> str:
        """The key of the state's name."""
        return STATE_NAMES.get(self.decision.job.state, "state.unknown")


def page_of(decision: Decision, agreement: RegisteredAgreement | None, problem: Problem | None = None) -> Page:
    """The page of a decision under an agreement, or none; `problem` where the agreement cannot be seen."""
    job = decision.job
    plan = bytes(job.plan)
    source, source_problem = _source(decision)
    similar = [other for flag in decision.flags if flag.code == "similar" for other in flag.jobs]
    return Page(
        decision=decision,
        plan_hash=digests.digest(digests.PLAN, plan).hex(),
        request=pieces(job.sql),
        source=source,
        source_problem=source_problem,
        comparison=comparison_of(decision),
        flags=[shown_flag(flag) for flag in decision.flags],
        warnings=sum(flag.level == "warning" for flag in decision.flags),
        terms=None if agreement is None else _terms(agreement),
        terms_problem=problem,
        bars=_bars(decision),
        organisations=[
            (each.organisation, zcdp.asked_epsilon(each.spent_rho_units, job.budget.delta))
            for each in decision.organisations
        ],
        expected=expected(plan),
        similar=list(dict.fromkeys(similar)),
        since=moment(decision.since.ToDatetime(tzinfo=UTC)),
        waits=job.state == JOB_STATE_WAITING_FOR_APPROVAL,
    )


def shown_flag(flag: Flag) -> ShownFlag:
    """A flag, to be said in any language where its sentence is known and all parts of it are there."""
    sentence = FLAG_SENTENCES.get(flag.sentence, "")
    known = sentence and catalogue.parts_of(sentence) == set(flag.parts)
    return ShownFlag(
        title=FLAG_TITLES.get(flag.code, "flag.other"),
        is_warning=flag.level == "warning",
        sentence=sentence if known else "",
        parts=dict(flag.parts),
        text=flag.text,
    )


def approval_of(decision: Decision, key: bytes, organisation: str, expires: datetime | None) -> bytes:
    """The very bytes to sign: this plan's hash at this price, in the name of whoever has `key`."""
    approval = Approval(
        job=decision.job.job,
        plan_hash=digests.digest(digests.PLAN, decision.job.plan),
        operator_key=key,
        rho_units=decision.rho_units,
        delta=decision.delta,
        organisation=organisation,
    )
    if expires is not None:
        approval.expires.FromDatetime(expires)
    return approval.SerializeToString(deterministic=True)


def waits_for(needed: Sequence[NeededApproval]) -> list[tuple[str, NeededApproval]]:
    """Whose yes is needed: the key of the kind's name, and who has said it."""
    return [(ORGANISATION_NAMES.get(each.kind, "role.other"), each) for each in needed]


def moment(at: datetime) -> str:
    """A time as people read it, to the minute."""
    return at.strftime("%Y-%m-%d %H:%M UTC")


def percent(part: float) -> float:
    """A share as percents with one decimal, from 0 to 100."""
    return round(100 * min(max(part, 0.0), 1.0), 1)


def _source(decision: Decision) -> tuple[list[Piece], str]:
    """Of a program: its code, where it is shown and is the one that the plan names; else why not."""
    try:
        code = Job(decision.job, None).source  # type: ignore[arg-type]  # nothing is asked for it
    except Problem as problem:
        return [], problem.message
    return ([Piece("", shown_source(code))] if code else []), ""


def _terms(registered: RegisteredAgreement) -> Terms:
    agreement, budget = registered.agreement, registered.budget
    limited = agreement.HasField("max_uses")
    return Terms(
        name=agreement.agreement,
        purpose=agreement.purpose,
        scenario=agreement.scenario,
        starts=moment(agreement.starts.ToDatetime(tzinfo=UTC)),
        expires=moment(agreement.expires.ToDatetime(tzinfo=UTC)),
        uses_left=agreement.max_uses - budget.uses if limited else None,
        max_uses=agreement.max_uses if limited else None,
    )


def _bars(decision: Decision) -> list[Bar]:
    """Agreement, organisation, dataset: whichever of them limits this job."""
    budget, price, asker = decision.job.budget, decision.rho_units, decision.organisation
    found = []
    if budget.HasField("agreement"):
        own = budget.agreement
        found.append(
            _bar(
                "bar.agreement",
                own.agreement,
                own.limit_rho_units,
                own.spent_rho_units,
                price,
                own.delta or budget.delta,
            )
        )
    if budget.HasField("organisation"):
        each = budget.organisation
        found.append(_bar("bar.organisation", asker, each.limit_rho_units, each.spent_rho_units, price, budget.delta))
    else:
        spent = sum(each.spent_rho_units for each in decision.organisations if each.organisation == asker)
        found.append(_bar("bar.organisation", asker, budget.limit_rho_units, spent, price, budget.delta))
    dataset = decision.job.dataset
    found.append(_bar("bar.dataset", dataset, budget.limit_rho_units, budget.spent_rho_units, price, budget.delta))
    return found


def _bar(title: str, owner: str, limit: int, spent: int, price: int, delta: float) -> Bar:
    whole = max(limit, spent + price, 1)
    parts = (
        Part("spent", 0.0, percent(spent / whole)),
        Part("this", percent(spent / whole), max(percent(price / whole), 0.6)),
    )
    return Bar(
        title,
        owner,
        zcdp.asked_epsilon(spent, delta),
        zcdp.asked_epsilon(price, delta),
        zcdp.asked_epsilon(limit, delta),
        parts,
        fits=spent + price <= limit,
    )
