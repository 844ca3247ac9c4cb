"""Models that are kept in the zone: deployed, approved, withdrawn. `predictions` is how they are used.

The parameters go encrypted to the one enclave that serves the model, after its evidence was verified.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from yingbi import generalized_model, linear_model
from yingbi.api import credentials, digests
from yingbi.api import deployments as rules
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import deployment_pb2 as messages
from yingbi.api.v1.deployment_pb2 import (
    MODEL_KIND_LINEAR,
    MODEL_KIND_LOGISTIC,
    MODEL_KIND_MULTINOMIAL,
    MODEL_KIND_POISSON,
    DeployedModel,
    DeploymentApproval,
    DeploymentState,
    DeploymentTerms,
    DeploymentUse,
    DeploymentWithdrawal,
    LinearPredictor,
    ModelForm,
    ModelKind,
    Provenance,
)
from yingbi.api.v1.plan_pb2 import Fit
from yingbi.attest import attest_for_sealing, of_node, sealed_to
from yingbi.cells import to_json
from yingbi.generalized_model import GeneralizedModel
from yingbi.linear_model import Columns, LinearModel
from yingbi.models.in_rounds import FittedInRounds
from yingbi.models.kinds import Fitted, fitted_of
from yingbi.predictions import Predictions, ServedModel, answers_of, stamp
from yingbi.receipt import Receipt
from yingbi.training_receipt import TrainingReceipt
from yingbi.transport import Gateway
from yingbi.trust import Trust

if TYPE_CHECKING:
    from yingbi.learning import Model
    from yingbi.rounds_model import RoundsModel

DEFAULT_LIMIT = 1000


@dataclass(frozen=True)
class Parameters:
    """A model in the form in which it is deployed: linear predictors over columns of a design, and a link."""

    form: ModelForm
    predictors: tuple[LinearPredictor, ...]

    def sealable(self, salt: bytes) -> bytes:
        """The bytes that the model's fingerprint is of; raises Problem where they are no model's."""
        model = DeployedModel(salt=salt, form=self.form, predictors=self.predictors)
        rules.check_form(self.form)
        rules.check_model(model, self.form)
        return rules.canonical(model)


def parameters_of(model: Fitted | FittedInRounds) -> Parameters:
    """A trained model's parameters, to the digits that its fingerprint has: the same for whoever computes them anew.

    Raises:
        Problem: REFUSED "not_deployable".
    """
    if isinstance(model, LinearModel):
        own = [[model.intercept, *model.slopes]]
        return _in_form(ModelForm(kind=MODEL_KIND_LINEAR), model.fit, own, linear_model.DIGITS)
    if isinstance(model, GeneralizedModel):
        classes, digits = [str(to_json(each)) for each in model.classes], generalized_model.DIGITS
        if len(classes) > 2:
            # The first class has 0.
            sets = [[0.0] * len(model.fit.columns), *model.sets]
            return _in_form(ModelForm(kind=MODEL_KIND_MULTINOMIAL, classes=classes), model.fit, sets, digits)
        kind = MODEL_KIND_LOGISTIC if classes else MODEL_KIND_POISSON
        return _in_form(ModelForm(kind=kind), model.fit, model.sets, digits)
    raise Problem(
        Kind.REFUSED,
        "not_deployable",
        "This model cannot be deployed: it is no linear predictor with a link.",
        field="model",
        hint="deploy a linear, ridge, logistic or Poisson regression",
    )


def _in_form(form: ModelForm, fit: Fit, sets: Sequence[Sequence[float]], digits: int) -> Parameters:
    """Each set is the constant and the slopes."""
    form.columns.extend(fit.columns[:-1])
    form.response = fit.columns[-1].name
    rounded = [[float(f"{value + 0.0:.{digits - 1}e}") for value in own] for own in sets]
    return Parameters(form, tuple(LinearPredictor(intercept=own[0], coefficients=own[1:]) for own in rounded))


Deployable: TypeAlias = "Model | RoundsModel | Receipt | Parameters"
"""What can be deployed: a trained model, the receipt that it follows from, or parameters from elsewhere."""


def deploy(
    gateway: Gateway,
    model: Deployable,
    name: str,
    *,
    callers: Sequence[str] = (),
    limit: int = DEFAULT_LIMIT,
    total: int | None = None,
    decimals: int | None = None,
    price: float = 0.0,
    node: str = "",
) -> Deployment:
    """Seal a model to the enclave that is to serve it, and ask for an operator's approval.

    Args:
        name: a name of its own, for good.
        callers: the organisations that may use it; by default one's own.
        limit: rows a day that each of them may have predicted.
        total: rows in all that each of them may; None: as many as there are days for.
        decimals: what answers are rounded to. What that does and does not prevent: docs/deployment.md.
        price: of a row, in what the zone counts money in.
        node: whose enclave serves it; by default the first that holds the zone's key.

    Raises:
        Problem: BAD_EVIDENCE, where an enclave is not what it should be, or a receipt does not verify; MALFORMED
            "deployment" for terms that cannot be kept.
    """
    parameters, provenance = _deployable(model, gateway.profile.trust)
    shown = attest_for_sealing(gateway, gateway.profile.trust)
    claims = of_node(shown, node) if node else shown[0]
    key = credentials.signing_key(gateway.profile.token)
    public = key.public_key().public_bytes_raw()
    sealable = parameters.sealable(provenance.salt)
    terms = DeploymentTerms(
        deployment=name,
        form=parameters.form,
        model_digest=rules.model_digest(sealable),
        node=claims.node,
        node_key=claims.signing_key,
        organisations=callers or [gateway.list_deployments().organisation],
        rows_per_day=_whole(limit, "limit"),
        rows_total=None if total is None else _whole(total, "total"),
        decimals=None if decimals is None else _whole(decimals, "decimals", rules.MAX_DECIMALS),
        price_micros=_micros(price),
        developer_key=public,
        made=stamp(),
        jobs=rules.jobs_of(provenance),
    )
    rules.check_terms(terms)
    body = rules.canonical(terms)
    request = messages.DeployRequest(
        terms=messages.SignedDeploymentTerms(body=body, signature=digests.sign(key, rules.TERMS, body)),
        sealed_model=sealed_to(claims, sealable, rules.sealed_model_info(terms.model_digest, public)),
        # Without a receipt the salt stays here: it is all that hides the parameters from who guesses them.
        provenance=provenance if provenance.HasField("receipt") or provenance.rounds else None,
    )
    return Deployment(gateway.deploy(request), gateway)


@dataclass(frozen=True)
class Deployment:
    """A deployed model as its zone shows it to the caller."""

    message: messages.Deployment = field(repr=False)
    gateway: Gateway = field(repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Deployment({self.name!r}, {self.state})"

    @cached_property
    def terms(self) -> DeploymentTerms:
        return DeploymentTerms.FromString(self.message.terms.body)

    @property
    def name(self) -> str:
        return self.terms.deployment

    @property
    def state(self) -> str:
        """pending, approved, active or withdrawn."""
        return DeploymentState.Name(self.message.state).removeprefix("DEPLOYMENT_STATE_").lower()

    @property
    def kind(self) -> str:
        """linear, logistic, poisson or multinomial."""
        return ModelKind.Name(self.terms.form.kind).removeprefix("MODEL_KIND_").lower()

    @property
    def fingerprint(self) -> str:
        """Of the model with its salt, in hexadecimal; usage receipts name it."""
        return self.terms.model_digest.hex()

    @property
    def variables(self) -> tuple[str, ...]:
        """What `predict` needs of a row, as the model's formula writes it."""
        factors = (factor for column in self.terms.form.columns for factor in column.factors)
        return tuple(dict.fromkeys(factor.variable for factor in factors))

    @property
    def receipt(self) -> Receipt | None:
        """Of the release that the parameters follow from, for operators and its developer."""
        shown, trust = self.message.provenance, self.gateway.profile.trust
        if shown.rounds:
            return TrainingReceipt.of(shown.rounds, trust)
        return Receipt(shown.receipt, trust) if shown.HasField("receipt") else None

    @property
    def answers(self) -> tuple[str, ...]:
        """The names of what is predicted for a row: one, or one for each class."""
        return answers_of(self.terms.form)

    def predict(self, rows: Columns) -> Predictions:
        """What the model says of rows of one's own: NaN where a variable has no value.

        Every row counts, before its answer is there. More rows than one order may have are ordered in parts.

        Raises:
            Problem: BUDGET "uses_exhausted" with what is left and when it renews; MALFORMED "missing_column";
                BAD_EVIDENCE, where the enclave is not what it should be, before anything was sent.
        """
        return self._served.predict(rows)

    def check(self) -> str:
        """Whether the parameters follow from the release that is shown with them; a sentence that says so.

        Raises:
            Problem: REFUSED "no_provenance", where no release is shown; BAD_EVIDENCE, where they do not follow, or the
                terms name other jobs, and so escape the stops that the model is under.
        """
        receipt = self.receipt
        if receipt is None:
            raise Problem(
                Kind.REFUSED,
                "no_provenance",
                f"{self.name} comes without a receipt: where its parameters come from cannot be checked.",
                hint="its developer deploys it from its training receipt, or approve it with --without-receipt",
            )
        receipt.verify()
        if list(self.terms.jobs) != rules.jobs_of(self.message.provenance):
            raise Problem(
                Kind.BAD_EVIDENCE,
                "other_jobs",
                f"The terms of {self.name} name other jobs than the release that is shown with it.",
                hint="do not approve it; its developer deploys it again, under another name",
            )
        parameters = _fitted(receipt)
        found = rules.model_digest(parameters.sealable(self.message.provenance.salt))
        if found != self.terms.model_digest:
            raise Problem(
                Kind.BAD_EVIDENCE,
                "other_parameters",
                f"The parameters of {self.name} are not those of the release that is shown with it.",
                hint="do not approve it",
            )
        return f"the parameters are those that job {receipt.job} released, as its receipt proves"

    def approve(self, *, without_receipt: bool = False) -> Deployment:
        """Let it be used by all callers that its organisations have at present, as an operator.

        First the parameters are computed anew from the release that comes with them: see `check`.

        Args:
            without_receipt: approve the model by its fingerprint alone.
        """
        if self.receipt is not None or not without_receipt:
            self.check()
        key = credentials.signing_key(self.gateway.profile.token)
        body = rules.canonical(
            DeploymentApproval(
                terms_digest=rules.terms_digest(self.message.terms.body),
                operator_key=key.public_key().public_bytes_raw(),
                callers=self.message.candidates,
            )
        )
        signed = messages.SignedDeploymentApproval(body=body, signature=digests.sign(key, rules.APPROVAL, body))
        return Deployment(self.gateway.approve_deployment(self.name, signed), self.gateway)

    def withdraw(self) -> Deployment:
        """End it for good, as an operator or its developer."""
        key = credentials.signing_key(self.gateway.profile.token)
        body = rules.canonical(
            DeploymentWithdrawal(
                terms_digest=rules.terms_digest(self.message.terms.body),
                signer_key=key.public_key().public_bytes_raw(),
            )
        )
        signed = messages.SignedDeploymentWithdrawal(body=body, signature=digests.sign(key, rules.WITHDRAWAL, body))
        return Deployment(self.gateway.withdraw_deployment(self.name, signed), self.gateway)

    def to_json(self) -> dict[str, object]:
        terms = self.terms
        return {
            "deployment": self.name,
            "state": self.state,
            "model": self.kind,
            "response": terms.form.response,
            "variables": list(self.variables),
            "fingerprint": self.fingerprint,
            "developer": self.message.developer,
            "organisation": self.message.organisation,
            "node": terms.node,
            "jobs": list(terms.jobs),
            "callers": list(terms.organisations),
            "rows_per_day": terms.rows_per_day,
            "rows_total": terms.rows_total if terms.HasField("rows_total") else None,
            "decimals": terms.decimals if terms.HasField("decimals") else None,
            "price": terms.price_micros / rules.MICROS,
            "uses": [_use_json(each) for each in self.message.uses],
            **({"enclave_not_told": True} if self.message.enclave_not_told else {}),
        }

    @cached_property
    def _served(self) -> ServedModel:
        return ServedModel(self.message.terms.body, self.gateway)


