"""Where the command line writes: documents to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yingbi.api.problem import Kind, Problem

if TYPE_CHECKING:
    from yingbi.jobs import Job, Progress

SQL_OPTIONS = ("rows", "where")
"""Fields that an error may have its place in, beside the formula that they go with."""


@dataclass(frozen=True)
class Terminal:
    """Standard output and error, in JSON mode or for people."""

    json: bool = False

    def show(self, document: object, text: object) -> None:
        """The result of a command: the document in JSON mode, else the text or rich renderable."""
        if self.json:
            sys.stdout.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
        elif isinstance(text, str):
            sys.stdout.write(text.rstrip("\n") + "\n")
        else:
            from rich.console import Console
            from rich.text import Text

            Console().print(text, soft_wrap=isinstance(text, Text))
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Something on the way, to standard error."""
        sys.stderr.write(text.rstrip("\n") + "\n")
        sys.stderr.flush()

    def fail(self, problem: Problem) -> None:
        """An error: the one document in JSON mode, else a sentence and what to do."""
        if self.json:
            self.show(problem.to_json(), "")
            return
        part = f" of --{problem.field}" if problem.field in SQL_OPTIONS else ""
        where = f" (at {problem.position}{part})" if problem.position else ""
        self.say(f"error: {problem.message}{where}")
        if problem.hint:
            self.say(f"hint: {problem.hint}")

    def confirm(self, question: str, *, to_do: str, otherwise: str) -> None:
        """Have somebody say yes to what cannot be taken back; raises Problem "not_confirmed".

        Args:
            question: "Stop the job job-1?"
            to_do: what has to be confirmed: "stop the job job-1".
            otherwise: how things are after a no: "The job job-1 goes on."
        """
        if self.json or not sys.stdin.isatty():
            said = f"To {to_do} has to be confirmed, and nobody can be asked here. Nothing was changed."
            raise Problem(Kind.MALFORMED, "not_confirmed", said, field="yes", hint="give --yes")
        if not _is_agreed(question):
            raise Problem(Kind.REFUSED, "not_confirmed", otherwise)

    @contextmanager
    def following(self) -> Iterator[Progress]:
        """A reporter of a job's changes: a spinner on a terminal, lines elsewhere."""
        if not sys.stderr.isatty():
            yield _Lines(self)
            return
        from rich.console import Console

        with Console(stderr=True).status("asking") as status:
            yield lambda job: status.update(job.words)


def _is_agreed(question: str) -> bool:
    import typer

    try:
        return typer.confirm(question, err=True)
    except typer.Abort:  # Ctrl-C, or the end of what is read
        return False


class _Lines:
    """One line for every change of what is happening."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._last = ""

    def __call__(self, job: Job) -> None:
        line = f"{job.id}: {job.words}"
        if line != self._last:
            self._last = line
            self._terminal.say(line)
