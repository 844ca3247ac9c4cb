"""Whatever is done with invitations, in whatever order: who can call is who was let in, and has not left."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import people_scene  # type: ignore[import-not-found]
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from yingbi.api.v1.people_pb2 import InvitePersonRequest

DAY = people_scene.DAY
PEOPLE = st.sampled_from(["ada", "bob"])
DUTIES = st.sets(st.sampled_from(["administrator", "approver", "signatory"]), min_size=1)


def refusal(call: Callable[..., object], *arguments: object) -> str | None:
    """The code of the refusal; None where there was none."""
    try:
        call(*arguments)
    except people_scene.Refused as refused:
        code: str = refused.code
        return code
    return None


class Invitations(RuleBasedStateMachine):
    """A plain model beside the service: the last invitation of each name, and what became of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.zone = people_scene.Zone(Path(self.folder.name))
        self.every: list[tuple[str, SimpleNamespace]] = []
        self.last: dict[str, SimpleNamespace] = {}
        self.ends: dict[str, float] = {}
        self.inside: dict[str, set[str]] = {}
        self.gone: set[str] = set()
        self.accepted: dict[str, SimpleNamespace] = {}
        self.tokens: dict[str, str] = {}
        self.old: set[str] = set()
        self.made = 0

    def teardown(self) -> None:
        self.zone.database.close()
        self.folder.cleanup()

    @rule(person=PEOPLE, duties=DUTIES)
    def invite(self, person: str, duties: set[str]) -> None:
        signed, secret = self.zone.invitation("provider", person, *duties)
        code = refusal(self.zone.call, "InvitePerson", "provider", InvitePersonRequest(invitation=signed))
        assert code == ("person_exists" if person in self.gone else None)
        if code:
            return
        invited = SimpleNamespace(signed=signed, secret=secret, duties=duties)
        self.every.append((person, invited))
        self.last[person] = invited
        self.ends[person] = self.zone.now + 7 * DAY

    @rule(number=st.integers(0, 9), themselves=st.booleans())
    def accept(self, number: int, themselves: bool) -> None:
        if not self.every:
            return
        person, invited = self.every[number % len(self.every)]
        self.made += 1
        token = f"token-{self.made}"
        counts = self.last.get(person) is invited and self.zone.now < self.ends[person]
        counts = counts and invited is not self.accepted.get(person) and person not in self.gone
        own = next((each for each, whose in self.tokens.items() if whose == person), None)
        by = own if themselves else None
        code = refusal(self.zone.call, "AcceptInvitation", by, self.zone.acceptance(invited, token))
        if counts:
            assert code == ("other_person" if person in self.inside and by is None else None)
        else:
            assert code in ("invitation_used", "invitation_expired")
        if code:
            return
        self.inside[person] = invited.duties
        self.accepted[person] = invited
        if own:
            self.old.add(own)
            del self.tokens[own]
        self.tokens[token] = person

    @rule(person=PEOPLE)
    def remove(self, person: str) -> None:
        known = person in self.last
        code = refusal(self.zone.remove, "provider", person)
        assert code == ("person_left" if person in self.gone else None if known else "unknown_person")
        if code:
            return
        self.inside.pop(person, None)
        self.gone.add(person)

    @rule(days=st.integers(1, 8))
    def wait(self, days: int) -> None:
        self.zone.now += days * DAY

    @rule()
    def restart(self) -> None:
        self.zone.database.close()
        self.zone.open()

    @invariant()
    def who_calls_was_let_in_and_has_not_left(self) -> None:
        for token, person in self.tokens.items():
            assert self.zone.may_call(token) == (person in self.inside)
        assert not any(self.zone.may_call(token) for token in self.old)
        for caller in self.zone.authentication:
            if caller.name in self.inside:
                assert caller.duties == self.inside[caller.name]
        known = {caller.name for caller in self.zone.authentication if caller.organisation == "provider"}
        assert known == {"provider", *self.inside}


Invitations.TestCase.settings = settings(max_examples=10, stateful_step_count=15, deadline=None)
TestInvitations = Invitations.TestCase
