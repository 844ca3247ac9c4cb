"""A receipt checked as the SDK checks it, and how far that came."""

from __future__ import annotations

from dataclasses import dataclass

from yingbi.api.problem import Problem
from yingbi.receipt import Check, Receipt, parse
from yingbi.training_receipt import training_receipt
from yingbi.trust import Trust


@dataclass(frozen=True)
class Checked:
    """What holds, in order; and the check that failed, if one did: those after it were not made."""

    holds: tuple[Check, ...]
    failed: str = ""
    problem: str = ""
    code: str = ""
    job: str = ""


def checked(content: bytes, trust: Trust, plan: bytes | None = None) -> Checked:
    """Check a receipt file against a zone's CA.

    Args:
        plan: of the job whose receipt it should be; None: of whichever.
    """
    found: list[Check] = []
    try:
        receipt = training_receipt(content, trust) or Receipt(parse(content), trust)
        if plan is not None and receipt.dossier.body.plan != plan:
            return Checked((), "plan", "The receipt of this job is for another plan.", "receipt_plan")
        for check in receipt.checks(trust):
            found.append(check)
        return Checked(tuple(found), job=receipt.job)
    except Problem as problem:
        return Checked(tuple(found), problem.code.removeprefix("receipt_"), problem.message, problem.code)
