"""What handlers send: the records of what they published and wrote, which leave with the position of the message.

A record that cannot be written would fail the commit, and with it the partition. So each is checked first, and fails
the attempt of its message alone. A topic is looked up once; when a partition is taken again, as after a failed commit,
each is looked up anew.
"""

from __future__ import annotations

from pydantic import BaseModel

from ..orchestrator.codec.entities import encode_entity_message
from ..orchestrator.messages.entity_messages import publication
from ..orchestrator.ports.clock import Clock
from ..orchestrator.ports.log import Log, Outgoing, check_size
from ..orchestrator.ports.topics import WEBHOOK_FAN_OUT, Topics
from ..orchestrator.vault import Vault
from ..sagas.models import as_json
from .message import Message

__all__ = ["Sending"]


class Sending:
    """Of one consumer.

    Args:
        group: its group.
        source: its name in CloudEvents.
        log: what it writes to.
        topics: of the namespace.
        clock: for events.
        vault: seals the personal values in them.
    """

    def __init__(self, group: str, source: str, log: Log, topics: Topics, clock: Clock, *, vault: Vault) -> None:
        self._group, self._source, self._log, self._topics, self._clock = group, source, log, topics, clock
        self._vault = vault
        self._known: set[str] = set()

    def knows(self, message: Message | None) -> bool:
        """Nothing has to be looked up for ``records``."""
        if message is None or not message.sends:
            return True
        is_sealed = not any(isinstance(each.body, BaseModel) for each in message.publications)
        return is_sealed and all(each.topic in self._known for each in message.written)

    def forget(self) -> None:
        """Topics may have been deleted."""
        self._known.clear()

    async def look(self, message: Message | None) -> None:
        """Looks up where the handler wrote to, and seals what it has published.

        Raises:
            ValueError: a topic does not exist; the attempt has failed.
            LogUnavailable: the log does not answer; the attempt has failed.
        """
        for topic in {each.topic for each in message.written} - self._known if message is not None else ():
            if not await self._log.partitions(topic):
                raise ValueError(f"topic {topic!r} does not exist; create it, or correct the name")
            self._known.add(topic)
        for each in message.publications if message is not None else ():
            await self._vault.seal(each.body)

    def records(self, message: Message | None) -> list[Outgoing]:
        """What the handler published and wrote; ids of events are the same at a second delivery.

        Raises:
            ValueError, ValueTooLarge: one of them cannot be written; the attempt has failed.
        """
        if message is None or not message.sends:
            return []
        found: list[Outgoing] = []
        for number, (event, key, body) in enumerate(message.publications, start=1):
            id = f"{self._group}/{message.place}/{number}"
            sealed = as_json(body, event.model) if isinstance(body, BaseModel) else body
            published = publication(event, key, sealed, id=id, source=self._source)
            outgoing = encode_entity_message(
                self._topics.inputs,
                published,
                source=self._source,
                now_ms=self._clock.now_ms(),
                traceparent=message.traceparent,
            )
            what = f"the event {event.name!r} that the handler published"
            check_size(outgoing, what, self._log.max_value_bytes)
            found.append(outgoing)
        for written in message.written:
            is_courier = self._group == WEBHOOK_FAN_OUT and written.topic == self._topics.webhooks
            if self._topics.owns(written.topic) and not is_courier:
                raise ValueError(f"topic {written.topic!r} is written by Sagaline only; write to one of your own")
            check_size(written, f"the record for {written.topic!r}", self._log.max_value_bytes)
        return [*found, *message.written]
