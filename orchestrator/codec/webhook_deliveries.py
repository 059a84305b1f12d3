"""What is passed on for one receiver: an event of an instance, in ``topics.webhooks`` under ``receiver/instance``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from ..messages.instance_events import InstanceEvent
from ..messages.pushes import PushSubscription
from ..messages.values import JsonObject
from ..messages.webhooks import Webhook
from .instance_events import event_json

__all__ = ["PUSH", "Delivery", "delivery", "push_test"]

PUSH = "push:"
"""Before the name of a push subscription, where a webhook has its name alone; no name has a colon."""
_INSTANCE_BYTES_MAX = 800
"""Of an instance in a push message; its URL has at most three times as many."""


class Delivery(NamedTuple):
    """A record. Its key keeps the events of an instance in order."""

    key: str
    value: bytes
    headers: Mapping[str, str]


def delivery(receiver: Webhook | PushSubscription, event: InstanceEvent, namespace: str, version: int) -> Delivery:
    """``version``: of the receivers by which it was judged; a process that knows an older one does not send it yet."""
    if isinstance(receiver, Webhook):
        value = event_json(event, namespace)
    else:
        status = event.status.value if event.status is not None else None
        value = _push(event.id, event.type.value, event.instance, status, event.at_ms)
    return _delivery(receiver, event.instance, value, event.id, version)


def push_test(receiver: PushSubscription, id: str, now_ms: int, version: int) -> Delivery:
    """A message that is about no instance, to see whether messages arrive."""
    value = _push(id, "test", "", None, now_ms)
    return _delivery(receiver, "test", value, id, version)


def _push(id: str, kind: str, instance: str, status: str | None, at_ms: int) -> JsonObject:
    """What a browser is told: what happened to which instance, and where to look. No contents, and no reason: that is a
    text of people. An instance that is too long for a message is left out, and the URL is that of the overview.
    """
    fits = len(instance.encode()) <= _INSTANCE_BYTES_MAX
    definition, _, key = instance.partition("/")
    url = f"/#/instances/{quote(definition, safe='')}/{quote(key, safe='')}" if instance and fits else "/"
    shown = instance if fits else f"{definition}/…"
    return {"id": id, "kind": kind, "instance": shown, "status": status, "at_ms": at_ms, "url": url}


def _delivery(
    receiver: Webhook | PushSubscription, instance: str, value: JsonObject, id: str, version: int
) -> Delivery:
    is_webhook = isinstance(receiver, Webhook)
    name = receiver.name if is_webhook else f"{PUSH}{receiver.name}"
    headers = {
        "webhook": name,
        "created": str(receiver.created),
        "rules": str(version),
        "ce_id": id,
        "content-type": "application/cloudevents+json" if is_webhook else "application/json",
    }
    return Delivery(f"{name}/{instance}", json.dumps(value).encode(), headers)
