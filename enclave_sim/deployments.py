"""Deployed models in the enclave that serves them: checked, opened, used, and every use on disk before its answer.

The enclave keeps no deployments: each task brings the terms, the operator's approval and the sealed model, and all are
checked anew. What it keeps, in its journal, are uses (how many rows, of which organisation, when; the order's digest)
and withdrawals. Rows and answers are in memory only, while the call lasts.

Claim: of an organisation no more rows are answered than its limits say, whatever the gateway does. Argument: an answer
is returned only after `Uses.count` (`enclave_sim.uses`), which knows all that the journal has and appends the new use;
the journal is on disk and hash-chained; a deployment is named by the digest of its signed terms, which name this one
enclave, so that no other counts for it. An order is answered once: its digest is in the record.

Claim: for what was stopped nothing is computed, and no use follows a stop of it in the journal, whatever the gateway
says. Argument: the terms name the jobs that the parameters follow from, the operator compared them with the receipts,
and what they were about is read from this enclave's own charges (`_under`); `predict` looks before it computes, and
again with the record of the use, between which and the check no other record comes.

Keeps: AGR-05, MON-01

What this takes for granted: the journal was not put back to an earlier state (`enclave_sim.heads` notices that at the
next job that all nodes take part in, and until then who restores a node and has the gateway's help predicts the rows of
the time between again); and the machine's clock says no later time than it is, for the limit of a day alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidTag
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import deployments as rules
from yingbi.api import digests
from yingbi.api.metering import Used
from yingbi.api.problem import Kind, Problem
from yingbi.api.suites import DEFAULT
from yingbi.api.v1.deployment_pb2 import (
    CheckDeploymentTask,
    DeployedModel,
    DeploymentApproval,
    DeploymentTerms,
    DeploymentWithdrawal,
    PredictionInput,
    PredictionOrder,
    PredictionOutput,
    PredictionReply,
    PredictTask,
    SignedDeploymentTerms,
    UsageBody,
    UsageReceipt,
    WithdrawTask,
)
from yingbi.api.v1.node_pb2 import Task, TaskResult
from yingbi.api.v1.receipt_pb2 import EnclaveSignature

from enclave_sim import stops
from enclave_sim.bodies import read_body
from enclave_sim.enclave import Enclave
from enclave_sim.journal import Record
from enclave_sim.predicting import predict as predicted

TASKS = ("check_deployment", "predict", "withdraw")


@dataclass(frozen=True)
class _Served:
    """A deployment that this enclave may serve, with its parameters."""

    terms: DeploymentTerms
    terms_digest: bytes
    model: DeployedModel
    # Organisations by their callers' keys.
    callers: dict[bytes, str]
    # What a stop can name of it.
    under: frozenset[stops.About]


@dataclass(frozen=True)
class _Ordered:
    """An order of somebody who may give it, and its rows."""

    order: PredictionOrder
    digest: bytes
    organisation: str
    reply_key: bytes
    design: bytes


def result_of(enclave: Enclave, task: Task) -> TaskResult:
    """What one of the TASKS comes to; raises Problem."""
    result = TaskResult()
    if task.WhichOneof("kind") == "predict":
        result.prediction.CopyFrom(predict(enclave, task.predict))
    elif task.WhichOneof("kind") == "withdraw":
        withdraw(enclave, task.withdraw)
        result.withdrawn.SetInParent()
    else:
        check_deployment(enclave, task.check_deployment)
        result.deployment_checked.SetInParent()
    return result


def check_deployment(enclave: Enclave, task: CheckDeploymentTask) -> None:
    """Raise Problem unless this enclave would serve the deployment; counts nothing."""
    _served(enclave, task)


def predict(enclave: Enclave, task: PredictTask, now: float | None = None) -> PredictionReply:
    """The answer to an order, sealed to its caller, and a signed receipt; raises Problem, having counted nothing.

    `now`: seconds since 1970, by default this machine's clock.
    """
    now = time.time() if now is None else now
    served = _served(enclave, task.deployment)
    ordered = _ordered(enclave, served, task, now)
    terms, order = served.terms, ordered.order
    under = served.under | {_asked_by(order.caller_key)}
    _check_not_stopped(enclave.journal.records, terms, under)
    ciphertext = _sealed_answer(served, ordered)
    used = enclave.uses.count(
        terms,
        served.terms_digest,
        ordered.organisation,
        order.rows,
        ordered.digest,
        now,
        lambda records: _check_not_stopped(records, terms, under),
    )
    body = rules.canonical(_usage(enclave, served, ordered, used, ciphertext, now))
    return PredictionReply(ciphertext=ciphertext, usage=_signed(enclave, body))


def withdraw(enclave: Enclave, task: WithdrawTask) -> None:
    """Never serve this deployment again. Durable; raises Problem where nobody who may said so."""
    terms = _terms(enclave, task.terms)
    digest = rules.terms_digest(task.terms.body)
    order = read_body(DeploymentWithdrawal, task.withdrawal.body)
    if order.signer_key not in enclave.policy.operators | {terms.developer_key}:
        raise _refused("not_allowed", "An operator, or its developer, withdraws a deployment.")
    signed = digests.is_signed(order.signer_key, rules.WITHDRAWAL, task.withdrawal.body, task.withdrawal.signature)
    if not signed or order.terms_digest != digest:
        raise _refused("bad_signature", "The withdrawal is not signed, or is of another deployment.")
    enclave.uses.withdraw(digest)


def _served(enclave: Enclave, task: CheckDeploymentTask) -> _Served:
    terms, digest = _terms(enclave, task.terms), rules.terms_digest(task.terms.body)
    callers = _approved_callers(enclave, terms, digest, task)
    enclave.uses.check_not_withdrawn(terms.deployment, digest)
    under = _under(enclave.journal.records, terms)
    _check_not_stopped(enclave.journal.records, terms, under)
    try:
        bound = rules.sealed_model_info(terms.model_digest, terms.developer_key)
        opened = enclave.identity.unseal(task.sealed_model, bound)
    except InvalidTag as error:
        raise _refused("bad_model", "The model is not sealed to this enclave for this deployment.") from error
    if rules.model_digest(opened) != terms.model_digest:
        raise _refused("bad_model", "The model is another one than the deployment's terms name.")
    try:
        model = DeployedModel.FromString(opened)
    except DecodeError as error:
        raise _refused("bad_model", "What is sealed is no model.") from error
    rules.check_model(model, terms.form)
    return _Served(terms, digest, model, callers, under)


def _under(records: Sequence[Record], terms: DeploymentTerms) -> frozenset[stops.About]:
    """What the named jobs were charged for here, and who deployed the model.

    A stop of one of the jobs itself is none of the model: what was released before stays released.
    """
    charges = {str(record["job"]): record for record in records if record["kind"] == "charge"}
    if not charges.keys() >= set(terms.jobs):
        # It would not know which stops the model is under.
        raise _refused("not_started", "This enclave contributed nothing to a job that the model is of.")
    sources = (replace(stops.about_charge(charges[job]), job="") for job in terms.jobs)
    return frozenset({*sources, _asked_by(terms.developer_key)})


def _asked_by(key: bytes) -> stops.About:
    return stops.About(job="", dataset="", agreement="", keys=frozenset({key.hex()}))


def _check_not_stopped(records: Sequence[Record], terms: DeploymentTerms, under: Iterable[stops.About]) -> None:
    if any(stops.stop_of(records, each) is not None for each in under):
        said = f"What {terms.deployment} was made from, who deployed it, or who asks, was stopped."
        raise _refused("stopped", f"{said} Nothing was counted.")


def _terms(enclave: Enclave, signed: SignedDeploymentTerms) -> DeploymentTerms:
    terms = read_body(DeploymentTerms, signed.body)
    if terms.developer_key not in enclave.policy.developers:
        raise _refused("unknown_developer", "The deployment is signed by nobody this provider knows.")
    if not digests.is_signed(terms.developer_key, rules.TERMS, signed.body, signed.signature):
        raise _refused("bad_signature", "The developer's signature of the deployment does not verify.")
    rules.check_terms(terms)
    if (terms.node, terms.node_key) != (enclave.node, enclave.identity.public_signing_key):
        raise _refused("other_node", "The deployment is served by another enclave than this one.")
    return terms


def _approved_callers(
    enclave: Enclave, terms: DeploymentTerms, digest: bytes, task: CheckDeploymentTask
) -> dict[bytes, str]:
    approval = read_body(DeploymentApproval, task.approval.body)
    if approval.operator_key not in enclave.policy.operators:
        raise _refused("not_approved", "A deployment needs an operator's approval.")
    if approval.operator_key == terms.developer_key:
        raise _refused("own_approval", "Nobody approves a deployment of their own.")
    if not digests.is_signed(approval.operator_key, rules.APPROVAL, task.approval.body, task.approval.signature):
        raise _refused("bad_signature", "The operator's signature of the approval does not verify.")
    if approval.terms_digest != digest:
        raise _refused("not_approved", "The operator approved another deployment, or other terms of it.")
    return {each.key: each.organisation for each in approval.callers if each.organisation in terms.organisations}


def _ordered(enclave: Enclave, served: _Served, task: PredictTask, now: float) -> _Ordered:
    order = read_body(PredictionOrder, task.order.body)
    if order.caller_key not in served.callers or order.caller_key not in enclave.policy.developers:
        raise _refused("unknown_caller", "The order is signed by nobody who may use this deployment.")
    if not digests.is_signed(order.caller_key, rules.ORDER, task.order.body, task.order.signature):
        raise _refused("bad_signature", "The caller's signature of the order does not verify.")
    if order.terms_digest != served.terms_digest or order.deployment != served.terms.deployment:
        raise _refused("other_deployment", "The order is for another deployment.")
    if abs(order.made.seconds - now) > rules.ORDER_SECONDS:
        raise _refused("expired", "The order was not made just now, by this enclave's clock; order again.")
    if not 1 <= order.rows <= rules.most_rows(served.terms.form):
        raise _refused("rows", f"An order of this deployment has 1 to {rules.most_rows(served.terms.form):,} rows.")
    if order.input_digest != digests.digest(rules.INPUT, task.input):
        raise _refused("other_input", "The order is about other rows than came with it.")
    given = _opened_input(enclave, served, task.input)
    if len(given.design) != 8 * order.rows * len(served.terms.form.columns):
        raise _refused("rows", "There are not as many rows as the order says, or not with the model's columns.")
    organisation = served.callers[order.caller_key]
    return _Ordered(order, rules.order_digest(task.order.body), organisation, given.reply_key, given.design)


def _opened_input(enclave: Enclave, served: _Served, ciphertext: bytes) -> PredictionInput:
    try:
        opened = enclave.identity.unseal(ciphertext, rules.input_info(served.terms_digest))
        return PredictionInput.FromString(rules.unpadded(opened))
    except (InvalidTag, ValueError, DecodeError) as error:
        raise _refused("bad_input", "The rows are not sealed to this enclave for this deployment.") from error


def _sealed_answer(served: _Served, ordered: _Ordered) -> bytes:
    terms = served.terms
    decimals = terms.decimals if terms.HasField("decimals") else None
    output = PredictionOutput(values=predicted(served.model, ordered.design, decimals))
    try:
        return DEFAULT.seal(rules.padded(rules.canonical(output)), ordered.reply_key, rules.reply_info(ordered.digest))
    except ValueError as error:
        raise _refused("reply_key", "Nothing can be sealed to the key that the answer is to go to.") from error


def _usage(
    enclave: Enclave, served: _Served, ordered: _Ordered, used: Used, ciphertext: bytes, now: float
) -> UsageBody:
    terms, order = served.terms, ordered.order
    return UsageBody(
        deployment=terms.deployment,
        terms_digest=served.terms_digest,
        model_digest=terms.model_digest,
        order_digest=ordered.digest,
        reply_digest=digests.digest(rules.REPLY, ciphertext),
        organisation=ordered.organisation,
        caller_key=order.caller_key,
        rows=order.rows,
        rows_today=used.today,
        rows_total=used.total,
        price_micros=order.rows * terms.price_micros,
        time=Timestamp(seconds=int(now)),
        node=enclave.node,
    )


def _signed(enclave: Enclave, body: bytes) -> UsageReceipt:
    return UsageReceipt(
        body=body,
        signature=EnclaveSignature(
            node=enclave.node,
            signature=enclave.identity.sign(rules.USAGE, body),
            # Made for this body: it says what ran, and when this was signed.
            evidence=enclave.identity.attest(digests.digest(rules.USAGE, body)),
        ),
    )


def _refused(code: str, message: str) -> Problem:
    return Problem(Kind.REFUSED, code, message)
