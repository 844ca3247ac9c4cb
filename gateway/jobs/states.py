"""The states of a job and the ways between them. Pure."""

from __future__ import annotations

from typing import TypeAlias

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import JobState

State: TypeAlias = "JobState.ValueType"

PREVIEWED = JobState.JOB_STATE_PREVIEWED
WAITING = JobState.JOB_STATE_WAITING_FOR_APPROVAL
QUEUED = JobState.JOB_STATE_QUEUED
RUNNING = JobState.JOB_STATE_RUNNING
SUCCEEDED = JobState.JOB_STATE_SUCCEEDED
FAILED = JobState.JOB_STATE_FAILED
REFUSED = JobState.JOB_STATE_REFUSED
CANCELLED = JobState.JOB_STATE_CANCELLED

ENDED = frozenset({SUCCEEDED, FAILED, REFUSED, CANCELLED})

_NEXT: dict[State, frozenset[State]] = {
    PREVIEWED: frozenset({WAITING, QUEUED, SUCCEEDED, REFUSED}),
    WAITING: frozenset({QUEUED, SUCCEEDED, REFUSED, CANCELLED}),
    QUEUED: frozenset({RUNNING, FAILED, CANCELLED}),
    RUNNING: frozenset({SUCCEEDED, FAILED, CANCELLED}),
}


def name_of(state: State) -> str:
    """The state's name as users read it: "waiting for approval"."""
    return JobState.Name(state).removeprefix("JOB_STATE_").replace("_", " ").lower()


def check_transition(job: str, present: State, wanted: State) -> None:
    """Raise Problem unless a job may go from `present` to `wanted`."""
    if wanted not in _NEXT.get(present, frozenset()):
        raise Problem(
            Kind.REFUSED,
            "wrong_state",
            f"Job {job} is {name_of(present)} and cannot become {name_of(wanted)}.",
        )
