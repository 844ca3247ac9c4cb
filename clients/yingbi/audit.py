"""The audit record of a zone, for its auditors and supervisors: reading it, and checking that nothing was changed."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format
from google.protobuf.message import Message

from yingbi.api.audit import GENESIS, check_chain
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.audit_pb2 import AuditRow
from yingbi.transport import Gateway


@dataclass(frozen=True)
class Head:
    """The last row of a record that was checked: its number and digest."""

    number: int
    digest: bytes

    def to_json(self) -> dict[str, object]:
        return {"rows": self.number, "head": self.digest.hex()}


EMPTY = Head(0, GENESIS)


def rows(gateway: Gateway, after: int = 0) -> Iterator[AuditRow]:
    """All rows after the one with number `after`, in order."""
    while page := gateway.list_audit(after).rows:
        yield from page
        after = page[-1].number


def verify(gateway: Gateway, remembered: Head = EMPTY) -> Head:
    """Check the whole record, from its first row, and that it goes on where `remembered` was its last row.

    Raises:
        Problem: BAD_EVIDENCE "audit" that names the first row that is not what it was; "audit_behind" where the record
            is shorter than it was, or was written anew; "audit_differs" where it does not tell what the gateway has.
    """
    found = check_rows(rows(gateway), remembered)
    differences = list(gateway.check_audit().differences)
    if differences:
        raise Problem(
            Kind.BAD_EVIDENCE,
            "audit_differs",
            f"The gateway's tables and the audit record differ: {'; '.join(differences[:3])}.",
            hint="somebody changed the database beside the gateway; tell the supervisor",
        )
    return found


def check_rows(found: Iterable[AuditRow], remembered: Head = EMPTY) -> Head:
    """Check rows from the first one on; see `verify`. Offline."""
    seen = {}

    def watched() -> Iterator[AuditRow]:
        for row in found:
            if row.number == remembered.number:
                seen[row.number] = row.digest
            yield row

    head = Head(*check_chain(watched()))
    if remembered.number and seen.get(remembered.number) != remembered.digest:
        shorter = head.number < remembered.number
        said = f"it has {head.number} rows and had {remembered.number}" if shorter else "it was written anew"
        raise Problem(
            Kind.BAD_EVIDENCE,
            "audit_behind",
            f"The audit record is not the one that was checked before: {said}.",
            hint="the gateway's database was replaced or restored; tell the supervisor",
        )
    return head


def load_head(path: Path) -> Head:
    """What `save_head` wrote; the empty record's where there is no such file. Raises Problem."""
    try:
        document = json.loads(path.read_text())
        return Head(int(document["rows"]), bytes.fromhex(document["head"]))
    except FileNotFoundError:
        return EMPTY
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Problem(Kind.MALFORMED, "file", f"{path} is no remembered head of an audit record.") from error


def save_head(path: Path, head: Head) -> None:
    """Remember a head, whole or not at all."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(head.to_json()))
    temporary.replace(path)


def shown(row: AuditRow) -> dict[str, object]:
    """A row as JSON says it."""
    return {
        "number": row.number,
        "at": datetime.datetime.fromtimestamp(row.at_millis / 1000, datetime.UTC).isoformat(timespec="milliseconds"),
        "person": row.person,
        "organisation": row.organisation,
        "action": row.action,
        "subject": row.subject,
        "reason": row.reason,
        "details": json.loads(row.details) if row.details else {},
    }


def export(found: Iterable[AuditRow], path: Path) -> int:
    """Write rows to a file, a line of JSON each; returns how many. Raises Problem."""
    count = 0
    try:
        with path.open("w", encoding="utf-8") as lines:
            for row in found:
                count += 1
                lines.write(json.dumps(json_format.MessageToDict(row, preserving_proto_field_name=True)) + "\n")
    except OSError as error:
        raise Problem(Kind.MALFORMED, "file", f"Cannot write {str(path)!r}: {error.strerror}.", field="file") from error
    return count


def read_export(path: Path) -> Iterator[AuditRow]:
    """The rows in a file that `export` wrote; raises Problem."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield _row(line, path, number)
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(Kind.MALFORMED, "file", f"Cannot read {str(path)!r}.", field="file") from error


def _row(line: str, path: Path, number: int) -> AuditRow:
    try:
        row: Message = json_format.Parse(line, AuditRow())
    except json_format.ParseError as error:
        raise Problem(Kind.MALFORMED, "file", f"{path}:{number} is no row of an audit record.", field="file") from error
    assert isinstance(row, AuditRow)
    return row
