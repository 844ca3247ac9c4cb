"""What reaches an enclave over its channel, fuzzed: frames, parts, tasks. No crash, and nothing but the honest job.

An enclave's node and the gateway may send any bytes. Refusals have the codes that docs/command-line.md lists; an error
that nobody foresaw would be `computation_failed`, and a path that leads outside would be `storage`: neither may occur.
Seconds by default; with --long every target goes on for LONG_SECONDS (`tests/attacks/mutations.py`).
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message
from hypothesis import strategies as st
from yingbi.api.parts import TaskParts, sign_tasks
from yingbi.api.problem import Problem
from yingbi.api.v1.node_pb2 import (
    AttestTask,
    CancelTask,
    ContributeTask,
    Contribution,
    OpenedTotal,
    OpeningShareBody,
    OpenTask,
    RecallTask,
    SignTask,
    Task,
    TaskResult,
)
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.v1.receipt_pb2 import ContributionBody

from enclave_sim import opening
from enclave_sim.enclave_process import Worker
from enclave_sim.frames import FrameError, read_frame, write_frame
from enclave_sim.plan.canonical import encode, plan_hash
from enclave_sim.plan.sensitivity import total_rho_units
from tests.attacks.mutations import LONG_SECONDS, altered, altered_bytes, altered_message, fuzz, outcome
from tests.attacks.three_enclaves import QUERY, WIDE_QUERY, Trio, authorized

pytestmark = pytest.mark.timeout(4 * LONG_SECONDS)

DOCUMENTED = set(re.findall(r"`(\w+)`", (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()))
UNFORESEEN = {"computation_failed", "storage"}


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Of a failure the example is to be read, and not the log of all that went before."""
    caplog.set_level(logging.CRITICAL, "enclave")


def test_altered_frames() -> None:
    """What is read was sent, byte for byte, or the stream is broken; nothing is waited for that cannot come."""

    def target(data: st.DataObject) -> None:
        stream = io.BytesIO()
        for payload in data.draw(st.lists(st.binary(max_size=30), max_size=4)):
            write_frame(stream, payload)
        sent = altered(data, stream.getvalue())
        received, reader = b"", io.BytesIO(sent)
        while isinstance(frame := outcome(lambda: read_frame(reader), FrameError), bytes):
            received += len(frame).to_bytes(8, "big") + frame
        assert sent.startswith(received)
        assert isinstance(frame, FrameError) or received == sent

    fuzz(target, 100)


def test_altered_parts() -> None:
    """Messages of tasks in any order and form: put together, or refused; never more kept than is allowed."""
    most = 4_000
    opened = OpenTask(contributions=[Contribution(ciphertexts=[b"c" * 40] * 10)] * 2)
    first, last = OpenedTotal(cells=[1, 2], randomness=[b"r" * 40]), OpenedTotal(cells=[3])
    messages = [
        Task(id="1", job="job-1", open=opened, more=True),
        Task(id="1", job="job-1", open=opened),
        Task(id="2", job="job-1", sign=SignTask(opened=first), more=True),
        Task(id="2", job="job-1", sign=SignTask(opened=last)),
        Task(id="1", job="job-1", cancel=CancelTask()),
        Task(id="3", job="job-1", attest=AttestTask(nonce=bytes(32)), more=True),
    ]

    def target(data: st.DataObject) -> None:
        parts = TaskParts(most)
        # A length that grows in being put together may take a byte more.
        sent, growth = 0, 16
        for _ in range(data.draw(st.integers(1, 12))):
            message = Task.FromString(data.draw(st.sampled_from(messages)).SerializeToString())
            if data.draw(st.booleans()):
                message = altered_message(data, message, messages)
            sent += message.ByteSize()
            whole = outcome(lambda one=message: parts.add(one), Problem)  # type: ignore[misc]
            if isinstance(whole, Problem):
                assert whole.code == "lost_part"
            elif whole is not None:
                assert whole.id == message.id
                assert whole.ByteSize() <= sent + growth
            assert sum(task.ByteSize() for task in parts._begun.values()) <= most

    fuzz(target, 75)


@contextmanager
def listening(trio: Trio) -> Iterator[tuple[Worker, list[TaskResult]]]:
    """A worker of the first enclave, and what it answered when its context ends."""
    answers: list[TaskResult] = []
    worker = Worker(trio.enclaves[0], answers.append)
    try:
        yield worker, answers
    finally:
        worker._tasks.shutdown()


def answers_to(trio: Trio, *payloads: bytes) -> list[TaskResult]:
    """All that an enclave answers to these messages."""
    with listening(trio) as (worker, answers):
        for payload in payloads:
            worker.take(payload)
    for answer in answers:
        assert answer.failure.code not in UNFORESEEN
        assert answer.failure.code in DOCUMENTED | {""}
    return answers


@dataclass(frozen=True)
class Honest:
    """Tasks of every kind, and all that an enclave may ever answer to them and their like."""

    tasks: list[Task]
    # One that nobody asked for, with a stranger's signature.
    forged: Task
    plans: set[bytes]
    totals: set[tuple[str, bytes]]
    receipt: bytes
    most_spent: int


