"""Deployed models in use on rows of one's own, which nobody else reads.

A row is made into numbers here, and they go encrypted to the one enclave that serves the model, after its evidence was
verified; what comes back is encrypted to a key that this call made. The enclave signs how many rows it counted.
"""

from __future__ import annotations

import datetime
import json
import math
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, overload

from cryptography.exceptions import InvalidTag
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from yingbi.api import credentials, digests, metering
from yingbi.api import deployments as rules
from yingbi.api.eat import Claims
from yingbi.api.evidence import verify_evidence
from yingbi.api.evidence_error import KEYS, EvidenceError
from yingbi.api.metering import Used
from yingbi.api.problem import Kind, Problem
from yingbi.api.suites import DEFAULT
from yingbi.api.v1 import deployment_pb2 as messages
from yingbi.api.v1.deployment_pb2 import (
    MODEL_KIND_MULTINOMIAL,
    DeploymentTerms,
    ModelForm,
    PredictionInput,
    PredictionOrder,
    PredictionOutput,
    PredictionReply,
    UsageBody,
)
from yingbi.attest import attest_for_sealing, not_trusted, of_node, sealed_to
from yingbi.extras import pandas_extra
from yingbi.linear_model import Columns, design_of
from yingbi.transport import Gateway
from yingbi.trust import Trust

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ServedModel:
    """A deployed model as who uses it knows it: by the serialized terms that its developer signed."""

    body: bytes
    gateway: Gateway = field(repr=False, compare=False)

    @cached_property
    def terms(self) -> DeploymentTerms:
        return DeploymentTerms.FromString(self.body)

    def predict(self, rows: Columns) -> Predictions:
        """What the model says of rows; see `yingbi.deployments.Deployment.predict`. Raises Problem."""
        columns = list(design_of(self.terms.form.columns, rows).values())
        design = list(zip(*columns, strict=True))
        step = rules.most_rows(self.terms.form)
        if len(design) > step:
            self._check_left(len(design))
        claims = self._enclave if design else None
        answers: list[tuple[float, ...]] = []
        receipts: list[UsageReceipt] = []
        for first in range(0, len(design), step):
            assert claims is not None
            found, receipt = self._order(claims, design[first : first + step])
            answers += found
            receipts.append(receipt)
        return Predictions(answers_of(self.terms.form), tuple(answers), tuple(receipts))

    @cached_property
    def _enclave(self) -> Claims:
        """What fresh evidence says of the enclave that serves it."""
        claims = of_node(attest_for_sealing(self.gateway, self.gateway.profile.trust), self.terms.node)
        if claims.signing_key != self.terms.node_key:
            said = f"{claims.node} has another enclave than {self.terms.deployment} is for"
            raise not_trusted(EvidenceError(said, KEYS))
        return claims

    def _check_left(self, rows: int) -> None:
        """Refuse at once what would be refused in the middle, and be counted till there."""
        shown = self.gateway.get_deployment(self.terms.deployment)
        own = self.gateway.list_deployments().organisation
        for use in shown.uses:
            if use.organisation == own:
                used = Used(use.rows_today, use.rows_total)
                metering.with_rows(self.terms, own, used, rows, int(time.time()))

    def _order(self, claims: Claims, design: Sequence[Sequence[float]]) -> tuple[list[tuple[float, ...]], UsageReceipt]:
        reply_key = DEFAULT.key(secrets.token_bytes(32))
        given = PredictionInput(
            reply_key=reply_key.public,
            design=rules.numbers_to_bytes([number for row in design for number in row]),
        )
        digest = rules.terms_digest(self.body)
        sealed = sealed_to(claims, rules.padded(rules.canonical(given)), rules.input_info(digest))
        key = credentials.signing_key(self.gateway.profile.token)
        body = rules.canonical(
            PredictionOrder(
                deployment=self.terms.deployment,
                terms_digest=digest,
                caller_key=key.public_key().public_bytes_raw(),
                rows=len(design),
                made=stamp(),
                input_digest=digests.digest(rules.INPUT, sealed),
            )
        )
        order = messages.SignedPredictionOrder(body=body, signature=digests.sign(key, rules.ORDER, body))
        reply = self.gateway.predict(messages.PredictRequest(order=order, input=sealed))
        receipt = self._receipt_of(reply, body, claims)
        try:
            opened = reply_key.open(reply.ciphertext, rules.reply_info(rules.order_digest(body)))
            output = PredictionOutput.FromString(rules.unpadded(opened))
            numbers = rules.numbers_of_bytes(output.values)
        except (InvalidTag, ValueError, DecodeError) as error:
            raise _bad_reply("The answer cannot be read") from error
        width = rules.width_of(self.terms.form)
        if len(numbers) != width * len(design):
            raise _bad_reply("The answer is of another number of rows")
        return [tuple(numbers[at : at + width]) for at in range(0, len(numbers), width)], receipt

    def _receipt_of(self, reply: PredictionReply, order: bytes, claims: Claims) -> UsageReceipt:
        """The signed receipt, once it is about this order, this answer, this model and this enclave."""
        receipt = UsageReceipt(reply.usage, self.gateway.profile.trust)
        found, asked = receipt.verify(), PredictionOrder.FromString(order)
        expected = (rules.order_digest(order), asked.terms_digest, self.terms.model_digest, asked.rows)
        if (found.order_digest, found.terms_digest, found.model_digest, found.rows) != expected:
            raise _bad_reply("The usage receipt is of another order, or another model")
        if found.reply_digest != digests.digest(rules.REPLY, reply.ciphertext):
            raise _bad_reply("The usage receipt is of another answer")
        if receipt.claims.signing_key != claims.signing_key:
            raise _bad_reply("The usage receipt is signed by another enclave")
        return receipt


