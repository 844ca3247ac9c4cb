"""The commands about deployed models. Each reads its arguments, asks the SDK and shows."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yingbi.api import deployments as rules
from yingbi.api.problem import Kind, Problem
from yingbi.cli.asking import check_writable
from yingbi.cli.session import session_of, trust_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yingbi.deployments import Deployment
    from yingbi.predictions import Predictions

Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
_PER_DAY = "/day"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(deploy)
    group = typer.Typer(help="Look at deployed models; approve or withdraw one.", invoke_without_command=True)
    group.callback()(list_all)
    group.command()(show)
    group.command()(approve)
    group.command()(withdraw)
    group.command()(verify)
    app.add_typer(group, name="deployments")
    app.command()(predict)


def deploy(
    context: typer.Context,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.json", help="What `yingbi train --save-receipt` wrote.", show_default=False)
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="A name of its own, for good.")],
    callers: Annotated[
        list[str] | None,
        typer.Option(metavar="ORG", help="An organisation that may use it, several times; by default your own."),
    ] = None,
    limit: Annotated[str, typer.Option(metavar="N/day", help="Rows a day, of each organisation.")] = "1000/day",
    total: Annotated[int | None, typer.Option(metavar="N", help="Rows in all, of each organisation.")] = None,
    decimals: Annotated[int | None, typer.Option(metavar="D", help="Round answers to so many decimals.")] = None,
    price: Annotated[float, typer.Option(metavar="P", help="Of a row.")] = 0.0,
    node: Annotated[str, typer.Option(metavar="NODE", help="Whose enclave serves it.")] = "",
) -> None:
    """Keep a trained model in the zone, for others to use; an operator approves it first."""
    from yingbi.receipt import Receipt

    session = session_of(context)
    rows = _rows_a_day(limit)
    receipt = Receipt.load(model, trust_of(session.common))
    with session.zone() as zone:
        made = zone.deploy(
            receipt,
            name,
            callers=callers or (),
            limit=rows,
            total=total,
            decimals=decimals,
            price=price,
            node=node,
        )
    session.terminal.show(made.to_json(), f"{made.name} waits for an operator's approval.\n{_described(made)}")


def list_all(context: typer.Context) -> None:
    """List the deployed models that you may use, or deployed."""
    if context.invoked_subcommand is not None:
        return
    session = session_of(context)
    with session.zone() as zone:
        found = zone.deployments()
    lines = [f"{each.name}: {each.state}, {each.kind}, predicts {each.terms.form.response}" for each in found]
    session.terminal.show({"deployments": [each.to_json() for each in found]}, "\n".join(lines) or "none")


def show(context: typer.Context, name: Name) -> None:
    """Show a deployed model's terms, and what was used of it."""
    session = session_of(context)
    with session.zone() as zone:
        found = zone.deployment(name)
    session.terminal.show(found.to_json(), _described(found))


def approve(
    context: typer.Context,
    name: Name,
    without_receipt: Annotated[
        bool, typer.Option("--without-receipt", help="Approve a model that comes with none, by its fingerprint alone.")
    ] = False,
) -> None:
    """Let a model be used, as the operator, once its parameters are computed anew from the release they are of."""
    session = session_of(context)
    with session.zone("operator") as zone:
        waiting = zone.deployment(name)
        if waiting.receipt is not None:
            session.terminal.say(waiting.check())
        approved = waiting.approve(without_receipt=without_receipt)
    session.terminal.show(approved.to_json(), f"{approved.name}: {approved.state}\n{_described(approved)}")


