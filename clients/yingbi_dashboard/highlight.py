"""SQL in pieces that a page can colour. What cannot be read is shown as it is; nothing is ever left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType
from yingbi.display import shown_source


class Piece(NamedTuple):
    """A part of the text, and what it is: "keyword", "string", "number", "comment", or "" for all else."""

    kind: str
    text: str


def pieces(sql: str) -> list[Piece]:
    """The whole text in order. Marks that would hide or reorder text are shown by their numbers."""
    try:
        tokens = DuckDB().tokenize(sql)
    except (SqlglotError, ValueError, RecursionError):
        tokens = []
    return [Piece(kind, shown_source(text)) for kind, text in _split(sql, tokens) if text]


def _split(sql: str, tokens: list[Token]) -> Iterator[tuple[str, str]]:
    at = 0
    for token in tokens:
        # Between tokens there are spaces and comments only.
        between = sql[at : token.start]
        yield ("comment" if between.strip() else ""), between
        yield _kind(token), sql[token.start : token.end + 1]
        at = token.end + 1
    rest = sql[at:]
    yield ("comment" if tokens and rest.strip() else ""), rest


def _kind(token: Token) -> str:
    if token.token_type in (TokenType.STRING, TokenType.NATIONAL_STRING):
        return "string"
    if token.token_type is TokenType.NUMBER:
        return "number"
    # Names and functions keep their spelling; what is left and is a word is SQL's own.
    is_word = token.text.replace(" ", "").isalpha() and token.token_type not in (TokenType.VAR, TokenType.IDENTIFIER)
    return "keyword" if is_word else ""
