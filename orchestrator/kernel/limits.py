"""Limits on the size of one entity, in bytes of JSON or in counts."""

from __future__ import annotations

from dataclasses import dataclass

from ..messages.document import Document, Status

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``document_bytes``: the largest document of an instance that goes forward. While it is compensated or abandoned
    the limit is ``unwinding_bytes``, so that a full instance can still compensate. These and ``command_bytes`` must fit
    the log's largest value.

    ``deferred_max``: events deferred by one instance, or waiting for a phase of a process manager; more become dead
    letters, and so do those for which three quarters of the document have no room while they wait for a phase.
    ``detail_chars``: longer texts are cut: of a traceback the end is kept, of any other text both ends.
    ``events_max``: events of one kind and key that a mailbox keeps, together at most ``document_bytes``. When it is
    full, events that were delivered make room, oldest first; if none was delivered, a new one is denied.
    ``watchers_max``: places that wait for one kind and key; one more is denied at once.
    ``stops_max``: stops of one routing slip, including those passed; more are denied.
    ``letters_max``: letters of one key that a parcel keeps, together with it at most ``document_bytes``; more become
    dead letters. ``released_retention_ms``: how long a parcel is kept after its key was released.
    ``deleted_retention_ms``: how long a deleted schedule knows its requests again: as long as ``inputs`` keeps them.
    ``dead_retention_ms``: how long the dead letter topic keeps a letter; later it cannot be redriven.
    ``orphan_retention_ms``: how long an instance is kept that was abandoned while its version was not deployed.
    """

    document_bytes: int = 512_000
    unwinding_bytes: int = 768_000
    command_bytes: int = 512_000
    deferred_max: int = 1_000
    events_max: int = 1_000
    watchers_max: int = 5_000
    stops_max: int = 200
    detail_chars: int = 4_000
    letters_max: int = 1_000
    released_retention_ms: int = 7 * 24 * 3_600_000
    deleted_retention_ms: int = 7 * 24 * 3_600_000
    dead_retention_ms: int = 90 * 24 * 3_600_000
    orphan_retention_ms: int = 7 * 24 * 3_600_000

    def document_bytes_of(self, document: Document) -> int:
        """The largest size of this document."""
        ending = document.backward or document.status is Status.ABANDONED
        return max(self.document_bytes, self.unwinding_bytes) if ending else self.document_bytes
