"""Which key epoch an enclave is in: it never goes back to an earlier one, nor to another of the same number.

An epoch that an enclave has taken is in its journal, with all that its holders have spent before. Whoever holds the
node's files can put an older share back; its enclave then does not start.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError
from yingbi.api import digests
from yingbi.api.eat import Claims
from yingbi.api.evidence import EvidenceError, verify_key_epoch
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyCeremonyRequest, KeyEpoch
from yingbi.api.v1.standing_pb2 import Standing

from enclave_sim.journal import Journal, Record
from enclave_sim.standing import check_covers, standing_of, taken_over


def take(journal: Journal, epoch: KeyEpoch, epoch_body: bytes, standing: bytes) -> None:
    """Enter `epoch`, durably, or do nothing where it was entered before.

    Args:
        epoch_body: the serialized epoch as its dealer signed it.
        standing: the serialized Standing that came with it; empty in a zone's first epoch.

    Raises:
        EvidenceError: the journal has a later epoch, another one of this number, or more spent than the standing says.
        JournalError: it could not be written.
    """
    record: Record = {
        "kind": "key_epoch",
        "epoch": epoch.epoch,
        "digest": digests.digest(digests.KEY_EPOCH, epoch_body).hex(),
    }
    taken = [known for known in journal.records if known["kind"] == "key_epoch"]
    if taken and taken[-1] == record:
        return
    if taken and epoch.epoch <= int(taken[-1]["epoch"]):
        raise EvidenceError(
            f"this enclave is in key epoch {taken[-1]['epoch']} and was given "
            + (f"the older {epoch.epoch}" if epoch.epoch < int(taken[-1]["epoch"]) else "another one of that number")
        )
    carried = _standing(standing, epoch.standing_digest)
    check_covers(carried, standing_of(journal.records))
    for entry in taken_over(carried, journal.records):
        journal.append(entry)
    # Last: before it, all of this is done again at the next start.
    journal.append(record)


def check_successor(request: KeyCeremonyRequest, enclaves: list[Claims], ca_pem: bytes) -> bytes:
    """The digest of the standing to name in the epoch that is asked for; empty in a zone's first.

    Raises EvidenceError unless the epoch follows the one before it: its number is the next, one of its holders at
    least stays, and its standing covers the earlier one's.
    """
    if not request.HasField("previous"):
        if request.epoch != 1 or request.standing:
            raise EvidenceError(f"key epoch {request.epoch} follows none")
        return b""
    previous = verify_key_epoch(request.previous, ca_pem)
    if request.epoch != previous.epoch + 1:
        raise EvidenceError(f"key epoch {previous.epoch} is not followed by {request.epoch}")
    staying = {holder.signing_key for holder in previous.holders} & {enclave.signing_key for enclave in enclaves}
    if not staying:
        raise EvidenceError("nobody who holds the present key would hold the next: it would forget what was spent")
    digest = digests.digest(digests.STANDING, request.standing)
    check_covers(_standing(request.standing, digest), _standing(request.previous_standing, previous.standing_digest))
    return digest


def check_begun_here(epoch: KeyEpoch, job: str, charge: Record) -> None:
    """Raise Problem where a job was begun under another key: what was contributed to it cannot be opened any more."""
    begun = int(charge.get("key_epoch", 1))
    if begun != epoch.epoch:
        raise Problem(
            Kind.REFUSED,
            "other_epoch",
            f"Job {job} was begun under key epoch {begun}, and this is {epoch.epoch}. Its budget stays spent, since "
            "data may have been unsealed.",
            hint="ask again",
        )


def _standing(content: bytes, digest: bytes) -> Standing:
    if not digest and not content:
        return Standing()
    if digests.digest(digests.STANDING, content) != digest:
        raise EvidenceError("the standing is not the one that the key epoch names")
    try:
        return Standing.FromString(content)
    except DecodeError as error:
        raise EvidenceError("there is no Standing in what the key epoch names") from error