@dataclass(frozen=True)
class Predictions(Sequence["float | tuple[float, ...]"]):
    """What a deployed model says, row by row: a number, or of a multinomial model one for each class."""

    columns: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...] = field(repr=False)
    receipts: tuple[UsageReceipt, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> float | tuple[float, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> list[float | tuple[float, ...]]: ...
    def __getitem__(self, index: int | slice) -> float | tuple[float, ...] | list[float | tuple[float, ...]]:
        return list(self)[index] if isinstance(index, slice) else self._shown(self.rows[index])

    def __iter__(self) -> Iterator[float | tuple[float, ...]]:
        return map(self._shown, self.rows)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each that was asked."""
        found: pd.DataFrame = pandas_extra().DataFrame(list(self.rows), columns=list(self.columns))
        return found

    def to_json(self) -> dict[str, object]:
        return {
            "columns": list(self.columns),
            "rows": [[number if math.isfinite(number) else None for number in row] for row in self.rows],
            "usage": [receipt.to_json() for receipt in self.receipts],
        }

    def _shown(self, row: tuple[float, ...]) -> float | tuple[float, ...]:
        return row[0] if len(self.columns) == 1 else row


@dataclass(frozen=True)
class UsageReceipt:
    """An enclave's signed word on one use: how many rows of which model, for whom, when. Nothing of the rows."""

    message: messages.UsageReceipt = field(repr=False)
    trust: Trust = field(repr=False, compare=False)

    @cached_property
    def body(self) -> UsageBody:
        """What it says; believe it after `verify`."""
        try:
            return UsageBody.FromString(self.message.body)
        except DecodeError as error:
            raise _bad_reply("There is no usage receipt") from error

    @cached_property
    def claims(self) -> Claims:
        """Of the enclave that signed it, from evidence that was made for it; raises Problem."""
        made_for = digests.digest(rules.USAGE, self.message.body)
        evidence = self.message.signature.evidence
        try:
            claims = verify_evidence(evidence, self.trust.ca_pem.encode(), made_for=made_for)
        except EvidenceError as error:
            raise _bad_reply(f"The usage receipt's evidence does not verify: {error}") from error
        if self.trust.measurement is not None and claims.measurement.hex() != self.trust.measurement.lower():
            raise _bad_reply("The usage receipt is of an enclave that runs other code than the reference value")
        return claims

    def verify(self) -> UsageBody:
        """What it says, once the enclave's evidence and signature hold; offline. Raises Problem (BAD_EVIDENCE)."""
        claims, signature = self.claims, self.message.signature.signature
        if not digests.is_signed(claims.signing_key, rules.USAGE, self.message.body, signature):
            raise _bad_reply("The usage receipt is not signed by the enclave whose evidence it has")
        if (self.body.node, self.message.signature.node) != (claims.node, claims.node):
            raise _bad_reply("The usage receipt is of another node than signed it")
        return self.body

    def line(self) -> str:
        """All of it as one line of JSON, which `of_line` reads."""
        return json.dumps(json_format.MessageToDict(self.message), sort_keys=True, separators=(",", ":"))

    @classmethod
    def of_line(cls, line: str, trust: Trust) -> UsageReceipt:
        """What `line` wrote; raises Problem (BAD_EVIDENCE)."""
        try:
            return cls(json_format.Parse(line, messages.UsageReceipt()), trust)
        except json_format.ParseError as error:
            raise _bad_reply("The line holds no usage receipt") from error

    def to_json(self) -> dict[str, object]:
        body = self.body
        return {
            "deployment": body.deployment,
            "fingerprint": body.model_digest.hex(),
            "organisation": body.organisation,
            "rows": body.rows,
            "rows_today": body.rows_today,
            "rows_total": body.rows_total,
            "price": body.price_micros / rules.MICROS,
            "time": body.time.ToDatetime(tzinfo=datetime.UTC).isoformat(),
            "node": body.node,
            "order": body.order_digest.hex(),
        }


def answers_of(form: ModelForm) -> tuple[str, ...]:
    """The names of what is predicted for a row: one, or one for each class."""
    if form.kind == MODEL_KIND_MULTINOMIAL:
        return tuple(f"predicted_{form.response}[{each}]" for each in form.classes)
    return (f"predicted_{form.response}",)


def stamp() -> Timestamp:
    """Now, to the second, as terms and orders have it."""
    return Timestamp(seconds=int(time.time()))


def _bad_reply(message: str) -> Problem:
    return Problem(Kind.BAD_EVIDENCE, "usage_receipt", f"{message}.", hint="do not rely on it; ask the zone's operator")
