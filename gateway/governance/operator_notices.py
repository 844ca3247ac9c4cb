"""A notice for operators: one YAML 1.2 or JSON document that says who may apply, for what, by when, and for how long.

Keeps: APP-03, AGR-01
"""

from __future__ import annotations

import re

from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api.notices import CLAUSES
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.operator_pb2 import OperatorNotice

from gateway.governance.agreement_documents import MAX_BYTES, moment, term_end
from gateway.governance.agreements import MAX_PURPOSE
from gateway.governance.yaml_fields import check_keys, member, optional, text
from gateway.governance.yaml_tree import Entry, decoded, tree_of

# All are needed.
_WORDS = ("title", *CLAUSES)
_KEYS = ("notice", *_WORDS, "apply_by", "starts", "expires", "supervisor")
_ID = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)


def read_notice(file: str, document: bytes) -> OperatorNotice:
    """The notice that a document describes; `file` is what errors call it. Coordinator and keys are not in it.

    Raises:
        Problem: MALFORMED "metadata" for the document's first mistake, naming file, line and field.
    """
    root = tree_of(file, decoded(file, document, MAX_BYTES), "a notice")
    check_keys(root, _KEYS)
    starts = moment(member(root, "starts"))
    notice = OperatorNotice(
        notice=_name(member(root, "notice")),
        apply_by=moment(member(root, "apply_by")),
        starts=starts,
        expires=term_end(root, starts),
        supervisor=optional(root, "supervisor", text) or "",
    )
    for name in _WORDS:
        setattr(notice, name, _words(member(root, name)))
    for name in ("starts", "apply_by"):
        if getattr(notice, name).seconds >= notice.expires.seconds:
            raise member(root, name).problem("must be before the end of the term")
    return notice


def check_not_over(notice: OperatorNotice, now: float) -> None:
    """Raise Problem where nobody could apply any more at `now`, in seconds since 1970."""
    if not is_open(notice, now):
        raise Problem(
            Kind.REFUSED,
            "notice_over",
            f"Nobody could apply under notice {notice.notice}: {shown(notice.apply_by)} is over.",
            field="apply_by",
            hint="nothing was published; is `apply_by` of another year?",
        )


def is_open(notice: OperatorNotice, now: float) -> bool:
    """Whether applications are taken at `now`."""
    return now < notice.apply_by.seconds


def shown(at: Timestamp) -> str:
    """A time as people read it: `2026-01-31 16:00:00 UTC`."""
    return f"{at.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"


def _name(entry: Entry) -> str:
    name = text(entry)
    if not _ID.fullmatch(name):
        raise entry.problem("is no id; it must match [a-z][a-z0-9_-]* and have at most 63 characters")
    return name


def _words(entry: Entry) -> str:
    words = text(entry)
    if not 1 <= len(words.strip()) <= len(words) <= MAX_PURPOSE:
        raise entry.problem(f"must have 1 to {MAX_PURPOSE:,} characters")
    return words
