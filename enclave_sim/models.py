"""Models in an enclave: unsealed, checked, and run in a sandbox."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import TypeAlias

import numpy as np
from cryptography.exceptions import InvalidTag
from yingbi.api.configuration import SANDBOX
from yingbi.api.models.check import MAX_MODEL_BYTES, CheckedModel, check_model, refused
from yingbi.api.problem import Kind, Problem
from yingbi.api.sealing import program_info
from yingbi.api.v1.job_pb2 import SealedProgram
from yingbi.api.v1.plan_pb2 import Model

from enclave_sim.engine.predictions import Numbers, Predict, batch_rows
from enclave_sim.engine.protocol import Cancelled
from enclave_sim.identity import Configuration, Identity
from enclave_sim.programs import unavailable
from enclave_sim.sandbox import EndedError, Limits, Sandbox, SandboxUnavailableError
from enclave_sim.sandbox.in_use import IN_USE, InUse
from enclave_sim.sandbox.limits import MODELS
from enclave_sim.sandbox.model_runner import pack_head
from enclave_sim.sandbox.zygote_process import StartZygote, start_zygote

MEMORY_BYTES = 1 << 30
BLOCK_BYTES = 1 << 30
"""Of a part's rows, as the model is given them."""

LONGEST_SECONDS = 3600.0
FLOOR_SECONDS, OPERATIONS_A_SECOND = 30.0, 20_000_000.0
"""How long a part may take: a floor, and time for its rows' work. Much more than it needs."""

OpenModel: TypeAlias = Callable[[Model, CheckedModel], AbstractContextManager[Predict]]
"""A place to run a model in; raises Problem "sandbox_unavailable" where there is none, and "model" where it fails."""


def unseal_model(identity: Identity, sealed: SealedProgram, model: Model, plan_hash: bytes) -> CheckedModel:
    """The model that was sealed to this enclave for this plan; raises Problem for another, or one that mixes rows."""
    try:
        file = identity.unseal(sealed.ciphertext, program_info(plan_hash))
    except InvalidTag as error:
        message = "The model is not sealed to this enclave for this plan."
        raise Problem(Kind.REFUSED, "bad_program", message) from error
    if len(file) > MAX_MODEL_BYTES or hashlib.sha256(file).digest() != model.sha256:
        raise Problem(Kind.REFUSED, "other_program", "The model is another one than the plan names.")
    checked = check_model(file)
    check_fits(model, checked)
    return checked


def check_fits(model: Model, checked: CheckedModel) -> None:
    """Refuse (Problem "model") a plan that gives the model other inputs, or reads other outputs, than it has."""
    if len(model.inputs) != checked.width:
        raise refused(f"it takes {checked.width} numbers of a row, and the plan has {len(model.inputs)}")
    if checked.outputs.get(model.output) != model.width:
        raise refused(f"it has no output {model.output!r} of {model.width} numbers")


class Models:
    """Where models are run on this machine, one after another; see `programs.Sandboxes`."""

    def __init__(self, start: StartZygote, configuration: Configuration, in_use: InUse = IN_USE) -> None:
        self._start, self._configuration, self._in_use = start, configuration, in_use

    @contextmanager
    def open(self, model: Model, checked: CheckedModel) -> Iterator[Predict]:
        """A place that has just proven what it is, and in which the model has run on a batch of zeros."""
        limits = Limits(seconds=LONGEST_SECONDS, memory_bytes=MEMORY_BYTES, block_bytes=BLOCK_BYTES, packages=(MODELS,))
        if find_spec(MODELS) is None:
            raise unavailable(f"{MODELS} is not installed")
        try:
            sandbox = Sandbox(limits, self._start)
        except SandboxUnavailableError as error:
            raise unavailable(str(error)) from error
        with sandbox, self._in_use.while_open(sandbox):
            self._configuration.add(SANDBOX + sandbox.profile.digest)
            predict = _predict_in(sandbox, model, checked)
            if predict(np.zeros((1, batch_rows(checked.work), checked.width))) is None:
                raise refused("it fails on a batch of zeros", hint="try it with onnxruntime on your own machine")
            yield predict


def _predict_in(sandbox: Sandbox, model: Model, checked: CheckedModel) -> Predict:
    inputs = [(each.width, each.kind) for each in checked.inputs]
    running = threading.Lock()

    def predict(rows: Numbers) -> Numbers | None:
        batches, batch, _ = rows.shape
        shape = (batches, batch, model.width)
        head = pack_head(batches, batch, inputs, model.output)
        numbers = np.ascontiguousarray(rows, "<f8").reshape(-1).view(np.uint8).data
        length, work = 8 * int(np.prod(shape)), batches * batch * (checked.work + 1000)
        with running:
            seconds = FLOOR_SECONDS + work / OPERATIONS_A_SECOND
            try:
                said = sandbox.run_model(checked.canonical, (head, numbers), length, min(seconds, LONGEST_SECONDS))
            except EndedError as error:
                raise Cancelled from error
        return None if said is None else np.frombuffer(said, "<f8").reshape(shape)

    return predict


open_model = Models(start_zygote, Configuration()).open
"""Sandboxes that this very process starts: of an enclave that is not confined, in tests."""
