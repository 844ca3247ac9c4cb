"""Stopping a job, all jobs under an agreement, on a dataset, or of an organisation; and what each node signed of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from google.protobuf.message import DecodeError

from yingbi.api import credentials, digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.stop_scopes import OF_STEP, name_of, scope_named
from yingbi.api.v1.agreement_pb2 import AgreementStep
from yingbi.api.v1.stop_pb2 import (
    Lift,
    NodeProof,
    SignedLift,
    SignedStop,
    Stop,
    StopPreview,
    StopProof,
    StopProofBody,
    StopRecord,
    StopScope,
)
from yingbi.transport import Gateway

Scope = Literal["job", "agreement", "dataset", "organisation"]
SCOPES: tuple[Scope, ...] = ("job", "agreement", "dataset", "organisation")


@dataclass(frozen=True)
class NodeStop:
    """What one node says of a stop: when it stopped, or why it has not."""

    node: str
    at: datetime | None
    jobs: tuple[str, ...]
    withheld: int
    refusal: str
    lifted_at: datetime | None
    is_shown: bool = True
    """Whether its proof is here: one that names jobs of others comes as `at` alone, on the gateway's word."""

    def __str__(self) -> str:
        if self.lifted_at is not None:
            return f"{self.node} signed that it lifted the stop at {moment(self.lifted_at)}"
        if self.at is None:
            return f"{self.node} has not confirmed yet" + (f": {self.refusal}" if self.refusal else "")
        if not self.is_shown:
            return f"{self.node} stopped at {moment(self.at)}; its proof is not shown: it names jobs of others"
        ended = f"; it ended {', '.join(self.jobs)}" if self.jobs else ""
        return f"{self.node} signed that it stopped at {moment(self.at)}{ended}"

    def to_json(self) -> dict[str, object]:
        return {
            "node": self.node,
            "stopped_at": self.at.isoformat() if self.at else None,
            "proof_shown": self.is_shown,
            "jobs_ended": list(self.jobs),
            "contributions_withheld": self.withheld,
            "refusal": self.refusal,
            "lifted_at": self.lifted_at.isoformat() if self.lifted_at else None,
        }


@dataclass(frozen=True)
class Stopped:
    """A stop, as the gateway records it, with the nodes' proofs."""

    message: StopRecord

    @property
    def scope(self) -> str:
        """job, agreement, dataset or organisation; suspension, of an agreement until it is resumed."""
        return name_of(self.message.stop.scope)

    @property
    def subject(self) -> str:
        return self.message.stop.subject

    @property
    def name(self) -> str:
        """What it stops: "dataset visits"."""
        return f"{self.scope} {self.subject}"

    @property
    def jobs(self) -> tuple[str, ...]:
        """The jobs that it ended, of those that the caller may see."""
        return tuple(self.message.jobs)

    @property
    def at(self) -> datetime:
        """Since when nothing is released."""
        return self.message.at.ToDatetime(UTC)

    @property
    def is_lifted(self) -> bool:
        return self.message.HasField("lifted")

    @property
    def nodes(self) -> tuple[NodeStop, ...]:
        return tuple(_node(each) for each in self.message.nodes)

    def to_json(self) -> dict[str, object]:
        message = self.message
        return {
            "number": message.number,
            "scope": self.scope,
            "subject": self.subject,
            "reason": message.stop.reason,
            "person": message.person,
            "organisation": message.organisation,
            "at": self.at.isoformat(),
            "digest": message.digest.hex(),
            "jobs": list(self.jobs),
            "nodes": [each.to_json() for each in self.nodes],
            "lifted": message.lifted.ToDatetime(UTC).isoformat() if self.is_lifted else None,
            "lifted_by": message.lifted_by,
        }

    def __str__(self) -> str:
        message = self.message
        because = f": {message.stop.reason}" if message.stop.reason else ""
        at = moment(self.at)
        what = f"agreement {self.subject} was suspended" if self.scope == "suspension" else f"{self.name} was stopped"
        lines = [f"{what} by {message.person} of {message.organisation} at {at}{because}"]
        if self.is_lifted:
            lines.append(f"lifted by {message.lifted_by} at {moment(message.lifted.ToDatetime(UTC))}")
        elif message.lifted_by:
            lines.append(f"{message.lifted_by} lifts it, as soon as every node has confirmed")
        return "\n  ".join([*lines, *map(str, self.nodes)])


def preview(gateway: Gateway, scope: Scope, subject: str) -> StopPreview:
    """What a stop would hit now; nothing is stopped."""
    return gateway.preview_stop(scope_named(scope), subject)


def stop(gateway: Gateway, scope: Scope, subject: str, reason: str = "", *, organisation_key: bytes = b"") -> Stopped:
    """Stop it, signed with the profile's key; answers when the connected nodes have confirmed, or after two seconds.

    Args:
        organisation_key: of an organisation, as `preview` said it.
    """
    return Stopped(gateway.stop(signed_stop(gateway, scope_named(scope), subject, reason, organisation_key)))


