"""Every code of a refusal that some modules raise, read off their source: also where a helper passes it on."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

Place = tuple[str, int]
"""A function by its name, and which of its arguments is a code."""
MAKERS: frozenset[Place] = frozenset({("Problem", 1), ("Failure", 0)})
_KEYWORD = "code"


def raised_codes(modules: Sequence[Path]) -> set[str]:
    """The codes that are written out in these modules; what is put together when it is raised is not found."""
    calls = [found for module in modules for found in _calls(ast.parse(module.read_text()))]
    places, more = set(MAKERS), True
    while more:
        handed_on = {place for call, inside in calls for place in _handed_on(call, inside, places)}
        more = not handed_on <= places
        places |= handed_on
    found = (_argument(call, place) for call, _ in calls for place in places)
    return {each.value for each in found if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def _calls(
    tree: ast.AST, inside: ast.FunctionDef | ast.AsyncFunctionDef | None = None
) -> Iterator[tuple[ast.Call, ast.FunctionDef | ast.AsyncFunctionDef | None]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield node, inside
        yield from _calls(node, node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else inside)


def _handed_on(
    call: ast.Call, inside: ast.FunctionDef | ast.AsyncFunctionDef | None, places: set[Place]
) -> Iterator[Place]:
    for place in places:
        code = _argument(call, place)
        names = [each.arg for each in inside.args.args if each.arg != "self"] if inside else []
        if inside and isinstance(code, ast.Name) and code.id in names:
            yield inside.name, names.index(code.id)


def _argument(call: ast.Call, place: Place) -> ast.expr | None:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if name != place[0]:
        return None
    named = [each.value for each in call.keywords if each.arg == _KEYWORD]
    return call.args[place[1]] if len(call.args) > place[1] else next(iter(named), None)
