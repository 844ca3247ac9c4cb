"""What a notice for operators has to say, beside its times and parties."""

from __future__ import annotations

CLAUSES = ("conditions", "scope", "responsibility", "supervision", "revocation")
"""What it says in words, each under a key of its own that is also the field of `OperatorNotice`."""
