"""The commands about who may operate the zone. Each takes the profile of whose move it is, unless `--as` names one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yingbi.api.problem import Kind, Problem
from yingbi.cli.session import Session, session_of

if TYPE_CHECKING:
    from yingbi.operators import Application

NoticeId = Annotated[str, typer.Argument(metavar="NOTICE", help="The notice's id.", show_default=False)]
OperatorName = Annotated[str, typer.Argument(metavar="OPERATOR", help="The organisation.", show_default=False)]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; the others read it.")]


def register(app: typer.Typer, operator: typer.Typer) -> None:
    """Add all commands, in the order of an operating agreement's life."""
    for step in (notice, apply, review, sign, terminate, show):
        operator.command(step.__name__)(step)
    operator.command("list")(list_all)
    app.add_typer(operator, name="operator")


def notice(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The notice, in YAML or JSON.", show_default=False)],
) -> None:
    """Publish a notice under which operators apply, as the coordinator."""
    session = session_of(context)
    with session.zone("coordinator") as zone:
        published = zone.operators.publish(file)
    before = published.message.notice.apply_by.ToDatetime()
    said = f"{published.id} is published: operators apply before {before:%Y-%m-%d %H:%M} UTC."
    session.terminal.show(published.to_json(), said)


def apply(
    context: typer.Context,
    name: NoticeId,
    statement: Annotated[str, typer.Option(metavar="TEXT", help="What qualifies you.")],
    evidence: Annotated[
        list[str] | None,
        typer.Option(metavar="REFERENCE=FILE", help="A document that shows it, by its SHA-256; once for each."),
    ] = None,
) -> None:
    """Apply to operate the zone, as an operator."""
    session = session_of(context)
    documents = dict(map(_evidence, evidence or ()))
    with session.zone("operator") as zone:
        _show(session, zone.operators.apply(name, statement, documents))


def review(
    context: typer.Context,
    name: NoticeId,
    operator: OperatorName,
    passed: Annotated[bool, typer.Option("--pass/--refuse", help="What comes of the review.")],
    reason: Reason,
) -> None:
    """Review who applied, as the supervisor that the notice names."""
    session = session_of(context)
    with session.zone("supervisor") as zone:
        _show(session, zone.operators.review(name, operator, passed=passed, reason=reason))


def sign(context: typer.Context, name: NoticeId, operator: OperatorName) -> None:
    """Sign an operating agreement, as the coordinator, or with --as as the operator."""
    session = session_of(context)
    with session.zone("coordinator") as zone:
        _show(session, zone.operators.sign(name, operator))


def terminate(
    context: typer.Context,
    name: NoticeId,
    operator: OperatorName,
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
) -> None:
    """End an operating agreement for good, as the coordinator."""
    session = session_of(context)
    with session.zone("coordinator") as zone:
        zone.operators.application(name, operator)  # an unknown one is said before anything is asked
        if not yes:
            question = f"End the operating agreement of {operator} under {name}, for good?"
            what = f"end the operating agreement of {operator}"
            session.terminal.confirm(question, to_do=what, otherwise=f"{operator} operates as before.")
        _show(session, zone.operators.terminate(name, operator, reason))


def list_all(context: typer.Context) -> None:
    """List notices, and who applied under them."""
    session = session_of(context)
    with session.zone() as zone:
        found = zone.operators.notices()
    from yingbi.cli import render

    session.terminal.show({"notices": [each.to_json() for each in found]}, render.notices(found))


def show(context: typer.Context, name: NoticeId) -> None:
    """Show a notice, who applied under it, and every step since."""
    session = session_of(context)
    with session.zone() as zone:
        found = zone.operators.notice(name)
    from yingbi.cli import render

    session.terminal.show(found.to_json(), render.notice(found))


def _evidence(text: str) -> tuple[str, str]:
    reference, equals, file = text.rpartition("=")
    if not (equals and reference.strip() and file):
        said = f"{text!r} does not say which file is evidence of what."
        raise Problem(Kind.MALFORMED, "evidence", said, field="evidence", hint='--evidence "licence 17=licence.pdf"')
    return reference, file


def _show(session: Session, application: Application) -> None:
    from yingbi.operators import NOT_YET

    waiting = f"; it waits for {application.waits_for}" if application.waits_for else ""
    what = f"The application of {application.operator} under {application.notice}"
    if application.state in ("in force", NOT_YET, "terminated"):
        what = f"The operating agreement of {application.operator} under {application.notice}"
    session.terminal.show(application.to_json(), f"{what} is {_said(application.state)}{waiting}.")


def _said(state: str) -> str:
    return {"applied for": "made", "review passed": "reviewed and passed"}.get(state, state)
