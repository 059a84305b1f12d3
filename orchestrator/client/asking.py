"""``Asking``: writes a request to the log and waits for the record of its decision on the feed.

Requests are remembered until the read model has caught up with them, so that a client can always read its own writes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

from ..codec.entities import encode_entity_message
from ..codec.inputs import encode_reply, encode_request
from ..codec.wire import BadRecord, Unsound
from ..errors import ActDenied, CorruptRecord, InvalidRequest, NotYetDecided, UnknownInstance
from ..kernel import names_instance
from ..messages.dead import DeadRequest
from ..messages.document import Document
from ..messages.entity_messages import Published, SetRules
from ..messages.history import HistoryRecord
from ..messages.inputs import Act, Completed, Failed, Heartbeat, Rejected, Reply, Start
from ..messages.outputs import Outcome
from ..messages.parcels import ParcelRequest
from ..messages.reasons import Reason, ReasonCode
from ..messages.schedules import ScheduleRequest
from ..ports.log import Outgoing, TopicPartition
from ..tracing import trace_id_of
from .options import RequestOptions
from .parts import ClientParts

__all__ = ["Asking", "EntityChanged", "Requested"]

_OPEN_SECONDS = 10.0
_READ_WAIT_SECONDS = 2.0
_OWN_WRITES_MAX = 10_000

Requested = Start | Act | SetRules | ParcelRequest | DeadRequest | ScheduleRequest | Published | Reply | Heartbeat


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityChanged:
    """A request to an entity was carried out; ``id``: of the entity. ``changed`` False: it was carried out before, or
    there was nothing to change.
    """

    id: str
    changed: bool
    trace_id: str | None


class _OwnWrite(NamedTuple):
    revision: int
    history: tuple[TopicPartition, int]


class Asking:
    """Safe for concurrent use by tasks of one event loop. ``source`` names the caller on every record."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts
        self.source = f"/{parts.topics.namespace}/client"
        self._own: OrderedDict[str, _OwnWrite] = OrderedDict()
        self._latest: dict[TopicPartition, tuple[int, str]] = {}
        """Per partition the offset of the latest own write, and what it is about."""

    async def ask(self, request: Requested, wait: timedelta, parent: str | None) -> tuple[HistoryRecord, str | None]:
        """Sends a request and waits for its decision; returns its record, and the id of the trace of the decision.

        Args:
            request: the record of the decision names its id.
            wait: how long to wait for the decision, once the request is in the log.
            parent: the W3C trace context to continue; None: a new trace.

        Raises:
            NotYetDecided: the request is in the log and no decision was seen within ``wait``.
            LogUnavailable: it may or may not have been written.
            ValueTooLarge: it is larger than the log accepts.
        """
        parts = self._parts
        parent = parts.tracing.parent(parent, parts.clock.new_id)
        what = request.act.value if isinstance(request, Act) else request.kind
        span = parts.tracing.message("request", what, parent, parts.topics.inputs, _facts(request))
        try:
            record = await self._send(_traced(request, span.traceparent), wait)
        except BaseException as error:
            span.end(type(error).__name__)
            raise
        trace_id = trace_id_of(record.traceparent) or trace_id_of(span.traceparent)
        span.link(record.traceparent)
        span.set({"sagaline.outcome": record.outcome.value, "sagaline.trace_id": trace_id or ""})
        span.end()
        return record, trace_id

    async def carried_out(
        self,
        request: ParcelRequest | DeadRequest | ScheduleRequest,
        options: RequestOptions,
        *,
        act: str,
        field: str,
        unknown: Callable[[], Exception] | None = None,
    ) -> EntityChanged:
        """Asks an entity, and returns when the request is carried out.

        Args:
            request: to the entity.
            options: how long to wait, and the trace.
            act: its name, for people.
            field: of the request that a denial of its values is about.
            unknown: the error if there is no such entity.

        Raises:
            ActDenied: it is not possible now.
            InvalidRequest: the engine has denied its values.
            NotYetDecided, LogUnavailable, ValueTooLarge: as ``ask``.
        """
        record, trace = await self.ask(request, options.wait, options.traceparent)
        if record.outcome in (Outcome.APPLIED, Outcome.UNCHANGED):
            return EntityChanged(id=request.instance, changed=record.outcome is Outcome.APPLIED, trace_id=trace)
        code = record.code or ReasonCode.STALE
        if code is ReasonCode.NO_SUCH_INSTANCE and unknown is not None:
            raise unknown()
        if code in (ReasonCode.INVALID, ReasonCode.TOO_LARGE):
            raise InvalidRequest(f"the engine denied this: {record.reason}", field=field)
        raise ActDenied(request.instance, act, "", Reason(code, record.reason))

    async def followed(self, entity: str) -> bool:
        """Waits until the read model has this client's last request about an entity. False: it is far behind."""
        write = self._own.get(entity)
        if write is None:
            return True
        there = await self._parts.projector.passed(entity, write.revision, write.history, timeout=_READ_WAIT_SECONDS)
        if there and self._own.get(entity) is write:
            del self._own[entity]
        return there

    def unknown(self, instance: str) -> UnknownInstance:
        """The error about an instance that the read model does not have, with why its start may not be decided yet."""
        return UnknownInstance(instance, "; ".join(self._parts.watch.notices(())))

    async def known(self, instance: str) -> Document:
        """An instance, as it was after this client's last request at least.

        Raises:
            UnknownInstance: there is none.
            TransientError: the read model has not caught up yet, or does not answer.
        """
        await self.followed(instance)
        found = await self._parts.read_model.get(instance)
        if found is None:
            await self.caught_up()
            found = await self._parts.read_model.get(instance)
        if found is None:
            raise self.unknown(instance)
        return found

    async def settled(self) -> None:
        """Waits until the read model has caught up with the log once: after that, what it does not have does not exist.

        Raises:
            TransientError: it does not catch up in time, or belongs to another log.
        """
        await self._parts.projector.followed(timeout=_READ_WAIT_SECONDS)

    async def caught_up(self) -> None:
        """Waits until the read model has everything that is in the log now.

        Raises:
            TransientError: it does not catch up in time, or the log does not answer.
        """
        await self._parts.projector.caught_up(timeout=_READ_WAIT_SECONDS)

    async def all_followed(self) -> None:
        """Waits until the read model has all requests of this client, or is far behind.

        Raises:
            TransientError: as ``settled``.
        """
        await self.settled()
        # Decisions of a partition become visible in order: waiting for the latest one is enough.
        await asyncio.gather(*(self._latest_followed(*each) for each in [*self._latest.items()]))

    async def _latest_followed(self, partition: TopicPartition, latest: tuple[int, str]) -> None:
        if await self.followed(latest[1]) and self._latest.get(partition) == latest:
            del self._latest[partition]

    async def _send(self, request: Requested, wait: timedelta) -> HistoryRecord:
        parts = self._parts
        async with parts.feed.expect(request.id, timeout=_OPEN_SECONDS) as answer:
            await parts.log.append([self._encoded(request)])
            try:
                found = await answer.wait(wait.total_seconds())
            except BadRecord as error:
                raise CorruptRecord(parts.topics.history, f"the decision about {request.id}: {error}") from error
        if found is None:
            raise NotYetDecided(request.instance, request.id)
        record, partition, offset = found
        if record.status is not None or not names_instance(request.instance):
            self._remember(request.instance, _OwnWrite(record.revision, (partition, offset)))
            self._latest[partition] = max(self._latest.get(partition, (-1, "")), (offset, request.instance))
        return record

    def _encoded(self, request: Requested) -> Outgoing:
        try:
            return self._written(request)
        except Unsound as error:
            raise InvalidRequest(f"the request cannot be written: {error}") from error

    def _written(self, request: Requested) -> Outgoing:
        topic, now_ms = self._parts.topics.inputs, self._parts.clock.now_ms()
        match request:
            case Start() | Act():
                return encode_request(topic, request, source=self.source, now_ms=now_ms)
            case Completed() | Rejected() | Failed() | Heartbeat():
                return encode_reply(topic, None, request, source=self.source, now_ms=now_ms)
            case _:
                return encode_entity_message(
                    topic, request, source=self.source, now_ms=now_ms, traceparent=request.traceparent
                )

    def _remember(self, entity: str, write: _OwnWrite) -> None:
        self._own[entity] = write
        self._own.move_to_end(entity)
        if len(self._own) > _OWN_WRITES_MAX:
            self._own.popitem(last=False)


def _traced(request: Requested, traceparent: str | None) -> Requested:
    return replace(request, traceparent=traceparent)


def _facts(request: Requested) -> list[tuple[str, str | None]]:
    about: list[tuple[str, str | None]] = [
        ("messaging.message.id", request.id),
        ("messaging.kafka.message.key", request.instance),
        ("sagaline.instance", request.instance),
    ]
    if names_instance(request.instance):
        about.append(("sagaline.definition", request.instance.partition("/")[0]))
    return about
