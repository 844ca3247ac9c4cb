"""Requests that no page of the console makes: other sites, other hosts, other redirects, no session."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser
from yingbi.api import credentials

from tests.browser.conftest import Desk, desk_in
from tests.zones import Zone

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]


@dataclass
class Console:
    """The console as plain HTTP."""

    url: str
    cookie: str

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, Mapping[str, str], str]:
        """With the cookie of a provider's session, and headers that `_` in names stands for `-` in."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body.encode() or None, {"Cookie": self.cookie, **named})
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read().decode()
        connection.close()
        return found

    def post(self, path: str, body: str = "") -> tuple[int, Mapping[str, str], str]:
        """As a page of the console does."""
        return self.ask("POST", path, body, Origin=self.url, Sec_Fetch_Site="same-origin")


@pytest.fixture(scope="module")
def console(governed: Zone) -> Console:
    bearer = credentials.bearer(governed.profile("provider")["token"])
    return Console(governed.json("status", governed.root)["console"], f"__Host-yingbi-session={bearer}")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "http://evil.example", "Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "null", "Sec_Fetch_Site": "same-origin"},
    ],
)
@pytest.mark.parametrize(
    "path", ["/decisions/job-1/approve", "/decisions/job-1/refuse", "/standing/ab/revoke", "/sign-in", "/sign-out"]
)
def test_a_post_that_another_site_makes_is_refused(console: Console, path: str, headers: dict[str, str]) -> None:
    status, _, said = console.ask("POST", path, "reason=x&clause=y", **headers)
    assert status == 403
    assert "cross_site" in said


def test_a_name_that_was_pointed_here_is_not_answered(console: Console) -> None:
    status, _, said = console.ask("GET", "/inbox", Host="evil.example:7480")
    assert status == 403
    assert "localhost" in said


@pytest.mark.parametrize(
    "back", ["//evil.example/inbox", "https://evil.example", "/\\evil.example", "/inbox?x=//e", "inbox"]
)
def test_nobody_is_sent_elsewhere(console: Console, back: str) -> None:
    status, headers, _ = console.post("/preferences", f"theme=dark&back={back}")
    assert (status, headers["location"]) == (303, "/")


def test_every_answer_forbids_frames_foreign_code_and_copies(console: Console) -> None:
    for path in ("/sign-in", "/inbox", "/static/sign.js", "/nowhere", "/decisions/job-1"):
        _, headers, _ = console.ask("GET", path)
        policy = headers["content-security-policy"]
        for said in (
            "default-src 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "base-uri 'none'",
        ):
            assert said in policy, path
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
    nonces = {console.ask("GET", "/sign-in")[1]["content-security-policy"] for _ in range(3)}
    assert len(nonces) == 3


def test_a_session_is_in_a_cookie_that_no_script_reads_and_no_other_site_sends(console: Console) -> None:
    bearer = console.cookie.partition("=")[2]
    status, headers, _ = console.post("/sign-in", f"credential={bearer}")
    cookie = headers["set-cookie"]
    assert status == 204
    assert cookie.startswith("__Host-yingbi-session=")
    for said in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"):
        assert said in cookie
    assert "Domain" not in cookie


@pytest.mark.parametrize("credential", ["", "x" * 43, "a\r\nx: y", "é" * 30])
def test_what_is_no_session_of_this_zone_becomes_none(console: Console, credential: str) -> None:
    """So nobody is given a session that somebody else chose, unless it is one."""
    status, headers, _ = console.post("/sign-in", f"credential={credential}")
    assert status == 401
    assert "set-cookie" not in headers


def test_a_job_that_is_not_there_and_a_form_that_is_too_long_are_told(console: Console) -> None:
    assert console.ask("GET", "/decisions/job-doesnotexist")[0] == 404
    assert console.post("/decisions/job-1/refuse", "reason=" + "x" * 100_000)[0] == 400
    assert console.post("/decisions/job-1/prepare", "key=%%%&days=1")[0] == 400
    assert console.post("/decisions/job-1/prepare", "key=AA==&days=10000")[0] == 400


def test_a_developer_s_session_sees_nobody_else_s_requests_and_decides_nothing(
    console: Console, governed: Zone
) -> None:
    as_developer = Console(
        console.url, f"__Host-yingbi-session={credentials.bearer(governed.profile('developer')['token'])}"
    )
    status, _, inbox = as_developer.ask("GET", "/inbox")
    assert status == 200
    assert "/decisions/" not in inbox
    assert as_developer.post("/decisions/job-1/refuse", "reason=x&clause=y")[0] == 403


def test_the_browser_computes_what_the_sdk_computes(browser: Browser, governed: Zone) -> None:
    """Digests, credentials, keys, signatures: the two must agree to the bit, also about what is empty or long."""
    from yingbi.api import digests

    context = browser.new_context()
    desk: Desk = desk_in(context, governed)
    desk.go("/sign-in")
    desk.page.wait_for_function("() => window.yingbi")
    for parts in ([], [b""], [b"", b""], [b"plan"], [bytes(70_000)], [b"\xff" * 300, b"x"]):
        found = desk.page.evaluate(
            "async (parts) => yingbi.toHex(await yingbi.digest('plan', ...parts.map((each) => Uint8Array.from(each))))",
            [list(part) for part in parts],
        )
        assert bytes.fromhex(found) == digests.digest("plan", *parts)
    token = governed.profile("provider")["token"]
    assert desk.page.evaluate("(token) => yingbi.credentialOf(token)", token) == credentials.bearer(token)
    public, signature, readable = desk.page.evaluate(
        """async (token) => {
            const keys = await yingbi.keysOf(token);
            await yingbi.keep(keys);
            const kept = await yingbi.kept();
            const signed = await yingbi.sign("approval", Uint8Array.of(1, 2, 3), kept.privateKey);
            return [yingbi.toHex(kept.publicKey), yingbi.toHex(signed), kept.privateKey.extractable];
        }""",
        token,
    )
    key = credentials.signing_key(token)
    assert bytes.fromhex(public) == key.public_key().public_bytes_raw()
    assert bytes.fromhex(signature) == digests.sign(key, digests.APPROVAL, b"\x01\x02\x03")
    assert readable is False
    context.close()
