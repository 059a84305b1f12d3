"""Names: small doors, pinned; one word for one thing; a promise in every public docstring."""

from __future__ import annotations

import ast
import importlib
import re

import pytest

from tests.repo.tree import HOMES, ROOT, modules, parse

DOORS = {
    "sagaline.sagas": (15, ROOT / "sagas"),
    "sagaline.workers": (15, ROOT / "workers"),
    "sagaline.orchestrator": (8, ROOT / "orchestrator"),
    "sagaline": (15, ROOT / "sagaline"),
}
"""How many names a door may have, and where it stands."""

PINNED = {
    "sagaline.sagas": {
        *("Aggregator", "Contract", "DefinitionError", "Event", "Gathered", "Node", "Rejected", "Resequencer"),
        *("Retry", "Saga", "SagalineError", "Schedule", "Step", "pivot", "step"),
    },
    "sagaline.sagas.nodes": {
        *("OTHERWISE", "Ask", "Branch", "Child", "Choose", "Each", "Emit", "Escalation", "Expected", "Facts", "Fail"),
        *("Loop", "Node", "Parallel", "Pivot", "Route", "Scatter", "Sleep", "Step", "Undo", "Wait", "When"),
        *("ask", "choose", "each", "emit", "expect", "loop", "parallel", "pivot", "route", "run", "scatter", "sleep"),
        *("fail", "step", "wait", "when"),
    },
    "sagaline.workers": {
        *("AnswerLater", "CommandBus", "Context", "Dedup", "Delivery", "Depends", "EventBus", "Inbox", "Message"),
        *("SqliteInbox", "Worker", "WorkerCrashed", "WorkerRuntime"),
    },
    "sagaline.client": {
        *("ApiProblem", "ApiUnreachable", "InstanceWhere", "Producer", "RestClient", "SyncProducer", "SyncRestClient"),
    },
    "sagaline.workers.shapes": {
        *("Blob", "BlobAltered", "BlobMissing", "BlobStore", "BlobsUnavailable", "Normalizer", "Unreadable"),
    },
    "sagaline.workers.sql": {"Outbox", "Relay", "SqlInbox", "create_tables", "metadata"},
    "sagaline": {"Contract", "DefinitionError", "Rejected", "Retry", "Saga", "SagalineError", "pivot", "step"},
}
"""What users may rely on: a name added or taken away here is a line in CHANGELOG.md."""
PROMISING = ("sagas", "workers", "orchestrator/ports", "orchestrator/kernel", "orchestrator/client")
RULES_LINES_MAX = 20
FORBIDDEN_WORDS = re.compile(r"tasks?|jobs?|workflows?")

Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@pytest.mark.parametrize("door", DOORS)
def test_a_door_is_small_and_everything_it_names_is_there(door: str) -> None:
    limit, folder = DOORS[door]
    module = importlib.import_module(door)
    names = getattr(module, "__all__", [])
    assert len(names) <= limit, f"{door} has {len(names)} names, at most {limit}"
    assert len(set(names)) == len(names)
    assert all(hasattr(module, name) for name in names)
    code = [node for node in parse(folder / "__init__.py").body if not _is_door(node)]
    assert not code, f"{door}: line {code[0].lineno}: a door re-exports and does nothing else"


@pytest.mark.parametrize("door", PINNED)
def test_the_names_of_a_door_are_a_promise(door: str) -> None:
    assert set(importlib.import_module(door).__all__) == PINNED[door]


def _is_door(node: ast.stmt) -> bool:
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    names = isinstance(node, ast.Assign) and all(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    lazy = isinstance(node, ast.FunctionDef) and node.name == "__getattr__"
    for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return docstring or names or lazy or for_types or isinstance(node, ast.ImportFrom)


def public(tree: ast.Module) -> list[tuple[str, int]]:
    """Every name that a user of the module may write: classes, functions, methods, attributes of classes."""
    return [name for node in tree.body for name in _names(node)]


def _names(node: ast.stmt) -> list[tuple[str, int]]:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        name = node.target.id
    elif isinstance(node, Named):
        name = node.name
    else:
        return []
    if name.startswith("_"):
        return []
    inside = [inner for child in node.body for inner in _names(child)] if isinstance(node, ast.ClassDef) else []
    return [(name, node.lineno), *inside]


def misnamed(name: str) -> bool:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return any(FORBIDDEN_WORDS.fullmatch(word.lower()) for word in words)


def test_public_names_use_the_words_of_the_design() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in modules(*HOMES)
        for name, line in public(parse(path))
        if misnamed(name)
    ]
    assert not found, "say instance, step, command or handler:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("name", "wrong"), [("TaskQueue", True), ("run_job", True), ("WORKFLOW_MAX", True), ("multitasking", False)]
)
def test_the_word_check_reads_words_and_not_letters(name: str, wrong: bool) -> None:
    assert misnamed(name) is wrong


def undocumented(tree: ast.Module) -> list[str]:
    return [
        f"{node.lineno}: {node.name}"
        for node in tree.body
        if isinstance(node, Named) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]


def test_what_is_public_says_what_it_promises() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{complaint}"
        for path in modules(*PROMISING)
        if "examples" not in path.parts
        for complaint in undocumented(parse(path))
    ]
    assert not found, "no docstring:\n" + "\n".join(found)


def test_every_module_opens_with_its_rules() -> None:
    """Blank lines do not count; only an ``__init__`` without code may be silent."""
    found: list[str] = []
    for path in modules(*HOMES):
        docstring = ast.get_docstring(parse(path))
        count = sum(1 for line in (docstring or "").splitlines() if line.strip())
        if docstring is None and parse(path).body:
            found.append(f"{path.relative_to(ROOT)}: no docstring")
        elif count > RULES_LINES_MAX:
            found.append(f"{path.relative_to(ROOT)}: docstring of {count} lines, at most {RULES_LINES_MAX}")
    assert not found, "\n".join(found)


def test_the_docstring_check_catches_a_silent_class() -> None:
    assert undocumented(ast.parse("class Silent: ...\ndef _private(): ...\ndef spoken():\n    'Says.'"))
