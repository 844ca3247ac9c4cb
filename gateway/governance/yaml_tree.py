"""A YAML 1.2 document as a tree in which every part knows its place in the file.

Scalars follow the core schema of YAML 1.2.2 (section 10.3): `1e-7` is a number; `yes`, `on` and
`2024-01-31` are strings. Anchors, aliases, tags of other kinds and repeated keys are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yingbi.api.problem import Kind, Problem

Scalar: TypeAlias = bool | int | float | str | None

MAX_BYTES = 2**20
# The parser takes a time that grows with the square of how deep they are nested.
MAX_DEPTH = 500
_TAG = "tag:yaml.org,2002:"
_CORE_TAGS = frozenset(_TAG + name for name in ("null", "bool", "int", "float", "str", "timestamp", "map", "seq"))
_STRING_TAG = _TAG + "str"
_MAX_DIGITS = 400
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass(frozen=True)
class Entry:
    """A part of the document: its place, and a mapping, a list or a scalar."""

    file: str
    path: str
    """Keys from the top, joined by dots; list items as `[0]`. Empty for the document."""
    line: int
    column: int
    content: dict[str, Entry] | list[Entry] | Scalar

    def problem(self, message: str, hint: str | None = None) -> Problem:
        """A problem with this part; `message` says what is wrong and what would be accepted."""
        return problem_at(self.file, self.line, self.column, self.path, message, hint)

    def missing(self, key: str, message: str) -> Problem:
        """A problem with a key that should be in this mapping."""
        path = child_path(self.path, key)
        return problem_at(self.file, self.line, self.column, path, message, None)


def problem_at(file: str, line: int, column: int, field: str, message: str, hint: str | None) -> Problem:
    """A problem with a place in a metadata file."""
    return Problem(
        Kind.MALFORMED,
        "metadata",
        f"{file}:{line}: {field or 'document'}: {message}",
        field=field or None,
        position=f"{line}:{column}",
        hint=hint,
    )


def child_path(path: str, key: str) -> str:
    """The path of a key below `path`."""
    return f"{path}.{key}" if path else key


def read_tree(path: Path) -> Entry:
    """The document in a file.

    Raises:
        Problem: the file cannot be read, or is no single YAML document that follows the rules above.
    """
    return tree_of(path.name, _read_text(path), "a dataset")


def tree_of(file: str, text: str, subject: str) -> Entry:
    """The document that `text` is; `file` is what errors call it, and `subject` what it must describe.

    Raises:
        Problem: it is no single YAML document that follows the rules above.
    """
    if _depth(text) > MAX_DEPTH:
        raise problem_at(file, 1, 1, "", f"brackets are nested more than {MAX_DEPTH} deep", None)
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = str(error.problem or error.context or "it cannot be read")
        raise problem_at(file, line, column, "", f"this is not YAML: {said}", None) from error
    except (YAMLError, ValueError, RecursionError, AttributeError, IndexError, KeyError, TypeError) as error:
        said = str(error).splitlines()[0] if str(error) else "it cannot be read"
        raise problem_at(file, 1, 1, "", f"this is not YAML: {said}", None) from error
    if root is None:
        raise problem_at(file, 1, 1, "", f"the file is empty; it must describe {subject}", None)
    return _Builder(file).entry(root, "")


def _depth(text: str) -> int:
    """How deep brackets are nested at most, those in strings and comments among them."""
    deepest = depth = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth = max(0, depth + (1 if bracket in "[{" else -1))
        deepest = max(deepest, depth)
    return deepest


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "Name one YAML file." if path.is_dir() else "Check the path."
        raise Problem(
            Kind.MALFORMED, "metadata", f"{path}: the file cannot be read: {reason}.", field="file", hint=hint
        ) from error
    return decoded(path.name, data, MAX_BYTES)


def decoded(file: str, data: bytes, most: int) -> str:
    """The text of a document of at most `most` bytes; raises Problem."""
    if len(data) > most:
        raise problem_at(file, 1, 1, "", f"the file has more than {most:,} bytes", None)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise problem_at(file, line, 1, "", "the text is not UTF-8", "Save the file as UTF-8.") from error


class _Builder:
    """Turns ruamel's nodes into entries."""

    def __init__(self, file: str) -> None:
        self._file = file

    def entry(self, node: Node, path: str) -> Entry:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        place = Entry(self._file, path, line, column, None)
        if node.anchor is not None:
            raise place.problem("anchors and aliases are not accepted; write the value out")
        if str(node.tag) not in _CORE_TAGS:
            raise place.problem(f"the tag {node.tag} is not accepted; leave it out")
        content: dict[str, Entry] | list[Entry] | Scalar
        if isinstance(node, MappingNode):
            content = self._mapping(node, path)
        elif isinstance(node, SequenceNode):
            content = [self.entry(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
        elif isinstance(node, ScalarNode):
            content = _scalar(node, place)
        else:
            raise place.problem("the text is not YAML")
        return Entry(self._file, path, line, column, content)

    def _mapping(self, node: MappingNode, path: str) -> dict[str, Entry]:
        content: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            key_line, key_column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
            key_place = Entry(self._file, path, key_line, key_column, None)
            if not isinstance(key_node, ScalarNode) or key_node.anchor is not None or not _is_text(str(key_node.value)):
                raise key_place.problem("a key must be a plain name")
            key = str(key_node.value)
            value = self.entry(value_node, child_path(path, key))
            if key in content:
                raise Entry(self._file, value.path, key_line, key_column, None).problem("the key is there twice")
            content[key] = Entry(self._file, value.path, key_line, key_column, value.content)
        return content


def _scalar(node: ScalarNode, place: Entry) -> Scalar:
    text = str(node.value)
    if not _is_text(text):
        raise place.problem("an escape in the string makes no Unicode character")
    if node.style in ("'", '"', "|", ">"):
        if str(node.tag) != _STRING_TAG:
            raise place.problem(f"the tag {node.tag} is not accepted; leave it out")
        return text
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    return _number(text, place)


def _number(text: str, place: Entry) -> int | float | str:
    """The number that a plain scalar is, or the scalar itself."""
    if not (_INT.fullmatch(text) or _BASED.fullmatch(text) or _FLOAT.fullmatch(text) or _SPECIAL.fullmatch(text)):
        return text
    if len(text) > _MAX_DIGITS:
        raise place.problem("the number is too long")
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    return float(text.replace(".", "") if _SPECIAL.fullmatch(text) else text)


def _is_text(text: str) -> bool:
    """Whether a string has no lone surrogate, as an escape can make one."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
