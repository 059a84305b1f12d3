"""Which fields of the state a function relies on, found in its source without running it.

Only a plain ``s.field.more`` counts as relying on ``field``. A function that tests ``s.field`` anywhere (``if``,
``is None``, ``and``, ``or``, ``assert``, a conditional expression) is trusted. Without source nothing is reported.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

__all__ = ["relied_on"]


def relied_on(function: Callable[[Any], Any]) -> frozenset[str]:
    """Fields of the first parameter that the function dereferences and never tests."""
    node = _function_node(function)
    if node is None or not (arguments := [*node.args.posonlyargs, *node.args.args]):
        return frozenset()
    state = arguments[0].arg
    deep: set[str] = set()
    tested: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute | ast.Subscript) and (field := _field(inner.value, state)):
            deep.add(field)
        for test in _tests(inner):
            tested.update(field for part in ast.walk(test) if (field := _field(part, state)))
    return frozenset(deep - tested)


def _function_node(function: Callable[[Any], Any]) -> ast.FunctionDef | ast.Lambda | None:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function.__name__:
            return node
    lambdas = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    return lambdas[0] if len(lambdas) == 1 else None


def _field(node: ast.AST, state: str) -> str | None:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == state:
        return node.attr
    return None


def _tests(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.If() | ast.IfExp() | ast.While() | ast.Assert():
            return [node.test]
        case ast.BoolOp():
            return node.values
        case ast.Match():
            return [node.subject]
        case ast.comprehension():
            return node.ifs
        case _:
            return []
