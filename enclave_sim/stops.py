"""What was stopped, as this enclave's own journal has it, and who may stop what. Pure.

A stop is for good: it is a record of the journal, written before anybody is told that it holds, and every step of a job
looks for one. Only a dataset's cut-off and an agreement's suspension can end, by the word of the organisation that
ordered it, which names that one stop: the same word again says nothing of a later one. A job that had been charged when
it was stopped stays ended, as the proof said. A stop of an agreement names those that it came in the place of: an
enclave knows of a supplement by its first charge alone, and there may be none. To stop reveals nothing and costs
nothing but answers, so whoever answers for the data or the zone may do it alone; to lift takes who stopped.

Keeps: AGR-05, MON-01
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from yingbi.api import digests
from yingbi.api.certificates import KEY_BYTES
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import Authorization, SignedAuthorization
from yingbi.api.v1.people_pb2 import Invitation, SignedCertificate
from yingbi.api.v1.stop_pb2 import Lift, SignedLift, SignedStop, Stop, StopScope

from enclave_sim.authority import Policy, organisation_of
from enclave_sim.bodies import read_body
from enclave_sim.journal import Record

Scope: TypeAlias = "StopScope.ValueType"

JOB = StopScope.STOP_SCOPE_JOB
AGREEMENT = StopScope.STOP_SCOPE_AGREEMENT
DATASET = StopScope.STOP_SCOPE_DATASET
ORGANISATION = StopScope.STOP_SCOPE_ORGANISATION
SUSPENSION = StopScope.STOP_SCOPE_SUSPENSION

NAMES: Mapping[Scope, str] = MappingProxyType(
    {JOB: "job", AGREEMENT: "agreement", DATASET: "dataset", ORGANISATION: "organisation", SUSPENSION: "suspension"}
)
"""As records call them: the key under which one has what it stops."""

# Of each scope: whose organisations may stop, by the fields of `Policy`, and with which duty.
_WHO: Mapping[Scope, Mapping[str, str]] = MappingProxyType(
    {
        JOB: {"operators": "operator", "providers": "approver", "supervisors": "assessor"},
        AGREEMENT: {"providers": "signatory", "supervisors": "assessor", "coordinators": "coordinator"},
        DATASET: {"operators": "operator", "providers": "approver", "supervisors": "assessor"},
        ORGANISATION: {"coordinators": "coordinator"},
        SUSPENSION: {"providers": "signatory", "supervisors": "assessor"},
    }
)
_NOUNS: Mapping[str, str] = MappingProxyType({NAMES[SUSPENSION]: "agreement"})
"""What is stopped, where its name says how."""
LONGEST_SUBJECT = 127
MOST_PREDECESSORS = 100


@dataclass(frozen=True)
class About:
    """A job, by all that a stop can name."""

    job: str
    dataset: str
    agreement: str
    # Whoever asked, hexadecimal: the developer's key, and that of the organisation which certifies it.
    keys: frozenset[str]


def about_request(job: str, dataset: str, signed: SignedAuthorization) -> About:
    """A job that is asked for, and is not charged yet."""
    body = read_body(Authorization, signed.body)
    return About(job, dataset, body.agreement, asking_keys(signed))


def about_charge(charge: Record) -> About:
    """A job by its record."""
    keys = {str(charge.get("request", "")).partition(" ")[0], *str(charge.get("asked_by", "")).split()}
    return About(str(charge["job"]), str(charge["dataset"]), str(charge.get("agreement", "")), frozenset(keys - {""}))


def asking_keys(signed: SignedAuthorization) -> frozenset[str]:
    """The developer's own key, and that which a certificate claims beside it.

    Either may be stopped: so whoever is stopped gains nothing by a certificate, theirs or not.
    """
    claimed = read_body(Invitation, signed.certificate.invitation.body).organisation_key
    own = read_body(Authorization, signed.body).developer_key
    return frozenset(key.hex() for key in (own, claimed) if key)


def check_not_stopped(records: Iterable[Record], about: About) -> None:
    """Raise Problem REFUSED for a job that was cancelled here ("cancelled"), or that a stop ends ("stopped")."""
    records = list(records)
    if any(record["kind"] == "cancel" and record.get("job") == about.job for record in records):
        raise was_cancelled(about.job)
    if (found := stop_of(records, about)) is not None:
        what = next(name for name in NAMES.values() if name in found)
        subject = f"Job {about.job}" if what == "job" else f"The {_NOUNS.get(what, what)} of job {about.job}"
        said = "suspended" if what == NAMES[SUSPENSION] else "stopped"
        raise refused("stopped", f"{subject} was {said}; this enclave does nothing for it.")


def was_cancelled(job: str) -> Problem:
    """What is answered about a cancelled job."""
    return refused("cancelled", f"Job {job} was cancelled.")


def stop_of(records: Iterable[Record], about: About) -> Record | None:
    """The record of a stop that ends the job, or None: one in force, or one that came when the job was charged."""
    found = [record for record in records if record["kind"] in ("stop", "lift") or _charges(record, about)]
    charged = False
    for record in found:
        charged = charged or _charges(record, about)
        if record["kind"] == "stop" and covers(record, about) and (charged or not is_lifted(found, record)):
            return record
    return None


def _charges(record: Record, about: About) -> bool:
    return record["kind"] == "charge" and record.get("job") == about.job


def is_lifted(records: Iterable[Record], stop: Record) -> bool:
    """Whether a record ends this stop."""
    return any(record["kind"] == "lift" and record["stop"] == stop["stop"] for record in records)


def covers(record: Record, about: About) -> bool:
    """Whether the record of a stop is about this job."""
    if "only" in record and record["only"] not in about.keys:
        return False
    agreement = about.agreement
    named = (("job", about.job), ("agreement", agreement), ("suspension", agreement), ("dataset", about.dataset))
    if any(value and record.get(name) == value for name, value in named):
        return True
    return agreement in str(record.get("predecessors", "")).split() or record.get("organisation") in about.keys


def record_of(signed: SignedStop, policy: Policy, *, now: float) -> Record:
    """The record of a stop that whoever signed it may order; raises Problem.

    A developer stops jobs of their own: what another asked for under the same name goes on, as `covers` has it.
    """
    stop = read_body(Stop, signed.body)
    name = NAMES.get(stop.scope)
    if name is None or not 1 <= len(stop.subject) <= LONGEST_SUBJECT:
        raise Problem(Kind.MALFORMED, "bad_stop", "A stop names a job, an agreement, a dataset or an organisation.")
    _check_signature(stop.signer_key, digests.STOP, signed.body, signed.signature)
    record: Record = {"kind": "stop", "stop": digest_of(signed), name: stop.subject}
    if stop.scope == ORGANISATION:
        if len(stop.organisation_key) != KEY_BYTES:
            raise Problem(Kind.MALFORMED, "bad_stop", "An organisation is stopped by its key, of 32 bytes.")
        record[name] = stop.organisation_key.hex()
    if stop.predecessors:
        record["predecessors"] = _joined(stop)
    who = _speaks_for(stop.signer_key, signed.certificate, stop.scope, policy, now)
    if who is not None:
        return record | {"by": who.hex()}
    if stop.scope == JOB:
        return record | {"by": stop.signer_key.hex(), "only": stop.signer_key.hex()}
    raise refused("may_not_stop", f"Whoever signed this may not stop this {name} here.")


def _joined(stop: Stop) -> str:
    """The agreements that the stopped one came in the place of, as its record has them; raises Problem."""
    names = list(stop.predecessors)
    are_names = all(1 <= len(name) <= LONGEST_SUBJECT and name.split() == [name] for name in names)
    if stop.scope not in (AGREEMENT, SUSPENSION) or len(names) > MOST_PREDECESSORS or not are_names:
        said = f"An agreement's stop names at most {MOST_PREDECESSORS} that it came in the place of, and no other does."
        raise Problem(Kind.MALFORMED, "bad_stop", said)
    return " ".join(names)


def lift_of(signed: SignedLift, records: Sequence[Record], policy: Policy, *, now: float) -> Record:
    """The record that ends a cut-off or suspension which this enclave keeps, by who ordered it; raises Problem."""
    lift = read_body(Lift, signed.body)
    _check_signature(lift.signer_key, digests.LIFT, signed.body, signed.signature)
    stopped = next((r for r in records if r["kind"] == "stop" and r["stop"] == lift.stop.hex()), None)
    scope, subject = (SUSPENSION, lift.agreement) if lift.agreement else (DATASET, lift.dataset)
    if stopped is None or not subject or stopped.get(NAMES[scope]) != subject:
        raise refused("no_such_cut_off", "What is to be lifted is no cut-off of that dataset or agreement.")
    who = _speaks_for(lift.signer_key, signed.certificate, scope, policy, now)
    if who is None or who.hex() != stopped["by"]:
        raise refused("may_not_lift", "Only the organisation that ordered this stop can lift it.")
    return {"kind": "lift", "stop": lift.stop.hex()}


def digest_of(signed: SignedStop) -> str:
    """What names a stop in records and proofs, hexadecimal."""
    return digests.digest(digests.STOP, signed.body).hex()


def _speaks_for(key: bytes, certificate: SignedCertificate, scope: Scope, policy: Policy, now: float) -> bytes | None:
    """For which organisation that may stop this the holder of `key` acts; None for none. Raises Problem."""
    for field, duty in _WHO[scope].items():
        organisation = organisation_of(key, certificate, getattr(policy, field), duty=duty, now=now)
        if organisation is not None:
            return organisation
    return None


def _check_signature(key: bytes, domain: str, body: bytes, signature: bytes) -> None:
    if not digests.is_signed(key, domain, body, signature):
        raise refused("bad_signature", "The signature of the stop does not verify.")


def refused(code: str, message: str) -> Problem:
    """An enclave's refusal."""
    return Problem(Kind.REFUSED, code, message)
