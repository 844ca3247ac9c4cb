"""Who is calling: bearer credentials of people, certificates of nodes.

Keeps: ROL-03
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from yingbi.api.credentials import bearer_hash
from yingbi.api.problem import Kind, Problem

from gateway.api.errors import Context
from gateway.governance.callers import Caller
from gateway.governance.policy import Action, check
from gateway.storage import people
from gateway.storage.database import Database
from gateway.storage.people import HOUR, Account, Said

Result = TypeVar("Result")


class Authentication:
    """Looks callers up among the accounts that the database had when it last changed.

    One process writes the database, and gives the accounts anew with every change before it answers: so who is removed
    is unknown from then on.
    """

    def __init__(
        self,
        accounts: Iterable[Account],
        *,
        used: Callable[[str, float], None] = lambda token_id, hour: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`used` is told the id of a token and the hour (seconds since 1970), when it is used first in that hour."""
        self._used = used
        self._clock = clock
        self._hours: dict[str, float] = {}
        self.replace(accounts)

    def __iter__(self) -> Iterator[Caller]:
        """Everybody who can call, once."""
        return iter({account.caller.name: account.caller for account in self._accounts.values()}.values())

    def replace(self, accounts: Iterable[Account]) -> None:
        """From now on these are all."""
        self._accounts = {account.caller.bearer_hash: account for account in accounts}

    async def change(self, database: Database, said: Said, step: Callable[..., Result], *arguments: Any) -> Result:
        """Change who is filed, in one transaction, after which nobody calls who may not any more. Raises Problem.

        Once begun it is seen to its end, even if who asked for it goes away.
        """

        return await asyncio.shield(self._changing(database, people.change, said, step, *arguments))

    async def authorise(
        self, database: Database, actor: Caller, step: Callable[..., Result], *arguments: Any
    ) -> Result:
        """The same for who may operate the zone, by a step of `actor` that writes its own row of the record."""
        return await asyncio.shield(self._changing(database, people.authorised, actor, step, *arguments))

    async def _changing(self, database: Database, *change: Any) -> Any:
        result, accounts = await database.run(*change)
        self.replace(accounts)
        return result

    def caller(self, context: Context) -> Caller:
        """Who calls, and may look at anything at all; raises Problem."""
        caller = self.account(context).caller
        check(caller, Action.LOOK)
        return caller

    def account(self, context: Context) -> Account:
        """The account that calls, whatever it may do; raises Problem."""
        return self.find(authorization(context))

    def find(self, authorization: str | None) -> Account:
        """The account whose credential the `authorization` header carries, as it is now; raises Problem.

        Whether its organisation may operate the zone is judged here, at each call: by what is filed, and by the clock.
        By the credential's hash, so that how long it takes tells nothing of any other.
        """
        scheme, _, credential = (authorization or "").partition(" ")
        known = scheme.lower() == "bearer" and credential
        found = self._accounts.get(bearer_hash(credential)) if known else None
        if found is None:
            raise _not_authenticated("The token is not known to this zone.")
        now, last = self._clock(), found.last
        if last is not None and now >= last:
            raise _not_authenticated(f"The {'token' if last == found.ends else 'certificate of its person'} has ended.")
        self._note(found.token_id, now // HOUR * HOUR)
        return found.at(now)

    def _note(self, token_id: str, hour: float) -> None:
        if self._hours.get(token_id) != hour:
            self._hours[token_id] = hour
            self._used(token_id, hour)


def authorization(context: Context) -> str | None:
    """The one `authorization` header of a call; None where there is none.

    Of two, whoever stands between could have looked at the other: then none counts.
    """
    found = [value for name, value in context.invocation_metadata() or () if name == "authorization"]
    return found[0] if len(found) == 1 and isinstance(found[0], str) else None


def node_name(context: Context) -> str:
    """The common name in the client certificate, which the zone's CA signed."""
    (name,) = context.auth_context()["x509_common_name"]
    return str(name, "utf-8")


def _not_authenticated(message: str) -> Problem:
    hint = "use the profile that `yingbi init` or `yingbi person join` wrote, or --token"
    return Problem(Kind.NOT_AUTHENTICATED, "not_authenticated", message, hint=hint)
