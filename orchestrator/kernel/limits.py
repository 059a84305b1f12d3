"""Limits that keep one instance from growing without bound. All in bytes of JSON or in counts."""

from __future__ import annotations

from dataclasses import dataclass

from ..messages.document import Document, Status

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``document_bytes`` is how far an instance grows while it goes forward. While it is undone, and when it is
    abandoned, it may grow up to ``unwinding_bytes``: so one that is full still has room to turn round. These and
    ``command_bytes`` must fit the log's largest value.

    ``deferred_max``: events that wait for an instance while it is paused or its version is not deployed, or for a phase
    of a process manager that takes them; more are dead letters.
    ``detail_chars``: of a traceback the end is kept, of any other text both ends.
    ``events_max``: events of one kind and key that are kept for those who come later, in all up to ``document_bytes``:
    over it those that somebody has taken make room, and while nobody has taken any a new one is denied.
    ``watchers_max``: places that wait for one kind and key; another is told so at once.
    ``stops_max``: stops of one routing slip, those passed included; more are denied.
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
    orphan_retention_ms: int = 7 * 24 * 3_600_000

    def document_bytes_of(self, document: Document) -> int:
        """How large this document may be."""
        turned = document.backward or document.status is Status.ABANDONED
        return max(self.document_bytes, self.unwinding_bytes) if turned else self.document_bytes
