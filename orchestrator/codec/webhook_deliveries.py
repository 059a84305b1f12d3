"""What is passed on for one webhook: an event of an instance, in ``topics.webhooks`` under ``webhook/instance``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from ..messages.instance_events import InstanceEvent
from ..messages.webhooks import Webhook
from .instance_events import event_json

__all__ = ["Delivery", "delivery"]


class Delivery(NamedTuple):
    """A record. Its key keeps the events of an instance in order."""

    key: str
    value: bytes
    headers: Mapping[str, str]


def delivery(webhook: Webhook, event: InstanceEvent, namespace: str, version: int) -> Delivery:
    """``version``: of the webhooks by which it was judged; a process that knows an older one does not send it yet."""
    headers = {
        "webhook": webhook.name,
        "created": str(webhook.created),
        "rules": str(version),
        "ce_id": event.id,
        "content-type": "application/cloudevents+json",
    }
    return Delivery(f"{webhook.name}/{event.instance}", json.dumps(event_json(event, namespace)).encode(), headers)
