"""A copy of the project whose kernel is mutated: every function beside all its mutants, one of which is switched on.

mutmut makes the mutants; it runs them by starting pytest anew for each, which takes longer than the tests. So the
copy has a switch of ours (``switch.py``), and ``session.py`` throws it in forks of one pytest that has collected.
The copy has real folders where the project has links, and lies outside of every folder that a check looks at.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.repo.tree import HOMES, ROOT, files

__all__ = ["CACHE", "TREE", "Mutant", "build", "functions", "mutate"]

CACHE = ROOT / ".cache" / "mutation"
TREE = CACHE / "tree"
_KERNEL = Path("sagaline/orchestrator/kernel")
_THEIRS = "from mutmut.mutation.trampoline import wrap_in_trampoline as _mutmut_mutated, MutantDict"
_OURS = "from tests.mutation.switch import mutated as _mutmut_mutated, MutantDict"


@dataclass(frozen=True)
class Mutant:
    """One change of one function.

    Args:
        name: as the switch knows it.
        code: the digest of the true function; a verdict holds as long as it does.
        file: where it is in the copy.
        lines: first and last line, in the true body there, of the statement that it changes; without what is in it.
    """

    name: str
    code: str
    file: str
    lines: tuple[int, int]

    @property
    def module(self) -> str:
        return Path(self.file).stem


def build() -> tuple[list[Mutant], str]:
    """Makes the copy. Gives its mutants, and the digest of all that a verdict of "survived" depends on."""
    digest = sha256()
    mutants: list[Mutant] = []
    wanted: dict[Path, bytes] = {}
    for path in files():
        home = path.relative_to(ROOT)
        place = Path("sagaline") / home if home.parts[0] in HOMES else home
        content = path.read_bytes()
        if place.suffix == ".py" and place.parts[0] in ("sagaline", "tests"):
            digest.update(str(place).encode() + content)
        if place.is_relative_to(_KERNEL) and place.suffix == ".py":
            source, found = mutate(place, content.decode())
            content = source.encode()
            mutants += found
        wanted[place] = content
    _write(wanted)
    return mutants, digest.hexdigest()


def mutate(place: Path, source: str) -> tuple[str, list[Mutant]]:
    """A module, at its place below the working folder, with all its mutants; and what these are."""
    from mutmut.mutation.file_mutation import mutate_file_contents

    module = ".".join(place.with_suffix("").parts)
    file = mutate_file_contents(str(place), source)
    assert not file.mutant_names or _THEIRS in file.code, "mutmut has another trampoline now"
    code = file.code.replace(_THEIRS, _OURS)
    bodies = functions(code)
    mutants = []
    for name in file.mutant_names:
        function = name.partition("__mutmut")[0]
        lines = _changed(bodies[f"{function}__mutmut_orig"], bodies[name], code.splitlines())
        mutants.append(Mutant(f"{module}.{name}", file.hash_by_function_name[function], str(place), lines))
    return code, mutants


def functions(code: str) -> dict[str, ast.FunctionDef]:
    """The functions of a module and the methods of its classes, by name."""
    return {each.name: each for each in ast.walk(ast.parse(code)) if isinstance(each, ast.FunctionDef)}


def _changed(true: ast.FunctionDef, other: ast.FunctionDef, code: Sequence[str]) -> tuple[int, int]:
    """The smallest statement of the true body around the first line that differs."""
    was, now = (code[each.lineno : each.end_lineno] for each in (true, other))
    same = next((n for n, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), min(len(was), len(now)))
    line = true.lineno + 1 + same
    around = [each for each in ast.walk(true) if isinstance(each, ast.stmt) and each.lineno <= line <= _end(each)]
    smallest = max(around, key=lambda each: (each.lineno, -_end(each)), default=true)
    return (true.lineno, _end(true)) if smallest is true else _head(smallest)


def _end(statement: ast.stmt) -> int:
    return statement.end_lineno or statement.lineno


def _head(statement: ast.stmt) -> tuple[int, int]:
    """Without the statements in it: of an ``if`` the condition, of a ``match`` what is matched."""
    inside = [each.lineno for each in ast.walk(statement) if isinstance(each, ast.stmt) and each is not statement]
    return statement.lineno, max(statement.lineno, min(inside) - 1) if inside else _end(statement)


def _write(wanted: Mapping[Path, bytes]) -> None:
    """What has not changed is left alone, so that its bytecode is still good."""
    if TREE.exists():
        for old in TREE.rglob("*"):
            if old.is_file() and "__pycache__" not in old.parts and old.relative_to(TREE) not in wanted:
                old.unlink()
    for place, content in wanted.items():
        target = TREE / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != content:
            target.write_bytes(content)
