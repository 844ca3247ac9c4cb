"""An agreement's document: one YAML 1.2 or JSON document that describes one agreement.

The document's form is read here, with the line of every mistake; what an agreement may say is decided by
`gateway.governance.agreements`.

Keeps: AGR-01
"""

from __future__ import annotations

import datetime
import re

from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api.problem import nearest
from yingbi.api.v1.agreement_pb2 import Agreement

from enclave_sim.plan.schema import DeclarationError
from gateway.governance.agreements import JOBS, check_complete, check_terms, five_years_after
from gateway.governance.yaml_fields import check_keys, entry_at, member, optional, real, shown, text, truth, whole
from gateway.governance.yaml_tree import Entry, decoded, tree_of

MAX_BYTES = 2**16
_KEYS = (
    "agreement",
    "dataset",
    "organisation",
    "purpose",
    "starts",
    "expires",
    "budget",
    "max_uses",
    "max_uses_a_day",
    "jobs",
    "columns",
    "scenario",
    "provider",
    "supervisor",
    "responsibility",
    "supervision",
    "revocation",
    "supersedes",
    "parameters_may_leave",
)
_TEXTS = ("scenario", "provider", "supervisor", "responsibility", "supervision", "revocation", "supersedes")
_BUDGET_KEYS = ("epsilon", "delta")
# A place between days of two zones would be a day's difference in what is in force.
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2}))?")
_MAX_USES, _MAX_USES_A_DAY = 2**63 - 1, 2**32 - 1


def read_agreement(file: str, document: bytes, *, complete: bool = False) -> Agreement:
    """The agreement that a document describes; `file` is what errors call it. Keys of organisations are not in it.

    With `complete` all that both parties are to answer for has to be said.

    Raises:
        Problem: MALFORMED "metadata" for the document's first mistake, naming file, line and field.
    """
    root = tree_of(file, decoded(file, document, MAX_BYTES), "an agreement")
    check_keys(root, _KEYS)
    budget = member(root, "budget")
    check_keys(budget, _BUDGET_KEYS)
    starts = moment(member(root, "starts"))
    agreement = Agreement(
        agreement=text(member(root, "agreement")),
        dataset=text(member(root, "dataset")),
        organisation=text(member(root, "organisation")),
        purpose=text(member(root, "purpose")),
        starts=starts,
        expires=term_end(root, starts),
        budget_epsilon=real(member(budget, "epsilon")),
        budget_delta=real(member(budget, "delta")),
        max_uses=optional(root, "max_uses", lambda entry: whole(entry, _MAX_USES)),
        max_uses_a_day=optional(root, "max_uses_a_day", lambda entry: whole(entry, _MAX_USES_A_DAY)),
        jobs=optional(root, "jobs", _jobs),
        columns=optional(root, "columns", _columns),
        parameters_may_leave=optional(root, "parameters_may_leave", truth),
    )
    for name in _TEXTS:
        setattr(agreement, name, optional(root, name, text) or "")
    try:
        check_terms(agreement)
        if complete:
            check_complete(agreement)
    except DeclarationError as error:
        raise entry_at(root, error.field_path).problem(error.message) from error
    return agreement


def _jobs(entry: Entry) -> list[str]:
    if not isinstance(entry.content, list) or not entry.content:
        raise entry.problem(f"must be a list of kinds of jobs, not {shown(entry.content)}")
    return [_job(each) for each in entry.content]


def _job(entry: Entry) -> str:
    name = text(entry)
    if name not in JOBS:
        near = nearest(name, list(JOBS))
        said = f"{shown(name)} is no kind of job; there are {', '.join(JOBS)}"
        raise entry.problem(said, f"Did you mean {near}?" if near else None)
    return name


def _columns(entry: Entry) -> list[str]:
    if not isinstance(entry.content, list) or not entry.content:
        raise entry.problem(f"must be a list of columns, as table.column, not {shown(entry.content)}")
    return [text(each) for each in entry.content]


def term_end(root: Entry, starts: Timestamp) -> Timestamp:
    """`expires` of a document, or five years after `starts`; raises Problem."""
    said = optional(root, "expires", moment)
    try:
        return said or after_five_years(starts)
    except ValueError as error:
        raise member(root, "starts").problem("is too late: five years after it there is no date") from error


def after_five_years(starts: Timestamp) -> Timestamp:
    """When a term ends whose document does not say it."""
    ends = five_years_after(datetime.datetime.fromtimestamp(starts.seconds, datetime.UTC))
    return Timestamp(seconds=int(ends.timestamp()))


def moment(entry: Entry) -> Timestamp:
    """A day, which begins at 00:00 UTC, or a time with its zone; raises Problem."""
    written = text(entry)
    try:
        if not _MOMENT.fullmatch(written):
            raise ValueError
        read = datetime.datetime.fromisoformat(written)
        at = read.replace(tzinfo=datetime.UTC) if read.tzinfo is None else read.astimezone(datetime.UTC)
    except (ValueError, OverflowError) as error:
        said = f"{shown(written)} is no time; write 2026-01-31, which begins at 00:00 UTC, or 2026-01-31T00:00+08:00"
        raise entry.problem(said) from error
    return Timestamp(seconds=int(at.timestamp()))
