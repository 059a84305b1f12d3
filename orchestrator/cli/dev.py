"""``saga dev``: everything in one process, started again whenever a Python file below the folder changes.

The process that watches imports nothing of the author's: a module that cannot be imported ends the child only, and
the next change starts it again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ...sagas.definition import AnyDefinition, Definition
from ...sagas.schedule import Schedule
from ...workers.worker import Worker
from ..settings import Settings
from .errors import Mistake
from .loading import load, load_module

__all__ = ["run_once", "run_reloading"]

_EVERY_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 30.0
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})
Stamps = dict[Path, tuple[int, int]]


def run_once(references: Sequence[str], settings: Settings) -> None:
    """Runs engine, workers and API for what the references name, and puts their schedules; of a module all that it has.

    Raises:
        Mistake: there is no such module or attribute, or neither saga nor worker in what was named.
        SagalineError: the process could not start, or a part of it failed.
    """
    from .serving import serve

    found: list[object] = []
    for reference in references:
        if ":" in reference:
            found += load([reference], object)
        else:
            named = [value for name, value in vars(load_module(reference)).items() if not name.startswith("_")]
            found += named + [each for several in named if isinstance(several, list | tuple) for each in several]
    once = {id(each): each for each in found}.values()
    definitions: list[AnyDefinition] = [each for each in once if isinstance(each, Definition)]
    workers = [each for each in once if isinstance(each, Worker)]
    if not definitions and not workers:
        where = ", ".join(references)
        raise Mistake(f"there is no saga and no worker in {where}; name a module that has one, or MODULE:NAME")
    schedules: list[Schedule[Any]] = [each for each in once if isinstance(each, Schedule)]
    serve(settings, "sagaline-dev", engine=definitions, workers=workers, api=definitions, schedules=schedules)


def run_reloading(folder: Path) -> None:
    """Runs this command line again as a child with ``--no-reload``, anew after each change, until Ctrl-C.

    Ends with the child's exit code when that was told to stop.
    """
    command = [sys.executable, "-m", "sagaline.orchestrator.cli", *sys.argv[1:], "--no-reload"]
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    while not stopping:
        seen = now = _stamps(folder)
        child = subprocess.Popen(command, start_new_session=True)
        said = False
        while not stopping and (now := _stamps(folder)) == seen:
            time.sleep(_EVERY_SECONDS)
            if not said and child.poll() is not None:
                said = True
                print("saga: it has ended; it starts again when a file changes", file=sys.stderr, flush=True)
        if not stopping:
            changed = sorted(str(each.relative_to(folder)) for each, _ in now.items() ^ seen.items())
            print(f"saga: {', '.join(dict.fromkeys(changed[:3]))} changed, starting again", file=sys.stderr, flush=True)
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _stamps(folder: Path) -> Stamps:
    """When each Python file below the folder was changed, and its size; hidden and installed ones are left out."""
    found: Stamps = {}
    for root, folders, files in os.walk(folder):
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _SKIPPED]
        for name in files:
            if name.endswith(".py") and not name.startswith("."):
                with suppress(OSError):  # it was removed meanwhile
                    stat = (path := Path(root, name)).stat()
                    found[path] = stat.st_mtime_ns, stat.st_size
    return found
