"""What of a dataset's privacy budget is spent, in the terms that people ask in."""

from __future__ import annotations

from dataclasses import dataclass

from yingbi.api import zcdp
from yingbi.api.v1 import dataset_pb2


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
        )

    @property
    def spent_epsilon(self) -> float:
        return self._epsilon_of(self.spent_rho_units)

    @property
    def remaining_epsilon(self) -> float:
        """What can still be asked for: never more than the namespace and the organisation have left."""
        left = max(self.limit_rho_units - self.spent_rho_units, 0)
        return self._epsilon_of(min([left, *(share.left for share in (self.shared, self.own) if share)]))

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
            "delta": self.delta,
            **({"namespace": self.namespace} if self.namespace else {}),
            **({"organisation": self.organisation} if self.organisation else {}),
        }

    def __str__(self) -> str:
        words = f"budget: ε {self.spent_epsilon:.3g} spent, ε {self.remaining_epsilon:.3g} left (δ = {self.delta:g})"
        return words + self._words("unit namespace", self.shared) + self._words("organisation", self.own)

    def _document(self, kind: str, share: Share | None) -> dict[str, object] | None:
        if share is None:
            return None
        return {
            kind: share.owner,
            "epsilon": self._epsilon_of(share.limit_rho_units),
            "spent_epsilon": self._epsilon_of(share.spent_rho_units),
            "remaining_epsilon": self._epsilon_of(share.left),
        }

    def _words(self, kind: str, share: Share | None) -> str:
        if share is None:
            return ""
        spent, left = self._epsilon_of(share.spent_rho_units), self._epsilon_of(share.left)
        return f"; {kind} {share.owner}: ε {spent:.3g} spent, ε {left:.3g} left"

    def _epsilon_of(self, rho_units: int) -> float:
        return zcdp.asked_epsilon(rho_units, self.delta)
