"""Jobs are watched and stopped, receipts verified, budgets run out: a real browser, a real zone."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import LOOKS, Desk, desk_in, findings
from tests.zones import Zone, add_visits, agree

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]

numbers = itertools.count(1)


def sql() -> str:
    return f"SELECT clinic, COUNT(*) AS seen{next(numbers)}, AVG(pain) FROM visits WHERE pain > 1 GROUP BY clinic"


@pytest.fixture(scope="module")
def purse(governed: Zone, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of grade 2 with a small budget, asked under an agreement alone."""
    folder = tmp_path_factory.mktemp("purse")
    add_visits(governed, folder / "data", "purse", grade=2, epsilon=1.0)
    agree(governed, folder / "agreements", "purse", epsilon=1.0)
    return "purse"


def submit(zone: Zone) -> str:
    """A job that waits for the provider."""
    return str(zone.fetch("sql", "visits", sql(), "--epsilon", "0.5", "--no-wait")["job"])


@pytest.fixture(scope="module")
def answered(governed: Zone, purse: str) -> str:
    """A job that succeeded."""
    return str(governed.fetch("sql", purse, sql(), "--epsilon", "0.3")["job"])


def approve(zone: Zone, job: str) -> None:
    from yingbi import connect

    with connect(folder=zone.root, role="provider") as provider:
        provider.job(job).approve()


def test_a_job_is_watched_live_from_waiting_to_its_release(desk: Desk) -> None:
    """By push: the page is never loaded again."""
    desk.sign_in("operator").go("/jobs")
    desk.page.evaluate("() => { window.sameVisit = true; }")
    job = submit(desk.zone)
    row = desk.page.locator(f"#row-{job}")
    row.wait_for()
    assert "waiting for approval" in row.inner_text()
    assert "nothing charged" in row.inner_text()
    approve(desk.zone, job)
    row.get_by_text("succeeded").wait_for(timeout=60_000)
    assert "spent" in row.inner_text()
    assert desk.page.evaluate("() => window.sameVisit")
    desk.follow(f"#row-{job} a")
    page = desk.page.inner_text("main")
    for said in ("What happened", "provider, provider", "queued", "running", "Only where pain > 1", "sensitivity"):
        assert said in page, said


def test_a_job_is_stopped_with_its_reason_and_costs_nothing(desk: Desk) -> None:
    before = desk.zone.spent("visits")
    job = submit(desk.zone)
    desk.sign_in("operator").go(f"/jobs/{job}")
    desk.page.click('button[data-opens="stop-dialog"]')
    desk.page.click("#stop-dialog button.danger")
    assert desk.page.locator("#stop-reason:invalid").count() == 1
    desk.page.fill("#stop-reason", "asked by <b>mistake</b>")
    # The page that is left may say so too: it is told of what changes.
    desk.follow("#stop-dialog button.danger")
    page = desk.page.inner_text("main")
    assert "was stopped by operator" in page
    assert "cancelled" in page
    assert "asked by <b>mistake</b>" in page
    assert desk.page.locator('button[data-opens="stop-dialog"]').count() == 0
    assert desk.zone.spent("visits") == before
    # Both nodes sign that they stopped, and the console checks it with the keys of fresh evidence.
    stops = desk.page.locator("section[aria-labelledby=stops]")
    stops.locator(".holds").nth(1).wait_for(timeout=60_000)
    for said in ("operator, operator", "asked by <b>mistake</b>", "node-1 signed that it stopped at", "node-2"):
        assert said in stops.inner_text(), said
    assert stops.locator(".fails, b").count() == 0
    assert findings(desk) == []


def test_who_may_not_stop_a_job_has_no_button(desk: Desk) -> None:
    job = submit(desk.zone)
    desk.sign_in("auditor").go(f"/jobs/{job}")
    assert desk.page.locator("dialog, button.danger").count() == 0
    assert "job.submit" in desk.page.inner_html("main") or "asked for" in desk.page.inner_text("main")


def test_jobs_are_filtered_by_state_and_dataset(desk: Desk, answered: str) -> None:
    waiting = submit(desk.zone)
    desk.sign_in("developer").go("/jobs")
    desk.page.select_option("#dataset", "purse")
    desk.follow(".filters button")
    assert desk.page.locator(f"#row-{answered}").count() == 1
    assert desk.page.locator(f"#row-{waiting}").count() == 0
    desk.page.select_option("#dataset", "")
    desk.page.select_option("#state", "state.waiting")
    desk.follow(".filters button")
    assert desk.page.locator(f"#row-{waiting}").count() == 1
    assert desk.page.locator(f"#row-{answered}").count() == 0


def test_a_receipt_is_verified_and_a_tampered_one_fails_at_the_check_that_finds_it(
    desk: Desk, answered: str, tmp_path: Path
) -> None:
    desk.sign_in("developer").go(f"/jobs/{answered}")
    desk.page.click("[data-checks]")
    desk.page.locator("#checks .holds").first.wait_for(timeout=60_000)
    assert desk.page.locator("#checks .holds").count() >= 10
    assert desk.page.locator("#checks .fails").count() == 0
    with desk.page.expect_download() as downloading:
        desk.page.click("a[download]")
    receipt = json.loads(Path(downloading.value.path()).read_text())

    desk.go("/verify")
    assert verified(desk, tmp_path, receipt) == ([], True)
    opened = dict(receipt, body=flipped(receipt["body"], -1))
    failed, _ = verified(desk, tmp_path, opened)
    assert len(failed) == 1
    signature = dict(receipt["signatures"][0], signature=flipped(receipt["signatures"][0]["signature"], 3))
    failed, _ = verified(desk, tmp_path, dict(receipt, signatures=[signature, *receipt["signatures"][1:]]))
    assert failed == ["signatures"]
    total = dict(receipt["decryption"], total=[flipped(receipt["decryption"]["total"][0], 100)])
    failed, _ = verified(desk, tmp_path, dict(receipt, decryption=total))
    assert failed == ["decryption"]
    failed, _ = verified(desk, tmp_path, "<img src=x onerror=alert(1)>")
    assert failed == ["format"]


