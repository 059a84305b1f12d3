"""``Locks`` and ``Mailboxes``: who holds what, who waits for whom, which events are kept. They only show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from ..messages.entities import Lock, Mailbox
from ..messages.entity_messages import lock_id, mailbox_id
from ..ports.read_model import EntityFilter, ReadModel
from .asking import Asking

__all__ = ["EntitiesPage", "Locks", "Mailboxes"]

H = TypeVar("H")


class EntitiesPage(NamedTuple, Generic[H]):
    """``cursor`` leads to the next page; None: this is the last."""

    entities: Sequence[H]
    cursor: str | None


class Locks:
    """Semantic locks, as of some milliseconds ago. A lock that nobody holds does not exist."""

    def __init__(self, read_model: ReadModel, asking: Asking) -> None:
        self._read_model, self._asking = read_model, asking

    async def get(self, name: str) -> Lock | None:
        """Who holds a lock and who waits for it; None: nobody.

        Raises:
            TransientError: the read model has not followed yet, or does not answer.
        """
        await self._asking.settled()
        found = await self._read_model.entity(lock_id(name))
        return found if isinstance(found, Lock) else None

    async def list(
        self, prefix: str = "", *, waiting: bool = False, limit: int = 50, cursor: str | None = None
    ) -> EntitiesPage[Lock]:
        """Locks that are held, by name.

        Args:
            prefix: only those whose name begins so.
            waiting: only those for which somebody waits.
            limit: at most so many on a page.
            cursor: of the page before.

        Raises:
            InvalidRequest: the cursor is not one of ours.
            TransientError: the read model has not followed yet, or does not answer.
        """
        await self._asking.settled()
        where = EntityFilter(lock_id(prefix), waiting)
        page = await self._read_model.entities(where, limit=limit, cursor=cursor)
        return EntitiesPage([each for each in page.entities if isinstance(each, Lock)], page.cursor)


class Mailboxes:
    """Mailboxes, as of some milliseconds ago. One without a kept event and without anybody who waits does not exist."""

    def __init__(self, read_model: ReadModel, asking: Asking) -> None:
        self._read_model, self._asking = read_model, asking

    async def get(self, event: str, key: str) -> Mailbox | None:
        """Who waits for an event of that key, and which ones are kept; None: nobody and none.

        Raises:
            TransientError: the read model has not followed yet, or does not answer.
        """
        await self._asking.settled()
        found = await self._read_model.entity(mailbox_id(event, key))
        return found if isinstance(found, Mailbox) else None

    async def list(
        self, event: str | None = None, *, waiting: bool = False, limit: int = 50, cursor: str | None = None
    ) -> EntitiesPage[Mailbox]:
        """Mailboxes by event and key.

        Args:
            event: only of this one.
            waiting: only those at which somebody waits.
            limit: at most so many on a page.
            cursor: of the page before.

        Raises:
            InvalidRequest: the cursor is not one of ours.
            TransientError: the read model has not followed yet, or does not answer.
        """
        await self._asking.settled()
        prefix = mailbox_id(event, "") if event is not None else "@mailbox/"
        page = await self._read_model.entities(EntityFilter(prefix, waiting), limit=limit, cursor=cursor)
        return EntitiesPage([each for each in page.entities if isinstance(each, Mailbox)], page.cursor)
