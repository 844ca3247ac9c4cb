"""What /people makes of the gateway's tables, and which pages one is sent to."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api import credentials
from yingbi.api.v1.people_pb2 import PERSON_STATE_ACTIVE, PERSON_STATE_LEFT, Me, Organisation, Person, Token
from yingbi_dashboard import catalogue, people_view, security, sign_in

from gateway.api.people import policy
from gateway.governance import decisions
from gateway.governance.callers import DUTIES, Duty, Role
from gateway.governance.policy import TABLE, Action

ORIGIN = "http://localhost:7480"


def view(me: Me) -> people_view.View:
    duties = people_view.duties_of(policy(), me.organisation.kind)
    return people_view.View(me, [], [], people_view.rules_of(policy()), policy(), [], [], None, duties)


def test_the_gateway_tells_who_decides_about_which_grade() -> None:
    assert list(policy().decisions) == decisions.rows()
    assert [list(row.approvers) for row in policy().decisions] == [[], [], ["provider"], ["provider", "supervisor"]]


@pytest.mark.parametrize("kind", list(Role))
def test_one_is_invited_to_duties_that_such_an_organisation_has(kind: Role) -> None:
    assert set(people_view.duties_of(policy(), kind)) == DUTIES[kind]


def test_the_table_is_shown_whole() -> None:
    shown = dict(zip(TABLE, people_view.rules_of(policy()), strict=True))
    for action, rule in shown.items():
        assert rule.meaning == action.value
        assert set(rule.pairs) == set(TABLE[action])
    assert [action for action, rule in shown.items() if rule.everybody] == [Action.LOOK]
    assert [(action, rule.duty) for action, rule in shown.items() if rule.duty] == [
        (Action.FILE_PERSON, Duty.ADMINISTRATOR)
    ]


def test_every_name_of_the_gateway_is_said_in_every_language() -> None:
    assert set(people_view.ROLE_NAMES) == set(Role)
    assert set(people_view.DUTY_NAMES) == set(Duty)
    tables = (people_view.ROLE_NAMES, people_view.DUTY_NAMES, people_view.STATE_NAMES, people_view.METHOD_NAMES)
    assert {key for table in tables for key in table.values()} <= set(catalogue.messages("en"))


@pytest.mark.parametrize(
    ("duties", "scopes", "administers"),
    [
        (["administrator"], [], True),
        (["administrator"], ["administer"], True),
        (["administrator"], ["read"], False),
        (["approver"], [], False),
    ],
)
def test_who_may_not_invite_is_not_offered_to(duties: list[str], scopes: list[str], administers: bool) -> None:
    own = Organisation(organisation="clinic", kind="provider")
    me = Me(person=Person(person="ada", organisation="clinic", duties=duties), organisation=own, scopes=scopes)
    found = view(me)
    assert found.administers is administers
    assert found.removable(Person(person="bo", organisation="clinic", state=PERSON_STATE_ACTIVE)) is administers
    assert not found.removable(Person(person="bo", organisation="other", state=PERSON_STATE_ACTIVE))
    assert not found.removable(Person(person="bo", organisation="clinic", state=PERSON_STATE_LEFT))


def test_tokens_that_ended_or_were_revoked_are_not_shown() -> None:
    tokens = [
        Token(token_id="lasting"),
        Token(token_id="revoked", revoked=True),
        Token(token_id="over", expires=Timestamp(seconds=99)),
        Token(token_id="counting", expires=Timestamp(seconds=101)),
    ]
    assert [each.token_id for each in people_view.counting(tokens, 100.0)] == ["counting", "lasting"]


@pytest.mark.parametrize("path", ["/inbox", "/people", "/decisions/job-0a1b", "/people/ada-2/remove", "/jobs"])
def test_a_page_of_the_console_is_gone_back_to(path: str) -> None:
    assert security.next_page(path) == path
    assert security.local_page(security.sign_in_for(path)) == security.sign_in_for(path)


TRICKS = [
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "javascript:alert(1)",
    "///evil.example",
    "/inbox?next=//evil.example",
    "/inbox#x",
    "/%2f/evil.example",
    "/inbox\n//evil.example",
    "/inbox\n",
    "/\t/evil.example",
    "",
    " /inbox",
    "inbox",
    "/@evil.example",
    "/.evil.example",
    "/sign-out",
    "/sign-in?next=/sign-in?next=//evil.example",
]


@pytest.mark.parametrize("path", TRICKS)
def test_nowhere_else_is_gone_to(path: str) -> None:
    assert security.next_page(path) == "/"
    assert urlsplit(security.local_page(path)).query == ""


@given(st.one_of(st.text(), st.from_regex(r"/[a-z/\\\\.:@?#%-]*", fullmatch=True)))
def test_whatever_is_asked_for_it_stays_at_this_origin(path: str) -> None:
    for found in (security.next_page(path), security.local_page(path), security.sign_in_for(path)):
        assert urljoin(ORIGIN, found).startswith(ORIGIN + "/")
        assert re.fullmatch(r"/[\x21-\x7e]*", found)
        assert not found.startswith("//")


def test_a_session_s_credential_is_never_taken_for_a_token_s() -> None:
    """Signing out revokes what the cookie holds: of a profile's token, that would end the profile."""
    made = sign_in.new_credential()
    assert security.checked_credential(made) == made
    assert sign_in.is_own(made)
    assert made != sign_in.new_credential()
    assert not sign_in.is_own(credentials.bearer("a token"))
    assert not sign_in.is_own(sign_in.NOBODY)