def signed_stop(
    gateway: Gateway, scope: StopScope.ValueType, subject: str, reason: str, organisation_key: bytes = b""
) -> SignedStop:
    """A stop, signed with the profile's key; nothing is stopped.

    That of an agreement names those that it came in the place of, as the gateway shows them.
    """
    key = credentials.signing_key(gateway.profile.token)
    asked = Stop(
        scope=scope,
        subject=subject,
        reason=reason,
        signer_key=key.public_key().public_bytes_raw(),
        organisation_key=organisation_key,
    )
    if scope in OF_STEP.values():
        asked.predecessors.extend(gateway.get_agreement(subject).predecessors)
    asked.issued.FromNanoseconds(time.time_ns())
    body = asked.SerializeToString(deterministic=True)
    return SignedStop(body=body, signature=digests.sign(key, digests.STOP, body))


def sign_step(gateway: Gateway, step: AgreementStep) -> None:
    """Add to a step that suspends, resumes or terminates what enclaves check of it, signed with the profile's key."""
    if step.action in OF_STEP:
        step.stop.CopyFrom(signed_stop(gateway, OF_STEP[step.action], step.agreement, step.reason))
    if step.action == "resume":
        own = gateway.who_am_i().organisation.organisation
        held = suspension_by(gateway.list_stops(step.agreement, in_force=True), own)
        if held is not None:
            lift = Lift(stop=held.digest, agreement=step.agreement, reason=step.reason)
            step.lift.CopyFrom(_signed_lift(gateway, lift))


def suspension_by(records: Iterable[StopRecord], organisation: str) -> StopRecord | None:
    """Of an agreement's stops in force, this organisation's suspension: first one whose end nobody asked for.

    Else one that a node has not let go of: its lift is signed anew.
    """
    suspensions = (each for each in records if each.stop.scope == StopScope.STOP_SCOPE_SUSPENSION)
    own = [each for each in suspensions if each.organisation == organisation]
    return min(own, key=lambda each: bool(each.lifted_by), default=None)


def of_agreement(gateway: Gateway, name: str) -> list[Stopped]:
    """The suspensions and ends of an agreement that the caller may see, newest first."""
    found = list_all(gateway, name)
    return [each for each in found if each.message.stop.scope in OF_STEP.values()]


def lift(gateway: Gateway, dataset: str, reason: str = "") -> list[Stopped]:
    """Let a dataset be used again: each of the caller's organisation's cut-offs of it ends.

    One that was lifted, and that a node has not let go of, is lifted by a new word in the place of the earlier one.

    Raises:
        Problem: UNKNOWN "no_such_cut_off", where there is none; NOT_ALLOWED "may_not_lift", where all are of others.
    """
    found = [each for each in list_all(gateway, dataset, in_force=True) if each.scope == "dataset"]
    if not found:
        raise Problem(Kind.UNKNOWN, "no_such_cut_off", f"{dataset} is not cut off.", hint="`yingbi stops` lists stops")
    lifted, refused = [], None
    for each in found:
        try:
            lifted.append(_lift(gateway, each, reason))
        except Problem as problem:
            if problem.code != "may_not_lift":
                raise
            refused = problem
    if not lifted and refused is not None:
        raise refused
    return lifted


def list_all(gateway: Gateway, subject: str = "", *, in_force: bool = False) -> list[Stopped]:
    """Stops that the caller may see, newest first."""
    return [Stopped(each) for each in gateway.list_stops(subject, in_force=in_force)]


def _lift(gateway: Gateway, cut_off: Stopped, reason: str) -> Stopped:
    asked = Lift(stop=cut_off.message.digest, dataset=cut_off.subject, reason=reason)
    return Stopped(gateway.lift(_signed_lift(gateway, asked)))


def _signed_lift(gateway: Gateway, asked: Lift) -> SignedLift:
    key = credentials.signing_key(gateway.profile.token)
    asked.signer_key = key.public_key().public_bytes_raw()
    asked.issued.FromNanoseconds(time.time_ns())
    body = asked.SerializeToString(deterministic=True)
    return SignedLift(body=body, signature=digests.sign(key, digests.LIFT, body))


def _node(said: NodeProof) -> NodeStop:
    body, at = _read(said.proof)
    is_shown = not said.HasField("confirmed")
    return NodeStop(
        node=said.node,
        at=at if is_shown else said.confirmed.ToDatetime(UTC),
        jobs=tuple(body.jobs_ended),
        withheld=body.contributions_withheld,
        refusal=said.refusal,
        lifted_at=_read(said.lift_proof)[1],
        is_shown=is_shown,
    )


def _read(proof: StopProof) -> tuple[StopProofBody, datetime | None]:
    """What a node says, and when: None where there is nothing, or what is there cannot be read."""
    if not proof.body:
        return StopProofBody(), None
    try:
        body = StopProofBody.FromString(proof.body)
        return body, datetime.fromtimestamp(body.at_millis / 1000, UTC)
    except (DecodeError, OverflowError, ValueError, OSError):
        return StopProofBody(), None


def moment(at: datetime) -> str:
    """To the millisecond: what a node proves is when."""
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03} UTC"
