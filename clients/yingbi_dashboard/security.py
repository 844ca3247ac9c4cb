"""What every answer of the console carries, and which requests it takes. Pure, but for the random nonce.

- A script runs only if the page that the server made names it (a nonce), and no script can make HTML of text that
  did not pass the one policy in `static/trusted.js` (Trusted Types). So text of others, were it ever not escaped,
  is not run.
- No page is shown within another one's, so that nobody's click is meant for something else.
- A request that changes something comes from a page of this very origin, by what the browser says of it
  (Sec-Fetch-Site, Origin), and the session's cookie is sent to no other (SameSite=Strict).
- Only requests for `localhost` or the address itself are answered: a foreign name that was pointed here is not.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from yingbi.api.problem import Kind, Problem

SESSION = "__Host-yingbi-session"
"""The cookie with the session's credential. Browsers take the prefix only with Secure, Path=/ and no Domain."""
# A bearer credential: 32 bytes in URL-safe base64. Nothing else is put into a header.
_CREDENTIAL = re.compile(r"[A-Za-z0-9_-]{20,200}")
# A path of this origin: after its first slash comes a letter, and nothing in it ends the path or escapes.
_PAGE = re.compile(r"(?:/[a-z][a-z-]*)(?:/[A-Za-z0-9_-]+)*", re.ASCII)
_HOME = "/"
_SIGN_IN = "/sign-in"
LOCAL_HOSTS = ("localhost", "127.0.0.1")


def nonce() -> str:
    """Of one answer: 128 random bits."""
    return secrets.token_urlsafe(16)


def headers(script_nonce: str) -> dict[str, str]:
    """The headers of every page."""
    policy = {
        "default-src": "'none'",
        "script-src": f"'nonce-{script_nonce}'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "yingbi",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        # Without any referrer, forms would be sent with the origin "null", which is refused.
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


def check_host(headers: Mapping[str, str]) -> None:
    """Raise Problem unless the request is for this machine by its own name."""
    host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
    if host not in LOCAL_HOSTS:
        raise Problem(Kind.NOT_ALLOWED, "other_host", "The console answers at http://localhost only.")


def check_same_origin(headers: Mapping[str, str]) -> None:
    """Raise Problem unless the browser says that a page of this origin sent the request."""
    own = f"http://{headers.get('host', '')}"
    if headers.get("sec-fetch-site") != "same-origin" or headers.get("origin") != own:
        raise Problem(
            Kind.NOT_ALLOWED,
            "cross_site",
            "The request does not come from a page of this console.",
            hint="open the console by its own address, in a browser of today",
        )


def checked_credential(text: str) -> str:
    """A bearer credential as it may be sent; raises Problem."""
    if not _CREDENTIAL.fullmatch(text):
        raise Problem(Kind.NOT_AUTHENTICATED, "not_authenticated", "Nobody is signed in.")
    return text


def local_page(path: str) -> str:
    """A page of the console to go back to: `path`, or the inbox where it is none."""
    if path.startswith(_SIGN_IN + "?next="):
        return sign_in_for(path.partition("=")[2])
    return path if _PAGE.fullmatch(path) else _HOME


def next_page(path: str) -> str:
    """Where to go when signed in: `path`, or the inbox where that is no page of the console, or one for signing in."""
    found = local_page(path)
    return _HOME if found.startswith((_SIGN_IN, "/join", "/sign-out")) else found


def sign_in_for(path: str) -> str:
    """The page to sign in at, which goes on to `path`."""
    following = next_page(path)
    return _SIGN_IN if following == _HOME else f"{_SIGN_IN}?next={following}"
