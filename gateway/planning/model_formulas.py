"""The text of a model's formula: `response ~ a + C(b) + a:b - 1`, as Wilkinson and Rogers (1973) write it, and R.

Nothing is decided here but which words stand in which term: what a word means is SQL's matter, and whether it is a
number or a category that of the declared columns.

    y ~ a + b        a constant, a and b
    y ~ a:b          the product of a and b; of a category, one for each of its values
    y ~ a * b        a + b + a:b
    y ~ a - 1        without the constant; also `+ 0`
    y ~ C(a)         a as a category, though it may be a number
    y ~ I(a + b)     an expression in SQL; brackets alone will do, and functions: LN(a)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

from yingbi.api.problem import Kind, Problem

from gateway.planning.sql import Source

MAX_CHARACTERS = 5_000
MAX_TERMS = 64
MAX_FACTORS = 8
EXAMPLE = "value ~ age + C(clinic) + age:male"

_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[()~+\-*:]|\s+|[^'"()~+\-*:\s]+|.""", re.DOTALL)
_OPERATORS = frozenset("~+-*:")
_CATEGORY = re.compile(r"C\s*\((.*)\)", re.DOTALL)
_AS_IT_IS = re.compile(r"I\s*(\(.*\))", re.DOTALL)


@dataclass(frozen=True)
class Factor:
    """A variable of the formula, in SQL."""

    text: str
    is_category: bool = False
    """Whether the formula says so, by C(...)."""
    start: int = field(default=0, compare=False)
    """Where the text stands in the formula, from 0."""

    @property
    def name(self) -> str:
        """As the formula has it."""
        return f"C({self.text})" if self.is_category else self.text


Term = tuple[Factor, ...]
"""A product of different factors."""


@dataclass(frozen=True)
class ModelFormula:
    """A formula that was read. `terms` are different and do not name the constant."""

    text: str
    left: Factor | None
    """Of ~; None where a model has no response."""
    terms: tuple[Term, ...]
    intercept: bool

    @property
    def response(self) -> Factor:
        """Of a model that has one."""
        assert self.left is not None
        return self.left

    @property
    def factors(self) -> tuple[Factor, ...]:
        """All different ones, the response first."""
        first = [] if self.left is None else [self.left]
        return tuple(dict.fromkeys([*first, *(factor for term in self.terms for factor in term)]))


def read_formula(text: str, *, has_response: bool = True) -> ModelFormula:
    """The terms of a formula; one that is to have no response begins with ~.

    Raises:
        Problem: MALFORMED "formula", with the place of what cannot be read; REFUSED "not_supported" for what other
            formulas know and these do not.
    """
    if len(text) > MAX_CHARACTERS:
        raise bad(text, 0, f"The formula has {len(text):,} characters; {MAX_CHARACTERS:,} are allowed.")
    return _Reader(text).read(has_response=has_response)


def bad(text: str, offset: int, message: str, hint: str = f"write it as in: {EXAMPLE}") -> Problem:
    """The problem with what stands at an offset of a formula."""
    at = Source(text).position(offset)
    return Problem(Kind.MALFORMED, "formula", message, field="formula", position=at, hint=hint)


def refused(text: str, offset: int, message: str, hint: str) -> Problem:
    """The problem with a formula that was understood."""
    at = Source(text).position(offset)
    return Problem(Kind.REFUSED, "not_supported", message, field="formula", position=at, hint=hint)


@dataclass(frozen=True)
class _Token:
    """An operator of the formula, or the text of a factor."""

    text: str
    start: int

    @property
    def is_operator(self) -> bool:
        return self.text in _OPERATORS


def _tokens(text: str) -> Iterator[_Token]:
    """Operators outside brackets, and what stands between them."""
    depth, start = 0, 0
    for found in _TOKEN.finditer(text):
        part = found.group()
        depth += (part == "(") - (part == ")")
        if depth < 0:
            raise bad(text, found.start(), "A bracket is closed that was not opened.")
        if part in ("'", '"'):
            raise bad(text, found.start(), "A text or quoted name is not closed.")
        if part in _OPERATORS and depth == 0:
            yield from _between(text, start, found.start())
            yield _Token(part, found.start())
            start = found.end()
    if depth:
        raise bad(text, len(text), "A bracket is not closed.")
    yield from _between(text, start, len(text))


