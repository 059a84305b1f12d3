"""Every place where a declaration is refused is reached by a test that knows its exact message."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from sagaline.sagas import DefinitionError
from tests.repo.tree import ROOT, modules, parse

from .test_aggregator import AGGREGATOR_MISTAKES
from .test_given import OPTION_MISTAKES
from .test_language_errors import MISTAKES
from .test_manager_errors import MANAGER_MISTAKES
from .test_node_errors import NODE_MISTAKES
from .test_personal import PERSONAL_MISTAKES
from .test_resequencer import RESEQUENCER_MISTAKES
from .test_schedule_errors import SCHEDULE_MISTAKES
from .test_searchable import SEARCHABLE_MISTAKES
from .test_slip_errors import SLIP_MISTAKES

Site = tuple[Path, int, int]
"""A module, and the first and last line of a statement in it."""
LOOKED_AT = [*modules("sagas"), ROOT / "orchestrator" / "kernel" / "registry.py"]


def sites_of(path: Path, tree: ast.Module) -> list[Site]:
    """The statements that make a DefinitionError."""
    return [
        (path, node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise | ast.Return)
        and any(
            isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == "DefinitionError"
            for inner in ast.walk(node)
        )
    ]


@contextmanager
def tracing(paths: set[Path]) -> Iterator[set[tuple[Path, int]]]:
    """The lines of these modules that run inside the block."""
    seen: set[tuple[Path, int]] = set()
    file = cache(lambda name: Path(name).resolve())  # the package's homes are links

    def line(frame: FrameType, event: str, arg: object) -> Any:
        seen.add((file(frame.f_code.co_filename), frame.f_lineno))
        return line

    def call(frame: FrameType, event: str, arg: object) -> Any:
        return line if file(frame.f_code.co_filename) in paths else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield seen
    finally:
        sys.settrace(before)


def unreached(sites: list[Site], mistakes: Mapping[str, tuple[Callable[[], object], str]]) -> list[str]:
    """The statements that no mistake reaches."""
    with tracing({path for path, _, _ in sites}) as seen:
        for provoke, _ in mistakes.values():
            with pytest.raises(DefinitionError):
                provoke()
    return [
        f"{path.relative_to(ROOT)}:{first}"
        for path, first, last in sites
        if not any((path, line) in seen for line in range(first, last + 1))
    ]


def test_no_declaration_is_refused_without_a_test_of_the_message() -> None:
    sites = [site for path in LOOKED_AT for site in sites_of(path, parse(path))]
    assert len(sites) > 50
    language = {**MISTAKES, **NODE_MISTAKES, **MANAGER_MISTAKES, **SLIP_MISTAKES, **OPTION_MISTAKES}
    parts = (SCHEDULE_MISTAKES, AGGREGATOR_MISTAKES, RESEQUENCER_MISTAKES, SEARCHABLE_MISTAKES, PERSONAL_MISTAKES)
    for mistakes in parts:
        language |= {f"{len(language)} {name}": mistake for name, mistake in mistakes.items()}
    assert unreached(sites, language) == []


def test_a_mistake_that_nobody_tries_is_found() -> None:
    path = ROOT / "sagas" / "policy.py"
    sites = sites_of(path, parse(path))
    tried = {name: case for name, case in MISTAKES.items() if name != "delays out of order"}
    (found,) = unreached(sites, tried)
    assert found.startswith("sagas/policy.py:")
