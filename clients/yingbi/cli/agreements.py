"""The commands about agreements. Each reads its arguments, asks the SDK and shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yingbi.cli import agreement_steps
from yingbi.cli.agreement_steps import AgreementId
from yingbi.cli.session import session_of


def register(app: typer.Typer, agreement: typer.Typer) -> None:
    """Add all commands, in the order of the help."""
    agreement.command("add")(add)
    agreement_steps.register(agreement)
    agreement.command("list")(list_all)
    agreement.command("show")(show)
    app.add_typer(agreement, name="agreement")


def add(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The agreement, in YAML or JSON.", show_default=False)],
) -> None:
    """Register an agreement at once, as the operator of a zone made with --auto-approve."""
    session = session_of(context)
    with session.zone("operator") as zone:
        added = zone.add_agreement(file)
    about = f"{added.organisation} about {added.dataset}"
    session.terminal.show(added.to_json(), f"{added.id} is registered: {about}, {added.state.value}.")


def list_all(context: typer.Context) -> None:
    """List your organisation's agreements."""
    session = session_of(context)
    with session.zone() as zone:
        found = zone.agreements()
    from yingbi.cli import render

    session.terminal.show({"agreements": [each.to_json() for each in found]}, render.agreements(found))


def show(context: typer.Context, name: AgreementId) -> None:
    """Show an agreement's terms, and what is spent under it."""
    session = session_of(context)
    with session.zone() as zone:
        found = zone.agreement(name)
    from yingbi.cli import render

    session.terminal.show(found.to_json(), render.agreement(found))
