"""The commands of a developer and of an operator. Each reads its arguments, asks the SDK and shows."""

from __future__ import annotations

import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from yingbi.api.problem import Kind, Problem, nearest
from yingbi.cli.arguments import Common, parse_delta, parse_epsilon, parse_lookups
from yingbi.cli.terminal import Terminal

if TYPE_CHECKING:
    from yingbi.batch import Batch, BatchJobs
    from yingbi.cli.statements import Statement
    from yingbi.jobs import Answer, Job
    from yingbi.mock import MockTable
    from yingbi.profile import Role
    from yingbi.query import Bounds, Query
    from yingbi.trust import Trust
    from yingbi.zone import Zone

JobId = Annotated[str, typer.Argument(metavar="JOB", show_default=False)]
DatasetName = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
ReceiptFile = Annotated[
    Path | None, typer.Option("--save-receipt", metavar="F", help="Write the receipt to this file.")
]
AgreementName = Annotated[
    str | None,
    typer.Option(metavar="ID", help="The agreement to ask under; by default your only one, where one is required."),
]
CsvFile = Annotated[Path | None, typer.Option("--csv", metavar="F", help="Write the table to this file.")]


@dataclass(frozen=True)
class Session:
    """One run of the command line."""

    common: Common
    terminal: Terminal

    @contextmanager
    def zone(self, role: Role = "developer") -> Iterator[Zone]:
        from yingbi.zone import connect

        common = self.common
        with connect(common.zone, token=common.token, ca=common.ca, role=role) as zone:
            yield zone


@dataclass(frozen=True)
class Saved:
    """Where parts of an answer are written, beside being shown."""

    receipt: Path | None
    csv: Path | None


class Interrupted(Exception):
    """Ctrl-C, with what to say about it."""


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
    session = _session(context)
    with session.zone() as zone:
        found = zone.datasets()
    from yingbi.cli import render

    session.terminal.show({"datasets": [each.to_json() for each in found]}, render.datasets(found))


def show(context: typer.Context, name: DatasetName) -> None:
    """Show a dataset's tables, columns and budget."""
    session = _session(context)
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

    session = _session(context)
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
    epsilon: Annotated[str, typer.Option(metavar="E", help="What to pay, of the dataset's budget.")],
    delta: Annotated[
        str | None, typer.Option(metavar="D", help="Above 0 and below 1; by default the dataset's.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what to expect; costs nothing.")] = False,
    request_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Asking again with the same ID is charged once.")
    ] = None,
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
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job and leave.")] = False,
    save_receipt: ReceiptFile = None,
    csv: CsvFile = None,
) -> None:
    """Ask a question in SQL and wait for the answer."""
    session = _session(context)
    price, given_delta = parse_epsilon(epsilon), None if delta is None else parse_delta(delta)
    lookups = parse_lookups(lookup or ())
    check_files(save_receipt, csv, no_wait=no_wait)
    text = sys.stdin.read() if query == "-" else query
    with session.zone() as zone:
        question = zone.dataset(name).sql(text, cast("Bounds", bounds), lookups=lookups, agreement=agreement)
        if preview:
            foreseen = question.preview(price, given_delta)
            from yingbi.cli import render

            session.terminal.show(foreseen.to_json(), render.preview(foreseen))
            return
        name_of_request = uuid.uuid4().hex if request_id is None else request_id
        ask(session, question, price, given_delta, name_of_request, Saved(save_receipt, csv), wait=not no_wait)


def ask(
    session: Session,
    question: Query,
    epsilon: float,
    delta: float | None,
    request_id: str,
    saved: Saved,
    *,
    wait: bool,
) -> None:
    """Submit a question and show its answer, or, if it is not to be waited for, its job."""
    job = _submit(session, question, epsilon, delta, request_id, wait=wait)
    if not wait and not job.is_final:
        session.terminal.show(job.to_json(), f"{job.id}: {job.state.replace('_', ' ')}")
        return
    _show_answer(session, _wait(session, job), saved.receipt, saved.csv)


