"""Standing approvals: saying yes, once, to every plan of a template. What a template is: `yingbi.api.templates`.

The approver's own machine works the template out from the plan that it shows, and signs its hash. Of what the gateway
says of the agreement nothing has to be believed: an enclave takes a standing approval for the agreement of that name
that its own provider signed, and for the organisation whose key is in it.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from yingbi import stages
from yingbi.api import credentials, digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.templates import constants_of, kind_of, number_of, template_of
from yingbi.api.training import rho_units_of_round
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.plan_pb2 import Plan, Value
from yingbi.jobs import Job
from yingbi.transport import Gateway

HOURS = 2.0
"""How long a standing approval lasts where nobody says otherwise: enclaves do not hear of it when it is revoked."""
_EPOCH = datetime.datetime(1970, 1, 1)


def approve_rounds(job: Job, hours: float = HOURS) -> Job:
    """Let a first round run, which waits, and all rounds of that training that follow; raises Problem.

    They may cost what the training was offered for, and no more.
    """
    plan = Plan.FromString(job.message.plan)
    if kind_of(plan) != job_pb2.StandingApproval.KIND_ROUNDS:
        raise _no_template(f"Job {job.id} is no round of a model.")
    own, rho_units = plan.fit.round, zcdp.bought(plan.epsilon, plan.delta)[0]
    shares = [rho_units_of_round(rho_units, number, own.rounds) for number in range(own.rounds)]
    terms = job_pb2.StandingApproval(
        kind=job_pb2.StandingApproval.KIND_ROUNDS,
        template_hash=template_of(plan),
        rho_units_a_job=max(shares),
        rho_units=sum(shares[own.number :]),
        max_jobs=own.rounds - own.number,
    )
    return _approve(job, terms, hours)


def approve_like(job: Job, *, constants: Mapping[int, tuple[Any, Any]], jobs: int, hours: float = HOURS) -> Job:
    """Let a query run that waits, and others like it, but for constants of its filters; raises Problem.

    Args:
        constants: by position, as `constants` lists them, the lowest and the highest value that each may have: a
            number, or for dates and timestamps ISO 8601.
        jobs: how many of them there may be, this one included.
        hours: until when.
    """
    plan = Plan.FromString(job.message.plan)
    if kind_of(plan) != job_pb2.StandingApproval.KIND_CONSTANTS:
        raise _no_template(f"Job {job.id} is no query that is one plan.")
    if jobs < 1:
        raise Problem(Kind.MALFORMED, "jobs", "A standing approval is for one job or more.", field="jobs")
    own, price = constants_of(plan), stages.rho_units(plan)
    ranges = [_range(own, position, *constants[position]) for position in sorted(constants)]
    terms = job_pb2.StandingApproval(
        kind=job_pb2.StandingApproval.KIND_CONSTANTS,
        template_hash=template_of(plan, ranges),
        ranges=ranges,
        rho_units_a_job=price,
        rho_units=jobs * price,
        max_jobs=jobs,
    )
    return _approve(job, terms, hours)


def approve_by_file(job: Job, file: str | Path) -> Job:
    """As `approve_like`, by a JSON file: {"jobs": 20, "hours": 8, "constants": {"0": [18, 90]}}. Raises Problem."""
    try:
        said = json.loads(Path(file).read_text(encoding="utf-8"))
        constants = {int(position): (lower, upper) for position, (lower, upper) in said["constants"].items()}
        jobs, hours = int(said["jobs"]), float(said.get("hours", HOURS))
    except OSError as error:
        message = f"Cannot read {str(file)!r}: {error.strerror}."
        raise Problem(Kind.MALFORMED, "file", message, field="standing") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{str(file)!r} does not say a standing approval."
        hint = 'as {"jobs": 20, "hours": 8, "constants": {"0": [18, 90]}}; `yingbi approve JOB --show` lists constants'
        raise Problem(Kind.MALFORMED, "file", message, field="standing", hint=hint) from error
    return approve_like(job, constants=constants, jobs=jobs, hours=hours)


def constants(job: Job) -> list[str]:
    """The constants in the filters of a job's query, by position, as people read them; of anything else, none."""
    plan = Plan.FromString(job.message.plan)
    if kind_of(plan) != job_pb2.StandingApproval.KIND_CONSTANTS:
        return []
    return [_text(value) for value in constants_of(plan)]


