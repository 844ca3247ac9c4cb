"""The commands that run a zone, as they join the `yingbi` command line."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from yingbi.api.problem import Kind, Problem

from gateway.zone import policy_commands, upkeep_commands
from gateway.zone.folder import ZoneFolder

AUTO_APPROVE_WARNING = (
    "warning: --auto-approve lets every plan run without agreement or approval; for demonstrations and scripts only"
)

ADD_AGAIN = "Every dataset must be added again (`yingbi dataset add`); what was spent stays spent."

# Of the server extra. Not imported here, since that takes longer than most commands.
SERVER_PACKAGES = (
    "alembic", "duckdb", "gmpy2", "jinja2", "numpy", "opendp", "phe", "pyarrow", "sqlalchemy", "sqlglot", "starlette",
    "uvicorn",
)  # fmt: skip

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The zone's folder.")]


class Host(Protocol):
    """The command line that these commands join."""

    @property
    def app(self) -> typer.Typer: ...
    @property
    def dataset(self) -> typer.Typer: ...
    @property
    def escrow(self) -> typer.Typer: ...
    def show(self, document: object, text: object) -> None:
        """Print a JSON document, or the text for people."""

    def say(self, text: str) -> None:
        """Tell progress."""


def register(host: Any) -> None:
    """Add the commands that run a zone to `host`, a Host; raises ImportError without the server extra."""
    missing = [name for name in SERVER_PACKAGES if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(f"not installed: {', '.join(missing)}")
    _register_processes(host)
    _register_nodes(host)
    _register_measure(host)
    _register_data(host)
    upkeep_commands.register(host)
    policy_commands.register(host)


def _register_processes(host: Host) -> None:
    @host.app.command()
    def init(
        folder: Folder,
        nodes: Annotated[int, typer.Option(help="Provider nodes.")] = 3,
        auto_approve: Annotated[bool, typer.Option("--auto-approve", help="Approve every plan.")] = False,
    ) -> None:
        """Make a zone: CA, keys, tokens, folders."""
        from gateway.zone.init import make_current, make_zone

        if auto_approve:
            print(AUTO_APPROVE_WARNING, file=sys.stderr)
        zone = make_zone(folder, nodes, auto_approve=auto_approve, say=host.say)
        make_current(zone, "developer")
        document = {"zone": str(zone.root), "nodes": zone.node_names, "auto_approve": auto_approve}
        host.show(document, f"A zone of {_nodes(nodes)} is in {zone.root}. Next: yingbi up {folder}")

    @host.app.command()
    def up(
        folder: Folder,
        port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: 7443, else a free one.")] = None,
        detach: Annotated[bool, typer.Option("--detach", help="Return when ready.")] = False,
    ) -> None:
        """Start the gateway, the nodes and the console of a zone; Ctrl-C stops them all."""
        from gateway.zone import processes

        zone = ZoneFolder.existing(folder)
        addresses = processes.start(zone, port, detach=detach, say=host.say)
        print(json.dumps(addresses), flush=True)
        if not detach:
            _stay(zone, host)

    @host.app.command()
    def down(folder: Folder) -> None:
        """Stop a zone's processes."""
        from gateway.zone import processes

        ended = processes.stop(ZoneFolder.existing(folder))
        host.show({"stopped": [asdict(process) for process in ended]}, f"Stopped {len(ended)} processes.")

    @host.app.command()
    def status(folder: Folder) -> None:
        """Show where the gateway and the console are, which processes run, and which key they hold."""
        from gateway.zone import ceremony, processes

        zone = ZoneFolder.existing(folder)
        present = processes.status(zone)
        document = {
            "gateway": present.gateway,
            "console": present.console,
            "processes": [{"role": one.role, "name": one.name, "pid": one.pid} for one in present.processes],
            "key": ceremony.shown(zone),
        }
        host.show(document, json.dumps(document, indent=1))


def _register_measure(host: Host) -> None:
    @host.app.command()
    def measure(
        listed: Annotated[bool, typer.Option("--list", help="Also what it is a digest of, line by line.")] = False,
    ) -> None:
        """Print the measurement of the enclave's code as it is installed here."""
        from gateway.zone.ceremony import measured

        *lines, value = measured()
        document = {"measurement": value, **({"list": lines} if listed else {})}
        host.show(document, "\n".join([*lines, value] if listed else [value]))


