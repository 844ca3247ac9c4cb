"""The enclave's process, once it is confined: see `enclave_sim.start_enclave`.

It has three inherited sockets and no other way in or out: the channel, on which its node relays tasks of the
gateway and its answers; the listening Unix socket for rows; and that of the launcher of sandboxes. It ends with its
node, however that ends: the kernel sees to it, and so does the channel, which closes.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from cryptography.exceptions import InvalidTag
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from yingbi.api.eat import MAX_NONCE, MIN_NONCE
from yingbi.api.evidence import EvidenceError
from yingbi.api.parts import TaskParts, split_result
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import Failure
from yingbi.api.v1.node_pb2 import Hello, RecallTask, Task, TaskResult

from enclave_sim import deployments, jobs, opening, stop_tasks, verification
from enclave_sim.enclave import Enclave, load_enclave
from enclave_sim.frames import read_frame, write_frame
from enclave_sim.identity import Configuration
from enclave_sim.ingest import serve_connection
from enclave_sim.job_records import check_not_stopped
from enclave_sim.journal import JournalError
from enclave_sim.models import Models
from enclave_sim.programs import Sandboxes, program_environment, why_no_sandbox
from enclave_sim.sandbox.in_use import InUse
from enclave_sim.sandbox.launcher import Launched
from enclave_sim.storage.state import RootError

log = logging.getLogger("enclave")

# Of tasks that lack a message: ten vectors of a million cells are a tenth of it.
MOST_BYTES_BEGUN = 1 << 30
# Verdicts, and refusals in their place, leave at multiples of it.
VERIFY_SECONDS = 0.25
VERIFICATIONS = ("begin_verification", "witness", "verify")


class Worker:
    """Runs tasks one after another; cancellations and stops overtake them. Verifications are a queue of their own.

    A stop is done before the next message is read: what its proof says holds for whatever leaves after it.

    An enclave that is shown that its journal was put back to an earlier state does no task any more.
    """

    def __init__(self, enclave: Enclave, answer: Callable[[TaskResult], None]) -> None:
        self._enclave = enclave
        self._answer = answer
        self._cancelled: set[str] = set()
        self._rolled_back: Problem | None = None
        # The job whose task runs now. Under the lock: what a stop ends is that one, and not the next.
        self._running = ""
        self._ending = threading.Lock()
        # Of stops and of results that leave: one at a time.
        self._leaving = threading.Lock()
        self._parts = TaskParts(MOST_BYTES_BEGUN)
        self._tasks = ThreadPoolExecutor(max_workers=1, thread_name_prefix="task")
        # Predictions and verdicts do not wait for jobs; the journal takes records of all.
        self._predictions = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prediction")
        self._verifications = ThreadPoolExecutor(max_workers=1, thread_name_prefix="verification")

    def take(self, payload: bytes) -> None:
        """Accept the task in one frame; bytes that are none are noted in the log, since nobody can be answered."""
        try:
            message = Task.FromString(payload)
        except DecodeError:
            log.warning("a message of %d bytes is no task", len(payload))
            return
        self.accept(message)

    def accept(self, message: Task) -> None:
        """Queue a task when its last message is here; its result goes to `answer`."""
        try:
            task = self._parts.add(message)
        except Problem as problem:
            _log_refusal(message, problem)
            self._answer(TaskResult(id=message.id, job=message.job, failure=_failure(problem)))
            return
        if task is None:
            return
        if task.WhichOneof("kind") == "attest":
            self._attest(task)
            return
        if task.WhichOneof("kind") in ("stop", "lift"):
            self._stop(task)
            return
        if task.WhichOneof("kind") == "cancel":
            self._cancelled.add(task.job)
        self._queue(task.WhichOneof("kind")).submit(self._run, task)

    def _queue(self, kind: str | None) -> ThreadPoolExecutor:
        if kind in deployments.TASKS:
            return self._predictions
        return self._verifications if kind in VERIFICATIONS else self._tasks

    def _attest(self, task: Task) -> None:
        """At once: who asks whether an enclave is what it should be does not wait for what it computes."""
        result = TaskResult(id=task.id, job=task.job)
        if MIN_NONCE <= len(task.attest.nonce) <= MAX_NONCE:
            result.evidence.CopyFrom(self._enclave.identity.attest(task.attest.nonce))
        else:
            said = f"A nonce has {MIN_NONCE} to {MAX_NONCE} bytes."
            result.failure.CopyFrom(_failure(Problem(Kind.MALFORMED, "nonce", said)))
        self._answer(result)

    def _stop(self, task: Task) -> None:
        """Also of an enclave that takes part in nothing: to stop needs no memory of what was charged."""
        result = TaskResult(id=task.id, job=task.job)
        with self._leaving:
            try:
                if task.WhichOneof("kind") == "stop":
                    result.stopped.CopyFrom(stop_tasks.stop(self._enclave, task.stop, self._end))
                else:
                    result.stopped.CopyFrom(stop_tasks.lift(self._enclave, task.lift))
            except Problem as problem:
                _log_refusal(task, problem)
                result.failure.CopyFrom(_failure(problem))
            except Exception as error:
                log.error("a stop failed: %s", type(error).__name__)
                result.failure.CopyFrom(_failure(stop_tasks.failed(error)))
            self._answer(result)

    def _end(self, jobs: Collection[str]) -> None:
        """End the task that runs where it is of one of these jobs, and all that it started."""
        with self._ending:
            self._cancelled.update(jobs)
            if self._running in jobs:
                self._enclave.in_use.end()

    def _leave(self, result: TaskResult) -> None:
        """Answer; of a job that was stopped while it was worked on, nothing leaves but that."""
        with self._leaving:
            if result.WhichOneof("kind") in ("contribution", "opening_share", "receipt_signature"):
                try:
                    check_not_stopped(self._enclave, result.job)
                except Problem as problem:
                    result = TaskResult(id=result.id, job=result.job, failure=_failure(problem))
            self._answer(result)

    def _run(self, task: Task) -> None:
        result = TaskResult(id=task.id, job=task.job)
        begun = time.monotonic()
        try:
            result.MergeFrom(self._job_result(task))
        except Problem as problem:
            _log_refusal(task, problem)
            result.failure.CopyFrom(_failure(problem))
        except Exception as error:
            # Its text could hold a value: it goes to nobody but this node's own log, by type alone.
            log.error("task of job %r failed: %s", task.job, type(error).__name__)
            result.failure.CopyFrom(_failure(_unexpected(error)))
        if task.WhichOneof("kind") == "verify":
            # What it takes depends on the dataset's size, not on who is asked about; this is for what nobody thought
            # of. The thread waits: a task behind it would else tell when it was free.
            time.sleep(until_the_grid(time.monotonic() - begun))
        for part in split_result(result):
            self._leave(part)

    def _is_cancelled(self, job: str) -> bool:
        return job in self._cancelled

    def _job_result(self, task: Task) -> TaskResult:
        if self._queue(task.WhichOneof("kind")) is not self._tasks:
            return self._result(task)
        with self._ending:
            self._running = task.job
        try:
            return self._result(task)
        finally:
            with self._ending:
                self._running = ""

    def _result(self, task: Task) -> TaskResult:
        if self._rolled_back is not None:
            raise self._rolled_back
        match task.WhichOneof("kind"):
            case "contribute":
                cancelled = partial(self._is_cancelled, task.job)
                return TaskResult(contribution=jobs.contribute(self._enclave, task.job, task.contribute, cancelled))
            case "open":
                return TaskResult(opening_share=opening.open_total(self._enclave, task.job, task.open))
            case "sign":
                return TaskResult(receipt_signature=opening.sign_receipt(self._enclave, task.job, task.sign))
            case "cancel":
                jobs.cancel(self._enclave, task.job)
                return TaskResult(cancelled=Empty())
            case "recall":
                self._recall(task.recall)
                return TaskResult(recalled=Empty())
            case _:
                return self._service(task)

    def _service(self, task: Task) -> TaskResult:
        """Of what is asked about one person or one row, and not of a job."""
        match task.WhichOneof("kind"):
            case kind if kind in deployments.TASKS:
                return deployments.result_of(self._enclave, task)
            case kind if kind in VERIFICATIONS:
                return verification.result_of(self._enclave, task, time.time())
            case _:
                raise Problem(Kind.MALFORMED, "unknown_task", "This enclave does not know that kind of task.")

    def _recall(self, task: RecallTask) -> None:
        try:
            self._enclave.heads.check_own(task.heads, self._enclave.identity, self._enclave.epoch)
        except Problem as problem:
            log.error("%s It takes part in nothing; %s.", problem.message, problem.hint)
            self._rolled_back = problem
            raise


def until_the_grid(taken: float) -> float:
    """How many seconds remain until the next multiple of `VERIFY_SECONDS`, after so many."""
    return math.ceil(taken / VERIFY_SECONDS) * VERIFY_SECONDS - taken


def _log_refusal(task: Task, problem: Problem) -> None:
    """Who keeps the node sees what was tried of its enclave. Both texts depend on no row, and the job is quoted."""
    kind = task.WhichOneof("kind") or "unknown"
    log.warning("task to %s for job %.80r refused: %s: %.500r", kind, task.job, problem.code, problem.message)


def _unexpected(error: Exception) -> Problem:
    if isinstance(error, (OSError, JournalError)):
        return Problem(Kind.FAILED, "storage", "The node could not write its record.", hint="is the node's disk full?")
    return Problem(Kind.FAILED, "computation_failed", "The computation failed inside the enclave.")


def _failure(problem: Problem) -> Failure:
    return Failure(code=problem.code, message=problem.message, hint=problem.hint or "")


def serve(enclave: Enclave, channel: socket.socket, ingest: socket.socket) -> None:
    """Say hello, then answer tasks until the channel closes."""
    stream = cast(BinaryIO, channel.makefile("rwb"))
    writing = threading.Lock()

    def answer(result: TaskResult) -> None:
        with writing:
            write_frame(stream, result.SerializeToString())

    no_sandbox = why_no_sandbox()
    hello = Hello(
        node=enclave.node,
        evidence=enclave.identity.evidence,
        key_epoch=enclave.signed_epoch,
        no_sandbox=no_sandbox,
        programs=program_environment() if no_sandbox is None else None,
    )
    with writing:
        write_frame(stream, hello.SerializeToString())
    threading.Thread(target=_serve_ingest, args=(enclave, ingest), daemon=True).start()
    worker = Worker(enclave, answer)
    while (payload := read_frame(stream)) is not None:
        worker.take(payload)


def _serve_ingest(enclave: Enclave, listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        try:
            serve_connection(enclave, connection)
        except Exception as error:
            log.error("a connection that brought rows failed: %s", type(error).__name__)


@dataclass(frozen=True)
class Sockets:
    """What the process has from its node."""

    channel: socket.socket
    ingest: socket.socket
    launcher: socket.socket


def run(name: str, ca_pem: bytes, sockets: Sockets, held: Sequence[str]) -> NoReturn:
    """Load the enclave of the current folder and serve until the node is gone. `held`: what confines the process."""
    configuration = Configuration(held)
    try:
        enclave = load_enclave(Path(), ca_pem, configuration=configuration)
    except (EvidenceError, InvalidTag, JournalError, RootError, OSError, ValueError, KeyError) as error:
        sys.exit(f"the enclave of {name} refuses to start: {error or type(error).__name__}")
    start = Launched(sockets.launcher).start_zygote
    in_use = InUse()
    sandboxes, models = Sandboxes(start, configuration, in_use=in_use), Models(start, configuration, in_use)
    enclave = replace(enclave, open_sandbox=sandboxes.open, open_model=models.open, in_use=in_use)
    enclave.masks.prepare()
    serve(enclave, sockets.channel, sockets.ingest)
    # The channel is closed: the node is gone. A computation may still run; nobody waits for it.
    os._exit(0)
