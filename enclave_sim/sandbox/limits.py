"""What a program may use, what isolates it, and why it may be refused."""

from __future__ import annotations

from dataclasses import dataclass

# A slot's last fifth is for killing what runs and for freeing its memory, so that this never reaches into the next.
RUNNING_PART = 0.8
OPTIONAL = ("scipy", "sklearn")
"""Packages that take long to load and make every fork dearer; the second needs the first."""
MODELS = "onnxruntime"
"""Loaded for models alone."""


class SandboxUnavailableError(Exception):
    """This machine cannot isolate programs as promised: they are refused, with `reason`; nothing else stops."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"programs cannot run on this node: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """Of one block.

    `seconds`: the length of a block's time slot, of which a program has four fifths (`RUNNING_PART`).
    `memory_bytes`: address space beyond what Python and its packages have taken.
    `block_bytes`: the largest block, packed, together with its program.
    `packages`: which of `OPTIONAL` and `MODELS` are loaded beside the others.
    """

    seconds: float = 1.0
    memory_bytes: int = 512 << 20
    block_bytes: int = 256 << 20
    packages: tuple[str, ...] = OPTIONAL

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if self.seconds <= 0 or self.memory_bytes <= 0 or self.block_bytes <= 0:
            raise ValueError("limits must be positive")
        if not set(self.packages) <= {*OPTIONAL, MODELS}:
            raise ValueError(f"only {', '.join((*OPTIONAL, MODELS))} can be left out")

    @property
    def running_seconds(self) -> float:
        """How long a program may run."""
        return self.seconds * RUNNING_PART


@dataclass(frozen=True)
class Profile:
    """What isolates programs on this machine: proven when the sandbox started, not only asked for.

    `digest`: hexadecimal SHA-256 over the layers, the system calls that remain, and the modules loaded beforehand.
    `layers`: those that hold, sorted. `modules`: what a program can import, sorted, by top-level name and version.
    """

    digest: str
    layers: tuple[str, ...]
    modules: tuple[str, ...]
