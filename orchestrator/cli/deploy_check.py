"""``saga deploy-check``: can every open instance in the log continue with this code?

- An instance whose version is in the code: its history is decided again and must give the same result. A later run of a
  key is not decided again: the run that it follows may have been of another version. The answer says which these are.
- An instance whose version is not in the code: a newer version must have a migration from it, which is tried.
Nothing is written.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import typer
from rich.console import Console

from ...sagas.definition import AnyDefinition
from ...sagas.models import read
from .. import wiring
from ..codec.documents import decode_document, decode_history
from ..codec.wire import BadRecord
from ..kernel import Registry
from ..kernel.beginning import NotAdmitted, admitted
from ..kernel.compatibility import missing_code
from ..kernel.migrating import CannotMigrate, migrated, must_migrate
from ..kernel.places import name_of
from ..kernel.recompute import later_runs, recompute
from ..logs import configure_logs
from ..messages.document import Document
from ..messages.history import HistoryRecord
from ..ports.topics import POSITION_KEY
from ..settings import Settings
from .errors import FAILED
from .loading import load_definitions
from .options import rendering
from .reading import whole_topic

__all__ = ["Seen", "deploy_check", "objection", "read_open", "skeleton"]

_READ_SECONDS = 300.0
_NAMED_MAX = 5


@dataclass
class Seen:
    """The open instances in the log; ``unreadable``: instance id to reason."""

    documents: dict[str, Document] = field(default_factory=dict)
    history: dict[str, list[HistoryRecord]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


def deploy_check(settings: Settings, references: Sequence[str], *, sample: int | None, as_json: bool) -> None:
    """Prints which instances could not continue, and why; exit code 1 if there is one.

    Raises:
        LogUnavailable: the log was not read to its end.
    """
    configure_logs(rendering(settings, terminal=sys.stderr.isatty()), settings.log_level)
    registry = Registry(load_definitions(references))
    seen = asyncio.run(read_open(settings, sample))
    broken = dict(seen.unreadable)
    for id, document in seen.documents.items():
        if (why := objection(registry, document, seen.history.get(id, []))) is not None:
            broken[id] = why
    runs = {id: later_runs(seen.history.get(id, [])) for id in seen.documents}
    later = {id: count for id, count in runs.items() if count}
    looked_at = len(seen.documents) + len(seen.unreadable)
    if as_json:
        typer.echo(json.dumps({"open": looked_at, "broken": broken, "later_runs": later}))
    else:
        _print(registry, seen, broken, looked_at)
        _print_later(later)
    if broken:
        raise typer.Exit(FAILED)


async def read_open(settings: Settings, sample: int | None) -> Seen:
    """Every open instance of a log, or at most ``sample`` of them, with its history.

    Raises:
        LogUnavailable: the log was not read to its end.
    """
    seen = Seen()
    async with wiring.open_base(settings) as base:
        latest: dict[str, bytes] = {}
        async for record in whole_topic(base, base.topics.state, timeout_seconds=_READ_SECONDS):
            key = (record.key or b"").decode(errors="replace")
            if record.key == POSITION_KEY or key.startswith("@"):
                continue
            latest.pop(key, None)
            if record.value is not None:
                latest[key] = record.value
        for key, value in latest.items():
            try:
                document = decode_document(value)
            except BadRecord as error:
                seen.unreadable[key] = str(error)
                continue
            if not document.status.is_final and (sample is None or len(seen.documents) < sample):
                seen.documents[key] = document
        async for record in whole_topic(base, base.topics.history, timeout_seconds=_READ_SECONDS):
            key = (record.key or b"").decode(errors="replace")
            if key in seen.documents:
                try:
                    seen.history.setdefault(key, []).append(decode_history(record))
                except BadRecord as error:
                    seen.unreadable[key] = f"its history: {error}"
    return seen


def objection(registry: Registry, document: Document, history: Sequence[HistoryRecord]) -> str | None:
    """Why an instance could not continue with these definitions; None: it can."""
    definition = registry.deciding(document)
    if definition is None:
        known = "" if registry.find(document.definition) is None else ", and no other version migrates from it"
        return f"version {document.version} of {document.definition!r} is not in the code{known}"
    if document.unbegun:
        try:
            document = admitted(definition, document, document.updated_ms)
        except NotAdmitted as error:
            return str(error)
        moved = True
    elif moved := must_migrate(definition, document):
        try:
            document = migrated(definition, document)
        except CannotMigrate as error:
            return str(error)
    if (missing := missing_code(definition, document)) is not None:
        return missing.text
    if moved:  # its history was decided by other code
        return None
    try:
        read(definition.state, document.state)
    except Exception as error:
        return f"its state no longer fits {definition.state.__name__}: {str(error).splitlines()[0]}"
    found = recompute(definition, history)
    return None if found.difference is None else str(found.difference)


def skeleton(definition: AnyDefinition, document: Document) -> str:
    """A template of a migration from the instance's version to the definition's, or to the next one."""
    gone = sorted({name_of(place) for place in document.steps} - {spot.node.name for spot in definition.tree})
    dropped = f", dropped={tuple(gone)!r}" if gone else ""
    state, name = definition.state.__name__, definition.name.replace("-", "_")
    head = (
        "" if definition.version > document.version else f"# give {definition.name!r} version={document.version + 1}\n"
    )
    return (
        f"{head}@{name}.migrate(from_version={document.version}{dropped})\n"
        f"def from_version_{document.version}(before: dict[str, JsonValue]) -> {state}:\n"
        f"    return {state}.model_validate(before)  # adapt renamed, changed and new fields\n"
    )


def _print(registry: Registry, seen: Seen, broken: dict[str, str], looked_at: int) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    reasons: dict[str, list[str]] = {}
    for id, why in broken.items():
        reasons.setdefault(why, []).append(id)
    for why, ids in sorted(reasons.items(), key=lambda each: -len(each[1])):
        more = f" and {len(ids) - _NAMED_MAX} more" if len(ids) > _NAMED_MAX else ""
        console.print(f"{len(ids)} could not continue: {why}\n  {', '.join(ids[:_NAMED_MAX])}{more}")
        document = seen.documents.get(ids[0])
        definition = registry.find(document.definition) if document else None
        if document is not None and definition is not None:
            console.print("  a migration to start from:\n")
            console.print("".join(f"    {line}\n" for line in skeleton(definition, document).splitlines()))
    console.print(f"{looked_at} open instances checked: {looked_at - len(broken)} continue, {len(broken)} could not.")


def _print_later(later: dict[str, int]) -> None:
    if later:
        named = ", ".join(f"{id} (run {count + 1})" for id, count in list(later.items())[:_NAMED_MAX])
        more = f" and {len(later) - _NAMED_MAX} more" if len(later) > _NAMED_MAX else ""
        typer.echo(
            f"{len(later)} are in a later run of their key: {named}{more}. Only the first run of a key is decided "
            "again; of these, version, steps and state were checked."
        )
