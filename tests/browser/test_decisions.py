"""People decide at the console: a real browser, a real zone, signatures made in the browser."""

from __future__ import annotations

import base64
import itertools
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from playwright.sync_api import Browser, Response
from yingbi import connect
from yingbi.api import digests
from yingbi.api.problem import Problem
from yingbi.api.v1.job_pb2 import Approval
from yingbi.standing import approve_like

from tests.browser.conftest import LOOKS, Desk, desk_in, findings
from tests.zones import Zone, add_visits, agree, wait_until

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]

numbers = itertools.count(1)


def submit(zone: Zone, sql: str | None = None, dataset: str = "visits") -> str:
    """The id of a job that waits."""
    wanted = sql or f"SELECT clinic, COUNT(*) AS n{next(numbers)}, AVG(pain) FROM visits GROUP BY clinic"
    job = zone.fetch("sql", dataset, wanted, "--epsilon", "1", "--no-wait")
    assert job["state"] == "waiting for approval"
    return str(job["job"])


def shown(zone: Zone, job: str) -> Any:
    with connect(folder=zone.root) as connected:
        return connected.job(job).to_json()


@pytest.mark.requirement("APP-04")
def test_a_provider_sees_what_waits_and_approves_it_with_a_key_that_stays_in_the_browser(desk: Desk) -> None:
    job = submit(desk.zone)
    desk.sign_in("provider")
    row = desk.page.locator(f"#row-{job}")
    assert "ε 1" in row.inner_text()
    desk.follow(f"#row-{job} a").settle()
    page = desk.page.inner_text("main")
    with connect(folder=desk.zone.root) as zone:
        assert digests.digest(digests.PLAN, zone.job(job).message.plan).hex() in page
    for said in ("developer, developer", "visits.clinic", "visits.pain", "± ", "SIMULATED", "of 100"):
        assert said in page, said
    approve(desk)
    assert desk.page.locator("#decision").count() == 0
    wait_until(lambda: shown(desk.zone, job)["state"] == "succeeded", seconds=60)


def test_what_is_refused_or_returned_ends_with_clause_and_reason_and_costs_nothing(desk: Desk) -> None:
    before = desk.zone.spent("visits")
    refused, returned = submit(desk.zone), submit(desk.zone)
    desk.sign_in("provider").decision(refused)
    desk.page.click('button[data-opens="refuse-dialog"]')
    desk.page.click("#refuse-dialog button.danger")
    # The browser itself asks for what is missing.
    assert desk.page.locator("#clause:invalid").count() == 1
    desk.page.fill("#clause", "purpose")
    desk.page.fill("#refuse-reason", "this is not about falls")
    desk.follow("#refuse-dialog button.danger")
    assert desk.page.locator("#decision").count() == 0
    failure = shown(desk.zone, refused)["failure"]
    assert failure["code"] == "refused"
    assert "by purpose: this is not about falls" in failure["message"]
    assert "this is not about falls" in desk.page.inner_text("main")

    desk.decision(returned).page.click('button[data-opens="return-dialog"]')
    desk.page.fill("#return-reason", "ask by region")
    desk.follow("#return-dialog button.primary")
    assert desk.page.locator("#decision").count() == 0
    assert shown(desk.zone, returned)["failure"]["code"] == "returned"
    assert desk.zone.spent("visits") == before


def test_who_may_not_decide_sees_why_and_has_no_buttons(desk: Desk) -> None:
    job = submit(desk.zone)
    desk.sign_in("supervisor").go("/inbox")
    assert "This waits for a provider" in desk.page.locator(f"#row-{job}").inner_text()
    assert job not in desk.page.locator("section[aria-labelledby=mine]").inner_html()
    desk.decision(job)
    assert desk.page.locator("#decide").count() == 0
    assert "supervisor" in desk.page.locator(".verdict").inner_text()