def _stay(zone: ZoneFolder, host: Host) -> None:
    import signal

    from gateway.zone import processes

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        processes.wait(zone, host.say)
    except KeyboardInterrupt:
        host.say("stopping")
    finally:
        processes.stop(zone)


def _register_nodes(host: Host) -> None:
    node = typer.Typer(help="Add or remove a provider node, or renew keys; the zone is down.")
    host.app.add_typer(node, name="node")

    @node.command()
    def add(folder: Folder) -> None:
        """Make one more provider node. All datasets must be added again."""
        from gateway.zone import roster

        zone = ZoneFolder.existing(folder)
        added = roster.add_node(zone, host.say)
        _show_epoch(host, zone, {"added": added}, f"{added} has joined. {ADD_AGAIN}")

    @node.command()
    def remove(
        folder: Folder,
        name: Annotated[str, typer.Argument(metavar="NAME", help="As `yingbi status` shows it.")],
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    ) -> None:
        """Go on without a provider node. All datasets must be added again."""
        from gateway.zone import roster

        zone = ZoneFolder.existing(folder)
        roster.check_removable(zone, name)
        if not yes:
            _confirm(f"{name}'s rows leave every dataset, and {name} cannot come back. {ADD_AGAIN} Remove it?")
        roster.remove_node(zone, name, host.say)
        left = f"{name} has left; {zone.node(name)} stays and may be deleted. {ADD_AGAIN}"
        _show_epoch(host, zone, {"removed": name}, left)

    @node.command()
    def rekey(folder: Folder) -> None:
        """Make a new key for the same nodes. Datasets stay."""
        from gateway.zone import roster

        zone = ZoneFolder.existing(folder)
        roster.rekey(zone, host.say)
        _show_epoch(host, zone, {}, "Datasets stay as they are.")

    @node.command("rotate-keys")
    def rotate_keys(
        folder: Folder,
        name: Annotated[str, typer.Argument(metavar="NAME", help="As `yingbi status` shows it.")],
    ) -> None:
        """Renew the keys under which a node's datasets lie at rest. No row is written anew."""
        from gateway.zone import upkeep

        zone = ZoneFolder.existing(folder)
        version = upkeep.rotate_keys(zone, name, host.say)
        said = f"{name} has zone key {version}; headers and keys of its earlier copies open nothing any more."
        host.show({"node": name, "key_version": version}, f"{said} Next: yingbi up {zone.root}")


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise Problem(
            Kind.MALFORMED, "not_confirmed", question.rpartition(" Remove")[0], field="--yes", hint="confirm with --yes"
        )
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    if not agreed:
        raise Problem(Kind.REFUSED, "not_confirmed", "Nothing was changed.")


def _show_epoch(host: Host, zone: ZoneFolder, done: dict[str, str], text: str) -> None:
    from gateway.zone import ceremony

    key = ceremony.shown(zone)
    epoch = f"Key epoch {key['epoch']}, made by a {key['ceremony']}."
    host.show({**done, "key": key}, f"{text} {epoch} Next: yingbi up {zone.root}")


def _register_data(host: Host) -> None:
    @host.dataset.command("add")
    def add(
        folder: Folder,
        metadata: Annotated[Path, typer.Argument(metavar="META.yaml", help="The dataset's metadata.")],
    ) -> None:
        """Split a dataset by unit over the zone's nodes, seal it in their enclaves, register it."""
        from gateway.zone.ingest import add_dataset

        dataset = add_dataset(ZoneFolder.existing(folder), metadata, host.say)
        name, version = dataset.declaration.dataset, dataset.version.hex()
        document = {
            "dataset": name,
            "version": version,
            "zone": dataset.declaration.zone,
            "tables": [table.name for table in dataset.declaration.tables],
            "nodes": len(dataset.shards),
        }
        host.show(document, f"{name} is registered, version {version[:12]}, at {_nodes(len(dataset.shards))}.")


def _nodes(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"
