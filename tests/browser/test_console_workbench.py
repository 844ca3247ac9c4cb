"""The workbench: a developer's question from preview to answer, signed in the browser."""

from __future__ import annotations

import ast
import csv
import io
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Response, Route
from yingbi import connect
from yingbi.api import credentials
from yingbi.transport import Gateway

from tests.browser.conftest import LOOKS, Desk, findings
from tests.zones import Zone, add_visits, agree

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>'\"><svg onload=alert(3)>{{7*7}}</textarea>"


@pytest.fixture(scope="module")
def open_data(governed: Zone, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Data of grade 2, under an agreement: nobody is waited for."""
    folder = tmp_path_factory.mktemp("open")
    add_visits(governed, folder, "bench", grade=2, epsilon=100.0)
    agree(governed, folder, "bench", epsilon=80.0)
    return "bench"


def preview(desk: Desk, dataset: str, sql: str, epsilon: str = "1") -> Desk:
    """What the page says of a question, once it has said it."""
    desk.go("/workbench").page.select_option("#dataset", dataset)
    desk.page.fill("#epsilon", epsilon)
    desk.page.fill("#sql", sql)
    desk.page.click("#workbench button.primary")
    desk.page.locator("#run, #preview-problem").first.wait_for()
    return desk


def ask(desk: Desk, dataset: str, sql: str) -> str:
    """The job of a question that was previewed and run; its page is there with the answer."""
    preview(desk, dataset, sql).page.click("#run")
    desk.page.locator("#answer table").wait_for(timeout=60_000)
    return desk.page.url.rpartition("/")[2]


def test_a_question_is_answered_with_its_errors_and_leaves_as_a_file_and_as_python(desk: Desk, open_data: str) -> None:
    desk.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sql = "SELECT clinic, COUNT(*) AS n\nFROM visits GROUP BY clinic"
    preview(desk.sign_in("developer"), open_data, sql)
    assert "nobody: the agreement is enough" in desk.page.inner_text("#price")
    desk.page.click('[data-copies="python"]')
    desk.page.get_by_role("button", name="Copied").wait_for()
    program = ast.parse(desk.page.evaluate("() => navigator.clipboard.readText()"))
    assert sql in [node.value for node in ast.walk(program) if isinstance(node, ast.Constant)]
    job = ask(desk, open_data, sql)
    desk.page.locator("#answer svg.chart").wait_for()
    with desk.page.expect_download() as downloading:
        desk.page.click("#answer a[download]")
    header, *rows = csv.reader(io.StringIO(Path(downloading.value.path()).read_text()))
    assert header == ["clinic", "n", "n ±"]
    with connect(folder=desk.zone.root) as zone:
        answer = zone.job(job).answer()
    assert [row[:2] for row in rows] == [[str(clinic), str(n)] for clinic, n in answer.table.rows]
    # The page has the same numbers, in words.
    assert "north" in desk.page.inner_text("#answer")
    assert desk.page.locator("#sql").input_value() == sql


def test_what_cannot_be_asked_is_said_at_its_place(desk: Desk, open_data: str) -> None:
    preview(desk.sign_in("developer"), open_data, "SELECT COUNT(*)\nFROM visits\nWHERE paine > 1")
    said = desk.page.inner_text("#preview")
    assert "3:7" in said
    assert "pain" in said
    assert desk.page.inner_text(".numbers .wrong").strip() == "3"
    chosen = (
        "() => { const a = document.getElementById('sql'); return a.value.slice(a.selectionStart, a.selectionEnd) }"
    )
    assert desk.page.evaluate(chosen) == "paine"
    assert desk.page.locator("#run").count() == 0
    preview(desk, open_data, "SELECT COUNT(*) FROM visits", "1000")
    assert "budget" in desk.page.inner_text("#preview").lower()
    preview(desk, open_data, "SELECT COUNT(*) FROM visits", "much")
    assert "must be a number" in desk.page.inner_text("#preview")


def test_what_is_edited_meanwhile_is_not_shown_as_previewed(desk: Desk, open_data: str) -> None:
    desk.sign_in("developer").go("/workbench").page.select_option("#dataset", open_data)
    desk.page.fill("#sql", "SELECT COUNT(*) AS earlier FROM visits")
    desk.hold("**/workbench/preview")
    with desk.page.expect_request("**/workbench/preview"):
        desk.page.click("#workbench button.primary")
    with desk.page.expect_event("requestfailed"):
        desk.page.fill("#sql", "SELECT COUNT(*) AS later FROM visits")
    desk.page.unroute("**/workbench/preview")
    desk.page.click("#workbench button.primary")
    desk.page.locator("#run").wait_for()
    assert "later" in desk.page.inner_text("#preview")
    assert "earlier" not in desk.page.inner_html("#preview")


def test_a_question_in_two_stages_is_referred_to_the_sdk(desk: Desk, open_data: str) -> None:
    preview(desk.sign_in("developer"), open_data, "SELECT note, COUNT(*) AS n FROM visits GROUP BY note")
    said = desk.page.inner_text("#preview")
    assert "SDK" in said
    assert "zone.dataset('bench').sql(" in said
    assert desk.page.locator("#run").count() == 0


@pytest.mark.parametrize("attack", ["another question", "another price", "another agreement"])
def test_an_authorization_is_not_signed_for_what_was_not_previewed(desk: Desk, open_data: str, attack: str) -> None:
    """A console that has another plan, price or agreement signed is caught in the browser, before a signature."""
    preview(desk.sign_in("developer"), open_data, "SELECT COUNT(*) AS n FROM visits")

    def instead(route: Route) -> None:
        posted = route.request.post_data or ""
        changed = {
            "another question": posted.replace("COUNT%28*%29", "AVG%28pain%29"),
            "another price": posted.replace("epsilon=1&", "epsilon=2&"),
            "another agreement": posted,
        }[attack]
        route.continue_(post_data=changed)

    if attack == "another agreement":
        desk.page.evaluate("() => { document.getElementById('price').dataset.agreement = 'some-other' }")
    desk.page.route("**/workbench/prepare", instead)
    sent: list[str] = []
    desk.page.on("request", lambda request: sent.append(request.url))
    desk.page.click("#run")
    desk.page.get_by_text("Nothing was signed").wait_for()
    assert [url for url in sent if url.endswith("/prepare")]
    assert not [url for url in sent if url.endswith("/run")]


def test_a_comment_in_sql_is_shown_and_never_run(desk: Desk, open_data: str) -> None:
    sql = f'SELECT COUNT(*) AS "<b onclick=alert(4)>x" FROM visits -- {HOSTILE}'
    ask(desk.sign_in("developer"), open_data, sql)
    assert desk.page.locator("#sql").input_value() == sql
    assert "<b onclick=alert(4)>x" in desk.page.inner_text("#answer")
    assert desk.page.locator("img[src=x], svg[onload], b[onclick]").count() == 0
    # `desk` fails where anything was run or reported.


def test_another_organisation_finds_neither_agreement_nor_job(desk: Desk, open_data: str) -> None:
    job = ask(desk.sign_in("developer"), open_data, "SELECT COUNT(*) AS everybody FROM visits")
    with connect(folder=desk.zone.root, role="coordinator") as zone:
        _, rival = zone.people.file_organisation("rival", "developer")
    desk.follow("#sign-out button")
    desk.page.fill("#token", rival.token)
    desk.page.click("#sign-in button")
    desk.page.wait_for_url("**/jobs")
    for path in (
        f"/workbench/{job}",
        f"/workbench/{job}/answer",
        f"/workbench/{job}/answer.csv",
        "/agreements/about-bench",
    ):
        answer = desk.page.request.get(desk.url + path)
        assert answer.status == 404, path
        assert "everybody" not in answer.text()
        assert "tests of bench" not in answer.text()
    assert "about-bench" not in desk.go("/agreements").page.inner_text("main")
    assert "about-bench" not in desk.go("/workbench").page.inner_html("main")
    with Gateway(rival) as gateway:
        assert gateway.list_agreements() == []


def test_a_session_that_cannot_ask_has_no_workbench(desk: Desk, open_data: str) -> None:
    desk.sign_in("provider")
    assert desk.page.locator("a[href='/workbench']").count() == 0
    assert desk.page.request.get(desk.url + "/workbench").status == 403
    headers = {"Origin": desk.url, "Sec-Fetch-Site": "same-origin"}
    bearer = credentials.bearer(desk.zone.profile("provider")["token"])
    asked = {"dataset": open_data, "sql": "SELECT COUNT(*) AS n FROM visits", "epsilon": "1", "agreement": ""}
    said = desk.page.request.post(
        desk.url + "/workbench/run",
        form={**asked, "body": "AA==", "signature": ""},
        headers={**headers, "Cookie": f"__Host-yingbi-session={bearer}"},
    )
    assert said.status in (400, 403)


def _keep(heard: list[Response], response: Response) -> None:
    heard.append(response)


def test_pages_weigh_little_and_ask_no_other_host(desk: Desk, open_data: str) -> None:
    job = ask(desk.sign_in("developer"), open_data, "SELECT clinic, COUNT(*) AS n FROM visits GROUP BY clinic")
    for path in (f"/workbench/{job}", "/agreements/about-bench", "/agreements"):
        desk.page.goto("about:blank")
        heard: list[Response] = []
        desk.page.on("response", partial(_keep, heard))
        desk.whole(path)
        assert all(response.url.startswith(desk.url) for response in heard)
        assert 0 < sum(len(response.body()) for response in heard) <= 100_000, path


def test_the_workbench_is_accessible_in_every_theme_and_language(desk: Desk, open_data: str) -> None:
    job = ask(desk.sign_in("developer"), open_data, "SELECT clinic, AVG(pain) AS pain FROM visits GROUP BY clinic")
    for theme, language in LOOKS:
        desk.look(theme=theme, language=language).go(f"/workbench/{job}")
        desk.page.click("#workbench button.primary")
        desk.page.locator("#run").wait_for()
        assert findings(desk) == [], (theme, language)
    preview(desk, open_data, "SELECT nothing FROM visits")
    assert findings(desk) == []
