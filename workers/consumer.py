"""Runs the subscriptions of one group on one topic: decides which handler gets a message, and what follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from pydantic import BaseModel

from ..orchestrator.codec.dead_letters import Why, dead_letter
from ..orchestrator.codec.wire import header_map, trace_context
from ..orchestrator.errors import ValueTooLarge
from ..orchestrator.messages.texts import Hidden, hiding, said, storable, trace_of
from ..orchestrator.ports.clock import Clock
from ..orchestrator.ports.log import Log, Outgoing, Owner, Record
from ..orchestrator.ports.topics import Topics
from ..orchestrator.runtime.metrics import Metrics
from ..orchestrator.runtime.ownership import Ownership, Source
from ..orchestrator.tracing import Fact, Span, Tracing
from ..orchestrator.vault import Vault
from ..sagas import DefinitionError, Rejected
from ..sagas.personal import holds_personal, revealed_in
from ..sagas.policy import to_ms
from .arrived import Arrived, Reading
from .calling import Calling
from .calls import Calls
from .errors import Unreadable, WorkerCrashed
from .letters import Letters
from .message import Message
from .sending import Sending
from .slots import ByKey, Slots
from .source import SourcePartition
from .subscription import Subscription
from .tally import Tally
from .worker import Worker

__all__ = ["Consumer", "Parts", "consumers_of"]

_UNFINISHED_MAX: Final = 2_000
_GRACE_SECONDS_MAX: Final = 8.0
"""An ownership gives up after ten."""
_ERROR_CHARS: Final = 1_000
_DETAIL_CHARS: Final = 8_000
_FRAMES: Final = 20
_NO_SPAN: Final = Span(None, None)
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every consumer of a process needs."""

    log: Log
    topics: Topics
    clock: Clock
    tracing: Tracing
    metrics: Metrics
    alone: asyncio.Lock
    """Held while one message is at work alone: see the careful mode of ``source``."""
    vault: Vault


