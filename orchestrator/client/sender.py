"""``Sender``: what a producer sends, over the ports. No engine, feed or read model is needed.

Everything returns once it is durable in the log and, except ``request``, waits for no decision. An event goes to its
mailbox and a command to its queue; with a time, both go as the letter of a parcel first.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, JsonValue

from ...sagas import Contract, Event
from ...sagas.definition import AnyDefinition
from ...sagas.personal import holds_personal
from ..codec.commands import Command, encode_sent
from ..codec.entities import encode_entity_message
from ..codec.inputs import encode_request
from ..errors import InvalidRequest, NotYetDecided, RequestTimedOut
from ..kernel.limits import Limits
from ..messages.entity_messages import Published, publication
from ..messages.inputs import OnConflict, Start
from ..messages.parcels import DUE_MS_MAX, Discard, Letter, Posted, Reschedule, delayed_id, to_base64
from ..ports.clock import Clock
from ..ports.log import Log, Outgoing
from ..ports.topics import Topics
from ..tracing import Tracing, trace_id_of
from ..vault import Vault
from .checks import BY_CHARS_MAX, REASON_CHARS_MAX, check_body, check_id, check_input, check_key, check_text
from .feed import Feed
from .personal import sealed
from .requested import answer_of, command_of, positive_ms, writable
from .requests import Requests
from .results import Started
from .starting import conflict_of, started

__all__ = ["Sender", "SenderParts"]

C = TypeVar("C", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)
E = TypeVar("E", bound=BaseModel)

_OPEN_SECONDS = 10.0
_DELAYED_BYTES_MAX = Limits().document_bytes - 4_000
"""The engine keeps a delayed message with some facts about it as one document."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderParts:
    """What a sender needs. ``prepare`` checks the topic of a queue, or creates it in development."""

    log: Log
    topics: Topics
    clock: Clock
    tracing: Tracing
    prepare: Callable[[str], Awaitable[None]]
    requests: Requests
    feed: Feed
    vault: Vault


