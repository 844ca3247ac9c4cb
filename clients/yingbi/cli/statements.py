"""The statements of an SQL file, and where each of them stands in it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A string, quoted name or comment, closed or not, in which a semicolon ends nothing; a semicolon; other text.
_LEXEMES = re.compile(
    r"""(?P<quoted>'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z))"""
    r"""|(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))"""
    r"""|(?P<end>;)|[^'"/;-]+|[/-]""",
    re.DOTALL,
)
_POSITION = re.compile(r"(\d+):(\d+)", re.ASCII)


@dataclass(frozen=True)
class Statement:
    """One statement, without the semicolon after it."""

    text: str
    line: int
    """Of its first character, as `column` from 1."""
    column: int

    def position_in_file(self, position: str) -> str:
        """'line:column' in the file, of the same in the statement; whatever has another form stays as it is."""
        found = _POSITION.fullmatch(position)
        if found is None:
            return position
        line, column = int(found[1]), int(found[2])
        return f"{self.line + line - 1}:{column if line > 1 else self.column + column - 1}"


def split(text: str) -> list[Statement]:
    """The statements that semicolons separate; what is empty but for comments is none."""
    return [_statement(text, start, end) for start, end in _spans(text)]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    start, says_something = 0, False
    for lexeme in _LEXEMES.finditer(text):
        if lexeme["end"]:
            if says_something:
                yield start, lexeme.start()
            start, says_something = lexeme.end(), False
        elif not lexeme["comment"]:
            says_something = says_something or bool(lexeme.group().strip())
    if says_something:
        yield start, len(text)


def _statement(text: str, start: int, end: int) -> Statement:
    first = start + len(text[start:end]) - len(text[start:end].lstrip())
    before = text[:first]
    return Statement(text[first:end].rstrip(), before.count("\n") + 1, first - (before.rfind("\n") + 1) + 1)
