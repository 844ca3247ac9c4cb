"""Appraising evidence (RFC 9334: what a verifier makes of it): each claim by itself, and the worst of them for all.

The tiers are those of the AR4SI trustworthiness vector. Nothing that is good of one claim makes up for another:
whoever allows simulation does not thereby allow unknown code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import IntEnum

from yingbi.api.configuration import MEASURES
from yingbi.api.eat import Claims
from yingbi.api.evidence_error import DOWNGRADED, MEASUREMENT, POLICY, REPLAYED, SIMULATED, STALE, EvidenceError
from yingbi.api.suites import ACCEPTED

# Clocks of a zone's machines differ by no more than this, in seconds.
SKEW = 300


class Tier(IntEnum):
    """How far to trust; a larger number is worse."""

    AFFIRMING = 2
    WARNING = 32
    CONTRAINDICATED = 96


@dataclass(frozen=True)
class Reference:
    """What a verifier holds evidence against.

    None for what it has no value of: an unknown measurement is contraindicated, an unknown policy a warning. Without
    `nonce` and `now`, in seconds since 1970, freshness is not judged: that is for evidence of the past alone. `suites`
    are the names of the cipher suites that may be sealed to; another one is a downgrade.
    """

    measurement: bytes | None
    policy: bytes | None = None
    nonce: bytes | None = None
    now: int | None = None
    allow_simulation: bool = False
    suites: frozenset[str] = ACCEPTED


@dataclass(frozen=True)
class Finding:
    """What was made of one claim. `code` says why it is contraindicated; else it is empty."""

    claim: str
    tier: Tier
    sentence: str
    code: str = ""


@dataclass(frozen=True)
class Appraisal:
    """What was made of one enclave's evidence."""

    claims: Claims
    findings: tuple[Finding, ...]

    @property
    def tier(self) -> Tier:
        return max(finding.tier for finding in self.findings)

    def require(self, unjudged: Collection[str] = ()) -> None:
        """Raise EvidenceError for the first claim that is contraindicated and not among `unjudged`."""
        for finding in self.findings:
            if finding.tier is Tier.CONTRAINDICATED and finding.claim not in unjudged:
                raise EvidenceError(f"{self.claims.node}: {finding.sentence}", finding.code)


def appraise(claims: Claims, reference: Reference) -> Appraisal:
    """Judge every claim of evidence whose signature was verified."""
    return Appraisal(claims, tuple(judge(claims, reference) for judge in _JUDGES))


def _nonce(claims: Claims, reference: Reference) -> Finding:
    if reference.nonce is None:
        return Finding("nonce", Tier.WARNING, "nobody asked for it anew")
    if claims.nonce != reference.nonce:
        return _against("nonce", REPLAYED, "it answers another nonce: it was made for somebody or something else")
    return Finding("nonce", Tier.AFFIRMING, "it answers the nonce that was asked with")


def _time(claims: Claims, reference: Reference) -> Finding:
    if reference.now is None:
        return Finding("time", Tier.WARNING, "its time was not looked at")
    if reference.now < claims.issued - SKEW:
        return _against("time", STALE, "it was made in the future; is a clock wrong?")
    if reference.now > claims.expires + SKEW:
        return _against("time", STALE, f"it expired {reference.now - claims.expires} seconds ago")
    return Finding("time", Tier.AFFIRMING, f"made {max(0, reference.now - claims.issued)} seconds ago")


def _measurement(claims: Claims, reference: Reference) -> Finding:
    shown = f"{claims.measurement.hex()[:16]}…"
    if reference.measurement is None:
        return _against(
            "measurement", MEASUREMENT, f"it runs code that measures {shown}, and no reference value is known"
        )
    if claims.measurement != reference.measurement:
        wanted = f"{reference.measurement.hex()[:16]}…"
        return _against("measurement", MEASUREMENT, f"it runs code that measures {shown}, not the reference {wanted}")
    return Finding("measurement", Tier.AFFIRMING, f"{shown}, equal to the reference value")


def _policy(claims: Claims, reference: Reference) -> Finding:
    shown = f"{claims.policy.hex()[:16]}…" if claims.policy else "none"
    if reference.policy is None:
        return Finding("policy", Tier.WARNING, f"{shown}, not compared with a reference value")
    if claims.policy != reference.policy:
        return _against("policy", POLICY, f"it accepts the signatures of another policy than the reference: {shown}")
    return Finding("policy", Tier.AFFIRMING, f"{shown}, equal to the reference value")


def _suite(claims: Claims, reference: Reference) -> Finding:
    if claims.suite not in reference.suites:
        return _against("suite", DOWNGRADED, f"its cipher suite {claims.suite!r} is none of those that are asked for")
    return Finding("suite", Tier.AFFIRMING, claims.suite)


def _hardware(claims: Claims, reference: Reference) -> Finding:
    if not claims.simulated:
        if claims.unchecked:
            said = f"vouched for by hardware; not checked: {claims.unchecked}"
            return Finding("hardware", Tier.WARNING, said)
        return Finding("hardware", Tier.AFFIRMING, "vouched for by hardware")
    if not reference.allow_simulation:
        return _against("hardware", SIMULATED, "it is simulated, which proves nothing about hardware")
    return Finding("hardware", Tier.WARNING, "simulated, as was allowed: proves nothing about hardware")


def _configuration(claims: Claims, reference: Reference) -> Finding:
    """What the machine does not give is a warning: it makes attacks by others on it easier, and proves none."""
    missing = [measure for measure in MEASURES if measure not in claims.configuration]
    if missing:
        return Finding("configuration", Tier.WARNING, f"its process is without: {', '.join(missing)}")
    return Finding("configuration", Tier.AFFIRMING, "its process has no right that it does not need")


_JUDGES: tuple[Callable[[Claims, Reference], Finding], ...] = (
    _nonce,
    _time,
    _measurement,
    _policy,
    _suite,
    _configuration,
    _hardware,
)


def _against(claim: str, code: str, sentence: str) -> Finding:
    return Finding(claim, Tier.CONTRAINDICATED, sentence, code)
