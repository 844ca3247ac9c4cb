"""The command that asks several questions at one price."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yingbi.api.problem import Kind, Problem
from yingbi.cli.arguments import parse_delta, parse_epsilon, parse_lookups
from yingbi.cli.asking import named
from yingbi.cli.options import (
    AgreementName,
    DatasetName,
    Delta,
    OnlyPreview,
    RequestId,
)
from yingbi.cli.session import Interrupted, Session, session_of

if TYPE_CHECKING:
    from yingbi.batch import Batch, BatchJobs
    from yingbi.cli.statements import Statement
    from yingbi.jobs import Answer


def batch(
    context: typer.Context,
    name: DatasetName,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Questions with a ; after each; - reads them from stdin.")
    ],
    epsilon: Annotated[str, typer.Option(metavar="E", help="What to pay for all together.")],
    delta: Delta = None,
    preview: OnlyPreview = False,
    request_id: RequestId = None,
    lookup: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="A public table, in CSV, that questions join with; sent in the clear."),
    ] = None,
    agreement: AgreementName = None,
) -> None:
    """Ask several questions at one price: what two of them need is measured once."""
    from yingbi.cli import render
    from yingbi.cli.statements import split

    session = session_of(context)
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
        answers = _wait_for_all(session, _submit_all(asked, price, given_delta, named(request_id)))
        from yingbi.batch import answers_json

        session.terminal.show(answers_json(answers), render.batch(answers, [each.text for each in statements]))


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
