"""Wrong user code must not type-check, right user code must: by mypy --strict and by pyright.

The programs say it themselves: a line with ``# expect: error`` is an error for both, any other line for neither.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 110

Lines = set[tuple[str, int]]


def _expected() -> Lines:
    return {
        (path.name, number)
        for path in PROGRAMS.glob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if "# expect: error" in line
    }


def _run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def _mypy() -> Lines:
    out = _run("mypy", "--strict", "--no-error-summary", "-p", "tests.typing.programs")
    found = re.findall(r"^(\S+?):(\d+): error:", out, re.MULTILINE)
    assert all(Path(path).parent.name == PROGRAMS.name for path, _ in found), out
    return {(Path(path).name, int(line)) for path, line in found}


def _pyright() -> Lines:
    report = json.loads(_run("pyright", "--outputjson", str(PROGRAMS)))
    return {
        (Path(problem["file"]).name, problem["range"]["start"]["line"] + 1)
        for problem in report["generalDiagnostics"]
        if problem["severity"] == "error"
    }


@pytest.mark.slow
@pytest.mark.parametrize("checker", [_mypy, _pyright], ids=["mypy", "pyright"])
def test_checkers_find_exactly_the_marked_lines(checker: Callable[[], Lines]) -> None:
    """Nothing less: the language would let a mistake through. Nothing more: it would be in the way."""
    found, expected = checker(), _expected()
    assert len(expected) >= 20
    assert sorted(expected - found) == [], "wrong code was let through"
    assert sorted(found - expected) == [], "right code was refused"
