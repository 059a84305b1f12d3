"""``Pushes``: registers, shows and removes the browsers that are told what happens to instances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from ..codec.webhook_deliveries import push_test
from ..errors import InvalidRequest, TransientError, UnknownPush
from ..messages.entity_messages import Rule
from ..messages.pushes import PUSHES, PushSubscription
from ..ports.log import Outgoing
from .options import PLAIN, RequestOptions
from .parts import ClientParts
from .registered import Changed, May, Registered, anyone
from .tables import Tables

__all__ = ["Pushes"]

_OWN_MAX: Final = 20
"""Subscriptions of one owner: the table is shared by all."""


class Pushes(Registered[PushSubscription]):
    """All push subscriptions of the namespace: the rules of the table ``events.push``."""

    def __init__(self, tables: Tables, parts: ClientParts) -> None:
        super().__init__(tables, PUSHES, UnknownPush)
        self._parts = parts

    async def put(self, subscription: PushSubscription, options: RequestOptions = PLAIN) -> Changed[PushSubscription]:
        """Registers a browser, or replaces all that is known of it. It gets what happens from then on.

        Args:
            subscription: its name and contents belong together, see ``push_name`` and ``PushKey.seal``.
            options: see ``RequestOptions``.

        Raises:
            InvalidRequest: a part of it is wrong, or its owner has 20 others; delete one.
        """

        def change(before: PushSubscription | None) -> PushSubscription:
            return replace(subscription, created=before.created if before else self._parts.clock.now_ms())

        return await self.change(subscription.name, change, options)

    def _changed(self, rules: Sequence[Rule], name: str, thing: PushSubscription | None) -> Sequence[Rule]:
        """Without those that have ended, so that nobody has to remove them; and with a limit for each owner."""
        if thing is not None:
            now_ms, kept = self._parts.clock.now_ms(), PUSHES.of(rules)
            for each in kept:
                if each.has_ended(now_ms):
                    rules = PUSHES.replaced(rules, each.name, None)
            own = [each.name for each in kept if each.by == thing.by and not each.has_ended(now_ms)]
            if name not in own and len(own) >= _OWN_MAX:
                raise InvalidRequest(
                    f"{thing.by or 'nobody'!r} has {len(own)} push subscriptions, at most {_OWN_MAX} are kept; delete "
                    "those of browsers that are no longer used: saga push list, saga push delete"
                )
        return super()._changed(rules, name, thing)

    async def test(
        self,
        name: str,
        *,
        may: May[PushSubscription] = anyone,
        opens: Callable[[PushSubscription], bool] = anyone,
    ) -> PushSubscription:
        """Sends a message that is about no instance. Asked again it sends again.

        Args:
            name: of the subscription.
            may: whether the caller may see it.
            opens: whether this process has the key that it was sealed by.

        Raises:
            InvalidRequest: nothing can arrive: it has ended, or was sealed by another key.
            UnknownPush: there is none of that name that the caller may see.
            TransientError: no process has delivered yet; or the read model does not answer.
        """
        table = await self._tables.read(PUSHES.table)
        found = self.known(
            next((each for each in PUSHES.of(table.rules) if each.name == name and may(each)), None), name
        )
        clock, topic = self._parts.clock, self._parts.topics.webhooks
        if found.has_ended(clock.now_ms()):
            raise InvalidRequest(f"push subscription {name!r} has ended; let the browser subscribe again")
        if not opens(found):
            raise InvalidRequest(
                f"push subscription {name!r} was sealed by another key than this server has; let the browser subscribe "
                "again, or set SAGALINE_PUSH_KEY as it was"
            )
        if not await self._parts.log.partitions(topic):
            raise TransientError("nothing was ever delivered here; start a process that does: saga webhooks serve")
        key, value, headers = push_test(found, f"test-{clock.new_id()}", clock.now_ms(), table.version)
        sent = tuple((at, text.encode()) for at, text in headers.items())
        await self._parts.log.append([Outgoing(topic, key.encode(), value, sent)])
        return found
