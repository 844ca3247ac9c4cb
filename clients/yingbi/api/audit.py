"""The chain of the audit record: each row binds all that it says and the row before. Pure.

By itself a chain shows every change of a row that is not the last ones cut off, and not a record that was written anew
from some row on: who remembers an earlier row's digest, as `yingbi audit verify` does, sees that too.
"""

from __future__ import annotations

from collections.abc import Iterable

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.audit_pb2 import AuditRow

DOMAIN = "audit"
GENESIS = bytes(32)


def row_digest(row: AuditRow) -> bytes:
    """What binds a row: 32 bytes over all its fields but the digest itself."""
    numbers = (row.number.to_bytes(8, "big"), row.at_millis.to_bytes(8, "big", signed=True))
    words = (row.person, row.organisation, row.action, row.subject, row.reason, row.details)
    return digests.digest(DOMAIN, row.previous, *numbers, *(word.encode() for word in words))


def check_chain(rows: Iterable[AuditRow], *, number: int = 0, digest: bytes = GENESIS) -> tuple[int, bytes]:
    """Check that rows follow on row `number` with `digest`; returns the last one's.

    Raises Problem BAD_EVIDENCE "audit" with the number of the first row that does not.
    """
    for row in rows:
        if row.number != number + 1:
            raise _broken(number + 1, f"it is missing: row {row.number} comes after row {number}")
        if row.previous != digest:
            raise _broken(row.number, "it does not follow on the row before, which is not what it was")
        if row_digest(row) != row.digest:
            raise _broken(row.number, "it is not what it was when it was written")
        number, digest = row.number, row.digest
    return number, digest


def _broken(number: int, said: str) -> Problem:
    return Problem(
        Kind.BAD_EVIDENCE,
        "audit",
        f"The audit record was changed at row {number}: {said}.",
        hint="keep a copy of the database and tell the supervisor; rows before this one are sound",
        details={"row": str(number)},
    )
