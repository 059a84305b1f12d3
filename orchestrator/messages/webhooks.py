"""Webhooks: who wants to be told of what, as rules of the table ``events.webhooks``; ``to`` is the URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .instance_events import EventType, InstanceEvent
from .named_rules import NamedRules, Secret

__all__ = ["WEBHOOKS", "Webhook"]

_CONDITIONS_MAX: Final = 50
_URL_CHARS_MAX: Final = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook(Secret):
    """One receiver. All given conditions hold of an event that it gets; an empty one holds always.

    ``created``: another one for each creation under this name.
    ``disabled``: why it gets nothing; empty: it is enabled.
    """

    url: str
    types: tuple[EventType, ...] = ()
    definitions: tuple[str, ...] = ()
    created: int = 0
    disabled: str = ""

    def wants(self, event: InstanceEvent) -> bool:
        return (not self.types or event.type in self.types) and (
            not self.definitions or event.definition in self.definitions
        )


def _wrong(webhook: Webhook) -> str | None:
    if len(webhook.url) > _URL_CHARS_MAX:
        return f"the URL is longer than {_URL_CHARS_MAX:,} characters; register a shorter one"
    if max(len(webhook.types), len(webhook.definitions)) > _CONDITIONS_MAX:
        return f"it has more than {_CONDITIONS_MAX} types or definitions; give fewer, or none for all"
    return None


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