@dataclass(frozen=True)
class Standing:
    """A standing approval as it was when it was fetched."""

    message: job_pb2.StandingRecord = field(repr=False)
    gateway: Gateway = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        """Hexadecimal."""
        return self.message.standing

    @property
    def state(self) -> str:
        """in force, revoked, over or used up."""
        if self.message.HasField("revoked"):
            return "revoked"
        if self.message.terms.expires.seconds <= time.time():
            return "over"
        return "used up" if self.message.jobs >= self.message.terms.max_jobs else "in force"

    @property
    def expires(self) -> datetime.datetime:
        return self.message.terms.expires.ToDatetime(tzinfo=datetime.UTC)

    def revoke(self, reason: str = "") -> Standing:
        """End it for what is asked from now on; raises Problem where another organisation gave it."""
        return Standing(self.gateway.revoke_standing(self.id, reason), self.gateway)

    def to_json(self) -> dict[str, object]:
        message, terms = self.message, self.message.terms
        return {
            "standing": self.id,
            "state": self.state,
            "kind": job_pb2.StandingApproval.Kind.Name(terms.kind).removeprefix("KIND_").lower(),
            "dataset": terms.dataset,
            "agreement": terms.agreement,
            "asked_by": message.asked_by,
            "given_by": message.person,
            "organisation": terms.organisation,
            "job": message.job,
            "jobs": message.jobs,
            "max_jobs": terms.max_jobs,
            "rho": message.rho_units / zcdp.RHO_UNITS,
            "max_rho": terms.rho_units / zcdp.RHO_UNITS,
            "expires": self.expires.isoformat(),
            "constants": {str(each.position): [_text(each.lower), _text(each.upper)] for each in terms.ranges},
        }


def standing_approvals(gateway: Gateway, *, over: bool = False) -> list[Standing]:
    """Those in force that the caller may see, the newest first; `over`: those too that are not in force any more."""
    return [Standing(message, gateway) for message in gateway.list_standing(all_=over)]


def _approve(job: Job, terms: job_pb2.StandingApproval, hours: float) -> Job:
    gateway = job.gateway
    if not job.message.agreement:
        raise _no_template(f"Job {job.id} is under no agreement.")
    agreed = Agreement.FromString(gateway.get_agreement(job.message.agreement).signed.terms)
    key = credentials.signing_key(gateway.profile.token)
    terms.dataset, terms.agreement = job.message.dataset, job.message.agreement
    terms.asker_key = agreed.organisation_key
    terms.operator_key = key.public_key().public_bytes_raw()
    terms.organisation = gateway.who_am_i().organisation.organisation
    terms.expires.CopyFrom(Timestamp(seconds=int(time.time() + hours * 3600)))
    body = terms.SerializeToString(deterministic=True)
    signature = digests.sign(key, digests.STANDING_APPROVAL, body)
    signed = job_pb2.SignedApproval(standing=body, signature=signature)
    return Job(gateway.approve_job(signed, job.id), gateway)


def _range(own: Sequence[Value], position: int, lower: Any, upper: Any) -> job_pb2.ConstantRange:
    if not 0 <= position < len(own):
        message = f"The query has {len(own)} constants in its filters, none of number {position}."
        hint = "`yingbi approve JOB --show` lists them"
        raise Problem(Kind.MALFORMED, "constants", message, field="constants", hint=hint)
    kind = own[position].WhichOneof("kind") or ""
    low, high = (_value(kind, each, position) for each in (lower, upper))
    found = job_pb2.ConstantRange(position=position, lower=low, upper=high)
    numbers = [number_of(each) for each in (low, own[position], high)]
    if not numbers[0] <= numbers[1] <= numbers[2]:  # type: ignore[operator]
        message = f"Constant {position} is {_text(own[position])}, outside of {lower} to {upper}."
        raise Problem(Kind.MALFORMED, "constants", message, field="constants")
    return found


def _value(kind: str, said: Any, position: int) -> Value:
    try:
        match kind:
            case "int64_value":
                return Value(int64_value=int(said))
            case "float64_value":
                return Value(float64_value=float(said))
            case "date_days":
                return Value(date_days=(datetime.date.fromisoformat(said) - _EPOCH.date()).days)
            case _:
                passed = datetime.datetime.fromisoformat(said).replace(tzinfo=None) - _EPOCH
                return Value(timestamp_micros=passed // datetime.timedelta(microseconds=1))
    except (ValueError, TypeError, OverflowError) as error:
        message = f"{said!r} is no value that constant {position} could have."
        raise Problem(Kind.MALFORMED, "constants", message, field="constants") from error


def _text(value: Value) -> str:
    number = number_of(value)
    try:
        if value.HasField("date_days"):
            return str(_EPOCH.date() + datetime.timedelta(days=value.date_days))
        if value.HasField("timestamp_micros"):
            return str(_EPOCH + datetime.timedelta(microseconds=value.timestamp_micros))
    except OverflowError:
        pass
    return f"{number}"


def _no_template(message: str) -> Problem:
    hint = "approve it by itself: `yingbi approve JOB`"
    return Problem(Kind.REFUSED, "no_standing_approval", message, field="job", hint=hint)
