"""What of a plan is released with one noise and has one price."""

from __future__ import annotations

from dataclasses import dataclass

from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.errors import require
from enclave_sim.plan.sensitivity import cells_of, delta2_squared, is_joint
from enclave_sim.privacy.gaussian import MAX_SIGMA, MIN_SIGMA, rho_units_of


@dataclass(frozen=True)
class Release:
    """Statistics with one σ: the joint vector, or one statistic by itself."""

    statistics: tuple[int, ...]
    """Indexes into the plan's; the first one carries the price."""
    delta2_squared: int
    """Of the vector of all of them, in squared grid steps."""
    cells: int

    def rho_units(self, sigma: int, parties: int) -> int:
        """What it costs with this σ where `parties` shares are unknown, in units of 10^-12 of ρ."""
        return rho_units_of(self.delta2_squared, sigma, parties, self.cells)


def releases(plan: Plan) -> list[Release]:
    """All releases of a plan whose statistics are of known kinds, in the order of their first statistics.

    Statistics that are clipped by themselves are independent releases: their prices add up (zCDP composes). The
    joint vector is one release, whose sensitivity is that of the whole (`sensitivity.delta2_squared`).
    """
    joint = tuple(index for index, each in enumerate(plan.statistics) if is_joint(plan, each))
    found = [_release(plan, joint)] if joint else []
    found += [_release(plan, (index,)) for index in range(len(plan.statistics)) if index not in joint]
    return sorted(found, key=lambda release: release.statistics)


def unknown_shares(plan: Plan) -> int:
    """How many noise shares protect a release from whoever knows the others: all but those of the curious.

    A party knows its own share, and the sum without it is what it sees. `privacy.gaussian` prices the sum of those
    that remain; further shares are post-processing. Outsiders meet all of them, and so more noise than they pay for.
    """
    return plan.noise.parties - plan.noise.curious


def check_prices(plan: Plan) -> None:
    """Refuse statistics whose noise is not their release's, or whose stated ρ is not exactly what it costs.

    Args:
        plan: checked up to its statistics' shapes: groups, clipping, noise parties and cells are in range.

    Raises:
        PlanError: with the path of the part at fault.
    """
    for release in releases(plan):
        first, *others = release.statistics
        path, sigma = f"statistics[{first}]", plan.statistics[first].sigma
        require(
            MIN_SIGMA <= sigma <= MAX_SIGMA,
            f"{path}.sigma",
            f"must be from {MIN_SIGMA} to {MAX_SIGMA}, not {sigma}",
        )
        _require_price(plan, first, release.rho_units(sigma, unknown_shares(plan)))
        for index in others:
            own = plan.statistics[index].sigma
            require(own == sigma, f"statistics[{index}].sigma", f"must be the joint vector's, {sigma}, not {own}")
            _require_price(plan, index, 0)


def _require_price(plan: Plan, index: int, price: int) -> None:
    stated = plan.statistics[index].rho_units
    require(stated == price, f"statistics[{index}].rho_units", f"must be {price}, not {stated}")


def _release(plan: Plan, statistics: tuple[int, ...]) -> Release:
    members = [plan.statistics[index] for index in statistics]
    cells = sum(cells_of(plan, each) for each in members)
    return Release(statistics, delta2_squared(plan, members[0]), cells)
