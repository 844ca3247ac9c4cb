"""The audit record: one row for whatever was done, written in the transaction that does it.

So what cannot be recorded is not done. The database refuses to change or delete a row, and each binds the one before
(`yingbi.api.audit`), so that whoever changes the file by other means is found.

Keeps: AUD-01, AUD-03
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, bindparam, func, insert, select, text
from yingbi.api.audit import GENESIS, row_digest
from yingbi.api.v1.audit_pb2 import AuditRow

from gateway.storage.prepared import Prepared
from gateway.storage.tables import audit, jobs

GATEWAY = "gateway"
"""Who is named where nobody acts: a job goes its way."""

_LAST = Prepared(text("SELECT number, digest FROM audit ORDER BY number DESC LIMIT 1"))
_INSERT = Prepared(insert(audit), [column.name for column in audit.c])
_PAGE = select(audit).where(audit.c.number > bindparam("after")).order_by(audit.c.number).limit(bindparam("size"))


def append(
    connection: Connection,
    action: str,
    subject: str,
    *,
    person: str = GATEWAY,
    organisation: str = "",
    reason: str = "",
    details: Mapping[str, object] | None = None,
) -> None:
    """Record that `person` did `action` to `subject`.

    Args:
        action: "job.state", "agreement.sign" and so on: the kind of thing, and what was done.
        reason: as it was given, in the words of whoever gave it.
        details: what JSON can say.
    """
    last = _LAST.execute(connection, {}).one_or_none()
    row = AuditRow(
        number=last.number + 1 if last else 1,
        at_millis=int(time.time() * 1000),
        person=person,
        organisation=organisation,
        action=action,
        subject=subject,
        reason=reason,
        details=json.dumps(details, sort_keys=True, ensure_ascii=False) if details else "",
        previous=last.digest if last else GENESIS,
    )
    values = {field.name: getattr(row, field.name) for field in row.DESCRIPTOR.fields}
    _INSERT.execute(connection, {**values, "digest": row_digest(row)})


def page(connection: Connection, after: int, size: int) -> list[AuditRow]:
    """Up to `size` rows after the one with number `after`, in order."""
    return [AuditRow(**row._mapping) for row in connection.execute(_PAGE, {"after": after, "size": size})]


def last(connection: Connection) -> int:
    """The number of the last row; 0 where there is none."""
    return int(connection.execute(select(func.coalesce(func.max(audit.c.number), 0))).scalar_one())


def differences(connection: Connection) -> Iterator[str]:
    """Jobs that are otherwise than the record tells, in sentences."""
    told: dict[str, int] = {}
    rows = connection.execute(
        select(audit.c.subject, audit.c.details)
        .where(audit.c.action.in_(["job.submit", "job.state"]))
        .order_by(audit.c.number)
    )
    for subject, details in rows:
        told[subject] = json.loads(details)["state"]
    present = {row.job: row.state for row in connection.execute(select(jobs.c.job, jobs.c.state))}
    for job in sorted(told.keys() | present.keys()):
        if told.get(job) != present.get(job):
            yield f"{job} is in state {present.get(job, 'none')}; the record's last word is {told.get(job, 'none')}"
