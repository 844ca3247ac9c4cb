"""Ways to sign in. Each ends with a new session of the gateway's, whose credential is made here and goes into a cookie.

So no session is ever one that somebody else chose, whatever cookie was there before: that one is revoked, if it was a
session of the console. The credential of a profile's token, of a link, or nobody's lets a session be opened and is
forgotten. What signs, a token's key or one that was made in the browser, is never sent (`static/sign.js`).
"""

from __future__ import annotations

import secrets
import time

from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api.credentials import bearer_hash
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import AcceptInvitationRequest, CreateTokenRequest, Me, Person, SignedCertificate
from yingbi.api.v1.sign_in_pb2 import FinishSignInRequest, OpenSessionRequest
from yingbi.transport import Gateway

SESSION_SECONDS = 8 * 3600
LABEL = "console"
_OWN = "console-"
NOBODY = "nobody"
"""The credential of calls that need none."""


def new_credential() -> str:
    """Of a session: 256 random bits, after what tells it from the credential of a token."""
    return _OWN + secrets.token_urlsafe(32)


def is_own(credential: str) -> bool:
    """Whether it is of a session that a console opened. Signing out of another would revoke a profile's token."""
    return credential.startswith(_OWN)


def by_token(gateway: Gateway, credential: str) -> None:
    """Open a session that may do what the token may with which `gateway` calls, and ends with it; raises Problem."""
    me = gateway.who_am_i()
    ends = int(time.time()) + SESSION_SECONDS
    if me.HasField("expires"):
        ends = min(ends, me.expires.seconds)
    request = CreateTokenRequest(
        bearer_hash=bearer_hash(credential), label=LABEL, scopes=me.scopes, expires=Timestamp(seconds=ends)
    )
    gateway.create_token(request)


def by_link(gateway: Gateway, credential: str) -> Person:
    """Open a session for the token of a link, with which `gateway` calls, and which is used up; raises Problem."""
    return gateway.open_session(OpenSessionRequest(bearer_hash=bearer_hash(credential), label=LABEL)).person


def by_proof(gateway: Gateway, credential: str, sign_in: str, *, passkey: str = "", code: str = "") -> Person:
    """Open a session for a passkey's answer, or a code, to a challenge; raises Problem."""
    request = FinishSignInRequest(sign_in=sign_in, bearer_hash=bearer_hash(credential), label=LABEL)
    if passkey:
        request.passkey = passkey
    else:
        request.code = code
    return gateway.finish_sign_in(request).person


def by_invitation(gateway: Gateway, credential: str, certificate: SignedCertificate) -> Person:
    """Join, with a first session. Who joined before calls with a session of their own; raises Problem."""
    request = AcceptInvitationRequest(
        certificate=certificate, bearer_hash=bearer_hash(credential), label=LABEL, session=True
    )
    return gateway.accept_invitation(request)


def who_is(gateway: Gateway) -> Me:
    """Who is signed in; nobody in particular at a gateway that does not tell. Raises Problem."""
    try:
        return gateway.who_am_i()
    except Problem as problem:
        if problem.code == "unimplemented":
            return Me()
        raise


def is_signed_out(problem: Problem) -> bool:
    """Whether a call failed since its credential is no longer known: sign in again."""
    return problem.kind is Kind.NOT_AUTHENTICATED
