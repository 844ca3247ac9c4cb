"""What the console says in Chinese it says in Chinese alone: every page of a zone, read word by word."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from google.protobuf.message import Message
from yingbi import connect
from yingbi.transport import Gateway

from tests.browser.conftest import Desk
from tests.zones import Zone, wait_until

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]

TERMS = {
    # Languages, formats and units that have no other name.
    *("SQL", "YAML", "JSON", "CSV", "PEM", "SHA", "Python", "JavaScript", "SDK", "UTC", "English", "delta", "CN"),
    # What one types, and what stands in a query.
    *("yingbi", "verify", "approve", "approvals", "list", "operator", "notice", "apply", "review", "sign", "terminate"),
    *("SELECT", "AVG", "COUNT", "DISTINCT", "MEDIAN", "SUM", "WHERE", "GROUP", "BY", "NULL", "NaN"),
}
"""Words of Latin letters that a Chinese reader has to read."""
COLLECT = """() => {
  const found = [], chinese = /[\\u4e00-\\u9fff]/;
  const before = (node) => {
    let each = node.previousSibling;
    while (each && !each.textContent.trim()) each = each.previousSibling;
    return each?.textContent ?? "";
  };
  const all = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
  while (all.nextNode()) {
    const text = all.currentNode.data.trim(), own = all.currentNode.parentElement;
    // Code, what people wrote, and what is in quotes are as they are.
    if (!text || own.closest("code, pre, q, script, style, noscript, textarea, .as-is")) continue;
    const english = own.closest("[lang=en]");
    if (own.matches(".original")) found.push("said in English alone: " + own.nextElementSibling?.textContent);
    else if (!english || !chinese.test(before(english))) found.push(text);
  }
  for (const each of document.querySelectorAll("*"))
    for (const name of ["title", "aria-label", "aria-description", "placeholder", "alt"])
      if (each.getAttribute(name)) found.push(each.getAttribute(name));
  return found;
}"""
"""All texts and labels of a page; English only where nothing in Chinese stands before it."""


def texts_of(message: Message) -> Iterator[str]:
    """Every text in a message, however deep."""
    for field, value in message.ListFields():
        values = list(value.items() if hasattr(value, "items") else value) if field.is_repeated else [value]
        for each in values:
            if isinstance(each, Message):
                yield from texts_of(each)
            elif isinstance(each, str):
                yield each
            elif isinstance(each, tuple):
                yield from (part for part in each if isinstance(part, str))


def data_of(zone: Zone) -> list[str]:
    """What people of the zone and its declarations call things, the longest first."""

    def read(gateway: Gateway) -> Iterator[Message]:
        yield from (each.declaration for each in gateway.list_datasets())
        yield from (each.agreement for each in gateway.list_agreements())
        yield from gateway.list_people("").people
        yield from gateway.list_organisations().organisations
        yield from gateway.list_tokens().tokens
        yield from gateway.list_operators()

    # What takes part by itself, as evidence, tokens and the record call it.
    found: set[str] = {"console", "dealer", "gateway", "node-1", "node-2", "yingbi zone CA"}
    for role in ("developer", "provider", "supervisor"):
        with connect(folder=zone.root, role=role) as connected, Gateway(connected.profile) as gateway:
            found.update(text for message in read(gateway) for text in texts_of(message))
    return sorted(filter(None, found), key=len, reverse=True)


def submit(zone: Zone, alias: str) -> str:
    """A job that waits for the provider."""
    sql = f"SELECT clinic, COUNT(*) AS {alias}, AVG(pain) AS average FROM visits WHERE pain > 1 GROUP BY clinic"
    return str(zone.fetch("sql", "visits", sql, "--epsilon", "0.5", "--no-wait")["job"])


def succeeded(zone: Zone, alias: str) -> str:
    """A job that the provider approved, and that is done."""
    job = submit(zone, alias)
    with connect(folder=zone.root, role="provider") as provider:
        provider.job(job).approve()
        wait_until(lambda: provider.job(job).is_final, 120)
        assert provider.job(job).state == "succeeded"
    return job


def test_every_page_in_chinese_is_in_chinese(desk: Desk) -> None:
    done, waiting = succeeded(desk.zone, "seenzh"), submit(desk.zone, "waitszh")
    data = re.compile(
        "|".join(rf"(?<!\w){re.escape(text)}(?!\w)" for text in [*data_of(desk.zone), "seenzh", "waitszh", "average"])
    )
    left: dict[str, list[str]] = {}

    def read(path: str, act: Callable[[], object] = lambda: None) -> None:
        """Open a page, do something there, and note what is left of it in another language."""
        desk.go(path).page.locator(".loading:visible").first.wait_for(state="hidden")
        act()
        assert desk.page.locator("html[lang=zh-CN]").count() == 1
        for text in desk.page.evaluate(COLLECT):
            rest = data.sub(" ", text)
            if set(re.findall(r"(?<![\w.-])[A-Za-z]{2,}(?![\w-])", rest)) - TERMS:
                left.setdefault(path, []).append(text)

    def fill(sql: str, shows: str) -> Callable[[], object]:
        def act() -> None:
            desk.page.fill("#sql", sql)
            desk.page.click("#workbench button.primary")
            desk.page.locator(shows).first.wait_for()

        return act

    def click(button: str, shows: str) -> Callable[[], object]:
        def act() -> None:
            desk.page.click(button)
            desk.page.locator(shows).first.wait_for()

        return act

    def check_nothing() -> None:
        desk.page.fill("#receipt", "{}")
        click("main button.primary", "#checks li")()

    desk.look(language="zh")
    read("/sign-in")
    read("/join")
    desk.sign_in("developer")
    read("/jobs/no-such-job")
    # The browser says itself that there is nothing.
    desk.complaints.clear()
    for path in ("/jobs", "/budgets", "/catalogue", "/catalogue/visits", "/agreements", "/agreements/about-visits"):
        read(path)
    read(f"/jobs/{done}", click("[data-checks]", "#checks li"))
    read(f"/workbench/{done}")
    read("/workbench", fill("SELECT AVG(paine) FROM visits", "#preview-problem"))
    assert "您是想写 pain 吗？" in desk.page.inner_text("#preview")
    read("/workbench", fill("SELECT note, COUNT(*) FROM visits GROUP BY note", "#preview-problem"))
    grouped = "SELECT clinic, AVG(pain), MEDIAN(pain), COUNT(DISTINCT person) FROM visits GROUP BY clinic"
    read("/workbench", fill(grouped, "#run"))
    desk.sign_in("provider")
    for path in ("/inbox", f"/decisions/{waiting}", f"/decisions/{done}", "/standing", "/people", "/operators"):
        read(path)
    read("/agreements/about-visits", click("#suspend-opens", "#suspend-dialog .hits li"))
    read("/people/provider/remove")
    read("/verify", check_nothing)
    desk.sign_in("operator")
    desk.zone.fetch("cancel", waiting)
    read(f"/jobs/{waiting}", desk.page.locator("#stops + div > :not(.loading)").first.wait_for)
    desk.sign_in("auditor")
    read("/audit", click("#audit-verify", "#audit-said:not(:empty)"))
    assert left == {}
