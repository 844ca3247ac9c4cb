"""What is wrong with a plan."""

from __future__ import annotations


class PlanError(ValueError):
    """A plan breaks a rule of the language, or does not fit the dataset.

    `path` is a field of the plan message, as `statistics[1].bounded_sum.lower`.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


def require(holds: bool, path: str, message: str) -> None:
    """Raise `PlanError(path, message)` unless `holds`."""
    if not holds:
        raise PlanError(path, message)
