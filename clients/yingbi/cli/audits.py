"""The commands about the audit record. Each reads its arguments, asks the SDK and shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yingbi.cli.session import Session, session_of

Subject = Annotated[str | None, typer.Option(metavar="ID", help="Only what was done to this job, agreement, dataset.")]


def register(app: typer.Typer, audit: typer.Typer) -> None:
    """Add all commands, in the order of the help."""
    audit.command("list")(list_all)
    audit.command("verify")(verify)
    audit.command("export")(export)
    app.add_typer(audit, name="audit")


def list_all(
    context: typer.Context,
    subject: Subject = None,
    after: Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Only rows after this one.")] = 0,
) -> None:
    """Show what was done, by whom, to what, as an auditor."""
    from yingbi import audit
    from yingbi.cli import render

    session = session_of(context)
    with session.zone("auditor") as zone:
        found = [row for row in zone.audit_rows(after) if subject in (None, row.subject)]
    session.terminal.show({"rows": [audit.shown(row) for row in found]}, render.audit_rows(found))


def verify(
    context: typer.Context,
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="What `export` wrote; no zone is asked.")] = None,
) -> None:
    """Check that no row of the record was changed, taken out or added between others, since it was checked last."""
    from yingbi import audit

    session = session_of(context)
    if file is not None:
        _say_sound(session, audit.check_rows(audit.read_export(file)))
        return
    with session.zone("auditor") as zone:
        place = zone.profile.path.with_suffix(".audit") if zone.profile.path else None
        head = zone.verify_audit(audit.load_head(place) if place else audit.EMPTY)
        if place:
            audit.save_head(place, head)
    _say_sound(session, head)


def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="One line of JSON a row.", show_default=False)],
) -> None:
    """Write the record to a file that `verify --file` checks."""
    from yingbi import audit

    session = session_of(context)
    with session.zone("auditor") as zone:
        count = audit.export(zone.audit_rows(), file)
    session.terminal.show({"rows": count, "file": str(file)}, f"{count:,} rows are in {file}.")


def _say_sound(session: Session, head: object) -> None:
    from yingbi.audit import Head

    assert isinstance(head, Head)
    said = f"✓ {head.number:,} rows, none changed. The last one's digest: {head.digest.hex()}"
    session.terminal.show({**head.to_json(), "sound": True}, said)
