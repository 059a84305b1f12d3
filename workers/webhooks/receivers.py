"""The kinds of receivers: all that are registered now, and how an event is sent to one of them.

What is the same for all (the order, retries, limits, the way out) is the courier's.
"""

from __future__ import annotations

import base64
import hmac
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Final, Generic, NamedTuple, TypeVar

from ...orchestrator.codec.webhook_deliveries import PUSH
from ...orchestrator.codec.webhook_signatures import secrets_of, signed_headers
from ...orchestrator.egress import Egress, EgressSettings
from ...orchestrator.messages.entity_messages import Rule
from ...orchestrator.messages.instance_events import EventType, InstanceEvent
from ...orchestrator.messages.named_rules import NamedRules
from ...orchestrator.messages.outputs import Announce
from ...orchestrator.messages.pushes import PUSHES, PushSubscription
from ...orchestrator.messages.receivers import wants
from ...orchestrator.messages.webhooks import WEBHOOKS, Webhook
from ...orchestrator.ports.clock import Clock
from ...orchestrator.ports.log import Log
from ...orchestrator.ports.topics import Topics
from ..followed import Followed
from .pace import NotSent, Pace

if TYPE_CHECKING:
    from ...orchestrator.push import Endpoint, PushKey

__all__ = ["LIVES", "Posting", "PushReceivers", "R", "Receivers", "WebhookReceivers"]

LIVES: Final = timedelta(days=2)
"""A push message that is older is not sent, and none is kept longer by a push service; the courier tries longer."""
_URGENCY: Final = {EventType.ATTENTION.value: "high", EventType.CHANGED.value: "low", "test": "high"}
_TOPIC_CHARS: Final = 32
R = TypeVar("R", Webhook, PushSubscription)


class Posting(NamedTuple):
    """A POST to a receiver."""

    url: str
    body: bytes
    headers: Mapping[str, str]


class Receivers(ABC, Generic[R]):
    """All of one kind, as their table is now.

    Args:
        log: has the rules.
        topics: of the namespace.
        clock: for durations.
        kind: how they are kept.
        egress: what they may reach.
    """

    prefix: ClassVar[str] = ""
    """Before the name of one in a delivery."""
    gone: ClassVar[frozenset[int]]
    """Statuses by which a receiver says that it is gone for good."""
    slow_max: ClassVar[int]
    """Requests to all slow ones at once."""
    shows_answers: ClassVar[bool] = True
    """False: what a receiver answers can have its URL in it, which is secret, so that only the status is kept."""
    hopeless: ClassVar[frozenset[int]] = frozenset()
    """Statuses after which another try of the same message would be the same."""

    def __init__(self, log: Log, topics: Topics, clock: Clock, kind: NamedRules[R], egress: EgressSettings) -> None:
        self.kind: NamedRules[R] = kind
        self.egress, self.pace = Egress(egress), Pace(clock, self.slow_max)
        self.rules: Sequence[Rule] = ()
        self.by_name: Mapping[str, R] = {}
        self.version = 0
        self.followed = Followed(log, topics.rules, kind.table, self._set)

    def _set(self, found: Announce) -> None:
        self.rules, self.version = found.rules, found.version
        self.by_name = {each.name: each for each in self.kind.of(found.rules)}
        self.pace.keep(set(self.by_name.values()), set(map(self.slow_with, self.by_name.values())))

    @property
    def objection(self) -> str | None:
        """Why they do not get what happens; None: they do."""
        return self.followed.objection

    def wanting(self, event: InstanceEvent, now_ms: int) -> list[R]:
        """Those that get this event."""
        return [each for each in self.by_name.values() if self.is_on(each, now_ms) and wants(each, event)]

    def slow_with(self, receiver: R) -> str:
        """Receivers with the same answer are slow together."""
        return receiver.name

    @abstractmethod
    def is_on(self, receiver: R, now_ms: int) -> bool:
        """True: it gets events."""

    @abstractmethod
    def posting(self, receiver: R, id: str, body: bytes, now_ms: int) -> Posting | None:
        """The request that sends an event to it; None: it is too late for that.

        Raises:
            NotSent: this process cannot make it.
        """

    @abstractmethod
    def after_gone(self, receiver: R, why: str) -> R | None:
        """What is kept of one that is gone; None: nothing."""