def _between(text: str, start: int, stop: int) -> Iterator[_Token]:
    part = text[start:stop].strip()
    if part:
        yield _Token(part, start + text[start:stop].index(part[0]))


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._next = 0

    def read(self, *, has_response: bool) -> ModelFormula:
        response = self._factor("The formula names no response.") if has_response else None
        self._expect_tilde(has_response=has_response)
        terms: dict[frozenset[Factor], Term] = {}
        intercept = True
        sign = self._sign(first=True)
        while sign is not None:
            start = self._start()
            constant = self._constant()
            if constant is not None:
                intercept = (sign == "+") == (constant == "1")
            elif sign == "-":
                raise refused(
                    self._text, start, "Only the constant can be taken away.", "leave the term out; - 1 is the constant"
                )
            else:
                for term in self._product():
                    terms.setdefault(frozenset(term), term)
            if len(terms) > MAX_TERMS:
                raise bad(self._text, start, f"The formula has more than {MAX_TERMS} terms.", "leave some out")
            sign = self._sign(first=False)
        if response is None and not terms:
            message = "The formula names no columns."
            raise bad(self._text, 0, message, "write it as in: ~ age + bmi")
        return ModelFormula(self._text, response, tuple(terms.values()), intercept)

    def _expect_tilde(self, *, has_response: bool) -> None:
        token = self._peek()
        if (token is None or token.text != "~") and not has_response:
            message = "This model has no response: its formula begins with ~."
            raise bad(self._text, self._start(), message, "write it as in: ~ age + bmi")
        if token is None or token.text != "~":
            raise bad(self._text, self._start(), "After the response stands ~.")
        self._next += 1
        if self._peek() is None:
            raise bad(self._text, self._start(), "After ~ stands what the response depends on.")

    def _sign(self, *, first: bool) -> str | None:
        token = self._peek()
        if token is None:
            return None
        if token.text in ("+", "-"):
            self._next += 1
            return token.text
        if first:
            return "+"
        if token.text == "~":
            raise bad(self._text, token.start, "A formula has one ~.")
        raise bad(self._text, token.start, f"Between terms stands +, not {token.text[:40]!r}.")

    def _constant(self) -> str | None:
        token = self._peek()
        if token is None or token.text not in ("0", "1"):
            return None
        after = self._tokens[self._next + 1 : self._next + 2]
        if after and after[0].text in (":", "*"):
            raise bad(self._text, token.start, "A constant is no factor.", "leave it out")
        self._next += 1
        return token.text

    def _product(self) -> list[Term]:
        """The terms that factors joined by : and * make; * binds as loosely as the terms that it makes are many."""
        groups: list[list[Factor]] = [[self._factor("A term is missing.")]]
        while (token := self._peek()) is not None and token.text in (":", "*"):
            self._next += 1
            factor = self._factor("A factor is missing.")
            groups.append([factor]) if token.text == "*" else groups[-1].append(factor)
            if sum(map(len, groups)) > MAX_FACTORS:
                raise bad(self._text, token.start, f"A term has at most {MAX_FACTORS} factors.")
        made = (chosen for size in range(1, len(groups) + 1) for chosen in combinations(groups, size))
        return [tuple(dict.fromkeys(factor for group in chosen for factor in group)) for chosen in made]

    def _factor(self, missing: str) -> Factor:
        token = self._peek()
        if token is None or token.is_operator:
            raise bad(self._text, self._start(), missing)
        self._next += 1
        return self._read_factor(token)

    def _read_factor(self, token: _Token) -> Factor:
        if token.text == ".":
            raise refused(self._text, token.start, ". for all columns is not there.", "name the columns")
        category = _CATEGORY.fullmatch(token.text)
        if category is not None:
            inner = category[1].strip()
            if not inner:
                raise bad(self._text, token.start, "C() names no category.")
            return Factor(inner, True, token.start + category.start(1) + category[1].index(inner[0]))
        as_it_is = _AS_IT_IS.fullmatch(token.text)
        if as_it_is is not None:
            return Factor(as_it_is[1], False, token.start + as_it_is.start(1))
        return Factor(token.text, False, token.start)

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _start(self) -> int:
        token = self._peek()
        return len(self._text) if token is None else token.start
