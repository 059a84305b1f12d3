"""Where a demo keeps its log and its files, and what is removed at the end.

- Without ``--log``: everything is in a new temporary folder, removed at the end unless ``--keep`` is given.
- On a SQLite file: the files are beside it and are kept, so that a second run continues where a killed one stopped.
- On Kafka: a new namespace unless one is given; a given one keeps its files in ``./sagaline-{namespace}``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError
from ...settings import Settings
from ..errors import Mistake
from ..options import ListenOptions, LogOptions, build_settings
from .lock import only_demo

__all__ = ["Place", "prepared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The settings and files of a run."""

    settings: Settings
    folder: Path
    ledger: Path
    removed: bool

    @property
    def said(self) -> str:
        """The report's first line."""
        what = f"log {self.settings.log}, namespace {self.settings.namespace}, books {self.ledger}"
        return f"{what} (removed at the end; --keep keeps them)" if self.removed else what


@contextmanager
def prepared(log: LogOptions, listen: ListenOptions, data: str | None, keep: bool, fresh: str) -> Iterator[Place]:
    """Creates the folder, holds its lock inside the block, and afterwards removes what is not kept.

    Args:
        log: as given on the command line.
        listen: as given on the command line.
        data: the folder; None: as described for the module.
        keep: remove nothing.
        fresh: a unique name for this run.

    Raises:
        ConfigurationError: the folder cannot be created, or another demo runs there.
        Mistake: a setting is wrong.
    """
    more: dict[str, Any] = {"development": True, "namespace": "demo", "log_level": "error"}
    first = build_settings(log, listen, **more)
    if not first.namespace.startswith("demo"):
        raise Mistake(
            f"the demo knows the order checkout only and must not decide in the namespace {first.namespace!r}, "
            "where other sagas may live; give --namespace demo or demo-NAME"
        )
    temporary = data is None and (log.log is None or (first.kafka is not None and log.namespace is None))
    folder = _folder(first, data, temporary)
    try:
        place = _place(first, folder, fresh, log, temporary and not keep)
        what = place.settings.log if place.settings.kafka is None else f"namespace {place.settings.namespace}"
        with only_demo(place.ledger.with_suffix(".lock"), what):
            yield place
    finally:
        if temporary and not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _folder(settings: Settings, data: str | None, temporary: bool) -> Path:
    try:
        if temporary:
            return Path(tempfile.mkdtemp(prefix="sagaline-demo-"))
        if data is not None:
            folder = Path(data)
        elif settings.sqlite_path is not None:
            return Path(settings.sqlite_path).parent
        else:
            folder = Path(f"sagaline-{settings.namespace}")
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    except OSError as error:
        raise ConfigurationError(f"the folder for the demo's files cannot be created: {error}; give --data") from error


def _place(settings: Settings, folder: Path, fresh: str, log: LogOptions, removed: bool) -> Place:
    update: dict[str, Any] = {}
    stem = "demo"
    if settings.kafka is not None:
        if log.namespace is None:
            update["namespace"] = f"demo-{fresh}"
        if settings.read_model is None:
            update["read_model"] = f"sqlite:///{folder / 'read-model.db'}"
    elif log.log is None:
        update["log"] = f"sqlite:///{folder / 'demo.db'}"
    else:
        stem = Path(settings.sqlite_path or "").stem
    settings = settings.model_copy(update=update)
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder} for {settings.log}; create it, or give another --log")
    return Place(settings=settings, folder=folder, ledger=folder / f"{stem}-ledger.db", removed=removed)