def batch(
    context: typer.Context,
    name: DatasetName,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Questions with a ; after each; - reads them from stdin.")
    ],
    epsilon: Annotated[str, typer.Option(metavar="E", help="What to pay for all together.")],
    delta: Annotated[
        str | None, typer.Option(metavar="D", help="Above 0 and below 1; by default the dataset's.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what to expect; costs nothing.")] = False,
    request_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Asking again with the same ID is charged once.")
    ] = None,
    lookup: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="A public table, in CSV, that questions join with; sent in the clear."),
    ] = None,
    agreement: AgreementName = None,
) -> None:
    """Ask several questions at one price: what two of them need is measured once."""
    from yingbi.cli import render
    from yingbi.cli.statements import split

    session = _session(context)
    price, given_delta = parse_epsilon(epsilon), None if delta is None else parse_delta(delta)
    statements = split(sys.stdin.read() if file == "-" else _text_of(Path(file)))
    if not statements:
        raise Problem(
            Kind.MALFORMED,
            "batch",
            f"{'Standard input' if file == '-' else repr(file)} has no question.",
            field="file",
            hint="write SELECT questions into it, with a ; after each",
        )
    lookups = parse_lookups(lookup or ())
    with session.zone() as zone, _positions_in_file(statements):
        dataset = zone.dataset(name)
        asked = zone.batch(
            dataset.sql(statement.text, lookups=lookups, agreement=agreement) for statement in statements
        )
        if preview:
            foreseen = asked.preview(price, given_delta)
            session.terminal.show(foreseen.to_json(), render.batch_preview(foreseen))
            return
        name_of_request = uuid.uuid4().hex if request_id is None else request_id
        answers = _wait_for_all(session, _submit_all(asked, price, given_delta, name_of_request))
        from yingbi.batch import answers_json

        session.terminal.show(answers_json(answers), render.batch(answers, [each.text for each in statements]))


def result(context: typer.Context, job: JobId, save_receipt: ReceiptFile = None, csv: CsvFile = None) -> None:
    """Fetch the answer of a job, or its state while it has none."""
    session = _session(context)
    _check_writable(save_receipt, csv)
    with session.zone() as zone:
        found = zone.job(job)
        if found.is_final:
            _show_answer(session, found, save_receipt, csv)
            return
    session.terminal.show(found.to_json(), f"{found.id}: {found.state.replace('_', ' ')}")


def jobs(context: typer.Context) -> None:
    """List your jobs."""
    session = _session(context)
    with session.zone() as zone:
        found = zone.jobs()
    from yingbi.cli import render

    session.terminal.show({"jobs": [each.to_json() for each in found]}, render.jobs(found))


def cancel(context: typer.Context, job: JobId) -> None:
    """Cancel a job; budget that was spent stays spent."""
    session = _session(context)
    with session.zone() as zone:
        _show_job(session, zone.job(job).cancel())


def approve(
    context: typer.Context,
    job: JobId,
    show: Annotated[
        bool, typer.Option("--show", help="Only show what is asked, and the program where it is published.")
    ] = False,
) -> None:
    """Let a waiting job run, as the operator."""
    session = _session(context)
    with session.zone("operator") as zone:
        waiting = zone.job(job)
        if show:
            from yingbi.cli import render

            session.terminal.show(waiting.to_json() | {"source": waiting.source}, render.asked(waiting))
            return
        approved = waiting.approve()
        end = approved.end() if approved.state == "refused" else None
        if end is not None:  # it waited for longer than its budget was there
            raise end
        _show_job(session, approved)


def refuse(
    context: typer.Context,
    job: JobId,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="What the developer will read.")],
) -> None:
    """Refuse a waiting job, as the operator."""
    session = _session(context)
    with session.zone("operator") as zone:
        _show_job(session, zone.job(job).refuse(reason))


def budget(context: typer.Context, name: DatasetName) -> None:
    """Say what of a dataset's privacy budget is spent and left."""
    session = _session(context)
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

    session = _session(context)
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


def _session(context: typer.Context) -> Session:
    return cast(Session, context.obj)


def trust_of(common: Common) -> Trust:
    """The CA file that was given, else the profile's; no token is needed to check a receipt."""
    from yingbi import profile
    from yingbi.trust import Trust

    if common.ca is not None:
        return Trust(profile.read_ca(common.ca))
    return profile.locate(common.zone, common.token).trust