def test_flags_and_refusals_are_said_in_the_language_of_the_reader(desk: Desk) -> None:
    """What is refused also in the gateway's own words: names and numbers are in them."""
    job = submit(desk.zone)
    desk.sign_in("supervisor").look(language="zh")
    for path in ("/inbox", f"/decisions/{job}"):
        shown = desk.go(path).page.inner_text("main")
        assert "这项请求等待的不是您这类机构的决定。" in shown, path
        assert "This waits for a provider; supervisor is a supervisor." in shown, path
    flags = desk.page.locator("ul.flags").inner_text()
    assert "飞地是模拟的" in flags
    assert desk.page.locator("ul.flags [lang=en]").count() == 0
    assert "没有您可以查看的这个任务。" in desk.go("/jobs/job-0").page.inner_text("main")
    desk.complaints.clear()  # of the 404 that was asked for


def test_a_signature_is_not_made_of_what_the_page_does_not_show(desk: Desk) -> None:
    """A console that gives another plan, job or price to sign is caught in the browser, before anything is signed."""
    job, other = submit(desk.zone), submit(desk.zone)
    desk.sign_in("provider").decision(job)
    sent: list[str] = []
    desk.page.route(
        f"**/decisions/{job}/prepare", lambda route: route.continue_(url=f"{desk.url}/decisions/{other}/prepare")
    )
    desk.page.on("request", lambda request: sent.append(request.url))
    desk.page.click('button[data-opens="approve-dialog"]')
    desk.page.click("#approve-dialog button.primary")
    desk.page.get_by_text("Nothing was signed").wait_for()
    assert not [url for url in sent if url.endswith("/approve")]
    assert shown(desk.zone, job)["state"] == shown(desk.zone, other)["state"] == "waiting for approval"


@pytest.mark.requirement("MON-03")
def test_the_inbox_is_gone_through_by_keys_and_renews_itself_without_losing_the_place(desk: Desk) -> None:
    first = submit(desk.zone)
    desk.sign_in("provider")
    rows = desk.page.locator("a.row")
    desk.page.keyboard.press("j")
    held = rows.first.get_attribute("href")
    assert desk.page.locator("a.row:focus").get_attribute("href") == held
    later = submit(desk.zone)
    desk.page.locator(f"#row-{later}").wait_for()
    assert desk.page.locator("a.row:focus").get_attribute("href") == held
    for _ in range(rows.count() + 1):
        desk.page.keyboard.press("j")
    assert desk.page.locator("a.row:focus").get_attribute("href") == f"/decisions/{later}"
    for _ in range(rows.count() + 1):
        desk.page.keyboard.press("k")
    desk.page.keyboard.press("Enter")
    desk.page.wait_for_url(desk.url + str(held))
    assert first


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>'\"><svg onload=alert(3)>{{7*7}}"


def test_text_of_others_is_shown_and_never_run(desk: Desk) -> None:
    job = submit(desk.zone, f'SELECT COUNT(*) AS "<b onclick=alert(4)>x" FROM visits -- {HOSTILE}')
    desk.sign_in("provider").go("/inbox")
    # What comes later comes with all that was there.
    desk.page.locator(f"#row-{submit(desk.zone)}").wait_for()
    assert HOSTILE[:20] in desk.page.inner_text(f"#row-{job}")
    desk.decision(job)
    assert HOSTILE in desk.page.inner_text("pre.code")
    desk.page.click('button[data-opens="refuse-dialog"]')
    desk.page.fill("#clause", HOSTILE)
    desk.page.fill("#refuse-reason", HOSTILE)
    desk.follow("#refuse-dialog button.danger")
    assert desk.page.locator("#decision").count() == 0
    assert HOSTILE in desk.page.inner_text(".verdict")
    assert desk.page.locator("img[src=x], svg[onload], b[onclick]").count() == 0
    # `desk` fails where anything was run or reported.


