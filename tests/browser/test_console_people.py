"""People join, sign in and leave at the console: a real browser, its virtual authenticator, a real zone."""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Browser, Response
from yingbi import connect, people
from yingbi.api import certificates, credentials
from yingbi.api.problem import Problem
from yingbi.api.v1.people_pb2 import Invitation, SignedCertificate, SignedInvitation
from yingbi.transport import Gateway
from yingbi_dashboard import app

from tests.browser.conftest import LOOKS, Desk, desk_in, findings
from tests.browser.test_decisions import HOSTILE, approve, shown, submit
from tests.zones import Zone, wait_until

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]

SESSION = "__Host-yingbi-session"
TEMPLATES = Path(app.__file__).parent / "templates"
numbers = itertools.count(1)


@pytest.fixture
def authenticator(desk: Desk) -> Iterator[None]:
    """A device of the browser's own that makes passkeys, and says that its user was there and known."""
    protocol = desk.page.context.new_cdp_session(desk.page)
    protocol.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    protocol.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    yield
    protocol.detach()


def invited(zone: Zone, *duties: str, role: str = "provider") -> tuple[str, str]:
    """Somebody who is invited to the organisation of a role: the name, and the link."""
    name = f"person-{next(numbers)}"
    with connect(folder=zone.root, role=role) as connected:
        link = connected.people.invite(name, duties).link
    assert link is not None
    return name, link


def join(desk: Desk, link: str) -> Desk:
    desk.page.goto("about:blank")
    desk.page.goto(link)
    desk.page.click("#join button")
    desk.page.wait_for_url(desk.url + "/people")
    return desk


def joined(desk: Desk, *duties: str) -> str:
    name, link = invited(desk.zone, *duties)
    join(desk, link)
    return name


def sent_by(desk: Desk) -> list[str]:
    """Whatever the page asks for from now on, with what it sends."""
    sent: list[str] = []
    desk.page.on("request", lambda request: sent.append(f"{request.url} {request.post_data}"))
    return sent


def sign_out(desk: Desk) -> None:
    desk.follow("#sign-out button")
    assert desk.page.url == desk.url + "/sign-in"


def session(desk: Desk) -> str:
    """The credential in the browser's cookie, or nothing."""
    found = [each["value"] for each in desk.page.context.cookies() if each["name"] == SESSION]
    return found[0] if found else ""


def is_known(zone: Zone, credential: str) -> bool:
    """Whether the gateway takes this credential."""
    with (
        connect(folder=zone.root) as connected,
        Gateway(connected.profile, credential=credential) as gateway,
        suppress(Problem),
    ):
        return bool(gateway.who_am_i().person.person)
    return False


def test_who_is_invited_joins_and_approves_with_a_key_that_only_their_browser_has(
    desk: Desk, authenticator: None
) -> None:
    """Link, key, certificate, passkey, sign-out, sign-in; then the enclaves know what that key signed."""
    job = submit(desk.zone)
    with connect(folder=desk.zone.root, role="provider") as provider:
        _, bootstrap = provider.people.link()
    desk.page.goto(bootstrap)
    desk.page.click("#link-form button")
    desk.page.wait_for_url(desk.url + "/inbox")
    assert "#" not in desk.page.url
    # The organisation's first account holds its key: the invitation is signed here.
    name = f"person-{next(numbers)}"
    desk.go("/people").page.fill("#invite-person", name)
    desk.page.check("input[name=duty][value=approver]")
    desk.page.click("#invite button")
    desk.page.locator("#invited").wait_for()
    link = desk.page.inner_text("#invited-link")
    assert link.startswith(desk.url + "/join#")
    sign_out(desk)

    sent = sent_by(desk)
    join(desk, link)
    secret = link.partition("#")[2]
    assert not [each for each in sent if secret[-40:] in each], "the invitation's secret was sent"
    desk.page.get_by_text("It is in this browser").wait_for()
    desk.page.locator("#no-ways").wait_for()
    desk.page.fill("#passkey-label", "laptop")
    desk.follow("#add-passkey button")
    assert "“laptop”" in desk.page.inner_text("main")
    sign_out(desk)

    desk.page.fill("#person", name)
    desk.page.click("button[value=passkey]")
    desk.page.wait_for_url(desk.url + "/inbox")
    desk.decision(job)
    approve(desk)
    assert desk.page.locator("#decision").count() == 0
    wait_until(lambda: shown(desk.zone, job)["state"] == "succeeded", seconds=60)
    with connect(folder=desk.zone.root, role="provider") as zone:
        (person,) = [each for each in zone.people.list_people() if each.person == name]
        assert [each.person for each in zone.people.gateway.get_decision(job).needed] == [name]
    chain = certificates.read_chain(person.certificate, Invitation.FromString(invitation_of(link)).organisation_key)
    assert chain.key == person.key
    readable = desk.page.evaluate("async (hex) => (await yingbi.ownKeys(hex)).privateKey.extractable", person.key.hex())
    assert readable is False


