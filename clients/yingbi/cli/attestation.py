"""The command that asks a zone's enclaves what they are."""

from __future__ import annotations

from typing import Annotated

import typer

from yingbi.cli.session import session_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(attest)


def attest(
    context: typer.Context,
    node: Annotated[str, typer.Argument(metavar="[NODE]", help="Default: all.", show_default=False)] = "",
    allow_simulation: Annotated[
        bool | None,
        typer.Option("--allow-simulation/--no-simulation", help="Default: as the profile says.", show_default=False),
    ] = None,
    measurement: Annotated[str, typer.Option(metavar="HEX", help="The enclaves' reference value.")] = "",
    suite: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A cipher suite to accept; default: the profile's.", show_default=False),
    ] = None,
) -> None:
    """Ask the enclaves for fresh evidence, and say how far to trust them."""
    session = session_of(context)
    with session.zone() as zone:
        attestation = zone.attest(node, allow_simulation=allow_simulation, measurement=measurement, suites=suite or ())
    lines = []
    for appraisal in attestation.appraisals:
        lines.append(f"{appraisal.claims.node}: {appraisal.tier.name.lower()}")
        lines += [f"  {each.claim:<13} {each.tier.name.lower():<10} {each.sentence}" for each in appraisal.findings]
    session.terminal.show(attestation.to_json(), "\n".join(lines))
