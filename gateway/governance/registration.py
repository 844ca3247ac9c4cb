"""Registering a dataset: what has to hold before a version enters the catalogue. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from yingbi.api import digests
from yingbi.api.evidence import roster_digest
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration, RegisterDatasetRequest, ShardRegistration

from enclave_sim.plan.schema import DeclarationError, check_curious
from gateway.governance.catalogue_entry import check_complete
from gateway.governance.declarations import check_declared
from gateway.governance.signed_bytes import read


def check_roster(dataset: str, registration: bytes, epoch: KeyEpoch) -> None:
    """Raise Problem where a dataset's shards were sealed with other nodes than those that hold the key now."""
    if not fits(registration, roster_digest(epoch)):
        raise Problem(
            Kind.REFUSED,
            "needs_adding_again",
            f"A node joined or left since {dataset} was added: nothing can be asked of it. Nothing was charged.",
            field="dataset",
            hint="an operator adds it again: yingbi dataset add DIR META.yaml. What was spent stays spent",
        )


@lru_cache(maxsize=1024)
def fits(registration: bytes, roster: bytes) -> bool:
    """Whether all shards of a serialized RegisterDatasetRequest were sealed with the nodes of this roster."""
    shards = RegisterDatasetRequest.FromString(registration).shards
    return all(ShardRegistration.FromString(shard.body).roster == roster for shard in shards)


@dataclass(frozen=True)
class RegisteredDataset:
    """A dataset's present version."""

    declaration: DatasetDeclaration
    version: bytes
    # A serialized RegisterDatasetRequest.
    registration: bytes


def check_registration(
    request: RegisterDatasetRequest, epoch: KeyEpoch, *, governed: bool = False
) -> RegisteredDataset:
    """The version that a registration makes; raises Problem. Pure.

    Every key holder's enclave has to have sealed a shard of exactly this declaration. In a governed zone it says all
    that the catalogue needs.

    Keeps: CAT-01
    """
    declaration = read(DatasetDeclaration, request.declaration, "declaration")
    try:
        check_declared(declaration)
        check_curious(declaration, len(epoch.holders))
        if governed:
            check_complete(declaration)
    except DeclarationError as error:
        raise Problem(Kind.MALFORMED, "metadata", str(error)) from error
    shards = [read(ShardRegistration, shard.body, "shards.body") for shard in request.shards]
    if [shard.node for shard in shards] != [holder.node for holder in epoch.holders]:
        raise Problem(Kind.REFUSED, "bad_shards", "A dataset needs one shard from each provider node, in order.")
    declared = (declaration.dataset, digests.digest(digests.DECLARATION, request.declaration))
    for signed, shard, holder in zip(request.shards, shards, epoch.holders, strict=True):
        if not digests.is_signed(holder.signing_key, digests.SHARD, signed.body, signed.signature):
            raise Problem(Kind.REFUSED, "bad_shards", f"The shard of {shard.node} is not signed by its enclave.")
        if (shard.dataset, shard.declaration_digest) != declared:
            raise Problem(Kind.REFUSED, "bad_shards", f"The shard of {shard.node} is of another declaration.")
    if any(shard.roster != roster_digest(epoch) for shard in shards):
        raise Problem(Kind.REFUSED, "bad_shards", "The shards were sealed with other nodes than the key's holders.")
    if len({shard.ingest_id for shard in shards}) != 1:
        raise Problem(Kind.REFUSED, "bad_shards", "The shards come from different ingests.")
    version = digests.digest_all(digests.DATASET_VERSION, (shard.body for shard in request.shards))
    return RegisteredDataset(declaration, version, request.SerializeToString())
