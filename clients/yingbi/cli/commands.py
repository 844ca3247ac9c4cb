"""The commands of a developer and of an operator. Each reads its arguments, asks the SDK and shows."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from yingbi.api.problem import Kind, Problem, nearest
from yingbi.cli.arguments import parse_delta, parse_epsilon, parse_lookups
from yingbi.cli.asking import Saved, ask, check_files, check_writable, show_answer
from yingbi.cli.batches import batch
from yingbi.cli.options import (
    AgreementName,
    CsvFile,
    DatasetName,
    Delta,
    Epsilon,
    JobId,
    NoWait,
    OnlyPreview,
    Purpose,
    ReceiptFile,
    RequestId,
)
from yingbi.cli.session import Session, session_of, trust_of

if TYPE_CHECKING:
    from yingbi.jobs import Job
    from yingbi.mock import MockTable
    from yingbi.query import Bounds


def register(app: typer.Typer, dataset: typer.Typer, receipt: typer.Typer) -> None:
    """Add all commands, in the order of the help."""
    app.command()(datasets)
    dataset.command("show")(show)
    app.add_typer(dataset, name="dataset")
    for command in (mock, sql, batch, result, jobs, cancel, approve, refuse, budget):
        app.command()(command)
    receipt.command("verify")(verify)
    app.add_typer(receipt, name="receipt")


def datasets(context: typer.Context) -> None:
    """List the datasets of the zone."""
    session = session_of(context)
    with session.zone() as zone:
        found = zone.datasets()
    from yingbi.cli import render

    session.terminal.show({"datasets": [each.to_json() for each in found]}, render.datasets(found))


def show(context: typer.Context, name: DatasetName) -> None:
    """Show a dataset's tables, columns and budget."""
    session = session_of(context)
    with session.zone() as zone:
        found = zone.dataset(name)
    from yingbi.cli import render

    session.terminal.show(found.to_json(), render.dataset(found))


def mock(
    context: typer.Context,
    name: DatasetName,
    rows: Annotated[int, typer.Option(metavar="N", help="How many rows each table has.")] = 100,
    seed: Annotated[int | None, typer.Option(metavar="S", help="The same seed makes the same rows.")] = None,
    table: Annotated[str | None, typer.Option(metavar="T", help="Only this table.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write TABLE.csv files here.")] = None,
) -> None:
    """Make up rows of a dataset's schema, as CSV; no data is touched."""
    from yingbi.mock import mock_tables

    session = session_of(context)
    with session.zone() as zone:
        found = zone.dataset(name)
    tables = _chosen(mock_tables(found.declaration, rows, seed), table)
    if out is not None:
        files = [str(_write_csv(out, each)) for each in tables]
        session.terminal.show({"dataset": found.name, "files": files}, "\n".join(files))
    elif session.terminal.json or len(tables) == 1:
        document = {"dataset": found.name, "tables": [each.to_json() for each in tables]}
        session.terminal.show(document, tables[0].to_csv())
    else:
        names = ", ".join(each.name for each in tables)
        raise Problem(
            Kind.MALFORMED,
            "usage",
            f"{found.name} has several tables: {names}.",
            field="table",
            hint="name one with --table, or write all with --out DIR",
        )


def sql(
    context: typer.Context,
    name: DatasetName,
    query: Annotated[str, typer.Argument(metavar="SQL", help="The question; - reads it from stdin.")],
    epsilon: Epsilon,
    delta: Delta = None,
    preview: OnlyPreview = False,
    request_id: RequestId = None,
    bounds: Annotated[
        str,
        typer.Option(
            metavar="declared|auto",
            help="declared: max_rows_per_unit of the metadata; auto: found privately, for 5 % of the price.",
        ),
    ] = "declared",
    lookup: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="A public table, in CSV, that the SQL joins with; sent in the clear."),
    ] = None,
    agreement: AgreementName = None,
    purpose: Purpose = "",
    no_wait: NoWait = False,
    save_receipt: ReceiptFile = None,
    csv: CsvFile = None,
) -> None:
    """Ask a question in SQL and wait for the answer."""
    session = session_of(context)
    price, given_delta = parse_epsilon(epsilon), None if delta is None else parse_delta(delta)
    lookups = parse_lookups(lookup or ())
    check_files(save_receipt, csv, no_wait=no_wait)
    text = sys.stdin.read() if query == "-" else query
    with session.zone() as zone:
        question = zone.dataset(name).sql(
            text, cast("Bounds", bounds), lookups=lookups, agreement=agreement, purpose=purpose
        )
        if preview:
            foreseen = question.preview(price, given_delta)
            from yingbi.cli import render

            session.terminal.show(foreseen.to_json(), render.preview(foreseen))
            return
        ask(session, question, price, given_delta, request_id, Saved(save_receipt, csv), wait=not no_wait)


def result(context: typer.Context, job: JobId, save_receipt: ReceiptFile = None, csv: CsvFile = None) -> None:
    """Fetch the answer of a job, or its state while it has none."""
    session = session_of(context)
    check_writable(save_receipt, csv)
    with session.zone() as zone:
        found = zone.job(job)
        if found.is_final:
            show_answer(session, found, save_receipt, csv)
            return
    session.terminal.show(found.to_json(), f"{found.id}: {found.state.replace('_', ' ')}")


