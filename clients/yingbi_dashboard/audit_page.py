"""The page of the audit record, for auditors and supervisors: its rows, a check of its chain, and a copy to keep."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf import json_format
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from yingbi import audit
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.audit_pb2 import AuditRow
from yingbi.api.v1.people_pb2 import Me
from yingbi.display import shown_source
from yingbi.transport import Gateway

from yingbi_dashboard.forms import read_form
from yingbi_dashboard.serving import Serving, check_kind
from yingbi_dashboard.sign_in import who_is

KINDS = ("auditor", "supervisor")
MOST_ROWS = 200
"""On a page."""
MOST_READ = 3_000
"""How many rows a page with a filter looks through, before it says that there are older ones."""
_WINDOW = 500


@dataclass(frozen=True)
class Filter:
    """Which rows are wanted: parts of words, whatever their case; empty: all."""

    subject: str = ""
    person: str = ""
    action: str = ""

    def takes(self, row: AuditRow) -> bool:
        """Whether a row is wanted. A person is found by their organisation too."""
        return (
            self.subject.lower() in row.subject.lower()
            and self.action.lower() in row.action.lower()
            and self.person.lower() in f"{row.person} {row.organisation}".lower()
        )

    @property
    def is_set(self) -> bool:
        """Whether any row could be left out."""
        return bool(self.subject or self.person or self.action)


@dataclass(frozen=True)
class Row:
    """A row as it is shown."""

    number: int
    at: str
    who: str
    action: str
    subject: str
    said: str


@dataclass(frozen=True)
class Found:
    """Rows, newest first; `before`: the number from which on all is seen, 1 where there is nothing older."""

    rows: list[Row]
    before: int
    last: int


def routes(console: Serving) -> list[Route]:
    """The page, its check, and the copy."""
    pages = _Pages(console)
    return [
        Route("/audit", pages.record),
        Route("/audit/verify", pages.verify, methods=["POST"]),
        Route("/audit/rows.jsonl", pages.copy),
    ]


def find(gateway: Gateway, wanted: Filter, before: int | None) -> Found:
    """The newest rows before the one with number `before`, without it from the newest on; raises Problem."""
    last = gateway.list_audit(2**63 - 1).last
    end = last + 1 if before is None else min(max(before, 1), last + 1)
    lowest, rows = max(end - MOST_READ, 1), list[Row]()
    while end > lowest:
        start = max(end - _WINDOW, lowest)
        window = [row for row in gateway.list_audit(start - 1).rows if row.number < end]
        for row in reversed(window):
            if len(rows) == MOST_ROWS:
                return Found(rows, row.number + 1, last)
            if wanted.takes(row):
                rows.append(shown(row))
        end = start
    return Found(rows, end, last)


def shown(row: AuditRow) -> Row:
    """As it is there, even where it was edited; marks that would hide or reorder text are shown by their numbers."""
    details = "" if row.details in ("", "{}") else row.details
    who = f"{row.person}, {row.organisation}" if row.organisation else row.person
    words = (who, row.action, row.subject, " · ".join(filter(None, (row.reason, details))))
    return Row(row.number, _moment(row.at_millis), *map(shown_source, words))


def _moment(millis: int) -> str:
    try:
        at = datetime.datetime.fromtimestamp(millis / 1000, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return str(millis)
    return f"{at:%Y-%m-%d %H:%M:%S}.{millis % 1000:03} UTC"


class _Pages:
    def __init__(self, console: Serving) -> None:
        self._console = console
        # What is remembered in a browser is of one zone: another one at this address has another record.
        self._zone = hashlib.sha256(console.profile.ca_pem.encode()).hexdigest()[:16]

    async def record(self, request: Request) -> Response:
        query = request.query_params
        wanted = Filter(query.get("subject", ""), query.get("person", ""), query.get("action", ""))
        before = query.get("before", "")
        if before and not (before.isdecimal() and len(before) < 19):
            raise Problem(Kind.MALFORMED, "before", "The number of a row is needed.", field="before")

        def read(gateway: Gateway) -> tuple[Me, Found]:
            me = who_is(gateway)
            check_kind(me, *KINDS)
            return me, find(gateway, wanted, int(before) if before else None)

        me, found = await self._console.ask(request, read)
        return self._console.page(request, "audit.html", me=me, found=found, wanted=wanted, zone=self._zone)

    async def verify(self, request: Request) -> Response:
        """Check the whole chain, and that it goes on from the head that the browser remembers."""
        form = await read_form(request)
        try:
            remembered = audit.Head(int(form["rows"]), bytes.fromhex(form["head"])) if form.get("rows") else audit.EMPTY
        except (ValueError, KeyError) as error:
            raise Problem(Kind.MALFORMED, "head", "What is remembered is no head of a record.") from error
        head = await self._console.ask(request, lambda gateway: audit.verify(gateway, remembered))
        return JSONResponse(head.to_json())

    async def copy(self, request: Request) -> Response:
        """All rows, a line of JSON each, as `yingbi audit export` writes them and `yingbi audit verify` reads them."""
        rows = await self._console.ask(request, _lines)
        return StreamingResponse(
            rows,
            media_type="application/jsonl",
            headers={"Content-Disposition": 'attachment; filename="audit.jsonl"'},
        )


def _lines(gateway: Gateway) -> Iterator[str]:
    """Asks once, so that who may not is told so, and goes on as the lines are taken."""
    gateway.list_audit(2**63 - 1)

    def lines() -> Iterator[str]:
        for row in audit.rows(gateway):
            yield json.dumps(json_format.MessageToDict(row, preserving_proto_field_name=True)) + "\n"

    return lines()
