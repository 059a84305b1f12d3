"""``Webhooks``: registers, shows and changes who is told what happens to instances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

from ...sagas.policy import to_ms
from ..codec.feed_cursors import Positions
from ..codec.webhook_deliveries import delivery
from ..codec.webhook_signatures import secrets_of
from ..errors import InvalidRequest, NotYetDecided, TransientError, UnknownWebhook
from ..messages.entity_messages import Rule
from ..messages.instance_events import EventType, InstanceEvent
from ..messages.webhooks import WEBHOOKS_TABLE, Webhook, check_webhook, check_webhooks, replaced, webhooks_of
from ..ports.log import Outgoing
from .changes import Changes
from .options import PLAIN, RequestOptions
from .parts import ClientParts
from .tables import Tables
from .window import EventFilter, FeedPage

__all__ = ["Replayed", "WebhookChanged", "Webhooks"]

_OVERLAP = timedelta(hours=24)
_REPLAY_PAGE, _REPLAYED_MAX = 200, 1_000
_REPLAY_READS_MAX = 20
"""Each looks at some thousands of decisions; few of them may be wanted."""
_OVERLAPPING_MAX = 4
"""Secrets beside the newest one: a signature of each is in one header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookChanged:
    """A request was carried out. ``webhook``: as it is now, or was before it was deleted. ``created``: it is new."""

    webhook: Webhook
    created: bool
    trace_id: str | None


class Replayed(NamedTuple):
    """``sent`` events are sent again, up to these positions. ``more``: others follow them."""

    sent: int
    positions: Positions
    more: bool


