"""The commands about people, against the gateway's own services over gRPC and TLS."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import people_scene  # type: ignore[import-not-found]
import pytest
from yingbi.api import credentials
from yingbi.api.v1.people_pb2_grpc import add_PeopleServiceServicer_to_server
from yingbi.cli.main import main
from yingbi.people import join, read_secret
from yingbi.profile import Profile, locate

from gateway.governance.callers import Role
from gateway.zone.authority import Authority, certificate_pem


class Serving:
    """A gateway's loop in a thread of its own."""

    def __init__(self, zone: Any, authority: Authority) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.server, self.address = self.wait(self._start(zone, authority))

    def wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    async def _start(self, zone: Any, authority: Authority) -> tuple[Any, str]:
        server = grpc.aio.server()
        add_PeopleServiceServicer_to_server(zone.service, server)
        pair = authority.tls_pair("gateway", server=True)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        await server.start()
        return server, f"127.0.0.1:{port}"

    def close(self) -> None:
        self.wait(self.server.stop(None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    zone, authority = people_scene.Zone(tmp_path, time.time), Authority.new("zone")
    serving = Serving(zone, authority)
    (tmp_path / "profiles").mkdir()
    for role in Role:
        document = {
            "address": serving.address,
            "token": role.value,
            "role": role.value,
            "name": role.value,
            "ca_pem": certificate_pem(authority.certificate).decode(),
            "console": "http://localhost:8080",
        }
        (tmp_path / "profiles" / f"{role.value}.json").write_text(json.dumps(document))
    monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
    yield tmp_path
    serving.close()


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        assert main([*arguments, "--json"]) == code
        return json.loads(self._capsys.readouterr().out)

    def text(self, *arguments: str) -> str:
        assert main(arguments) == 0
        return self._capsys.readouterr().out


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], folder: Path) -> Shell:
    return Shell(capsys)


def test_a_person_is_invited_joins_and_leaves(shell: Shell, folder: Path) -> None:
    invited = shell("person", "invite", "ada", "--duty", "approver", "--real-name", "Ada L.", "--as", "provider")
    assert invited["state"] == "invited"
    assert invited["link"] == f"http://localhost:8080/join#{invited['secret']}"
    joined = shell("person", "join", invited["link"])
    path = folder / "profiles" / "ada.json"
    assert (joined["profile"], stat.S_IMODE(path.stat().st_mode)) == (str(path), 0o600)
    me = shell("whoami", "--as", "ada")
    assert (me["organisation"], me["duties"], me["kind"]) == ("provider", ["approver"], "provider")
    assert shell("person", "join", invited["secret"], "--out", "again.json", code=3)["code"] == "invitation_used"
    assert shell("person", "remove", "ada", "--reason", "left", "--as", "provider")["state"] == "left"
    assert shell("whoami", "--as", "ada", code=3)["code"] == "not_authenticated"


def test_who_is_invited_again_has_a_new_profile_in_place_of_the_old(shell: Shell, folder: Path) -> None:
    invite = ("person", "invite", "ada", "--as", "provider", "--duty", "approver")
    shell("person", "join", shell(*invite)["secret"])
    before = (folder / "profiles" / "ada.json").read_text()
    again = shell(*invite, "--duty", "signatory")["secret"]
    assert shell("person", "join", again, code=2)["code"] == "file"
    shell("person", "join", again, "--as", "ada")
    assert (folder / "profiles" / "ada.json").read_text() != before
    assert shell("whoami", "--as", "ada")["duties"] == ["approver", "signatory"]


def test_an_administrator_invites_with_the_organisations_key(shell: Shell) -> None:
    secret = shell("person", "invite", "ada", "--duty", "administrator", "--as", "provider")["secret"]
    shell("person", "join", secret)
    again = ("person", "invite", "bob", "--duty", "approver", "--as", "ada")
    assert shell(*again, code=3)["code"] == "organisation_key"
    assert shell(*again, "--key-of", "provider")["state"] == "invited"


