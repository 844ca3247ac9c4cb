"""An agreement's document: one YAML 1.2 or JSON document that describes one agreement.

The document's form is read here, with the line of every mistake; what an agreement may say is decided by
`gateway.governance.agreements`.
"""

from __future__ import annotations

import datetime
import re

from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api.v1.agreement_pb2 import Agreement

from enclave_sim.plan.schema import DeclarationError
from gateway.governance.agreements import check_terms
from gateway.governance.yaml_fields import check_keys, entry_at, member, optional, real, shown, text, whole
from gateway.governance.yaml_tree import Entry, decoded, tree_of

MAX_BYTES = 2**16
_KEYS = ("agreement", "dataset", "organisation", "purpose", "starts", "expires", "budget", "max_uses")
_BUDGET_KEYS = ("epsilon", "delta")
# A place between days of two zones would be a day's difference in what is in force.
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2}))?")
_MAX_USES = 2**63 - 1


def read_agreement(file: str, document: bytes) -> Agreement:
    """The agreement that a document describes; `file` is what errors call it.

    Raises:
        Problem: MALFORMED "metadata" for the document's first mistake, naming file, line and field.
    """
    root = tree_of(file, decoded(file, document, MAX_BYTES), "an agreement")
    check_keys(root, _KEYS)
    budget = member(root, "budget")
    check_keys(budget, _BUDGET_KEYS)
    agreement = Agreement(
        agreement=text(member(root, "agreement")),
        dataset=text(member(root, "dataset")),
        organisation=text(member(root, "organisation")),
        purpose=text(member(root, "purpose")),
        starts=_moment(member(root, "starts")),
        expires=_moment(member(root, "expires")),
        budget_epsilon=real(member(budget, "epsilon")),
        budget_delta=real(member(budget, "delta")),
        max_uses=optional(root, "max_uses", lambda entry: whole(entry, _MAX_USES)),
    )
    try:
        check_terms(agreement)
    except DeclarationError as error:
        raise entry_at(root, error.field_path).problem(error.message) from error
    return agreement


def _moment(entry: Entry) -> Timestamp:
    """A day, which begins at 00:00 UTC, or a time with its zone."""
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
