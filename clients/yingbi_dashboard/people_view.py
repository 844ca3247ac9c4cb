"""What /people shows, made of the gateway's answers. Pure: no call is made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yingbi.api.problem import Problem
from yingbi.api.v1.people_pb2 import (
    PERSON_STATE_ACTIVE,
    PERSON_STATE_INVITED,
    PERSON_STATE_LEFT,
    Me,
    Organisation,
    Person,
    Policy,
    PolicyRow,
    Token,
)
from yingbi.api.v1.sign_in_pb2 import SignInMethod

ADMINISTRATOR, ADMINISTER = "administrator", "administer"
ROLE_NAMES = {
    "coordinator": "role.coordinator",
    "supervisor": "role.supervisor",
    "provider": "role.provider",
    "operator": "role.operator",
    "developer": "role.developer",
    "auditor": "role.auditor",
}
DUTY_NAMES = {
    "administrator": "duty.administrator",
    "coordinator": "duty.coordinator",
    "assessor": "duty.assessor",
    "approver": "duty.approver",
    "signatory": "duty.signatory",
    "operator": "duty.operator",
    "analyst": "duty.analyst",
    "auditor": "duty.auditor",
}
STATE_NAMES = {
    PERSON_STATE_INVITED: "people.invited",
    PERSON_STATE_ACTIVE: "people.active",
    PERSON_STATE_LEFT: "people.left",
}
METHOD_NAMES = {"passkey": "people.passkey", "totp": "people.codes"}
# Of the table: what everybody may who has any duty at all.
_EVERYBODY = "look"


@dataclass(frozen=True)
class Rule:
    """Who may do one thing: everybody; or one duty in every organisation; or pairs of a kind and a duty."""

    action: str
    meaning: str
    everybody: bool
    duty: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class View:
    """Everything on the page. A problem stands where its part could not be seen."""

    me: Me
    people: Sequence[Person]
    organisations: Sequence[Organisation]
    rules: Sequence[Rule]
    policy: Policy
    tokens: Sequence[Token]
    methods: Sequence[SignInMethod]
    methods_problem: Problem | None
    duties: Sequence[str]

    @property
    def administers(self) -> bool:
        """Whether the reader invites and removes people, as the gateway's table says it."""
        scopes = self.me.scopes
        return ADMINISTRATOR in self.me.person.duties and (not scopes or ADMINISTER in scopes)

    @property
    def command(self) -> str:
        """What invites somebody from the command line."""
        # Who was invited has a key of their own, which is not the organisation's.
        key = " --key-of PROFILE" if self.me.person.HasField("certificate") else ""
        return f"yingbi person invite NAME --duty {self.duties[0]} --as {self.me.person.person}{key}"

    def removable(self, person: Person) -> bool:
        """Whether the reader could remove this person."""
        own = person.organisation == self.me.organisation.organisation
        return self.administers and own and person.state != PERSON_STATE_LEFT


def counting(tokens: Sequence[Token], now: float) -> list[Token]:
    """Those that can still be used, the newest first."""
    found = [
        each for each in tokens if not each.revoked and (not each.HasField("expires") or now < each.expires.seconds)
    ]
    return found[::-1]


def rules_of(policy: Policy) -> list[Rule]:
    """The table of who may do what, in as few words as tell all of it."""
    return [_rule(row) for row in policy.rows]


def duties_of(policy: Policy, kind: str) -> list[str]:
    """The duties that somebody of such an organisation can have: those for which there is anything to do."""
    pairs = (_pair(each) for row in policy.rows if row.action != _EVERYBODY for each in row.who)
    return sorted({duty for role, duty in pairs if role == kind})


def _rule(row: PolicyRow) -> Rule:
    pairs = tuple(map(_pair, row.who))
    kinds, duties = {kind for kind, _ in pairs}, {duty for _, duty in pairs}
    everywhere = set(ROLE_NAMES) <= kinds and len(duties) == 1
    return Rule(row.action, row.meaning, row.action == _EVERYBODY, min(duties) if everywhere else "", pairs)


def _pair(text: str) -> tuple[str, str]:
    kind, _, duty = text.partition("/")
    return kind, duty
