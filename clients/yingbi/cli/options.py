"""Arguments and options that several commands take, each with one name and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JobId = Annotated[str, typer.Argument(metavar="JOB", show_default=False)]
DatasetName = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
Epsilon = Annotated[str, typer.Option(metavar="E", help="What to pay, of the dataset's budget.")]
Delta = Annotated[str | None, typer.Option(metavar="D", help="Above 0 and below 1; by default the dataset's.")]
OnlyPreview = Annotated[bool, typer.Option("--preview", help="Only say what to expect; costs nothing.")]
RequestId = Annotated[str | None, typer.Option(metavar="ID", help="Asking again with the same ID is charged once.")]
AgreementName = Annotated[
    str | None,
    typer.Option(metavar="ID", help="The agreement to ask under; by default your only one, where one is required."),
]
Purpose = Annotated[
    str, typer.Option(metavar="TEXT", help="What the answer is for, signed: the agreement's purpose, word for word.")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Print the job and leave.")]
ReceiptFile = Annotated[
    Path | None, typer.Option("--save-receipt", metavar="F", help="Write the receipt to this file.")
]
CsvFile = Annotated[Path | None, typer.Option("--csv", metavar="F", help="Write the table to this file.")]
