"""Which planted mistakes a run hunts: those in files that the branch changes, or a fixed sample where git cannot tell.

A mistake is found or not by the code round it, so what did not change needs no new proof until ``make soak`` gives it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from .planted import Planted

__all__ = ["changed_files", "chosen"]

_BASES = ("main", "origin/main")


def chosen(mistakes: Sequence[Planted], changed: Collection[str] | None, most: int) -> list[Planted]:
    """The mistakes in changed files, of all where that is unknown; spread evenly where there are more than ``most``."""
    if changed is not None:
        mistakes = [each for each in mistakes if any(edit.file in changed for edit in each.edits)]
    step = max(1, -(-len(mistakes) // most))
    return list(mistakes[::step])


def changed_files(root: Path) -> frozenset[str] | None:
    """What differs from where this branch left the main one; on that one, from the commit before.

    What is not committed counts too. None: git cannot tell, for example in a clone without history.
    """
    head = _git(root, "rev-parse", "HEAD")
    bases = (_git(root, "merge-base", base, "HEAD") for base in _BASES)
    base = next((each for each in bases if each not in (None, head)), f"{head}~1")
    listed = _git(root, "diff", "--name-only", "-z", base)
    return None if listed is None else frozenset(filter(None, listed.split("\0")))


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
