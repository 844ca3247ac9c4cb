"""Deployed models: who may see, approve, withdraw and use one, and in which state. Pure.

pending → approved, by an operator who did not deploy it → active, once its enclave has checked and taken it
→ withdrawn, for good, from any of them. The enclave checks the signatures again, and counts by itself.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from yingbi.api import deployments as rules
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.deployment_pb2 import (
    DEPLOYMENT_STATE_ACTIVE,
    DEPLOYMENT_STATE_APPROVED,
    DEPLOYMENT_STATE_PENDING,
    DeploymentApproval,
    DeploymentState,
    DeploymentTerms,
    DeploymentWithdrawal,
    DeployRequest,
    PredictionOrder,
    PredictRequest,
    SignedDeploymentApproval,
    SignedDeploymentWithdrawal,
)

from gateway.governance.callers import Caller, Role

Body = TypeVar("Body", bound=Message)

MAX_PENDING = 20
"""Deployments of one organisation that wait for approval, at most: each is kept with its model."""


def is_privy(caller: Caller, organisation: str) -> bool:
    """Whether the caller may know where the parameters come from and who used how much: not those that only call."""
    operates = caller.role is Role.OPERATOR and not caller.hindrance
    return operates or caller.organisation == organisation


def may_see(caller: Caller, terms: DeploymentTerms, organisation: str) -> bool:
    """Whether a deployment of this organisation exists for the caller.

    For an operator always: also one that may not operate now can withdraw it, as it can stop what it sees.
    """
    own = caller.organisation == organisation
    return caller.role is Role.OPERATOR or own or caller.organisation in terms.organisations


def check_deploy(caller: Caller, request: DeployRequest) -> DeploymentTerms:
    """The terms of a new deployment, signed by its caller; raises Problem."""
    if len(request.terms.body) > rules.MAX_TERMS:
        raise Problem(Kind.MALFORMED, "deployment", "The deployment's terms are too large.", field="terms")
    terms = read(DeploymentTerms, request.terms.body)
    rules.check_terms(terms)
    signed = digests.is_signed(caller.key, rules.TERMS, request.terms.body, request.terms.signature)
    if terms.developer_key != caller.key or not signed:
        raise _not_signed("The deployment")
    if list(terms.jobs) != rules.jobs_of(request.provenance if request.HasField("provenance") else None):
        said = "The deployment's terms name other jobs than the receipts that come with it."
        raise Problem(Kind.MALFORMED, "deployment", said, field="jobs", hint="a newer SDK names them")
    if len(request.sealed_model) > rules.MAX_SEALED:
        raise Problem(Kind.MALFORMED, "deployment", "The sealed model is too large.", field="model")
    if request.HasField("provenance"):
        rules.check_provenance(request.provenance)
    return terms


def check_approval(
    caller: Caller, signed: SignedDeploymentApproval, terms: DeploymentTerms, digest: bytes, developer: str
) -> None:
    """Raise Problem unless this operator, who did not deploy it, signed the approval of these very terms."""
    approval = read(DeploymentApproval, signed.body)
    if caller.name == developer or caller.key == terms.developer_key:
        raise Problem(Kind.NOT_ALLOWED, "own_approval", "Nobody approves a deployment of their own.")
    if approval.operator_key != caller.key or not digests.is_signed(
        caller.key, rules.APPROVAL, signed.body, signed.signature
    ):
        raise _not_signed("The approval")
    if approval.terms_digest != digest:
        raise Problem(Kind.CONFLICT, "other_terms", "The deployment has other terms than those approved.")


def check_withdrawal(caller: Caller, signed: SignedDeploymentWithdrawal, terms: DeploymentTerms, digest: bytes) -> None:
    """Raise Problem unless an operator, or the deployment's developer, signed its withdrawal."""
    order = read(DeploymentWithdrawal, signed.body)
    if caller.role is not Role.OPERATOR and caller.key != terms.developer_key:
        raise Problem(Kind.NOT_ALLOWED, "not_allowed", "An operator, or its developer, withdraws a deployment.")
    if order.signer_key != caller.key or not digests.is_signed(
        caller.key, rules.WITHDRAWAL, signed.body, signed.signature
    ):
        raise _not_signed("The withdrawal")
    if order.terms_digest != digest:
        raise Problem(Kind.CONFLICT, "other_terms", "The withdrawal is of another deployment.")


def check_order(
    caller: Caller, request: PredictRequest, order: PredictionOrder, terms: DeploymentTerms, digest: bytes
) -> None:
    """Raise Problem unless this caller ordered these sealed rows, and may."""
    if caller.role is not Role.DEVELOPER or caller.organisation not in terms.organisations:
        raise Problem(
            Kind.NOT_ALLOWED,
            "not_a_caller",
            f"{caller.organisation} may not use {terms.deployment}.",
            hint="its developer says who may when it is deployed",
        )
    if order.caller_key != caller.key or not digests.is_signed(
        caller.key, rules.ORDER, request.order.body, request.order.signature
    ):
        raise _not_signed("The order")
    if order.terms_digest != digest or order.input_digest != digests.digest(rules.INPUT, request.input):
        raise Problem(Kind.CONFLICT, "other_deployment", "The order is for other rows, or another deployment.")
    most = rules.most_rows(terms.form)
    if not 1 <= order.rows <= most or len(request.input) > rules.MAX_SEALED:
        said = f"An order of this deployment has 1 to {most:,} rows, not {order.rows:,}."
        raise Problem(Kind.MALFORMED, "rows", said, field="rows", hint="the SDK orders many rows in parts")


def check_active(name: str, state: DeploymentState.ValueType) -> None:
    """Raise Problem unless something can be predicted with a deployment in this state."""
    if state == DEPLOYMENT_STATE_ACTIVE:
        return
    if state == DEPLOYMENT_STATE_PENDING:
        said, hint = f"{name} waits for an operator's approval.", f"`yingbi deployments approve {name}`, as operator"
        raise Problem(Kind.REFUSED, "deployment_pending", said, hint=hint)
    if state == DEPLOYMENT_STATE_APPROVED:
        said, hint = f"{name} is approved, and its enclave has not taken it yet.", "ask again once its node is there"
        raise Problem(Kind.UNAVAILABLE, "deployment_not_active", said, hint=hint)
    raise Problem(Kind.REFUSED, "deployment_withdrawn", f"{name} was withdrawn; nothing was counted.")


def too_many_pending(organisation: str) -> Problem:
    """What is said where as many wait for approval as may."""
    said = f"{organisation} has {MAX_PENDING} deployments that wait for approval, and no more may."
    hint = "have an operator approve some, or `yingbi deployments withdraw` one"
    return Problem(Kind.REFUSED, "too_many_pending", said, hint=hint)


def unknown(name: str) -> Problem:
    """What is said of a deployment that is not there, or not the caller's to see."""
    said = f"There is no deployment {name[:80]!r}."
    return Problem(Kind.UNKNOWN, "unknown_deployment", said, field="name", hint="`yingbi deployments` lists yours")


def read(kind: type[Body], data: bytes) -> Body:
    """The message in signed bytes; raises Problem where there is none."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise Problem(Kind.MALFORMED, "deployment", f"There is no {kind.__name__} in the request.") from error


def _not_signed(what: str) -> Problem:
    return Problem(Kind.NOT_ALLOWED, "bad_signature", f"{what} is not signed with this caller's key.")
