"""What the tests of the repository itself look at: its files, parsed once. Checks are pure functions over them.

Each check takes text and returns a list of complaints, so that a test can also show that it catches a planted fault.
"""

from __future__ import annotations

import ast
import gc
import subprocess
from functools import lru_cache
from pathlib import Path

__all__ = ["HOMES", "ROOT", "files", "module_name", "modules", "parse"]

ROOT = Path(__file__).resolve().parents[2]
HOMES = ("sagas", "orchestrator", "workers", "api")


@lru_cache
def files() -> tuple[Path, ...]:
    """Every file that is committed or would be by ``git add .``, links left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=30,
    )
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return tuple(sorted({path for path in paths if path.is_file() and not path.is_symlink()}))


def modules(*folders: str) -> list[Path]:
    """The Python files below folders of the repository; of the whole repository when none is named."""
    python = [path for path in files() if path.suffix == ".py"]
    if not folders:
        return python
    return [path for path in python if any(path.is_relative_to(ROOT / folder) for folder in folders)]


def module_name(path: Path) -> str:
    """``orchestrator/ports/log.py`` -> ``sagaline.orchestrator.ports.log``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("sagaline", *(parts[:-1] if parts[-1] == "__init__" else parts)))


@lru_cache(maxsize=1024)
def parse(path: Path) -> ast.Module:
    found = ast.parse(path.read_text(), str(path))
    gc.freeze()  # a tree has thousands of objects and no circle: no later collection of garbage looks at them
    return found
