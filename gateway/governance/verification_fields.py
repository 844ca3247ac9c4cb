"""The section `verification` of a metadata file. Its form is checked here, its rules where declarations are."""

from __future__ import annotations

from yingbi.api.v1.verification_pb2 import ConsentIssuer, ScoreBand, VerificationDeclaration, VerificationField

from enclave_sim.plan.verification import KEY_BYTES, MAX_A_DAY, MAX_PRICE
from gateway.governance import yaml_fields as fields
from gateway.governance.yaml_tree import Entry

_KEYS = ("fields", "purposes", "issuers", "bands", "limits", "price")
_LIMITS = ("each_subject_a_day", "each_developer_a_day")


def read_verification(entry: Entry) -> VerificationDeclaration:
    """What may be verified; raises Problem for the first mistake."""
    fields.check_keys(entry, _KEYS)
    limits = fields.member(entry, "limits")
    fields.check_keys(limits, _LIMITS)
    subject, developer = (fields.whole(fields.member(limits, name), MAX_A_DAY) for name in _LIMITS)
    return VerificationDeclaration(
        fields=[
            VerificationField(table=table, column=column)
            for table, columns in fields.mapping(fields.member(entry, "fields")).items()
            for column in _texts(columns)
        ],
        purposes=_texts(fields.member(entry, "purposes")),
        issuers=[
            ConsentIssuer(name=name, key=_key(key))
            for name, key in fields.mapping(fields.member(entry, "issuers")).items()
        ],
        bands=fields.optional(entry, "bands", _bands),
        each_subject_a_day=subject,
        each_developer_a_day=developer,
        price=fields.whole(fields.member(entry, "price"), MAX_PRICE),
    )


def _bands(entry: Entry) -> list[ScoreBand]:
    return [ScoreBand(name=name, percent=fields.whole(part, 100)) for name, part in fields.mapping(entry).items()]


def _texts(entry: Entry) -> list[str]:
    if not isinstance(entry.content, list) or not entry.content:
        raise entry.problem("must be a list of one name or more, as [a, b]")
    return [fields.text(item) for item in entry.content]


def _key(entry: Entry) -> bytes:
    text = fields.text(entry)
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise entry.problem("must be an Ed25519 public key, 64 hexadecimal digits", "`yingbi consent key` prints it.")
    return key
