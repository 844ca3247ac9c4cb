"""The steps of an agreement's life, each with the profile of whose move it is, unless `--as` names another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yingbi.cli.session import Session, session_of
from yingbi.cli.stops import say_hit

if TYPE_CHECKING:
    from yingbi.agreements import Agreement
    from yingbi.profile import Role
    from yingbi.stops import Stopped

AgreementId = Annotated[str, typer.Argument(metavar="ID", show_default=False)]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; the others read it.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Without asking; what it hits is shown all the same.")]


def register(agreement: typer.Typer) -> None:
    """Add all steps, in the order of an agreement's life."""
    for step in (draft, apply, assess, consent, sign, refuse, withdraw, suspend, resume, terminate):
        agreement.command(step.__name__)(step)


def draft(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The agreement, in YAML or JSON.", show_default=False)],
) -> None:
    """Draft an agreement, as a signatory of the organisation that would ask."""
    session = session_of(context)
    with session.zone("developer") as zone:
        _show(session, zone.draft_agreement(file))


def apply(context: typer.Context, name: AgreementId) -> None:
    """Apply for a drafted agreement, as a signatory of the organisation that would ask."""
    _step(context, name, "apply", "developer")


def assess(context: typer.Context, name: AgreementId, reason: Reason = "") -> None:
    """Assess an agreement that was applied for and let it go on, as the supervisor."""
    _step(context, name, "assess", "supervisor", reason)


def consent(context: typer.Context, name: AgreementId, reason: Reason = "") -> None:
    """Consent to an assessed agreement, as a signatory of the provider."""
    _step(context, name, "consent", "provider", reason)


def sign(context: typer.Context, name: AgreementId) -> None:
    """Sign an agreement's terms: as both parties whose profiles are here, or as one with --as."""
    session = session_of(context)
    given = session.common.profile is not None or session.common.token is not None
    roles: tuple[Role, ...] = ("developer",) if given else ("developer", "provider")
    found: Agreement | None = None
    for role in roles:
        with session.zone(role) as zone:
            shown = zone.agreement(name)
            party = shown.terms.provider if role == "provider" else shown.terms.organisation
            is_there = not given and party in shown.signed_by
            found = shown if is_there else zone.sign_agreement(name)
    assert found is not None
    _show(session, found)


def refuse(context: typer.Context, name: AgreementId, reason: Reason = "") -> None:
    """Refuse an agreement, as whose move it is: the supervisor, or after the assessment the provider."""
    session = session_of(context)
    with session.zone("supervisor") as zone:
        role: Role = "supervisor" if zone.agreement(name).state.value == "applied for" else "provider"
    _step(context, name, "refuse", role, reason)


def withdraw(context: typer.Context, name: AgreementId, reason: Reason = "") -> None:
    """Withdraw an agreement that is not active yet, as a signatory of the organisation that would ask."""
    _step(context, name, "withdraw", "developer", reason)


def suspend(context: typer.Context, name: AgreementId, reason: Reason = "", yes: Yes = False) -> None:
    """Suspend an active agreement, as the supervisor, or with --as as the provider: nothing goes on under it."""
    _stop(context, name, "suspend", "supervisor", reason, yes=yes)


def resume(context: typer.Context, name: AgreementId, reason: Reason = "") -> None:
    """End a suspension, as who suspended: here, and at the nodes."""
    session = session_of(context)
    with session.zone("supervisor") as zone:
        shown = zone.agreement(name)
        suspenders = [event.organisation for event in shown.events if event.action == "suspend"]
        role: Role = "provider" if suspenders[-1:] == [shown.terms.provider] else "supervisor"
    with session.zone(role) as zone:
        resumed = zone.move_agreement(name, "resume", reason)
        by = resumed.events[-1].organisation
        own = [each for each in zone.agreement_stops(name) if each.message.organisation == by]
        _show(session, resumed, own[:1])


def terminate(context: typer.Context, name: AgreementId, reason: Reason = "", yes: Yes = False) -> None:
    """End an agreement for good, as the provider, or with --as as the coordinator."""
    _stop(context, name, "terminate", "provider", reason, yes=yes)


def _step(context: typer.Context, name: str, step: str, role: Role, reason: str = "") -> None:
    session = session_of(context)
    with session.zone(role) as zone:
        _show(session, zone.move_agreement(name, step, reason))


def _stop(context: typer.Context, name: str, step: str, role: Role, reason: str, *, yes: bool) -> None:
    """Say what the step hits, have it confirmed, take it, and show what each node signed of it."""
    session = session_of(context)
    with session.zone(role) as zone:
        zone.agreement(name)  # an unknown one is said before anything is asked
        say_hit(session, zone.preview_stop("agreement", name))
        if not yes:
            question = f"{step.capitalize()} {name}?"
            session.terminal.confirm(question, to_do=f"{step} {name}", otherwise=f"{name} stays as it was.")
        ended = zone.move_agreement(name, step, reason)
        _show(session, ended, zone.agreement_stops(name)[:1])


def _show(session: Session, agreement: Agreement, stops: Sequence[Stopped] = ()) -> None:
    waiting = f"; it waits for {agreement.waits_for}" if agreement.waits_for else ""
    said = [f"{agreement.id} is {agreement.state.value}{waiting}.", *map(str, stops)]
    more = {"stops": [each.to_json() for each in stops]} if stops else {}
    session.terminal.show({**agreement.to_json(), **more}, "\n".join(said))