def test_an_organisation_is_filed_and_removed(shell: Shell, folder: Path) -> None:
    filed = shell("organisation", "add", "clinic", "--kind", "developer", "--person", "director")
    assert Path(filed["profile"]).name == "director.json"
    assert shell("whoami", "--as", "director")["organisation"] == "clinic"
    assert shell("person", "invite", "eve", "--duty", "signatory", "--as", "director")["organisation"] == "clinic"
    assert shell("organisation", "add", "other", "--kind", "developer", "--as", "operator", code=3)["code"] == (
        "not_allowed"
    )
    assert shell("organisation", "add", "other", "--kind", "provider", code=3)["code"] == "unknown_to_enclaves"
    # That of a developers' organisation is stopped at the nodes too: tests/e2e/test_approval.py.
    remove = ("organisation", "remove", "provider", "--reason", "over")
    assert shell(*remove, code=2)["code"] == "not_confirmed"
    assert shell("whoami", "--as", "provider")["organisation"] == "provider"
    assert shell(*remove, "--yes")["left"] is True
    assert shell("whoami", "--as", "provider", code=3)["code"] == "not_authenticated"
    assert "clinic" in shell.text("organisation", "list")


def test_a_token_signs_as_its_person_unless_it_only_reads(shell: Shell) -> None:
    asks = shell("token", "create", "--scope", "ask", "--label", "script", "--days", "1")["token"]
    reads = shell("token", "create", "--scope", "read")["token"]
    own = credentials.signing_key("developer").public_key()
    assert credentials.signing_key(asks).public_key() == own
    assert credentials.signing_key(reads).public_key() != own
    assert shell("whoami", "--token", asks)["scopes"] == ["ask"]
    listed = {each["label"]: each["token_id"] for each in shell("token", "list")["tokens"]}
    assert set(listed) == {"first account", "script", ""}
    shell("token", "revoke", listed["script"])
    assert shell("whoami", "--token", asks, code=3)["code"] == "not_authenticated"
    assert "developer" in shell.text("whoami", "--token", reads)


def test_a_link_holds_a_token_that_ends_soon_and_signs(shell: Shell) -> None:
    link = shell("token", "link", "--as", "provider")["link"]
    page, _, token = link.partition("#")
    assert page == "http://localhost:8080/sign-in"
    assert credentials.signing_key(token).public_key() == credentials.signing_key("provider").public_key()
    me = shell("whoami", "--token", token)
    assert me["expires"]
    assert me["scopes"] == []


def test_people_are_listed_for_who_may_see_them(shell: Shell) -> None:
    assert [each["person"] for each in shell("person", "list")["people"]] == ["developer"]
    assert len(shell("person", "list", "--as", "auditor")["people"]) == 6
    assert shell("person", "list", "--organisation", "provider", code=3)["code"] == "not_allowed"


def test_a_profile_that_there_is_not_is_said_to_be_none(shell: Shell) -> None:
    refused = shell("whoami", "--as", "nobody", code=2)
    assert refused["code"] == "no_profile"
    assert "auditor" in refused["hint"]


@pytest.mark.parametrize("secret", ["", "x", "http://localhost/join#", "AAAA", "é"])
def test_what_is_no_invitation_is_refused_before_anything_is_sent(shell: Shell, secret: str) -> None:
    assert shell("person", "join", secret, code=2)["code"] == "secret"


def test_an_invitation_is_not_asked_for_where_its_profile_cannot_be_kept(shell: Shell, folder: Path) -> None:
    secret = shell("person", "invite", "ada", "--duty", "approver", "--as", "provider")["secret"]
    (folder / "profiles" / "ada.json").write_text("mine")
    assert shell("person", "join", secret, code=2)["code"] == "file"
    assert (folder / "profiles" / "ada.json").read_text() == "mine"
    # It still counts.
    assert shell("person", "join", secret, "--out", str(folder / "other.json"))["person"] == "ada"


def test_the_policy_needs_no_zone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YINGBI_ZONE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    shell = Shell(capsys)
    rows = {row["action"]: row for row in shell("policy", "show")["actions"]}
    assert rows["decide"]["who"] == [
        {"kind": "provider", "duty": "approver"},
        {"kind": "supervisor", "duty": "assessor"},
    ]
    printed = shell.text("policy", "show")
    assert "a provider's approver, a supervisor's assessor" in printed
    assert "the administrator of every organisation" in printed


def test_the_sdk_joins_as_the_command_does(shell: Shell, folder: Path) -> None:
    secret = shell("person", "invite", "ada", "--duty", "analyst")["secret"]
    person, profile = join(locate(), secret)
    assert (person.person, profile.name, profile.role) == ("ada", "ada", "developer")
    assert isinstance(profile, Profile)
    assert read_secret(secret)[0].body == person.certificate.invitation.body
