"""``Webhooks``: registers, shows and changes who is told what happens to instances."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from ..codec.feed_cursors import Positions
from ..codec.webhook_deliveries import delivery
from ..errors import InvalidRequest, NotYetDecided, TransientError, UnknownWebhook
from ..messages.instance_events import EventType, InstanceEvent
from ..messages.webhooks import WEBHOOKS, Webhook
from ..ports.log import Outgoing
from .changes import Changes
from .options import PLAIN, RequestOptions
from .parts import ClientParts
from .registered import Changed, WithSecrets
from .tables import Tables
from .window import EventFilter, FeedPage

__all__ = ["Replayed", "Webhooks"]

_REPLAY_PAGE, _REPLAYED_MAX = 200, 1_000
_REPLAY_READS_MAX = 20
"""Each looks at some thousands of decisions; few of them may be wanted."""


class Replayed(NamedTuple):
    """``sent`` events are sent again, up to these positions. ``more``: others follow them."""

    sent: int
    positions: Positions
    more: bool


class Webhooks(WithSecrets[Webhook]):
    """All webhooks of the namespace: the rules of the table ``events.webhooks``. What waits for one that is deleted is
    not sent any more.
    """

    def __init__(self, tables: Tables, parts: ClientParts, changes: Changes) -> None:
        super().__init__(tables, WEBHOOKS, UnknownWebhook, parts)
        self._clock, self._namespace = parts.clock, parts.topics.namespace
        self._log, self._topic, self._changes = parts.log, parts.topics.webhooks, changes

    async def put(
        self,
        name: str,
        url: str,
        *,
        types: Sequence[EventType] = (),
        definitions: Sequence[str] = (),
        options: RequestOptions = PLAIN,
    ) -> Changed[Webhook]:
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

        return await self.change(name, change, options)

    async def replay(self, name: str, after: Positions, options: RequestOptions = PLAIN) -> Replayed:
        """Sends the events after these positions that the webhook wants again: the same ids, in order per instance,
        behind what waits for it; at most 1,000 at a time. Who has asked is in the history of the table before the first
        one is sent. Asked again it sends again, also with the same ``request_id``.

        Raises:
            UnknownWebhook: there is none of that name.
            InvalidRequest: it is disabled, so that they would not be sent; or a text is malformed.
            VersionConflict: others change the webhooks all the time. Nothing was sent.
            CursorTooOld: the history no longer has all of them.
            TransientError: no process has delivered to webhooks yet; or as ``Changes.read``. Some may be sent again.
        """
        table = await self._tables.read(WEBHOOKS.table)
        webhook = self.known(next((each for each in WEBHOOKS.of(table.rules) if each.name == name), None), name)
        if webhook.disabled:
            raise InvalidRequest(f"webhook {name!r} is disabled ({webhook.disabled}); enable it, then replay")
        if not await self._log.partitions(self._topic):
            raise TransientError("nothing was ever delivered to webhooks here; start one: saga webhooks serve")
        where = EventFilter(definitions=webhook.definitions, types=webhook.types)
        with suppress(NotYetDecided):  # the request is in the log
            cursor = self._changes.cursor_of(after)
            await self.noted(name, f"a replay to webhook {name} from {cursor} was asked for", options)
        page, count = FeedPage((), after, more=True), 0
        for _ in range(_REPLAY_READS_MAX):
            page = await self._changes.read(page.positions, where, limit=_REPLAY_PAGE)
            await self._log.append([self._again(webhook, each.event, table.version) for each in page.events])
            count += len(page.events)
            if not page.more or count >= _REPLAYED_MAX:
                break
        return Replayed(count, page.positions, page.more)

    def _again(self, webhook: Webhook, event: InstanceEvent, version: int) -> Outgoing:
        key, value, headers = delivery(webhook, event, self._namespace, version)
        return Outgoing(self._topic, key.encode(), value, tuple((at, text.encode()) for at, text in headers.items()))

    async def enable(self, name: str, options: RequestOptions = PLAIN) -> Changed[Webhook]:
        """Sends again to a webhook that was disabled because its receiver answered 410.

        Raises:
            UnknownWebhook: there is none of that name.
        """
        return await self.change(name, lambda before: replace(self.known(before, name), disabled=""), options)
