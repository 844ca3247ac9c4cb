"""What all commands that ask a question do: submit it once, wait, show its answer and save parts of it."""

from __future__ import annotations

import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yingbi.api.problem import Kind, Problem
from yingbi.cli.session import Interrupted, Session

if TYPE_CHECKING:
    from yingbi.jobs import Answer, Job
    from yingbi.query import Query


@dataclass(frozen=True)
class Saved:
    """Where parts of an answer are written, beside being shown."""

    receipt: Path | None
    csv: Path | None
    onnx: Path | None = None
    """Of a model."""


def ask(
    session: Session,
    question: Query,
    epsilon: float,
    delta: float | None,
    request_id: str | None,
    saved: Saved,
    *,
    wait: bool,
) -> None:
    """Submit a question and show its answer, or, if it is not to be waited for, its job."""
    job = _submit(session, question, epsilon, delta, named(request_id), wait=wait)
    if not wait and not job.is_final:
        session.terminal.show(job.to_json(), f"{job.id}: {job.state.replace('_', ' ')}")
        return
    show_answer(session, _wait(session, job), saved.receipt, saved.csv, saved.onnx)


def named(request_id: str | None) -> str:
    """A request's name: its own, or one that nobody had."""
    return uuid.uuid4().hex if request_id is None else request_id


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


def show_answer(
    session: Session, job: Job, save_receipt: Path | None, csv: Path | None, onnx: Path | None = None
) -> None:
    show_made(session, job.answer(), save_receipt, csv, onnx)


def show_made(
    session: Session, answer: Answer, save_receipt: Path | None, csv: Path | None, onnx: Path | None = None
) -> None:
    """Show an answer and save parts of it; raises Problem "not_saved"."""
    from yingbi.cli import render

    document, text = answer.to_json(), render.answer(answer)
    try:
        if save_receipt:
            answer.receipt.save(save_receipt)
        if csv:
            answer.save_csv(csv)
        if onnx:
            from yingbi.models.onnx_export import write_onnx_of

            write_onnx_of(answer, onnx)
    except OSError as error:
        raise Problem(
            Kind.FAILED,
            "not_saved",
            f"The answer is there but cannot be saved: {error.strerror}: {error.filename}.",
            hint=f"yingbi result {answer.job.id}",
            details={"job": answer.job.id},
        ) from error
    session.terminal.show(document, text)


def check_files(save_receipt: Path | None, csv: Path | None, onnx: Path | None = None, *, no_wait: bool) -> None:
    """Refuse files that cannot be written, or to which there is nothing to write yet."""
    check_writable(save_receipt, csv, onnx)
    if no_wait and (save_receipt or csv or onnx):
        raise Problem(
            Kind.MALFORMED,
            "usage",
            "With --no-wait there is no answer to save yet.",
            field="no-wait",
            hint="Save it with: yingbi result JOB",
        )


def check_writable(save_receipt: Path | None, csv: Path | None, onnx: Path | None = None) -> None:
    """Find out that a file cannot be written before any budget is spent on its content."""
    for path, field in ((save_receipt, "save-receipt"), (csv, "csv"), (onnx, "onnx")):
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
