"""The commands about a node's root: `yingbi upgrade` and the zone's part of `yingbi escrow`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.zone.folder import ZoneFolder

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The zone's folder.")]
Node = Annotated[str, typer.Argument(metavar="NODE", help="As `yingbi status` shows it.")]
Target = Annotated[Path, typer.Option("--to", metavar="FILE", help="The file to write.")]
Released = Annotated[list[Path], typer.Argument(metavar="RELEASED...", help="Shares that holders released.")]


def register(host: Any) -> None:
    """Add the commands to `host`, a Host."""
    _register_upgrade(host)
    _register_escrow(host)


def _register_upgrade(host: Any) -> None:
    upgrade = typer.Typer(help="Take a zone's nodes to another version of Yingbi, with all that they have.")
    host.app.add_typer(upgrade, name="upgrade")

    @upgrade.command()
    def approve(
        folder: Folder,
        measurement: Annotated[str, typer.Argument(metavar="HEX", help="`yingbi measure` of the new version.")],
        target: Target,
        days: Annotated[int, typer.Option(min=1, max=365, help="How long it is good for.")] = 7,
    ) -> None:
        """Sign, as the operator, that the nodes may go to the code with this measurement."""
        from gateway.zone.upgrade import approve

        policy = approve(ZoneFolder.existing(folder), measurement, days, target)
        until = datetime.fromtimestamp(policy.expires.seconds, UTC)
        document = {
            "policy": str(target),
            "nodes": list(policy.nodes),
            "old_measurement": policy.old_measurement.hex(),
            "new_measurement": policy.new_measurement.hex(),
            "expires": until.isoformat(),
        }
        host.show(
            document,
            f"{', '.join(policy.nodes)} may go to {policy.new_measurement.hex()} until {until:%Y-%m-%d %H:%M} UTC. "
            f"Next: yingbi upgrade prepare {folder} {target}",
        )

    @upgrade.command()
    def prepare(
        folder: Folder, file: Annotated[Path, typer.Argument(metavar="FILE", help="Of `yingbi upgrade approve`.")]
    ) -> None:
        """With the old version installed: hand the nodes over to the new one. The zone is down."""
        from gateway.zone.upgrade import prepare

        zone = ZoneFolder.existing(folder)
        policy, nodes = prepare(zone, file, host.say), zone.node_names
        host.show(
            {"prepared": nodes, "new_measurement": policy.new_measurement.hex()},
            f"Ready: {', '.join(nodes)}. Next: install the new version, then yingbi upgrade finish {folder}",
        )

    @upgrade.command()
    def finish(folder: Folder) -> None:
        """With the new version installed: take the nodes over and hold a new key. Datasets and budgets stay."""
        from gateway.zone import ceremony
        from gateway.zone.upgrade import finish

        zone = ZoneFolder.existing(folder)
        measurement = finish(zone, host.say)
        host.show(
            {"measurement": measurement, "key": ceremony.shown(zone)},
            f"The nodes run code that measures {measurement}, and hold a new key. Whoever has a profile of this zone "
            f"elsewhere changes its measurement to that, once they trust it. Next: yingbi up {folder}",
        )


def _register_escrow(host: Any) -> None:
    escrow: typer.Typer = host.escrow

    @escrow.command()
    def split(
        folder: Folder,
        node: Node,
        holders: Annotated[list[Path], typer.Option("--holder", metavar="FILE.pub", help="Once for each holder.")],
        threshold: Annotated[int, typer.Option(metavar="M", help="How many of them restore the root.")],
        target: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A new or empty folder.")],
    ) -> None:
        """Split a node's root into a share for each holder, as the operator. The zone is down."""
        from gateway.zone.escrow import split

        shares = split(ZoneFolder.existing(folder), node, holders, threshold, target, host.say)
        host.show(
            {"node": node, "threshold": threshold, "shares": [str(share) for share in shares]},
            f"{len(shares)} shares are in {target}, each encrypted to its holder; any {threshold} restore {node}.",
        )

    @escrow.command()
    def request(folder: Folder, node: Node, target: Target) -> None:
        """Ask the holders for their shares. A platform that is gone is made anew. The zone is down."""
        from gateway.zone.escrow import request

        new = request(ZoneFolder.existing(folder), node, target, host.say)
        said = f"{node} has a new platform. " if new else ""
        host.show(
            {"node": node, "request": str(target), "new_platform": new},
            f"{said}Give {target} to the holders: yingbi escrow release SHARE {target.name} --key KEY --to FILE",
        )

    @escrow.command()
    def drill(folder: Folder, node: Node, released: Released) -> None:
        """Try whether these shares restore the node's root. Writes nothing. The zone is down."""
        from gateway.zone.escrow import drill

        drill(ZoneFolder.existing(folder), node, released, host.say)
        host.show({"node": node, "opens": True}, f"These shares restore the root of {node}, and all it has opens.")

    @escrow.command()
    def restore(folder: Folder, node: Node, released: Released) -> None:
        """Restore the node's root on its new platform. The zone is down."""
        from gateway.zone.escrow import restore

        restore(ZoneFolder.existing(folder), node, released, host.say)
        host.show({"node": node, "restored": True}, f"{node} has its root again. Next: yingbi up {folder}")
