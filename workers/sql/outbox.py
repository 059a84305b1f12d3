"""The outbox: messages are rows of the user's own transaction, and a relay publishes them once it is committed."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from pydantic import BaseModel, JsonValue
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, registry

from ...orchestrator.adapters.clock import SystemClock
from ...orchestrator.client.checks import check_body, check_id, check_input, check_key
from ...orchestrator.codec.entities import encode_entity_message
from ...orchestrator.codec.inputs import encode_request
from ...orchestrator.messages.entity_messages import publication
from ...orchestrator.messages.inputs import Start
from ...orchestrator.ports.clock import Clock
from ...orchestrator.ports.log import Headers, Outgoing
from ...orchestrator.ports.topics import Topics
from ...sagas import Event
from ...sagas.definition import AnyDefinition
from .tables import LANE_COUNT, OUTBOX

__all__ = ["Outbox", "Row", "headers_of", "lane_of"]

E = TypeVar("E", bound=BaseModel)


class Row:
    """One message in the outbox, mapped to its table."""

    def __init__(self, outgoing: Outgoing, message_id: str, at_ms: int) -> None:
        self.lane = lane_of(outgoing.topic, outgoing.key)
        self.message_id, self.topic, self.key, self.value = message_id, outgoing.topic, outgoing.key, outgoing.value
        self.headers = json.dumps([[name, b64encode(value).decode()] for name, value in outgoing.headers])
        self.at_ms = at_ms


registry().map_imperatively(Row, OUTBOX)


class Outbox:
    """Adds messages to the caller's transaction; nothing runs here, and no log is needed.

    Every method adds one row to the session and returns the message's id, at once. When the transaction is committed, a
    ``Relay`` publishes the row: at least once, always with this id; messages of one key in the order of their rows.
    When it is rolled back, the message never existed. The tables must exist: see ``create_tables``.

    Args:
        namespace: of the topics, as for the engine.
        source: the writer's name, for people; default: of the namespace.
        clock: for times and ids.
    """

    def __init__(self, namespace: str = "sagaline", *, source: str = "", clock: Clock | None = None) -> None:
        self._topics, self._clock = Topics(namespace), clock or SystemClock()
        self._source = source or f"/{namespace}/outbox"

    def publish(
        self,
        session: Session | AsyncSession,
        event: Event[E],
        key: str,
        body: E | Mapping[str, JsonValue],
        *,
        id: str | None = None,
        traceparent: str | None = None,
    ) -> str:
        """An event, for the instances that wait for it and for subscriptions; see ``Client.publish``.

        Args:
            session: of the transaction that it belongs to.
            event: its kind.
            key: the key that waiting instances match.
            body: its body, as a model or as JSON.
            id: its id; None: a new one. While an event is kept, another with the same id changes nothing.
            traceparent: the W3C trace context to continue.

        Raises:
            InvalidRequest: key, id or body is wrong; ``field`` says where.
        """
        id = self._id(id)
        published = publication(event, check_key(key), check_body(event.model, body), id=id, source=self._source)
        now_ms = self._clock.now_ms()
        outgoing = encode_entity_message(
            self._topics.inputs, published, source=self._source, now_ms=now_ms, traceparent=traceparent
        )
        return self._add(session, outgoing, published.id, now_ms)

    def start(
        self,
        session: Session | AsyncSession,
        definition: AnyDefinition,
        input: BaseModel | Mapping[str, JsonValue],
        *,
        key: str,
        id: str | None = None,
        traceparent: str | None = None,
    ) -> str:
        """The start of an instance, when the transaction is committed. The same key with the same input starts it once.

        Nobody waits for the decision: a start that is denied (the key is taken by another input) is seen in the
        history of the instance only.

        Args:
            session: of the transaction that it belongs to.
            definition: the saga or process manager.
            input: the first value of its state, as a model or as JSON.
            key: the business key.
            id: the request's id; None: a new one.
            traceparent: the W3C trace context to continue.

        Raises:
            InvalidRequest: key, id or input is wrong; ``field`` says where.
        """
        start = Start(
            id=self._id(id),
            definition=definition.name,
            key=check_key(key),
            input=check_input(definition, input),
            version=definition.version,
        )
        now_ms = self._clock.now_ms()
        outgoing = encode_request(
            self._topics.inputs, replace(start, traceparent=traceparent), source=self._source, now_ms=now_ms
        )
        return self._add(session, outgoing, start.id, now_ms)

    def send(
        self,
        session: Session | AsyncSession,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Headers = (),
        id: str | None = None,
    ) -> str:
        """Any record to any topic, as it is. A header ``ce_id`` with the message's id is added unless there is one.

        Args:
            session: of the transaction that it belongs to.
            topic: the whole name; it must exist when the relay publishes.
            key: records of one key of a topic keep their order; None: those without a key too.
            value: the record's value; None: a tombstone.
            headers: names and values.
            id: the message's id; None: that of ``ce_id``, or a new one.

        Raises:
            InvalidRequest: the id is wrong.
        """
        found = next((text.decode(errors="replace") for name, text in headers if name == "ce_id"), None)
        message_id = found if found is not None else self._id(id)
        if found is None:
            headers = (*headers, ("ce_id", message_id.encode()))
        return self._add(session, Outgoing(topic, key, value, headers), message_id, self._clock.now_ms())

    def _id(self, id: str | None) -> str:
        return self._clock.new_id() if id is None else check_id(id)

    def _add(self, session: Session | AsyncSession, outgoing: Outgoing, message_id: str, now_ms: int) -> str:
        session.add(Row(outgoing, message_id, now_ms))
        return message_id


def lane_of(topic: str, key: bytes | None) -> int:
    """The lane of a key of a topic: its rows are published one after the other."""
    return zlib.crc32(topic.encode() + b"\0" + (key or b"")) % LANE_COUNT


def headers_of(text: str) -> Headers:
    """The headers of a row."""
    return tuple((name, b64decode(value)) for name, value in json.loads(text))