class Consumer:
    """Subscriptions that share a group and a topic.

    Args:
        worker: the name of the worker that declares them.
        subscriptions: one or more; each event of ``topic`` has at most one handler.
        calls: calls the handlers.
        concurrency: how many handlers run at a time.
        timeout_seconds: the longest run of a handler; a thread cannot be cancelled and runs on.
        grace_seconds: how long ``stop`` waits for running handlers.

    Raises:
        DefinitionError: two handlers for one event, or different starts or deliveries in one group.
    """

    def __init__(
        self,
        worker: str,
        parts: Parts,
        subscriptions: Sequence[Subscription],
        *,
        calls: Calls,
        concurrency: int = 64,
        timeout_seconds: float = 300.0,
        grace_seconds: float = _GRACE_SECONDS_MAX,
    ) -> None:
        self._worker, self._parts, self._now = worker, parts, parts.clock.monotonic
        self._calling = Calling(calls, timeout_seconds)
        self._asks = parts.tracing.enabled or any(calls.asks(each.callee) for each in subscriptions)
        """Somebody may look at the message itself."""
        self._by_event: dict[str | None, Subscription] = {}
        for each in subscriptions:
            self._by_event[each.event] = each
        options = subscriptions[0].options
        self._group = options.group
        self._tally = Tally(parts.metrics, options.group)
        _check_alike(worker, subscriptions)
        topics = parts.topics
        topic = subscriptions[0].topic
        redeliveries = topics.redelivered(self._group, topic)
        source = Source(
            inputs=topic or topics.events,
            state=topics.parked(self._group, topic),
            group=f"{topics.namespace}.subscriber.{self._group}",
            start=options.begin,
        )
        self._origin = f"/{topics.namespace}/workers/{worker}"
        self._letters = Letters(
            topics.inputs, self._group, redeliveries, source=self._origin, log=parts.log, clock=parts.clock
        )
        self._sending = Sending(self._group, self._origin, parts.log, topics, parts.clock, vault=parts.vault)
        self._slots: Slots[Arrived] = Slots(concurrency, self._handle)
        self._by_key: ByKey[Arrived] = ByKey(self._slots.put)
        self._unfinished = {False: 0, True: 0}
        """Of the source, and redeliveries."""
        self._delivery = options.delivery
        self._reading = Reading(
            log=parts.log,
            clock=parts.clock,
            redeliveries=redeliveries,
            group=self._group,
            process=parts.clock.new_id(),
            alone=parts.alone,
            grace_seconds=grace_seconds,
            delivery=options.delivery,
            remembers=frozenset(each.name for each in subscriptions if each.options.dedup is not None),
            room=lambda redelivered: _UNFINISHED_MAX - self._unfinished[redelivered],
            arrived=self._arrived,
        )
        self._ownership: Ownership[SourcePartition] = Ownership(parts.log, source, self._drive, _logger)
        self._stop, self._stopping = asyncio.Event(), False

    @property
    def processing(self) -> int:
        """How many partitions are read here."""
        return sum(source.reading for _, source in self._ownership.drivers())

    @property
    def objection(self) -> str | None:
        """Why it does not read everything that is assigned here; None: it does, or waits for partitions."""
        found = self._ownership.objection(lambda source: source.reading)
        found = found or next((why for _, source in self._ownership.drivers() if (why := source.objection)), None)
        return f"group {self._group!r}: {found}" if found is not None else None

    def stop(self) -> None:
        """Asks ``run`` to end: running handlers finish, other messages are left for other processes."""
        self._stopping = True
        self._stop.set()

    async def run(self) -> None:
        """Consumes until ``stop``. Cancelling it ends it within some seconds; nothing is lost.

        Raises:
            WorkerCrashed: a handler ended the process.
        """
        try:
            async with asyncio.TaskGroup() as slots:
                self._slots.open(slots)
                owning = slots.create_task(self._ownership.run())
                await self._stop.wait()
                owning.cancel()
                await asyncio.wait([owning])
                raise _Ended
        except* _Ended:
            pass
        except* WorkerCrashed as crashed:
            raise crashed.exceptions[0] from None

    async def _drive(self, owner: Owner) -> SourcePartition:
        self._sending.forget()
        return SourcePartition(owner, self._reading)

    # One message

    def _arrived(self, arrived: Arrived) -> None:
        """Sorts out what needs no handler; the rest waits for its turn."""
        subscription = arrived.subscription = self._subscription(arrived.record)
        if subscription is None:
            self._done(arrived, [])
            return
        if not subscription.wants(arrived.record):
            self._tally.add(subscription.name, "filtered")
            self._done(arrived, [])
            return
        self._unfinished[arrived.redelivered is not None] += 1
        if subscription.options.order == "none" and arrived.redelivered is None:
            self._slots.put(arrived)
        else:
            self._by_key.admit(arrived)

    def _subscription(self, record: Record) -> Subscription | None:
        if None in self._by_event:
            return self._by_event[None]
        for name, value in record.headers:
            if name == "ce_type":
                return self._by_event.get(value.decode(errors="replace"))
        return None

    def _handle(self, arrived: Arrived) -> Coroutine[Any, Any, None] | None:
        """Runs in a slot. What it returns is awaited there; None: the message has left the slot."""
        subscription, source = arrived.subscription, arrived.source
        assert subscription is not None
        # A position that is committed first gives nobody else the message.
        ends = self._stopping or source.stopping or arrived.mark.lost
        if ends and (source.abandoned or self._delivery != "at_most_once"):
            source.give_up(arrived)
        elif arrived.seen and arrived.is_poison:
            self._poison(arrived, subscription)
        else:
            return self._begin(arrived, subscription)
        self._left(arrived, subscription)
        return None

    def _left(self, arrived: Arrived, subscription: Subscription) -> None:
        self._unfinished[arrived.redelivered is not None] -= 1
        if subscription.options.order == "key" or arrived.redelivered is not None:
            self._by_key.release(arrived)

    def _begin(self, arrived: Arrived, subscription: Subscription) -> Coroutine[Any, Any, None] | None:
        """Nothing is awaited, and nothing is made for the handler that it does not ask for, until it first waits."""
        began, message, span, outcome = self._now(), None, _NO_SPAN, ""
        try:
            if self._asks:
                message, span = self._message(arrived, subscription)
            found = self._judge(arrived, subscription)
            if isinstance(found, str):
                outcome = found
            elif holds_personal(type(found)):
                return self._rest(arrived, subscription, (began, message, span), self._opened(arrived, found, message))
            elif (rest := self._calling.begin(subscription, found, message)) is None and self._sending.knows(message):
                self._done(arrived, self._sending.records(message))
                outcome = "handled"
            else:
                return self._rest(arrived, subscription, (began, message, span), rest)
        except BaseException as failure:
            outcome = self._raised(arrived, subscription, span, failure)
        finally:
            # Without an outcome it crashes, or is still at work.
            if outcome and outcome != "waits":
                self._ended(subscription, outcome, began, span)
                self._left(arrived, subscription)
        return None

    async def _rest(
        self,
        arrived: Arrived,
        subscription: Subscription,
        begun: tuple[float, Message | None, Span],
        rest: Coroutine[Any, Any, None] | None,
    ) -> None:
        """Of a handler that waits for something, or has written to a topic that must be looked up."""
        (began, message, span), outcome = begun, ""
        try:
            if rest is not None:
                await rest
            await self._sending.look(message)
            self._done(arrived, self._sending.records(message))
            outcome = "handled"
        except BaseException as failure:
            outcome = self._raised(arrived, subscription, span, failure)
        finally:
            if outcome:
                self._ended(subscription, outcome, began, span)
            self._left(arrived, subscription)

    async def _opened(self, arrived: Arrived, body: BaseModel, message: Message | None) -> None:
        """Calls a handler whose body has personal values."""
        assert arrived.subscription is not None
        await self._parts.vault.open(body)
        arrived.hidden = Hidden(revealed_in(body))
        if (rest := self._calling.begin(arrived.subscription, body, message)) is not None:
            await rest

    def _ended(self, subscription: Subscription, outcome: str, began: float, span: Span) -> None:
        if span is not _NO_SPAN:
            span.end()
        self._tally.add(subscription.name, outcome, self._now() - began)

    def _message(self, arrived: Arrived, subscription: Subscription) -> tuple[Message, Span]:
        record, headers, span = arrived.record, header_map(arrived.record.headers), _NO_SPAN
        traceparent = trace_context(headers)
        if self._parts.tracing.enabled:
            span = self._span(subscription, record, traceparent)
            span.enter()
            traceparent = span.traceparent
        message = Message(
            record,
            arrived.place,
            group=self._group,
            name=subscription.name,
            id=headers.get("ce_id", b"").decode(errors="replace"),
            attempt=arrived.attempt,
            traceparent=traceparent,
        )
        return message, span

    def _raised(self, arrived: Arrived, subscription: Subscription, span: Span, failure: BaseException) -> str:
        """What follows when the handler, or what stands before it, raised; returns the outcome.

        Raises:
            WorkerCrashed: the handler ended the process.
            BaseException: the failure, when the slot is being ended.
        """
        if isinstance(failure, Unreadable):
            span.failed(str(failure))
            self._dead(arrived, str(failure), "unreadable")
            return "dead"
        if isinstance(failure, Rejected):
            self._dead(arrived, f"rejected ({failure.code}): {failure.reason}", "rejected")
            return "rejected"
        if isinstance(failure, SystemExit | KeyboardInterrupt):
            span.end()
            for _, source in self._ownership.drivers():
                source.abandon()
            raise WorkerCrashed(self._worker, subscription.name, failure) from failure
        if self._slots.ends(failure):
            span.end()
            arrived.source.give_up(arrived)
            raise failure
        span.raised(failure, arrived.hidden)
        span.failed(error := said(failure, arrived.hidden))
        id = _id(arrived, header_map(arrived.record.headers))
        _logger.warning("subscription.handler.failed", group=self._group, message=id, error=error)
        self._failed(arrived, subscription, failure)
        return "failed"

    def _judge(self, arrived: Arrived, subscription: Subscription) -> BaseModel | str:
        """The body if nothing speaks against the call of the handler, else the outcome.

        What the filter does not take is dropped whatever else it is: nobody wants its dead letter.
        """
        is_parked = subscription.options.order == "key" and arrived.source.is_parked(arrived)
        try:
            body = subscription.body(arrived.record)
        except Unreadable:
            if not is_parked:
                raise
            self._post(arrived, subscription, None)  # in its turn, and by the code of that time
            return "parked"
        if body is None:
            self._done(arrived, [])
            return "filtered"
        if is_parked:
            self._post(arrived, subscription, None)
            return "parked"
        if (expired := self._expired(arrived, subscription)) is not None:
            self._dead(arrived, expired, "expired")
            return "dead"
        is_new = self._is_new(arrived, subscription, body)
        if is_new is None:
            return "waits"
        if not is_new:
            self._done(arrived, [])
            return "duplicate"
        return body

    def _is_new(self, arrived: Arrived, subscription: Subscription, body: BaseModel) -> bool | None:
        """False: a message of its identity was handled before. None: one is at work, and this one comes again."""
        if (dedup := subscription.options.dedup) is None:
            return True
        headers = header_map(arrived.record.headers)
        source = headers.get("ce_source", b"").decode(errors="replace")
        identity = dedup.identity(subscription.name, source, _id(arrived, headers), body)
        return identity is None or arrived.source.is_new(arrived, identity, self._slots.put)

    def _expired(self, arrived: Arrived, subscription: Subscription) -> str | None:
        if subscription.options.expires_after is None or arrived.redelivered is not None:
            return None
        most = to_ms(subscription.options.expires_after)
        age_ms = self._parts.clock.now_ms() - arrived.record.timestamp_ms
        if age_ms <= most:
            return None
        return f"it expired: it waited {age_ms / 1000:g} s, group {self._group!r} takes it for {most / 1000:g} s"

    def _span(self, subscription: Subscription, record: Record, traceparent: str | None) -> Span:
        facts: list[Fact] = [
            ("sagaline.worker", self._worker),
            ("messaging.consumer.group.name", self._group),
            ("messaging.kafka.offset", record.offset),
            ("messaging.destination.partition.id", str(record.partition)),
        ]
        return self._parts.tracing.message("handle", subscription.name, traceparent, record.topic, facts)

    # What follows

    def _done(self, arrived: Arrived, appends: list[Outgoing], *, failed: bool = False) -> None:
        """``failed``: it was not handled, so a copy of it, or its redrive, is no duplicate."""
        if arrived.redelivered is not None:
            appends = [*appends, self._letters.handled(arrived)]
        arrived.source.done(arrived, appends, failed=failed)

    def _dead(self, arrived: Arrived, reason: str, code: str, detail: str = "") -> None:
        """The message can never be handled: it becomes a dead letter, and the next one of its key follows."""
        reason = hiding(reason, arrived.hidden)
        _logger.warning("subscription.message.dead", group=self._group, place=str(arrived.place), reason=reason)
        original = arrived.record._replace(
            topic=arrived.place.topic, partition=arrived.place.partition, offset=arrived.place.offset
        )
        why = Why(f"group {self._group!r}: {storable(reason, _ERROR_CHARS)}", code, self._group, detail)
        letter = dead_letter(self._parts.topics.dead, None, original, why, self._parts.log.max_value_bytes)
        self._parts.metrics.add("dead_letters", 1, "subscriptions")
        self._done(arrived, [letter], failed=True)

    def _failed(self, arrived: Arrived, subscription: Subscription, error: BaseException) -> None:
        text = said(error, arrived.hidden)
        detail = trace_of(error, _DETAIL_CHARS, frames=_FRAMES, hidden=arrived.hidden)
        if self._delivery == "at_most_once" and arrived.redelivered is None:
            self._dead(arrived, text, "failed", detail)
        else:
            self._post(arrived, subscription, text, detail)

    def _poison(self, arrived: Arrived, subscription: Subscription) -> None:
        """Its consumer was killed again and again while it was at work: it is parked unhandled."""
        text = f"{arrived.seen} processes ended or lost the partition while handling it, so it was not delivered again"
        _logger.error("subscription.message.poison", group=self._group, place=str(arrived.place), reason=text)
        self._post(arrived, subscription, text)

    def _post(self, arrived: Arrived, subscription: Subscription, error: str | None, detail: str = "") -> None:
        """The message goes to the parcel of its key, or the parcel is told the outcome of its redelivery.

        ``error`` None: it only follows one that has failed.
        """
        poison = arrived.is_poison
        if arrived.redelivered is not None:
            arrived.source.done(arrived, [self._letters.handled(arrived, error, detail, poison=poison)], failed=True)
            return
        try:
            letter = self._letters.posted(arrived, subscription.options, error, detail, park=poison)
        except ValueTooLarge as large:
            why = error or "an earlier message of its key waits"
            self._dead(arrived, f"{why}; it cannot wait for a retry: {large}", "too-large")
        else:
            arrived.source.post(arrived, letter, in_order=subscription.options.order == "key")


