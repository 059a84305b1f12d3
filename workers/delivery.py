"""What every delivery to a handler has, of a command as of a message: what middlewares and dependencies work with."""

from __future__ import annotations

from collections.abc import Mapping

from ..orchestrator.ports.log import Record

__all__ = ["Delivery"]


class Delivery:
    """One delivery: ``Context`` of a command, ``Message`` of a subscription. Valid until the handler returns."""

    __slots__ = ("_id", "_record", "attempt", "name", "topic", "traceparent")

    def __init__(
        self, record: Record, *, id: str, name: str, attempt: int, topic: str, traceparent: str | None
    ) -> None:
        self._record, self._id = record, id
        self.name = name
        """The contract of the command, or the event; of a foreign topic's record the topic."""
        self.attempt = attempt
        """1 at the first delivery; one more for each that failed. A redelivery after a crash is not counted."""
        self.topic = topic
        """Where it was read first."""
        self.traceparent = traceparent
        """W3C trace context of this delivery, for calls to others."""

    @property
    def id(self) -> str:
        """The id that its sender gave it (``ce_id``); of a record without one its place. The same at a redelivery."""
        return self._id

    @property
    def key(self) -> bytes | None:
        """The record's key; what has one key is delivered in order."""
        return self._record.key

    @property
    def headers(self) -> Mapping[str, bytes]:
        """The record's headers; of a repeated one the last value."""
        return dict(self._record.headers)

    @property
    def timestamp_ms(self) -> int:
        """When the record was written, by the log, milliseconds since epoch."""
        return self._record.timestamp_ms