def _deployable(model: Deployable, trust: Trust) -> tuple[Parameters, Provenance]:
    salt = secrets.token_bytes(rules.SALT_BYTES)
    if isinstance(model, Parameters):
        return model, Provenance(salt=salt)
    receipt = model if isinstance(model, Receipt) else model.receipt
    for _ in receipt.checks(trust):
        pass
    if isinstance(receipt, TrainingReceipt):
        return _fitted(receipt), Provenance(rounds=[each.message for each in receipt.rounds], salt=salt)
    return _fitted(receipt), Provenance(receipt=receipt.message, salt=salt)


def _fitted(receipt: Receipt) -> Parameters:
    if isinstance(receipt, TrainingReceipt):
        return parameters_of(receipt.model)
    dossier = receipt.dossier
    if not dossier.plan.HasField("fit"):
        said, hint = f"The receipt of job {receipt.job} is of no model.", "`yingbi train --save-receipt` writes one"
        raise Problem(Kind.MALFORMED, "not_a_model", said, field="model", hint=hint)
    return parameters_of(fitted_of(dossier.plan, dossier.body.opened))


def _whole(value: int, name: str, most: int = rules.MAX_LIMIT) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        said = f"The deployment's {name} must be a whole number from 0 to {most:,}; got {value!r}."
        raise Problem(Kind.MALFORMED, "deployment", said, field=name)
    return value


def _micros(price: float) -> int:
    if not (math.isfinite(price) and 0 <= price * rules.MICROS <= rules.MAX_LIMIT):
        said = f"The price of a row must be 0 or more, and finite; got {price!r}."
        raise Problem(Kind.MALFORMED, "deployment", said, field="price")
    return round(price * rules.MICROS)


def _use_json(use: DeploymentUse) -> dict[str, object]:
    return {
        "organisation": use.organisation,
        "rows_today": use.rows_today,
        "rows_total": use.rows_total,
        "price": use.price_micros / rules.MICROS,
    }
