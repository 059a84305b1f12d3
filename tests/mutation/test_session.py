"""The mutation run tells what it should: of planted functions, one of each verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.score import known, table
from tests.mutation.tree import Mutant, mutate
from tests.repo.tree import ROOT

MODULE = """
def checked(n: int) -> int:
    return n + 2


def unchecked(n: int) -> int:
    return n + 2


def uncalled(n: int) -> int:
    return n + 2


def branches(n: int) -> str:
    if n > 7:
        return "beyond"
    return str(n)


def counts(n: int) -> int:
    while n > 0:
        n -= 1
    return n
"""
TESTS = """
import toy

def test_it_is_called():
    assert isinstance(toy.unchecked(1), int)

def test_it_is_checked():
    assert toy.checked(1) == 3

def test_one_branch():
    assert toy.branches(1) == "1"

def test_it_ends():
    assert toy.counts(3) == 0
"""
RUN = """
import json, sys
from tests.mutation.session import Session, run_session
from tests.mutation.tree import Mutant
mutants = [Mutant(**each) for each in json.loads(sys.argv[1])]
out = open("verdicts", "w")
session = Session(mutants, lambda mutant, verdict: print(json.dumps([mutant.name, verdict]), file=out), 2, cpu_s=1)
sys.exit(run_session(session, ["test_toy.py", "--import-mode=prepend", "-c", "/dev/null", "--rootdir=."]))
"""


def verdicts(folder: Path, tests: str = TESTS) -> tuple[int, dict[str, set[str]]]:
    """What becomes of the mutants of each planted function."""
    code, mutants = mutate(Path("toy.py"), MODULE)
    (folder / "toy.py").write_text(code)
    (folder / "test_toy.py").write_text(tests)
    plan = json.dumps([vars(mutant) for mutant in mutants])
    command = [sys.executable, "-c", RUN, plan]
    ended = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, timeout=100, check=False)
    found: dict[str, set[str]] = {}
    for line in (folder / "verdicts").read_text().splitlines():
        name, verdict = json.loads(line)
        found.setdefault(name.partition("__mutmut")[0].removeprefix("toy.x_"), set()).add(verdict)
    return ended.returncode, found


@pytest.mark.slow
def test_every_planted_mutant_has_the_verdict_that_it_must(tmp_path: Path) -> None:
    """Killed where a test looks, survived where none does, untested where none comes, and one that never ends."""
    code, found = verdicts(tmp_path)
    assert code == 0
    assert found["checked"] == {"killed"}
    assert found["unchecked"] == {"survived"}
    assert found["uncalled"] == {"untested"}
    assert found["branches"] == {"survived", "killed", "untested"}
    assert found["counts"] == {"timeout", "killed"}


@pytest.mark.slow
def test_tests_that_fail_without_a_mutant_score_nothing(tmp_path: Path) -> None:
    """Or every mutant would be killed."""
    code, found = verdicts(tmp_path, TESTS + "\n\ndef test_it_is_wrong():\n    assert toy.checked(1) == 4\n")
    assert (code != 0, found) == (True, {})


def test_a_verdict_holds_as_long_as_what_it_rests_on(tmp_path: Path) -> None:
    """A killed one as long as its function is the same, a survivor as long as everything is."""
    mutants = [Mutant(f"m.x_{name}__mutmut_1", "code", "m.py", (1, 2)) for name in ("killed", "lived", "changed")]
    old = [
        {"name": "m.x_killed__mutmut_1", "code": "code", "digest": "then", "verdict": "killed"},
        {"name": "m.x_lived__mutmut_1", "code": "code", "digest": "then", "verdict": "survived"},
        {"name": "m.x_changed__mutmut_1", "code": "other", "digest": "then", "verdict": "killed"},
    ]
    store = tmp_path / "verdicts.jsonl"
    assert known(mutants, "then", store) == {}
    store.write_text("".join(json.dumps(each) + "\n" for each in old))
    assert known(mutants, "now", store) == {"m.x_killed__mutmut_1": "killed"}
    assert known(mutants, "then", store) == {"m.x_killed__mutmut_1": "killed", "m.x_lived__mutmut_1": "survived"}


@pytest.mark.slow
def test_a_mutant_is_tried_by_the_tests_that_reach_its_statement() -> None:
    """Of an ``if`` the condition alone, of a nested statement itself."""
    code, mutants = mutate(Path("toy.py"), MODULE)
    lines = code.splitlines()
    statements = {"\n".join(lines[each.lines[0] - 1 : each.lines[1]]).strip() for each in mutants}
    assert {"if n > 7:", 'return "beyond"', "while n > 0:", "n -= 1"} <= statements


def test_the_score_counts_what_was_killed_of_all() -> None:
    """The worst module comes first."""
    mutants = [Mutant(f"k.x_f__mutmut_{n}", "c", "good.py" if n < 2 else "bad.py", (1, 1)) for n in range(6)]
    ends = ["killed", "timeout", "killed", "survived", "untested", "survived"]
    rows = table(mutants, {mutant.name: end for mutant, end in zip(mutants, ends, strict=True)}).splitlines()[2:]
    assert rows == [
        "| bad | 4 | 1 | 0 | 2 | 1 | 25.0 % |",
        "| good | 2 | 2 | 1 | 0 | 0 | 100.0 % |",
        "| **kernel** | 6 | 3 | 1 | 2 | 1 | 50.0 % |",
    ]