def invitation_of(link: str) -> bytes:
    return bytes(people.read_secret(link)[0].body)


def test_a_code_signs_in_once_and_never_again(desk: Desk) -> None:
    name = joined(desk, "approver")
    desk.page.click("#begin-totp button")
    desk.page.locator("#add-totp").wait_for()
    codes = pyotp.TOTP(desk.page.inner_text("#totp-secret"))
    assert pyotp.parse_uri(desk.page.inner_text("#totp-uri")).secret == codes.secret
    now = time.time()
    desk.page.fill("#totp-code", codes.at(now))
    desk.follow("#add-totp button")
    assert desk.page.locator("#no-ways").count() == 0
    sign_out(desk)
    following = codes.at(now + 30)

    def enter(code: str) -> None:
        desk.page.fill("#person", name)
        desk.page.fill("#code", code)
        desk.page.click("button[value=code]")

    enter(following)
    desk.page.wait_for_url(desk.url + "/inbox")
    assert name in desk.page.inner_text("header")
    sign_out(desk)
    enter(following)
    desk.page.locator("#passkey-form .error:not([hidden])").wait_for()
    assert session(desk) == ""
    desk.complaints.clear()  # of the 401 that was asked for


def test_an_invitation_is_accepted_once(desk: Desk, browser: Browser) -> None:
    _, link = invited(desk.zone, "approver")
    join(desk, link)
    other = browser.new_context()
    second = desk_in(other, desk.zone)
    second.page.goto(link)
    second.page.click("#join button")
    second.page.get_by_text("accepted already").wait_for()
    assert session(second) == ""
    kept = second.page.evaluate(
        "() => new Promise((done) => { const opening = indexedDB.open('yingbi', 1); opening.onsuccess = () => {"
        " const all = opening.result.transaction('keys').objectStore('keys').getAllKeys();"
        " all.onsuccess = () => done(all.result); }; })"
    )
    assert kept == [], "a key is kept that is nobody's"
    other.close()


def test_forms_send_nothing_before_their_scripts_are_there(desk: Desk) -> None:
    """A code or a reason would else stand in the address, and in the browser's history."""
    desk.page.route("**/static/*.js", lambda route: route.abort())
    sent = sent_by(desk)
    desk.go("/sign-in")
    desk.page.fill("#person", "ada")
    desk.page.fill("#code", "123456")
    desk.page.click("button[value=code]")
    # What the click sent, it sent before this.
    desk.go("/sign-in")
    assert not [each for each in sent if "123456" in each]
    desk.complaints.clear()  # of the scripts that did not come


