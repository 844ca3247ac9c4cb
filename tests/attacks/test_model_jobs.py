"""Models as jobs of enclaves: sealed, pinned by their hash, checked and tried before anything is charged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from yingbi.api.evidence import read_claims
from yingbi.api.models.check import CheckedModel, refused
from yingbi.api.sealing import seal_program
from yingbi.api.v1.job_pb2 import EvaluateQuery, SealedProgram
from yingbi.api.v1.node_pb2 import ContributeTask
from yingbi.api.v1.plan_pb2 import Evaluation, Model, Plan
from yingbi.api.v1.receipt_pb2 import ReceiptBody

from enclave_sim import jobs
from enclave_sim.engine.predictions import Predict
from enclave_sim.engine.protocol import never
from enclave_sim.plan.canonical import encode, plan_hash
from enclave_sim.plan.sensitivity import total_rho_units
from enclave_sim.programs import unavailable
from gateway.planning.evaluation import plan_evaluation
from tests.attacks.three_enclaves import DELTA, Trio, refusal
from tests.evaluated import running
from tests.onnx_models import logistic, model, node

FILE = logistic([1.0], -4.5)
MIXING = model([node("ReduceMean", ["x"], ["y"], axes=[0])], columns=1)
WIDE = logistic([1.0, 1.0])


@contextmanager
def here(asked: Model, checked: CheckedModel) -> Iterator[Predict]:
    """Runs the model in this process."""
    yield running(checked.canonical, asked.width, [(each.width, each.kind) for each in checked.inputs])


@contextmanager
def nowhere(asked: Model, checked: CheckedModel) -> Iterator[Predict]:
    raise unavailable("no user namespaces")
    yield


@contextmanager
def failing(asked: Model, checked: CheckedModel) -> Iterator[Predict]:
    raise refused("it fails on a batch of zeros")
    yield


def model_plan(trio: Trio, file: bytes = FILE, *, epsilon: float = 20.0) -> Plan:
    asked = EvaluateQuery(
        sha256=hashlib.sha256(file).digest(),
        task=Evaluation.TASK_BINARY,
        inputs="pain",
        response="pain >= 5",
        output="y",
        width=1,
        rows="visits",
        bins=10,
    )
    version = trio.version()
    return plan_evaluation(
        asked, trio.declaration(), dataset_version=version, parties=3, epsilon=epsilon, delta=DELTA
    ).plan


def sealed_for(trio: Trio, index: int, plan: Plan, file: bytes = FILE) -> SealedProgram:
    return seal_program(file, read_claims(trio.enclaves[index].identity.evidence), plan_hash(encode(plan)))


def tasks(trio: Trio, plan: Plan, file: bytes = FILE) -> list[ContributeTask]:
    common, found = trio.task(plan, request_id="request-1"), []
    for index in range(3):
        task = ContributeTask()
        task.CopyFrom(common)
        task.program.CopyFrom(sealed_for(trio, index, plan, file))
        found.append(task)
    return found


@pytest.fixture
def ready(trio: Trio) -> Trio:
    trio.enclaves = [replace(enclave, open_model=here) for enclave in trio.enclaves]
    return trio


def finished(trio: Trio, job: str, given: Sequence[ContributeTask]) -> ReceiptBody:
    contributions = [
        jobs.contribute(enclave, job, task, never) for enclave, task in zip(trio.enclaves, given, strict=True)
    ]
    signatures = trio.sign(job, trio.open(job, contributions))
    assert len({one.receipt_body for one in signatures}) == 1
    return ReceiptBody.FromString(signatures[0].receipt_body)


def test_three_enclaves_sign_one_receipt_with_the_noised_table(ready: Trio) -> None:
    plan = model_plan(ready)
    body = finished(ready, "job-1", tasks(ready, plan))
    assert body.rho_units == total_rho_units(plan)
    persons = [each / 2**16 for each in body.opened]
    noise = plan.statistics[0].sigma * 3**0.5 / 2**16
    # Whoever has at least 5 of pain has a score above a half, and nobody else.
    assert abs(sum(persons[:5]) + sum(persons[16:21]) - sum(persons)) < 8 * noise * 22**0.5
    assert sum(persons) > 10 * noise


def test_a_file_that_is_not_the_plans_or_mixes_rows_is_refused_before_it_is_charged(ready: Trio) -> None:
    plan = model_plan(ready)
    other, mixing, wide = logistic([2.0]), model_plan(ready, MIXING), model_plan(ready, WIDE)
    altered = sealed_for(ready, 0, plan)
    altered.ciphertext = altered.ciphertext[:-1] + bytes([altered.ciphertext[-1] ^ 1])
    lies = {
        "another model": (plan, sealed_for(ready, 0, plan, other), "other_program"),
        "for another enclave": (plan, sealed_for(ready, 1, plan), "bad_program"),
        "for another plan": (plan, sealed_for(ready, 0, mixing), "bad_program"),
        "altered": (plan, altered, "bad_program"),
        "nothing": (plan, SealedProgram(), "bad_program"),
        "one that mixes rows": (mixing, sealed_for(ready, 0, mixing, MIXING), "model"),
        "one of more inputs than the plan has": (wide, sealed_for(ready, 0, wide, WIDE), "model"),
    }
    for number, (lie, (asked, sealed, code)) in enumerate(lies.items()):
        task = ready.task(asked, request_id=f"request-{number}")
        task.program.CopyFrom(sealed)
        given = task
        found = refusal(
            lambda given=given, number=number: jobs.contribute(ready.enclaves[0], f"job-{number}", given, never)
        )
        assert found == code, lie
    assert ready.records("charge") == [0, 0, 0]


def test_where_a_model_cannot_run_nothing_is_charged(trio: Trio) -> None:
    plan = model_plan(trio)
    for place, code in ((nowhere, "sandbox_unavailable"), (failing, "model")):
        enclave = replace(trio.enclaves[0], open_model=place)
        task = tasks(trio, plan)[0]
        assert refusal(lambda enclave=enclave, task=task: jobs.contribute(enclave, "job-1", task, never)) == code
    assert trio.records("charge") == [0, 0, 0]
