"""Buses inside an application: they call the handlers of workers in this process, without a log.

- The declarations are a worker's own, ``@worker.subscribes`` and ``@worker.handles``: the same worker behind a
  ``WorkerRuntime`` gets the same messages over the log, and nothing in it changes.
- Every body and command is written as JSON and read again for each handler, as over the log: what works here works
  there, and no handler sees what another one changed.
- What needs a log does not exist here: retry, parking, redelivery after a crash, expiry, order between callers. A
  failure goes to the caller, at once. ``delivery``, ``order``, ``retry``, ``expires_after``, ``dedup`` and ``start`` of
  a subscription and the ``concurrency`` of a worker have no effect, and ``@worker.consumes`` is not called.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from dataclasses import replace
from datetime import timedelta
from typing import Final, TypeVar

from pydantic import BaseModel, JsonValue
from pydantic_core import to_json

from ..orchestrator.adapters.clock import SystemClock
from ..orchestrator.client.checks import check_body, check_id, check_key
from ..orchestrator.client.requested import answer_of, command_of, positive_ms, writable
from ..orchestrator.codec.commands import Command, encode_sent
from ..orchestrator.codec.entities import encode_event
from ..orchestrator.codec.wire import header_map
from ..orchestrator.errors import InvalidRequest, RequestFailed, RequestTimedOut
from ..orchestrator.messages.entity_messages import Published, publication
from ..orchestrator.messages.inputs import Completed, Reply
from ..orchestrator.messages.texts import said
from ..orchestrator.ports.clock import Clock
from ..orchestrator.ports.log import Outgoing, Record
from ..orchestrator.tracing import Tracing
from ..sagas import Contract, DefinitionError, Event
from .calling import Calling
from .effects import Effects, Wanted
from .errors import WorkerCrashed, is_cancelled
from .execution import Execution
from .inbox import Inbox
from .message import Message, Place
from .offsets import Offsets
from .own_context import within
from .spans import WorkerSpans
from .subscription import Subscription
from .work import Work
from .worker import Handler, Worker

__all__ = ["CommandBus", "EventBus"]

C = TypeVar("C", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)
E = TypeVar("E", bound=BaseModel)

_TOPIC: Final = "@bus"
"""In place of a topic's name, which never begins so."""


class _Bus:
    """The workers behind a bus, and how it numbers and describes messages.

    Args:
        workers: whose handlers are called; handlers that they declare later are called too.
        clock: for ids and times; None: the system's.
        tracing: one span for each message and each handler; None: only trace contexts are passed on.
    """

    def __init__(self, *workers: Worker, clock: Clock | None = None, tracing: Tracing | None = None) -> None:
        self._workers, self._clock, self._tracing = workers, clock or SystemClock(), tracing or Tracing()
        self._count = 0

    def _record(self, outgoing: Outgoing) -> Record:
        self._count += 1
        return Record(
            _TOPIC, 0, self._count, outgoing.key, outgoing.value, outgoing.headers, timestamp_ms=self._clock.now_ms()
        )

    def _parent(self, traceparent: str | None) -> str | None:
        return self._tracing.parent(traceparent, self._clock.new_id)


