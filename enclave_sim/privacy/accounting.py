"""A privacy filter: admit a charge if and only if the sum of all charges stays within the limit.

The gateway's ledger and every node keep one for each dataset and one for each unit namespace; a charge is
against both. The dataset's bounds what is learned from that dataset; the namespace's bounds what is learned of a
unit from all datasets that it is in, since neighbours differ by all its rows everywhere in the namespace.

Charges may be chosen adaptively: what is asked next, and with how much noise, may depend on every earlier
answer. For zCDP the *sum of ρ* is then a filter: if each mechanism is ρ_i-zCDP given the past, ρ_i is known
before it runs, and Σ ρ_i <= ρ always holds for a ρ fixed in advance, the whole interaction is ρ-zCDP. A refused
charge is a mechanism with ρ_i = 0: the refusal follows from earlier charges alone, so smaller ones may be
admitted after it. Sources: Feldman and Zrnic, "Individual Privacy Accounting via a Rényi Filter" (NeurIPS 2021,
arXiv 2008.11193), the theorem on Rényi filters, at every order α with the limit αρ; Whitehouse, Ramdas, Rogers,
Wu, "Fully Adaptive Composition in Differential Privacy" (ICML 2023, arXiv 2203.05481), for approximate zCDP
with δ₀ adding up beside ρ. Jobs of several stages may run side by side: Haney et al., "Concurrent Composition
for Interactive Differential Privacy with Adaptive Privacy-Loss Parameters" (CCS 2023, arXiv 2309.05901), extends
filters for Rényi DP of a fixed order, again used at every α, to interactive mechanisms that interleave.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Charge:
    """What one release costs, or what a budget holds, in approximate zCDP.

    Attributes:
        rho_units: ρ >= 0 in units of 1 / `yingbi.api.zcdp.RHO_UNITS`.
        delta0_units: δ₀ >= 0 in units of 1 / `yingbi.api.zcdp.DELTA0_UNITS`; 0 for every mechanism that is plain zCDP.

    Raises:
        ValueError: a part is negative.
    """

    rho_units: int
    delta0_units: int = 0

    def __post_init__(self) -> None:
        if self.rho_units < 0 or self.delta0_units < 0:
            raise ValueError(f"a charge cannot be negative: {self}")

    def __add__(self, other: "Charge") -> "Charge":
        return Charge(self.rho_units + other.rho_units, self.delta0_units + other.delta0_units)

    def within(self, limit: "Charge") -> bool:
        """Whether neither part is above the limit's."""
        return self.rho_units <= limit.rho_units and self.delta0_units <= limit.delta0_units


class BudgetExceededError(Exception):
    """A charge that would take what is spent above the limit."""

    def __init__(self, limit: Charge, spent: Charge, asked: Charge) -> None:
        super().__init__(
            f"asked for {asked.rho_units} units of ρ, but only {limit.rho_units - spent.rho_units} "
            f"of {limit.rho_units} are left"
            if asked.rho_units > limit.rho_units - spent.rho_units
            else f"asked for {asked.delta0_units} units of δ₀, but only "
            f"{limit.delta0_units - spent.delta0_units} of {limit.delta0_units} are left"
        )
        self.limit = limit
        self.spent = spent
        self.asked = asked


@dataclass(frozen=True)
class Filter:
    """A budget: its limit, fixed before the first charge, and what is spent of it."""

    limit: Charge
    spent: Charge = Charge(0)

    def charged(self, asked: Charge) -> "Filter":
        """This budget after the charge.

        Raises:
            BudgetExceededError: the charge does not fit; nothing is spent.
        """
        spent = self.spent + asked
        if not spent.within(self.limit):
            raise BudgetExceededError(self.limit, self.spent, asked)
        return replace(self, spent=spent)
