"""What of a dataset's privacy budget is spent, in the terms that people ask in."""

from __future__ import annotations

from dataclasses import dataclass

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

    @classmethod
    def of(cls, message: dataset_pb2.Budget) -> Budget:
        return cls(message.limit_rho_units, message.spent_rho_units, message.delta, message.epsilon)

    @property
    def spent_epsilon(self) -> float:
        return self._epsilon_of(self.spent_rho_units)

    @property
    def remaining_epsilon(self) -> float:
        return self._epsilon_of(self.limit_rho_units - self.spent_rho_units)

    def to_json(self) -> dict[str, object]:
        return {
            "spent_epsilon": self.spent_epsilon,
            "remaining_epsilon": self.remaining_epsilon,
            "delta": self.delta,
        }

    def __str__(self) -> str:
        return f"budget: ε {self.spent_epsilon:.3g} spent, ε {self.remaining_epsilon:.3g} left (δ = {self.delta:g})"

    def _epsilon_of(self, rho_units: int) -> float:
        return zcdp.epsilon_of(rho_units, self.delta) if rho_units > 0 else 0.0
