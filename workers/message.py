"""One message of a subscription as its handler sees it, and what the handler publishes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from ..orchestrator.ports.log import Headers, Record
from ..sagas import Event
from ..sagas.models import JsonObject, as_json

__all__ = ["Message", "Place", "Publication"]

E = TypeVar("E", bound=BaseModel)


class Place(NamedTuple):
    """Where a record is: it identifies a message through redeliveries."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Publication(NamedTuple):
    """An event that a handler publishes."""

    event: Event[Any]
    key: str
    body: JsonObject


class Message:
    """One delivery. Valid until the handler returns."""

    __slots__ = ("_headers", "_publications", "attempt", "group", "id", "key", "place", "timestamp_ms", "traceparent")

    def __init__(
        self, record: Record, place: Place, *, group: str, id: str, attempt: int, traceparent: str | None
    ) -> None:
        self.id = id
        """The id that its sender gave it (``ce_id``); of a record without one its place. The same at a redelivery."""
        self.key = record.key
        """The record's key; messages of one key are delivered in order."""
        self.group, self.place = group, place
        """The group that it is delivered to, and where it was read first: topic, partition, offset."""
        self.attempt = attempt
        """1 at the first delivery; one more for each that failed. A redelivery after a crash is not counted."""
        self.timestamp_ms = record.timestamp_ms
        """When the record was written, by the log, milliseconds since epoch."""
        self.traceparent = traceparent
        """W3C trace context of this delivery, for calls to others."""
        self._headers: Headers = record.headers
        self._publications: list[Publication] = []

    @property
    def headers(self) -> Mapping[str, bytes]:
        """The record's headers; of a repeated one the last value."""
        return dict(self._headers)

    def publish(self, event: Event[E], key: str, body: E) -> None:
        """Publishes an event when the handler has returned; never if it raises.

        It leaves in one commit with the position of this message. With ``delivery="exactly_once"`` it is published
        once, also when the process is killed; with any other, a second delivery may publish it again, with the same id.

        Args:
            event: its kind.
            key: what it is about, as in ``client.publish``.
            body: an instance of the event's model.

        Raises:
            TypeError: the body is not an instance of the model.
        """
        if not isinstance(body, event.model):
            raise TypeError(f"event {event.name!r} takes {event.model.__name__}, not {type(body).__name__}")
        self._publications.append(Publication(event, key, as_json(body, event.model)))

    @property
    def publications(self) -> tuple[Publication, ...]:
        """What was published so far."""
        return tuple(self._publications)
