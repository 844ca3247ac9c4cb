"""The console's process: `python -m yingbi_dashboard SETTINGS --ready FILE [--port P]`.

`yingbi up` gives it the socket to listen at, which it chose before the gateway started.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from pathlib import Path

import uvicorn

from yingbi_dashboard.app import Console
from yingbi_dashboard.settings import read_settings

HOST = "127.0.0.1"
DEFAULT_PORT = 7480


def main() -> None:
    """Serve until SIGTERM or SIGINT; writes the address to the ready file. Raises Problem, OSError."""
    parser = argparse.ArgumentParser(prog="yingbi_dashboard")
    parser.add_argument("settings", type=Path)
    parser.add_argument("--ready", type=Path, required=True)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--socket", type=int, help="a descriptor of a listening socket, in place of a port")
    arguments = parser.parse_args()
    given = arguments.socket
    listening = socket.create_server((HOST, arguments.port)) if given is None else socket.socket(fileno=given)
    app = Console(read_settings(arguments.settings)).app()
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        # Pages that follow changes hold a request open; none of them is worth waiting for.
        timeout_graceful_shutdown=1,
    )
    temporary = arguments.ready.with_suffix(".part")
    temporary.write_text(json.dumps({"console": f"http://localhost:{listening.getsockname()[1]}"}))
    temporary.rename(arguments.ready)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    main()