@pytest.mark.parametrize(
    ("role", "path", "fields", "button"),
    [
        ("developer", "/workbench", {"#sql": "SELECT 'said in confidence'"}, "#workbench button.primary"),
        ("developer", "/agreements", {"#document": "said in confidence"}, "#draft-agreement button"),
        ("provider", "/verify", {"#receipt": "said in confidence"}, "main form button"),
        ("provider", "/people", {"#passkey-label": "said in confidence"}, "#add-passkey button"),
    ],
)
def test_nor_does_a_form_of_who_is_signed_in(
    desk: Desk, role: str, path: str, fields: dict[str, str], button: str
) -> None:
    desk.sign_in(role).page.route("**/static/**", lambda route: route.abort())
    sent = sent_by(desk)
    desk.go(path)
    for field, words in fields.items():
        desk.page.fill(field, words)
    desk.page.click(button)
    # What the click sent, it sent before this.
    desk.go("/sign-in")
    assert not [each for each in sent if "confidence" in each]
    desk.complaints.clear()  # of the scripts that did not come


def test_who_signs_out_before_the_scripts_are_there_leaves_no_key(desk: Desk) -> None:
    """A page is seen when it can do what it shows."""
    early = [
        line
        for page in TEMPLATES.glob("*.html")
        for line in page.read_text().splitlines()
        if " defer" in line and "<script" in line
    ]
    assert early
    assert [line for line in early if 'blocking="render"' not in line] == []
    desk.sign_in("provider")
    kept = "async () => Boolean(await yingbi.kept())"
    assert desk.page.evaluate(kept)
    desk.hold("**/static/sign.js")
    desk.page.goto(desk.url + "/verify", wait_until="commit")
    desk.page.locator("#sign-out").wait_for(state="attached")
    with desk.page.expect_navigation(url=desk.url + "/sign-in"):
        # Pressed by whoever sees it: two frames of a page after another show that it is drawn.
        desk.page.evaluate(
            "() => requestAnimationFrame(() => requestAnimationFrame("
            "() => document.querySelector('#sign-out button').click()))"
        )
        desk.page.unroute("**/static/sign.js")
    assert not desk.page.evaluate(kept)


def test_who_signs_out_is_led_to_one_page_and_keeps_no_cookie(desk: Desk) -> None:
    """Also where a part of the page, asked for before, is refused meanwhile: it leads to the sign-in page as well."""
    held = desk.hold("**/jobs/rows*")
    with desk.page.expect_request("**/jobs/rows*"):
        desk.sign_in("operator").go("/jobs")
    signing_out = desk.hold("**/sign-out")
    with desk.page.expect_request("**/sign-out"):
        desk.page.click("#sign-out button", no_wait_after=True)
    for each in held:
        each.fulfill(headers={"HX-Redirect": "/sign-in?next=/jobs"})
    signing_out.pop().continue_()
    desk.page.wait_for_url("**/sign-in**")
    assert desk.page.url == desk.url + "/sign-in"
    assert session(desk) == ""


def test_what_is_no_invitation_joins_nobody(desk: Desk) -> None:
    for fragment in ("", "#", "#AAAA", "#%%%", "#" + "A" * 400):
        desk.page.goto("about:blank")
        desk.go("/join" + fragment)
        assert desk.page.locator("#join-none").is_visible()
        assert not desk.page.locator("#join").is_visible()


def test_who_is_removed_is_out_at_once(desk: Desk, browser: Browser) -> None:
    name = joined(desk, "approver")
    assert is_known(desk.zone, session(desk))
    other = browser.new_context()
    boss = desk_in(other, desk.zone).sign_in("provider").go("/people")
    boss.follow(f"#person-{name} a")
    page = boss.page.inner_text("main")
    for said in ("sessions", "Passkeys and codes", "Invitations", "approver", "Enclaves know the certificate until"):
        assert said in page, said
    boss.page.fill("#reason", "left the clinic")
    boss.page.click("button.danger")
    boss.page.wait_for_url(boss.url + "/people")
    assert "left" in boss.page.inner_text(f"#person-{name}")
    other.close()
    assert not is_known(desk.zone, session(desk))
    desk.go("/people")
    assert desk.page.url == desk.url + "/sign-in?next=/people"