def flipped(text: str, place: int) -> str:
    """Base64 with one bit of one byte changed."""
    content = bytearray(base64.b64decode(text))
    content[place] ^= 1
    return base64.b64encode(content).decode()


def verified(desk: Desk, folder: Path, document: object) -> tuple[list[str], bool]:
    """Which check failed, and whether any held, of a receipt that is given as a file."""
    file = folder / "receipt.json"
    file.write_text(json.dumps(document))
    desk.page.reload()
    desk.page.set_input_files("#file", file)
    desk.page.wait_for_function("() => document.getElementById('receipt').value")
    desk.page.click("main form button")
    desk.page.locator("#checks .checks").wait_for(timeout=60_000)
    return desk.page.locator("#checks .fails strong").all_inner_texts(), desk.page.locator(".holds").count() > 0


def test_a_budget_runs_out_and_the_page_says_so(desk: Desk, purse: str, answered: str) -> None:
    desk.sign_in("provider").whole("/budgets")
    card = desk.page.locator(f"section[aria-labelledby=of-{purse}]")
    assert "Nobody has spent" not in card.inner_text()
    assert "developer" in card.inner_text()
    before = card.locator("polyline").get_attribute("points")
    refused = None
    for _ in range(4):
        ran = desk.zone.call("sql", purse, sql(), "--epsilon", "0.9", "--json")
        if ran.code:
            refused = ran.json
            break
    assert refused is not None
    assert refused["code"] == "budget_exceeded"
    # What is left to the last unit: as an epsilon it is a number that can be asked for.
    left = float(refused["details"]["remaining_epsilon"]) if "details" in refused else None
    desk.whole("/budgets")
    said = card.inner_text()
    assert "Whatever costs more is refused" in said or "used up" in said
    assert card.locator("polyline").get_attribute("points") != before
    assert card.locator("button").count() == 0, "no way to reset it"
    assert left is None or f"ε {left:.3g} is left" in said


def test_a_developer_is_told_of_no_other_organisation_s_jobs(desk: Desk, browser: Browser, answered: str) -> None:
    desk.sign_in("developer").whole("/budgets")
    assert "developer" in desk.page.inner_text("main")
    desk.go("/jobs/job-00000000")
    assert "no job" in desk.page.inner_text("main")
    desk.complaints.clear()  # of the 404 that was asked for


def test_the_catalogue_shows_rules_columns_and_made_up_rows(desk: Desk, purse: str) -> None:
    desk.sign_in("developer").go("/catalogue")
    desk.follow(f'a[href="/catalogue/{purse}"]')
    page = desk.page.inner_text("main")
    for said in ("under an agreement alone", "north, south, east", "0 – 10", "Made-up rows", "about-purse", "in force"):
        assert said in page, said
    assert "Raw-Secret-Note" not in page
    assert desk.page.locator("table.mock tbody tr").count() == 5


PAGES: tuple[Callable[[str], str], ...] = (
    lambda _: "/jobs",
    lambda job: f"/jobs/{job}",
    lambda _: "/verify",
    lambda _: "/budgets",
    lambda _: "/catalogue",
    lambda _: "/catalogue/purse",
)


def test_new_pages_are_accessible_in_every_theme_and_language(desk: Desk, answered: str, purse: str) -> None:
    desk.sign_in("provider").go("/catalogue/purse").choose(theme="dark", language="zh")
    assert desk.page.url == desk.url + "/catalogue/purse", "choosing a theme leaves one where one is"
    for theme, language in LOOKS:
        desk.look(theme=theme, language=language)
        for path in PAGES:
            desk.whole(path(answered))
            assert desk.page.locator(f'html[data-theme="{theme}"]').count() == 1
            desk.page.evaluate("() => document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            assert findings(desk) == [], (path(answered), theme, language)


def test_a_page_of_jobs_weighs_little(desk: Desk, answered: str) -> None:
    desk.sign_in("provider")
    for path in ("/jobs", f"/jobs/{answered}", "/budgets"):
        desk.page.goto("about:blank")
        desk.whole(path)
        weight = desk.page.evaluate(
            """() => [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
                .filter((each) => !each.name.endsWith('/changes'))
                .reduce((sum, each) => sum + each.decodedBodySize, 0)"""
        )
        assert 10_000 < weight <= 100_000, path


def test_whose_session_ended_elsewhere_is_asked_to_sign_in_again(browser: Browser, governed: Zone) -> None:
    """Without anything having changed: the stream of changes ends and is not given again."""
    context = browser.new_context(locale="en-GB")
    desk = desk_in(context, governed).sign_in("operator").go("/jobs")
    context.clear_cookies()
    desk.page.wait_for_url(desk.url + "/sign-in**")
    assert desk.complaints == []
    context.close()
