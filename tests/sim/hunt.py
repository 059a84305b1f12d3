"""Plays seeds with one mistake planted, until a law breaks: ``python -m tests.sim.hunt "skip a revision"``.

The mistake is made while modules are loaded, so it needs a process of its own: nothing of ours is imported before.
"""

from __future__ import annotations

import importlib.machinery
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

from tests.sim.planted import PLANTED

__all__ = ["SEEDS_MAX", "Found", "hunt_all"]

ROOT = Path(__file__).parent.parent.parent
SEEDS_MAX = 500
_SECONDS_MAX = 1_800


@dataclass(frozen=True, slots=True)
class Found:
    """What the hunt for one mistake came to: the law that broke first and after how many seeds; None: no law did."""

    name: str
    law: str | None
    seeds: int
    message: str


def hunt_all(names: Sequence[str], processes: int) -> Iterator[Found]:
    """Hunts for each mistake in a process of its own, so many at a time; in the order of the names."""
    with ThreadPoolExecutor(processes) as pool:
        yield from pool.map(_hunt_apart, names)


def _hunt_apart(name: str) -> Found:
    command = [sys.executable, "-m", "tests.sim.hunt", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_SECONDS_MAX, check=False)
    assert done.returncode == 0, f"{name}: {done.stderr[-2_000:]}"
    return Found(**json.loads(done.stdout))


def patched(source: str, edits: Iterable[tuple[str, str]], where: str) -> str:
    """The source with its edits; each text must be there exactly once."""
    for old, new in edits:
        assert source.count(old) == 1, f"{where}: stands there {source.count(old)} times, not once:\n{old}"
        source = source.replace(old, new)
    return source


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module whose source is edited; no compiled file is read or written."""

    def __init__(self, name: str, path: str, edits: Sequence[tuple[str, str]]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path).decode()
        return self.source_to_code(patched(source, self._edits, self.path).encode(), self.path)


class _Finder:
    def __init__(self, edits: dict[str, list[tuple[str, str]]]) -> None:
        self._edits = edits
        self.loaded: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._edits:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.origin is not None
        self.loaded.add(name)
        spec.loader = _Loader(name, spec.origin, self._edits[name])
        return spec


def _edits(name: str) -> dict[str, list[tuple[str, str]]]:
    """The edits of a mistake, by module."""
    mistake = next((each for each in PLANTED if each.name == name), None)
    assert mistake is not None, f"no mistake is called {name!r}"
    found: dict[str, list[tuple[str, str]]] = {}
    for edit in mistake.edits:
        module = "sagaline." + edit.file.removesuffix(".py").replace("/", ".")
        found.setdefault(module, []).append((edit.old, edit.new))
    return found


def _hunt(name: str) -> Found:
    finder = _Finder(_edits(name))
    sys.meta_path.insert(0, finder)
    from tests.simulation import simulate

    assert finder.loaded == set(finder._edits), f"the simulation does not load {set(finder._edits) - finder.loaded}"
    for seed in range(SEEDS_MAX):
        outcome = simulate(seed)
        if outcome.breaches:
            first = outcome.breaches[0]
            return Found(name, first.law.value, seed + 1, first.message[:300])
    return Found(name, None, SEEDS_MAX, "")


if __name__ == "__main__":
    result = _hunt(sys.argv[1])
    print(json.dumps({"name": result.name, "law": result.law, "seeds": result.seeds, "message": result.message}))
