"""How a person shows a console who they are: rules about ceremonies, attempts and codes. Only memory, no I/O.

A ceremony is a challenge that a gateway gave and one answer to it, within five minutes. Whoever asks is given one,
under any name: that a name is nobody's shows in nothing but that no proof is ever accepted.

Of what can be guessed, which is a code of six digits, five attempts are let through in a quarter of an hour, counted
before they are looked at. That is 480 a day, of which each is right with a chance of three in a million: who guesses
day and night is let in after two years, on average. A passkey cannot be guessed, and is not held up by it. A code is
accepted once: the time step of the last one is kept, and only later ones count.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import deque
from dataclasses import dataclass, field

from yingbi.api.problem import Kind, Problem

CEREMONY_SECONDS = 300
MAX_CEREMONIES = 10_000
ATTEMPTS = 5
ATTEMPT_SECONDS = 900
STEP_SECONDS = 30
LINK_SECONDS = 900
"""A token that is made for this long is a link's: it opens one session and is used up."""


@dataclass(frozen=True)
class Site:
    """Where the console is, as browsers name it: passkeys are made for it, and for nothing else."""

    # "http://localhost:8080".
    origin: str
    rp_id: str = "localhost"


@dataclass(frozen=True)
class Ceremony:
    """What was begun: which challenge (or secret) was given to whom, for what, until when."""

    kind: str
    person: str
    challenge: bytes
    ends: float


@dataclass
class Ceremonies:
    """Those that were begun and not ended. Each ends with its first answer, right or wrong."""

    _begun: dict[str, Ceremony] = field(default_factory=dict)

    def begin(self, kind: str, person: str, challenge: bytes, now: float) -> str:
        """Keep one; its id, which nobody can guess."""
        self._begun = {name: each for name, each in self._begun.items() if now < each.ends}
        while len(self._begun) >= MAX_CEREMONIES:
            self._begun.pop(next(iter(self._begun)))
        made = secrets.token_urlsafe(16)
        self._begun[made] = Ceremony(kind, person, challenge, now + CEREMONY_SECONDS)
        return made

    def end(self, name: str, kind: str, now: float) -> Ceremony:
        """The ceremony, which cannot be answered again; raises Problem NOT_AUTHENTICATED "sign_in_failed"."""
        found = self._begun.pop(name, None)
        if found is None or found.kind != kind or now >= found.ends:
            raise failed()
        return found


@dataclass
class Attempts:
    """When codes were tried, by person."""

    _tried: dict[str, deque[float]] = field(default_factory=dict)

    def begin(self, person: str, now: float) -> None:
        """Count an attempt; raises Problem NOT_AUTHENTICATED "too_many_attempts" where there were too many."""
        if len(self._tried) > MAX_CEREMONIES:
            self._tried = {name: times for name, times in self._tried.items() if now < times[-1] + ATTEMPT_SECONDS}
        times = self._tried.setdefault(person, deque(maxlen=ATTEMPTS))
        if len(times) == ATTEMPTS and now < times[0] + ATTEMPT_SECONDS:
            raise Problem(
                Kind.NOT_AUTHENTICATED,
                "too_many_attempts",
                f"There were {ATTEMPTS} attempts with a code; wait a quarter of an hour.",
                hint="a passkey works meanwhile",
            )
        times.append(now)

    def succeeded(self, person: str) -> None:
        """Those before do not count any more."""
        self._tried.pop(person, None)


def new_step(secret: str, code: str, last: int, now: float) -> int:
    """The time step of a code that is right and new; raises Problem NOT_AUTHENTICATED "sign_in_failed".

    Those of a step before and after the present one are right too (RFC 6238, section 5.2).
    """
    import pyotp

    present = int(now // STEP_SECONDS)
    codes = pyotp.TOTP(secret)
    right = (
        [
            step
            for step in (present - 1, present, present + 1)
            if step > last and hmac.compare_digest(codes.generate_otp(step), code)
        ]
        if re.fullmatch(r"[0-9]{6}", code, re.ASCII)
        else []
    )
    if not right:
        raise failed()
    return max(right)


def stand_in(key: bytes, person: str) -> bytes:
    """The id of a passkey that nobody has, for a name without one. Asked twice it is the same, as a real one is."""
    return hmac.digest(key, person.encode(), hashlib.sha256)


def check_link(made: float, ends: float | None, limited: bool) -> None:
    """Raise Problem unless a token that was made at `made` and ends at `ends` was made as a link."""
    if limited or ends is None or ends > made + LINK_SECONDS:
        raise Problem(
            Kind.NOT_ALLOWED,
            "no_link",
            "Only a link opens a session; this is another token.",
            hint="`yingbi token link`",
        )


def failed() -> Problem:
    """One answer to everything that is wrong."""
    return Problem(
        Kind.NOT_AUTHENTICATED,
        "sign_in_failed",
        "You could not be signed in.",
        hint="try again from the beginning; an administrator of your organisation can invite you anew",
    )