@pytest.mark.requirement("APP-04")
def test_a_program_is_shown_beside_the_one_that_was_approved_before(desk: Desk) -> None:
    """As text whose every line says what became of it; nothing of it is run by the page."""
    earlier = program(desk.zone, "def run(tables):\n    return [1]\n")
    desk.sign_in("provider").decision(earlier)
    assert "No earlier version was approved" in desk.page.inner_text("main")
    with connect(folder=desk.zone.root, role="provider") as provider:
        provider.job(earlier).approve()
    job = program(desk.zone, f"def run(tables):\n    # {HOSTILE}\n    # \u202e\n    return [2]\n")
    desk.decision(job)
    assert desk.page.locator(".diff ins").all_inner_texts() == [
        f"+    # {HOSTILE}",
        "+    # \\u{202e}",
        "+    return [2]",
    ]
    assert desk.page.locator(".diff del").all_inner_texts() == ["-    return [1]"]
    assert "\u202e" not in desk.page.content(), "nor in the source above"
    assert desk.page.locator("img[src=x], svg[onload]").count() == 0
    for theme, language in LOOKS:
        desk.look(theme=theme, language=language).decision(job)
        assert findings(desk) == [], (theme, language)
    same = program(desk.zone, "def run(tables):\n    return [1]\n", shown=False, most=4.0)
    desk.look(language="zh").decision(same)
    assert "逐字节一致" in desk.page.inner_text("main")


def program(zone: Zone, source: str, *, shown: bool = True, most: float = 3.0) -> str:
    """The id of a job that waits, to run a program that returns `most` at most."""
    with connect(folder=zone.root) as connected:
        asked = connected.dataset("visits").program(
            source.encode(), outputs={"x": (0.0, most)}, blocks=4, seconds=0.1, publish_source=shown
        )
        try:
            return asked.submit(0.5, wait=False).id
        except Problem as problem:
            if problem.code == "sandbox_unavailable":
                pytest.skip("NO SANDBOX: this machine runs no programs")
            raise


def test_a_standing_approval_is_seen_and_withdrawn(desk: Desk) -> None:
    name = f"n{next(numbers)}"
    job = submit(desk.zone, f"SELECT COUNT(*) AS {name} FROM visits WHERE pain < 5")
    with connect(folder=desk.zone.root, role="provider") as provider:
        approve_like(provider.job(job), constants={0: (1, 9)}, jobs=7)
    desk.sign_in("provider").follow('main a[href="/standing"]')
    card = desk.page.locator("section.card").filter(has_text=name)
    said = card.inner_text()
    for part in ("developer · visits · in force", "provider, provider", "6 of 7", "about-visits"):
        assert part in said, part
    assert card.locator("td").all_inner_texts() == ["0", "5.0", "1.0", "9.0"]
    for theme, language in LOOKS:
        desk.look(theme=theme, language=language).go("/standing")
        assert findings(desk) == [], (theme, language)
    desk.look().go("/standing")
    card.locator("button[data-opens]").click()
    card.locator('button[value="yes"]').click()
    assert card.locator("textarea:invalid").count() == 1
    card.locator("textarea").fill(HOSTILE)
    desk.follow(card.locator('button[value="yes"]'))
    assert card.count() == 0
    desk.go("/standing?all=yes")
    assert "withdrawn" in card.inner_text()
    assert card.locator("button").count() == 0
    with connect(folder=desk.zone.root, role="provider") as provider:
        assert [each.state for each in provider.standing_approvals(over=True) if each.message.job == job] == ["revoked"]


def test_every_page_is_accessible_in_every_theme_and_language(desk: Desk) -> None:
    job = submit(desk.zone)
    for theme, language in LOOKS:
        desk.look(theme=theme, language=language).go("/sign-in")
        assert findings(desk) == [], (theme, language)
        assert desk.page.locator("html").get_attribute("lang") == {"en": "en", "zh": "zh-CN"}[language]
        assert desk.page.locator("html").get_attribute("data-theme") == theme
    desk.sign_in("provider")
    for theme, language in LOOKS:
        desk.look(theme=theme, language=language).go("/inbox")
        assert desk.page.locator(f"#row-{job}").count() == 1
        assert findings(desk) == [], (theme, language)
        desk.decision(job)
        assert findings(desk) == [], (theme, language)
        desk.page.click('button[data-opens="refuse-dialog"]')
        assert findings(desk, "#refuse-dialog") == [], (theme, language)


def test_a_page_weighs_little_and_asks_no_other_host(desk: Desk) -> None:
    job = submit(desk.zone)
    desk.sign_in("provider")
    desk.page.goto("about:blank")
    heard: list[Response] = []
    desk.page.on("response", lambda response: heard.append(response))  # noqa: PLW0108  # Playwright marks its listeners
    desk.decision(job)
    assert {response.url.partition("/static")[0].partition("/decisions")[0] for response in heard} == {desk.url}
    assert sum(len(response.body()) for response in heard) <= 100_000


