"""What an enclave has on record about a job: in its journal, and in files that are checked against it."""

from __future__ import annotations

import re
import time

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.node_pb2 import Contribution
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim import agreement, stops
from enclave_sim.enclave import Enclave
from enclave_sim.journal import Check, Record
from enclave_sim.key_epochs import check_begun_here
from enclave_sim.plan.canonical import decode, plan_hash

JOB_ID = re.compile(r"[a-z0-9-]{1,64}")


def own_contribution(enclave: Enclave, job: str) -> Contribution:
    """What this enclave stored before it sent it, and where its journal stood; raises Problem where it is altered."""
    record = find_record(enclave, "contribution", job)
    if record is None:
        raise refused("not_contributed", f"This enclave contributed nothing to job {job} yet.")
    data = job_file(enclave, job, "contribution")
    if digests.digest(digests.CONTRIBUTION, data).hex() != record["stored"]:
        raise altered("contribution", job)
    contribution = Contribution.FromString(data)
    said = enclave.heads.statement(enclave.identity, enclave.node, enclave.epoch, job, contribution.signed.body)
    contribution.heads.CopyFrom(said)
    return contribution


def charged_plan(plan: bytes, charge: Record, job: str) -> Plan:
    """The plan that was charged, from its stored bytes; raises Problem for another."""
    if plan_hash(plan).hex() != charge["plan_hash"]:
        raise altered("plan", job)
    return decode(plan)


def started(enclave: Enclave, job: str) -> Record:
    """The job's charge; raises Problem for a job that this enclave did not start."""
    charge = find_record(enclave, "charge", job)
    if charge is None:
        raise refused("not_started", f"This enclave contributed nothing to job {job}.")
    check_begun_here(enclave.epoch, job, charge)
    return charge


def find_record(enclave: Enclave, kind: str, job: str) -> Record | None:
    """The journal's record of this kind about a job, or None."""
    found = (r for r in enclave.journal.records if r["kind"] == kind and r.get("job") == job)
    return next(found, None)


def check_not_cancelled(enclave: Enclave, job: str) -> None:
    """Raise Problem for a job that was cancelled here, or that a stop covers."""
    if find_record(enclave, "cancel", job):
        raise stops.was_cancelled(job)
    check_not_stopped(enclave, job)


def check_not_stopped(enclave: Enclave, job: str) -> None:
    """Raise Problem for a job charged here that was cancelled, or that a stop ends, its total bound already or not."""
    unstopped(enclave, job)(enclave.journal.records)


def unstopped(enclave: Enclave, job: str) -> Check:
    """What has to hold of the journal for a record about a job that was charged here: neither cancelled nor stopped."""
    charge = find_record(enclave, "charge", job)
    return lambda records: None if charge is None else stops.check_not_stopped(records, stops.about_charge(charge))


def check_in_force(enclave: Enclave, charge: Record) -> None:
    """Raise Problem for a job that was stopped, or whose agreement has expired since it was charged."""
    records = enclave.journal.records
    agreement.check_in_force(records, charge, now=agreement.clock(records, time.time()))


def job_file(enclave: Enclave, job: str, name: str) -> bytes:
    """A file that this enclave keeps of a job; raises Problem where it is gone."""
    data = enclave.files.load(job, name)
    if data is None:
        raise Problem(Kind.FAILED, "lost_file", f"The file {name!r} of job {job} is gone from this node.")
    return data


def check_job_id(job: str) -> None:
    """Raise Problem for what cannot be a job's id."""
    # Job ids become folder names and go into the journal.
    if not JOB_ID.fullmatch(job):
        raise Problem(Kind.MALFORMED, "bad_job", "A job id is 1 to 64 of a-z, 0-9 and '-'.")


def altered(name: str, job: str) -> Problem:
    """What is answered where a file is not what this enclave stored."""
    return Problem(Kind.FAILED, "altered_file", f"The file {name!r} of job {job} was altered on this node.")


def refused(code: str, message: str) -> Problem:
    """An enclave's refusal."""
    return Problem(Kind.REFUSED, code, message)