def _submit(
    session: Session, question: Query, epsilon: float, delta: float | None, request_id: str, *, wait: bool
) -> Job:
    try:
        with session.terminal.following() as progress:
            return question.submit(epsilon, delta, request_id=request_id, wait=wait, progress=progress)
    except KeyboardInterrupt as interrupt:
        raise Interrupted(
            "the question may have been asked already; to get its answer and be charged once, ask again with"
            f" --request-id {request_id}"
        ) from interrupt


def _wait(session: Session, job: Job) -> Job:
    try:
        with session.terminal.following() as progress:
            return job.wait(progress)
    except KeyboardInterrupt as interrupt:
        raise Interrupted(f"job {job.id} goes on; fetch its answer with: yingbi result {job.id}") from interrupt


@contextmanager
def _positions_in_file(statements: Sequence[Statement]) -> Iterator[None]:
    """Say where in the file a question's problem is, and not where in the question."""
    try:
        yield
    except Problem as problem:
        number = problem.details.get("question", "")
        if problem.position and number.isdecimal() and 1 <= int(number) <= len(statements):
            problem.position = statements[int(number) - 1].position_in_file(problem.position)
        raise


def _submit_all(asked: Batch, epsilon: float, delta: float | None, request_id: str) -> BatchJobs:
    try:
        return asked.submit(epsilon, delta, request_id=request_id)
    except KeyboardInterrupt as interrupt:
        raise Interrupted(
            "the questions may have been asked already; to get their answers and be charged once, ask again with"
            f" --request-id {request_id}"
        ) from interrupt


def _wait_for_all(session: Session, asked: BatchJobs) -> list[Answer]:
    try:
        with session.terminal.following() as progress:
            asked = asked.wait(progress)
    except KeyboardInterrupt as interrupt:
        ends = ", ".join(f"{job.id} ({job.state})" for job in asked.cancel().jobs)
        raise Interrupted(f"what was not done is cancelled: {ends}") from interrupt
    return asked.answers()


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Problem(Kind.MALFORMED, "file", f"Cannot read {str(path)!r}: {error.strerror}.", field="file") from error
    except UnicodeDecodeError as error:
        raise Problem(Kind.MALFORMED, "file", f"{str(path)!r} is not UTF-8 text.", field="file") from error


def _show_answer(session: Session, job: Job, save_receipt: Path | None, csv: Path | None) -> None:
    answer = job.answer()
    from yingbi.cli import render

    document, text = answer.to_json(), render.answer(answer)
    try:
        if save_receipt:
            answer.receipt.save(save_receipt)
        if csv:
            answer.save_csv(csv)
    except OSError as error:
        raise Problem(
            Kind.FAILED,
            "not_saved",
            f"The answer is there but cannot be saved: {error.strerror}: {error.filename}.",
            hint=f"yingbi result {job.id}",
            details={"job": job.id},
        ) from error
    session.terminal.show(document, text)


def _show_job(session: Session, job: Job) -> None:
    session.terminal.show(job.to_json(), f"{job.id}: {job.state.replace('_', ' ')}")


def check_files(save_receipt: Path | None, csv: Path | None, *, no_wait: bool) -> None:
    """Refuse files that cannot be written, or to which there is nothing to write yet."""
    _check_writable(save_receipt, csv)
    if no_wait and (save_receipt or csv):
        raise Problem(
            Kind.MALFORMED,
            "usage",
            "With --no-wait there is no answer to save yet.",
            field="no-wait",
            hint="Save it with: yingbi result JOB",
        )


def _check_writable(save_receipt: Path | None, csv: Path | None) -> None:
    """Find out that a file cannot be written before any budget is spent on its content."""
    for path, field in ((save_receipt, "save-receipt"), (csv, "csv")):
        if path is None:
            continue
        try:
            if path.exists():
                with path.open("ab"):
                    pass
            else:
                with tempfile.TemporaryFile(dir=path.parent):
                    pass
        except OSError as error:
            raise Problem(
                Kind.MALFORMED, "file", f"Cannot write {str(path)!r}: {error.strerror}.", field=field
            ) from error
