"""An instance as it was after any of its revisions, recomputed from its history: nothing stores old documents.

It is what was decided, or an error: where the deployed code would decide otherwise than the history says, or a message
is missing, no document is made up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...sagas.definition import AnyDefinition
from ..errors import UnknownInstance, UnknownRevision
from ..kernel.recompute import newest_of, recompute
from ..messages.document import Document
from ..messages.history import HistoryRecord
from ..messages.inputs import Start
from ..ports.read_model import HistoryRow
from .client import Client

__all__ = ["Revision", "definition_of", "revision_of"]

_PAGE = 500
_DECISIONS_MAX = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """An instance after one revision. ``before``: after the one before; None: this is the first, or ``before`` cannot
    be recomputed. ``newest``: the last revision in the history. ``row``: the decision that made it.
    """

    document: Document
    before: Document | None
    newest: int
    row: HistoryRow


async def revision_of(client: Client, instance: str, revision: int) -> Revision:
    """The instance after this revision; of a key that began anew, its last life.

    Raises:
        UnknownInstance: there is no decision about it.
        UnknownRevision: there is no such revision, or it cannot be recomputed; the message says why.
        InvalidRequest, TransientError: as ``Client.get``.
    """
    rows = await _life(client, instance, revision)
    newest = max(row.record.revision for row in rows)
    at = next((number for number, row in enumerate(rows) if row.record.revision == revision), None)
    if at is None:
        first = min(row.record.revision for row in rows)
        raise UnknownRevision(instance, revision, f"its history has revisions {first} to {newest}; give one of these")
    history = [row.record for row in rows]
    current, definition = await definition_of(client, instance, history)
    found = await asyncio.to_thread(_at, definition, history[: at + 1])
    document = current if current is not None and current.revision == revision else found.document
    if document is None:
        raise UnknownRevision(instance, revision, found.wrong)
    return Revision(document=document, before=found.before, newest=newest, row=rows[at])


async def _life(client: Client, instance: str, revision: int) -> Sequence[HistoryRow]:
    """The decisions about the newest instance of the key.

    Raises:
        UnknownRevision: there are too many; ``revision`` is the one that is asked for.
    """
    rows: list[HistoryRow] = []
    after = -1
    while page := await client.history(instance, after=after, limit=_PAGE):
        rows, after = [*rows, *page], page[-1].sequence
        if len(rows) > _DECISIONS_MAX:
            why = f"its history has more than {_DECISIONS_MAX:,} decisions; read them"
            raise UnknownRevision(instance, revision, why)
        if len(page) < _PAGE:
            break
    return rows[newest_of([row.record for row in rows])]


async def definition_of(
    client: Client, instance: str, history: Sequence[HistoryRecord]
) -> tuple[Document | None, AnyDefinition | None]:
    """The instance, and the deployed definition that has decided; of an instance that is gone the version of its start.

    Raises:
        TransientError: as ``Client.get``.
    """
    try:
        current = await client.get(instance)
    except UnknownInstance:
        start = next((each.message for each in history if isinstance(each.message, Start)), None)
        return None, client.registry.find(start.definition, start.version) if start is not None else None
    return current, client.registry.find(current.definition, current.version or None)


class _Found(NamedTuple):
    """The documents after the last of some decisions and before it; ``wrong``: why the first cannot be known."""

    document: Document | None
    before: Document | None
    wrong: str = ""


def _at(definition: AnyDefinition | None, history: Sequence[HistoryRecord]) -> _Found:
    if definition is None:
        return _Found(
            None, None, "its version is not deployed on this server; ask one that has it, or read the history"
        )
    found = recompute(definition, history)
    if found.later:
        text = f"it is of run {found.later + 1} of its key, and only the first one can be recomputed; read the history"
        return _Found(None, None, text)
    if found.difference is not None:
        text = f"the deployed code decides otherwise than it did then ({found.difference}); read the history"
        before = found.before if found.difference.revision == history[-1].revision else None
        return _Found(None, before, text)
    if not found.whole or found.document is None:
        return _Found(None, None, "a message before it was not kept, or its version has changed; read the history")
    return _Found(found.document, found.before)
