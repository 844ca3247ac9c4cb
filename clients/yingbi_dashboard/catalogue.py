"""What the console says, in the languages that it speaks: one JSON document each, by the same keys.

What the gateway says it says in English. For every other language there are documents beside: what each code of a
refusal means and what to do about it, what its sentences say whose values differ, and what the things are called that
it names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Formatter
from typing import Any

LANGUAGES: Mapping[str, str] = {"en": "English", "zh": "中文"}
"""By the tags that pages carry: each language's name in itself."""
DEFAULT = "en"


@cache
def messages(language: str) -> Mapping[str, str]:
    """All sentences of a language by their keys; raises KeyError for a language that there is none of."""
    if language not in LANGUAGES:
        raise KeyError(language)
    return _document(language)


def refusals(language: str) -> Mapping[str, str]:
    """What codes of refusals mean, in a language that is not the gateway's own; raises KeyError for any other."""
    return _beside("refusals", language)


def hints(language: str) -> Mapping[str, str]:
    """What can be done about refusals, by their codes, in a language as of `refusals`."""
    return _beside("hints", language)


def phrases(language: str) -> Mapping[str, str]:
    """What sentences of the gateway and the SDK say, by their English, both with `{parts}`; languages as of `refusals`.

    A part is said as it came, or with its words replaced as its format says: `{names: or >或| and >和}`.
    """
    return _beside("phrases", language)


@cache
def names(language: str) -> Mapping[str, Mapping[str, str]]:
    """What is called by a name of the gateway's, by its kind and that name, in a language as of `refusals`."""
    if language not in LANGUAGES or language == DEFAULT:
        raise KeyError(language)
    return {kind: dict(found) for kind, found in _parsed(f"names.{language}").items()}


def say(language: str, key: str, /, **parts: object) -> str:
    """The sentence `key`, with its `{parts}` filled in. Raises KeyError for one that there is none of."""
    return messages(language)[key].format(**parts)


def parts_of(key: str) -> set[str]:
    """The names of a sentence's parts, which are the same in every language; raises KeyError."""
    return {name for _, name, _, _ in Formatter().parse(messages(DEFAULT)[key]) if name}


def refusal(language: str, code: str) -> str:
    """What a refusal means; empty where the gateway's own words are in this language, or all that there is."""
    return "" if language == DEFAULT else refusals(language).get(code, "")


def hint(language: str, code: str, said: str) -> str:
    """What can be done about a refusal that came with the hint `said`; empty as of `refusal`.

    A hint that has a value in it, as the name that was meant, has it here too, where its sentence is known.
    """
    return phrase(language, said) or ("" if language == DEFAULT or not said else hints(language).get(code, ""))


def phrase(language: str, said: str) -> str:
    """A sentence of the gateway's or of the SDK's; empty where it is known in this language in no other words."""
    if language == DEFAULT:
        return ""
    found = ((sentence.parts_of(said), own) for sentence, own in _sentences(language))
    return next((own.format_map(parts) for parts, own in found if parts is not None), "")


def named(language: str, kind: str, name: str) -> str:
    """What something is called that the gateway has a name for; empty as of `refusal`. Raises KeyError for a kind."""
    return "" if language == DEFAULT else names(language)[kind].get(name, "")


def chosen(cookie: str | None, accepted: str) -> str:
    """The language of a reader: the one chosen, else the first that the browser accepts and the console speaks."""
    if cookie is not None and cookie in LANGUAGES:
        return cookie
    for part in accepted.split(","):
        tag = part.partition(";")[0].strip().lower().partition("-")[0]
        if tag in LANGUAGES:
            return tag
    return DEFAULT


class _Part(str):
    """What stands in a sentence. Its format replaces words: pairs "from>to", with "|" between them."""

    __slots__ = ()

    def __format__(self, pairs: str) -> str:
        text = str(self)
        for pair in filter(None, pairs.split("|")):
            old, _, new = pair.partition(">")
            text = text.replace(old, new)
        return text


@dataclass(frozen=True)
class _Sentence:
    """A sentence with parts: the names of these, and the texts before, between and behind them."""

    names: Sequence[str]
    texts: Sequence[str]

    def parts_of(self, said: str) -> Mapping[str, _Part] | None:
        """The parts that stand in `said`, the first ones as short as can be; None where it is another sentence.

        Each text is where it comes first, which leaves most room for the next ones: nothing is ever tried again. What a
        node or a gateway says may be long, and made to be slow to tell from a sentence.
        """
        if not self.names:
            return {} if said == self.texts[0] else None
        first, *between, last = self.texts
        at, end = len(first), len(said) - len(last)
        if at > end or not (said.startswith(first) and said.endswith(last)):
            return None
        found: dict[str, _Part] = {}
        for name, text in zip(self.names[:-1], between, strict=True):
            next_ = said.find(text, at, end)
            if next_ < 0:
                return None
            found[name] = _Part(said[at:next_])
            at = next_ + len(text)
        return {**found, self.names[-1]: _Part(said[at:end])}


@cache
def _sentences(language: str) -> list[tuple[_Sentence, str]]:
    return [(_sentence(english), own) for english, own in phrases(language).items()]


def _sentence(english: str) -> _Sentence:
    parsed = list(Formatter().parse(english))
    names = [name for _, name, _, _ in parsed if name]
    texts = [text for text, _, _, _ in parsed]
    return _Sentence(names, texts if len(texts) > len(names) else [*texts, ""])


@cache
def _beside(kind: str, language: str) -> Mapping[str, str]:
    if language not in LANGUAGES or language == DEFAULT:
        raise KeyError(language)
    return _document(f"{kind}.{language}")


def _document(name: str) -> Mapping[str, str]:
    return dict(_parsed(name))


def _parsed(name: str) -> dict[str, Any]:
    text = (resources.files(__package__) / "messages" / f"{name}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
