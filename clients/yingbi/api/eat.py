"""What evidence says, as an Entity Attestation Token (RFC 9711): claims to and from CBOR.

An enclave makes a *statement*: its public keys, the policy that it follows, its cipher suite, a nonce. Its platform
adds what it knows by itself – which platform, which code, when – and binds the statement by 64 bytes of *report data*,
which is all that hardware takes. docs/enclave.md has the table of claims.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from yingbi.api import cose, suites
from yingbi.api.configuration import LONGEST_FACT, MOST_FACTS
from yingbi.api.evidence_error import DOWNGRADED, MALFORMED, REPORT_DATA, EvidenceError

# A URI, as RFC 9711 asks for. Its number is the version: it is in the report data, so that no older one can be claimed.
PROFILE: Final = "yingbi:evidence:3"
MIN_NONCE, MAX_NONCE = 8, 64
REPORT_BYTES: Final = 64
# The latest second that a claim may name: of the year 9999.
_LAST_SECOND = 253_402_300_799

# Registered claims (CWT, RFC 8392; EAT, RFC 9711), and ours, in the range for private use.
_SUBJECT, _EXPIRES, _ISSUED, _NONCE, _PROFILE = 2, 4, 6, 10, 265
_MEASUREMENT, _SIMULATED, _SIGNING_KEY, _ENCRYPTION_KEY, _POLICY, _SUITE, _REPORT_DATA = range(-70001, -70008, -1)
_CONFIGURATION = -70008


@dataclass(frozen=True)
class Statement:
    """What an enclave says of itself.

    `nonce` has 8 to 64 bytes; the keys are those of the suite (`yingbi.api.suites`), which is named; `policy` is the
    digest of the policy, 32 bytes, or empty for an enclave that takes no requests; `configuration` is what holds of its
    process, sorted, each once (`yingbi.api.configuration`).
    """

    nonce: bytes
    signing_key: bytes
    encryption_key: bytes
    policy: bytes
    suite: str = suites.DEFAULT.name
    configuration: tuple[str, ...] = ()

    def report_data(self) -> bytes:
        """SHA-512 over the CBOR map of all this and the version."""
        return hashlib.sha512(cose.encode(self.claims() | {_PROFILE: PROFILE})).digest()

    def claims(self) -> dict[int, Any]:
        """As they stand in a token."""
        return {
            _NONCE: self.nonce,
            _SIGNING_KEY: self.signing_key,
            _ENCRYPTION_KEY: self.encryption_key,
            _POLICY: self.policy,
            _SUITE: self.suite,
            _CONFIGURATION: list(self.configuration),
        }


@dataclass(frozen=True)
class Claims:
    """What verified evidence says. Times are whole seconds since 1970; `expires` is not before `issued`."""

    node: str
    measurement: bytes
    simulated: bool
    issued: int
    expires: int
    statement: Statement
    # What a verifier of this format leaves unchecked, for the end of a sentence.
    unchecked: str = ""

    @property
    def nonce(self) -> bytes:
        return self.statement.nonce

    @property
    def signing_key(self) -> bytes:
        return self.statement.signing_key

    @property
    def encryption_key(self) -> bytes:
        return self.statement.encryption_key

    @property
    def policy(self) -> bytes:
        return self.statement.policy

    @property
    def suite(self) -> str:
        return self.statement.suite

    @property
    def configuration(self) -> tuple[str, ...]:
        return self.statement.configuration


def encode(claims: Claims) -> bytes:
    """The payload of a token."""
    return cose.encode(
        {
            _SUBJECT: claims.node,
            _EXPIRES: claims.expires,
            _ISSUED: claims.issued,
            _PROFILE: PROFILE,
            _MEASUREMENT: claims.measurement,
            _SIMULATED: claims.simulated,
            _REPORT_DATA: claims.statement.report_data(),
            **claims.statement.claims(),
        }
    )


def decode(payload: bytes) -> Claims:
    """The claims of a payload, each of its type and range, none missing and none more; raises EvidenceError."""
    said = cose.decode(payload)
    if not isinstance(said, dict):
        raise EvidenceError("it holds no claims", MALFORMED)
    if said.get(_PROFILE) != PROFILE:
        raise EvidenceError(f"its profile is {said.get(_PROFILE)!r}, and not {PROFILE!r}", DOWNGRADED)
    if set(said) != _ALL:
        raise EvidenceError("it has not the claims of its profile", MALFORMED)
    statement = _statement(said)
    claims = Claims(
        node=_typed(said, _SUBJECT, str),
        measurement=_typed(said, _MEASUREMENT, bytes),
        simulated=_typed(said, _SIMULATED, bool),
        issued=_typed(said, _ISSUED, int),
        expires=_typed(said, _EXPIRES, int),
        statement=statement,
    )
    if not 0 <= claims.issued <= claims.expires <= _LAST_SECOND or not claims.measurement:
        raise EvidenceError("its times or its measurement make no sense", MALFORMED)
    if _typed(said, _REPORT_DATA, bytes) != statement.report_data():
        raise EvidenceError("its report data is not that of what the enclave states", REPORT_DATA)
    return claims


def encode_statement(statement: Statement) -> bytes:
    """For evidence whose format has room for the report data alone."""
    return cose.encode(statement.claims() | {_PROFILE: PROFILE})


def decode_statement(data: bytes) -> Statement:
    """What `encode_statement` wrote; raises EvidenceError. Believe it once its report data is in signed evidence."""
    said = cose.decode(data)
    if not isinstance(said, dict):
        raise EvidenceError("it states nothing", MALFORMED)
    if said.get(_PROFILE) != PROFILE:
        raise EvidenceError(f"its profile is {said.get(_PROFILE)!r}, and not {PROFILE!r}", DOWNGRADED)
    if set(said) != {*_STATED, _PROFILE}:
        raise EvidenceError("it has not the claims of its profile", MALFORMED)
    return _statement(said)


_STATED = frozenset({_NONCE, _SIGNING_KEY, _ENCRYPTION_KEY, _POLICY, _SUITE, _CONFIGURATION})
_ALL = _STATED | {_SUBJECT, _EXPIRES, _ISSUED, _PROFILE, _MEASUREMENT, _SIMULATED, _REPORT_DATA}


def _statement(said: dict[int, Any]) -> Statement:
    statement = Statement(
        nonce=_typed(said, _NONCE, bytes),
        signing_key=_typed(said, _SIGNING_KEY, bytes),
        encryption_key=_typed(said, _ENCRYPTION_KEY, bytes),
        policy=_typed(said, _POLICY, bytes),
        suite=_typed(said, _SUITE, str),
        configuration=_configuration(_typed(said, _CONFIGURATION, list)),
    )
    suite = suites.SUITES.get(statement.suite)
    if suite is None:
        raise EvidenceError(f"its cipher suite {statement.suite!r} is not known here", DOWNGRADED)
    if (
        not MIN_NONCE <= len(statement.nonce) <= MAX_NONCE
        or len(statement.signing_key) != suite.signing_key_bytes
        or len(statement.encryption_key) != suite.encryption_key_bytes
        or len(statement.policy) not in (0, 32)
    ):
        raise EvidenceError("its nonce, a key or its policy has another length than its profile says", MALFORMED)
    return statement


def _configuration(said: list[Any]) -> tuple[str, ...]:
    if len(said) > MOST_FACTS or not all(type(fact) is str and 0 < len(fact) <= LONGEST_FACT for fact in said):
        raise EvidenceError("its configuration is no list of short texts", MALFORMED)
    if said != sorted(set(said)):
        raise EvidenceError("its configuration is not sorted", MALFORMED)
    return tuple(said)


def _typed(said: dict[int, Any], label: int, kind: type) -> Any:
    value = said[label]
    if type(value) is not kind:
        raise EvidenceError(f"its claim {label} is no {kind.__name__}", MALFORMED)
    return value
