"""The commands about standing approvals: see `yingbi.standing`. They are given by `approve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from yingbi.cli.session import session_of

if TYPE_CHECKING:
    from yingbi.standing import Standing


def register(app: typer.Typer, approvals: typer.Typer) -> None:
    """Add the group."""
    approvals.command("list")(list_)
    approvals.command("revoke")(revoke)
    app.add_typer(approvals, name="approvals")


def list_(
    context: typer.Context,
    over: Annotated[bool, typer.Option("--all", help="Those too that are over, used up or revoked.")] = False,
) -> None:
    """List standing approvals, as whoever gave them or asks under them."""
    session = session_of(context)
    with session.zone("provider") as zone:
        found = zone.standing_approvals(over=over)
    text = "\n".join(map(_described, found)) or "no standing approvals"
    session.terminal.show({"approvals": [each.to_json() for each in found]}, text)


def revoke(
    context: typer.Context,
    standing: Annotated[str, typer.Argument(metavar="ID", help="As `approvals list` shows it.", show_default=False)],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is recorded.")] = "",
) -> None:
    """Revoke a standing approval of your organisation: no further job is admitted under it."""
    session = session_of(context)
    with session.zone("provider") as zone:
        revoked = zone.standing_approval(standing).revoke(reason)
    session.terminal.show(revoked.to_json(), _described(revoked))


def _described(found: Standing) -> str:
    terms = found.message.terms
    return (
        f"{found.id}: {found.state}, {found.message.jobs} of {terms.max_jobs} jobs on {terms.dataset} under"
        f" {terms.agreement}, until {found.expires:%Y-%m-%d %H:%M} UTC; given by {found.message.person} of"
        f" {terms.organisation} with {found.message.job}"
    )