def test_a_session_that_was_there_before_signing_in_is_another_and_ends(desk: Desk) -> None:
    """Whoever planted a cookie, or kept one, has nothing of the session that follows."""
    first = joined(desk, "approver")
    planted = session(desk)
    desk.sign_in("provider")
    made = session(desk)
    assert made != planted
    assert not is_known(desk.zone, planted)
    assert first not in desk.page.inner_text("header")
    # Neither is it what follows from the token, so that ending it leaves the profile as it is.
    token = desk.zone.profile("provider")["token"]
    assert made != credentials.bearer(token)
    sign_out(desk)
    assert not is_known(desk.zone, made)
    assert is_known(desk.zone, credentials.bearer(token))


def test_a_link_signs_in_once_and_only_who_wants_it(desk: Desk) -> None:
    with connect(folder=desk.zone.root, role="supervisor") as zone:
        _, link = zone.people.link()
    for again in (False, True):
        desk.page.goto("about:blank")
        desk.page.goto(link)
        desk.page.locator("#link-form button").wait_for()
        assert session(desk) == ""
        desk.page.click("#link-form button")
        if again:
            desk.page.locator("#link-form .error:not([hidden])").wait_for()
            assert session(desk) == ""
        else:
            desk.page.wait_for_url(desk.url + "/inbox")
            sign_out(desk)
    desk.complaints.clear()  # of the 401 that was asked for


def test_who_signs_in_comes_back_to_a_page_of_the_console_and_to_no_other(desk: Desk) -> None:
    token = desk.zone.profile("provider")["token"]
    for following, goes_to in (("/people", "/people"), ("//evil.example/people", "/inbox")):
        desk.go(f"/sign-in?next={following}").choose(theme="dark", language="zh")
        desk.page.fill("#token", token)
        desk.page.click("#sign-in button")
        desk.page.wait_for_url(desk.url + goes_to)


def test_whose_session_ends_at_a_form_signs_in_and_comes_back(desk: Desk) -> None:
    desk.sign_in("provider").go("/people")
    desk.page.context.clear_cookies()
    desk.page.click("#begin-totp button")
    desk.page.wait_for_url(desk.url + "/sign-in?next=%2Fpeople")
    desk.complaints.clear()  # of the 401 that was asked for


def test_what_people_are_called_is_shown_and_never_run(desk: Desk) -> None:
    with connect(folder=desk.zone.root, role="provider") as zone:
        name = f"person-{next(numbers)}"
        zone.people.invite(name, ["approver"], real_name=HOSTILE)
        made, _ = zone.people.create_token(HOSTILE)
    desk.sign_in("provider").go("/people")
    assert HOSTILE in desk.page.inner_text(f"#person-{name}")
    assert HOSTILE in desk.page.inner_text("section[aria-labelledby=tokens]")
    desk.follow(f"#person-{name} a")
    assert HOSTILE in desk.page.inner_text("main")
    assert desk.page.locator("main img, main svg[onload], main script").count() == 0
    with connect(folder=desk.zone.root, role="provider") as zone:
        zone.people.revoke_token(made.token_id)


def test_a_token_of_one_s_own_is_revoked_and_the_table_is_the_gateway_s(desk: Desk) -> None:
    from gateway.governance import decisions
    from gateway.governance.policy import TABLE

    with connect(folder=desk.zone.root, role="provider") as zone:
        _, token = zone.people.create_token("nightly script")
    desk.sign_in("provider").go("/people")
    page = desk.page.inner_text("main")
    for said in (*(action.value for action in TABLE), *(row.condition for row in decisions.rows())):
        assert said in page, said
    desk.follow('[aria-label="Revoke nightly script"]')
    assert "nightly script" not in desk.page.inner_text("main")
    assert not is_known(desk.zone, credentials.bearer(token))


def test_who_has_no_organisation_s_key_is_shown_the_command_and_who_administers_nobody_neither(desk: Desk) -> None:
    joined(desk, "administrator")
    desk.page.get_by_text("yingbi person invite").wait_for()
    # The page has looked for keys.
    desk.page.locator("#forget-key").wait_for()
    assert not desk.page.locator("#invite").is_visible()
    sign_out(desk)
    joined(desk, "approver")
    assert desk.page.locator("#inviting-card").count() == 0
    assert desk.page.locator("a[href$='/remove']").count() == 0


