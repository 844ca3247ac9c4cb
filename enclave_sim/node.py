"""The provider node: `python -m enclave_sim.node FOLDER GATEWAY`. It dials out and opens no inbound port.

The node hosts its enclave as a process of its own and carries messages between it and the gateway. It sees
sealed files and ciphertexts. It ends when its enclave ends, and its enclave ends with it.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

import grpc
from yingbi.api.v1.node_pb2 import CompleteTaskRequest, Hello, NextTaskRequest, Task, TaskResult
from yingbi.api.v1.node_pb2_grpc import NodeServiceStub

from enclave_sim.frames import FrameError, read_frame, write_frame

log = logging.getLogger("node")

MAX_MESSAGE = 64 << 20
POLL_SECONDS = 20
RETRY_SECONDS = 0.5


class EnclaveError(Exception):
    """The enclave's process ended before it said hello."""


class EnclaveProcess:
    """The enclave as its node sees it: a channel for tasks, and a process that must not outlive it."""

    def __init__(self, folder: Path, pid_file: Path | None) -> None:
        """Start the enclave and wait for its hello; raises EnclaveError where it does not come up."""
        channel, inherited = socket.socketpair()
        with inherited, listen_for_rows(folder) as listener, _start_launcher() as launcher:
            passed = {"--channel": inherited, "--ingest": listener, "--launcher": launcher}
            self._process = _run(
                *("enclave_sim.start_enclave", str(folder / "enclave"), str(folder / "ca.crt")), passed=passed
            )
        self._stream = cast(BinaryIO, channel.makefile("rwb"))
        self._writing = threading.Lock()
        hello = read_frame(self._stream)
        if hello is None:
            raise EnclaveError(f"exit code {self._process.wait()}")
        self.hello = Hello.FromString(hello)
        if pid_file:
            # Its newline tells whoever waits for the file that it is whole.
            pid_file.write_text(f"{self._process.pid}\n")

    def send(self, task: Task) -> None:
        """Give the enclave a task; raises OSError where it is gone."""
        with self._writing:
            write_frame(self._stream, task.SerializeToString())

    def receive(self) -> TaskResult | None:
        """The enclave's next result; None where it has ended."""
        try:
            payload = read_frame(self._stream)
        except (FrameError, OSError):
            return None
        return TaskResult.FromString(payload) if payload is not None else None


def _start_launcher() -> socket.socket:
    """What starts sandboxes for the enclave, which may not; it ends when nobody has this socket any more."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with there:
        _run("enclave_sim.sandbox.launcher", passed={"--channel": there})
    return here


def _run(*module: str, passed: Mapping[str, socket.socket]) -> subprocess.Popen[bytes]:
    """A Python process that inherits these sockets, and imports nothing from the folder that this one is in."""
    options = [word for name, end in passed.items() for word in (name, str(end.fileno()))]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", *module, *options],
        pass_fds=[end.fileno() for end in passed.values()],
        stdin=subprocess.DEVNULL,
    )


def listen_for_rows(folder: Path) -> socket.socket:
    """The Unix socket `ingest.sock` in `folder`, for this user only.

    It is bound through the folder's file descriptor, since a socket's path has at most 107 bytes.
    """
    path = folder / "ingest.sock"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    descriptor = os.open(folder, os.O_PATH)
    try:
        listener.bind(f"/proc/self/fd/{descriptor}/{path.name}")
    finally:
        os.close(descriptor)
    path.chmod(0o600)
    listener.listen()
    return listener


class Node:
    """Polls the gateway for tasks, hands them to the enclave, and sends its results back."""

    def __init__(self, enclave: EnclaveProcess, gateway: NodeServiceStub) -> None:
        self._enclave = enclave
        self._gateway = gateway
        self._run_id = uuid.uuid4().hex
        self._results: queue.Queue[TaskResult | None] = queue.Queue()

    def run(self) -> None:
        """Serve until the enclave ends."""
        threading.Thread(target=self._poll, daemon=True).start()
        threading.Thread(target=self._send_results, daemon=True).start()
        while (result := self._enclave.receive()) is not None:
            self._results.put(result)

    def _poll(self) -> None:
        request = NextTaskRequest(run=self._run_id, hello=self._enclave.hello, wait_seconds=POLL_SECONDS)
        while True:
            try:
                task = self._gateway.NextTask(request, timeout=POLL_SECONDS + 10)
            except grpc.RpcError as error:
                log.warning("the gateway is out of reach: %s", error)
                time.sleep(RETRY_SECONDS)
                continue
            if task.id:
                self._enclave.send(task)
                request.received = task.sequence

    def _send_results(self) -> None:
        while (result := self._results.get()) is not None:
            request = CompleteTaskRequest(run=self._run_id, result=result)
            while not self._sent(request):
                time.sleep(RETRY_SECONDS)

    def _sent(self, request: CompleteTaskRequest) -> bool:
        try:
            self._gateway.CompleteTask(request, timeout=60)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return False
            log.warning("the gateway did not take a result: %s", error)
        return True


def connect(folder: Path, address: str) -> NodeServiceStub:
    """A channel to the gateway, authenticated on both sides by certificates of the zone's CA."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=(folder / "ca.crt").read_bytes(),
        private_key=(folder / "tls.key").read_bytes(),
        certificate_chain=(folder / "tls.crt").read_bytes(),
    )
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE),
        ("grpc.max_send_message_length", MAX_MESSAGE),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    return NodeServiceStub(grpc.secure_channel(address, credentials, options))


def main() -> None:
    """Start the enclave, connect, serve; ends with exit code 1 when the enclave ends by itself."""
    parser = argparse.ArgumentParser(prog="enclave_sim.node")
    parser.add_argument("folder", type=Path)
    parser.add_argument("gateway")
    parser.add_argument("--enclave-pid-file", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        enclave = EnclaveProcess(arguments.folder, arguments.enclave_pid_file)
    except EnclaveError:
        sys.exit(1)  # the enclave has said why, in the same log
    Node(enclave, connect(arguments.folder, arguments.gateway)).run()
    log.error("the enclave has ended")
    # At once: the end of the interpreter would wait for gRPC's threads, and nothing is left to write.
    os._exit(1)


if __name__ == "__main__":
    main()
