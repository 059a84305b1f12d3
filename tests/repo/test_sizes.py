"""Sizes: functions of at most 70 lines, modules of at most 500, five parameters.

Counted as parameters are those that can be given by position, without ``self`` and ``cls``. Keyword-only ones name
themselves where they are used, so they have a limit of their own: eight parameters of both kinds together.
What a test asks of pytest by name (``test_…(log, clock, …)``) is not counted: nobody calls it.
"""

from __future__ import annotations

import ast

from tests.repo.tree import ROOT, files, modules, parse

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500
POSITIONAL_MAX = 5
PARAMETERS_MAX = 8

Function = ast.FunctionDef | ast.AsyncFunctionDef


def oversized(tree: ast.Module, lines: int) -> list[str]:
    """What is too large in one module, as ``line: complaint``."""
    found = [f"1: {lines} lines, at most {MODULE_LINES_MAX}"] if lines > MODULE_LINES_MAX else []
    for node in ast.walk(tree):
        if isinstance(node, Function):
            found += [f"{node.lineno}: {node.name} {complaint}" for complaint in _complaints(node)]
    return found


def _complaints(node: Function) -> list[str]:
    found: list[str] = []
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    length = (node.end_lineno or node.lineno) - first + 1
    if length > FUNCTION_LINES_MAX:
        found.append(f"has {length} lines, at most {FUNCTION_LINES_MAX}")
    if node.name.startswith("test_"):
        return found
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    positional = len(names) - (bool(names) and names[0] in ("self", "cls"))
    if positional > POSITIONAL_MAX:
        found.append(f"has {positional} parameters by position, at most {POSITIONAL_MAX}")
    if positional + len(node.args.kwonlyargs) > PARAMETERS_MAX:
        found.append(f"has {positional + len(node.args.kwonlyargs)} parameters, at most {PARAMETERS_MAX}")
    return found


def test_functions_modules_and_signatures_keep_their_sizes() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{complaint}"
        for path in modules()
        for complaint in oversized(parse(path), len(path.read_text().splitlines()))
    ]
    assert not found, "\n".join(found)


def test_scripts_and_styles_of_the_dashboard_keep_the_size_of_modules() -> None:
    found = [
        path for path in files() if path.is_relative_to(ROOT / "api" / "dashboard") and path.suffix in (".js", ".css")
    ]
    assert len(found) > 20
    assert [path for path in found if len(path.read_text().splitlines()) > MODULE_LINES_MAX] == []


def test_the_size_check_catches_what_is_planted() -> None:
    body = "\n".join("    pass" for _ in range(FUNCTION_LINES_MAX))
    long = f"def long():\n{body}\n"
    assert len(oversized(ast.parse(long), 71)) == 1
    assert oversized(ast.parse("def many(a, b, c, d, e, f): pass"), 1)
    assert oversized(ast.parse("def many(a, *, b, c, d, e, f, g, h, i): pass"), 1)
    assert oversized(ast.parse("class A:\n    async def many(self, a, b, c, d, e, f): pass"), 2)
    assert oversized(ast.parse(""), MODULE_LINES_MAX + 1)
    assert not oversized(ast.parse("class A:\n    def five(self, a, b, c, d, e, *, f): pass"), 2)
