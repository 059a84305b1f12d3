"""The worker runtime: a command's way from its queue to its durable reply.

    intake ─▶ by key ─▶ (inbox: look up) ─▶ slots: handler ─▶ (inbox: apply) ─▶ answers: append ─▶ offsets: commit

Each stage passes on what is ready without waiting for more; later items go into the next batch. The effect of a crash:

1. before the effect is stored: nothing happened; the command is redelivered.
2. between effect and reply: the command is redelivered and its entry is found; the stored reply is sent, no handler
   runs.
3. between reply and commit: as 2; the reply is sent twice, and the second one is a no-op for the instance.
Without an inbox, 2 and 3 run the handler again: at least once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, NoReturn

import structlog

from ..orchestrator.codec.commands import ReplyTo, decode_command
from ..orchestrator.codec.dead_letters import Why, dead_letter
from ..orchestrator.codec.inputs import encode_reply
from ..orchestrator.codec.presences import QueueWork
from ..orchestrator.errors import LogUnavailable, SagalineError, ValueTooLarge
from ..orchestrator.messages.flow_limits import LIMITS_TABLE, limits_of
from ..orchestrator.messages.inputs import Completed, Failed, Heartbeat, JsonObject, Rejected, Reply
from ..orchestrator.ports.clock import Clock
from ..orchestrator.ports.log import Log, Outgoing, Record, check_size
from ..orchestrator.ports.topics import Topics
from ..orchestrator.runtime.metrics import OTHER, Metrics
from ..orchestrator.tracing import Tracing
from ..orchestrator.vault import KeyRing, Vault
from .answers import Answers
from .consumer import Consumer, Parts, consumers_of
from .effects import Effects, Wanted
from .errors import InboxUnavailable
from .execution import Execution, failed
from .failures import Failures
from .flow import FlowControl
from .followed import Followed
from .forwarding import Forwarding
from .inbox import Inbox
from .intake import Intake
from .offsets import Mark
from .slots import ByKey, Slots
from .spans import WorkerSpans
from .stage import Stage, until_done
from .work import Answer, Work
from .worker import Worker

__all__ = ["Counts", "WorkerRuntime"]

_UNFINISHED_MAX: Final = 2_000
_BATCH_MAX: Final = 500
_FORGET_EVERY_SECONDS: Final = 600.0
_LAG_EVERY_SECONDS: Final = 10.0
_FORGET_MAX: Final = 1_000
_NOBODY: Final = ReplyTo(topic="", partition=0)
"""In place of the topic of a reply that is checked and not written."""
_logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class Counts:
    """The number of commands by outcome, since the start."""

    completed: int = 0
    later: int = 0
    """Their handlers said that the answer comes from elsewhere."""
    rejected: int = 0
    failed: int = 0
    late: int = 0
    """The failed commands whose deadline passed before they were done."""
    dead: int = 0


class WorkerRuntime:
    """Runs one worker on one log, once.

    Args:
        worker: the declared handlers.
        log: the log with its queues and the reply topics.
        topics: the topic names of the namespace; its queues and dead letter topic must exist.
        clock: for deadlines.
        tracing: one span per handled command.
        metrics: commands answered, their durations, those in flight, and the lag of the queues.
        vault: opens personal values for handlers; None: there is no key of them.

    Raises:
        DefinitionError: the worker handles nothing.
    """

    def __init__(
        self,
        worker: Worker,
        log: Log,
        topics: Topics,
        clock: Clock,
        tracing: Tracing | None = None,
        *,
        metrics: Metrics | None = None,
        vault: Vault | None = None,
    ) -> None:
        self._worker, self._log, self._topics, self._clock = worker, log, topics, clock
        self._queues, self._metrics = worker.queues, metrics or Metrics()
        self._source = f"/{topics.namespace}/workers/{worker.name}"
        self._spans = WorkerSpans(worker.name, tracing or Tracing())
        vault = vault or Vault(log, topics.personal, KeyRing((), "SAGALINE_PERSONAL_KEYS"))
        self._execution = Execution(
            worker, clock, self._spans, self._beat, lambda error: self._slots.ends(error), vault=vault
        )
        self._forwarding = Forwarding(topics, self._source, log.max_value_bytes)
        self._flow = FlowControl(clock, self._execution.too_late, self._share, lambda: self._slots.wake())
        self._limits = Followed(log, topics.rules, LIMITS_TABLE, lambda found: self._flow.limit(limits_of(found.rules)))
        self._slots: Slots[Work] = Slots(worker.concurrency, self._handle, self._flow)
        self._by_key: ByKey[Work] = ByKey(self._slots.put)
        self._answers = Answers(log, topics.dead, self._answered)
        self._appends: Stage[Answer] = Stage("append", self._answers.append, _BATCH_MAX)
        self._beats: Stage[Outgoing] = Stage("heartbeat", log.append, _BATCH_MAX)
        self._stages: list[Stage[Work] | Stage[Wanted] | Stage[Answer] | Stage[Outgoing]] = [self._appends, self._beats]
        self._applies: Stage[Wanted] | None = None
        self._effects: Effects | None = None
        if worker.inbox is not None:
            self._use(worker.inbox)
        self._unfinished: Counter[str] = Counter()
        """By topic: no lane takes the room of another one."""
        self._stopping, self._empty = False, asyncio.Event()
        self._intakes: list[Intake] = []
        parts = Parts(
            log=log,
            topics=topics,
            clock=clock,
            tracing=tracing or Tracing(),
            metrics=self._metrics,
            alone=asyncio.Lock(),
            vault=vault,
        )
        self.consumers = consumers_of(worker, parts)
        """One for each group and topic that the worker subscribes to."""
        self.started = asyncio.Event()
        """Set once every queue is subscribed."""
        self.counts = Counts()

    def _use(self, inbox: Inbox) -> None:
        self._effects = effects = Effects(inbox, self._clock, self._slots.put, self._answer)
        look_ups: Stage[Work] = Stage("inbox.find", effects.look_up, _BATCH_MAX)
        effects.look_up_again = look_ups.put
        self._by_key = ByKey(look_ups.put)
        self._applies = Stage("inbox.apply", effects.apply, _BATCH_MAX)
        self._stages += [look_ups, self._applies]

    @property
    def name(self) -> str:
        """The worker's name."""
        return self._worker.name

    def doing(self) -> tuple[QueueWork, ...]:
        """What is in work here, for each queue and lane."""
        held = self._flow.held()
        return tuple(
            QueueWork(queue=queue, unfinished=self.unfinished(queue), held=held.get(self._topics.commands(queue), ()))
            for queue in self._queues
        )

    def unfinished(self, queue: str) -> int:
        """How many commands of a queue, or of a lane, are here: they wait for a handler, or are in one."""
        return self._unfinished[self._topics.commands(queue)]

    @property
    def objection(self) -> str | None:
        """Why it does not handle what arrives here; None: it does, or waits for work."""
        found = "it is stopping" if self._stopping else None
        if found is None and not self.started.is_set():
            found = "it has not joined its queues"
        readers: list[Intake | Consumer] = [*self._intakes, *self.consumers]
        found = found or next((why for each in readers if (why := each.objection) is not None), None)
        return f"worker {self._worker.name!r}: {found}" if found is not None else None

    def stop(self) -> None:
        """Asks ``run`` to end: running handlers finish within the worker's grace, other commands are left for other
        workers.
        """
        self._stopping = True
        self._flow.stop()
        for intake in self._intakes:
            intake.stop()
        for consumer in self.consumers:
            consumer.stop()

    async def run(self) -> None:
        """Handles commands and subscriptions until ``stop``. Cancelling it ends the worker at once, as a crash would.

        Raises:
            WorkerCrashed: a handler ended the process; restart the worker.
            InboxUnavailable: the inbox could not be opened.
            TopicMismatch: a queue's or the dead letter topic does not exist.
        """
        try:
            if self._worker.inbox is not None:
                await self._worker.inbox.find([])
            with suppress(SagalineError):  # it goes on trying while it works
                await self._limits.open()
            for queue in self._queues:
                self._intakes.append(await self._subscribe(queue))
            self.started.set()
            _logger.info("worker.started", worker=self._worker.name, queues=self._queues)
            async with asyncio.TaskGroup() as group:
                await self._serve(group)
        except _Ended:
            pass
        except BaseExceptionGroup as errors:
            first = _first(errors)
            if not isinstance(first, _Ended):
                raise first from first.__cause__
        finally:
            await asyncio.gather(self._limits.close(), *(intake.close() for intake in self._intakes))
            _logger.info("worker.stopped", worker=self._worker.name, unfinished=self._unfinished.total())

    async def _subscribe(self, queue: str) -> Intake:
        """Joins the queue's group as soon as the log is available.

        Raises:
            _Ended: the worker was asked to stop meanwhile.
        """
        group, topic = f"{self._topics.namespace}.worker.{queue}", self._topics.commands(queue)
        failures = Failures("worker.join", queue=queue)
        while True:
            try:
                partitions = await self._log.partitions(topic)
                subscription = await self._log.subscribe([topic], group)  # last: a member must poll
                break
            except LogUnavailable as error:
                failures.failed(error)
                if self._stopping:
                    raise _Ended from error
            await failures.wait()
        failures.succeeded()
        return Intake(
            queue,
            subscription,
            self._admit,
            lambda: _UNFINISHED_MAX - self._unfinished[topic],
            self._clock,
            partitions=partitions,
        )

    def _share(self, queue: str, count: int) -> float:
        """How much of a limit is this process's: the share of the queue's partitions, of all its lanes, that it has."""
        mine = [intake for intake in self._intakes if intake.queue == queue or intake.queue.startswith(f"{queue}.")]
        return count * sum(len(each.held) for each in mine) / max(1, sum(each.partitions for each in mine))

    async def _serve(self, group: asyncio.TaskGroup) -> NoReturn:
        self._slots.open(group)
        for stage in self._stages:
            group.create_task(stage.run())
        if self._worker.inbox is not None:
            group.create_task(self._tend(self._worker.inbox))
        if self._intakes:
            group.create_task(self._limits.run())
        if self._metrics.exported:
            group.create_task(self._measure_lag())
        async with asyncio.TaskGroup() as polling:
            for consumer in self.consumers:
                if self._stopping:
                    consumer.stop()
                polling.create_task(consumer.run())
            for intake in self._intakes:
                if self._stopping:
                    intake.stop()
                polling.create_task(intake.run())
        await self._wind_down()
        for intake in self._intakes:
            await intake.commit()
        raise _Ended

    async def _wind_down(self) -> None:
        """Running handlers get the grace; the slots drop all other commands, which are left for other workers."""
        try:
            async with asyncio.timeout(self._worker.grace.total_seconds()):
                while self._unfinished.total():
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            _logger.warning("worker.grace.over", worker=self._worker.name, unfinished=self._unfinished.total())

    async def _tend(self, inbox: Inbox) -> None:
        """Drops old entries of the inbox, a bounded number at a time."""
        while True:
            dropped = 0
            try:
                dropped = await inbox.forget(self._clock.now_ms(), limit=_FORGET_MAX)
            except InboxUnavailable as error:
                _logger.warning("worker.inbox.forget", worker=self._worker.name, error=str(error))
            await asyncio.sleep(1.0 if dropped == _FORGET_MAX else _FORGET_EVERY_SECONDS)

    async def _measure_lag(self) -> NoReturn:
        while True:
            await asyncio.sleep(_LAG_EVERY_SECONDS)
            with suppress(LogUnavailable):
                ends = await self._log.end_offsets([self._topics.commands(queue) for queue in self._queues])
                for intake in self._intakes:
                    self._metrics.set("queues.lag", intake.behind(ends), intake.queue)

    # The path of one record

    def _admit(self, record: Record, mark: Mark) -> None:
        self._count_unfinished(record, 1)
        try:
            command = decode_command(record)
        except ValueError as error:  # BadRecord, and unexpected errors of the decoder
            _logger.warning("worker.record.dead", topic=record.topic, offset=record.offset, error=str(error))
            outgoing = dead_letter(
                self._topics.dead, None, record, Why(str(error), "unreadable"), self._log.max_value_bytes
            )
            self._appends.put(Answer(record, mark, outgoing, None))
            return
        self._by_key.admit(Work(record, mark, command, self._worker.handler(command.contract), self._clock.monotonic()))

    async def _handle(self, work: Work) -> None:
        """Runs in a slot."""
        if work.mark.lost or self._stopping:
            self._flow.finished(work, None)
            self._drop(work)
            return
        began = self._clock.monotonic()
        reply = None
        try:
            reply = await self._execution.run(work)
        finally:
            self._flow.finished(work, isinstance(reply, Failed) if work.begun else None)
        self._metrics.record("workers.duration", self._clock.monotonic() - began, *_declared(work))
        if work.late:
            self.counts.late += 1
            self._metrics.add("commands.late")
        if reply is None:
            self._answered_later(work)
        elif isinstance(reply, Completed) and self._applies is not None:
            outgoing, sent = self._encode(work, reply)
            if isinstance(sent, Completed):
                await self._apply(Wanted(work, sent, outgoing.value or b""))
            else:
                await work.discard(self._slots.ends)
                self._append(work, outgoing, sent)
        else:
            self._answer(work, reply)

    async def _apply(self, wanted: Wanted) -> None:
        """A handler's own transaction is committed here, in its slot: a batch could wait for its locks in vain."""
        assert self._applies is not None
        assert self._effects is not None
        context = wanted.work.context
        if context is None or context.unit is None:
            self._applies.put(wanted)
        else:
            await until_done("inbox.commit", self._effects.apply, [wanted], self._slots.ends)

    def _answer(self, work: Work, reply: Reply) -> None:
        self._append(work, *self._encode(work, reply))

    def _append(self, work: Work, outgoing: Outgoing, reply: Reply) -> None:
        if work.command.reply_to is None:
            self._appends.put(self._unanswered(work, reply))
            return
        onward = None
        if work.command.slip is not None and isinstance(reply, Completed):
            found = self._forwarding.next(work, reply, self._written_ms(work))
            if found is not None:
                reply, onward = found
                outgoing, _ = self._encode(work, reply)
        self._spans.handled(work, reply)
        self._by_key.release(work)
        self._metrics.add("workers.commands", 1, *_declared(work), reply.kind)
        answer = Answer(work.record, work.mark, outgoing, reply)
        answer.onward, answer.span = onward, work.sending
        if isinstance(reply, Failed) and work.unsent is not None:
            answer.ahead = self._heartbeat(work, work.unsent, work.command.reply_to)
        self._appends.put(answer)

    def _unanswered(self, work: Work, reply: Reply) -> Answer:
        """What is written about a command that nobody waits for: nothing, or a dead letter if it had no effect."""
        self._spans.handled(work, reply)
        self._by_key.release(work)
        self._metrics.add("workers.commands", 1, *_declared(work), reply.kind)
        match reply:
            case Completed():
                return Answer(work.record, work.mark, None, reply)
            case Rejected():
                why = f"it was rejected: {reply.reason} ({reply.code})"
            case Failed():
                why = f"it failed: {reply.error}"
        _logger.warning("worker.record.dead", topic=work.record.topic, offset=work.record.offset, error=why)
        letter = dead_letter(self._topics.dead, None, work.record, Why(why, reply.kind), self._log.max_value_bytes)
        return Answer(work.record, work.mark, letter, None)

    def _answered_later(self, work: Work) -> None:
        """The command is handled, and nothing is said about it from here."""
        if work.unsent is not None:
            self._beat(work, work.unsent)
        self._spans.handled(work, None)
        self.counts.later += 1
        self._metrics.add("workers.commands", 1, *_declared(work), "later")
        self._by_key.release(work)
        work.mark.finish()
        self._closed(work.record)

    def _beat(self, work: Work, progress: JsonObject | None) -> None:
        if not work.mark.lost and work.command.reply_to is not None:
            self._beats.put(self._heartbeat(work, progress, work.command.reply_to))

    def _heartbeat(self, work: Work, progress: JsonObject | None, to: ReplyTo) -> Outgoing:
        command, now_ms = work.command, self._clock.now_ms()
        beat = Heartbeat(
            id=f"{command.id}/heartbeat/{now_ms}",
            instance=command.instance,
            command_id=command.id,
            progress=progress,
            traceparent=command.traceparent,
        )
        return encode_reply(to.topic, to.partition, beat, source=self._source, now_ms=now_ms)

    def _written_ms(self, work: Work) -> int:
        """The current time by the clock that set the slip's deadlines: the command's write time plus the time since."""
        if work.command.written_ms is None:
            return self._clock.now_ms()
        return work.command.written_ms + round((self._clock.monotonic() - work.came) * 1000)

    def _encode(self, work: Work, reply: Reply) -> tuple[Outgoing, Reply]:
        """The record of a reply; a reply that the log would reject is replaced by a failure that says so."""
        traceparent = self._spans.replies(work)
        reply = replace(reply, traceparent=traceparent)
        try:
            return self._written(work, reply), reply
        except ValueTooLarge as error:
            why = (
                f"the reply has {error.size_bytes:,} bytes, the log takes {error.limit_bytes:,}; "
                "answer with a reference instead of the content"
            )
        except ValueError as error:
            why = f"the reply cannot be written as JSON: {error}"
        reply = replace(failed(work, why), traceparent=traceparent)
        return self._written(work, reply), reply

    def _written(self, work: Work, reply: Reply) -> Outgoing:
        """Raises: ValueTooLarge, ValueError."""
        to = work.command.reply_to or _NOBODY
        outgoing = encode_reply(to.topic, to.partition, reply, source=self._source, now_ms=self._clock.now_ms())
        check_size(outgoing, "the reply", self._log.max_value_bytes)
        return outgoing

    def _answered(self, answer: Answer) -> None:
        match answer.reply:
            case Completed():
                self.counts.completed += 1
            case Rejected():
                self.counts.rejected += 1
            case Failed():
                self.counts.failed += 1
            case None:
                self.counts.dead += 1
                self._metrics.add("dead_letters", 1, "commands")
        self._closed(answer.record)

    def _drop(self, work: Work) -> None:
        """Drops an admitted command that has not begun: it is delivered to another worker."""
        self._by_key.release(work)
        self._closed(work.record)

    def _closed(self, record: Record) -> None:
        self._count_unfinished(record, -1)
        if not self._unfinished.total():
            self._empty.set()

    def _count_unfinished(self, record: Record, change: int) -> None:
        self._unfinished[record.topic] += change
        self._metrics.set("workers.in_flight", self._unfinished.total(), self._worker.name)


def _declared(work: Work) -> tuple[str, str]:
    """Queue and contract, if a handler here names them: others come from outside and are without end."""
    if work.handler is None:
        return OTHER, OTHER
    return work.handler.contract.queue, work.handler.contract.name


class _Ended(Exception):
    """The worker was asked to stop."""


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
