"""The agreement that the demo asks under: its document, and its way through four organisations."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

NAME = "liver-study"
DOCUMENT = """\
agreement: liver-study
dataset: nafld
organisation: developer
purpose: "how laboratory values of patients with fatty liver go with age, sex and weight"
scenario: "tables and models in one published study"
starts: {today}
budget: {{epsilon: 10.0, delta: 1.0e-7}}
max_uses: 1000
responsibility: "the developer answers for what is published, the provider for what is sealed"
supervision: "the supervisor reads the audit record"
revocation: "by the provider or the supervisor, at any time, with a reason"
"""

LIFE = (
    ("developer", "apply", "the developer applies for it"),
    ("supervisor", "assess", "the supervisor assesses it"),
    ("provider", "consent", "the provider, whose patients they are, consents"),
    ("developer", "sign", "the developer signs its very bytes"),
    ("provider", "sign", "the provider signs them too: each enclave checks that by itself"),
)
"""Who takes which step, and what that is in words."""

Run = Callable[..., dict[str, object]]
"""Runs a command of the command line; its JSON document."""


def agree(run: Run, folder: Path, say: Callable[[str], None]) -> str:
    """Take the agreement from its draft to where it is in force; returns the state at the end."""
    file = folder / "agreement.yaml"
    file.write_text(DOCUMENT.format(today=datetime.datetime.now(datetime.UTC).date()))
    state = str(run("agreement", "draft", str(file))["state"])
    say(f"the developer drafts {NAME}: [dim]{state}[/]")
    for who, step, words in LIFE:
        state = str(run("agreement", step, NAME, "--as", who)["state"])
        say(f"{words}: [dim]{state}[/]")
    return state
