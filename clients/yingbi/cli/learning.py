"""The command that trains a model. Reads its arguments, asks the SDK and shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

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

if TYPE_CHECKING:
    from yingbi.learning import LinearRegression
    from yingbi.query import Bounds

DEFAULT_ALPHA = 1.0
_NOT_THERE = {
    "logistic": "LogisticRegression",
    "poisson": "PoissonRegression",
    "naive-bayes": "GaussianNB",
    "kmeans": "KMeans",
    "pca": "PCA",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


def train(
    context: typer.Context,
    name: DatasetName,
    formula: Annotated[str, typer.Argument(metavar="FORMULA", help='"value ~ age + male", as in R.')],
    epsilon: Epsilon,
    delta: Delta = None,
    model: Annotated[str, typer.Option(metavar="linear|ridge", help="Least squares, without or with --alpha.")] = (
        "linear"
    ),
    alpha: Annotated[float | None, typer.Option(metavar="A", help="Of ridge; by default 1.")] = None,
    rows: Annotated[
        str, typer.Option(metavar="FROM", help='Which rows, as FROM has it: "labs JOIN patients USING (id)".')
    ] = "",
    where: Annotated[str, typer.Option(metavar="COND", help="Which of them, as WHERE has it: \"test = 'hdl'\".")] = "",
    bounds: Annotated[
        str,
        typer.Option(
            metavar="declared|auto",
            help="auto: find out first, for 5 % of the price, how far values are from the ends of their ranges.",
        ),
    ] = "declared",
    preview: OnlyPreview = False,
    mock: Annotated[bool, typer.Option("--mock", help="Train on made-up rows, with as much noise; costs nothing.")] = (
        False
    ),
    request_id: RequestId = None,
    agreement: AgreementName = None,
    no_wait: NoWait = False,
    save_receipt: ReceiptFile = None,
    csv: CsvFile = None,
) -> None:
    """Train a model, every person counting once, and wait for its coefficients."""
    session = session_of(context)
    price, given_delta = parse_epsilon(epsilon), None if delta is None else parse_delta(delta)
    check_files(save_receipt, csv, no_wait=no_wait)
    wanted = _model(model, formula, rows, where, alpha)
    with session.zone() as zone:
        training = zone.dataset(name).training(wanted, cast("Bounds", bounds), agreement=agreement)
        if preview:
            foreseen = training.preview(price, given_delta)
            from yingbi.cli import render

            session.terminal.show(foreseen.to_json(), render.preview(foreseen))
            return
        if mock:
            found = training.mock(price)
            from yingbi.cli import render

            session.terminal.show(found.to_json() | {"mock": True}, render.linear_model(found))
            return
        ask(session, training, price, given_delta, request_id, Saved(save_receipt, csv), wait=not no_wait)


def _model(model: str, formula: str, rows: str, where: str, alpha: float | None) -> LinearRegression:
    from yingbi.learning import LinearRegression, Ridge, not_there

    if model in _NOT_THERE:
        raise not_there(_NOT_THERE[model])
    if model not in ("linear", "ridge"):
        message = f"There is no model {model!r}."
        raise Problem(Kind.MALFORMED, "usage", message, field="model", hint="linear or ridge")
    if model == "ridge":
        return Ridge(formula, rows, where, DEFAULT_ALPHA if alpha is None else alpha)
    if alpha is not None:
        raise Problem(Kind.MALFORMED, "usage", "--alpha goes with --model ridge.", field="alpha")
    return LinearRegression(formula, rows, where)
