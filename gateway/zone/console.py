"""The console's process: what it is started with, and where it is then. It is told no secret of the zone.

Its port is chosen before anything starts, and stays the same from one `up` to the next where it can: the gateway takes
passkeys for this origin alone, and browsers keep keys by it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from gateway.zone.folder import ZoneFolder

ROLE = "console"
HOST = "127.0.0.1"
DEFAULT_PORT = 7480
_PUBLIC = ("ca_pem", "measurement", "policy", "allow_simulation", "earlier_measurements")
"""What a profile knows of the zone. Its token is not among it."""


def listen(folder: ZoneFolder, say: Callable[[str], None]) -> socket.socket:
    """A listening socket for the pages: at the port of last time, else at the default one, else at a free one."""
    last = _last_port(folder)
    for port in (last, DEFAULT_PORT, 0) if last else (DEFAULT_PORT, 0):
        try:
            found = socket.create_server((HOST, port))
        except OSError:
            if port == last:
                say(f"port {port} is in use: the console moves, and keys that browsers keep for the old one stay there")
            elif port == 0:
                raise
        else:
            return found
    raise AssertionError


def name_origin(folder: ZoneFolder, listening: socket.socket) -> str:
    """Where the pages are, as browsers name it; the gateway reads it when it starts."""
    origin = f"http://localhost:{listening.getsockname()[1]}"
    path = folder.gateway / "gateway.json"
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps({**json.loads(path.read_text()), "console": origin}))
    temporary.rename(path)
    return origin


def command(folder: ZoneFolder, gateway: str, listening: int) -> list[str]:
    """The arguments for Python that start it, for a gateway at this address; its settings are written here."""
    ready, settings = folder.run / "console.ready.json", folder.run / "console.json"
    ready.unlink(missing_ok=True)
    profile = json.loads(folder.profile("developer").read_text())
    public = {name: profile[name] for name in _PUBLIC if name in profile}
    settings.write_text(json.dumps({"address": gateway, **public}, indent=1))
    return ["-m", "yingbi_dashboard", str(settings), "--ready", str(ready), "--socket", str(listening)]


def address(folder: ZoneFolder) -> str | None:
    """Where its pages are; None while it has not started."""
    ready = folder.run / "console.ready.json"
    return str(json.loads(ready.read_text())["console"]) if ready.exists() else None


def _last_port(folder: ZoneFolder) -> int | None:
    try:
        return urlsplit(json.loads((folder.gateway / "gateway.json").read_text()).get("console") or "").port
    except ValueError:
        return None
