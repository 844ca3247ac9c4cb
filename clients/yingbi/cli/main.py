"""The console script `yingbi`: from arguments to an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from yingbi.api.problem import Kind, Problem
from yingbi.cli import (
    agreements,
    approvals,
    attestation,
    audits,
    commands,
    deployments,
    escrow,
    evaluation,
    learning,
    operators,
    people,
    plugins,
    programs,
    stops,
    synthesis,
    verification,
)
from yingbi.cli.arguments import take_common, wants_json
from yingbi.cli.session import Interrupted, Session
from yingbi.cli.terminal import Terminal

INTERRUPTED = 130
BROKEN_PIPE = 1

_OWN = {
    "datasets", "mock", "sql", "batch", "run", "train", "synthesize", "result", "jobs", "cancel", "approve", "refuse",
    "approvals",
    "budget", "receipt", "agreement", "attest", "audit", "deploy", "deployments", "predict", "verify", "consent",
    "organisation", "operator", "person", "token", "whoami", "stop", "lift", "stops",
    "--version",
}  # fmt: skip
_OWN_DATASET = {"show"}
_OWN_ESCROW = {"key", "release"}
# typer brings its own copy of click, or uses click itself, depending on its version.
_UsageError: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "UsageError")


def run() -> None:
    """Run with the process's arguments and exit."""
    # A script's shell starts background commands with SIGINT ignored; an interrupt is to work there too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit code (see `Kind.exit_code`)."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    terminal = Terminal(wants_json(arguments))
    try:
        return _run(arguments)
    except Problem as problem:
        terminal.fail(problem)
        return problem.kind.exit_code
    except Interrupted as interrupted:
        terminal.say(str(interrupted))
        return INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python would flush standard output once more on exit, and complain. typer and rich do alike.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if os.environ.get("YINGBI_DEBUG") == "1":
            raise
        terminal.fail(
            Problem(
                Kind.FAILED,
                "internal",
                f"Something unforeseen happened: {type(error).__name__}: {error}",
                hint="YINGBI_DEBUG=1 shows where",
            )
        )
        return Kind.FAILED.exit_code


def _run(arguments: Sequence[str]) -> int:
    common, rest = take_common(arguments)
    session = Session(common, Terminal(common.json))
    app = _app(session, with_plugins=_needs_plugins(rest))
    try:
        code = typer.main.get_command(app).main(rest, "yingbi", standalone_mode=False, obj=session)
    except _UsageError as error:
        if not rest and not common.json:  # the help was printed instead
            return Kind.MALFORMED.exit_code
        raise _usage(error) from error
    except ModuleNotFoundError as error:
        if _is_own(rest):
            raise
        raise plugins.server_extra_missing(" ".join(rest[:1])) from error
    return code if isinstance(code, int) else 0


def _app(session: Session, *, with_plugins: bool) -> typer.Typer:
    # In JSON mode there is one document and no help beside it.
    helps = not session.terminal.json
    app = typer.Typer(
        name="yingbi",
        help="Ask questions of data that stays where it is.",
        epilog="Everywhere: --json for one JSON document, --as NAME to be who joined here, "
        "--zone ADDR --token T --ca F for another zone.",
        no_args_is_help=helps,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_common)
    dataset = typer.Typer(help="Look at a dataset, or add one.", no_args_is_help=helps)
    receipt = typer.Typer(help="Check receipts, offline.", no_args_is_help=helps)
    commands.register(app, dataset, receipt)
    programs.register(app)
    learning.register(app)
    deployments.register(app)
    synthesis.register(app)
    evaluation.register(app)
    agreements.register(app, typer.Typer(help="Look at agreements, or take them on.", no_args_is_help=helps))
    approvals.register(app, typer.Typer(help="Look at standing approvals, or revoke one.", no_args_is_help=helps))
    attestation.register(app)
    audits.register(app, typer.Typer(help="Read the record of all that was done, and check it.", no_args_is_help=helps))
    stopping = typer.Typer(help="Stop a job, an agreement, a dataset, an organisation.", no_args_is_help=helps)
    stops.register(app, stopping, typer.Typer(help="Let a dataset be used again.", no_args_is_help=helps))
    consent = typer.Typer(help="Sign consents of subjects, as an issuer, or ask for one.", no_args_is_help=helps)
    verification.register(app, consent, receipt)
    filed = (
        typer.Typer(help=text, no_args_is_help=helps)
        for text in (
            "Look at the zone's organisations, file or remove one.",
            "Look at people, invite or remove one, or join.",
            "Look at your tokens, make or revoke one.",
        )
    )
    people.register(app, *filed)
    operating = typer.Typer(help="Look at who may operate the zone, or take it on.", no_args_is_help=helps)
    operators.register(app, operating)
    shares = typer.Typer(help="Keep a node's root in shares, and restore it.", no_args_is_help=helps)
    escrow.register(app, shares)
    if with_plugins:
        plugins.register(plugins.Host(app, dataset, shares, session.terminal.show, session.terminal.say))
    return app


def _show_version(context: typer.Context, wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import version

    session: Session = context.obj
    number = version("yingbi")
    session.terminal.show({"version": number}, f"yingbi {number}")
    raise typer.Exit


def _common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Where the options before a command are declared."""


def _is_own(rest: Sequence[str]) -> bool:
    match list(rest):
        case ["dataset", command, *_]:
            return command in _OWN_DATASET
        case ["escrow", command, *_]:
            return command in _OWN_ESCROW
        case [command, *_]:
            return command in _OWN
        case _:
            return False


def _needs_plugins(rest: Sequence[str]) -> bool:
    """Whether what is asked for may be a plugin's: its import is saved for all other commands."""
    return not _is_own(rest)


def _usage(error: Exception) -> Problem:
    """What click has to say, in our form."""
    sentence = error.format_message() if hasattr(error, "format_message") else str(error)
    parameter = getattr(error, "param", None)
    name = getattr(parameter, "name", None) or getattr(error, "option_name", None)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "yingbi"
    return Problem(
        Kind.MALFORMED,
        "usage",
        sentence or "Arguments are missing.",
        field=name.strip("-").replace("_", "-") if name else None,
        hint=f"{path} --help",
    )
