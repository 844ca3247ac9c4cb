"""The command that evaluates a model. Reads its arguments, asks the SDK and shows."""

from __future__ import annotations

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
    app.command("evaluate")(evaluate)


def evaluate(
    context: typer.Context,
    name: DatasetName,
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The model; only enclaves can read it.")],
    inputs: Annotated[str, typer.Option(metavar="X,X", help='What it is given, in its order: "age, male, bmi".')],
    response: Annotated[str, typer.Option(metavar="Y", help="The truth, as \"status = 'dead'\".")],
    task: Annotated[str, typer.Option(metavar="binary|multiclass|regression", help="What the model predicts.")],
    epsilon: Epsilon,
    delta: Delta = None,
    by: Annotated[str, typer.Option(metavar="G,G", help="Groups of which the same is told.")] = "",
    rows: Annotated[
        str, typer.Option(metavar="FROM", help='Which rows, as FROM has it: "labs JOIN patients USING (id)".')
    ] = "",
    where: Annotated[str, typer.Option(metavar="COND", help="Which of them, as WHERE has it: \"test = 'hdl'\".")] = "",
    output: Annotated[str | None, typer.Option(metavar="NAME", help="Which output is read, where several fit.")] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="A,B", help="Multiclass: the response's values in the model's order.")
    ] = None,
    scores: Annotated[str, typer.Option(metavar="LOWER,UPPER", help="Between which numbers scores lie.")] = "0,1",
    largest_error: Annotated[
        float | None, typer.Option(metavar="E", help="Regression: larger errors count as E.")
    ] = None,
    bins: Annotated[int | None, typer.Option(metavar="B", help="Ranges that scores are told apart by.")] = None,
    keep_nulls: Annotated[
        bool, typer.Option("--keep-nulls", help="Give the model NaN for NULL; by default such rows are left out.")
    ] = False,
    preview: OnlyPreview = False,
    mock: Annotated[
        bool, typer.Option("--mock", help="Run it here on made-up rows, with as much noise; costs nothing.")
    ] = False,
    request_id: RequestId = None,
    agreement: AgreementName = None,
    no_wait: NoWait = False,
    save_receipt: ReceiptFile = None,
    csv: CsvFile = None,
) -> None:
    """Evaluate a model on rows that nobody sees, and wait for how good it is."""
    session = session_of(context)
    price, given_delta = parse_epsilon(epsilon), None if delta is None else parse_delta(delta)
    check_files(save_receipt, csv, no_wait=no_wait)
    with session.zone() as zone:
        question = zone.dataset(name).evaluation(
            model,
            inputs=inputs,
            response=response,
            task=task,
            by=by,
            rows=rows,
            where=where,
            output=output,
            classes=_classes(classes),
            scores=_scores(scores),
            largest_error=largest_error,
            bins=bins,
            keep_nulls=keep_nulls,
            agreement=agreement,
        )
        if mock:
            from yingbi.cli import render

            found = question.mock(price)
            document = {"mock": True, "groups": [group.to_json() for group in found.groups]}
            session.terminal.show(document, render.mock_quality(found))
            return
        if preview:
            from yingbi.cli import render

            foreseen = question.preview(price, given_delta)
            document = foreseen.to_json() | {"model": question.sha256.hex()}
            session.terminal.show(document, render.preview(foreseen))
            return
        ask(session, question, price, given_delta, request_id, Saved(save_receipt, csv), wait=not no_wait)


def _classes(text: str | None) -> list[int | str]:
    """Whole numbers where all are, else texts."""
    names = [] if text is None else [each.strip() for each in text.split(",")]
    whole = names and all(each.removeprefix("-").isdecimal() for each in names)
    return [int(each) for each in names] if whole else list(names)


def _scores(text: str) -> tuple[float, float]:
    try:
        lower, upper = (float(each) for each in text.split(","))
    except ValueError as error:
        message = f"{text!r} are no two numbers."
        raise Problem(Kind.MALFORMED, "usage", message, field="scores", hint="--scores 0,1") from error
    return lower, upper