def _id(arrived: Arrived, headers: Mapping[str, bytes]) -> str:
    return headers.get("ce_id", b"").decode(errors="replace") or str(arrived.place)


class _Ended(Exception):
    """The consumer was asked to stop."""


def consumers_of(worker: Worker, parts: Parts) -> list[Consumer]:
    """One for each group and topic that the worker reads.

    Raises:
        DefinitionError: as ``Consumer``.
    """
    found: dict[tuple[str, str | None], list[Subscription]] = {}
    for each in worker.subscriptions:
        found.setdefault((each.options.group, each.topic), []).append(each)
    grace = min(worker.grace.total_seconds(), _GRACE_SECONDS_MAX)
    return [
        Consumer(
            worker.name,
            parts,
            subscriptions,
            calls=worker.calls,
            concurrency=worker.concurrency,
            timeout_seconds=worker.handler_timeout.total_seconds(),
            grace_seconds=grace,
        )
        for subscriptions in found.values()
    ]


def _check_alike(worker: str, subscriptions: Sequence[Subscription]) -> None:
    first = subscriptions[0].options
    for each in subscriptions[1:]:
        for what in ("start", "delivery"):
            if getattr(each.options, what) != getattr(first, what):
                raise DefinitionError(
                    f"worker {worker!r}: {subscriptions[0].name!r} and {each.name!r} are read by one group "
                    f"({first.group!r}) with different values of {what}; give one of them a group of its own"
                )