def jobs(context: typer.Context) -> None:
    """List your jobs."""
    session = session_of(context)
    with session.zone() as zone:
        found = zone.jobs()
    from yingbi.cli import render

    session.terminal.show({"jobs": [each.to_json() for each in found]}, render.jobs(found))


def cancel(context: typer.Context, job: JobId) -> None:
    """Cancel a job; budget that was spent stays spent."""
    session = session_of(context)
    with session.zone() as zone:
        stopped = zone.stop("job", job)
        session.terminal.say("\n".join(map(str, stopped.nodes)))
        _show_job(session, zone.job(job))


def approve(
    context: typer.Context,
    job: JobId,
    show: Annotated[
        bool, typer.Option("--show", help="Only show what is asked, and the program where it is published.")
    ] = False,
    rounds: Annotated[
        bool, typer.Option("--rounds", help="Of a model's first round: the rounds that follow too.")
    ] = False,
    standing: Annotated[
        Path | None,
        typer.Option("--standing", metavar="FILE", help="The queries too that FILE leaves open, in JSON."),
    ] = None,
    hours: Annotated[float, typer.Option("--hours", metavar="H", help="With --rounds: until when.")] = 2.0,
) -> None:
    """Let a waiting job run, as its provider."""
    if rounds and standing is not None:
        raise Problem(Kind.MALFORMED, "usage", "--rounds and --standing do not go together.", field="standing")
    session = session_of(context)
    with session.zone("provider") as zone:
        waiting = zone.job(job)
        if show:
            from yingbi.cli import render

            session.terminal.show(waiting.to_json() | {"source": waiting.source}, render.asked(waiting))
            return
        approved = _approved(waiting, standing, rounds=rounds, hours=hours)
        end = approved.end() if approved.state == "refused" else None
        if end is not None:  # it waited for longer than its budget was there
            raise end
        _show_job(session, approved)


def refuse(
    context: typer.Context,
    job: JobId,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="What the developer will read.")],
) -> None:
    """Refuse a waiting job, as its provider."""
    session = session_of(context)
    with session.zone("provider") as zone:
        _show_job(session, zone.job(job).refuse(reason))


def budget(context: typer.Context, name: DatasetName) -> None:
    """Say what of a dataset's privacy budget is spent and left."""
    session = session_of(context)
    with session.zone() as zone:
        found, agreements = zone.dataset(name), zone.agreements(name)
    document = {"dataset": found.name, "epsilon": found.budget.epsilon, **found.budget.to_json()}
    if agreements:
        document["agreements"] = [each.budget.to_json() for each in agreements]
    under = [f"{each.budget}, until {each.expires:%Y-%m-%d %H:%M} UTC" for each in agreements]
    session.terminal.show(document, "\n".join([f"{found.name}: {found.budget}", *under]))


def verify(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="F", show_default=False)],
    measurement: Annotated[str | None, typer.Option(metavar="HEX", help="The enclaves' reference value.")] = None,
) -> None:
    """Check a receipt, with the network off, and say what was checked."""
    from yingbi.receipt import Check, Receipt

    session = session_of(context)
    trust = trust_of(session.common)
    receipt = Receipt.load(file)
    found: list[Check] = []
    for check in receipt.checks(replace(trust, measurement=measurement or trust.measurement)):
        found.append(check)
        if not session.terminal.json:
            from yingbi.cli import render

            session.terminal.show(None, render.check(check))
    dossier = receipt.dossier
    session.terminal.show(
        {
            "verified": True,
            "job": receipt.job,
            "dataset": dossier.plan.dataset,
            "plan_hash": dossier.body.manifest.plan_hash.hex(),
            "simulated": dossier.dealer.simulated,
            "checks": [{"check": check.name, "finding": check.finding} for check in found],
        },
        f"the receipt of job {receipt.job} verifies",
    )


def _chosen(tables: list[MockTable], name: str | None) -> list[MockTable]:
    chosen = [table for table in tables if name in (None, table.name)]
    if not chosen:
        near = nearest(str(name), [table.name for table in tables])
        hint = f"did you mean {near}?" if near else "`yingbi dataset show` lists the tables"
        raise Problem(Kind.UNKNOWN, "unknown_table", f"There is no table {name!r}.", field="table", hint=hint)
    return chosen


def _write_csv(folder: Path, table: MockTable) -> Path:
    path = folder / f"{table.name}.csv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(table.to_csv(), encoding="utf-8", newline="")
    except OSError as error:
        raise Problem(Kind.MALFORMED, "file", f"Cannot write {str(path)!r}: {error.strerror}.", field="out") from error
    return path


def _approved(job: Job, standing: Path | None, *, rounds: bool, hours: float) -> Job:
    if not rounds and standing is None:
        return job.approve()
    from yingbi.standing import approve_by_file, approve_rounds

    return approve_rounds(job, hours) if standing is None else approve_by_file(job, standing)


def _show_job(session: Session, job: Job) -> None:
    session.terminal.show(job.to_json(), f"{job.id}: {job.state.replace('_', ' ')}")
