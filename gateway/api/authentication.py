"""Who is calling: bearer credentials of people, certificates of nodes."""

from __future__ import annotations

from gateway.api.errors import Context
from gateway.governance.callers import Caller, authenticate


class Authentication:
    """Looks callers up."""

    def __init__(self, callers: list[Caller]) -> None:
        self._callers = callers

    def caller(self, context: Context) -> Caller:
        """The account that calls; raises Problem."""
        metadata = dict(context.invocation_metadata() or ())
        header = metadata.get("authorization")
        return authenticate(self._callers, header if isinstance(header, str) else None)


def node_name(context: Context) -> str:
    """The common name in the client certificate, which the zone's CA signed."""
    (name,) = context.auth_context()["x509_common_name"]
    return str(name, "utf-8")
