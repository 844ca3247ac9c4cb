"""From SQL text to a syntax tree of one SELECT, with positions to speak about.

Nothing is decided here but what is one SELECT and what is not: sqlglot parses, and everything that it may
throw becomes a `Problem`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.tokenizer_core import Token, TokenType
from yingbi.api.problem import Kind, Problem

MAX_CHARACTERS = 100_000
MAX_NESTING = 50
"""Brackets or prefix operators inside one another: what the parser takes without deep recursion."""

EXAMPLE = "SELECT COUNT(*) FROM table WHERE column = 1 GROUP BY key"

_DIALECT = "duckdb"
_QUERY_STARTS = frozenset({TokenType.SELECT, TokenType.FROM, TokenType.WITH, TokenType.L_PAREN})
_OPENING = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE})
_PREFIXES = frozenset({TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE, TokenType.CASE})
_AFTER_ITEMS = frozenset({TokenType.FROM, TokenType.WHERE, TokenType.GROUP_BY, TokenType.SEMICOLON})
_STATEMENTS = re.compile(
    "alter|analyze|attach|begin|call|checkpoint|comment|commit|copy|create|delete|describe|detach|drop|execute|"
    "explain|export|grant|import|insert|install|kill|load|merge|pivot|pragma|prepare|refresh|rename|replace|reset|"
    "revoke|rollback|set|show|summarize|table|truncate|update|use|vacuum|values",
    re.IGNORECASE,
)
# A complete string, name or comment, other text, or (last) a delimiter that nothing closes.
_LEXEMES = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|[^'"/-]+|['"]|/\*|[/-]""", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """The text of a query."""

    text: str

    def position(self, offset: int) -> str:
        """'line:column', both from 1, of a character."""
        before = self.text[:offset]
        return f"{before.count(chr(10)) + 1}:{offset - (before.rfind(chr(10)) + 1) + 1}"

    def position_of(self, node: exp.Expr | None) -> str | None:
        """Where the first word of `node` stands, or of what it is part of; None when the tree has no words."""
        while node is not None:
            starts = [part.meta["start"] for part in node.walk() if "start" in part.meta]
            if starts:
                return self.position(min(starts))
            node = node.parent
        return None

    def refuse(self, code: str, message: str, *, at: exp.Expr | None, hint: str | None) -> Problem:
        """A problem with a query that was understood."""
        return Problem(Kind.REFUSED, code, message, field="sql", position=self.position_of(at), hint=hint)

    def unsupported(self, what: str, *, at: exp.Expr | None, hint: str) -> Problem:
        """A problem with a part of SQL that cannot be asked; `what` is one sentence."""
        return self.refuse("not_supported", what, at=at, hint=hint)

    def malformed(self, code: str, message: str, *, at: exp.Expr | None, hint: str | None) -> Problem:
        """A problem with a query that means nothing."""
        return Problem(Kind.MALFORMED, code, message, field="sql", position=self.position_of(at), hint=hint)


@dataclass(frozen=True)
class ParsedSelect:
    """One SELECT: its tree, and each item of its list as the user wrote it."""

    source: Source
    select: exp.Select
    item_texts: tuple[str, ...]


def parse_select(sql: str) -> ParsedSelect:
    """Parse exactly one SELECT.

    Raises:
        Problem: MALFORMED "sql_syntax" with position; REFUSED "not_supported" for what is no SELECT.
    """
    source = Source(sql)
    tokens = _tokens(source)
    _check_start(source, tokens)
    _check_one_statement(source, tokens)
    _check_nesting(source, tokens)
    select = _parse(source)
    return ParsedSelect(source, select, _item_texts(source, tokens, select))


def _tokens(source: Source) -> list[Token]:
    if len(source.text) > MAX_CHARACTERS:
        raise _syntax(f"The query has {len(source.text):,} characters; {MAX_CHARACTERS:,} are allowed.", "1:1")
    try:
        source.text.encode()
        tokens = sqlglot.tokenize(source.text, read=_DIALECT)
    except UnicodeEncodeError as error:
        position = source.position(error.start)
        raise _syntax("The query contains a character that is not Unicode text.", position) from error
    except (SqlglotError, ValueError, RecursionError, IndexError) as error:
        raise _syntax(*_unreadable(source)) from error
    if not any(token.token_type != TokenType.SEMICOLON for token in tokens):
        raise _syntax("The query is empty.", "1:1")
    return tokens


def _unreadable(source: Source) -> tuple[str, str]:
    names = {"'": "string", '"': "quoted name", "/*": "comment"}
    for lexeme in _LEXEMES.finditer(source.text):
        if lexeme.group() in names:
            return f"A {names[lexeme.group()]} is not closed.", source.position(lexeme.start())
    return "The text is not SQL.", "1:1"


