"""What lies where in a zone's folder.

authority/            the keys of the zone's CA and of the simulated attestation root; read by `init` and `node` only
gateway/              what the gateway's process reads and writes, and nothing else of the zone
nodes/NAME/           one provider node: its certificate, its enclave's files, the socket for rows
profiles/NAME.json    how to reach the zone as a first account, or as who joined here; holds a token
run/                  which processes run, and where the gateway listens
logs/
change/               new files on their way to their places; see `gateway.zone.swap`
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from yingbi.api.problem import Kind, Problem

ROLES = ("developer", "operator", "provider", "supervisor", "coordinator", "auditor")
"""The kinds of organisations, each of which a new zone has one of, with one account that has all its duties."""


@dataclass(frozen=True)
class ZoneFolder:
    """The folder of one zone."""

    root: Path

    @classmethod
    def existing(cls, path: Path) -> ZoneFolder:
        """The zone in `path`; raises Problem where `yingbi init` made none there."""
        folder = cls(path.absolute())
        if not folder.settings_file.is_file():
            raise Problem(
                Kind.MALFORMED, "no_zone", f"There is no zone in {path}.", field="DIR", hint=f"yingbi init {path}"
            )
        return folder

    @property
    def settings_file(self) -> Path:
        """zone.json: written last by `init`, so that it marks a complete zone."""
        return self.root / "zone.json"

    @property
    def node_names(self) -> list[str]:
        """The provider nodes, in the order of their key indexes."""
        return [str(name) for name in json.loads(self.settings_file.read_text())["nodes"]]

    @property
    def named(self) -> int:
        """How many nodes there have been: no name is given twice, since certificates outlast a node."""
        settings = json.loads(self.settings_file.read_text())
        return int(settings.get("named", len(settings["nodes"])))

    @property
    def is_governed(self) -> bool:
        """Whether it was made without --auto-approve."""
        return not json.loads(self.settings_file.read_text())["auto_approve"]

    @property
    def authority(self) -> Path:
        return self.root / "authority"

    @property
    def gateway(self) -> Path:
        return self.root / "gateway"

    @property
    def ca_file(self) -> Path:
        return self.gateway / "ca.crt"

    def node(self, name: str) -> Path:
        """The folder of one provider node."""
        return self.root / "nodes" / name

    def profile(self, role: str) -> Path:
        """The profile file of a role."""
        return self.root / "profiles" / f"{role}.json"

    @property
    def profiles(self) -> list[str]:
        """Whose profiles there are: those of the first accounts, and of who joined here."""
        return sorted(path.stem for path in (self.root / "profiles").glob("*.json"))

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_bytes(content)