def test_the_browser_makes_the_invitations_and_certificates_that_the_sdk_makes(desk: Desk) -> None:
    token = desk.zone.profile("provider")["token"]
    key = credentials.signing_key(token)
    public = key.public_key().public_bytes_raw()
    now = int(time.time())
    duties = ["signatory", "approver", "approver"]
    desk.go("/join").page.wait_for_function("() => window.yingbi && yingbi.joining")
    signed, secret = desk.page.evaluate(
        """async ([token, duties, now]) => {
            const made = await yingbi.joining.invite(await yingbi.keysOf(token), {
                organisation: "provider", person: "ada-\u00e9", duties,
                expires: now + 86400, certificateExpires: 2 ** 35,
            });
            return [yingbi.toBase64(made.signed), made.secret];
        }""",
        [token, duties, now],
    )
    invitation = SignedInvitation.FromString(_bytes(signed))
    read = certificates.check_invitation(invitation, public)
    assert read.SerializeToString(deterministic=True) == invitation.body
    assert (read.organisation, read.person, list(read.duties)) == ("provider", "ada-é", ["approver", "signatory"])
    assert (read.expires.seconds, read.certificate_expires.seconds) == (now + 86400, 2**35)
    same, invitation_key = people.read_secret(secret)
    assert same == invitation

    own, certificate, told = desk.page.evaluate(
        """async (secret) => {
            const invited = yingbi.joining.read(secret), keys = await yingbi.joining.newKeys();
            const made = await yingbi.joining.certify(invited, keys.publicKey);
            const { person, duties, expires } = invited;
            return [yingbi.toBase64(keys.publicKey), yingbi.toBase64(made), [person, duties, expires]];
        }""",
        secret,
    )
    expected = certificates.accept(invitation, invitation_key, _bytes(own))
    assert SignedCertificate.FromString(_bytes(certificate)) == expected
    assert told == ["ada-é", ["approver", "signatory"], now + 86400]
    assert certificates.read_chain(expected, public).key == _bytes(own)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def test_the_page_of_people_weighs_little_and_asks_no_other_host(desk: Desk) -> None:
    desk.sign_in("provider")
    desk.page.goto("about:blank")
    heard: list[Response] = []
    desk.page.on("response", lambda response: heard.append(response))  # noqa: PLW0108  # Playwright marks its listeners
    desk.go("/people").page.locator("#invite").wait_for()
    assert {response.url.partition("/static")[0].partition("/people")[0] for response in heard} == {desk.url}
    assert sum(len(response.body()) for response in heard) <= 100_000


def test_every_page_about_people_is_accessible(desk: Desk) -> None:
    name, link = invited(desk.zone, "approver")
    for theme, language in LOOKS:
        desk.look(theme=theme, language=language).page.goto("about:blank")
        desk.page.goto(link)
        desk.page.locator("#join").wait_for()
        assert findings(desk) == [], (theme, language, "join")
    desk.sign_in("provider")
    for theme, language in LOOKS:
        desk.look(theme=theme, language=language).go("/people")
        desk.page.locator("#invite").wait_for()
        desk.page.click("#begin-totp button")
        desk.page.locator("#add-totp").wait_for()
        assert findings(desk) == [], (theme, language, "people")
        desk.follow(f"#person-{name} a")
        assert findings(desk) == [], (theme, language, "removal")


def test_the_console_keeps_its_place_from_one_up_to_the_next(governed: Zone) -> None:
    """Browsers keep keys by the address, and the gateway takes passkeys for it alone."""
    url: Any = governed.json("status", governed.root)["console"]
    assert json.loads((governed.root / "gateway" / "gateway.json").read_text())["console"] == url
    assert {governed.profile(role)["console"] for role in ("provider", "developer", "auditor")} == {url}
