"""Signing in to the console: with what a person registered, once, in time, and with nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import people_scene  # type: ignore[import-not-found]
import pyotp
import pytest
import soft_passkey  # type: ignore[import-not-found]
from google.protobuf.empty_pb2 import Empty
from yingbi.api.v1 import sign_in_pb2

from gateway.api.sign_in import SignInService
from gateway.governance.sign_in import Site

SITE = Site("http://localhost:8080")
HOUR = 3600


class Console:
    """What a console does, for anybody."""

    def __init__(self, zone: Any, site: Site | None = SITE) -> None:
        self.zone = zone
        self.service = SignInService(zone.database, zone.authentication, site, clock=lambda: zone.now)
        self.sessions = 0

    def call(self, method: str, token: str | None, request: Any = None) -> Any:
        return people_scene.run(getattr(self.service, method)(request or Empty(), people_scene.Call(token)))

    def register(self, token: str, passkey: Any) -> Any:
        begun = self.call("BeginPasskey", token)
        answer = passkey.made(begun.options)
        request = sign_in_pb2.RegisterPasskeyRequest(challenge=begun.challenge, passkey=answer, label="key")
        return self.call("RegisterPasskey", token, request)

    def begin(self, person: str) -> Any:
        return self.call("BeginSignIn", None, sign_in_pb2.BeginSignInRequest(person=person))

    def finish(self, begun: Any, **proof: str) -> str:
        """The token of the new session."""
        self.sessions += 1
        token = f"session-{self.sessions}"
        request = sign_in_pb2.FinishSignInRequest(
            sign_in=begun.sign_in, bearer_hash=people_scene.hashed(token), **proof
        )
        self.call("FinishSignIn", None, request)
        return token

    def sign_in(self, person: str, passkey: Any) -> str:
        begun = self.begin(person)
        return self.finish(begun, passkey=passkey.answer(begun.passkey_options))

    def with_codes(self, token: str) -> Any:
        begun = self.call("BeginTotp", token)
        codes = pyotp.TOTP(begun.secret)
        request = sign_in_pb2.RegisterTotpRequest(challenge=begun.challenge, code=codes.at(int(self.zone.now)))
        self.call("RegisterTotp", token, request)
        self.zone.now += 30
        return codes


@pytest.fixture
def zone(tmp_path: Path) -> Any:
    return people_scene.Zone(tmp_path)


@pytest.fixture
def console(zone: Any) -> Console:
    return Console(zone)


def refused(call: Callable[..., object], *arguments: object, **named: object) -> str:
    with pytest.raises(people_scene.Refused) as caught:
        call(*arguments, **named)
    code: str = caught.value.code
    return code


class TestPasskeys:
    def test_one_opens_a_session_of_eight_hours(self, zone: Any, console: Console) -> None:
        passkey = soft_passkey.SoftPasskey()
        assert console.register("provider", passkey).label == "key"
        session = console.sign_in("provider", passkey)
        assert zone.call("WhoAmI", session).person.person == "provider"
        zone.now += 8 * HOUR - 1
        assert zone.may_call(session)
        zone.now += 1
        assert not zone.may_call(session)

    def test_anothers_opens_none(self, console: Console) -> None:
        passkey = soft_passkey.SoftPasskey()
        console.register("developer", passkey)
        assert refused(console.sign_in, "provider", passkey) == "sign_in_failed"

    def test_one_made_elsewhere_opens_none(self, console: Console) -> None:
        """A page of another origin can ask a person for an answer, and not use it here."""
        passkey = soft_passkey.SoftPasskey()
        console.register("provider", passkey)
        passkey.origin = "http://localhost:9999"
        assert refused(console.sign_in, "provider", passkey) == "sign_in_failed"
        passkey.origin, passkey.rp_id = SITE.origin, "evil.example"
        assert refused(console.sign_in, "provider", passkey) == "sign_in_failed"
        passkey.rp_id = "localhost"
        assert console.sign_in("provider", passkey)

    def test_one_is_not_registered_for_elsewhere(self, console: Console) -> None:
        assert refused(console.register, "provider", soft_passkey.SoftPasskey("http://x.example")) == "bad_passkey"
        unverified = soft_passkey.SoftPasskey()
        unverified.flags = soft_passkey.USER_PRESENT
        assert refused(console.register, "provider", unverified) == "bad_passkey"

    def test_whoever_only_holds_the_authenticator_is_not_its_person(self, console: Console) -> None:
        passkey = soft_passkey.SoftPasskey()
        console.register("provider", passkey)
        passkey.flags = soft_passkey.USER_PRESENT
        assert refused(console.sign_in, "provider", passkey) == "sign_in_failed"

    def test_an_answer_counts_once(self, console: Console) -> None:
        passkey = soft_passkey.SoftPasskey()
        console.register("provider", passkey)
        begun = console.begin("provider")
        answer = passkey.answer(begun.passkey_options)
        console.finish(begun, passkey=answer)
        assert refused(console.finish, begun, passkey=answer) == "sign_in_failed"
        assert refused(console.finish, console.begin("provider"), passkey=answer) == "sign_in_failed"

    def test_a_copy_that_counts_less_is_noticed(self, console: Console) -> None:
        passkey = soft_passkey.SoftPasskey()
        console.register("provider", passkey)
        console.sign_in("provider", passkey)
        passkey.count = 0
        assert refused(console.sign_in, "provider", passkey) == "sign_in_failed"

    def test_a_challenge_lasts_five_minutes(self, zone: Any, console: Console) -> None:
        passkey = soft_passkey.SoftPasskey()
        console.register("provider", passkey)
        begun = console.begin("provider")
        zone.now += 300
        assert refused(console.finish, begun, passkey=passkey.answer(begun.passkey_options)) == "sign_in_failed"

    def test_a_challenge_of_one_person_registers_nothing_for_another(self, console: Console) -> None:
        begun = console.call("BeginPasskey", "provider")
        request = sign_in_pb2.RegisterPasskeyRequest(
            challenge=begun.challenge, passkey=soft_passkey.SoftPasskey().made(begun.options)
        )
        assert refused(console.call, "RegisterPasskey", "developer", request) == "sign_in_failed"

    @pytest.mark.parametrize("answer", ["", "{}", "[]", "null", '{"id": 1}', "\0", '{"id": "é", "rawId": "é"}'])
    def test_what_is_no_answer_is_refused(self, console: Console, answer: str) -> None:
        console.register("provider", soft_passkey.SoftPasskey())
        assert refused(console.finish, console.begin("provider"), passkey=answer) == "sign_in_failed"
        begun = console.call("BeginPasskey", "provider")
        request = sign_in_pb2.RegisterPasskeyRequest(challenge=begun.challenge, passkey=answer)
        assert refused(console.call, "RegisterPasskey", "provider", request) == "bad_passkey"

    def test_whether_there_is_a_person_is_not_told(self, console: Console) -> None:
        def shown(person: str) -> list[str]:
            options = json.loads(console.begin(person).passkey_options)
            return [each["id"] for each in options["allowCredentials"]]

        assert len(shown("nobody")) == len(shown("provider")) == 1
        assert shown("nobody") == shown("nobody") != shown("provider")

    def test_without_a_console_there_are_none(self, zone: Any) -> None:
        console = Console(zone, None)
        assert refused(console.call, "BeginPasskey", "provider") == "no_console"
        assert console.begin("provider").passkey_options == ""


class TestCodes:
    def test_one_opens_a_session_and_counts_once(self, zone: Any, console: Console) -> None:
        codes = console.with_codes("provider")
        code = codes.at(int(zone.now))
        assert zone.may_call(console.finish(console.begin("provider"), code=code))
        assert refused(console.finish, console.begin("provider"), code=code) == "sign_in_failed"
        # Nor one from before it.
        before = codes.at(int(zone.now) - 30)
        assert refused(console.finish, console.begin("provider"), code=before) == "sign_in_failed"
        zone.now += 30
        assert zone.may_call(console.finish(console.begin("provider"), code=codes.at(int(zone.now))))

    def test_the_one_that_was_shown_at_first_opens_none(self, zone: Any, console: Console) -> None:
        codes = console.with_codes("provider")
        first = codes.at(int(zone.now) - 30)
        assert refused(console.finish, console.begin("provider"), code=first) == "sign_in_failed"

    def test_guessing_is_stopped_before_the_right_one(self, zone: Any, console: Console) -> None:
        codes = console.with_codes("provider")
        for _ in range(5):
            assert refused(console.finish, console.begin("provider"), code="000000") == "sign_in_failed"
        right = codes.at(int(zone.now))
        assert refused(console.finish, console.begin("provider"), code=right) == "too_many_attempts"
        zone.now += 900
        assert console.finish(console.begin("provider"), code=codes.at(int(zone.now)))

    def test_somebody_elses_guessing_stops_no_passkey(self, console: Console) -> None:
        passkey = soft_passkey.SoftPasskey()
        console.register("provider", passkey)
        for _ in range(6):
            refused(console.finish, console.begin("provider"), code="000000")
        assert console.sign_in("provider", passkey)

    def test_who_has_none_is_let_in_by_none(self, console: Console) -> None:
        assert refused(console.finish, console.begin("provider"), code="123456") == "sign_in_failed"
        assert refused(console.finish, console.begin("nobody"), code="123456") == "sign_in_failed"
        assert refused(console.finish, console.begin("provider")) == "sign_in_failed"

    @pytest.mark.parametrize("code", ["", "12345", "1234567", "１２３４５６", "abcdef"])
    def test_a_code_has_six_digits(self, console: Console, code: str) -> None:
        console.with_codes("provider")
        assert refused(console.finish, console.begin("provider"), code=code) == "sign_in_failed"


class TestLinksAndLeaving:
    def test_a_link_opens_one_session(self, zone: Any, console: Console) -> None:
        zone.make_token("provider", "link", ends=zone.now + 600)
        request = sign_in_pb2.OpenSessionRequest(bearer_hash=people_scene.hashed("opened"))
        assert console.call("OpenSession", "link", request).person.person == "provider"
        assert zone.may_call("opened")
        request.bearer_hash = people_scene.hashed("again")
        assert refused(console.call, "OpenSession", "link", request) == "not_authenticated"
        assert refused(console.call, "OpenSession", "provider", request) == "no_link"
        zone.make_token("provider", "reader", "read", ends=zone.now + 600)
        assert refused(console.call, "OpenSession", "reader", request) == "no_link"

    @pytest.mark.requirement("ROL-05")
    def test_a_token_with_an_end_opens_no_session_beyond_it(self, zone: Any, console: Console) -> None:
        """Neither as a link, in its last minutes, nor by the links that are made with it, and with what these open."""

        def opens(link: str, session: str) -> None:
            request = sign_in_pb2.OpenSessionRequest(bearer_hash=people_scene.hashed(session))
            console.call("OpenSession", link, request)

        zone.make_token("provider", "stolen", ends=zone.now + HOUR)
        zone.now += 0.9 * HOUR
        assert refused(opens, "stolen", "opened") == "no_link"
        zone.make_token("stolen", "link", ends=zone.now + 300)
        opens("link", "opened")
        assert zone.may_call("opened")
        zone.make_token("opened", "further link", ends=zone.now + 300)
        opens("further link", "opened again")
        assert zone.may_call("opened again")
        zone.now += 0.2 * HOUR
        assert not zone.may_call("opened again")
        # With a token without an end a link opens a whole session, and no more than that.
        zone.make_token("provider", "whole link", ends=zone.now + 300)
        opens("whole link", "whole")
        zone.now += 7.99 * HOUR
        zone.make_token("whole", "last link", ends=zone.now + 30)
        opens("last link", "last")
        zone.now += 0.02 * HOUR
        assert not zone.may_call("last")

    @pytest.mark.requirement("ROL-05")
    def test_what_a_link_opened_opens_nothing_beyond_itself_however_soon_it_ends(
        self, zone: Any, console: Console
    ) -> None:
        def opens(link: str, session: str) -> None:
            request = sign_in_pb2.OpenSessionRequest(bearer_hash=people_scene.hashed(session))
            console.call("OpenSession", link, request)

        zone.make_token("provider", "stolen", ends=zone.now + HOUR)
        zone.now += 0.9 * HOUR
        zone.make_token("stolen", "link", ends=zone.now + 300)
        opens("link", "opened")
        with suppress(people_scene.Refused):
            opens("opened", "opened again")
        zone.now += 0.2 * HOUR
        assert not zone.may_call("opened again")

    def test_who_leaves_is_signed_out_and_cannot_sign_in(self, zone: Any, console: Console) -> None:
        token, passkey = zone.join("provider", "ada", "approver"), soft_passkey.SoftPasskey()
        console.register(token, passkey)
        codes = console.with_codes(token)
        session, begun = console.sign_in("ada", passkey), console.begin("ada")
        zone.remove("provider", "ada")
        assert not zone.may_call(session)
        answer = passkey.answer(begun.passkey_options)
        assert refused(console.finish, begun, passkey=answer) == "sign_in_failed"
        code = codes.at(int(zone.now))
        assert refused(console.finish, console.begin("ada"), code=code) == "sign_in_failed"

    def test_who_signed_in_makes_tokens_that_outlast_the_session(self, zone: Any, console: Console) -> None:
        passkey = soft_passkey.SoftPasskey()
        console.register("provider", passkey)
        zone.make_token(console.sign_in("provider", passkey), "script", "read", ends=zone.now + 30 * 24 * HOUR)
        zone.now += 9 * HOUR
        assert zone.may_call("script")
        # A link does not, nor the session that it opens.
        zone.make_token("provider", "link", ends=zone.now + 600)
        assert refused(zone.make_token, "link", "other", "read", ends=zone.now + HOUR) == "outlives"
        request = sign_in_pb2.OpenSessionRequest(bearer_hash=people_scene.hashed("opened"))
        console.call("OpenSession", "link", request)
        assert refused(zone.make_token, "opened", "other", "read", ends=zone.now + 9 * HOUR) == "outlives"

    def test_signing_out_ends_the_session_alone(self, zone: Any, console: Console) -> None:
        passkey = soft_passkey.SoftPasskey()
        console.register("provider", passkey)
        session, other = console.sign_in("provider", passkey), console.sign_in("provider", passkey)
        assert console.call("SignOut", session).revoked
        assert not zone.may_call(session)
        assert zone.may_call(other)

    def test_a_limited_token_is_not_made_a_way_to_sign_in(self, zone: Any, console: Console) -> None:
        zone.make_token("provider", "reader", "read")
        for method in ("BeginPasskey", "BeginTotp", "ListSignInMethods"):
            assert refused(console.call, method, "reader") == "other_scope"

    def test_a_session_has_a_credential_that_was_never_used(self, console: Console) -> None:
        """Nobody is signed in under a credential that somebody else chose before: session fixation."""
        passkey = soft_passkey.SoftPasskey()
        console.register("provider", passkey)
        begun = console.begin("provider")
        request = sign_in_pb2.FinishSignInRequest(
            sign_in=begun.sign_in,
            passkey=passkey.answer(begun.passkey_options),
            bearer_hash=people_scene.hashed("developer"),
        )
        assert refused(console.call, "FinishSignIn", None, request) == "token_exists"

    def test_ways_to_sign_in_are_listed_and_removed_by_their_person(self, console: Console) -> None:
        passkey = soft_passkey.SoftPasskey()
        console.register("provider", passkey)
        console.with_codes("provider")
        listed = console.call("ListSignInMethods", "provider").methods
        assert [each.kind for each in listed] == ["passkey", "totp"]
        request = sign_in_pb2.RemoveSignInMethodRequest(kind="passkey", method_id=listed[0].method_id)
        assert refused(console.call, "RemoveSignInMethod", "developer", request) == "unknown_method"
        assert len(console.call("RemoveSignInMethod", "provider", request).methods) == 1
        assert refused(console.sign_in, "provider", passkey) == "sign_in_failed"

    def test_who_joins_in_the_console_has_a_session(self, zone: Any) -> None:
        invited = zone.invite("provider", "ada", "approver")
        request = zone.acceptance(invited, "ada-token")
        request.session = True
        zone.call("AcceptInvitation", None, request)
        assert zone.call("WhoAmI", "ada-token").expires.seconds == zone.now + 8 * HOUR
