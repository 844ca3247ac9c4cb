"""The command that trains a model. Reads its arguments, asks the SDK and shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from yingbi.api.problem import Kind, Problem
from yingbi.cli import searching
from yingbi.cli.arguments import parse_class_weight, parse_delta, parse_epsilon, parse_hidden
from yingbi.cli.asking import Saved, ask, check_files, named, show_made
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
from yingbi.cli.session import Interrupted, Session, session_of

if TYPE_CHECKING:
    from yingbi.models.in_rounds import FittedInRounds
    from yingbi.models.kinds import Fitted
    from yingbi.models.round_specs import ModelInRounds
    from yingbi.models.specs import ModelSpec
    from yingbi.query import Bounds, Preview
    from yingbi.round_learning import TrainingInRounds
    from yingbi.rounds_model import RoundsModel

DEFAULT_ALPHA = 1.0
MODELS = ("linear", "ridge", "logistic", "poisson", "naive-bayes", "pca", "kmeans", "network", "boosting")


_IN_ROUNDS = ("logistic", "poisson", "kmeans", "network", "boosting")
_SCORED = ("logistic", "poisson", "network", "boosting")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


def train(
    context: typer.Context,
    name: DatasetName,
    formula: Annotated[str, typer.Argument(metavar="FORMULA", help='"value ~ age + male", as in R.')],
    epsilon: Epsilon,
    delta: Delta = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="linear|ridge|logistic|poisson|naive-bayes|pca|kmeans|network|boosting",
            help="Least squares, without or with --alpha; the odds of a class; the mean of a count; Gaussian naive "
            'Bayes; principal components, and clusters, of "~ a + b"; a small network; what each variable adds.',
        ),
    ] = "linear",
    alpha: Annotated[
        float | None,
        typer.Option(metavar="A", help="L2 penalty: of ridge, by default 1; of logistic and poisson, by default none."),
    ] = None,
    components: Annotated[int, typer.Option(metavar="K", min=0, help="Of pca; by default all.")] = 0,
    standardized: Annotated[bool, typer.Option("--standardized", help="Of pca: of correlations.")] = False,
    clusters: Annotated[int | None, typer.Option(metavar="K", help="Of kmeans; by default 5.")] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Of what is trained in rounds: how many jobs. By default 12, of a network 31, of boosting 14.",
        ),
    ] = None,
    hidden: Annotated[
        str | None, typer.Option(metavar="N,M", help="Of network: widths of one or two hidden layers; by default 32.")
    ] = None,
    class_weight: Annotated[
        str | None,
        typer.Option(
            metavar="balanced|V=W,...",
            help="Of logistic and network: what rows of a class count, as yes=5; balanced: every class as much.",
        ),
    ] = None,
    score: Annotated[
        bool,
        typer.Option("--score", help="Of what is trained in rounds: one more, that tells how well the model fits."),
    ] = False,
    tries: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            metavar="NAME=V,...",
            help="Train a model with each of these values (alpha, rounds; of network hidden, as 16,16x8) for one "
            "price, and take the best by a noised score. May be repeated, for all combinations.",
        ),
    ] = None,
    early_stop: Annotated[
        bool, typer.Option("--early-stop", help="Of logistic and poisson: ask no more once gradients are all noise.")
    ] = False,
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
    onnx: Annotated[Path | None, typer.Option(metavar="F", help="Write the model to this file, as ONNX.")] = None,
) -> None:
    """Train a model, every person counting once, and wait for its numbers."""
    session = session_of(context)
    price, given_delta = parse_epsilon(epsilon), None if delta is None else parse_delta(delta)
    check_files(save_receipt, csv, onnx, no_wait=no_wait)
    if onnx is not None:
        from yingbi.models.onnx_export import check_installed

        check_installed()
    given = _Parameters(
        alpha, components, standardized, clusters, rounds, early_stop, hidden, class_weight, score, tuple(tries or ())
    )
    _check_parameters(model, given)
    if given.tries:
        _refuse_with_tries(bounds=bounds, mock=mock, no_wait=no_wait)
        specs = _candidates(model, formula, rows, where, given)
        with session.zone() as zone:
            course = zone.dataset(name).searching(specs, agreement=agreement)
            outcome = searching.Outcome(save_receipt, csv, onnx)
            searching.search(session, course, price, given_delta, request_id, outcome, preview=preview)
        return
    if model in _IN_ROUNDS:
        spec = _in_rounds(model, formula, rows, where, given)
        with session.zone() as zone:
            in_rounds = zone.dataset(name).training(spec, cast("Bounds", bounds), agreement=agreement)
            if preview:
                _show_preview(session, in_rounds.preview(price, given_delta))
            elif mock:
                _show_mock(session, in_rounds.mock(price))
            else:
                wanted_id = named(request_id)
                made = _trained(session, in_rounds, price, given_delta, wanted_id, wait=not no_wait)
                show_made(session, made, save_receipt, csv, onnx)
        return
    wanted = _model(model, formula, rows, where, given)
    with session.zone() as zone:
        training = zone.dataset(name).training(wanted, cast("Bounds", bounds), agreement=agreement)
        if preview:
            _show_preview(session, training.preview(price, given_delta))
            return
        if mock:
            _show_mock(session, training.mock(price))
            return
        ask(session, training, price, given_delta, request_id, Saved(save_receipt, csv, onnx), wait=not no_wait)


@dataclass(frozen=True)
class _Parameters:
    """What not all models have."""

    alpha: float | None
    components: int
    standardized: bool
    clusters: int | None
    rounds: int | None
    early_stop: bool
    hidden: str | None
    class_weight: str | None
    score: bool
    tries: tuple[str, ...]


def _check_parameters(model: str, given: _Parameters) -> None:
    """Refuse what the model does not have."""
    flags: tuple[tuple[str, bool, tuple[str, ...]], ...] = (
        ("alpha", given.alpha is not None, ("ridge", "logistic", "poisson")),
        ("hidden", given.hidden is not None, ("network",)),
        ("class-weight", given.class_weight is not None, ("logistic", "network")),
        ("score", given.score, _SCORED),
        ("try", bool(given.tries), _SCORED),
        ("components", given.components > 0, ("pca",)),
        ("standardized", given.standardized, ("pca",)),
        ("clusters", given.clusters is not None, ("kmeans",)),
        ("rounds", given.rounds is not None, _IN_ROUNDS),
        ("early-stop", given.early_stop, ("logistic", "poisson")),
    )
    for name, is_given, models in flags:
        if is_given and model not in models:
            message = f"--{name} goes with --model {', '.join(models)}."
            raise Problem(Kind.MALFORMED, "usage", message, field=name)


def _show_preview(session: Session, foreseen: Preview) -> None:
    from yingbi.cli import render

    session.terminal.show(foreseen.to_json(), render.preview(foreseen))


def _show_mock(session: Session, found: Fitted | FittedInRounds) -> None:
    from yingbi.cli import render

    session.terminal.show(found.to_json() | {"mock": True}, render.made_up_model(found))


def _trained(
    session: Session, course: TrainingInRounds, epsilon: float, delta: float | None, request_id: str, *, wait: bool
) -> RoundsModel:
    try:
        with session.terminal.following() as progress:
            return course.run(
                epsilon, delta, request_id=request_id, wait=wait, progress=progress, say=session.terminal.say
            )
    except KeyboardInterrupt as interrupt:
        raise Interrupted(
            "rounds that were asked are charged; to go on, and be charged for no round twice, train again with"
            f" --request-id {request_id}"
        ) from interrupt


def _in_rounds(model: str, formula: str, rows: str, where: str, given: _Parameters) -> ModelInRounds:
    from yingbi.models.kmeans import DEFAULT_CLUSTERS, KMeans
    from yingbi.models.network_specs import ExplainableBoosting, NeuralNetwork
    from yingbi.models.round_specs import LogisticRegression, PoissonRegression

    balance = None if given.class_weight is None else parse_class_weight(given.class_weight)
    stop, score, alpha = given.early_stop, given.score, given.alpha or 0.0
    match model:
        case "kmeans":
            clusters = DEFAULT_CLUSTERS if given.clusters is None else given.clusters
            return KMeans(
                formula, rows, where, KMeans.rounds if given.rounds is None else given.rounds, clusters=clusters
            )
        case "network":
            hidden = NeuralNetwork.hidden if given.hidden is None else parse_hidden(given.hidden)
            length = NeuralNetwork.rounds if given.rounds is None else given.rounds
            return NeuralNetwork(formula, rows, where, length, hidden=hidden, class_weight=balance, score=score)
        case "boosting":
            length = ExplainableBoosting.rounds if given.rounds is None else given.rounds
            return ExplainableBoosting(formula, rows, where, length, score=score)
    length = LogisticRegression.rounds if given.rounds is None else given.rounds
    if model == "poisson":
        return PoissonRegression(formula, rows, where, length, stop, alpha=alpha, score=score)
    return LogisticRegression(formula, rows, where, length, stop, alpha=alpha, class_weight=balance, score=score)


def _candidates(model: str, formula: str, rows: str, where: str, given: _Parameters) -> list[ModelInRounds]:
    """The model with each combination of what is to be tried."""
    spec = _in_rounds(model, formula, rows, where, given)
    found = searching.combinations(given.tries)
    for name in found[0]:
        if not hasattr(spec, name):
            message = f"--model {model} has no {name} to try."
            hint = "alpha of logistic and poisson, hidden of network, rounds of all"
            raise Problem(Kind.MALFORMED, "usage", message, field="try", hint=hint)
    return [replace(spec, **each) for each in found]


def _refuse_with_tries(*, bounds: str, mock: bool, no_wait: bool) -> None:
    for flag, is_given in (("bounds", bounds != "declared"), ("mock", mock), ("no-wait", no_wait)):
        if is_given:
            message = f"--{flag} does not go with --try."
            raise Problem(Kind.MALFORMED, "usage", message, field=flag, hint="leave one of them out")


def _model(model: str, formula: str, rows: str, where: str, given: _Parameters) -> ModelSpec:
    from yingbi.learning import LinearRegression, Ridge
    from yingbi.models.specs import PCA, GaussianNB

    if model not in MODELS:
        message = f"There is no model {model!r}."
        raise Problem(Kind.MALFORMED, "usage", message, field="model", hint=f"{', '.join(MODELS[:-1])} or {MODELS[-1]}")
    if model == "ridge":
        return Ridge(formula, rows, where, DEFAULT_ALPHA if given.alpha is None else given.alpha)
    if model == "pca":
        return PCA(formula, rows, where, given.components, given.standardized)
    return (GaussianNB if model == "naive-bayes" else LinearRegression)(formula, rows, where)
