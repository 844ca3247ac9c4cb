"""The zone's own commands as callers of its gateway."""

from __future__ import annotations

import json

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from yingbi.api import credentials
from yingbi.api.problem import Kind, Problem, kind_of_status

from gateway.zone.folder import ZoneFolder


def connect(folder: ZoneFolder, role: str) -> grpc.Channel:
    """A channel to the running gateway, as `role`; raises Problem where the zone is not up."""
    profile = json.loads(folder.profile(role).read_text())
    if not profile["address"]:
        raise not_up(folder)
    channel_credentials = grpc.ssl_channel_credentials(profile["ca_pem"].encode())
    call_credentials = grpc.access_token_call_credentials(credentials.bearer(profile["token"]))
    return grpc.secure_channel(
        profile["address"], grpc.composite_channel_credentials(channel_credentials, call_credentials)
    )


def problem_of(error: grpc.RpcError) -> Problem:
    """The problem that a failed call carries."""
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    if status is None or not status.details:
        return Problem(kind_of_status(error.code().name), "gateway", error.details() or error.code().name)
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    known = {name: info.metadata.get(name) for name in ("field", "position", "hint")}
    return Problem(kind_of_status(error.code().name), info.reason, status.message, **known)


def not_up(folder: ZoneFolder) -> Problem:
    """What is said where the gateway does not run."""
    return Problem(
        Kind.UNAVAILABLE,
        "zone_down",
        f"The zone in {folder.root} is not running.",
        hint=f"yingbi up {folder.root} --detach",
    )