class EventBus(_Bus):
    """Publishes events to the subscriptions of workers in this process. Safe for concurrent use by tasks of a loop.

    Args:
        workers: whose handlers are called; handlers that they declare later are called too.
        clock: for ids and times; None: the system's.
        tracing: one span for each event and each handler; None: only trace contexts are passed on.
        caused_max: how many events one event may cause through ``message.publish``: handlers that answer each other
            without end are stopped there.
    """

    def __init__(
        self,
        *workers: Worker,
        clock: Clock | None = None,
        tracing: Tracing | None = None,
        caused_max: int = 10_000,
    ) -> None:
        super().__init__(*workers, clock=clock, tracing=tracing)
        self._caused_max = caused_max

    async def publish(
        self,
        event: Event[E],
        key: str,
        body: E | Mapping[str, JsonValue],
        *,
        id: str | None = None,
        traceparent: str | None = None,
    ) -> str:
        """Calls every handler of the event, one after the other in the order of declaration, and returns its id.

        Filters (``where``), middlewares and ``handler_timeout`` are the worker's. What a handler publishes by
        ``message.publish`` goes through this bus too, after the handler has returned and the handlers of this event
        were called; not if it raised. All handlers are called even if some fail, and nothing is called again.

        Args:
            event: its kind; it may have no handler.
            key: what it is about; a handler sees it as ``message.key``.
            body: as a model or as JSON; checked by the event's model. Each handler gets its own copy.
            id: of the event, ``message.id``; None: a new one.
            traceparent: the W3C trace context to continue; None: a new trace.

        Raises:
            InvalidRequest: an argument is wrong; ``field`` says which. No handler was called.
            ExceptionGroup: handlers failed, also of events that followed; each error has a note that names the handler.
            RuntimeError: this event caused more than ``caused_max`` others.
            DefinitionError: two workers of the bus have a handler of this event in one group.
        """
        id = self._clock.new_id() if id is None else check_id(id)
        published = publication(event, check_key(key), check_body(event.model, body), id=id)
        following = deque([replace(published, traceparent=self._parent(traceparent))])
        errors: list[BaseException] = []
        caused = 0
        while following:
            each, before = following.popleft(), len(following)
            following.extend(await self._publish(each, errors))
            caused += len(following) - before
            if caused > self._caused_max:
                raise RuntimeError(
                    f"event {event.name!r} with key {key!r} caused more than {self._caused_max:,} others, the "
                    f"last ones by {each.event!r}; correct handlers that answer each other, or raise caused_max"
                )
        if errors:
            handlers = "1 handler" if len(errors) == 1 else f"{len(errors)} handlers"
            text = f"{handlers} failed for {event.name!r} or what followed from it; the others were called"
            raise BaseExceptionGroup(text, errors)
        return id

    async def _publish(self, event: Published, errors: list[BaseException]) -> list[Published]:
        """Calls the handlers of one event; returns what they published."""
        span = self._tracing.message("publish", event.event, event.traceparent, _TOPIC, ())
        found: list[Published] = []
        try:
            event = replace(event, traceparent=span.traceparent)
            with writable("body"):
                outgoing = encode_event(_TOPIC, event, 0, source=_TOPIC, now_ms=self._clock.now_ms())
            record = self._record(outgoing)
            for worker, subscription in self._subscribed(event.event):
                try:
                    found += await within(copy_context(), self._deliver(worker, subscription, record))
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:
                    if is_cancelled(error):
                        raise
                    error.add_note(f"in the handler of {event.event!r} in group {subscription.options.group!r}")
                    errors.append(error)
        finally:
            span.end()
        return found

    def _subscribed(self, event: str) -> Sequence[tuple[Worker, Subscription]]:
        found: dict[str, tuple[Worker, Subscription]] = {}
        for worker in self._workers:
            for each in worker.subscriptions:
                if each.event != event:
                    continue
                if (other := found.setdefault(each.options.group, (worker, each)))[1] is not each:
                    raise DefinitionError(
                        f"{other[0]!r} and {worker!r} both have a handler for {event!r} in group "
                        f"{each.options.group!r}; remove one of the two, or give one another group"
                    )
        return list(found.values())

    async def _deliver(self, worker: Worker, subscription: Subscription, record: Record) -> list[Published]:
        """Calls one handler; returns what it published."""
        if not subscription.wants(record):
            return []
        headers, group = header_map(record.headers), subscription.options.group
        facts = [("sagaline.worker", worker.name), ("messaging.consumer.group.name", group)]
        parent = headers.get("traceparent", b"").decode() or None
        span = self._tracing.message("handle", subscription.name, parent, _TOPIC, facts)
        id = headers["ce_id"].decode()
        message = Message(
            record,
            Place(record.topic, record.partition, record.offset),
            group=group,
            name=subscription.name,
            id=id,
            attempt=1,
            traceparent=span.traceparent,
        )
        error: str | None = None
        try:
            span.enter()
            calling = Calling(worker.calls, worker.handler_timeout.total_seconds())
            body = subscription.body(record)
            rest = None if body is None else calling.begin(subscription, body, message)
            if rest is not None:
                await rest
            if message.written:
                raise TypeError(f"a bus has no topic {message.written[0].topic!r}; publish an event instead")
        except BaseException as raised:
            error = said(raised)
            span.raised(raised)
            raise
        finally:
            span.end(error)
        return [
            replace(
                publication(event, check_key(key), check_body(event.model, body), id=f"{group}/{id}/{number}"),
                traceparent=message.traceparent,
            )
            for number, (event, key, body) in enumerate(message.publications, start=1)
        ]


