"""What of a dataset's privacy budget is spent, in the terms that people ask in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Context, Decimal

from yingbi.api import zcdp
from yingbi.api.v1 import dataset_pb2

_DECLARED_DIGITS = 9
_DECLARED_SLACK = 1e-6


@dataclass(frozen=True)
class Share:
    """Another limit that the same charges are against, in units of 10^-12 of rho."""

    owner: str
    limit_rho_units: int
    spent_rho_units: int

    @property
    def left(self) -> int:
        """What can still be charged; 0 where a limit was lowered below what is spent."""
        return max(self.limit_rho_units - self.spent_rho_units, 0)


@dataclass(frozen=True)
class AgreementBudget:
    """What may be spent under an agreement, as epsilon at its own delta, and how often."""

    message: dataset_pb2.AgreementBudget

    @property
    def agreement(self) -> str:
        """The agreement's id."""
        return self.message.agreement

    @property
    def left(self) -> int:
        """In units of 10^-12 of rho."""
        return max(self.message.limit_rho_units - self.message.spent_rho_units, 0)

    @property
    def spent_epsilon(self) -> float:
        return zcdp.asked_epsilon(self.message.spent_rho_units, self.message.delta)

    @property
    def remaining_epsilon(self) -> float:
        return zcdp.asked_epsilon(self.left, self.message.delta)

    @property
    def uses_left(self) -> int | None:
        """How many more jobs; None where nothing limits them."""
        return self.message.max_uses - self.message.uses if self.message.HasField("max_uses") else None

    @property
    def expires(self) -> datetime:
        """From then on nothing can be asked under it."""
        return self.message.expires.ToDatetime(tzinfo=UTC)

    def allows(self, uses: int) -> bool:
        """Whether so many more jobs can be charged."""
        return self.uses_left is None or uses <= self.uses_left

    def to_json(self) -> dict[str, object]:
        return {
            "agreement": self.agreement,
            "epsilon": self.message.epsilon,
            "spent_epsilon": self.spent_epsilon,
            "remaining_epsilon": self.remaining_epsilon,
            "delta": self.message.delta,
            "uses": self.message.uses,
            "max_uses": self.message.max_uses if self.message.HasField("max_uses") else None,
            "expires": self.expires.isoformat(),
        }

    def __str__(self) -> str:
        words = f"{self.spent_epsilon:.3g} of {self.message.epsilon:g} spent, {self.remaining_epsilon:.3g} left"
        if self.uses_left is not None:
            words += f", {self.uses_left:,} of {self.message.max_uses:,} uses left"
        return f"agreement {self.agreement}: {words}"


