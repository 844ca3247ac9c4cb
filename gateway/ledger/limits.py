"""What a caller is told who asks for more than is left. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.dataset_pb2 import AgreementBudget, Budget


@dataclass(frozen=True)
class _Limit:
    """One of the limits of a budget, in units of rho, and how it is called when it says no."""

    kind: str
    limit_rho_units: int
    spent_rho_units: int
    whole: str
    rest: str

    @property
    def left(self) -> int:
        return self.limit_rho_units - self.spent_rho_units


def whole(budget: Budget) -> int:
    """What can be asked for at most, before anything was spent, in units of rho."""
    return min(limit.limit_rho_units for limit in _limits(budget))


def left(budget: Budget) -> int:
    """What can still be asked for, in units of rho."""
    return min(limit.left for limit in _limits(budget))


def uses_left(budget: Budget) -> float:
    """How many more jobs the agreement allows; infinite where nothing limits them."""
    own = budget.agreement
    return own.max_uses - own.uses if own.HasField("max_uses") else math.inf


def holds(budget: Budget, rho_units: int, uses: int = 1) -> bool:
    """Whether a price in units of rho, for so many jobs, can still be paid."""
    return rho_units <= left(budget) and uses <= uses_left(budget)


def exceeded(budget: Budget, rho_units: int, uses: int = 1) -> Problem:
    """The refusal of a price in units of rho, for so many jobs: which limit says no, and what can still be asked."""
    if uses > uses_left(budget):
        return _used_up(budget.agreement, uses)
    least = left(budget)
    if rho_units <= least:
        return Problem(
            Kind.BUDGET,
            "key_selections_exceeded",
            "The part of the budget's delta that is kept for selecting group keys is used up.",
            field="sql",
            hint="group by columns with declared values, or by numbers with bounds",
        )
    kind, words = _reason(budget, rho_units)
    remaining = zcdp.asked_epsilon(least, budget.delta)
    return Problem(
        Kind.BUDGET,
        "budget_exceeded",
        f"The request costs more than {words}: "
        f"an epsilon of at most {remaining:.4g} (delta {budget.delta:g}) can still be asked for.",
        field="epsilon",
        hint=f"ask with --epsilon {remaining * 0.999:.3g} or less" if remaining > 0 else "the budget is used up",
        details={
            "remaining_epsilon": f"{remaining:.6g}",
            "limit": kind,
            **({"clause": "budget"} if kind == "agreement" else {}),
        },
    )


def used_up_today(agreement: Agreement) -> Problem:
    """The refusal of one more job on a day that has no use of the agreement left."""
    return Problem(
        Kind.BUDGET,
        "agreement_used_up_today",
        f"Agreement {agreement.agreement} allows {agreement.max_uses_a_day:,} uses a day (clause: max_uses_a_day);"
        " today none is left. Nothing was charged.",
        field="agreement",
        hint="ask again after midnight, UTC",
        details={"limit": "uses", "clause": "max_uses_a_day"},
    )


def _used_up(own: AgreementBudget, uses: int) -> Problem:
    rest = own.max_uses - own.uses
    left = f"{rest} {'is' if rest == 1 else 'are'} left" if rest else "none is left"
    wanted = f", and this takes {uses}, one for each job" if uses > 1 else ""
    return Problem(
        Kind.BUDGET,
        "agreement_used_up",
        f"Agreement {own.agreement} allows {own.max_uses:,} uses (clause: max_uses); {left}{wanted}.",
        field="agreement",
        hint="ask for a new agreement, or a supplement",
        details={"limit": "uses", "clause": "max_uses"},
    )


def _reason(budget: Budget, rho_units: int) -> tuple[str, str]:
    """The limit that says no, and why: one that never held as much, or else the one that leaves least."""
    for limit in _limits(budget):
        if rho_units > limit.limit_rho_units:
            return limit.kind, limit.whole
    narrowest = min(_limits(budget), key=lambda limit: limit.left)
    return narrowest.kind, narrowest.rest


def _limits(budget: Budget) -> list[_Limit]:
    limits = [
        _Limit(
            "dataset",
            budget.limit_rho_units,
            budget.spent_rho_units,
            "the dataset's whole budget",
            "the dataset's budget has left",
        )
    ]
    if budget.HasField("namespace"):
        shared = budget.namespace
        limits.append(
            _Limit(
                "namespace",
                shared.limit_rho_units,
                shared.spent_rho_units,
                f"the whole budget of the unit namespace {shared.unit_namespace}",
                f"what all datasets of the unit namespace {shared.unit_namespace} have left together",
            )
        )
    if budget.HasField("organisation"):
        own = budget.organisation
        limits.append(
            _Limit(
                "organisation",
                own.limit_rho_units,
                own.spent_rho_units,
                "one organisation may spend on the dataset",
                f"the organisation {own.organisation} has left of what each may spend on the dataset",
            )
        )
    if budget.HasField("agreement"):
        under = budget.agreement
        limits.append(
            _Limit(
                "agreement",
                under.limit_rho_units,
                under.spent_rho_units,
                f"the whole budget of agreement {under.agreement} (clause: budget)",
                f"agreement {under.agreement} has left (clause: budget)",
            )
        )
    return limits
