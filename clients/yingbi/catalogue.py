"""What the catalogue says of a dataset for those who supervise it, as documents and as lines."""

from __future__ import annotations

from google.protobuf.descriptor import FieldDescriptor

from yingbi.api.v1.dataset_pb2 import CatalogueEntry, DatasetDeclaration, Opening, ServiceForm, ZoneType


def entry_json(declaration: DatasetDeclaration) -> dict[str, object]:
    """What is said, under the keys of the metadata file; nothing of what is not."""
    parts: dict[str, object] = {}
    if declaration.zone_type:
        parts["zone_type"] = ZoneType.Name(declaration.zone_type).removeprefix("ZONE_TYPE_").lower()
    if declaration.forms:
        parts["forms"] = _forms(declaration)
    if declaration.HasField("catalogue"):
        parts["catalogue"] = _entry(declaration.catalogue)
    return parts


def entry_lines(declaration: DatasetDeclaration) -> list[str]:
    """The same for people."""
    said = entry_json(declaration)
    lines = [f"zone {declaration.zone}, {said['zone_type']}"] if "zone_type" in said else []
    lines += [f"served as {', '.join(_forms(declaration))}"] if "forms" in said else []
    if not declaration.HasField("catalogue"):
        return lines
    entry = declaration.catalogue
    lines += [f"{name.replace('_', ' ')}: {text}" for name, text in _texts(entry).items()]
    if entry.HasField("opening"):
        lines.append(f"opened by {entry.opening.body}: {_level(entry.opening)}, {entry.opening.mode}")
    if entry.HasField("lawful_source"):
        source = entry.lawful_source
        lines.append(f"evidence of its source: {source.reference}, SHA-256 {source.document_sha256.hex()[:16]}…")
    return lines


def _entry(entry: CatalogueEntry) -> dict[str, object]:
    parts: dict[str, object] = dict(_texts(entry))
    if entry.HasField("opening"):
        opening = entry.opening
        parts["opening"] = {"body": opening.body, "level": _level(opening), "mode": opening.mode}
    if entry.HasField("lawful_source"):
        source = entry.lawful_source
        parts["lawful_source"] = {"reference": source.reference, "document_sha256": source.document_sha256.hex()}
    return parts


def _texts(entry: CatalogueEntry) -> dict[str, str]:
    return {field.name: content for field, content in entry.ListFields() if field.type == FieldDescriptor.TYPE_STRING}


def _forms(declaration: DatasetDeclaration) -> list[str]:
    return [ServiceForm.Name(form).removeprefix("SERVICE_FORM_").lower() for form in declaration.forms]


def _level(opening: Opening) -> str:
    return Opening.Level.Name(opening.level).removeprefix("LEVEL_").lower()
