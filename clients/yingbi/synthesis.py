"""Made-up rows that are like those of a dataset: what to ask for, what it would cost, and what comes back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from yingbi.api import credentials, digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2
from yingbi.cells import PlanError
from yingbi.jobs import Answer, Job, Progress
from yingbi.query import Preview, Query, not_what_was_asked
from yingbi.synthetic_marginals import Measured, check_synthesis, expected_distance, measured_of
from yingbi.synthetic_rows import SyntheticRows, check_rows, made_up

FORETOLD_UNITS = (1_000, 10_000, 100_000)
RECIPIENT = "synthetic-recipient"
"""The domain of what a developer signs to draw rows for a recipient."""


@dataclass(frozen=True, repr=False)
class SynthesisPreview(Preview):
    """What measuring marginals would cost, and how near rows made up from them would be."""

    @property
    def expected(self) -> dict[int, float]:
        """By numbers of units: the total variation of two columns at a time that noise makes, before the fit lowers
        it."""
        return {units: expected_distance(self.plan, units) for units in FORETOLD_UNITS}

    @property
    def notes(self) -> tuple[str, ...]:
        told = ", ".join(f"{distance:.3f} of {units:,} units" for units, distance in self.expected.items())
        return (f"Two columns at a time, noise moves the rows by about (total variation) {told}.", *super().notes)

    def to_json(self) -> dict[str, object]:
        found = [{"units": units, "distance": distance} for units, distance in self.expected.items()]
        return super().to_json() | {"expected_distances": found}

    def __repr__(self) -> str:
        return f"{super().__repr__()}\n{self.notes[0]}"


@dataclass(frozen=True)
class Synthesis(Query):
    """Columns of one dataset whose joint distribution is to be measured, not asked yet. `sql` is empty."""

    columns: str = ""
    source: str = ""
    where: str = ""
    bins: int | None = None

    def preview(self, epsilon: float, delta: float | None = None) -> SynthesisPreview:
        return self._preview(self._message(epsilon, delta))

    def run(
        self,
        epsilon: float,
        delta: float | None = None,
        *,
        request_id: str | None = None,
        wait: bool = True,
        progress: Progress | bool | None = None,
    ) -> MeasuredMarginals:
        """Measure, and wait for the marginals; see `Query.run`. `rows` of what comes back makes rows of them."""
        return marginals_of(super().run(epsilon, delta, request_id=request_id, wait=wait, progress=progress))

    def _message(self, epsilon: float, delta: float | None) -> job_pb2.Query:
        message = super()._message(epsilon, delta)
        asked = job_pb2.SynthesizeQuery(columns=self.columns, source=self.source, where=self.where, bins=self.bins)
        message.synthesize.CopyFrom(asked)
        return message

    def _preview(self, question: job_pb2.Query, first: Job | None = None) -> SynthesisPreview:
        preview = SynthesisPreview(super()._preview(question, first).message)
        plan = preview.plan
        if not plan.HasField("synthesis") or plan.synthesis.columns_text != self.columns:
            raise not_what_was_asked("is about other columns")
        try:
            check_synthesis(plan)
        except PlanError as error:
            raise not_what_was_asked(f"cannot be read: {error}") from error
        return preview


@dataclass(frozen=True)
class MeasuredMarginals(Answer):
    """The released marginals. Its table has the number of units; `rows` makes rows up, as often as one likes."""

    @cached_property
    def measured(self) -> Measured:
        """All marginals, recomputed from the receipt's opened integers."""
        return measured_of(self.plan, self.receipt.dossier.body.opened)

    def rows(self, rows: int | None = None, *, seed: int | None = None, recipient: str = "") -> SyntheticRows:
        """Made-up rows: post-processing of what was released, at no further price.

        Args:
            rows: how many; by default as many as there are units, as released.
            seed: the same seed makes the same rows.
            recipient: without a seed: whom the rows are for. Rows for another one are other rows; with the same key
                they are the same again, so that a file that turns up can be told: see `proof`.

        Raises:
            Problem: MALFORMED "rows" or "seed"; UNAVAILABLE "mbi_missing".
        """
        check_wanted(rows, seed, recipient)
        if seed is not None:
            return made_up(self.measured, rows, _hashed(str(seed).encode()), self._about | {"seed": seed})
        proof = self.proof(recipient)
        marked: dict[str, object] = {"recipient": recipient or None, "mark": _hashed(proof).hex()}
        return made_up(self.measured, rows, _hashed(b"seed", proof), self._about | marked)

    def proof(self, recipient: str = "") -> bytes:
        """The signature that rows for a recipient are drawn with.

        It is over the receipt and the recipient's name, by the key that signs this developer's requests, and only who
        has that key can make it. Its SHA-256 (`mark`) is on the rows' card. Shown, it lets anybody with the receipt
        draw the very same rows, and check by the developer's public key whose name they were drawn for.
        """
        key = credentials.signing_key(self.job.gateway.profile.token)
        receipt = digests.digest(digests.RECEIPT, self.receipt.message.body)
        return digests.sign(key, RECIPIENT, receipt + recipient.encode())

    @property
    def words(self) -> list[str]:
        pairs, checks = len(self.measured.fitted), len(self.measured.held_out)
        return [f"{pairs} marginals to fit to and {checks} held out; rows are made up from them, for nothing more"]

    @property
    def _about(self) -> dict[str, object]:
        body, plan = self.receipt.dossier.body, self.plan
        return {
            "made_up": True,
            "asked_as": self.job.message.sql,
            "dataset": plan.dataset,
            "dataset_version": plan.dataset_version.hex(),
            "agreement": self.job.message.agreement or None,
            "job": self.job.id,
            "receipt": digests.digest(digests.RECEIPT, self.receipt.message.body).hex(),
            "epsilon": body.epsilon,
            "delta": body.delta,
            "rho": body.rho_units / zcdp.RHO_UNITS,
            "mechanism": body.mechanism,
            "notes": list(self.notes),
        }


def marginals_of(answer: Answer) -> MeasuredMarginals:
    """The marginals that an answer has; BAD_EVIDENCE where its plan measures none."""
    if not isinstance(answer, MeasuredMarginals):
        raise not_what_was_asked("measures no marginals")
    return answer


def check_wanted(rows: int | None, seed: int | None, recipient: str) -> None:
    """Refuse what `rows` would refuse, before anything is paid for."""
    from yingbi.synthetic_fit import check_installed

    check_rows(rows)
    if seed is not None and (seed < 0 or recipient):
        message = "A seed is 0 or above, and goes without a recipient."
        raise Problem(Kind.MALFORMED, "seed", message, field="seed")
    check_installed()


def text_of(columns: str | Sequence[str]) -> str:
    """Columns as SELECT has them."""
    return columns if isinstance(columns, str) else ", ".join(columns)


def _hashed(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()
