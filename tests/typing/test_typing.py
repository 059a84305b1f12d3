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

from sagaline.sagas import nodes
from sagaline.sagas.process_manager import Next, ProcessManager

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


FUNCTIONS = [name for name in nodes.__all__ if name.islower()]
HANDLERS = [f".{name}(" for name in vars(ProcessManager) if name.startswith(("on", "starts_on"))]
ENDS = [f"Next.{name}(" for name, kind in vars(Next).items() if isinstance(kind, staticmethod)]


@pytest.mark.parametrize("name", [*FUNCTIONS, "ProcessManager(", *HANDLERS, "Next(", *ENDS])
def test_every_word_of_the_language_is_in_an_accepted_and_in_a_rejected_program(name: str) -> None:
    """A node that is added is tried too."""
    call = re.compile(rf"(?<![\w.]){name}\b" if name in FUNCTIONS else re.escape(name))
    for kind, sign in (("accepted", ""), ("rejected", "# expect: error")):
        lines = [line for path in PROGRAMS.glob(f"{kind}*.py") for line in path.read_text().splitlines()]
        assert any(call.search(line) and sign in line and "import" not in line for line in lines), f"{name} in {kind}"


@pytest.mark.slow
@pytest.mark.parametrize("checker", [_mypy, _pyright], ids=["mypy", "pyright"])
def test_checkers_find_exactly_the_marked_lines(checker: Callable[[], Lines]) -> None:
    """Nothing less: the language would let a mistake through. Nothing more: it would be in the way."""
    found, expected = checker(), _expected()
    assert len(expected) >= 180
    assert sorted(expected - found) == [], "wrong code was let through"
    assert sorted(found - expected) == [], "right code was refused"