def withdraw(
    context: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End a deployment for good, as the operator."""
    session = session_of(context)
    if not yes:
        question = f"Withdraw {name} for good? Its name cannot be used again."
        session.terminal.confirm(question, to_do=f"withdraw {name} for good", otherwise=f"{name} stays as it was.")
    with session.zone("operator") as zone:
        ended = zone.deployment(name).withdraw()
    away = f"; {ended.terms.node} is away and does not know it yet: withdraw it again when it is back"
    text = f"{ended.name}: {ended.state}{away if ended.message.enclave_not_told else ''}"
    session.terminal.show(ended.to_json(), text)


def verify(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="F", help="What --save-usage wrote.", show_default=False)],
) -> None:
    """Check usage receipts, with the network off, and say what they count."""
    from yingbi.predictions import UsageReceipt

    session = session_of(context)
    trust = trust_of(session.common)
    receipts = [UsageReceipt.of_line(line, trust) for line in _lines(file)]
    for receipt in receipts:
        receipt.verify()
    lines = [
        f"{said.time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC: {said.rows:,} rows of {said.deployment} for"
        f" {said.organisation}, {said.rows_total:,} in all"
        for said in (receipt.body for receipt in receipts)
    ]
    document = {"verified": True, "usage": [receipt.to_json() for receipt in receipts]}
    session.terminal.show(document, "\n".join([*lines, f"{len(receipts)} receipts verify"]))


def predict(
    context: typer.Context,
    name: Name,
    rows: Annotated[Path, typer.Argument(metavar="ROWS.csv", help="With the model's variables.", show_default=False)],
    out: Annotated[Path | None, typer.Option(metavar="F", help="Write the rows with their answers here.")] = None,
    save_usage: Annotated[Path | None, typer.Option(metavar="F", help="Write the signed usage receipts here.")] = None,
) -> None:
    """Have a deployed model predict for rows of your own, which only its enclave reads."""
    session = session_of(context)
    check_writable(out, save_usage)
    header, cells = _read_csv(rows)
    with session.zone() as zone:
        deployment = zone.deployment(name)
        found = deployment.predict(_columns(deployment, header, cells))
    if save_usage is not None:
        save_usage.write_text("".join(f"{each.line()}\n" for each in found.receipts))
    text = _csv_text(header, cells, found)
    if out is not None:
        out.write_text(text, encoding="utf-8", newline="")
    session.terminal.show(found.to_json(), text if out is None else f"{len(found):,} rows are in {out}")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Problem(Kind.MALFORMED, "file", f"Cannot read {str(path)!r}: {why}.", field="file") from error


def _rows_a_day(text: str) -> int:
    digits = text.removesuffix(_PER_DAY)
    if not digits.isascii() or not digits.isdigit():
        said = f"A limit is a number of rows a day; got {text!r}."
        raise Problem(Kind.MALFORMED, "usage", said, field="limit", hint="--limit 1000/day")
    return int(digits)


def _described(found: Deployment) -> str:
    terms = found.terms
    total = f", {terms.rows_total:,} in all" if terms.HasField("rows_total") else ""
    rounded = f"answers have {terms.decimals} decimals" if terms.HasField("decimals") else "answers are not rounded"
    lines = [
        f"{found.name}: {found.state}; {found.kind}, predicts {terms.form.response} from {', '.join(found.variables)}",
        f"served by {terms.node}, deployed by {found.message.developer} of {found.message.organisation}",
        f"for {', '.join(terms.organisations)}: each {terms.rows_per_day:,} rows a day{total}; {rounded}",
        f"fingerprint {found.fingerprint}",
    ]
    for use in found.message.uses:
        paid = f", for {use.price_micros / rules.MICROS:g}" if use.price_micros else ""
        lines.append(f"{use.organisation} used {use.rows_today:,} rows today, {use.rows_total:,} in all{paid}")
    return "\n".join(lines)


def _read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no CSV in UTF-8"
        raise Problem(Kind.MALFORMED, "file", f"Cannot read {str(path)!r}: {why}.", field="rows") from error
    header, cells = (lines[0], lines[1:]) if lines else ([], [])
    for number, line in enumerate(cells, 2):
        if len(line) != len(header):
            said = f"Row {number} of {str(path)!r} has {len(line)} cells; the header has {len(header)}."
            raise Problem(Kind.MALFORMED, "file", said, field="rows", position=f"{number}:1")
    return header, cells


def _columns(deployment: Deployment, header: Sequence[str], cells: Sequence[Sequence[str]]) -> dict[str, list[object]]:
    """The cells by their columns; an empty one has no value, and numbers are read where the model has numbers."""
    levels = {
        factor.variable: factor.level.WhichOneof("kind") if factor.HasField("level") else "float64_value"
        for column in deployment.terms.form.columns
        for factor in column.factors
    }
    return {
        name: [_cell(line[place], levels.get(name, "string_value") or "string_value") for line in cells]
        for place, name in enumerate(header)
    }


def _cell(text: str, kind: str) -> object:
    if not text.strip():
        return None
    if kind == "string_value":
        return text
    if kind == "bool_value" and text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    try:
        number = float(text)
    except ValueError:
        return {"true": 1.0, "false": 0.0}.get(text.strip().lower(), text)
    return int(number) if kind == "int64_value" and number.is_integer() else number


def _csv_text(header: Sequence[str], cells: Sequence[Sequence[str]], found: Predictions) -> str:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow([*header, *found.columns])
    for line, row in zip(cells, found.rows, strict=True):
        writer.writerow([*line, *(repr(number) if math.isfinite(number) else "" for number in row)])
    return sink.getvalue()