class WebhookReceivers(Receivers[Webhook]):
    """Webhooks: signed by Standard Webhooks. ``keys``: what their secrets are derived from, the newest first."""

    gone = frozenset({410})
    slow_max = 32

    def __init__(self, log: Log, topics: Topics, clock: Clock, keys: Sequence[bytes], egress: EgressSettings) -> None:
        super().__init__(log, topics, clock, WEBHOOKS, egress)
        self._namespace, self._keys = topics.namespace, keys

    def is_on(self, receiver: Webhook, now_ms: int) -> bool:
        return not receiver.disabled

    def posting(self, receiver: Webhook, id: str, body: bytes, now_ms: int) -> Posting:
        if not self._keys:
            raise NotSent("this process has no key for the signatures of webhooks; set SAGALINE_WEBHOOK_KEYS")
        secrets = secrets_of("webhook", receiver, self._keys, self._namespace, now_ms)
        signed = signed_headers(f"{self._namespace}-{id}", body, now_ms, secrets)
        headers = {**signed, "content-type": "application/cloudevents+json; charset=utf-8"}
        return Posting(receiver.url, body, headers)

    def after_gone(self, receiver: Webhook, why: str) -> Webhook:
        return replace(receiver, disabled=why)


class PushReceivers(Receivers[PushSubscription]):
    """Push subscriptions: encrypted for the browser, signed for its push service. ``key`` None: none can be sent."""

    prefix = PUSH
    gone = frozenset({404, 410})
    slow_max = 16  # any viewer can name addresses that hang, so fewer than of webhooks
    shows_answers = False
    hopeless = frozenset({413})  # a push service that takes less than RFC 8030 says

    def __init__(self, log: Log, topics: Topics, clock: Clock, key: PushKey | None, egress: EgressSettings) -> None:
        super().__init__(log, topics, clock, PUSHES, egress)
        self._key = key
        self._unopened = 0

    def _set(self, found: Announce) -> None:
        super()._set(found)
        self._unopened = sum(self._opened(each) is None for each in self.by_name.values())

    def _opened(self, receiver: PushSubscription) -> Endpoint | None:
        return self._key.open(receiver.name, receiver.sealed) if self._key is not None else None

    @property
    def objection(self) -> str | None:
        if not self._unopened:
            return super().objection
        lacks = "no key for the messages" if self._key is None else "another key than the one that sealed the addresses"
        return (
            f"this process has {lacks} of {self._unopened} push subscriptions; set "
            "SAGALINE_PUSH_KEY as for the API, or delete them: saga push list"
        )

    def slow_with(self, receiver: PushSubscription) -> str:
        return receiver.host

    def is_on(self, receiver: PushSubscription, now_ms: int) -> bool:
        return not receiver.has_ended(now_ms)

    def posting(self, receiver: PushSubscription, id: str, body: bytes, now_ms: int) -> Posting | None:
        message = json.loads(body)
        left = LIVES.total_seconds() - (now_ms - message["at_ms"]) / 1000
        if left <= 0:
            return None
        if self._key is None:
            raise NotSent("this process has no key for push messages; set SAGALINE_PUSH_KEY")
        if (endpoint := self._opened(receiver)) is None:  # which of the two keys is wrong, only an operator knows
            raise NotSent("the subscription was sealed by another key than SAGALINE_PUSH_KEY of this process")
        headers = {
            "ttl": str(int(min(left, LIVES.total_seconds()))),
            "urgency": _URGENCY.get(message["kind"], "normal"),
            "topic": _topic(message["instance"], endpoint.auth),
        }
        return Posting(*self._key.request(endpoint, body, headers, now_ms))

    def after_gone(self, receiver: PushSubscription, why: str) -> None:
        return None


def _topic(instance: str, secret: bytes) -> str:
    """A message that still waits at the push service is replaced by the next one of the same instance. The push service
    sees it, so a key that it does not know is in it: nobody there can try instances.
    """
    return base64.urlsafe_b64encode(hmac.digest(secret, instance.encode(), "sha256")).decode()[:_TOPIC_CHARS]