class Sender:
    """Sends events, commands and requests. Safe for concurrent use by tasks of one event loop.

    Every method raises ``InvalidRequest`` (an argument is wrong; ``field`` says which), ``LogUnavailable`` (it may or
    may not have been written; the same again with the same id is safe), ``ValueTooLarge`` and ``TopicMismatch`` (the
    topic of the queue does not exist).

    Args:
        in_flight_max: so many requests are under way at most; further ones wait, within their own timeout.
    """

    def __init__(self, *, in_flight_max: int) -> None:
        self._asks = asyncio.Semaphore(in_flight_max)
        self._prepared: set[str] = set()
        self._preparing = asyncio.Lock()
        self._feeding: asyncio.Task[None] | None = None

    @property
    def _parts(self) -> SenderParts:
        raise NotImplementedError("a subclass opens the log")

    @property
    def in_flight(self) -> int:
        """How many requests wait for their reply."""
        return self._parts.requests.waiting

    @property
    def late_replies(self) -> int:
        """How many replies came after their request had ended, or a second time. They are dropped."""
        return self._parts.requests.late

    async def publish(
        self,
        event: Event[E],
        key: str,
        body: E | Mapping[str, JsonValue],
        *,
        id: str | None = None,
        deliver_at: datetime | None = None,
        deliver_after: timedelta | None = None,
        traceparent: str | None = None,
    ) -> str:
        """Publishes an event and returns its id once it is in the log: after that it is never lost.

        Instances that wait for it and subscribers get it as from ``Client.publish``, but no decision is waited for. If
        its mailbox has no room for it, it becomes a dead letter.

        Args:
            event: its kind.
            key: the key that waiting instances match, and by which subscribers keep order.
            body: as a model or as JSON; checked by the event's model.
            id: of the event; the same id again changes nothing while the first is kept or delayed. None: a new one.
            deliver_at: when, with a time zone; a time in the past means now.
            deliver_after: instead of ``deliver_at``: so long from now.
            traceparent: the W3C trace context to continue; None: a new trace.
        """
        parts, id, due_ms = self._parts, self._id(id), self._due_ms(deliver_at, deliver_after)
        ready = await sealed(parts.vault, event.model, body, "body")
        published = publication(event, check_key(key), check_body(event.model, ready), id=id, source=self._source)
        with self._span("publish", event.name, traceparent, parts.topics.inputs) as trace:
            record = self._entity_message(published, trace, due_ms)
            await self._send(id, record, due_ms, trace)
        return id

    async def tell(
        self,
        contract: Contract[C, Any],
        command: C,
        *,
        key: str | None = None,
        id: str | None = None,
        deliver_at: datetime | None = None,
        deliver_after: timedelta | None = None,
        expires_after: timedelta | None = None,
        traceparent: str | None = None,
    ) -> str:
        """Sends a command that nobody waits for, and returns its id once it is in the log.

        A worker gets it at least once; one with an inbox carries out an id once. What it does not carry out (it was
        rejected, failed, or expired) becomes a dead letter with the reason, and is not tried again by itself. It is
        lost only if no worker reads the queue for as long as its topic keeps records (7 days).

        Args:
            contract: whose handler gets it.
            command: the contract's command.
            key: commands of a queue with the same key are handled in order, one at a time; None: no order.
            id: the same id again is carried out once by a worker with an inbox. None: a new one.
            deliver_at: when, with a time zone; a time in the past means now.
            deliver_after: instead of ``deliver_at``: so long from now.
            expires_after: so long after its delivery it is not begun any more; None: it never expires.
            traceparent: the W3C trace context to continue; None: a new trace.
        """
        id, due_ms = self._id(id), self._due_ms(deliver_at, deliver_after)
        await sealed(self._parts.vault, contract.command, command, "command")
        sent = command_of(contract, command, f"@tell/{id}", None)
        sent = replace(sent, id=f"{sent.effect_key}/1")
        if expires_after is not None:
            begins_ms = due_ms if due_ms is not None else self._parts.clock.now_ms()
            sent = replace(sent, deadline_ms=begins_ms + positive_ms(expires_after, "expires_after"))
        record_key = id if key is None else check_key(key)
        await self._prepare(contract.lane)
        with self._span("send", contract.name, traceparent, self._parts.topics.commands(contract.lane)) as trace:
            record = self._command_record(contract, replace(sent, traceparent=trace), record_key, due_ms)
            await self._send(id, record, due_ms, trace)
        return id

    async def request(
        self,
        contract: Contract[C, R],
        command: C,
        *,
        timeout: timedelta,
        key: str | None = None,
        id: str | None = None,
        traceparent: str | None = None,
    ) -> R:
        """Sends a command and returns the worker's reply.

        Args:
            contract: whose handler answers. It must answer itself: after ``AnswerLater`` no reply comes.
            command: the contract's command.
            timeout: how long to wait, also for a place among the requests under way. It is the command's deadline too.
            key: commands of a queue with the same key are handled in order, one at a time; None: no order.
            id: to ask again after an error: a worker with an inbox carries out one id once, and answers again. None: a
                new one.
            traceparent: the W3C trace context to continue; None: a new trace.

        Raises:
            Rejected: the worker's business "no".
            RequestFailed: the worker failed, or its reply cannot be used; the message says why and what to do.
            RequestTimedOut: no reply within ``timeout``; it may have been carried out if ``sent`` is True.
        """
        parts, id, sent = self._parts, self._id(id), False
        await sealed(parts.vault, contract.command, command, "command")
        asked = command_of(contract, command, f"@request/{id}", parts.requests.reply_to)
        deadline_ms = parts.clock.now_ms() + positive_ms(timeout, "timeout")
        asked = replace(asked, id=parts.requests.command_id(asked.effect_key), deadline_ms=deadline_ms)
        record_key = id if key is None else check_key(key)
        with self._span("request", contract.name, traceparent, parts.topics.commands(contract.lane)) as trace:
            try:
                async with asyncio.timeout(timeout.total_seconds()), self._asks:
                    await self._prepare(contract.lane)
                    await parts.requests.opened()
                    record = self._command_record(contract, replace(asked, traceparent=trace), record_key, None)
                    with parts.requests.expect(asked.id) as answer:
                        sent = True
                        await parts.log.append([record])
                        reply = await answer
            except TimeoutError:
                seconds = timeout.total_seconds()
                raise RequestTimedOut(contract.name, contract.lane, id, seconds, sent=sent) from None
            found = answer_of(contract, id, reply)
            if holds_personal(contract.reply):
                await parts.vault.open(found)
            return found

    async def start(
        self,
        definition: AnyDefinition,
        key: str,
        input: BaseModel | Mapping[str, JsonValue],
        *,
        conflict: OnConflict = "reject",
        id: str | None = None,
        wait: timedelta = timedelta(seconds=10),
        traceparent: str | None = None,
    ) -> Started:
        """Starts an instance and returns when the decision is committed, as ``Client.start`` does.

        The first start opens a reader of the history, of which it reads the headers of every record: a program that
        starts much and follows it uses ``Client``.

        Args:
            definition: it must be deployed in an engine, or the instance waits for it (``Started.waits``).
            key: the business key.
            input: the first value of the state, as a model or as JSON.
            conflict: what to do if the key has an instance already: ``reject``, ``attach``, ``queue`` or ``replace``;
                see ``Client.start``.
            id: with ``queue`` and ``replace``: to repeat a start after an error. None: a new one.
            wait: how long to wait for the decision, once the request is in the log.
            traceparent: the W3C trace context to continue; None: a new trace.

        Raises:
            StartConflict, ActDenied: see ``conflict``.
            NotYetDecided: the request is in the log and no decision was seen within ``wait``; the same again is safe.
        """
        parts, start = self._parts, await self._start(definition, key, input, conflict, id)
        if self._feeding is None:
            self._feeding = asyncio.create_task(parts.feed.run(), name="feed")
        with self._span("request", start.kind, traceparent, parts.topics.inputs) as trace:
            record = self._start_record(replace(start, traceparent=trace), None)
            async with parts.feed.expect(start.id, timeout=_OPEN_SECONDS) as answer:
                await parts.log.append([record])
                found = await answer.wait(wait.total_seconds())
        if found is None:
            raise NotYetDecided(start.instance, start.id)
        trace_id = trace_id_of(found[0].traceparent) or trace_id_of(trace)
        return started(start, found[0], trace_id, attach=conflict == "attach")

    async def start_when_quiet(
        self,
        definition: AnyDefinition,
        key: str,
        input: BaseModel | Mapping[str, JsonValue],
        *,
        quiet: timedelta,
        conflict: OnConflict = "reject",
        traceparent: str | None = None,
    ) -> str:
        """Starts an instance once nobody has asked for it again for a while (a debounce), with the last input.

        Each call for the same definition and key puts the start off by ``quiet`` from now, and takes the place of the
        call before. It waits for no decision: a start that is denied later becomes a dead letter.

        Args:
            definition, key, input, conflict, traceparent: as of ``start``; ``reject`` and ``attach`` are the same here.
            quiet: how long nobody may ask again.

        Returns:
            The id for ``cancel``.
        """
        start = await self._start(definition, key, input, conflict, None)
        due_ms, id = self._due_ms(None, quiet), _quiet_id(start.instance)
        with self._span("request", start.kind, traceparent, self._parts.topics.inputs) as trace:
            record = self._start_record(replace(start, traceparent=trace), due_ms)
            await self._send(id, record, due_ms, trace, newest=True)
        return id

    async def cancel(self, id: str, *, by: str = "", reason: str = "") -> None:
        """Asks to cancel a delayed message by its id; nothing happens if it was delivered already.

        This does not wait for the decision; ``Client.parcels.discard`` does.

        Args:
            id: as ``publish`` or ``tell`` returned it.
            by: the caller's name, for the history; at most 256 characters.
            reason: why, for the history; at most 2,000 characters.
        """
        await self._ask_parcel(Discard(id=self._id(None), instance=_delayed(id), by=by, reason=reason))

    async def reschedule(self, id: str, deliver_at: datetime, *, by: str = "", reason: str = "") -> None:
        """Asks to deliver a delayed message at another time, with a time zone; otherwise as ``cancel``.

        A time in the past means now.
        """
        due_ms = _at_ms(deliver_at)
        request = Reschedule(id=self._id(None), instance=_delayed(id), due_ms=due_ms, by=by, reason=reason)
        await self._ask_parcel(request)

    async def _stop_feeding(self) -> None:
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.wait([self._feeding])
            self._feeding = None

    # How a message is written

    @property
    def _source(self) -> str:
        return f"/{self._parts.topics.namespace}/client"

    def _id(self, id: str | None) -> str:
        return self._parts.clock.new_id() if id is None else check_id(id)

    def _due_ms(self, at: datetime | None, after: timedelta | None) -> int | None:
        if at is not None and after is not None:
            raise InvalidRequest("deliver_at and deliver_after are both given; give one", field="deliver_after")
        if after is not None:
            return min(DUE_MS_MAX, self._parts.clock.now_ms() + positive_ms(after, "deliver_after"))
        return None if at is None else _at_ms(at)

    async def _start(
        self,
        definition: AnyDefinition,
        key: str,
        input: BaseModel | Mapping[str, JsonValue],
        conflict: str,
        id: str | None,
    ) -> Start:
        return Start(
            id=self._id(id),
            definition=definition.name,
            key=check_key(key),
            input=check_input(definition, await sealed(self._parts.vault, definition.state, input, "input")),
            version=definition.version,
            conflict=conflict_of(conflict),
        )

    def _start_record(self, start: Start, due_ms: int | None) -> Outgoing:
        now_ms = self._parts.clock.now_ms() if due_ms is None else due_ms
        with writable("input"):
            return encode_request(self._parts.topics.inputs, start, source=self._source, now_ms=now_ms)

    def _command_record(self, contract: Contract[C, Any], sent: Command, key: str, due_ms: int | None) -> Outgoing:
        """``ce_time`` is that of its delivery: workers count the span to the deadline from it."""
        now_ms = self._parts.clock.now_ms() if due_ms is None else due_ms
        with writable("command"):
            topic = self._parts.topics.commands(contract.lane)
            return encode_sent(topic, sent, key, source=self._source, now_ms=now_ms)

    def _entity_message(
        self, message: Published | Posted | Discard | Reschedule, trace: str | None, at_ms: int | None = None
    ) -> Outgoing:
        now_ms = self._parts.clock.now_ms() if at_ms is None else at_ms
        with writable("body"):
            topic = self._parts.topics.inputs
            return encode_entity_message(topic, message, source=self._source, now_ms=now_ms, traceparent=trace)

    async def _send(
        self, id: str, record: Outgoing, due_ms: int | None, trace: str | None, *, newest: bool = False
    ) -> None:
        """Appends a record now, or the letter with it that the engine writes when it is due.

        ``newest``: in place of one that waits under the same id.
        """
        if due_ms is not None:
            letter = Letter(
                id=id,
                topic=record.topic,
                key=to_base64(record.key),
                value=to_base64(record.value),
                headers=tuple((name, to_base64(value) or "") for name, value in record.headers),
            )
            posted = Posted(id=self._id(None), instance=_delayed(id), letter=letter, due_ms=due_ms, newest=newest)
            record = self._entity_message(posted, trace)
            if (size := len(record.value or b"")) > _DELAYED_BYTES_MAX:
                raise InvalidRequest(
                    f"delayed, the message has {size:,} bytes, as its contents are kept as base64; the limit is "
                    f"{_DELAYED_BYTES_MAX:,}: send a reference to the contents (a claim check), or send it now",
                    field="body",
                )
        await self._parts.log.append([record])

    async def _ask_parcel(self, request: Discard | Reschedule) -> None:
        check_text(request.by, "by", BY_CHARS_MAX)
        check_text(request.reason, "reason", REASON_CHARS_MAX)
        with self._span("send", request.kind, None, self._parts.topics.inputs) as trace:
            await self._parts.log.append([self._entity_message(request, trace)])

    async def _prepare(self, queue: str) -> None:
        if queue in self._prepared:
            return
        async with self._preparing:  # many may send their first at once
            if queue not in self._prepared:
                await self._parts.prepare(queue)
                self._prepared.add(queue)

    @contextmanager
    def _span(self, operation: str, what: str, parent: str | None, topic: str) -> Iterator[str | None]:
        """A span until the end of the block; its trace context is for the message."""
        tracing = self._parts.tracing
        span = tracing.message(operation, what, tracing.parent(parent, self._parts.clock.new_id), topic, ())
        try:
            yield span.traceparent
        except BaseException as error:
            span.end(type(error).__name__)
            raise
        span.end()


def _quiet_id(instance: str) -> str:
    return f"start/{hashlib.sha256(instance.encode()).hexdigest()}"


def _delayed(id: str) -> str:
    return delayed_id(check_id(id))


def _at_ms(at: datetime) -> int:
    if at.tzinfo is None:
        text = f"the time {at.isoformat()} has no time zone; add one, such as datetime.now(UTC) has"
        raise InvalidRequest(text, field="deliver_at")
    return min(DUE_MS_MAX, max(0, round((at - _EPOCH).total_seconds() * 1000)))
