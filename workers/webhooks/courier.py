"""Webhooks: tells receivers what happens to instances, each in the order of the instance, until they have answered.

Two subscriptions, so that nothing here retries, remembers or orders by itself:

1. of the history: an event becomes one message for each webhook that wants it, exactly once, in ``topics.webhooks``
   under the key ``webhook/instance``;
2. of those messages: each is sent, and counts as handled when the receiver answers with 2xx. What fails is delivered
   again over days by its parcel, with the later ones of its key behind it; then the key is parked, for an operator.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog
from pydantic import BaseModel

from ...orchestrator.codec.entities import encode_entity_message
from ...orchestrator.codec.instance_events import read_event
from ...orchestrator.codec.webhook_deliveries import delivery
from ...orchestrator.codec.webhook_signatures import secrets_of, signed_headers
from ...orchestrator.codec.wire import BadRecord
from ...orchestrator.egress import Answered, Egress, EgressSettings
from ...orchestrator.errors import SagalineError
from ...orchestrator.messages.entity_messages import Rule, SetRules, table_id
from ...orchestrator.messages.outputs import Announce
from ...orchestrator.messages.texts import storable
from ...orchestrator.messages.webhooks import WEBHOOKS, Webhook
from ...orchestrator.ports.clock import Clock
from ...orchestrator.ports.log import Log, Record
from ...orchestrator.ports.topics import WEBHOOK_DELIVERIES, WEBHOOK_FAN_OUT, Topics
from ...orchestrator.runtime.metrics import Metrics
from ...orchestrator.tracing import Tracing
from ...sagas import Retry
from ..errors import Unreadable
from ..followed import Followed
from ..message import Message
from ..runtime import WorkerRuntime
from ..worker import Worker

__all__ = ["Courier", "NotAccepted", "NotSent"]

RETRY: Final = Retry(max_attempts=400, first_delay=timedelta(seconds=5), factor=2.0, max_delay=timedelta(minutes=10))
"""5 s, 10 s, 20 s up to 10 min, then every 10 min: about two and a half days. No longer: ``NotSent`` waits too."""
_GONE: Final = 410
_GONE_TEXT: Final = "it answered 410 Gone"
_SHOWN_CHARS: Final = 200
_SLOW_SECONDS: Final = 1.0
_SLOW_AT_ONCE: Final = 8
"""Requests to a receiver whose last one took longer, or whose oldest one does; the slots are for all webhooks."""
_SLOTS: Final = 64
_ALL_SLOW_AT_ONCE: Final = _SLOTS // 2
"""Requests to all such receivers."""
_logger = structlog.get_logger(__name__)


class NotAccepted(SagalineError):
    """The receiver answered with another status than 2xx; it gets the event again later."""


class NotSent(SagalineError):
    """Nothing was sent to the receiver now; it gets the event later."""


class _Raw(BaseModel):
    """A record's value as it is."""

    value: bytes


class _AsItIs:
    """Reads nothing: what a value means depends on its place too."""

    model = _Raw

    def read(self, value: bytes, headers: Mapping[str, bytes]) -> _Raw:
        return _Raw.model_construct(value=value)


