"""Deduplication: what a partition remembers of the messages that were handled, and which later ones it drops for that.

- A message is remembered in the commit of its position, together with all that it has caused; never before.
- The memory is a set of documents of the partition's owner, so it moves with the partition and survives every restart.
- It is bounded twice: by the window, in the time of the records, and by a count. What is beyond is forgotten, the
  oldest first.
- Two messages of one identity are never at work at once: the second is put aside until the outcome of the first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, is_dataclass
from datetime import timedelta
from typing import Any, Final, get_origin

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from ..sagas import DefinitionError
from ..sagas.given import check_call, check_count, check_span
from ..sagas.policy import to_ms

__all__ = ["DEDUP", "Dedup", "Identity", "Remembered"]

DEDUP: Final = b"~dedup/"
"""The documents: name of the subscription and digest of the identity, with the time until which it counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dedup:
    """Messages that were handled before are dropped.

    Args:
        within: a message is dropped if one of the same identity was handled whose record is at most so much older.
        by: what identifies a message: None: its source and id (``ce_source``, ``ce_id``); the name of a field of its
            body; or a function of its body that returns JSON, without sets. A message whose identity is None is never
            dropped.
        count_max: how many are remembered per partition of the topic, 1 or more; beyond it the oldest are forgotten
            before their time.

    Raises:
        DefinitionError: a value out of its range.
    """

    within: timedelta
    by: str | Callable[[Any], object] | None = None
    count_max: int = 10_000

    def __post_init__(self) -> None:
        check_span("Dedup: within", self.within)
        check_count("Dedup: count_max", self.count_max, 1)
        if self.by is not None and not isinstance(self.by, str):
            check_call("Dedup: by", self.by)

    def check(self, at: str, model: type[BaseModel]) -> None:
        """Raises: DefinitionError: bodies have no such field, or it is a set."""
        if not isinstance(self.by, str):
            return
        if (field := model.model_fields.get(self.by)) is None:
            raise DefinitionError(
                f"{at}: dedup by {self.by!r}, but {model.__name__} has no such field; it has "
                f"{', '.join(model.model_fields)}"
            )
        if get_origin(field.annotation) in (set, frozenset):
            raise DefinitionError(
                f"{at}: dedup by {self.by!r}, but it is a set, whose order differs from process to process; give "
                f"by=lambda body: sorted(body.{self.by})"
            )

    def identity(self, name: str, source: str, id: str, body: object) -> Identity | None:
        """What identifies a message of the subscription ``name``; None: nothing does.

        Args:
            source: ``ce_source``; together with ``id`` it is unique (CloudEvents 1.0).

        Raises:
            TypeError: there is a set in it; the author of the subscription should return a list.
        """
        if self.by is None:
            content: object = (source, id)
        elif isinstance(self.by, str):
            content = getattr(body, self.by)
        else:
            content = self.by(body)
        if content is None:
            return None
        kind = b"id:" if self.by is None else b"by:"
        digest = hashlib.blake2b(kind + _canonical(content), digest_size=16).hexdigest()
        return Identity(name, DEDUP + f"{name}/{digest}".encode(), to_ms(self.within), self.count_max)


def _canonical(content: object) -> bytes:
    """The same bytes in every process for what is equal as JSON."""
    _refuse_sets(content)
    return json.dumps(to_jsonable_python(content), sort_keys=True).encode()


def _refuse_sets(content: object) -> None:
    inner: Iterable[object] = ()
    if isinstance(content, Set):
        raise TypeError(
            f"dedup: an identity is {content!r:.100}, a set, whose order differs from process to process; in the "
            "function that Dedup(by=...) names, return sorted(...) of it"
        )
    if isinstance(content, Mapping):
        inner = content.values()
    elif isinstance(content, list | tuple):
        inner = content
    elif isinstance(content, BaseModel) or is_dataclass(content):
        inner = vars(content).values()
    for each in inner:
        _refuse_sets(each)


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity and how long it is remembered."""

    name: str
    document: bytes
    within_ms: int
    count_max: int


class Remembered:
    """What one partition remembers."""

    def __init__(self) -> None:
        self._until: dict[str, dict[bytes, int]] = {}
        self._at_work: dict[bytes, list[Callable[[], None]]] = {}
        """With what is called when they have left."""

    def restore(self, document: bytes, until_ms: int) -> None:
        """Takes over a document; ``taken`` follows the last one."""
        name = document[len(DEDUP) :].rpartition(b"/")[0].decode(errors="replace")
        self._until.setdefault(name, {})[document] = until_ms

    def taken(self, names: frozenset[str]) -> dict[bytes, bytes | None]:
        """All documents were restored; returns what is to be written: those of other subscriptions are removed."""
        dropped = [document for name in self._until.keys() - names for document in self._until[name]]
        kept = ((name, found) for name, found in self._until.items() if name in names)
        self._until = {name: dict(sorted(found.items(), key=lambda each: each[1])) for name, found in kept}
        return dict.fromkeys(dropped)

    def begin(self, identity: Identity, at_ms: int, again: Callable[[], None]) -> bool | None:
        """True: the message is new, and at work until ``end``; False: it is a duplicate.

        None: another one of its identity is at work; ``again`` is called when that has left.

        Args:
            at_ms: when its record was written.
        """
        if (waiting := self._at_work.get(identity.document)) is not None:
            waiting.append(again)
            return None
        until = self._until.get(identity.name, {}).get(identity.document)
        if until is not None and until >= at_ms:
            return False
        self._at_work[identity.document] = []
        return True

    def finished(self, identity: Identity, at_ms: int) -> Mapping[bytes, bytes | None]:
        """Remembers a message; returns what is to be written in its commit."""
        known = self._until.setdefault(identity.name, {})
        until = at_ms + identity.within_ms
        known.pop(identity.document, None)
        known[identity.document] = until
        state: dict[bytes, bytes | None] = {identity.document: str(until).encode()}
        while len(known) > 1:
            oldest = next(iter(known))
            if len(known) <= identity.count_max and known[oldest] >= at_ms:
                break
            del known[oldest]
            state[oldest] = None
        return state

    def end(self, identity: Identity) -> None:
        """The message has left its handler, whatever the outcome."""
        for again in self._at_work.pop(identity.document):
            again()
