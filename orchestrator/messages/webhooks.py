"""Webhooks: who wants to be told of what, as rules of the table ``events.webhooks``, one rule for each.

``to`` is the URL. ``when`` has the name, the conditions, and what operators have set. No secret is in it: the secret of
a webhook is derived from a key of the process's settings, its name and ``generation``, so rotating it counts one up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from pydantic import TypeAdapter, ValidationError

from ...sagas.contract import is_name
from .entity_messages import Rule
from .instance_events import EventType, InstanceEvent
from .values import JsonObject, first_mistake

__all__ = ["WEBHOOKS_TABLE", "Webhook", "check_webhook", "check_webhooks", "replaced", "webhook_rule", "webhooks_of"]

WEBHOOKS_TABLE: Final = "events.webhooks"
_WEBHOOKS_MAX: Final = 100
_CONDITIONS_MAX: Final = 50
_URL_CHARS_MAX: Final = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One receiver. All given conditions hold of an event that it gets; an empty one holds always.

    ``created``: another one for each creation under this name. ``generation``: of its secret.
    ``overlap_until_ms``: until then requests are signed with all secrets since ``overlap_from`` too.
    ``disabled``: why it gets nothing; empty: it is enabled.
    """

    name: str
    url: str
    types: tuple[EventType, ...] = ()
    definitions: tuple[str, ...] = ()
    created: int = 0
    generation: int = 1
    overlap_from: int = 0
    overlap_until_ms: int = 0
    disabled: str = ""

    def wants(self, event: InstanceEvent) -> bool:
        return (not self.types or event.type in self.types) and (
            not self.definitions or event.definition in self.definitions
        )


_WEBHOOK = TypeAdapter(Webhook)


def webhook_rule(webhook: Webhook) -> Rule:
    """Its rule; what is as by default is left out."""
    when: JsonObject = {"name": webhook.name, "created": webhook.created, "generation": webhook.generation}
    if webhook.types:
        when["types"] = [each.value for each in webhook.types]
    if webhook.definitions:
        when["definitions"] = list(webhook.definitions)
    if webhook.overlap_until_ms:
        when |= {"overlap_from": webhook.overlap_from, "overlap_until_ms": webhook.overlap_until_ms}
    if webhook.disabled:
        when["disabled"] = webhook.disabled
    return Rule(when=when, to=webhook.url)


def check_webhooks(rules: Sequence[Rule]) -> str | None:
    """What is wrong with them, and how to fix it; None: they are valid.

    What a newer release has written is nobody's mistake: of a rule that cannot be read only the name counts.
    """
    if len(rules) > _WEBHOOKS_MAX:
        return f"there are {len(rules):,} webhooks; keep at most {_WEBHOOKS_MAX:,}, or let one receiver pass events on"
    names = set[str]()
    for number, rule in enumerate(rules, start=1):
        name = rule.when.get("name")
        if not isinstance(name, str):
            return f"webhook {number} has no name; give it one of lower-case letters, digits and hyphens"
        if name in names:
            return f"webhook {number} has the name {name!r} of another one; choose another"
        names.add(name)
    return None


def check_webhook(webhook: Webhook) -> str | None:
    """What is wrong with one that is put here, and how to fix it; None: it is valid."""
    found = _read(webhook_rule(webhook))
    return found if isinstance(found, str) else None


def webhooks_of(rules: Sequence[Rule]) -> tuple[Webhook, ...]:
    """The webhooks of a table, without rules that a newer release has written and this one cannot read."""
    return tuple(found for found in map(_read, rules) if isinstance(found, Webhook))


def replaced(rules: Sequence[Rule], name: str, webhook: Webhook | None) -> list[Rule]:
    """The rules with ``webhook`` in place of the one of that name; None: without it. All others stay, also those that
    a newer release has written.
    """
    left = [each for each in rules if each.when.get("name") != name]
    return left if webhook is None else [*left, webhook_rule(webhook)]


def _read(rule: Rule) -> Webhook | str:
    known = {field.name for field in fields(Webhook)} - {"url"}
    if unknown := sorted(rule.when.keys() - known):
        return f"{', '.join(unknown)} is unknown; give name, types, definitions"
    try:
        found = _WEBHOOK.validate_python({**rule.when, "url": rule.to})
    except ValidationError as error:
        return ": ".join(first_mistake(error))
    if not is_name(found.name):
        return f"{found.name!r} is no name; use lower-case letters, digits and hyphens, as in 'billing'"
    if len(found.url) > _URL_CHARS_MAX:
        return f"the URL is longer than {_URL_CHARS_MAX:,} characters; register a shorter one"
    if max(len(found.types), len(found.definitions)) > _CONDITIONS_MAX:
        return f"it has more than {_CONDITIONS_MAX} types or definitions; give fewer, or none for all"
    if found.generation < 1:
        return f"generation is {found.generation}; it counts from 1"
    return found
