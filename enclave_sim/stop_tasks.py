"""Carrying a stop out: written first, then what runs is ended, then this enclave signs that it is so."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.node_pb2 import LiftTask, StopTask
from yingbi.api.v1.stop_pb2 import SignedStop, Stop, StopProof, StopProofBody

from enclave_sim import agreement, jobs, stops
from enclave_sim.bodies import read_body
from enclave_sim.enclave import Enclave
from enclave_sim.job_records import check_job_id, find_record
from enclave_sim.journal import Record

MOST_JOBS_NAMED = 1000

EndJob = Callable[[Collection[str]], None]
"""Ends the computation of these jobs and waits until no process of theirs is left; raises where that fails."""


def stop(enclave: Enclave, task: StopTask, end: EndJob) -> StopProof:
    """The proof that this enclave stopped; raises Problem where nobody who may asks for it, and nothing is stopped.

    Without a signature it is the cancellation of a job, which a gateway may order alone: see `jobs.cancel`.
    """
    said = read_body(Stop, task.stop.body)
    if not task.stop.signature:
        if said.scope != stops.JOB:
            raise stops.refused("not_signed", "Nobody signed this stop: only a job can be cancelled without.")
        if said.signer_key:
            # Its proof would be taken for that of the signed one, which is for good.
            raise stops.refused("not_signed", "This stop names who signed it, and comes without the signature.")
        jobs.cancel(enclave, said.subject)
        covered = [said.subject] if find_record(enclave, "charge", said.subject) else []
    else:
        record = _recorded(enclave, task)
        if stops.is_lifted(enclave.journal.records, record):
            raise stops.refused("lifted", "This cut-off was lifted here: to be told of it again stops nothing.")
        covered = _covered(enclave, record)
    end(covered if covered or said.scope != stops.JOB else [said.subject])
    # A signed stop of a job holds for a total that is bound already; a cancellation comes too late for that.
    signed_job = said.scope == stops.JOB and bool(task.stop.signature)
    ended = [job for job in covered if signed_job or not find_record(enclave, "open", job)]
    return _proof(enclave, digests.digest(digests.STOP, task.stop.body), ended)


def lift(enclave: Enclave, task: LiftTask) -> StopProof:
    """The proof that a dataset's cut-off, or an agreement's suspension, ended here; raises Problem where it did not.

    The stop comes with it: an enclave that never heard of it is told both, and keeps both. A lift that it refuses
    closes nothing that was open; one of a stop that it refuses is refused as "never_stopped".
    """
    try:
        stopped = _judged(enclave, task.stop)
    except Problem as problem:
        raise stops.refused("never_stopped", f"This enclave never stopped: {problem.message}") from problem
    lifted = stops.lift_of(task.lift, [*enclave.journal.records, stopped], enclave.policy, now=_now(enclave))
    _keep(enclave, stopped)
    if not stops.is_lifted(enclave.journal.records, stopped):
        enclave.journal.append(lifted)
    return _proof(enclave, digests.digest(digests.LIFT, task.lift.body), [])


def _recorded(enclave: Enclave, task: StopTask) -> Record:
    """The stop's record, written unless it is there; told again, a stop stops nothing that was lifted."""
    record = _judged(enclave, task.stop)
    _keep(enclave, record)
    return record


def _judged(enclave: Enclave, signed: SignedStop) -> Record:
    """The stop's record as it was written, or as it would be; raises Problem for one that is not to be obeyed."""
    if (known := _known(enclave, stops.digest_of(signed))) is not None:
        return known
    record = stops.record_of(signed, enclave.policy, now=_now(enclave))
    _check_own(enclave, record)
    return record


def _keep(enclave: Enclave, stop: Record) -> None:
    if _known(enclave, stop["stop"]) is None:
        enclave.journal.append(stop)


def _known(enclave: Enclave, stop: str | int) -> Record | None:
    found = (each for each in enclave.journal.records if each["kind"] == "stop" and each["stop"] == stop)
    return next(found, None)


def _now(enclave: Enclave) -> float:
    """By which certificates count, for stops as for all else."""
    return agreement.clock(enclave.journal.records, time.time())


def _check_own(enclave: Enclave, record: Record) -> None:
    charge = find_record(enclave, "charge", str(record["job"])) if "only" in record else None
    if charge is not None and not stops.covers(record, stops.about_charge(charge)):
        raise stops.refused("may_not_stop", f"Job {record['job']} is another developer's.")
    if "job" in record:
        check_job_id(str(record["job"]))


def _covered(enclave: Enclave, record: Record) -> list[str]:
    """The jobs that this enclave charged, and that the stop is about."""
    charges = [each for each in enclave.journal.records if each["kind"] == "charge"]
    return [str(charge["job"]) for charge in charges if stops.covers(record, stops.about_charge(charge))]


def _proof(enclave: Enclave, stop: bytes, ended: list[str]) -> StopProof:
    body = StopProofBody(
        node=enclave.node,
        stop=stop,
        jobs_ended=ended[-MOST_JOBS_NAMED:],
        contributions_withheld=sum(find_record(enclave, "contribution", job) is None for job in ended),
        processes_alive=0,
        at_millis=int(time.time() * 1000),
        key_epoch=enclave.epoch.epoch,
    ).SerializeToString(deterministic=True)
    return StopProof(body=body, signature=enclave.identity.sign(digests.STOP_PROOF, body))


def failed(error: Exception) -> Problem:
    """What is answered where processes could not be ended: no proof."""
    return Problem(Kind.FAILED, "not_stopped", f"What runs could not be ended: {type(error).__name__}.")
