"""Starting zygotes for an enclave: `python -m enclave_sim.sandbox.launcher --channel FD`.

A zygote needs rights that an enclave gives up – to make processes and namespaces – and comes from no process that holds
data or keys. So the node starts this one beside its enclave; it has nothing but one socket to it, on which it is asked
to start zygotes and to end them, and sends the socket to each. It ends, with all of them, when the enclave does.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import threading
from dataclasses import asdict, dataclass
from typing import Any

from enclave_sim import kernel
from enclave_sim.sandbox.limits import Limits, SandboxUnavailableError
from enclave_sim.sandbox.zygote import LONGEST_MESSAGE
from enclave_sim.sandbox.zygote_process import START_SECONDS, Zygote, ZygoteProcess, start_zygote

MOST_ZYGOTES = 4
"""At a time. An enclave runs one program after another."""


def serve(channel: socket.socket) -> None:
    """Do what the enclave asks until it has gone; then end what was started."""
    zygotes: dict[int, ZygoteProcess] = {}
    started = 0
    try:
        while message := channel.recv(LONGEST_MESSAGE):
            match json.loads(message):
                case {"start": limits}:
                    started += 1
                    _start(channel, zygotes, started, limits)
                case {"abandon": number} if number in zygotes:
                    zygotes[number].abandon()
                case {"end": number}:
                    if zygote := zygotes.pop(number, None):
                        zygote.close()
                    channel.send(b"{}")
    finally:
        for zygote in zygotes.values():
            zygote.close()


def _start(channel: socket.socket, zygotes: dict[int, ZygoteProcess], number: int, limits: dict[str, Any]) -> None:
    try:
        if len(zygotes) >= MOST_ZYGOTES:
            raise SandboxUnavailableError(f"there are {MOST_ZYGOTES} already")
        zygote = start_zygote(Limits(**limits | {"packages": tuple(limits["packages"])}))
    except (SandboxUnavailableError, OSError, KeyError, TypeError, ValueError) as error:
        reason = error.reason if isinstance(error, SandboxUnavailableError) else str(error)
        channel.send(json.dumps({"failed": reason}).encode()[:LONGEST_MESSAGE])
        return
    said = {"number": number, "layers": zygote.layers, "modules": zygote.modules}
    socket.send_fds(channel, [json.dumps(said).encode()], [zygote.control.fileno()])
    # Whoever asked for it has it now, and it ends when they close it.
    zygote.control.close()
    zygotes[number] = zygote


class Launched:
    """The enclave's end of the launcher."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._asking = threading.Lock()
        # It has the launcher's own time, and the little it takes to be heard.
        channel.settimeout(START_SECONDS + 10)

    def start_zygote(self, limits: Limits) -> Zygote:
        """Raises SandboxUnavailableError."""
        try:
            said, descriptors = self.ask({"start": asdict(limits)})
        except (OSError, ValueError) as error:
            raise SandboxUnavailableError(f"its launcher does not answer: {error}") from error
        if "failed" in said or len(descriptors) != 1:
            raise SandboxUnavailableError(str(said.get("failed", "its launcher sent no socket")))
        return LaunchedZygote(
            socket.socket(fileno=descriptors[0]), said["layers"], said["modules"], self, said["number"]
        )

    def ask(self, request: dict[str, object]) -> tuple[dict[str, Any], list[int]]:
        """One request and its answer; raises OSError, ValueError."""
        with self._asking:
            self.tell(request)
            answer, descriptors, _flags, _address = socket.recv_fds(self._channel, LONGEST_MESSAGE, 1)
        return dict(json.loads(answer)), descriptors

    def tell(self, request: dict[str, object]) -> None:
        """A request without an answer; raises OSError."""
        self._channel.send(json.dumps(request).encode())


@dataclass
class LaunchedZygote(Zygote):
    """A child of the launcher."""

    launcher: Launched
    number: int

    def abandon(self) -> None:
        self.launcher.tell({"abandon": self.number})

    def close(self) -> None:
        self.control.close()
        self.launcher.ask({"end": self.number})


def main() -> None:
    """Serve the descriptor that is named."""
    parser = argparse.ArgumentParser(prog="enclave_sim.sandbox.launcher")
    parser.add_argument("--channel", type=int, required=True)
    arguments = parser.parse_args()
    # A terminal's Ctrl-C is for those that end this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    os.chdir("/")
    with socket.socket(fileno=arguments.channel) as channel:
        serve(channel)


if __name__ == "__main__":
    main()
