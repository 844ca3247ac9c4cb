"""Who is let into a zone, by whom, and what is left to who leaves: nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import people_scene  # type: ignore[import-not-found]
import pytest
from yingbi.api import certificates, credentials
from yingbi.api.v1 import people_pb2 as messages

from gateway.storage import bearer_tokens

DAY = people_scene.DAY


@pytest.fixture
def zone(tmp_path: Path) -> Any:
    return people_scene.Zone(tmp_path)


def refused(call: Callable[..., object], *arguments: object, **named: object) -> str:
    with pytest.raises(people_scene.Refused) as caught:
        call(*arguments, **named)
    code: str = caught.value.code
    return code


def filing(name: str = "clinic", kind: str = "developer", **changes: Any) -> messages.FileOrganisationRequest:
    terms: dict[str, Any] = {
        "organisation": name,
        "kind": kind,
        "title": "Clinic",
        "key": people_scene.public(name),
        "person": f"{name}-first",
        "bearer_hash": people_scene.hashed(name),
    }
    return messages.FileOrganisationRequest(**(terms | changes))


def test_a_zone_begins_with_the_accounts_of_its_file_once(zone: Any) -> None:
    assert len(zone.names("coordinator")) == 6
    request = messages.RemoveOrganisationRequest(organisation="developer", reason="ended")
    zone.call("RemoveOrganisation", "coordinator", request)
    zone.database.close()
    zone.open()
    assert "developer" not in zone.names("coordinator")
    assert not zone.may_call("developer")


@pytest.mark.requirement("ROL-03")
def test_who_is_invited_joins_with_a_key_of_their_own(zone: Any) -> None:
    token = zone.join("provider", "ada", "approver")
    me = zone.call("WhoAmI", token)
    assert (me.person.person, me.person.organisation, list(me.person.duties)) == ("ada", "provider", ["approver"])
    assert me.person.real_name == "N. N."
    caller = zone.authentication.find(f"Bearer {credentials.bearer(token)}").caller
    key = certificates.certified_key(caller.certificate, caller.organisation_key, duty="approver", now=zone.now)
    assert key == caller.key == people_scene.public(token)
    assert caller.organisation_key == people_scene.public("provider")


def test_what_a_person_signs_goes_to_enclaves_with_the_certificate(zone: Any) -> None:
    from yingbi.api.v1.job_pb2 import SignedApproval

    token = zone.join("provider", "ada", "approver")
    signed = SignedApproval()
    zone.authentication.find(f"Bearer {credentials.bearer(token)}").caller.certify(signed)
    assert signed.certificate.invitation.body
    first = SignedApproval()
    zone.authentication.find(f"Bearer {credentials.bearer('provider')}").caller.certify(first)
    assert not first.HasField("certificate")


class TestInvitations:
    def test_one_counts_once(self, zone: Any) -> None:
        invited = zone.invite("provider", "ada", "approver")
        zone.call("AcceptInvitation", None, zone.acceptance(invited, "ada-token"))
        assert refused(zone.call, "AcceptInvitation", None, zone.acceptance(invited, "eve-token")) == "invitation_used"
        assert not zone.may_call("eve-token")

    def test_one_counts_for_a_week(self, zone: Any) -> None:
        invited = zone.invite("provider", "ada", "approver")
        zone.now += 7 * DAY
        code = refused(zone.call, "AcceptInvitation", None, zone.acceptance(invited, "ada-token"))
        assert code == "invitation_expired"
        # Invited again, and only the second counts.
        again = zone.invite("provider", "ada", "signatory")
        assert refused(zone.call, "AcceptInvitation", None, zone.acceptance(invited, "x")) == "invitation_used"
        zone.call("AcceptInvitation", None, zone.acceptance(again, "ada-token"))
        assert list(zone.call("WhoAmI", "ada-token").person.duties) == ["signatory"]

    def test_a_name_is_one_organisations(self, zone: Any) -> None:
        zone.join("provider", "ada", "approver")
        assert refused(zone.invite, "developer", "ada", "analyst") == "person_exists"
        assert refused(zone.invite, "provider", "provider", "signatory") == "person_exists"
        zone.invite("provider", "bob", "approver")
        assert refused(zone.invite, "developer", "bob", "analyst") == "person_exists"

    def test_who_is_invited_again_accepts_it_themselves(self, zone: Any) -> None:
        """Else an administrator could invite a colleague again, and go on in their name."""
        token = zone.join("provider", "ada", "approver")
        zone.make_token(token, "script")
        again = zone.invite("provider", "ada", "approver", "signatory")
        request = zone.acceptance(again, "new-token")
        assert refused(zone.call, "AcceptInvitation", None, request) == "other_person"
        assert refused(zone.call, "AcceptInvitation", "provider", request) == "other_person"
        assert list(zone.call("WhoAmI", token).person.duties) == ["approver"]
        zone.call("AcceptInvitation", token, request)
        assert list(zone.call("WhoAmI", "new-token").person.duties) == ["approver", "signatory"]
        assert not zone.may_call(token)
        assert not zone.may_call("script")

    def test_a_person_calls_no_longer_than_their_certificate_counts(self, zone: Any) -> None:
        """Else a request would be charged, and every enclave refuse it."""
        token = zone.join("provider", "ada", "approver")
        zone.make_token(token, "script")
        ends = zone.call("WhoAmI", token).expires.seconds
        assert ends == zone.now + 365 * DAY
        zone.now = ends - 1
        assert zone.may_call("script")
        zone.now = ends
        assert not zone.may_call(token)
        assert not zone.may_call("script")
        again = zone.invite("provider", "ada", "approver")
        zone.call("AcceptInvitation", None, zone.acceptance(again, "new-token"))
        assert zone.may_call("new-token")

    def test_one_to_another_organisation_is_refused(self, zone: Any) -> None:
        assert refused(zone.invite, "provider", "eve", "analyst", organisation="developer") == "other_organisation"
        # Nor with the key of one's own under another's administrator.
        signed, _ = zone.invitation("provider", "eve", "analyst", organisation="developer")
        request = messages.InvitePersonRequest(invitation=signed)
        assert refused(zone.call, "InvitePerson", "developer", request) == "bad_certificate"

    def test_nobody_is_invited_for_what_there_is_not_in_the_organisation(self, zone: Any) -> None:
        assert refused(zone.invite, "provider", "eve", "approver", "analyst") == "duties"
        assert refused(zone.invite, "provider", "eve") == "bad_certificate"

    def test_duties_beyond_the_invitation_are_not_had(self, zone: Any) -> None:
        """An invitation that was never filed is none, and a filed one is not widened."""
        invited = zone.invite("provider", "ada", "approver")
        wider = messages.Invitation.FromString(invited.signed.body)
        wider.duties.append("administrator")
        invited.signed.body = wider.SerializeToString(deterministic=True)
        code = refused(zone.call, "AcceptInvitation", None, zone.acceptance(invited, "ada-token"))
        assert code == "bad_certificate"
        unfiled, secret = zone.invitation("provider", "bob", "administrator")
        invited.signed, invited.secret = unfiled, secret
        code = refused(zone.call, "AcceptInvitation", None, zone.acceptance(invited, "bob-token"))
        assert code == "unknown_invitation"

    @pytest.mark.requirement("ROL-05")
    def test_only_administrators_invite(self, zone: Any) -> None:
        token = zone.join("provider", "ada", "approver")
        signed, _ = zone.invitation("provider", "eve", "approver")
        request = messages.InvitePersonRequest(invitation=signed)
        assert refused(zone.call, "InvitePerson", token, request) == "not_allowed"
        assert refused(zone.call, "InvitePerson", None, request) == "not_authenticated"

    def test_a_key_is_one_persons(self, zone: Any) -> None:
        zone.join("provider", "ada", "approver")
        invited = zone.invite("provider", "bob", "approver")
        request = zone.acceptance(invited, "ada-token")
        request.bearer_hash = people_scene.hashed("bob-token")
        assert refused(zone.call, "AcceptInvitation", None, request) == "key_taken"

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"expires": people_scene.START}, "expires"),
            ({"expires": people_scene.START + 31 * DAY}, "expires"),
            ({"certificate_expires": people_scene.START + DAY}, "certificate_expires"),
            ({"certificate_expires": people_scene.START + 10_000 * DAY}, "certificate_expires"),
        ],
    )
    def test_one_has_an_end_that_is_near(self, zone: Any, changes: dict[str, float], code: str) -> None:
        assert refused(zone.invite, "provider", "ada", "approver", **changes) == code

    @pytest.mark.parametrize("name", ["../ada", "Ada", "", "a" * 64, "ada/b", "1a", "a b"])
    def test_a_name_is_plain(self, zone: Any, name: str) -> None:
        assert refused(zone.invite, "provider", name, "approver") in ("person", "bad_certificate")


class TestLeaving:
    @pytest.mark.requirement("ROL-03")
    def test_who_leaves_loses_everything_at_once(self, zone: Any) -> None:
        token = zone.join("provider", "ada", "approver")
        zone.make_token(token, "ada-script", "read")
        zone.remove("provider", "ada")
        assert not zone.may_call(token)
        assert not zone.may_call("ada-script")
        zone.database.close()
        zone.open()
        assert not zone.may_call(token)

    def test_an_open_invitation_is_void(self, zone: Any) -> None:
        invited = zone.invite("provider", "ada", "approver")
        zone.remove("provider", "ada")
        code = refused(zone.call, "AcceptInvitation", None, zone.acceptance(invited, "ada-token"))
        assert code == "invitation_used"
        assert refused(zone.invite, "provider", "ada", "approver") == "person_exists"

    def test_there_is_always_an_administrator(self, zone: Any) -> None:
        assert refused(zone.remove, "provider", "provider") == "last_administrator"
        zone.invite("provider", "bob", "administrator")
        assert refused(zone.remove, "provider", "provider") == "last_administrator"
        token = zone.join("provider", "ada", "administrator")
        zone.remove("provider", "provider")
        assert not zone.may_call("provider")
        assert refused(zone.remove, token, "ada") == "last_administrator"

    def test_nobody_is_removed_by_others_nor_told_of(self, zone: Any) -> None:
        zone.join("provider", "ada", "approver")
        assert refused(zone.remove, "developer", "ada") == refused(zone.remove, "developer", "no-such")
        assert refused(zone.remove, "coordinator", "ada") == "unknown_person"

    def test_an_organisation_leaves_with_all_its_people(self, zone: Any) -> None:
        token = zone.join("developer", "ada", "analyst")
        invited = zone.invite("developer", "bob", "analyst")
        request = messages.RemoveOrganisationRequest(organisation="developer", reason="the project is over")
        assert refused(zone.call, "RemoveOrganisation", "operator", request) == "not_allowed"
        assert zone.call("RemoveOrganisation", "coordinator", request).left
        assert not zone.may_call(token)
        assert not zone.may_call("developer")
        code = refused(zone.call, "AcceptInvitation", None, zone.acceptance(invited, "bob-token"))
        assert code == "organisation_left"
        assert refused(zone.call, "RemoveOrganisation", "coordinator", request) == "organisation_left"
        request.organisation = "coordinator"
        assert refused(zone.call, "RemoveOrganisation", "coordinator", request) == "own_organisation"

    def test_a_removal_has_its_reason(self, zone: Any) -> None:
        request = messages.RemovePersonRequest(person="provider")
        assert refused(zone.call, "RemovePerson", "provider", request) == "reason"


class TestOrganisations:
    def test_the_coordinator_files_one_whose_first_account_invites(self, zone: Any) -> None:
        filed = zone.call("FileOrganisation", "coordinator", filing())
        assert (filed.kind, filed.left) == ("developer", False)
        signed, _ = zone.invitation("clinic", "ada", "analyst")
        zone.call("InvitePerson", "clinic", messages.InvitePersonRequest(invitation=signed))
        assert zone.names("clinic") == ["ada", "clinic-first"]
        assert refused(zone.call, "FileOrganisation", "operator", filing("other")) == "not_allowed"

    @pytest.mark.requirement("ROL-01")
    @pytest.mark.parametrize("kind", ["provider", "supervisor"])
    def test_none_is_filed_whose_signatures_no_enclave_knows(self, zone: Any, kind: str) -> None:
        """Else it would approve, the gateway would charge, and every enclave refuse."""
        with pytest.raises(people_scene.Refused) as caught:
            zone.call("FileOrganisation", "coordinator", filing(kind=kind))
        assert caught.value.code == "unknown_to_enclaves"
        assert f"take the word of the {kind} that they were made with" in str(caught.value)
        assert len(zone.names("coordinator")) == 6

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"organisation": "provider"}, "organisation_exists"),
            ({"person": "provider"}, "person_exists"),
            ({"kind": "god"}, "kind"),
            ({"key": people_scene.public("provider")}, "key_taken"),
            ({"key": b"short"}, "key"),
            ({"bearer_hash": people_scene.hashed("provider")}, "token_exists"),
            ({"bearer_hash": "AB" * 32}, "bearer_hash"),
            ({"title": "two\nlines"}, "title"),
        ],
    )
    def test_names_keys_and_tokens_are_new(self, zone: Any, changes: dict[str, Any], code: str) -> None:
        assert refused(zone.call, "FileOrganisation", "coordinator", filing(**changes)) == code
        assert len(zone.names("coordinator")) == 6


class TestTokens:
    def test_one_with_scopes_does_what_they_say(self, zone: Any) -> None:
        zone.make_token("provider", "script", "read")
        assert list(zone.call("WhoAmI", "script").scopes) == ["read"]
        signed, _ = zone.invitation("provider", "eve", "approver")
        request = messages.InvitePersonRequest(invitation=signed)
        assert refused(zone.call, "InvitePerson", "script", request) == "other_scope"
        zone.make_token("provider", "admin", "administer")
        assert zone.call("InvitePerson", "admin", request).person == "eve"

    def test_one_makes_none_that_does_more_or_lasts_longer(self, zone: Any) -> None:
        zone.make_token("provider", "script", "read", ends=zone.now + DAY)
        assert refused(zone.make_token, "script", "more", "read", "decide", ends=zone.now + 9) == "other_scope"
        assert refused(zone.make_token, "script", "more", ends=zone.now + 9) == "other_scope"
        assert refused(zone.make_token, "script", "more", "read") == "outlives"
        assert refused(zone.make_token, "script", "more", "read", ends=zone.now + DAY + 1) == "outlives"
        zone.make_token("script", "less", "read", ends=zone.now + DAY)
        assert refused(zone.make_token, "provider", "x", "everything") == "scopes"
        assert refused(zone.make_token, "provider", "x", ends=zone.now) == "expires"

    def test_one_ends_when_it_says(self, zone: Any) -> None:
        zone.make_token("provider", "script", ends=zone.now + DAY)
        zone.now += DAY - 1
        assert zone.may_call("script")
        zone.now += 1
        assert not zone.may_call("script")
        assert zone.may_call("provider")

    def test_one_is_revoked_by_its_person_alone(self, zone: Any) -> None:
        made = zone.make_token("provider", "script")
        request = messages.RevokeTokenRequest(token_id=made.token_id)
        assert refused(zone.call, "RevokeToken", "developer", request) == "unknown_token"
        assert zone.may_call("script")
        zone.make_token("provider", "reader", "read")
        assert refused(zone.call, "RevokeToken", "reader", request) == "other_scope"
        assert zone.call("RevokeToken", "provider", request).revoked
        assert not zone.may_call("script")

    def test_nobody_is_shown_anothers(self, zone: Any) -> None:
        zone.make_token("provider", "script")
        shown = [token.token_id for token in zone.call("ListTokens", "provider").tokens]
        others = [token.token_id for token in zone.call("ListTokens", "developer").tokens]
        assert len(shown) == 2
        assert not set(shown) & set(others)

    def test_the_hour_of_its_use_is_kept(self, zone: Any) -> None:
        noted: list[tuple[str, float]] = []
        zone.authentication._used = lambda token, hour: noted.append((token, hour))
        for _ in range(3):
            zone.may_call("provider")
        zone.now += 3600
        zone.may_call("provider")
        assert [hour % 3600 for _, hour in noted] == [0, 0]
        token, hour = noted[-1]
        people_scene.run(zone.database.run(bearer_tokens.used, token, hour))
        (kept,) = zone.call("ListTokens", "provider").tokens
        assert kept.last_used.seconds == hour <= zone.now


def test_people_of_others_are_shown_to_who_watches_and_nobody_else(zone: Any) -> None:
    zone.join("provider", "ada", "approver")
    assert zone.names("provider") == ["ada", "provider"]
    assert refused(zone.names, "developer", "provider") == "not_allowed"
    assert zone.names("developer") == ["developer"]
    assert zone.names("auditor", "provider") == ["ada", "provider"]
    token = zone.join("supervisor", "eve", "administrator")
    assert refused(zone.names, token, "provider") == "not_allowed"


@pytest.mark.requirement("ROL-04")
def test_whoever_may_nothing_cannot_even_look(zone: Any) -> None:
    from yingbi.api.problem import Problem

    zone.make_token("provider", "admin", "administer")
    with pytest.raises(Problem, match="takes a token for read or ask or decide"):
        zone.authentication.caller(people_scene.Call("admin"))


def test_the_policy_is_told_as_the_gateway_decides_it(zone: Any) -> None:
    rows = {row.action: list(row.who) for row in zone.call("GetPolicy", "auditor").rows}
    assert rows["decide"] == ["provider/approver", "supervisor/assessor"]
