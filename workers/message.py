"""One message of a subscription as its handler sees it, and what the handler publishes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from ..orchestrator.ports.log import Outgoing, Record
from ..sagas import Event
from ..sagas.models import JsonObject, as_json
from ..sagas.personal import has_unsealed
from .delivery import Delivery

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
    body: JsonObject | BaseModel
    """A model as long as its personal values are not sealed."""


class Message(Delivery):
    """One delivery of a subscription's message. Valid until the handler returns."""

    __slots__ = ("_publications", "_written", "group", "place")

    def __init__(
        self, record: Record, place: Place, *, group: str, name: str, id: str, attempt: int, traceparent: str | None
    ) -> None:
        super().__init__(record, id=id, name=name, attempt=attempt, topic=place.topic, traceparent=traceparent)
        self.group, self.place = group, place
        """The group that it is delivered to, and where it was read first: topic, partition, offset."""
        self._publications: list[Publication] = []
        self._written: list[Outgoing] = []

    @property
    def id(self) -> str:
        return self._id or str(self.place)

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
        self._publications.append(Publication(event, key, body if has_unsealed(body) else as_json(body, event.model)))

    @property
    def sends(self) -> bool:
        """Something was published or written so far."""
        return bool(self._publications or self._written)

    @property
    def publications(self) -> tuple[Publication, ...]:
        """What was published so far."""
        return tuple(self._publications)

    def write(self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Writes a record to any topic when the handler has returned, as ``publish`` does an event.

        Args:
            topic: its full name; it must exist (else the attempt fails), and be none of the namespace's own.
            key: decides the partition, as Kafka's clients do; a consumer gets the records of one key in order.
            value: the record's value.
            headers: its headers; None: none.

        Raises:
            TypeError: the value is not bytes.
        """
        if not isinstance(value, bytes):
            raise TypeError(f"a record for {topic!r} takes bytes, not {type(value).__name__}; encode it first")
        named = tuple((name, text.encode()) for name, text in (headers or {}).items())
        self._written.append(Outgoing(topic, key.encode(), value, named))

    @property
    def written(self) -> tuple[Outgoing, ...]:
        """What was written so far."""
        return tuple(self._written)
