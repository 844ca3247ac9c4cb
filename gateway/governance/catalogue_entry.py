"""What the catalogue says of a dataset for those who supervise it: its section in the metadata file, and its rules.

In a zone made with --auto-approve the section may be left out; in any other it is complete, or the dataset is not taken
in. A change of it is a new version of the dataset, as is any other change of the metadata.

Keeps: CAT-02, CAT-03, CAT-04, CAT-06
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from yingbi.api.problem import nearest
from yingbi.api.v1.dataset_pb2 import (
    ZONE_TYPE_COMPREHENSIVE,
    ZONE_TYPE_DOMAIN,
    ZONE_TYPE_REGIONAL,
    CatalogueEntry,
    DatasetDeclaration,
    LawfulSource,
    Opening,
    ServiceForm,
    ZoneType,
)

from enclave_sim.plan.schema import DeclarationError
from enclave_sim.plan.services import FORM_NAMES
from gateway.governance import yaml_fields as fields
from gateway.governance.yaml_tree import Entry

Member = TypeVar("Member")

TEXTS = (
    "category",
    "scale",
    "precision",
    "carrier",
    "scope_of_use",
    "external_sharing",
    "cross_border",
    "security",
    "responsible",
)
"""What an entry says in words, each under a key of its own."""
ZONE_TYPES: Mapping[ZoneType.ValueType, str] = {
    ZONE_TYPE_DOMAIN: "domain",
    ZONE_TYPE_REGIONAL: "regional",
    ZONE_TYPE_COMPREHENSIVE: "comprehensive",
}
LEVELS: Mapping[Opening.Level.ValueType, str] = {
    Opening.LEVEL_UNCONDITIONAL: "unconditional",
    Opening.LEVEL_CONDITIONAL: "conditional",
    Opening.LEVEL_CLOSED: "closed",
}
MAX_TEXT = 1_000
"""Characters of one text."""
MAX_DOCUMENT_BYTES = 2**28
_HASH_BYTES = 32
_OPENING_KEYS = ("body", "level", "mode")
_SOURCE_KEYS = ("reference", "document")


def read_zone_type(entry: Entry) -> ZoneType.ValueType:
    """Domain, regional or comprehensive; raises Problem."""
    return _choice(entry, ZONE_TYPES)


def read_forms(entry: Entry) -> list[ServiceForm.ValueType]:
    """The forms in which a dataset is served, in any order; raises Problem."""
    if not isinstance(entry.content, list) or not entry.content:
        raise entry.problem(f"must be a list of one or more of {', '.join(FORM_NAMES.values())}")
    return sorted(_choice(each, FORM_NAMES) for each in entry.content)


def entry_reader(folder: Path) -> Callable[[Entry], CatalogueEntry]:
    """Reads the section `catalogue`; documents are relative to `folder`, and only their SHA-256 is kept."""

    def read(entry: Entry) -> CatalogueEntry:
        fields.check_keys(entry, (*TEXTS, "opening", "lawful_source"))
        texts = {name: fields.optional(entry, name, fields.text) or "" for name in TEXTS}
        return CatalogueEntry(
            **texts,
            opening=fields.optional(entry, "opening", _opening),
            lawful_source=fields.optional(entry, "lawful_source", lambda part: _source(part, folder)),
        )

    return read


def check_entry(declaration: DatasetDeclaration) -> None:
    """Refuse what an entry may not say, where it says something; raises DeclarationError."""
    _require(declaration.zone_type == 0 or declaration.zone_type in ZONE_TYPES, "zone_type", "is none that there is")
    if not declaration.HasField("catalogue"):
        return
    entry = declaration.catalogue
    texts = {name: getattr(entry, name) for name in TEXTS}
    if entry.HasField("opening"):
        texts |= {"opening.body": entry.opening.body, "opening.mode": entry.opening.mode}
        _require(entry.opening.level in LEVELS, "catalogue.opening.level", "is none that there is")
    if entry.HasField("lawful_source"):
        texts["lawful_source.reference"] = entry.lawful_source.reference
        is_hash = len(entry.lawful_source.document_sha256) == _HASH_BYTES
        _require(is_hash, "catalogue.lawful_source.document", "must be known by its SHA-256")
    for name, text in texts.items():
        _require(len(text) <= MAX_TEXT, f"catalogue.{name}", f"must have at most {MAX_TEXT:,} characters")


def check_complete(declaration: DatasetDeclaration) -> None:
    """Refuse a declaration that leaves out what a zone with approvals needs; raises DeclarationError.

    `declaration` is one that `check_entry` accepts.
    """
    why = "needed in a zone that was not made with --auto-approve"
    _require(declaration.zone_type in ZONE_TYPES, "zone_type", f"{why}: {', '.join(ZONE_TYPES.values())}")
    _require(len(declaration.forms) > 0, "forms", f"{why}: which of {', '.join(FORM_NAMES.values())} are served")
    _require(declaration.HasField("catalogue"), "catalogue", why)
    entry = declaration.catalogue
    _require(entry.HasField("lawful_source"), "catalogue.lawful_source", f"{why}: a reference and its document")
    _require(entry.lawful_source.reference.strip() != "", "catalogue.lawful_source.reference", why)
    _require(entry.HasField("opening"), "catalogue.opening", f"{why}: {', '.join(_OPENING_KEYS)}")
    for name in ("body", "mode"):
        _require(getattr(entry.opening, name).strip() != "", f"catalogue.opening.{name}", why)
    for name in TEXTS:
        _require(getattr(entry, name).strip() != "", f"catalogue.{name}", why)


def _opening(entry: Entry) -> Opening:
    fields.check_keys(entry, _OPENING_KEYS)
    body, mode = (fields.text(fields.member(entry, name)) for name in ("body", "mode"))
    return Opening(body=body, level=_choice(fields.member(entry, "level"), LEVELS), mode=mode)


def _source(entry: Entry, folder: Path) -> LawfulSource:
    fields.check_keys(entry, _SOURCE_KEYS)
    return LawfulSource(
        reference=fields.text(fields.member(entry, "reference")),
        document_sha256=_digest(fields.member(entry, "document"), folder),
    )


def _digest(entry: Entry, folder: Path) -> bytes:
    name = fields.text(entry)
    try:
        with (folder / name).open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except (OSError, ValueError) as error:
        said = f"there is no file {fields.shown(name)} in {folder}"
        raise entry.problem(said, "Paths are relative to the YAML file.") from error
    if not 0 < len(data) <= MAX_DOCUMENT_BYTES:
        raise entry.problem(f"a document has 1 to {MAX_DOCUMENT_BYTES:,} bytes")
    return hashlib.sha256(data).digest()


def _choice(entry: Entry, names: Mapping[Member, str]) -> Member:
    name = fields.text(entry)
    for member, known in names.items():
        if known == name:
            return member
    near = nearest(name, list(names.values()))
    hint = f"Did you mean {near}?" if near else None
    raise entry.problem(f"must be one of {', '.join(names.values())}, not {fields.shown(name)}", hint)


def _require(holds: bool, path: str, message: str) -> None:
    if not holds:
        raise DeclarationError(path, message)
