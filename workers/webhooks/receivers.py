"""The kinds of receivers: all that are registered now, and how an event is sent to one of them.

What is the same for all (the order, retries, limits, the way out) is the courier's.
"""

from __future__ import annotations

import base64
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Final, Generic, NamedTuple, TypeVar

from ...orchestrator.codec.webhook_deliveries import PUSH
from ...orchestrator.codec.webhook_signatures import secrets_of, signed_headers
from ...orchestrator.errors import SagalineError
from ...orchestrator.messages.entity_messages import Rule
from ...orchestrator.messages.instance_events import EventType, InstanceEvent
from ...orchestrator.messages.named_rules import NamedRules
from ...orchestrator.messages.outputs import Announce
from ...orchestrator.messages.pushes import PUSHES, PushSubscription
from ...orchestrator.messages.receivers import wants
from ...orchestrator.messages.webhooks import WEBHOOKS, Webhook
from ...orchestrator.ports.log import Log
from ...orchestrator.ports.topics import Topics
from ..followed import Followed

if TYPE_CHECKING:
    from ...orchestrator.push import PushKey

__all__ = ["LIVES", "NotSent", "Posting", "PushReceivers", "R", "Receivers", "WebhookReceivers"]

LIVES: Final = timedelta(days=2)
"""A push message that is older is not sent, and none is kept longer by a push service; the courier tries longer."""
_URGENCY: Final = {EventType.ATTENTION.value: "high", EventType.CHANGED.value: "low", "test": "high"}
_TOPIC_CHARS: Final = 32
R = TypeVar("R", Webhook, PushSubscription)


class NotSent(SagalineError):
    """Nothing was sent to the receiver now; it gets the event later."""


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
        kind: how they are kept.
        prefix: before the name of one in a delivery.
        gone: statuses by which a receiver says that it is gone for good.
    """

    hopeless: ClassVar[frozenset[int]] = frozenset()
    """Statuses after which another try of the same message would be the same."""

    def __init__(self, log: Log, topics: Topics, kind: NamedRules[R], *, prefix: str, gone: frozenset[int]) -> None:
        self.kind: NamedRules[R] = kind
        self.prefix, self.gone = prefix, gone
        self.rules: Sequence[Rule] = ()
        self.by_name: Mapping[str, R] = {}
        self.version = 0
        self.followed = Followed(log, topics.rules, kind.table, self._set)

    def _set(self, found: Announce) -> None:
        self.rules, self.version = found.rules, found.version
        self.by_name = {each.name: each for each in self.kind.of(found.rules)}

    def wanting(self, event: InstanceEvent, now_ms: int) -> list[R]:
        """Those that get this event."""
        return [each for each in self.by_name.values() if self.is_on(each, now_ms) and wants(each, event)]

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

    def __init__(self, log: Log, topics: Topics, keys: Sequence[bytes]) -> None:
        super().__init__(log, topics, WEBHOOKS, prefix="", gone=frozenset({410}))
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

    hopeless = frozenset({413})  # a push service that takes less than RFC 8030 says

    def __init__(self, log: Log, topics: Topics, key: PushKey | None) -> None:
        super().__init__(log, topics, PUSHES, prefix=PUSH, gone=frozenset({404, 410}))
        self._key = key

    def is_on(self, receiver: PushSubscription, now_ms: int) -> bool:
        return not receiver.has_ended(now_ms)

    def posting(self, receiver: PushSubscription, id: str, body: bytes, now_ms: int) -> Posting | None:
        message = json.loads(body)
        left = LIVES.total_seconds() - (now_ms - message["at_ms"]) / 1000
        if left <= 0:
            return None
        if self._key is None:
            raise NotSent("this process has no key for push messages; set SAGALINE_PUSH_KEY")
        endpoint = self._key.open(receiver.name, receiver.sealed)
        if endpoint is None:  # of another key: the push service would refuse this one
            return None
        headers = {
            "ttl": str(int(min(left, LIVES.total_seconds()))),
            "urgency": _URGENCY.get(message["kind"], "normal"),
            "topic": _topic(message["instance"]),
        }
        return Posting(*self._key.request(endpoint, body, headers, now_ms))

    def after_gone(self, receiver: PushSubscription, why: str) -> None:
        return None


def _topic(instance: str) -> str:
    """A message that still waits at the push service is replaced by the next one of the same instance."""
    return base64.urlsafe_b64encode(hashlib.sha256(instance.encode()).digest()).decode()[:_TOPIC_CHARS]
