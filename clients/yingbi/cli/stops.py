"""The commands that stop things, and show what nodes signed of it. Each asks the SDK and shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from yingbi.cli.session import Session, session_of

if TYPE_CHECKING:
    from yingbi.api.v1.stop_pb2 import StopPreview
    from yingbi.profile import Role
    from yingbi.stops import Scope, Stopped

Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="What those whom it hits will read.")]
Yes = Annotated[bool, typer.Option("--yes", help="Ask nothing.")]


def register(app: typer.Typer, stop: typer.Typer, lift: typer.Typer) -> None:
    """Add all commands, in the order of the help."""
    stop.command("job")(stop_job)
    stop.command("agreement")(stop_agreement)
    stop.command("dataset")(stop_dataset)
    stop.command("organisation")(stop_organisation)
    lift.command("dataset")(lift_dataset)
    app.add_typer(stop, name="stop")
    app.add_typer(lift, name="lift")
    app.command("stops")(stops)


def stop_job(context: typer.Context, name: Name, reason: Reason, yes: Yes = False) -> None:
    """Stop a job of anybody's, as the operator."""
    _stop(context, "job", name, reason, "operator", yes=yes)


def stop_agreement(context: typer.Context, name: Name, reason: Reason, yes: Yes = False) -> None:
    """Stop everything under an agreement for good, as the supervisor."""
    _stop(context, "agreement", name, reason, "supervisor", yes=yes)


def stop_dataset(context: typer.Context, name: Name, reason: Reason, yes: Yes = False) -> None:
    """Cut a dataset off, as its provider, until `yingbi lift dataset`."""
    _stop(context, "dataset", name, reason, "provider", yes=yes)


def stop_organisation(context: typer.Context, name: Name, reason: Reason, yes: Yes = False) -> None:
    """Stop everything that a developers' organisation asked for, for good, as the coordinator."""
    _stop(context, "organisation", name, reason, "coordinator", yes=yes)


def lift_dataset(
    context: typer.Context,
    name: Name,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it can be used again.")] = "",
) -> None:
    """Let a dataset be used again, as the provider that cut it off."""
    session = session_of(context)
    with session.zone("provider") as zone:
        lifted = zone.lift(name, reason)
    _show_all(session, lifted)


def stops(
    context: typer.Context,
    subject: Annotated[str, typer.Option(metavar="NAME", help="Only of this job, agreement, dataset.")] = "",
) -> None:
    """List stops, with what each node signed, as the operator."""
    session = session_of(context)
    with session.zone("operator") as zone:
        found = zone.stops(subject)
    _show_all(session, found)


def _stop(context: typer.Context, scope: Scope, name: str, reason: str, role: Role, *, yes: bool) -> None:
    """Say what the stop hits, have it confirmed, and stop."""
    session = session_of(context)
    with session.zone(role) as zone:
        hit = zone.preview_stop(scope, name)
        say_hit(session, hit)
        if not yes:
            what = f"{scope} {name}"
            session.terminal.confirm(f"Stop the {what}?", to_do=f"stop the {what}", otherwise=f"The {what} goes on.")
        stopped = zone.stop(scope, name, reason, organisation_key=hit.organisation_key)
    session.terminal.show(stopped.to_json(), str(stopped))


def say_hit(session: Session, hit: StopPreview) -> None:
    """What a stop would end, before anybody confirms it."""
    session.terminal.say(f"Jobs that this ends: {', '.join(hit.jobs) or 'none is under way'}.")
    if hit.deployments:
        session.terminal.say(f"Deployed models that answer nobody then: {', '.join(hit.deployments)}.")


def _show_all(session: Session, found: list[Stopped]) -> None:
    text = "\n".join(map(str, found)) or "nothing was stopped"
    session.terminal.show({"stops": [each.to_json() for each in found]}, text)