class CommandBus(_Bus):
    """Sends commands to the one handler of their contract in this process. Safe for concurrent use by tasks of a loop.

    Args:
        workers: whose handlers are called; handlers that they declare later are called too.
        clock: for ids, times and deadlines; None: the system's.
        tracing: one span for each command and each handler; None: only trace contexts are passed on.
    """

    async def request(
        self,
        contract: Contract[C, R],
        command: C,
        *,
        timeout: timedelta | None = None,
        id: str | None = None,
        traceparent: str | None = None,
    ) -> R:
        """Calls the contract's handler once and returns its reply, as ``Producer.request`` does over the log.

        A worker with an inbox carries out one id once, together with its statements, and answers again. The handler
        runs until it is done, at most for ``handler_timeout`` (which heartbeats prolong) and ``timeout``.

        Args:
            contract: whose handler answers; it must answer itself, not by ``AnswerLater``.
            command: the contract's command; the handler gets its own copy.
            timeout: how long to wait; it is the command's deadline too. None: only ``handler_timeout``.
            id: to ask again after an error; None: a new one.
            traceparent: the W3C trace context to continue; None: a new trace.

        Raises:
            Rejected: the handler's business "no".
            RequestFailed: the handler raised, or its reply cannot be used; the message says why and what to do.
            RequestTimedOut: the handler did not end within ``timeout`` and was cancelled.
            InvalidRequest: an argument is wrong, or the contract has no handler here.
            InboxUnavailable: the worker's inbox does not answer; the same again with the same id is safe.
            DefinitionError: two workers of the bus handle this contract.
        """
        id, now_ms = self._clock.new_id() if id is None else check_id(id), self._clock.now_ms()
        worker, handler = self._handler(contract.name)
        asked = command_of(contract, command, f"@request/{id}", None)
        deadline_ms = None if timeout is None else now_ms + positive_ms(timeout, "timeout")
        asked = replace(asked, id=f"{asked.effect_key}/1", written_ms=now_ms, deadline_ms=deadline_ms)
        span = self._tracing.message("request", contract.name, self._parent(traceparent), _TOPIC, ())
        work = self._work(replace(asked, traceparent=span.traceparent), handler, now_ms)
        spans = WorkerSpans(worker.name, self._tracing)
        execution = Execution(worker, self._clock, spans, lambda _work, _progress: None)
        try:
            reply = await within(copy_context(), self._answer(execution, worker.inbox, work))
            spans.handled(work, reply)
        except WorkerCrashed as crashed:
            raise crashed.__cause__ or crashed from None
        finally:
            span.end()
        if reply is None:
            why = "its handler returned AnswerLater, and a request on a bus must be answered by its handler"
            raise RequestFailed(contract.name, id, why)
        if work.late and timeout is not None:
            raise RequestTimedOut(contract.name, contract.queue, id, timeout.total_seconds(), sent=True)
        return answer_of(contract, id, reply)

    def _handler(self, contract: str) -> tuple[Worker, Handler]:
        found = [(worker, handler) for worker in self._workers if (handler := worker.handler(contract)) is not None]
        if not found:
            names = ", ".join(repr(worker) for worker in self._workers) or "no worker"
            raise InvalidRequest(
                f"there is no handler for {contract!r} on this bus ({names}); declare one with @worker.handles, or "
                "give its worker to the bus",
                field="contract",
            )
        if len(found) > 1:
            raise DefinitionError(
                f"{found[0][0]!r} and {found[1][0]!r} both have a handler for {contract!r}; remove one of the two"
            )
        return found[0]

    def _work(self, command: Command, handler: Handler, now_ms: int) -> Work:
        with writable("command"):
            outgoing = encode_sent(_TOPIC, command, command.instance, source=_TOPIC, now_ms=now_ms)
        record = self._record(outgoing)
        return Work(record, Offsets().polled(record), command, handler, self._clock.monotonic())

    async def _answer(self, execution: Execution, inbox: Inbox | None, work: Work) -> Reply | None:
        """Runs the handler; with an inbox its effect is applied with the reply, or found."""
        if inbox is None:
            return await execution.run(work)
        answers: list[Reply] = []
        runs: list[Work] = []
        effects = Effects(inbox, self._clock, runs.append, lambda _work, reply: answers.append(reply))
        effects.look_up_again = lambda _work: None  # the loop does
        while not answers:
            runs.clear()
            await effects.look_up([work])
            if runs:
                reply = await execution.run(work)
                if not isinstance(reply, Completed):
                    return reply
                await effects.apply([Wanted(work, reply, to_json(reply.reply))])
        return answers[0]
