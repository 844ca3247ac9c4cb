"""One run of the command line: what was said before the command, where output goes, what Ctrl-C leaves to say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import typer

from yingbi.cli.arguments import Common
from yingbi.cli.terminal import Terminal

if TYPE_CHECKING:
    from yingbi.profile import Role
    from yingbi.trust import Trust
    from yingbi.zone import Zone


@dataclass(frozen=True)
class Session:
    """One run of the command line."""

    common: Common
    terminal: Terminal

    @contextmanager
    def zone(self, role: Role = "developer") -> Iterator[Zone]:
        """The zone, as who was named with `--as`, else with the profile that a command is for."""
        from yingbi.zone import connect

        common = self.common
        with connect(common.zone, token=common.token, ca=common.ca, role=common.profile or role) as zone:
            yield zone


class Interrupted(Exception):
    """Ctrl-C, with what to say about it."""


def session_of(context: typer.Context) -> Session:
    """The session of a command."""
    return cast(Session, context.obj)


def trust_of(common: Common) -> Trust:
    """The CA file that was given, else the profile's; no token is needed to check a receipt."""
    from yingbi import profile
    from yingbi.trust import Trust

    if common.ca is not None:
        return Trust(profile.read_ca(common.ca))
    return profile.locate(common.zone, common.token, role=common.profile or "developer").trust
