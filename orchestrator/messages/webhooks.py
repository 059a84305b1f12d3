"""Webhooks: who wants to be told of what, as rules of the table ``events.webhooks``; ``to`` is the URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .instance_events import EventType
from .named_rules import NamedRules, Secret
from .receivers import conditions_wrong

__all__ = ["WEBHOOKS", "Webhook"]

_URL_CHARS_MAX: Final = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook(Secret):
    """One ``Receiver``. ``disabled``: why it gets nothing; empty: it is enabled."""

    url: str
    types: tuple[EventType, ...] = ()
    definitions: tuple[str, ...] = ()
    created: int = 0
    disabled: str = ""


def _wrong(webhook: Webhook) -> str | None:
    if len(webhook.url) > _URL_CHARS_MAX:
        return f"the URL is longer than {_URL_CHARS_MAX:,} characters; register a shorter one"
    return conditions_wrong(webhook)


WEBHOOKS: Final = NamedRules(
    table="events.webhooks",
    noun="webhook",
    kind=Webhook,
    to="url",
    most=100,
    more="or let one receiver pass events on",
    hint="name, types, definitions",
    wrong=_wrong,
)