def honest(trio: Trio) -> Honest:
    """Job 1: to be bound by the first enclave. Job 2: to be begun. Job 3: all have consented to its one total."""
    plans = [trio.plan(epsilon=0.25), trio.plan(epsilon=0.5), trio.plan(WIDE_QUERY, epsilon=0.25)]
    contributions = trio.contribute("job-1", trio.task(plans[0], request_id="request-1"))
    binding = OpenTask(contributions=contributions)
    consents = [opening.open_total(enclave, "job-1", binding) for enclave in trio.enclaves[1:]]
    last = trio.contribute("job-3", trio.task(plans[2], request_id="request-3"))
    all_consents = trio.consent("job-3", last)
    opened = trio.opened("job-3", trio.open("job-3", last))
    receipt = trio.sign_opened("job-3", opened)[0].receipt_body
    spent = trio.spent()[0]
    tasks = [
        Task(id="1", job="job-2", contribute=trio.task(plans[1], request_id="request-2")),
        Task(id="2", job="job-1", open=binding),
        Task(id="3", job="job-1", open=OpenTask(consents=[consents[0], *consents])),
        Task(id="4", job="job-3", open=OpenTask(consents=all_consents)),
        *sign_tasks("job-3", opened),
        Task(id="6", job="job-3", recall=RecallTask(heads=last[0].heads)),
        Task(id="7", job="job-9", cancel=CancelTask()),
        Task(id="8", attest=AttestTask(nonce=bytes(32))),
    ]
    unasked = trio.plan("SELECT COUNT(*) FROM visits", epsilon=0.5)
    forged = trio.task(unasked, request_id="request-4")
    body = trio.authorization(unasked, "request-4")
    forged.authorization.CopyFrom(authorized(body, Ed25519PrivateKey.generate()))
    return Honest(
        tasks=tasks,
        forged=Task(id="9", job="job-4", contribute=forged),
        plans={plan_hash(encode(plan)) for plan in plans},
        totals={(body.job, body.total_digest) for body in map(_share_body, [*consents, *all_consents])},
        receipt=receipt,
        most_spent=spent + total_rho_units(plans[1]),
    )


def _share_body(share: Message) -> OpeningShareBody:
    return OpeningShareBody.FromString(share.body)  # type: ignore[attr-defined]


def test_altered_tasks(trio: Trio) -> None:
    """Whatever a gateway sends: what is computed, opened and signed is what was asked for by the honest."""
    known = honest(trio)

    def target(data: st.DataObject) -> None:
        task = data.draw(st.sampled_from([known.forged, *known.tasks]))
        payload = altered_bytes(data, task, [known.forged, *known.tasks], plan=Plan, body=ContributionBody)
        check(known, answers_to(trio, payload))
        assert trio.spent()[0] <= known.most_spent

    fuzz(target, 75)
    # After all that it does its work.
    for task in known.tasks[:2]:
        check(known, answers_to(trio, task.SerializeToString()))


def check(known: Honest, answers: Sequence[TaskResult]) -> None:
    """Nothing is among the answers that the honest tasks would not have brought about."""
    for answer in answers:
        match answer.WhichOneof("kind"):
            case "contribution" if answer.contribution.HasField("signed"):
                body = ContributionBody.FromString(answer.contribution.signed.body)
                assert body.plan_hash in known.plans
            case "opening_share" if answer.opening_share.body:
                share = _share_body(answer.opening_share)
                assert (share.job, share.total_digest) in known.totals
                # The consents of job 1 lack one.
                assert share.job == "job-3" or not answer.opening_share.partials
            case "receipt_signature":
                assert answer.receipt_signature.receipt_body == known.receipt
            case _:
                pass


def test_results_are_no_tasks(trio: Trio) -> None:
    """What enclaves say, and any other bytes, sent to one: it answers nothing but refusals, and works on."""
    contribution = trio.contribute("job-1", trio.task(trio.plan()))[0]
    share = trio.consent("job-1", trio.contribute("job-1", trio.task(trio.plan())))[0]
    results = [
        TaskResult(id="1", job="job-1", contribution=contribution),
        TaskResult(id="1", job="job-1", opening_share=share),
    ]
    spent = trio.spent()

    def target(data: st.DataObject) -> None:
        payload = altered_bytes(data, data.draw(st.sampled_from(results)), results)
        for answer in answers_to(trio, payload, data.draw(st.binary(max_size=60))):
            assert answer.HasField("failure") or answer.HasField("cancelled") or answer.HasField("evidence")
        assert trio.spent() == spent

    fuzz(target, 30)


def test_plans_that_a_developer_signs_in_any_form(trio: Trio) -> None:
    """The signature holds, so that the enclave's own check of the plan is what is left: every refusal has its reason.

    That what it accepts is private is shown by test_sensitivity_lies.py and test_lying_plans.py.
    """
    plans = [trio.plan(sql, epsilon=0.01) for sql in (QUERY, WIDE_QUERY, "SELECT COUNT(*) FROM visits")]
    numbers = iter(range(10**9))

    def target(data: st.DataObject) -> None:
        plan = altered_message(data, data.draw(st.sampled_from(plans)), plans)
        honest_body = trio.authorization(data.draw(st.sampled_from(plans)), f"request-{next(numbers)}")
        honest_body.plan_hash = plan_hash(encode(plan))
        rho = [statistic.rho_units for statistic in plan.statistics]
        honest_body.rho_units = min(2**63 - 1, max(0, sum(rho)))
        task = ContributeTask(
            plan=encode(plan),
            authorization=authorized(honest_body, trio.developer),
            shards=trio.shards["visits"],
            agreement=trio.agreed(trio.agreement()),
        )
        (*_, answer) = answers_to(trio, Task(id="1", job=f"job-{next(numbers)}", contribute=task).SerializeToString())
        assert answer.WhichOneof("kind") in ("contribution", "failure")

    fuzz(target, 30)
