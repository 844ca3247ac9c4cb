"""The operating agreement of a zone's own operator, signed when the zone is made by whose keys are all there then.

The gateway takes it through the life of every other at its first start: see `gateway.storage.operators.begin`.

Keeps: APP-03
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import credentials, digests
from yingbi.api.v1.agreement_pb2 import AgreementSignature
from yingbi.api.v1.operator_pb2 import OperatingAgreement, OperatorNotice, SignedOperatingAgreement

from gateway.governance.agreement_documents import after_five_years

NOTICE = "first-operator"
DAY = 86_400


def first_agreement(tokens: Mapping[str, str], now: float) -> SignedOperatingAgreement:
    """Signed by the coordinator and the operator, for five years from `now`.

    Args:
        tokens: of the zone's first accounts, by role, which their organisations are called by.
        now: seconds since 1970.
    """
    starts = Timestamp(seconds=int(now))
    notice = OperatorNotice(
        notice=NOTICE,
        title="The zone's first operator",
        conditions="who makes the zone, with `yingbi init`, also operates it at first",
        scope="running the zone: registering datasets, watching jobs, approving deployed models",
        responsibility="the operator answers for the gateway; each provider answers for its nodes",
        supervision="the supervisor and the auditor read every step in the zone's record",
        revocation="by the coordinator, at any time, with a reason",
        apply_by=Timestamp(seconds=starts.seconds + DAY),
        starts=starts,
        expires=after_five_years(starts),
        coordinator="coordinator",
        supervisor="supervisor",
        coordinator_key=_public(tokens["coordinator"]),
        supervisor_key=_public(tokens["supervisor"]),
    )
    terms = OperatingAgreement(
        notice=notice,
        operator="operator",
        operator_key=_public(tokens["operator"]),
        statement="made the zone on machines of its own",
    ).SerializeToString(deterministic=True)
    return SignedOperatingAgreement(
        terms=terms, coordinator=_signed(tokens["coordinator"], terms), operator=_signed(tokens["operator"], terms)
    )


def _signed(token: str, terms: bytes) -> AgreementSignature:
    signature = digests.sign(credentials.signing_key(token), digests.OPERATING_AGREEMENT, terms)
    return AgreementSignature(signature=signature, key=_public(token))


def _public(token: str) -> bytes:
    return credentials.signing_key(token).public_key().public_bytes_raw()
