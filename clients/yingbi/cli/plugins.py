"""Commands that other distributions bring, through the entry-point group `yingbi.commands`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

import typer

from yingbi.api.problem import Kind, Problem

GROUP = "yingbi.commands"

_ZONE_COMMANDS = {
    "init": "Make a zone: CA, keys, tokens, folders.",
    "up": "Start a zone's gateway and nodes.",
    "down": "Stop a detached zone.",
    "status": "Say which processes of a zone run.",
    "node": "Add or remove a zone's node, or renew its keys.",
    "policy": "Say who may do what.",
    "upgrade": "Take a zone to another version of Yingbi.",
}
_ZONE_DATASET_COMMANDS = {"add": "Prepare, seal and register a dataset."}
_ZONE_ESCROW_COMMANDS = {
    "split": "Split a node's root among holders.",
    "request": "Ask holders for their shares.",
    "drill": "Try whether shares restore a root.",
    "restore": "Restore a node's root from shares.",
}
_ANY = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@dataclass(frozen=True)
class Host:
    """What a plugin's `register(host)` gets to add its commands to and to speak through."""

    app: typer.Typer
    dataset: typer.Typer
    escrow: typer.Typer
    show: Callable[[object, object], None]
    say: Callable[[str], None]


def register(host: Host) -> None:
    """Let every installed plugin add its commands.

    One that cannot be imported leaves the command line whole: a zone's commands then say what to install.
    """
    for entry_point in entry_points(group=GROUP):
        try:
            add = entry_point.load()
            add(host)
        except ImportError:
            continue
    _stand_in(host.app, _ZONE_COMMANDS)
    _stand_in(host.dataset, _ZONE_DATASET_COMMANDS)
    _stand_in(host.escrow, _ZONE_ESCROW_COMMANDS)


def server_extra_missing(command: str) -> Problem:
    return Problem(
        Kind.UNAVAILABLE,
        "server_extra_missing",
        f"`yingbi {command}` runs a zone, which the base install cannot.",
        hint="pip install 'yingbi[server]'",
    )


def _stand_in(app: typer.Typer, commands: dict[str, str]) -> None:
    taken = {command.name for command in app.registered_commands}
    taken |= {command.callback.__name__ for command in app.registered_commands if command.callback}
    taken |= {group.name for group in app.registered_groups}
    for name, help_text in commands.items():
        if name not in taken:
            app.command(name, help=help_text, context_settings=_ANY)(_missing(name))


def _missing(name: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        raise server_extra_missing(context.command_path.partition(" ")[2] or name)

    return command