class Webhooks:
    """All webhooks of the namespace: the rules of the table ``events.webhooks``.

    A request is decided through the log and answered when it is; two at the same time are carried out one after the
    other. Each raises ``InvalidRequest``, ``NotYetDecided``, ``LogUnavailable`` as ``Tables.set``, and
    ``VersionConflict`` when others change webhooks all the time.
    """

    def __init__(self, tables: Tables, parts: ClientParts, changes: Changes) -> None:
        self._tables, self._clock, self._namespace = tables, parts.clock, parts.topics.namespace
        self._log, self._topic, self._changes = parts.log, parts.topics.webhooks, changes

    def secret(self, webhook: Webhook, keys: Sequence[bytes]) -> str:
        """The newest secret of a webhook, as its receiver is given it. ``keys``: of the settings, at least one."""
        return secrets_of(webhook, keys, self._namespace, self._clock.now_ms())[0]

    async def list(self) -> Sequence[Webhook]:
        """All of them, by name.

        Raises:
            TransientError: the read model has not caught up yet, or does not answer.
        """
        return sorted(webhooks_of((await self._tables.read(WEBHOOKS_TABLE)).rules), key=lambda each: each.name)

    async def get(self, name: str) -> Webhook:
        """One webhook.

        Raises:
            UnknownWebhook: there is none of that name.
            TransientError: as ``list``.
        """
        return _named(await self.list(), name)

    async def put(
        self,
        name: str,
        url: str,
        *,
        types: Sequence[EventType] = (),
        definitions: Sequence[str] = (),
        options: RequestOptions = PLAIN,
    ) -> WebhookChanged:
        """Registers a webhook, or replaces its URL and conditions; it gets what happens from then on.

        Args:
            name: lower-case letters, digits and hyphens.
            url: where events are posted to.
            types: only events of these types; none: all.
            definitions: only of instances of these definitions; none: all.
            options: see ``RequestOptions``.
        """

        def change(before: Webhook | None) -> Webhook:
            # Never one that a deleted webhook of this name had: its receiver knows those secrets.
            now_ms = self._clock.now_ms()
            base = before or Webhook(name=name, url=url, created=now_ms, generation=now_ms)
            return replace(base, url=url, types=tuple(types), definitions=tuple(definitions))

        return await self._change(name, change, options)

    async def delete(self, name: str, options: RequestOptions = PLAIN) -> WebhookChanged:
        """Removes a webhook. What waits for it is not sent any more.

        Raises:
            UnknownWebhook: there is none of that name.
        """

        def change(before: Webhook | None) -> None:
            _known(before, name)

        return await self._change(name, change, options)

    async def rotate(self, name: str, overlap: timedelta = _OVERLAP, options: RequestOptions = PLAIN) -> WebhookChanged:
        """Gives a webhook a new secret. For the time of ``overlap`` requests are signed with both.

        Rotated again within that time they are signed with all since it began: whichever the receiver has stays good.

        Raises:
            UnknownWebhook: there is none of that name.
            InvalidRequest: five secrets count at once; ask for the newest one, or end the overlap by one of zero.
        """
        now_ms = self._clock.now_ms()

        def change(before: Webhook | None) -> Webhook:
            found = _known(before, name)
            first = found.overlap_from if now_ms < found.overlap_until_ms else found.generation
            if overlap and found.generation - first >= _OVERLAPPING_MAX:
                raise InvalidRequest(
                    f"{_OVERLAPPING_MAX + 1} secrets of webhook {name!r} count at once, and its receiver may have any "
                    "of them; ask for the newest one (`saga webhooks secret`) instead of rotating again, or rotate "
                    "with an overlap of 0 seconds, which ends all others now",
                    field="overlap_seconds",
                )
            until_ms = now_ms + to_ms(overlap)
            return replace(found, generation=found.generation + 1, overlap_from=first, overlap_until_ms=until_ms)

        return await self._change(name, change, options)

    async def reveal(self, name: str, options: RequestOptions = PLAIN) -> WebhookChanged:
        """Changes nothing, but is in the history of the table: who has asked for the secret, when and why.

        Raises:
            UnknownWebhook: there is none of that name.
        """
        return await self._noted(name, f"the secret of webhook {name} was asked for", options)

    async def replay(self, name: str, after: Positions, options: RequestOptions = PLAIN) -> Replayed:
        """Sends the events after these positions that the webhook wants again: the same ids, in order per instance,
        behind what waits for it; at most 1,000 at a time. Who has asked is in the history of the table.

        Raises:
            UnknownWebhook: there is none of that name.
            InvalidRequest: it is disabled, so that they would not be sent.
            CursorTooOld: the history no longer has all of them.
            TransientError: no process has delivered to webhooks yet; or as ``Changes.read``. Some may be sent again.
        """
        table = await self._tables.read(WEBHOOKS_TABLE)
        webhook = _named(webhooks_of(table.rules), name)
        if webhook.disabled:
            raise InvalidRequest(f"webhook {name!r} is disabled ({webhook.disabled}); enable it, then replay")
        if not await self._log.partitions(self._topic):
            raise TransientError("nothing was ever delivered to webhooks here; start one: saga webhooks serve")
        where = EventFilter(definitions=webhook.definitions, types=webhook.types)
        page, count = FeedPage((), after, more=True), 0
        for _ in range(_REPLAY_READS_MAX):
            page = await self._changes.read(page.positions, where, limit=_REPLAY_PAGE)
            await self._log.append([self._again(webhook, each.event, table.version) for each in page.events])
            count += len(page.events)
            if not page.more or count >= _REPLAYED_MAX:
                break
        with suppress(NotYetDecided):  # the request is in the log
            await self._noted(name, f"{count:,} events were sent again to webhook {name}", options)
        return Replayed(count, page.positions, page.more)

    def _again(self, webhook: Webhook, event: InstanceEvent, version: int) -> Outgoing:
        key, value, headers = delivery(webhook, event, self._namespace, version)
        return Outgoing(self._topic, key.encode(), value, tuple((at, text.encode()) for at, text in headers.items()))

    async def _noted(self, name: str, what: str, options: RequestOptions) -> WebhookChanged:
        """Changes nothing, and is decided and kept as a change is."""
        reason = f"{what}: {options.reason}" if options.reason else what
        return await self._change(name, lambda before: _known(before, name), replace(options, reason=reason))

    async def enable(self, name: str, options: RequestOptions = PLAIN) -> WebhookChanged:
        """Sends again to a webhook that was disabled because its receiver answered 410.

        Raises:
            UnknownWebhook: there is none of that name.
        """
        return await self._change(name, lambda before: replace(_known(before, name), disabled=""), options)

    async def _change(
        self, name: str, change: Callable[[Webhook | None], Webhook | None], options: RequestOptions
    ) -> WebhookChanged:
        before: Webhook | None = None
        after: Webhook | None = None

        def rules(found: Sequence[Rule]) -> Sequence[Rule]:
            nonlocal before, after
            before = next((each for each in webhooks_of(found) if each.name == name), None)
            if before is None and any(each.when.get("name") == name for each in found):
                raise InvalidRequest(f"webhook {name!r} was put by a newer release of Sagaline; change it by that one")
            after = change(before)
            changed = list(found) if after == before else replaced(found, name, after)
            wrong = None if after is None else check_webhook(after)
            if (wrong := wrong or check_webhooks(changed)) is not None:
                raise InvalidRequest(wrong)
            return changed

        done = await self._tables.change(WEBHOOKS_TABLE, rules, options)
        shown = after or before
        assert shown is not None
        return WebhookChanged(webhook=shown, created=before is None, trace_id=done.trace_id)


def _named(webhooks: Sequence[Webhook], name: str) -> Webhook:
    return _known(next((each for each in webhooks if each.name == name), None), name)


def _known(found: Webhook | None, name: str) -> Webhook:
    if found is None:
        raise UnknownWebhook(name)
    return found
