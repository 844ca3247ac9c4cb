"""Consents: what an enclave must be shown before it decrypts. Pure.

Claim: unless every holder of the key has been restored from a backup or copied, at most one total of a job is opened,
so that noise is drawn once for each charge; whatever the gateway and the hosts do, as long as fewer enclaves than the
threshold are broken (give away their share or disregard this rule).

Argument. To open a total takes partial decryptions of a threshold of holders, so one at least of an enclave that keeps
the rule: it decrypts a total only when it is shown a consent to it from *every* holder. A consent is signed, and names
the job, the manifest and the total. Suppose that two totals of a job were opened. Then every holder has signed a
consent to each. But an enclave writes the total to which it binds a job to its journal before it consents, and consents
to no other as long as that record is there. So each holder's journal has lost the record: each was put back to a state
before it, or copied before it. One node that was not is enough.

Every holder has to consent, rather than some quorum q with 2q > n + restored: it costs nothing in liveness, since a
total needs a contribution and a receipt a signature of every holder anyhow, and it holds for the most restored nodes.
Without this rule the threshold alone would speak: with 2 in 3, node 1 and node 3 open one total, node 2 and a copy of
node 3 another. It costs one more message to and from each node.

A zone of one node has no peers: its own journal is all there is, and whoever restores it draws the noise again. So may
somebody who restores every node of a zone at once: nothing inside the zone remembers. Only a witness outside, or a
counter in hardware, could tell.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch, KeyHolder
from yingbi.api.v1.node_pb2 import OpeningShare, OpeningShareBody


def check_consents(
    consents: Sequence[OpeningShare], epoch: KeyEpoch, *, job: str, manifest_digest: bytes, total_digest: bytes
) -> None:
    """Raise Problem unless every holder of the key signed that it bound the job to this manifest and total.

    One consent from each holder, in the order of their indexes; whose is missing or wrong is named.
    """
    if len(consents) != len(epoch.holders):
        raise _refused(f"It takes the consent of all {len(epoch.holders)} nodes to decrypt, and {len(consents)} came.")
    for consent, holder in zip(consents, epoch.holders, strict=True):
        body = _body(consent, holder)
        if (body.job, body.manifest_digest, body.total_digest) != (job, manifest_digest, total_digest):
            raise _refused(f"{holder.node} consented to another total than the one to decrypt.")


def _body(consent: OpeningShare, holder: KeyHolder) -> OpeningShareBody:
    try:
        body = OpeningShareBody.FromString(consent.body)
    except DecodeError as error:
        raise _refused(f"There is no consent in what {holder.node} is said to have sent.") from error
    signed = digests.is_signed(holder.signing_key, digests.OPENING_SHARE, consent.body, consent.signature)
    if body.node != holder.node or not signed:
        raise _refused(f"The consent of {holder.node} is missing or not signed by its enclave.")
    return body


def _refused(message: str) -> Problem:
    return Problem(Kind.REFUSED, "no_consent", message)
