"""What the console says, in the languages that it speaks: one JSON document each, by the same keys.

What the gateway refuses it says in English; what each code means is in a document beside, for every other language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from string import Formatter

LANGUAGES: Mapping[str, str] = {"en": "English", "zh": "中文"}
"""By the tags that pages carry: each language's name in itself."""
DEFAULT = "en"


@cache
def messages(language: str) -> Mapping[str, str]:
    """All sentences of a language by their keys; raises KeyError for a language that there is none of."""
    if language not in LANGUAGES:
        raise KeyError(language)
    return _document(language)


@cache
def refusals(language: str) -> Mapping[str, str]:
    """What codes of refusals mean, in a language that is not the gateway's own; raises KeyError for any other."""
    if language not in LANGUAGES or language == DEFAULT:
        raise KeyError(language)
    return _document(f"refusals.{language}")


def say(language: str, key: str, /, **parts: object) -> str:
    """The sentence `key`, with its `{parts}` filled in. Raises KeyError for one that there is none of."""
    return messages(language)[key].format(**parts)


def parts_of(key: str) -> set[str]:
    """The names of a sentence's parts, which are the same in every language; raises KeyError."""
    return {name for _, name, _, _ in Formatter().parse(messages(DEFAULT)[key]) if name}


def refusal(language: str, code: str) -> str:
    """What a refusal means; empty where the gateway's own words are in this language, or all that there is."""
    return "" if language == DEFAULT else refusals(language).get(code, "")


def chosen(cookie: str | None, accepted: str) -> str:
    """The language of a reader: the one chosen, else the first that the browser accepts and the console speaks."""
    if cookie is not None and cookie in LANGUAGES:
        return cookie
    for part in accepted.split(","):
        tag = part.partition(";")[0].strip().lower().partition("-")[0]
        if tag in LANGUAGES:
            return tag
    return DEFAULT


def _document(name: str) -> Mapping[str, str]:
    text = (resources.files(__package__) / "messages" / f"{name}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
