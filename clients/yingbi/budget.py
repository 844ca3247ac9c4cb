"""What of a dataset's privacy budget is spent, in the terms that people ask in."""

from __future__ import annotations

from dataclasses import dataclass, replace

from yingbi.api import zcdp
from yingbi.api.v1 import dataset_pb2


@dataclass(frozen=True)
class Budget:
    """A budget of zero-concentrated differential privacy, in units of 10^-12 of rho, shown as epsilon.

    Rho adds up, epsilon does not: spent and remaining epsilon may together exceed the whole.
    """

    limit_rho_units: int
    spent_rho_units: int
    delta: float
    epsilon: float
    # What all datasets about the same people share, where it differs; a charge is against both.
    unit_namespace: str | None = None
    shared_limit_rho_units: int = 0
    shared_spent_rho_units: int = 0

    @classmethod
    def of(cls, message: dataset_pb2.Budget) -> Budget:
        own = cls(message.limit_rho_units, message.spent_rho_units, message.delta, message.epsilon)
        if not message.HasField("namespace"):
            return own
        shared = message.namespace
        return replace(
            own,
            unit_namespace=shared.unit_namespace,
            shared_limit_rho_units=shared.limit_rho_units,
            shared_spent_rho_units=shared.spent_rho_units,
        )

    @property
    def spent_epsilon(self) -> float:
        return self._epsilon_of(self.spent_rho_units)

    @property
    def remaining_epsilon(self) -> float:
        """What can still be asked for: never more than the namespace has left."""
        left = self.limit_rho_units - self.spent_rho_units
        return self._epsilon_of(left if self.unit_namespace is None else min(left, self._shared_left))

    @property
    def namespace(self) -> dict[str, object] | None:
        """The unit namespace's budget at this dataset's delta; None where it is the dataset's."""
        if self.unit_namespace is None:
            return None
        return {
            "unit_namespace": self.unit_namespace,
            "epsilon": self._epsilon_of(self.shared_limit_rho_units),
            "spent_epsilon": self._epsilon_of(self.shared_spent_rho_units),
            "remaining_epsilon": self._epsilon_of(self._shared_left),
        }

    def to_json(self) -> dict[str, object]:
        return {
            "spent_epsilon": self.spent_epsilon,
            "remaining_epsilon": self.remaining_epsilon,
            "delta": self.delta,
            **({"namespace": self.namespace} if self.namespace else {}),
        }

    def __str__(self) -> str:
        own = f"budget: ε {self.spent_epsilon:.3g} spent, ε {self.remaining_epsilon:.3g} left (δ = {self.delta:g})"
        if self.unit_namespace is None:
            return own
        spent, left = self._epsilon_of(self.shared_spent_rho_units), self._epsilon_of(self._shared_left)
        return f"{own}; unit namespace {self.unit_namespace}: ε {spent:.3g} spent, ε {left:.3g} left"

    @property
    def _shared_left(self) -> int:
        return self.shared_limit_rho_units - self.shared_spent_rho_units

    def _epsilon_of(self, rho_units: int) -> float:
        return zcdp.asked_epsilon(rho_units, self.delta)