@dataclass(frozen=True)
class Budget:
    """A budget of zero-concentrated differential privacy, in units of 10^-12 of rho, shown as epsilon.

    Rho adds up, epsilon does not: spent and remaining epsilon may together exceed the whole.
    """

    limit_rho_units: int
    spent_rho_units: int
    delta: float
    epsilon: float
    # What all datasets about the same people share, where it differs.
    shared: Share | None = None
    # What the caller's organisation may spend on the dataset, where that is limited.
    own: Share | None = None
    # That of the agreement that a request is under.
    agreement: AgreementBudget | None = None

    @classmethod
    def of(cls, message: dataset_pb2.Budget) -> Budget:
        shared, own = message.namespace, message.organisation
        return cls(
            message.limit_rho_units,
            message.spent_rho_units,
            message.delta,
            message.epsilon,
            Share(shared.unit_namespace, shared.limit_rho_units, shared.spent_rho_units)
            if message.HasField("namespace")
            else None,
            Share(own.organisation, own.limit_rho_units, own.spent_rho_units)
            if message.HasField("organisation")
            else None,
            AgreementBudget(message.agreement) if message.HasField("agreement") else None,
        )

    @property
    def spent_epsilon(self) -> float:
        return self._epsilon_of(self.spent_rho_units)

    @property
    def left(self) -> int:
        """The dataset's own remainder, whatever the namespace and the organisation have left."""
        return max(self.limit_rho_units - self.spent_rho_units, 0)

    @property
    def can_be_charged(self) -> int:
        """What every account still holds."""
        return min([self.left, *(share.left for share in (self.shared, self.own, self.agreement) if share)])

    @property
    def dataset_remaining_epsilon(self) -> float:
        """What the dataset's own account has left."""
        return self._epsilon_of(self.left)

    @property
    def remaining_epsilon(self) -> float:
        """What can still be asked for: never more than namespace, organisation and agreement have left."""
        return self._epsilon_of(self.can_be_charged)

    def excess_words(self, rho_units: int, uses: int = 1) -> str:
        """Of a price for so many jobs: empty where it can be paid, else that it cannot, and what could be asked."""
        if self.agreement is not None and not self.agreement.allows(uses):
            few = f"has {self.agreement.uses_left} of the {uses} uses that it takes" if uses > 1 else "has no use left"
            return f"more than is left: agreement {self.agreement.agreement} {few}"
        if rho_units <= self.can_be_charged:
            return ""
        most = _rounded_down(self.remaining_epsilon)
        return f"more than is left: {f'at most ε {most:g} can be asked' if most else 'nothing can be asked'}"

    @property
    def namespace(self) -> dict[str, object] | None:
        """The unit namespace's budget at this dataset's delta; None where it is the dataset's."""
        return self._document("unit_namespace", self.shared)

    @property
    def organisation(self) -> dict[str, object] | None:
        """What the caller's organisation may spend, at this dataset's delta; None where nothing limits it alone."""
        return self._document("organisation", self.own)

    def to_json(self) -> dict[str, object]:
        return {
            "spent_epsilon": self.spent_epsilon,
            "remaining_epsilon": self.remaining_epsilon,
            "dataset_remaining_epsilon": self.dataset_remaining_epsilon,
            "delta": self.delta,
            **({"namespace": self.namespace} if self.namespace else {}),
            **({"organisation": self.organisation} if self.organisation else {}),
            **({"agreement": self.agreement.to_json()} if self.agreement else {}),
        }

    def __str__(self) -> str:
        spent, left = self.spent_epsilon, self.dataset_remaining_epsilon
        words = f"budget: ε {spent:.3g} of {self.epsilon:g} spent, ε {left:.3g} left (δ = {self.delta:g})"
        shared = f"unit namespace {self.shared.owner}" if self.shared else ""
        words += self._words(shared, self.shared) + self._words("your organisation", self.own)
        return f"{words}; {self.agreement}" if self.agreement else words

    def left_words(self) -> str:
        """`94.7 of 100`, and the same of the other accounts that a charge is against."""
        words = f"{self.dataset_remaining_epsilon:.3g} of {self.epsilon:g}"
        for name, share in (("namespace", self.shared), ("your organisation", self.own)):
            if share:
                words += f"; {name} {self._epsilon_of(share.left):.3g} of {self._declared(share.limit_rho_units):g}"
        return words

    def _document(self, kind: str, share: Share | None) -> dict[str, object] | None:
        if share is None:
            return None
        return {
            kind: share.owner,
            "epsilon": self._declared(share.limit_rho_units),
            "spent_epsilon": self._epsilon_of(share.spent_rho_units),
            "remaining_epsilon": self._epsilon_of(share.left),
        }

    def _words(self, name: str, share: Share | None) -> str:
        if share is None:
            return ""
        spent, left = self._epsilon_of(share.spent_rho_units), self._epsilon_of(share.left)
        return f"; {name}: {spent:.3g} of {self._declared(share.limit_rho_units):g} spent, {left:.3g} left"

    def _declared(self, rho_units: int) -> float:
        """The number of fewest digits that buys exactly this much, else the epsilon that it comes to.

        Whoever declared a limit wrote 60; rounded to units of rho it comes back as 59.9999999999987.
        """
        epsilon = self._epsilon_of(rho_units)
        for digits in range(1, _DECLARED_DIGITS + 1):
            short = float(f"{epsilon:.{digits}g}")
            if abs(short - epsilon) <= _DECLARED_SLACK * epsilon and self._buys(short) == rho_units:
                return short
        return epsilon

    def _buys(self, epsilon: float) -> int:
        try:
            return zcdp.bought(epsilon, self.delta)[0]
        except zcdp.BadPrivacyParameter:
            return 0

    def _epsilon_of(self, rho_units: int) -> float:
        return zcdp.asked_epsilon(rho_units, self.delta)


def _rounded_down(epsilon: float) -> float:
    """To three digits that can be asked: rounded up it would be refused."""
    exact = Decimal(epsilon)
    return float(Context(prec=3, rounding=ROUND_DOWN).create_decimal(exact))
