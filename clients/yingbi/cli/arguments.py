"""What is accepted before or after every command, taken out of the arguments before they are parsed. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from yingbi.api.problem import Kind, Problem

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WITH_VALUE = ("--zone", "--token", "--ca", "--as")


@dataclass(frozen=True)
class Common:
    """The options of every command."""

    json: bool = False
    zone: str | None = None
    token: str | None = None
    ca: str | None = None
    # Whose profile: `--as`.
    profile: str | None = None


def take_common(arguments: Sequence[str]) -> tuple[Common, list[str]]:
    """The common options, and the arguments without them. Nothing after a literal `--` is touched."""
    rest: list[str] = []
    values: dict[str, str] = {}
    json, pending = False, iter(arguments)
    for argument in pending:
        name, equals, value = argument.partition("=")
        if argument == "--":
            rest += [argument, *pending]
        elif argument == "--json":
            json = True
        elif name in _WITH_VALUE and (equals or argument == name):
            given = value if equals else next(pending, None)
            if not given:
                raise Problem(Kind.MALFORMED, "usage", f"Option {name} needs a value.", field=name.strip("-"))
            values[name] = given
        else:
            rest.append(argument)
    return Common(json, values.get("--zone"), values.get("--token"), values.get("--ca"), values.get("--as")), rest


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether `--json` is among the arguments; for errors in the others."""
    before = list(arguments)
    return "--json" in before[: before.index("--") if "--" in before else None]


def parse_epsilon(text: str) -> float:
    """ε from the command line: a plain decimal number above 0."""
    return _positive(text, "epsilon", "above 0, such as 0.5")


def parse_delta(text: str) -> float:
    """δ from the command line: a plain decimal number above 0 and below 1."""
    delta = _positive(text, "delta", "above 0 and below 1, such as 1e-7")
    if delta >= 1:
        raise _not_a_number(text, "delta", "above 0 and below 1, such as 1e-7")
    return delta


def parse_lookups(options: Sequence[str]) -> dict[str, str]:
    """Files by the names of the look-ups that they are: from NAME=FILE."""
    files: dict[str, str] = {}
    for option in options:
        name, _, file = option.partition("=")
        if not name or not file or name in files:
            raise Problem(
                Kind.MALFORMED,
                "usage",
                f"--lookup takes a name and a file, each name once; got {option!r}.",
                field="lookup",
                hint="--lookup region=region.csv",
            )
        files[name] = file
    return files


def _positive(text: str, field: str, wanted: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not (math.isfinite(value) and value > 0):
        raise _not_a_number(text, field, wanted)
    return value


def _not_a_number(text: str, field: str, wanted: str) -> Problem:
    return Problem(Kind.MALFORMED, field, f"{field.capitalize()} must be a number {wanted}; got {text!r}.", field=field)


def parse_hidden(text: str) -> tuple[int, ...]:
    """`16,8` or `16x8`: the widths of a network's hidden layers; raises Problem."""
    try:
        return tuple(int(each) for each in text.replace("x", ",").split(","))
    except ValueError as error:
        message = f"The widths of hidden layers are whole numbers, and not {text!r}."
        raise Problem(Kind.MALFORMED, "usage", message, field="hidden", hint="as in --hidden 16,8") from error


def parse_class_weight(text: str) -> dict[str, float] | Literal["balanced"]:
    """`balanced`, or `yes=5,no=1`; raises Problem."""
    if text == "balanced":
        return "balanced"
    found: dict[str, float] = {}
    for part in text.split(","):
        value, _, weight = part.rpartition("=")
        try:
            found[value.strip()] = float(weight)
        except ValueError:
            found = {}
            break
    if not found or "" in found:
        message = f"Class weights are balanced, or numbers by class, and not {text!r}."
        hint = "as in --class-weight yes=5,no=1"
        raise Problem(Kind.MALFORMED, "usage", message, field="class-weight", hint=hint)
    return found
