"""Tells receivers what happens to instances, each in the order of the instance, until they have answered.

Two subscriptions, so that nothing here retries, remembers or orders by itself:

1. of the history: an event becomes one message for each receiver that wants it, exactly once, in ``topics.webhooks``
   under the key ``receiver/instance``;
2. of those messages: each is sent, and counts as handled when the receiver answers with 2xx. What fails is delivered
   again over days by its parcel, with the later ones of its key behind it; then the key is parked, for an operator.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import structlog
from pydantic import BaseModel

from ...orchestrator.codec.entities import encode_entity_message
from ...orchestrator.codec.instance_events import read_event
from ...orchestrator.codec.webhook_deliveries import delivery
from ...orchestrator.codec.wire import BadRecord
from ...orchestrator.egress import Answered, Guards
from ...orchestrator.errors import SagalineError
from ...orchestrator.messages.entity_messages import SetRules, table_id
from ...orchestrator.messages.texts import storable
from ...orchestrator.ports.clock import Clock
from ...orchestrator.ports.log import Log, Record
from ...orchestrator.ports.topics import WEBHOOK_DELIVERIES, WEBHOOK_FAN_OUT, Topics
from ...orchestrator.runtime.metrics import Metrics
from ...orchestrator.tracing import Tracing
from ...sagas import Retry
from ..errors import Unreadable
from ..message import Message
from ..runtime import WorkerRuntime
from ..worker import Worker
from .pace import NotSent
from .receivers import Posting, PushReceivers, R, Receivers, WebhookReceivers

if TYPE_CHECKING:
    from ...orchestrator.push import PushKey

__all__ = ["Courier", "NotAccepted", "NotSent"]

RETRY: Final = Retry(max_attempts=400, first_delay=timedelta(seconds=5), factor=2.0, max_delay=timedelta(minutes=10))
"""5 s, 10 s, 20 s up to 10 min, then every 10 min: about two and a half days. No longer: ``NotSent`` waits too."""
_GONE: Final = {404: " Not Found", 410: " Gone"}
_WAITS: Final = frozenset({429, 503})
"""Statuses with ``Retry-After``."""
_SHOWN_CHARS: Final = 200
_SLOTS: Final = 64
_logger = structlog.get_logger(__name__)


class NotAccepted(SagalineError):
    """The receiver answered with another status than 2xx; it gets the event again later."""


class _Raw(BaseModel):
    """A record's value as it is."""

    value: bytes


class _AsItIs:
    """Reads nothing: what a value means depends on its place too."""

    model = _Raw

    def read(self, value: bytes, headers: Mapping[str, bytes]) -> _Raw:
        return _Raw.model_construct(value=value)


