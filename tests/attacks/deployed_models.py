"""A deployed model and who may use it, as honest clients make them: for attacks that alter one part of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import deployments as rules
from yingbi.api import digests
from yingbi.api.evidence import read_claims
from yingbi.api.suites import DEFAULT, DecryptionKey
from yingbi.api.v1.deployment_pb2 import (
    MODEL_KIND_LINEAR,
    ApprovedCaller,
    CheckDeploymentTask,
    DeployedModel,
    DeploymentApproval,
    DeploymentTerms,
    DeploymentWithdrawal,
    LinearPredictor,
    ModelForm,
    PredictionInput,
    PredictionOrder,
    PredictionOutput,
    PredictionReply,
    PredictTask,
    SignedDeploymentApproval,
    SignedDeploymentTerms,
    SignedDeploymentWithdrawal,
    SignedPredictionOrder,
    UsageBody,
    WithdrawTask,
)
from yingbi.api.v1.plan_pb2 import FitColumn, FitFactor

from enclave_sim.deployments import predict
from enclave_sim.enclave import Enclave

SLOPES = (0.123456789, -2.25, 31.5)
INTERCEPT = 4.75
SALT = b"\x07" * rules.SALT_BYTES


def form_of(*widths: float) -> ModelForm:
    """A linear model's form: column k is within [-widths[k], widths[k]]."""
    columns = [
        FitColumn(
            name=f"x{number}",
            factors=[FitFactor(variable=f"x{number}")],
            centre=0,
            half_range=width,
            lower=-1,
            upper=1,
        )
        for number, width in enumerate(widths)
    ]
    return ModelForm(kind=MODEL_KIND_LINEAR, columns=columns, response="y")


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


@dataclass
class Served:
    """One deployment on one enclave. `organisations` has everybody's keys by their organisation."""

    enclave: Enclave
    developer: Ed25519PrivateKey
    operator: Ed25519PrivateKey
    callers: dict[str, Ed25519PrivateKey]
    model: DeployedModel = field(
        default_factory=lambda: DeployedModel(
            salt=SALT,
            form=form_of(10, 10, 10),
            predictors=[LinearPredictor(intercept=INTERCEPT, coefficients=SLOPES)],
        )
    )
    rows_per_day: int = 100
    rows_total: int | None = None
    decimals: int | None = None

    def terms(self) -> DeploymentTerms:
        """What the developer signs."""
        return DeploymentTerms(
            deployment="bmi-1",
            form=self.model.form,
            model_digest=rules.model_digest(rules.canonical(self.model)),
            node=self.enclave.node,
            node_key=self.enclave.identity.public_signing_key,
            organisations=sorted(self.callers),
            rows_per_day=self.rows_per_day,
            rows_total=self.rows_total,
            decimals=self.decimals,
            price_micros=50_000,
            developer_key=public(self.developer),
            made=Timestamp(seconds=1_750_000_000),
        )

    def digest(self, terms: DeploymentTerms | None = None) -> bytes:
        return rules.terms_digest(rules.canonical(terms or self.terms()))

    def sealed_model(self) -> bytes:
        claims = read_claims(self.enclave.identity.evidence)
        info = rules.sealed_model_info(rules.model_digest(rules.canonical(self.model)), public(self.developer))
        return DEFAULT.seal(rules.canonical(self.model), claims.encryption_key, info)

    def deployment(
        self, terms: DeploymentTerms | None = None, approved: DeploymentApproval | None = None
    ) -> CheckDeploymentTask:
        """Signed by the developer, and by the operator."""
        terms = terms or self.terms()
        return CheckDeploymentTask(
            terms=signed_terms(terms, self.developer),
            approval=signed_approval(approved or self.approval(terms), self.operator),
            sealed_model=self.sealed_model(),
        )

    def approval(self, terms: DeploymentTerms | None = None) -> DeploymentApproval:
        return DeploymentApproval(
            terms_digest=self.digest(terms),
            operator_key=public(self.operator),
            callers=[ApprovedCaller(organisation=name, key=public(key)) for name, key in self.callers.items()],
        )

    def task(
        self,
        rows: Sequence[Sequence[float]],
        caller: str = "clinic",
        *,
        reply: DecryptionKey | None = None,
        made: float | None = None,
        deployment: CheckDeploymentTask | None = None,
    ) -> PredictTask:
        """An honest order of one organisation's caller."""
        deployment = deployment or self.deployment()
        digest = rules.terms_digest(deployment.terms.body)
        given = PredictionInput(
            reply_key=(reply or DEFAULT.key(bytes(32))).public,
            design=rules.numbers_to_bytes([number for row in rows for number in row]),
        )
        claims = read_claims(self.enclave.identity.evidence)
        sealed = DEFAULT.seal(rules.padded(rules.canonical(given)), claims.encryption_key, rules.input_info(digest))
        key = self.callers[caller]
        order = PredictionOrder(
            deployment="bmi-1",
            terms_digest=digest,
            caller_key=public(key),
            rows=len(rows),
            made=Timestamp(seconds=int(time.time() if made is None else made)),
            input_digest=digests.digest(rules.INPUT, sealed),
        )
        return PredictTask(deployment=deployment, order=signed_order(order, key), input=sealed)

    def ask(self, rows: Sequence[Sequence[float]], caller: str = "clinic", now: float | None = None) -> list[float]:
        """What the model says of these rows."""
        return answer_of(task := self.task(rows, caller, made=now), predict(self.enclave, task, now))

    def withdrawal(self, signer: Ed25519PrivateKey) -> WithdrawTask:
        body = rules.canonical(DeploymentWithdrawal(terms_digest=self.digest(), signer_key=public(signer)))
        signed = SignedDeploymentWithdrawal(body=body, signature=digests.sign(signer, rules.WITHDRAWAL, body))
        return WithdrawTask(terms=signed_terms(self.terms(), self.developer), withdrawal=signed)


def answer_of(task: PredictTask, reply: PredictionReply, key: DecryptionKey | None = None) -> list[float]:
    """What a caller reads; raises InvalidTag with another key."""
    info = rules.reply_info(rules.order_digest(task.order.body))
    opened = rules.unpadded((key or DEFAULT.key(bytes(32))).open(reply.ciphertext, info))
    return rules.numbers_of_bytes(PredictionOutput.FromString(opened).values)


def usage_of(reply: PredictionReply) -> UsageBody:
    return UsageBody.FromString(reply.usage.body)


def signed_terms(terms: DeploymentTerms, key: Ed25519PrivateKey) -> SignedDeploymentTerms:
    body = rules.canonical(terms)
    return SignedDeploymentTerms(body=body, signature=digests.sign(key, rules.TERMS, body))


def signed_approval(approval: DeploymentApproval, key: Ed25519PrivateKey) -> SignedDeploymentApproval:
    body = rules.canonical(approval)
    return SignedDeploymentApproval(body=body, signature=digests.sign(key, rules.APPROVAL, body))


def signed_order(order: PredictionOrder, key: Ed25519PrivateKey) -> SignedPredictionOrder:
    body = rules.canonical(order)
    return SignedPredictionOrder(body=body, signature=digests.sign(key, rules.ORDER, body))
