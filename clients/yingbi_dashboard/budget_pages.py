"""The page of budgets: of each dataset what is spent, by whom, when, and what is left. Nothing here raises one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from yingbi.agreements import Agreement
from yingbi.api import zcdp
from yingbi.api.v1.dataset_pb2 import BudgetHistory, BudgetPoint
from yingbi.budget import Budget
from yingbi.transport import Gateway

from yingbi_dashboard.decision_page import moment, percent
from yingbi_dashboard.serving import Serving
from yingbi_dashboard.sign_in import who_is

WIDTH, HEIGHT = 640, 160
AGREEMENT_STATES = {
    "draft": "budgets.state_draft",
    "applied for": "budgets.state_applied",
    "assessed": "budgets.state_assessed",
    "consented to": "budgets.state_consented",
    "suspended": "budgets.state_suspended",
    "terminated": "budgets.state_terminated",
    "refused": "budgets.state_refused",
    "withdrawn": "budgets.state_withdrawn",
    "superseded": "budgets.state_superseded",
    "in force": "budgets.state_in_force",
    "not yet in force": "budgets.state_not_yet",
    "expired": "budgets.state_expired",
    "used up": "budgets.state_used_up",
}
"""By what the SDK calls them."""
MOST_ROWS = 60
"""Of the table beside a curve, the newest."""


@dataclass(frozen=True)
class Owner:
    """What one organisation spent of a dataset's budget; without a name: all others together."""

    name: str
    spent: float
    limit: float
    width: float


@dataclass(frozen=True)
class Step:
    """A span of time in which something was charged: as epsilon what that was alone, and what is left after it."""

    at: str
    organisation: str
    charged: float
    left: float


@dataclass(frozen=True)
class DatasetBudget:
    """All that is shown of one dataset's budget."""

    dataset: str
    budget: Budget
    owners: list[Owner]
    steps: list[Step]
    curve: str
    first: str
    last: str
    agreements: list[Agreement]

    @property
    def left_width(self) -> float:
        return percent(self.budget.left / max(self.budget.limit_rho_units, 1))

    @property
    def is_used_up(self) -> bool:
        return self.budget.left <= 0


class BudgetPages:
    """Budgets."""

    def __init__(self, console: Serving) -> None:
        self._console = console

    def routes(self) -> list[Route]:
        return [Route("/budgets", self._all), Route("/budgets/{dataset}", self._one)]

    async def _all(self, request: Request) -> Response:
        datasets, me = await self._console.ask(request, lambda gateway: (_names(gateway), who_is(gateway)))
        return self._console.page(request, "budgets.html", datasets=datasets, me=me)

    async def _one(self, request: Request) -> Response:
        """A part of the page: to add up thousands of charges takes longer than all the rest."""
        name = request.path_params["dataset"]
        each = await self._console.ask(request, lambda gateway: _read(gateway, name))
        return self._console.page(
            request, "budget.html", each=each, width=WIDTH, height=HEIGHT, agreement_states=AGREEMENT_STATES
        )


def _names(gateway: Gateway) -> list[str]:
    return [each.declaration.dataset for each in gateway.list_datasets()]


def _read(gateway: Gateway, dataset: str) -> DatasetBudget:
    agreements = [Agreement(each) for each in gateway.list_agreements(dataset)]
    return budget_of(dataset, gateway.get_budget_history(dataset), agreements)


def budget_of(dataset: str, history: BudgetHistory, agreements: Sequence[Agreement] = ()) -> DatasetBudget:
    """What is shown of a dataset's history of charges."""
    budget, delta = Budget.of(history.budget), history.budget.delta
    limit = max(history.budget.limit_rho_units, 1)
    owners = [
        Owner(
            each.organisation,
            zcdp.asked_epsilon(each.spent_rho_units, delta),
            zcdp.asked_epsilon(each.limit_rho_units, delta),
            percent(each.spent_rho_units / limit),
        )
        for each in history.organisations
    ]
    steps, curve = _course(history)
    times = [history.points[at].at.ToDatetime(tzinfo=UTC) for at in (0, -1) if history.points]
    return DatasetBudget(
        dataset,
        budget,
        owners,
        steps,
        curve,
        moment(times[0]) if times else "",
        moment(times[-1]) if times else "",
        list(agreements),
    )


def _course(history: BudgetHistory) -> tuple[list[Step], str]:
    """The last steps, newest first; and all of them as the points of a line: rho that is left, from all of it above."""
    limit, delta = max(history.budget.limit_rho_units, 1), history.budget.delta
    if not history.points:
        return [], ""
    first = history.points[0].at.seconds
    length = max(history.points[-1].at.seconds + history.span_seconds - first, 1)
    left, after, line = limit, list[int](), ["0,0"]
    for seconds, at_once in groupby(history.points, lambda point: point.at.seconds):
        across = (seconds - first) / length * WIDTH
        line.append(f"{across:.1f},{_down(left, limit):.1f}")
        for point in at_once:
            left -= point.rho_units
            after.append(left)
        line.append(f"{across:.1f},{_down(left, limit):.1f}")
    line.append(f"{WIDTH},{_down(left, limit):.1f}")
    shown = list(zip(history.points, after, strict=True))[: -MOST_ROWS - 1 : -1]
    return [_step(point, then, delta) for point, then in shown], " ".join(line)


def _step(point: BudgetPoint, left: int, delta: float) -> Step:
    return Step(
        moment(datetime.fromtimestamp(point.at.seconds, UTC)),
        point.organisation,
        zcdp.asked_epsilon(point.rho_units, delta),
        zcdp.asked_epsilon(max(left, 0), delta),
    )


def _down(left: int, limit: int) -> float:
    return HEIGHT * (1 - min(max(left / limit, 0.0), 1.0))
