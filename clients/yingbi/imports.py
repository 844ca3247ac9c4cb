"""What a program imports, held against what there is for it: before anything is paid for blocks that all would fail."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1.dataset_pb2 import ProgramEnvironment


def check_imports(code: bytes, environment: ProgramEnvironment) -> None:
    """Refuse a program that imports what its sandbox has not, where it does not look out for that itself.

    What stands inside a `try` is left to the program. Whether a module of a package is there is not looked at.

    Args:
        code: what compiles.

    Raises:
        Problem: REFUSED "program_import", with the place.
    """
    packages = [each.partition(" ")[0] for each in environment.packages[1:]]
    known = {*packages, *environment.modules, "__future__"}
    for name, node in _imported(ast.parse(code)):
        if name in known:
            continue
        near = nearest(name, packages)
        raise Problem(
            Kind.REFUSED,
            "program_import",
            f"The program imports {name!r}, which the enclaves do not have: every block would count as the default.",
            field="program",
            position=f"{node.lineno}:{node.col_offset + 1}",
            hint=(f"did you mean {near}? " if near else "")
            + f"there are {', '.join(environment.packages[1:])}, and what docs/sandbox.md lists of Python's own",
        )


def _imported(node: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """First names of modules, in the order of the source."""
    match node:
        case ast.Import():
            yield from ((alias.name.partition(".")[0], node) for alias in node.names)
        case ast.ImportFrom(module=str(module), level=0):
            yield module.partition(".")[0], node
        case ast.Try() | ast.TryStar():
            return
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _imported(child)
