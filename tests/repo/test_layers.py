"""The layers are contracts: kept by what is there, and broken by what must not be."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.repo.tree import HOMES, ROOT

pytestmark = pytest.mark.slow


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-logo"]
    return subprocess.run(
        [*command, "--no-cache", "--config", str(root / "pyproject.toml")],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package without its surroundings, to plant a fault in."""
    for home in HOMES:
        shutil.copytree(ROOT / home, tmp_path / "sagaline" / home, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "sagaline" / "__init__.py", tmp_path / "sagaline")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_layer_is_kept() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_layer_that_is_named_exists() -> None:
    """A layer in parentheses may be missing without a word; this is the word."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = [name.strip("() ") for row in contracts[0]["layers"] for name in row.replace(":", "|").split("|")]
    assert [name for name in named if importlib.util.find_spec(name) is None] == []


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("sagas/contract.py", "import asyncio", "Pure means pure BROKEN"),
        ("orchestrator/kernel/decide.py", "import random", "Pure means pure BROKEN"),
        ("orchestrator/messages/inputs.py", "from ..kernel import decide", "Layers, top to bottom BROKEN"),
        ("orchestrator/runtime/timers.py", "from ..adapters import clock", "Layers, top to bottom BROKEN"),
        ("workers/__init__.py", "from ..api import app", "Layers, top to bottom BROKEN"),
    ],
)
def test_a_planted_import_breaks_its_contract(copy: Path, module: str, line: str, contract: str) -> None:
    planted = copy / "sagaline" / module
    planted.write_text(f"{planted.read_text()}\n{line}\n")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert contract in done.stdout


def test_pyright_is_told_of_every_home() -> None:
    """It does not walk through links below the folder that it is given, and finds nothing wrong with no files."""
    include = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]["include"]
    assert {f"sagaline/{home}" for home in HOMES} <= set(include)