class Courier:
    """Delivers to the webhooks of one namespace, together with other processes that do. Run it once.

    Args:
        log: the log; its topics for webhooks must exist, see ``wiring.prepare_webhooks``.
        topics: the names of the namespace's topics.
        clock: for signatures.
        keys: what the secrets of webhooks are derived from, the newest first; at least one.
        egress: what may be reached, and how.
        tracing: a span for each delivery.
        metrics: those of subscriptions.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        clock: Clock,
        *,
        keys: Sequence[bytes],
        egress: EgressSettings | None = None,
        tracing: Tracing | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._log, self._topics, self._clock, self._keys = log, topics, clock, keys
        self._egress = Egress(egress)
        self._rules: Sequence[Rule] = ()
        self._webhooks: Mapping[str, Webhook] = {}
        self._slow = set[str]()
        self._at_work: dict[str, dict[object, float]] = {}
        """By webhook, the oldest first: when each request under way was begun."""
        self._version = 0
        self._followed = Followed(log, topics.rules, WEBHOOKS.table, self._set)
        self._runtime = WorkerRuntime(self._worker(), log, topics, clock, tracing, metrics=metrics)

    @property
    def objection(self) -> str | None:
        """Why it does not deliver what arrives; None: it does."""
        return self._followed.objection or self._runtime.objection

    def stop(self) -> None:
        """Asks ``run`` to end: requests that were sent are waited for within the grace."""
        self._runtime.stop()

    async def run(self) -> None:
        """Delivers until ``stop``. Cancelling it ends it as a crash would: some requests may be sent again.

        Raises:
            TopicMismatch: a topic does not exist.
            SagalineError: the webhooks cannot be read at the start.
        """
        await self._followed.open()
        following = asyncio.create_task(self._followed.run(), name="webhooks")
        following.add_done_callback(lambda _: self._runtime.stop())
        try:
            await self._runtime.run()
            if following.done():
                following.result()
        finally:
            following.cancel()
            await asyncio.wait([following])
            await self._followed.close()
            await self._egress.close()

    def _set(self, found: Announce) -> None:
        self._rules, self._version = found.rules, found.version
        self._webhooks = {each.name: each for each in WEBHOOKS.of(found.rules)}

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
            for each in self._webhooks.values():
                if not each.disabled and each.wants(event):
                    message.write(topics.webhooks, *delivery(each, event, topics.namespace, self._version))

        @worker.consumes(topics.webhooks, model=_AsItIs(), group=WEBHOOK_DELIVERIES, retry=RETRY)
        async def deliver(raw: _Raw, message: Message) -> None:
            if self._version < int(message.headers.get("rules", b"0")):
                raise NotSent("the process that should send it does not know its webhook yet")
            webhook = self._webhooks.get(message.headers.get("webhook", b"").decode())
            if webhook is None or webhook.disabled or str(webhook.created).encode() != message.headers.get("created"):
                return  # it was deleted or disabled after the event; what is put under its name now is another one
            await self._send(webhook, message.id, raw.value)

        return worker

    async def _send(self, webhook: Webhook, event: str, body: bytes) -> None:
        now_ms = self._clock.now_ms()
        secrets = secrets_of("webhook", webhook, self._keys, self._topics.namespace, now_ms)
        headers = signed_headers(f"{self._topics.namespace}-{event}", body, now_ms, secrets)
        sent = {**headers, "content-type": "application/cloudevents+json; charset=utf-8"}
        answered = await self._posted(webhook, body, sent)
        if answered.status == _GONE:
            await self._disable(webhook)
        elif not 200 <= answered.status < 300:
            raise NotAccepted(f"webhook {webhook.name!r} answered {answered.status}{_shown(answered)}")

    async def _posted(self, webhook: Webhook, body: bytes, headers: Mapping[str, str]) -> Answered:
        """Receivers that hang may not take the slots of all others."""
        name, began, ticket = webhook.name, self._clock.monotonic(), object()
        at_work = self._at_work.setdefault(name, {})
        slow = {each: len(held) for each, held in self._at_work.items() if self._is_slow(each, began)}
        own, total = slow.get(name, 0), sum(slow.values())
        if name in slow and (own >= _SLOW_AT_ONCE or total >= _ALL_SLOW_AT_ONCE):
            raise NotSent(f"webhook {name!r} is slow: {own} requests wait for it, {total} for all receivers that are")
        at_work[ticket] = began
        try:
            return await self._egress.post(webhook.url, body, headers)
        finally:
            del at_work[ticket]
            is_slow = self._clock.monotonic() - began > _SLOW_SECONDS
            (self._slow.add if is_slow else self._slow.discard)(name)

    def _is_slow(self, name: str, now: float) -> bool:
        return name in self._slow or now - next(iter(self._at_work[name].values()), now) > _SLOW_SECONDS

    async def _disable(self, webhook: Webhook) -> None:
        """The receiver says that it is gone. Any change since the request was sent wins; the next event asks again."""
        if self._webhooks.get(webhook.name) != webhook:
            return
        _logger.warning("webhook.disabled", webhook=webhook.name, reason=_GONE_TEXT)
        request = SetRules(
            id=self._clock.new_id(),
            instance=table_id(WEBHOOKS.table),
            rules=tuple(WEBHOOKS.replaced(self._rules, webhook.name, replace(webhook, disabled=_GONE_TEXT))),
            version=self._version,
            by="webhooks",
            reason=f"webhook {webhook.name}: {_GONE_TEXT}",
        )
        source, now_ms = f"/{self._topics.namespace}/webhooks", self._clock.now_ms()
        outgoing = encode_entity_message(self._topics.inputs, request, source=source, now_ms=now_ms, traceparent=None)
        await self._log.append([outgoing])


def _shown(answered: Answered) -> str:
    """The beginning of the answer, for people."""
    text = answered.body[:_SHOWN_CHARS].decode(errors="replace").strip()
    return f": {storable(text, _SHOWN_CHARS)}" if text else ""
