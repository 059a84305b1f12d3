"""``Pushes``: registers, shows and removes the browsers that are told what happens to instances."""

from __future__ import annotations

from dataclasses import replace

from ..codec.webhook_deliveries import push_test
from ..errors import TransientError, UnknownPush
from ..messages.pushes import PUSHES, PushSubscription
from ..ports.log import Outgoing
from .options import PLAIN, RequestOptions
from .parts import ClientParts
from .registered import Changed, May, Registered, anyone
from .tables import Tables

__all__ = ["Pushes"]


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
        """

        def change(before: PushSubscription | None) -> PushSubscription:
            return replace(subscription, created=before.created if before else self._parts.clock.now_ms())

        return await self.change(subscription.name, change, options)

    async def test(self, name: str, *, may: May[PushSubscription] = anyone) -> PushSubscription:
        """Sends a message that is about no instance. Asked again it sends again.

        Args:
            name: of the subscription.
            may: whether the caller may see it.

        Raises:
            UnknownPush: there is none of that name that the caller may see.
            TransientError: no process has delivered yet; or the read model does not answer.
        """
        table = await self._tables.read(PUSHES.table)
        found = self.known(
            next((each for each in PUSHES.of(table.rules) if each.name == name and may(each)), None), name
        )
        clock, topic = self._parts.clock, self._parts.topics.webhooks
        if not await self._parts.log.partitions(topic):
            raise TransientError("nothing was ever delivered here; start a process that does: saga webhooks serve")
        key, value, headers = push_test(found, f"test-{clock.new_id()}", clock.now_ms(), table.version)
        sent = tuple((at, text.encode()) for at, text in headers.items())
        await self._parts.log.append([Outgoing(topic, key.encode(), value, sent)])
        return found
