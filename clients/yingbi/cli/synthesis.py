"""The command that makes up rows like a dataset's. Reads its arguments, asks the SDK and shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yingbi.api.problem import Kind, Problem
from yingbi.cli.arguments import parse_delta, parse_epsilon
from yingbi.cli.asking import check_writable, named
from yingbi.cli.options import AgreementName, DatasetName, Delta, Epsilon, OnlyPreview, ReceiptFile, RequestId
from yingbi.cli.session import Interrupted, Session, session_of

if TYPE_CHECKING:
    from yingbi.synthesis import MeasuredMarginals, Synthesis


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("synthesize")(synthesize)


def synthesize(
    context: typer.Context,
    name: DatasetName,
    epsilon: Epsilon,
    columns: Annotated[str, typer.Option(metavar="LIST", help='As SELECT has them: "age, sex, FLOOR(bmi) AS bmi".')],
    delta: Delta = None,
    source: Annotated[
        str, typer.Option("--from", metavar="FROM", help="Which rows; by default the one table with all columns.")
    ] = "",
    where: Annotated[str, typer.Option(metavar="COND", help="Which of them, as WHERE has it.")] = "",
    bins: Annotated[int | None, typer.Option(metavar="N", help="Ranges that a number is cut into, 2 to 31.")] = None,
    rows: Annotated[
        int | None, typer.Option(metavar="N", help="By default as many as there are people, about.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="The same seed makes the same rows.")] = None,
    recipient: Annotated[str, typer.Option(metavar="WHOM", help="Whom the rows are for: others get others.")] = "",
    out: Annotated[Path | None, typer.Option(metavar="F", help="Write the rows to this CSV file.")] = None,
    card: Annotated[Path | None, typer.Option(metavar="F", help="Write what a user of them should know, as JSON.")] = (
        None
    ),
    preview: OnlyPreview = False,
    request_id: RequestId = None,
    agreement: AgreementName = None,
    save_receipt: ReceiptFile = None,
) -> None:
    """Make up rows that are like a dataset's, two columns at a time, every person counting once."""
    session = session_of(context)
    price, given_delta = parse_epsilon(epsilon), None if delta is None else parse_delta(delta)
    with session.zone() as zone:
        asked = zone.dataset(name).synthesis(columns, source=source, where=where, bins=bins, agreement=agreement)
        if preview:
            foreseen = asked.preview(price, given_delta)
            from yingbi.cli import render

            session.terminal.show(foreseen.to_json(), render.preview(foreseen))
            return
        _check(rows, seed, recipient, out, card, save_receipt)
        measured = _measured(session, asked, price, given_delta, named(request_id))
        made = measured.rows(rows, seed=seed, recipient=recipient)
        try:
            if out:
                made.save_csv(out)
            if card:
                card.write_text(json.dumps(made.card, indent=1) + "\n", encoding="utf-8")
            if save_receipt:
                measured.receipt.save(save_receipt)
        except OSError as error:
            raise _not_saved(measured.job.id, error) from error
        session.terminal.show(made.card | {"budget": measured.budget.to_json()}, _shown(measured, repr(made), out))


def _check(
    rows: int | None, seed: int | None, recipient: str, out: Path | None, card: Path | None, receipt: Path | None
) -> None:
    from yingbi.synthesis import check_wanted

    check_wanted(rows, seed, recipient)
    check_writable(receipt, out)
    check_writable(None, card)
    if out is None:
        message = "Nobody said where the rows are to be written."
        raise Problem(Kind.MALFORMED, "usage", message, field="out", hint="--out synthetic.csv, or --preview")


def _measured(
    session: Session, asked: Synthesis, epsilon: float, delta: float | None, request_id: str
) -> MeasuredMarginals:
    try:
        with session.terminal.following() as progress:
            return asked.run(epsilon, delta, request_id=request_id, progress=progress)
    except KeyboardInterrupt as interrupt:
        raise Interrupted(
            f"to get the rows and be charged once, ask again with --request-id {request_id}"
        ) from interrupt


def _shown(measured: MeasuredMarginals, text: str, out: Path | None) -> str:
    return "\n".join([text, f"{measured.price} · {measured.budget}", f"job {measured.job.id}; rows are in {out}"])


def _not_saved(job: str, error: OSError) -> Problem:
    return Problem(
        Kind.FAILED,
        "not_saved",
        f"The marginals are there but the rows cannot be saved: {error.strerror}: {error.filename}.",
        hint="ask the same again: what was released is replayed at no cost",
        details={"job": job},
    )
