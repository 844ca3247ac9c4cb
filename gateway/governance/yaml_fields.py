"""What stands under the keys of a YAML document: each reader takes an entry, or says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from yingbi.api.problem import nearest

from gateway.governance.yaml_tree import Entry, child_path

Content = TypeVar("Content")


def check_keys(entry: Entry, known: tuple[str, ...]) -> None:
    """Raise Problem where a mapping has a key that is not known, with the nearest that is."""
    for key, part in mapping(entry).items():
        if key not in known:
            near = nearest(key, list(known))
            hint = f"Did you mean {near}?" if near else None
            raise part.problem(f"the key is not known; accepted are {', '.join(known)}", hint)


def member(entry: Entry, key: str) -> Entry:
    """The entry under a key of a mapping; raises Problem where there is none."""
    members = mapping(entry)
    if key not in members:
        raise entry.missing(key, "the key is missing")
    return members[key]


def optional(entry: Entry, key: str, read: Callable[[Entry], Content]) -> Content | None:
    """What `read` makes of the entry under a key; None where there is none."""
    member = mapping(entry).get(key)
    return None if member is None else read(member)


def mapping(entry: Entry) -> dict[str, Entry]:
    """The entries of a mapping by key; raises Problem."""
    if not isinstance(entry.content, dict):
        raise entry.problem(f"must be keys with values, not {shown(entry.content)}")
    return entry.content


def text(entry: Entry) -> str:
    """A string; raises Problem."""
    if not isinstance(entry.content, str):
        is_scalar = entry.content is not None and not isinstance(entry.content, dict | list)
        hint = "Write it in quotes." if is_scalar else None
        raise entry.problem(f"must be a string, not {shown(entry.content)}", hint)
    return entry.content


def whole(entry: Entry, most: int) -> int:
    """A whole number from 0 to `most`; raises Problem."""
    content = entry.content
    if isinstance(content, bool) or not isinstance(content, int):
        raise entry.problem(f"must be a whole number, not {shown(content)}")
    if not 0 <= content <= most:
        raise entry.problem(f"must be a whole number up to {most:,}, not {shown(content)}")
    return content


def real(entry: Entry) -> float:
    """A number, as float64; raises Problem."""
    content = entry.content
    if isinstance(content, bool) or not isinstance(content, int | float):
        raise entry.problem(f"must be a number, not {shown(content)}")
    try:
        number = float(content)
    except OverflowError as error:
        raise entry.problem("the number is too large") from error
    if isinstance(content, int) and int(number) != content:
        raise entry.problem(f"no float64 is exactly {shown(content)}; use a number within ±2^53")
    return number


def truth(entry: Entry) -> bool:
    """True or false; raises Problem."""
    if not isinstance(entry.content, bool):
        raise entry.problem(f"must be true or false, not {shown(entry.content)}")
    return entry.content


def entry_at(root: Entry, path: str) -> Entry:
    """The entry at a path of keys, or one of that path at the place of its nearest parent."""
    entry, walked = root, ""
    for key in path.split("."):
        walked = child_path(walked, key)
        if not isinstance(entry.content, dict) or key not in entry.content:
            return Entry(root.file, path, entry.line, entry.column, None)
        entry = entry.content[key]
    return entry


def shown(content: object) -> str:
    """A scalar, list or mapping as messages name it."""
    if content is None:
        return "nothing"
    if isinstance(content, dict):
        return "keys with values"
    if isinstance(content, list):
        return "a list"
    said = str(content).lower() if isinstance(content, bool) else str(content)
    return repr(said if len(said) <= 60 else said[:57] + "...")
