"""The audit record at the console: read, filtered, checked, and copied."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser
from yingbi import audit, connect
from yingbi.api.v1 import audit_pb2
from yingbi.transport import Gateway
from yingbi_dashboard.app import Console
from yingbi_dashboard.settings import read_settings

from tests.browser.conftest import LOOKS, Desk, desk_in, findings
from tests.zones import Zone

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


class EditedGateway(Gateway):
    """As a gateway answers whose third row somebody has edited in the database."""

    def list_audit(self, after: int) -> audit_pb2.ListAuditResponse:
        page = super().list_audit(after)
        for row in page.rows:
            if row.number == 3:
                row.reason = "never mind"
        return page


class EditedConsole(Console):
    def gateway(self, credential: str) -> Gateway:
        return EditedGateway(self.profile, credential=credential, channel=self._channel)


@contextmanager
def console_of_an_edited_record(zone: Zone) -> Iterator[str]:
    """The address of another console of the zone, for which the gateway's answers are edited on their way."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    app = EditedConsole(read_settings(zone.root / "run" / "console.json")).app()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    try:
        yield f"http://localhost:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def verify(desk: Desk) -> None:
    desk.go("/audit")
    # The button alone would not tell: it is enabled before the click is dealt with as well as after the answer.
    with desk.page.expect_response("**/audit/verify"):
        desk.page.click("#audit-verify")
    desk.page.locator("#audit-verify:not([disabled])").wait_for()


def test_the_record_is_checked_and_its_head_is_remembered(desk: Desk) -> None:
    desk.sign_in("auditor")
    verify(desk)
    assert "The record is sound" in desk.page.inner_text("#audit-said")
    said = desk.page.inner_text("#audit-said")
    with connect(folder=desk.zone.root, role="auditor") as zone:
        # Of the row that was the last one then: whatever runs in the zone may have added others since.
        (last,) = [row for row in zone.audit_rows() if row.digest.hex() in said]
    verify(desk)
    assert f"going on from the {last.number}" in desk.page.inner_text("#audit-said")
    # Had the record been written anew meanwhile, the browser would know another head than the gateway.
    desk.page.evaluate(
        "() => { const [[place, head]] = Object.entries(localStorage);"
        " localStorage.setItem(place, JSON.stringify({ ...JSON.parse(head), head: '00'.repeat(32) })); }"
    )
    verify(desk)
    assert "written anew" in desk.page.inner_text("#audit-problem")
    desk.complaints.clear()  # of the answer that was asked for


def test_an_edited_row_is_shown_with_its_number(browser: Browser, governed: Zone) -> None:
    context = browser.new_context(locale="en-GB")
    desk = desk_in(context, governed)
    with console_of_an_edited_record(governed) as desk.url:
        desk.sign_in("supervisor")
        verify(desk)
        assert "changed at row 3" in desk.page.inner_text("#audit-problem")
        assert desk.page.inner_text("#audit-said") == ""
        # What is not sound is not remembered.
        assert desk.page.evaluate("() => localStorage.length") == 0
    context.close()


def test_rows_are_found_by_what_they_are_about_who_did_it_and_what(desk: Desk) -> None:
    desk.sign_in("supervisor").go("/audit?subject=about-visits&action=agreement.sign")
    rows = desk.page.locator("table.rows tbody tr")
    assert rows.count() == 2
    assert all("agreement.sign" in row and "about-visits" in row for row in rows.all_inner_texts())
    desk.page.fill("#person", "provider")
    desk.page.click(".filters button")
    desk.page.wait_for_url("**person=provider**")
    assert rows.count() == 1
    assert desk.go("/audit?subject=nothing-of-this").page.locator("table.rows").count() == 0


def test_the_copy_is_one_that_the_command_line_checks(desk: Desk, tmp_path: Path) -> None:
    desk.sign_in("auditor").go("/audit")
    with desk.page.expect_download() as downloading:
        desk.page.click("a[download]")
    downloading.value.save_as(tmp_path / "audit.jsonl")
    head = audit.check_rows(audit.read_export(tmp_path / "audit.jsonl"))
    assert head.number > 3


def test_names_that_people_gave_are_shown_and_never_run(desk: Desk) -> None:
    with connect(folder=desk.zone.root, role="auditor") as zone:
        zone.people.invite("quoted", ["auditor"], real_name=HOSTILE)
        zone.people.remove("quoted", HOSTILE)
    desk.sign_in("auditor").go("/audit?subject=quoted")
    assert HOSTILE in desk.page.inner_text("table.rows")
    assert desk.page.locator("img[src=x]").count() == 0
    # `desk` fails where anything was run or reported.


@pytest.mark.parametrize("role", ["developer", "provider", "operator"])
def test_whoever_is_no_auditor_is_told_so_and_has_no_link(desk: Desk, role: str) -> None:
    desk.sign_in(role)
    assert desk.page.locator("a[href='/audit']").count() == 0
    for path in ("/audit", "/audit/rows.jsonl"):
        answer = desk.page.request.get(desk.url + path)
        assert answer.status == 403
        assert "agreement.sign" not in answer.text()


def test_the_page_of_the_record_is_accessible_in_every_theme_and_language(desk: Desk) -> None:
    desk.sign_in("auditor")
    for theme, language in LOOKS:
        desk.look(theme=theme, language=language).go("/audit")
        assert findings(desk) == [], (theme, language)
