"""Agreements at the console: four organisations, each in a browser of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from yingbi import connect
from yingbi.api.notices import CLAUSES
from yingbi.zone import Zone as Zoned

from tests.browser.conftest import LOOKS, Desk, desk_in, findings
from tests.zones import AGREEMENT, Zone, add_visits, agree, wait_until

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]

numbers = itertools.count(1)
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>'\"><svg onload=alert(3)>{{7*7}}"


@contextmanager
def others(browser: Browser, zone: Zone, *roles: str) -> Iterator[list[Desk]]:
    """Browsers of people of other organisations, signed in; what one reports as an error fails the test."""
    contexts = [browser.new_context(locale="en-GB") for _ in roles]
    desks = [desk_in(context, zone).sign_in(role) for context, role in zip(contexts, roles, strict=True)]
    yield desks
    for context in contexts:
        context.close()
    assert [desk.complaints for desk in desks] == [[] for _ in roles]


def draft(zone: Zone, folder: Path, dataset: str = "visits", **clauses: str) -> str:
    """The id of an agreement that is drafted and not applied for."""
    name = f"drafted-{next(numbers)}"
    document = AGREEMENT.format(name=name, dataset=dataset, epsilon=1, more="")
    for key, said in clauses.items():
        lines = [f"{key}: {said}" if line.startswith(f"{key}:") else line for line in document.split("\n")]
        document = "\n".join(lines)
    file = folder / f"{name}.yaml"
    file.write_text(document)
    with connect(folder=zone.root, role="developer") as developer:
        developer.draft_agreement(file)
    return name


def take(desk: Desk, name: str, step: str, reason: str = "") -> None:
    """One step by its button; done when the page says so."""
    desk.go(f"/agreements/{name}")
    before = desk.page.locator(".events li").count()
    desk.page.click(f'button[data-opens="{step}-dialog"]')
    if reason:
        desk.page.fill(f"#{step}-reason", reason)
    desk.follow(f'#{step}-dialog button[value="yes"]')
    assert desk.page.locator(".events li").count() == before + 1


def state(desk: Desk, name: str) -> str:
    return desk.go(f"/agreements/{name}").page.inner_text("#agreement-state")


def test_an_agreement_lives_in_four_browsers_and_the_workbench_asks_under_it(
    desk: Desk, browser: Browser, tmp_path: Path
) -> None:
    add_visits(desk.zone, tmp_path, "life", grade=2, epsilon=100.0)
    desk.sign_in("developer").go("/agreements")
    document = AGREEMENT.format(name="whole-life", dataset="life", epsilon=20, more="max_uses: 5")
    desk.page.fill("#document", document)
    desk.page.click("#draft-agreement button")
    desk.page.wait_for_url(desk.url + "/agreements/whole-life")
    with others(browser, desk.zone, "supervisor", "provider", "coordinator") as (supervisor, provider, coordinator):
        take(desk, "whole-life", "apply")
        assert supervisor.go("/inbox").page.locator("#row-whole-life").count() == 1
        assert provider.go("/inbox").page.locator("#row-whole-life").count() == 0
        take(supervisor, "whole-life", "assess")
        take(provider, "whole-life", "consent")
        take(desk, "whole-life", "sign")
        assert "signature of provider" in desk.page.inner_text(".verdict")
        take(provider, "whole-life", "sign")
        assert state(desk, "whole-life") == "in force"
        with connect(folder=desk.zone.root) as zone:
            assert zone.agreement("whole-life").signed_by == ["developer", "provider"]

        desk.go("/workbench")
        desk.page.select_option("#dataset", "life")
        desk.page.fill("#epsilon", "2")
        desk.page.fill("#sql", "SELECT clinic, COUNT(*) AS visits, AVG(pain) AS pain\nFROM visits GROUP BY clinic")
        desk.page.click("#workbench button.primary")
        desk.page.locator("#run").wait_for()
        assert "± " in desk.page.inner_text("#preview")
        assert "whole-life" in desk.page.inner_text("#price")
        desk.page.click("#run")
        desk.page.locator("#answer table").wait_for(timeout=60_000)
        shown = desk.page.inner_text("#answer")
        assert "north" in shown
        assert "±" in shown
        assert "receipt verified" in shown
        # Of the third clinic, which nobody visited, a mean may be missing.
        assert desk.page.locator("#answer svg .error-bar").count() >= 5
        assert desk.go("/agreements/whole-life").page.get_by_text("1 of 5").count() == 1
        desk.page.go_back()

        assert coordinator.go("/agreements/whole-life").page.locator("#agreement-steps button").count() > 0
        take(coordinator, "whole-life", "terminate", "the study is over")
        desk.page.reload()
        withheld = desk.page.inner_text("#answer")
        assert "the study is over" in withheld
        assert "terminated" in withheld
        assert "±" not in withheld


def test_what_a_stop_hits_is_shown_first_and_whose_job_it_was_reads_why(
    desk: Desk, browser: Browser, tmp_path: Path
) -> None:
    add_visits(desk.zone, tmp_path, "revocable", grade=3, epsilon=100.0)
    name = agree(desk.zone, tmp_path, "revocable", epsilon=20.0)
    desk.sign_in("developer").go("/workbench")
    desk.page.select_option("#dataset", "revocable")
    desk.page.fill("#sql", "SELECT COUNT(*) AS n FROM visits")
    desk.page.click("#workbench button.primary")
    desk.page.locator("#run").wait_for()
    assert "provider" in desk.page.inner_text("#price")
    desk.page.click("#run")
    desk.page.wait_for_url(desk.url + "/workbench/job-*")
    job = desk.page.url.rpartition("/")[2]
    assert "waiting for approval" in desk.page.inner_text("#answer")
    with others(browser, desk.zone, "supervisor", "provider") as (supervisor, provider):
        supervisor.go(f"/agreements/{name}").page.click('button[data-opens="suspend-dialog"]')
        supervisor.page.locator("#suspend-dialog").get_by_text(job).wait_for()
        supervisor.page.fill("#suspend-reason", "an incident is looked into")
        supervisor.follow('#suspend-dialog button[value="yes"]')
        assert "an incident is looked into" in supervisor.page.inner_text(".events")
        # The developer's page is open, and says what happened.
        desk.page.locator("#answer").get_by_text("an incident is looked into").first.wait_for()
        assert "suspended" in desk.page.inner_text("#answer")
        # Every node is named, with what it signed or that it has not yet.
        supervisor.page.locator("section[aria-labelledby=stops]").get_by_text("node-1").wait_for(timeout=60_000)
        assert findings(supervisor) == []
        take(supervisor, name, "resume")
        with connect(folder=desk.zone.root) as zone:
            (suspension,) = zone.agreement_stops(name)
            wait_until(lambda: zone.agreement_stops(name)[0].is_lifted, seconds=60)
        assert (suspension.scope, suspension.message.organisation) == ("suspension", "supervisor")
        take(provider, name, "terminate", HOSTILE)
        assert state(provider, name) == "terminated"
        stops = provider.go(f"/agreements/{name}").page.locator("section[aria-labelledby=stops]")
        # Two nodes, two stops.
        stops.locator(".holds").nth(3).wait_for(timeout=60_000)
        assert HOSTILE in stops.inner_text()
        assert provider.page.locator("img[src=x], svg[onload]").count() == 0
        assert findings(provider) == []
        # Whose agreement it was reads it too.
        told = desk.go(f"/agreements/{name}").page.locator("section[aria-labelledby=stops]")
        told.locator(".holds").nth(3).wait_for(timeout=60_000)
        with connect(folder=desk.zone.root) as zone:
            assert [each.scope for each in zone.agreement_stops(name)] == ["agreement", "suspension"]
        desk.go(f"/workbench/{job}")
    assert "succeeded" not in desk.page.inner_text("#answer")


def test_a_refusal_has_a_reason_and_a_step_out_of_turn_has_no_button(
    desk: Desk, browser: Browser, tmp_path: Path
) -> None:
    name = draft(desk.zone, tmp_path)
    desk.sign_in("developer")
    take(desk, name, "apply")
    assert desk.page.locator("#agreement-steps button").all_inner_texts() == ["Withdraw"]
    with others(browser, desk.zone, "supervisor", "auditor") as (supervisor, auditor):
        assert auditor.go(f"/agreements/{name}").page.locator("#agreement-steps").count() == 0
        supervisor.go(f"/agreements/{name}").page.click('button[data-opens="refuse-dialog"]')
        supervisor.page.click('#refuse-dialog button[value="yes"]')
        assert supervisor.page.locator("#refuse-reason:invalid").count() == 1
        take(supervisor, name, "refuse", HOSTILE)
    desk.page.reload()
    assert HOSTILE in desk.page.inner_text(".events")
    assert desk.page.locator("#agreement-steps").count() == 0


@pytest.mark.parametrize("attack", ["other terms", "other words"])
def test_terms_are_not_signed_that_the_page_does_not_show(desk: Desk, tmp_path: Path, attack: str) -> None:
    """A console that gives other terms to sign, or shows other words than it gives, is caught before a signature."""
    name = f"about-{attack.replace(' ', '-')}"
    (tmp_path / "a.yaml").write_text(AGREEMENT.format(name=name, dataset="visits", epsilon=1, more=""))
    with (
        connect(folder=desk.zone.root, role="developer") as developer,
        connect(folder=desk.zone.root, role="supervisor") as supervisor,
        connect(folder=desk.zone.root, role="provider") as provider,
    ):
        developer.draft_agreement(tmp_path / "a.yaml")
        developer.move_agreement(name, "apply")
        supervisor.move_agreement(name, "assess")
        provider.move_agreement(name, "consent")
    desk.sign_in("developer").go(f"/agreements/{name}")
    if attack == "other terms":
        other = draft(desk.zone, tmp_path)
        url = f"{desk.url}/agreements/{other}/prepare"
        desk.page.route(f"**/agreements/{name}/prepare", lambda route: route.continue_(url=url))
    else:
        desk.page.evaluate("() => { document.querySelector('[data-clause=\"7\"]').textContent = '0.5' }")
    sent: list[str] = []
    desk.page.on("request", lambda request: sent.append(request.url))
    desk.page.click('button[data-opens="sign-dialog"]')
    desk.page.click('#sign-dialog button[value="yes"]')
    desk.page.get_by_text("Nothing was signed").wait_for()
    assert not [url for url in sent if url.endswith("/step")]
    with connect(folder=desk.zone.root, role="developer") as developer:
        assert developer.agreement(name).signed_by == []
        developer.move_agreement(name, "withdraw", "it was a test")


def test_a_mistake_in_a_document_is_shown_at_its_line(desk: Desk) -> None:
    desk.sign_in("developer").go("/agreements")
    document = AGREEMENT.format(name="mistaken", dataset="visits", epsilon=1, more="").replace(
        "starts: 2020", "starts: x"
    )
    desk.page.fill("#document", document)
    desk.page.click("#draft-agreement button")
    desk.page.locator("#draft-error:not([hidden])").wait_for()
    line = document.split("\n").index("starts: x-01-01") + 1
    assert f" {line}:" in desk.page.inner_text("#draft-error")
    assert desk.page.inner_text(".numbers .wrong").strip() == str(line)
    desk.complaints.clear()  # of the 400 that was asked for


def test_terms_that_others_wrote_are_shown_and_never_run(desk: Desk, tmp_path: Path) -> None:
    quoted = "'" + HOSTILE.replace("'", "''") + "'"
    name = draft(desk.zone, tmp_path, purpose=quoted, scenario=quoted, revocation=quoted)
    desk.sign_in("supervisor").go("/agreements").go(f"/agreements/{name}")
    assert desk.page.locator("dd").get_by_text(HOSTILE, exact=True).count() == 3
    assert desk.page.locator("img[src=x], svg[onload]").count() == 0
    # `desk` fails where anything was run or reported.


def test_the_pages_of_agreements_are_accessible_in_every_theme_and_language(desk: Desk, tmp_path: Path) -> None:
    name = draft(desk.zone, tmp_path)
    desk.sign_in("developer")
    for theme, language in LOOKS:
        desk.look(theme=theme, language=language).go("/agreements")
        assert findings(desk) == [], (theme, language)
        desk.go(f"/agreements/{name}")
        assert findings(desk) == [], (theme, language)
        desk.page.click('button[data-opens="withdraw-dialog"]')
        assert findings(desk, "#withdraw-dialog") == [], (theme, language)


@pytest.mark.requirement("APP-03")
def test_who_operates_the_zone_is_shown_with_whose_move_it_is(desk: Desk, tmp_path: Path) -> None:
    """To its supervisor, in every theme and language; what an applicant wrote is text."""
    name, notice = f"runner-{next(numbers)}", f"notice-{next(numbers)}"
    file = tmp_path / "notice.yaml"
    words = "\n".join(f"{key}: whatever" for key in ("title", *CLAUSES))
    file.write_text(f"notice: {notice}\n{words}\napply_by: 2998-01-01\nstarts: 2020-01-01\nexpires: 2999-01-01\n")
    with connect(folder=desk.zone.root, role="coordinator") as coordinator:
        coordinator.operators.publish(file)
        _, profile = coordinator.people.file_organisation(name, "operator")
    with Zoned(profile) as runner:
        runner.operators.apply(notice, HOSTILE, {"licence 17": file})
    desk.sign_in("supervisor").go("/agreements").follow('a[href="/operators"]')
    card = desk.page.locator(f"#notice-{notice}")
    said = card.inner_text()
    for part in (f"{name} · applied for", "Your move:", HOSTILE, "licence 17", "open"):
        assert part in said, part
    assert "first-operator" in desk.page.inner_text("main")
    for theme, language in LOOKS:
        desk.look(theme=theme, language=language).go("/operators")
        assert findings(desk) == [], (theme, language)
    desk.look(language="zh").go("/operators")
    for part in ("已申请", "supervisor 的资格审查"):
        assert part in card.inner_text(), part
