"""The files of an escrow: who holds shares, the shares, and what an enclave asks for them with. All are JSON."""

from __future__ import annotations

import json
from pathlib import Path

from google.protobuf import json_format

from yingbi.api.problem import Kind, Problem
from yingbi.api.suites import DEFAULT
from yingbi.api.v1.attestation_pb2 import Evidence
from yingbi.api.v1.storage_pb2 import EscrowHolder, EscrowShare


def load_holder(path: Path) -> EscrowHolder:
    """A holder from the public file that `HolderKey.save` wrote; raises Problem."""
    document = read_json(path)
    try:
        key = bytes.fromhex(document["public_key"])
        if len(key) != DEFAULT.encryption_key_bytes:
            raise ValueError("it has another length")
        return EscrowHolder(name=document["name"], encryption_key=key)
    except (KeyError, TypeError, ValueError) as error:
        raise no_such(path, "holder's public key", "name the .pub file that `yingbi escrow key` wrote") from error


def load_share(path: Path) -> EscrowShare:
    """A share from its file; raises Problem."""
    try:
        return json_format.ParseDict(read_json(path), EscrowShare())
    except json_format.ParseError as error:
        raise no_such(path, "share", "name a file of `yingbi escrow split` or `release`") from error


def save_share(share: EscrowShare, path: Path) -> None:
    """Write a share, for its owner alone."""
    path.touch(mode=0o600)
    path.write_text(json_format.MessageToJson(share, preserving_proto_field_name=True) + "\n")


def load_request(path: Path) -> Evidence:
    """The evidence of an enclave that asks for shares; raises Problem."""
    try:
        return json_format.ParseDict(read_json(path), Evidence())
    except json_format.ParseError as error:
        raise no_such(path, "request for shares", "`yingbi escrow request` makes one") from error


def save_request(evidence: Evidence, path: Path) -> None:
    """Write a request for shares, which is no secret."""
    path.write_text(json_format.MessageToJson(evidence, preserving_proto_field_name=True) + "\n")


def read_json(path: Path) -> dict[str, str]:
    """The JSON object in a file; raises Problem."""
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise Problem(Kind.MALFORMED, "file", f"Cannot read {path}: {error.strerror}.", field="FILE") from error
    except ValueError as error:
        raise Problem(Kind.MALFORMED, "file", f"{path} is not JSON.", field="FILE") from error
    if not isinstance(document, dict):
        raise Problem(Kind.MALFORMED, "file", f"{path} is no JSON object.", field="FILE")
    return document


def no_such(path: Path, what: str, hint: str) -> Problem:
    """What is said of a file that is something else."""
    return Problem(Kind.MALFORMED, "file", f"{path} is no {what}.", field="FILE", hint=hint)