class Courier:
    """Delivers to the receivers of one namespace, together with other processes that do. Run it once.

    Args:
        log: the log; its topics for webhooks must exist, see ``wiring.prepare_webhooks``.
        topics: the names of the namespace's topics.
        clock: for signatures.
        keys: what the secrets of webhooks are derived from, the newest first; none: events for them wait.
        push: the key for push messages; None: events for browsers wait.
        guards: what each kind may reach, and how.
        tracing: a span for each delivery.
        metrics: those of subscriptions.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        clock: Clock,
        *,
        keys: Sequence[bytes] = (),
        push: PushKey | None = None,
        guards: Guards | None = None,
        tracing: Tracing | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._log, self._topics, self._clock = log, topics, clock
        guards = guards or Guards()
        self._kinds: tuple[Receivers[Any], ...] = (
            PushReceivers(log, topics, clock, push, guards.push),
            WebhookReceivers(log, topics, clock, keys, guards.webhooks),
        )
        self._runtime = WorkerRuntime(self._worker(), log, topics, clock, tracing, metrics=metrics)

    @property
    def objection(self) -> str | None:
        """Why it does not deliver what arrives; None: it does."""
        objections = (each.objection for each in self._kinds)
        return next((each for each in objections if each), None) or self._runtime.objection

    def stop(self) -> None:
        """Asks ``run`` to end: requests that were sent are waited for within the grace."""
        self._runtime.stop()

    async def run(self) -> None:
        """Delivers until ``stop``. Cancelling it ends it as a crash would: some requests may be sent again.

        Raises:
            TopicMismatch: a topic does not exist.
            SagalineError: the webhooks cannot be read at the start.
        """
        async with AsyncExitStack() as opened:
            for kind in self._kinds:
                opened.push_async_callback(kind.egress.close)
                opened.push_async_callback(kind.followed.close)
                await kind.followed.open()
            following = [asyncio.create_task(kind.followed.run(), name=kind.kind.table) for kind in self._kinds]
            for task in following:
                task.add_done_callback(lambda _: self._runtime.stop())
            try:
                await self._runtime.run()
                for task in following:
                    if task.done():
                        task.result()
            finally:
                for task in following:
                    task.cancel()
                await asyncio.wait(following)

    def _worker(self) -> Worker:
        topics, worker = self._topics, Worker("webhooks", concurrency=_SLOTS)

        @worker.consumes(
            topics.history, model=_AsItIs(), group=WEBHOOK_FAN_OUT, delivery="exactly_once", start="latest", retry=RETRY
        )
        async def fan_out(raw: _Raw, message: Message) -> None:
            place = message.place
            record = Record(
                place.topic,
                place.partition,
                place.offset,
                message.key,
                raw.value,
                tuple(message.headers.items()),
                message.timestamp_ms,
            )
            try:
                event = read_event(record)
            except BadRecord as error:
                raise Unreadable(str(error)) from error
            if event is None:
                return
            now_ms = self._clock.now_ms()
            for kind in self._kinds:
                for each in kind.wanting(event, now_ms):
                    message.write(topics.webhooks, *delivery(each, event, topics.namespace, kind.version))

        @worker.consumes(topics.webhooks, model=_AsItIs(), group=WEBHOOK_DELIVERIES, retry=RETRY)
        async def deliver(raw: _Raw, message: Message) -> None:
            name = message.headers.get("webhook", b"").decode()
            kind = next(each for each in self._kinds if name.startswith(each.prefix))
            if kind.version < int(message.headers.get("rules", b"0")):
                raise NotSent("the process that should send it does not know its receiver yet")
            await self._deliver(kind, name, message, raw.value)

        return worker

    async def _deliver(self, kind: Receivers[R], name: str, message: Message, body: bytes) -> None:
        """Sends it, unless its receiver was deleted or disabled after the event: what is put under its name now is
        another one.
        """
        receiver, now_ms = kind.by_name.get(name.removeprefix(kind.prefix)), self._clock.now_ms()
        if receiver is None or str(receiver.created).encode() != message.headers.get("created"):
            return
        if not kind.is_on(receiver, now_ms):
            return
        posting = kind.posting(receiver, message.id, body, now_ms)
        if posting is None:
            return
        answered = await self._posted(kind, receiver, posting)
        if answered.status in kind.gone:
            await self._end(kind, receiver, f"it answered {answered.status}{_GONE.get(answered.status, '')}")
        elif answered.status in kind.hopeless:
            _logger.warning("receiver.dropped", receiver=receiver.name, status=answered.status)
        elif not 200 <= answered.status < 300:
            if answered.status in _WAITS and (seconds := _retry_after(answered, self._clock.now_ms())) > 0:
                kind.pace.wait(receiver, seconds)
            said = _shown(answered) if kind.shows_answers else ""
            raise NotAccepted(f"{kind.kind.noun} {receiver.name!r} answered {answered.status}{said}")

    async def _posted(self, kind: Receivers[R], receiver: R, posting: Posting) -> Answered:
        with kind.pace.slot(receiver, kind.slow_with(receiver)):
            return await kind.egress.post(posting.url, posting.body, posting.headers)

    async def _end(self, kind: Receivers[R], receiver: R, why: str) -> None:
        """The receiver is gone. Any change since the request was sent wins; the next event asks again."""
        if kind.by_name.get(receiver.name) != receiver:
            return
        noun = kind.kind.noun
        _logger.warning("receiver.gone", kind=noun, receiver=receiver.name, reason=why)
        request = SetRules(
            id=self._clock.new_id(),
            instance=table_id(kind.kind.table),
            rules=tuple(kind.kind.replaced(kind.rules, receiver.name, kind.after_gone(receiver, why))),
            version=kind.version,
            by="webhooks",
            reason=f"{noun} {receiver.name}: {why}",
        )
        source, now_ms = f"/{self._topics.namespace}/webhooks", self._clock.now_ms()
        outgoing = encode_entity_message(self._topics.inputs, request, source=source, now_ms=now_ms, traceparent=None)
        await self._log.append([outgoing])


def _retry_after(answered: Answered, now_ms: int) -> float:
    """In seconds; 0: it does not say."""
    text = answered.headers.get("retry-after", "").strip()
    if text.isdecimal() and len(text) < 10:
        return float(text)
    with suppress(ValueError, TypeError, OverflowError):
        return parsedate_to_datetime(text).timestamp() - now_ms / 1000
    return 0.0


def _shown(answered: Answered) -> str:
    """The beginning of the answer, for people."""
    text = answered.body[:_SHOWN_CHARS].decode(errors="replace").strip()
    return f": {storable(text, _SHOWN_CHARS)}" if text else ""
