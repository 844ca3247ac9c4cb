"""A real browser and a zone whose provider and supervisor decide."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, Dialog, Locator, Page, Route, sync_playwright
from yingbi_dashboard.app import LANGUAGE_COOKIE, THEME_COOKIE

from tests.zones import Zone, add_visits, agree, new_zone

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first that is there is taken. The shell is Chromium without windows: it takes half of the processor's time."""
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",
]
LOOKS = [("light", "en"), ("dark", "zh")]
"""In which every page is looked at: contrast is of the theme, words are of the language. With `--long`, all pairs."""
if os.environ.get("YINGBI_LONG"):
    LOOKS = [(theme, language) for theme in ("light", "dark") for language in ("en", "zh")]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Headless Chromium, as the distribution has it. `make test` installs it where it can.

    It ends with these tests: while it is there, no other test of the process could run an event loop.
    """
    if CHROMIUM is None:
        pytest.skip("NO BROWSER: the console is not tested here; scripts/install_browser.sh installs Chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@dataclass
class Desk:
    """Somebody's browser at the console: what went wrong in it is kept."""

    page: Page
    url: str
    zone: Zone
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> Desk:
        """Open a page of the console."""
        self.page.goto(self.url + path)
        return self

    def sign_in(self, role: str) -> Desk:
        """With the token of a role's profile, as a person would."""
        token = self.zone.profile(role)["token"]
        self.go("/sign-in")
        self.page.fill("#token", token)
        self.page.click("#sign-in button")
        home = "/jobs" if role == "developer" else "/inbox"
        self.page.wait_for_url(self.url + home)
        return self

    def settle(self) -> Desk:
        """Wait until the page is loaded, with everything that it loads later and shows."""
        self.page.wait_for_load_state("load")
        self.page.wait_for_selector(".loading:visible", state="detached")
        return self

    def whole(self, path: str) -> Desk:
        """Open a page, with everything that it loads later."""
        return self.go(path).settle()

    def follow(self, way: str | Locator) -> Desk:
        """Click what another page comes of, or the same one anew; done when that is there.

        Not `expect_navigation`: it takes htmx noting a renewed part in the history for another page.
        """
        self.page.evaluate("() => { window.isLeft = true; }")
        (self.page.locator(way) if isinstance(way, str) else way).click()
        self.page.wait_for_function("() => !window.isLeft && document.readyState === 'complete'")
        return self

    def decision(self, job: str) -> Desk:
        """The whole page of one job that is decided on."""
        return self.whole(f"/decisions/{job}")

    def hold(self, pattern: str) -> list[Route]:
        """Requests that stay where they are until a test lets them go, as they come."""
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        self.page.route(pattern, hold)
        return held

    def look(self, *, theme: str = "light", language: str = "en") -> Desk:
        """Show pages in a theme and a language from the next one on, as if they had been chosen before."""
        chosen = {THEME_COOKIE: theme, LANGUAGE_COOKIE: language}
        self.page.context.add_cookies(
            [{"name": name, "value": value, "url": self.url} for name, value in chosen.items()]
        )
        return self

    def choose(self, *, theme: str, language: str) -> Desk:
        """Choose a theme and a language by their buttons."""
        for name, value in (("theme", theme), ("language", language)):
            self.follow(f'button[name="{name}"][value="{value}"]')
        return self


def desk_in(context: BrowserContext, zone: Zone) -> Desk:
    """A new page; what the browser reports of it is kept as complaints."""
    page = context.new_page()
    desk = Desk(page, json.loads((zone.root / "run" / "console.ready.json").read_text())["console"], zone)

    def complain(dialog: Dialog) -> None:
        desk.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda message: desk.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: desk.complaints.append(str(error)))
    page.on("dialog", complain)
    return desk


@pytest.fixture
def desk(browser: Browser, governed: Zone) -> Iterator[Desk]:
    """A browser of its own, in which nobody is signed in; whatever it reports as an error fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    found = desk_in(context, governed)
    yield found
    context.close()
    assert found.complaints == []


@pytest.fixture(scope="package")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    """A running zone of two nodes in which organisations decide, with data of grade 3."""
    base = tmp_path_factory.mktemp("governed")
    zone = new_zone(base, "--nodes", "2")
    zone.up()
    try:
        add_visits(zone, base / "data", "visits", grade=3, epsilon=100.0)
        agree(zone, base / "agreements", "visits", epsilon=90.0)
        yield zone
    finally:
        zone.down()


def findings(desk: Desk, within: str = "") -> list[str]:
    """What the accessibility checker finds on the page by WCAG 2.2, levels A and AA, and good practice.

    Only in the element `within`, where the rest was looked at before: it takes its time for each element.
    """
    page = desk.settle().page
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    looking = "async (part) => (await axe.run(part || document, { resultTypes: ['violations'] })).violations"
    found = page.evaluate(looking, within)
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]
