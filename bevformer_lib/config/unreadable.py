"""Names of a Python config that are bound to something else than plain data."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

_REACHES_EVERYTHING: Final = frozenset(
    {"globals", "locals", "vars", "exec", "eval", "compile", "__import__", "setattr"}
)
"""Calls that could change any name of a file, whatever they are given."""


@dataclass(frozen=True)
class Unreadable:
    """The value of a name that is no plain data; an error where it is used.

    Attributes:
        reason: the message of that error.
    """

    reason: str


def only_bound(statement: ast.stmt, names: Mapping[str, Any], code: Collection[str]) -> list[str] | None:
    """Return the names that a statement binds, or ``None`` where it may change what other names hold.

    Args:
        statement: of a module.
        names: name -> value, as assigned above.
        code: names of functions and classes that are defined above.
    """
    match statement:
        case ast.Import(names=imported) | ast.ImportFrom(names=imported):
            return [(one.asname or one.name).partition(".")[0] for one in imported]
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets, value=value):
            bound = [node for target in targets for node in ast.walk(target)]
        case ast.AnnAssign(target=ast.Name() as target, value=ast.expr() as value):
            bound = [target]
        case _:
            return None
    used = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    changes = used & _REACHES_EVERYTHING or used & set(code)
    if changes or any(isinstance(names.get(name), (list, dict)) for name in used):
        return None
    if not all(isinstance(node, (ast.Name, ast.Tuple, ast.List, ast.expr_context)) for node in bound):
        return None
    return [node.id for node in bound if isinstance(node, ast.Name)]
