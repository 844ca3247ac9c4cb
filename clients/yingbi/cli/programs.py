"""The command that runs a program. Reads its arguments, asks the SDK and shows."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from yingbi.api.problem import Kind, Problem
from yingbi.cli.arguments import parse_delta, parse_epsilon
from yingbi.cli.asking import Saved, ask, check_files
from yingbi.cli.options import (
    AgreementName,
    CsvFile,
    DatasetName,
    Delta,
    Epsilon,
    NoWait,
    OnlyPreview,
    ReceiptFile,
    RequestId,
)
from yingbi.cli.session import session_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    context: typer.Context,
    name: DatasetName,
    program: Annotated[Path, typer.Argument(metavar="PROGRAM.py", help="Python that defines run(tables).")],
    output: Annotated[
        list[str],
        typer.Option(
            metavar="SPEC",
            help='Once for each number that it returns, in order: "mean_age: float[18,100]", '
            '"age: median float[18,100]", "r: float[-1,1] = 0" with what stands for a block without a result.',
        ),
    ],
    epsilon: Epsilon,
    delta: Delta = None,
    table: Annotated[
        list[str] | None,
        typer.Option(metavar="T[:C,C]", help="A table that it sees, or columns of it; by default everything."),
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(metavar="B", help="Blocks of units at each provider; more mean less noise.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(metavar="S", help="For each block; by default 0.5.")] = None,
    preview: OnlyPreview = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="With --preview: run it here on made-up rows, to see how it varies.")
    ] = False,
    publish_source: Annotated[
        bool, typer.Option("--publish-source", help="Show the code to the operators, who may have to approve it.")
    ] = False,
    request_id: RequestId = None,
    agreement: AgreementName = None,
    no_wait: NoWait = False,
    save_receipt: ReceiptFile = None,
    csv: CsvFile = None,
) -> None:
    """Run a program on blocks of units, and wait for the mean, or median, of what it returns."""
    session = session_of(context)
    price, given_delta = parse_epsilon(epsilon), None if delta is None else parse_delta(delta)
    check_files(save_receipt, csv, no_wait=no_wait)
    if rehearse and not preview:
        raise Problem(Kind.MALFORMED, "usage", "--rehearse goes with --preview.", field="rehearse")
    with session.zone() as zone:
        question = zone.dataset(name).program(
            program,
            output,
            tables=_tables(table),
            blocks=blocks,
            seconds=seconds,
            agreement=agreement,
            publish_source=publish_source,
        )
        if preview:
            foreseen = question.preview(price, given_delta)
            with contextlib.redirect_stdout(sys.stderr):  # what the program prints is none of the answer
                rehearsed = question.rehearse(foreseen) if rehearse else None
            from rich.console import Group

            from yingbi.cli import render

            document = foreseen.to_json() | {"program": question.sha256.hex()}
            if rehearsed is not None:
                document["rehearsal"] = rehearsed.to_json()
            said = [] if rehearsed is None else rehearsed.lines()
            session.terminal.show(document, Group(render.preview(foreseen), *said))
            return
        ask(session, question, price, given_delta, request_id, Saved(save_receipt, csv), wait=not no_wait)


def _tables(options: list[str] | None) -> dict[str, list[str]] | None:
    """From T or T:C,C to columns by table; none of them for all."""
    if not options:
        return None
    found: dict[str, list[str]] = {}
    for option in options:
        table, _, columns = option.partition(":")
        found[table.strip()] = [column.strip() for column in columns.split(",") if column.strip()]
    return found
