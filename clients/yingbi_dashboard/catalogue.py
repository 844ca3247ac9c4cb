"""What the console says, in the languages that it speaks: one JSON document each, by the same keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources

LANGUAGES: Mapping[str, str] = {"en": "English", "zh": "中文"}
"""By the tags that pages carry: each language's name in itself."""
DEFAULT = "en"


@cache
def messages(language: str) -> Mapping[str, str]:
    """All sentences of a language by their keys; raises KeyError for a language that there is none of."""
    if language not in LANGUAGES:
        raise KeyError(language)
    text = (resources.files(__package__) / "messages" / f"{language}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def say(language: str, key: str, /, **parts: object) -> str:
    """The sentence `key`, with its `{parts}` filled in. Raises KeyError for one that there is none of."""
    return messages(language)[key].format(**parts)


def chosen(cookie: str | None, accepted: str) -> str:
    """The language of a reader: the one chosen, else the first that the browser accepts and the console speaks."""
    if cookie is not None and cookie in LANGUAGES:
        return cookie
    for part in accepted.split(","):
        tag = part.partition(";")[0].strip().lower().partition("-")[0]
        if tag in LANGUAGES:
            return tag
    return DEFAULT
