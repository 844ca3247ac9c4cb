"""What a holder of an escrow does; the rest is the zone's (`yingbi.commands` plugins)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from yingbi.cli.session import session_of, trust_of

Target = Annotated[Path, typer.Option("--to", metavar="FILE", help="The file to write.", show_default=False)]


def register(app: typer.Typer, escrow: typer.Typer) -> None:
    """Add the commands."""
    escrow.command("key")(key)
    escrow.command("release")(release)
    app.add_typer(escrow, name="escrow")


def key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.", show_default=False)],
    target: Target,
) -> None:
    """Make a holder's key pair: FILE, which the holder keeps, and FILE.pub."""
    from yingbi.escrow import HolderKey

    public = HolderKey.new(name).save(target)
    session = session_of(context)
    session.terminal.show({"key": str(target), "public": str(public)}, f"Keep {target}; give {public} to the operator.")


def release(
    context: typer.Context,
    share: Annotated[Path, typer.Argument(metavar="SHARE", help="Your share.", show_default=False)],
    request: Annotated[Path, typer.Argument(metavar="REQUEST", help="Of the node that asks.", show_default=False)],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Your key.", show_default=False)],
    target: Target,
    measurement: Annotated[str | None, typer.Option(metavar="HEX", help="The enclaves' reference value.")] = None,
) -> None:
    """Encrypt your share to the enclave that asks for it, once its evidence verifies."""
    from yingbi.api import escrow_files as files
    from yingbi.escrow import HolderKey, release

    session = session_of(context)
    trust = trust_of(session.common)
    trust = replace(trust, measurement=measurement or trust.measurement)
    released = release(files.load_share(share), HolderKey.load(key), files.load_request(request), trust)
    files.save_share(released, target)
    node = released.terms.node
    session.terminal.show(
        {"released": str(target), "node": node}, f"{target} is for {node}'s enclave alone; give it to its operator."
    )