def _check_start(source: Source, tokens: list[Token]) -> None:
    first = tokens[0]
    if first.token_type in _QUERY_STARTS:
        return
    word = first.text.split()[0] if first.text.split() else first.text
    position = source.position(first.start)
    if _STATEMENTS.fullmatch(word):
        raise Problem(
            Kind.REFUSED,
            "not_supported",
            f"Only SELECT can be asked, not {word.upper()}.",
            field="sql",
            position=position,
            hint=f"Ask for statistics: {EXAMPLE}",
        )
    raise _syntax(f"The query starts with {_shortened(word)} and not with SELECT.", position)


def _check_one_statement(source: Source, tokens: list[Token]) -> None:
    ended = False
    for token in tokens:
        if token.token_type == TokenType.SEMICOLON:
            ended = True
        elif ended:
            raise Problem(
                Kind.REFUSED,
                "not_supported",
                "Only one statement can be asked at a time.",
                field="sql",
                position=source.position(token.start),
                hint="Send each query by itself.",
            )


def _check_nesting(source: Source, tokens: list[Token]) -> None:
    depth = prefixes = 0
    for token in tokens:
        depth += (token.token_type in _OPENING) - (token.token_type in _CLOSING)
        prefixes = prefixes + 1 if token.token_type in _PREFIXES else 0
        if max(depth, prefixes) > MAX_NESTING:
            raise Problem(
                Kind.REFUSED,
                "too_complex",
                f"The query is nested more than {MAX_NESTING} deep.",
                field="sql",
                position=source.position(token.start),
                hint="Write the condition with fewer brackets.",
            )


def _parse(source: Source) -> exp.Select:
    try:
        statements = [tree for tree in sqlglot.parse(source.text, read=_DIALECT) if tree is not None]
    except ParseError as error:
        raise _parse_problem(source, error) from error
    except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        # The parser's own faults on hostile text.
        raise _syntax("The text is not SQL.", "1:1") from error
    tree = statements[0]
    if isinstance(tree, exp.Select):
        return tree
    if isinstance(tree, exp.SetOperation):
        raise source.unsupported(
            f"{type(tree).__name__.upper()} cannot be asked.", at=tree, hint="Send each SELECT by itself."
        )
    if isinstance(tree, exp.Subquery):
        raise source.unsupported("The query stands in brackets.", at=tree, hint="Leave the outer brackets out.")
    raise source.unsupported("Only one SELECT can be asked.", at=tree, hint=f"Ask for statistics: {EXAMPLE}")


def _parse_problem(source: Source, error: ParseError) -> Problem:
    first = error.errors[0] if error.errors else {}
    near = str(first.get("highlight") or "")
    offset = len(source.text)
    line, column = first.get("line"), first.get("col")
    if near and isinstance(line, int) and isinstance(column, int):
        # sqlglot counts to the end of the word.
        line_start = sum(len(text) + 1 for text in source.text.split("\n")[: line - 1])
        found = source.text.rfind(near, 0, line_start + column)
        offset = found if found >= 0 else line_start
    message = f"The query cannot be read near {_shortened(near)}." if near else "The query cannot be read."
    return _syntax(message, source.position(offset))


def _item_texts(source: Source, tokens: list[Token], select: exp.Select) -> tuple[str, ...]:
    """The text of each item of the SELECT list, alias included."""
    spans: list[tuple[int, int]] = []
    depth = 0
    inside = False
    fresh = True
    for token in tokens:
        kind = token.token_type
        if not inside:
            depth += (kind in _OPENING) - (kind in _CLOSING)
            inside = kind == TokenType.SELECT and depth == 0
            continue
        if not spans and kind == TokenType.ALL:
            continue
        if depth == 0 and kind in _AFTER_ITEMS:
            break
        if depth == 0 and kind == TokenType.COMMA:
            fresh = True
            continue
        depth += (kind in _OPENING) - (kind in _CLOSING)
        spans.append((token.start, token.end) if fresh else (spans.pop()[0], token.end))
        fresh = False
    texts = tuple(source.text[start : end + 1].strip() for start, end in spans)
    if len(texts) == len(select.expressions):
        return texts
    return tuple(item.sql(dialect=_DIALECT) for item in select.expressions)


def _syntax(message: str, position: str) -> Problem:
    return Problem(Kind.MALFORMED, "sql_syntax", message, field="sql", position=position, hint=f"Ask as in: {EXAMPLE}")


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
