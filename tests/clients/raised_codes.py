"""Every code of a refusal that some modules raise, read off their source: also where a helper passes it on."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

Place = tuple[str, int]
"""A function by its name, and which of its arguments is a code."""
MAKERS: frozenset[Place] = frozenset({("Problem", 1), ("Failure", 0)})
_HINT_OF_PROBLEM = 5
_CODE = re.compile(r"[a-z][a-z0-9_]*")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class _Call:
    node: ast.Call
    # The function that it is in.
    inside: _Function | None
    module: Path

    @cached_property
    def name(self) -> str:
        function = self.node.func
        return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")

    def argument(self, name: str, place: int | None) -> ast.expr | None:
        """The argument by its name, or at its place."""
        named = next((each.value for each in self.node.keywords if each.arg == name), None)
        return named or (self.node.args[place] if place is not None and len(self.node.args) > place else None)


def raised_codes(modules: Sequence[Path], makers: frozenset[Place] = MAKERS) -> set[str]:
    """The codes that are written out in these modules; what is put together when it is raised is not found."""
    return set(filter(_is_code, written(modules, makers)))


def written(modules: Sequence[Path], makers: frozenset[Place]) -> set[str]:
    """The texts that are given to these functions, by themselves or through helpers."""
    return {text for _, text in _written(_calls_of(modules), makers)}


def hinted_codes(modules: Sequence[Path]) -> set[str]:
    """Those of them that are raised with a hint somewhere, whether it is given there or by the helper."""
    calls = _calls_of(modules)
    places = _places(calls, MAKERS)
    hints = _Hints(calls)
    helpers = {
        call.inside.name
        for call in calls
        if call.inside
        and hints.is_given(call)
        and not hints.is_handed_on(call)
        and any(_handed_on(call, place) for place in places)
    }
    found = {code for call, code in _written(calls, MAKERS) if call.name in helpers or hints.is_given(call)}
    return set(filter(_is_code, found))


def _is_code(text: str) -> bool:
    """Of another function with the same name, what is at the place of a code can be a sentence."""
    return _CODE.fullmatch(text) is not None


class _Hints:
    """Where calls have their hints: by name, or at the place that the function has for them."""

    def __init__(self, calls: Sequence[_Call]) -> None:
        functions = {(call.module, call.inside.name): _names(call.inside) for call in calls if call.inside}
        self._own = {key: names.index("hint") if "hint" in names else None for key, names in functions.items()}
        places = defaultdict[str, set[int | None]](set)
        for (_, name), place in self._own.items():
            places[name].add(place)
        self._all = {name: next(iter(found)) for name, found in places.items() if len(found) == 1}
        self._all["Problem"] = _HINT_OF_PROBLEM

    def is_given(self, call: _Call) -> bool:
        hint = self._of(call)
        return hint is not None and not (isinstance(hint, ast.Constant) and hint.value is None)

    def is_handed_on(self, call: _Call) -> bool:
        hint = self._of(call)
        return hint is not None and any(isinstance(each, ast.Name) and each.id == "hint" for each in ast.walk(hint))

    def _of(self, call: _Call) -> ast.expr | None:
        # Functions of different modules have the same names: that of the call's own module comes first.
        return call.argument("hint", self._own.get((call.module, call.name), self._all.get(call.name)))


def _written(calls: Sequence[_Call], makers: frozenset[Place]) -> Iterator[tuple[_Call, str]]:
    named = _by_name(calls)
    for place in _places(calls, makers):
        for call in named[place[0]]:
            code = _code(call, place)
            if isinstance(code, ast.Constant) and isinstance(code.value, str):
                yield call, code.value


def _places(calls: Sequence[_Call], makers: frozenset[Place]) -> set[Place]:
    """The makers, and the functions that hand an argument of theirs on to one."""
    named, places, waiting = _by_name(calls), set(makers), list(makers)
    while waiting:
        place = waiting.pop()
        found = {handed for call in named[place[0]] if (handed := _handed_on(call, place))} - places
        places |= found
        waiting += found
    return places


def _by_name(calls: Sequence[_Call]) -> defaultdict[str, list[_Call]]:
    named = defaultdict[str, list[_Call]](list)
    for call in calls:
        named[call.name].append(call)
    return named


def _handed_on(call: _Call, place: Place) -> Place | None:
    """Where the function that a call is in takes the code that it makes the call with, if it takes it."""
    code, names = _code(call, place), _names(call.inside)
    if call.inside is None or not isinstance(code, ast.Name) or code.id not in names:
        return None
    return call.inside.name, names.index(code.id)


def _code(call: _Call, place: Place) -> ast.expr | None:
    return call.argument("code", place[1]) if call.name == place[0] else None


def _names(function: _Function | None) -> list[str]:
    if function is None:
        return []
    return [each.arg for each in (*function.args.posonlyargs, *function.args.args) if each.arg != "self"]


def _calls_of(modules: Sequence[Path]) -> list[_Call]:
    return [found for module in modules for found in _calls_in(module)]


@cache
def _calls_in(module: Path) -> list[_Call]:
    return list(_calls(ast.parse(module.read_text()), module))


def _calls(tree: ast.AST, module: Path, inside: _Function | None = None) -> Iterator[_Call]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield _Call(node, inside, module)
        yield from _calls(node, module, node if isinstance(node, _Function) else inside)