def test_somebody_who_is_not_signed_in_sees_nothing(desk: Desk) -> None:
    job = submit(desk.zone)
    for path, signs_in in (
        (f"/decisions/{job}", f"/sign-in?next=/decisions/{job}"),
        ("/inbox", "/sign-in?next=/inbox"),
        ("/", "/sign-in"),
    ):
        desk.go(path)
        assert desk.page.url == desk.url + signs_in
    desk.page.fill("#token", "not a token of this zone")
    desk.page.click("#sign-in button")
    desk.page.locator("#sign-in-error:not([hidden])").wait_for()
    desk.complaints.clear()  # of the 401 that was asked for
    desk.sign_in("provider").follow("#sign-out button")
    assert desk.page.context.cookies() == [] or all(
        "session" not in each["name"] for each in desk.page.context.cookies()
    )
    desk.go("/inbox")
    assert desk.page.url.startswith(desk.url + "/sign-in")


def test_two_people_of_two_organisations_approve_data_of_grade_4(desk: Desk, browser: Browser, tmp_path: Path) -> None:
    add_visits(desk.zone, tmp_path, "secret", grade=4, epsilon=100.0)
    agree(desk.zone, tmp_path, "secret", epsilon=50.0)
    job = submit(desk.zone, dataset="secret")
    desk.sign_in("provider").decision(job)
    approve(desk)
    assert "already, by provider" in desk.page.inner_text(".verdict")
    assert shown(desk.zone, job)["waits_for"] == ["supervisor"]
    other = browser.new_context()
    second = desk_in(other, desk.zone).sign_in("supervisor").decision(job)
    assert "✓ provider" in second.page.inner_text("main")
    approve(second)
    assert second.page.locator("#decision").count() == 0
    wait_until(lambda: shown(desk.zone, job)["state"] == "succeeded", seconds=60)
    assert second.complaints == []
    other.close()


def approve(desk: Desk) -> None:
    """By the buttons of a decision's page; done when it is there anew."""
    desk.page.click('button[data-opens="approve-dialog"]')
    desk.follow("#approve-dialog button.primary")


def test_an_approval_with_limits_says_until_when_it_counts(desk: Desk) -> None:
    job = submit(desk.zone)
    desk.sign_in("provider").decision(job)
    desk.page.click('button[data-opens="limits-dialog"]')
    desk.page.fill("#days", "3")
    with desk.page.expect_request(lambda request: request.url.endswith("/approve")) as sent:
        desk.follow("#limits-dialog button.primary")
    form = dict(parse_qsl(sent.value.post_data or ""))
    approval = Approval.FromString(base64.b64decode(form["body"]))
    assert approval.job == job
    assert approval.rho_units > 0
    assert 2.9 < (approval.expires.seconds - time.time()) / 86_400 < 3.1
    assert desk.page.locator("#decision").count() == 0


def test_whose_session_ends_is_asked_to_sign_in_again(desk: Desk) -> None:
    """By the first look for what changed; the tests of jobs wait for one where nothing did."""
    desk.sign_in("provider")
    desk.page.context.clear_cookies()
    submit(desk.zone)
    desk.page.wait_for_url(desk.url + "/sign-in**")


@pytest.mark.skipif(not os.environ.get("YINGBI_SCREENSHOTS"), reason="set YINGBI_SCREENSHOTS to take them anew")
def test_screenshots_for_the_documentation(desk: Desk) -> None:
    """Not compared: another font makes another picture."""
    images = Path(__file__).parents[2] / "docs" / "images"
    images.mkdir(exist_ok=True)
    sql = "SELECT clinic, COUNT(*) AS visits, AVG(pain) AS pain\nFROM visits\nWHERE pain > 1 GROUP BY clinic"
    submit(desk.zone, sql)
    job = submit(desk.zone, sql.replace("> 1", "> 2"))
    desk.sign_in("provider")
    desk.page.screenshot(path=images / "inbox.png")
    desk.decision(job)
    desk.page.screenshot(path=images / "decision.png", full_page=True)
