"""``Locks`` and ``Mailboxes``: holders and waiters of locks, waiters and kept events of mailboxes. Read-only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from ..messages.entities import Lock, Mailbox
from ..messages.entity_messages import lock_id, mailbox_id
from ..ports.read_model import WAITED, EntityFilter, ReadModel
from .asking import Asking

__all__ = ["EntitiesPage", "Locks", "Mailboxes"]

H = TypeVar("H")


class EntitiesPage(NamedTuple, Generic[H]):
    """One page of entities. ``cursor`` selects the next page; None: this is the last page."""

    entities: Sequence[H]
    cursor: str | None


class Locks:
    """Semantic locks; the view may be some milliseconds old. A lock without a holder does not exist."""

    def __init__(self, read_model: ReadModel, asking: Asking) -> None:
        self._read_model, self._asking = read_model, asking

    async def get(self, name: str) -> Lock | None:
        """A lock with its holder and waiters; None: it is free.

        Raises:
            TransientError: the read model has not caught up yet, or does not answer.
        """
        await self._asking.settled()
        found = await self._read_model.entity(lock_id(name))
        return found if isinstance(found, Lock) else None

    async def list(
        self, prefix: str = "", *, waiting: bool = False, limit: int = 50, cursor: str | None = None
    ) -> EntitiesPage[Lock]:
        """Locks that are held, by name.

        Args:
            prefix: only locks whose name starts with it.
            waiting: only locks that have waiters.
            limit: the largest number per page.
            cursor: from the page before.

        Raises:
            InvalidRequest: the cursor is not valid.
            TransientError: the read model has not caught up yet, or does not answer.
        """
        await self._asking.settled()
        where = EntityFilter(lock_id(prefix), WAITED if waiting else None)
        page = await self._read_model.entities(where, limit=limit, cursor=cursor)
        return EntitiesPage([each for each in page.entities if isinstance(each, Lock)], page.cursor)


class Mailboxes:
    """Mailboxes; the view may be some milliseconds old. A mailbox without waiters and kept events does not exist."""

    def __init__(self, read_model: ReadModel, asking: Asking) -> None:
        self._read_model, self._asking = read_model, asking

    async def get(self, event: str, key: str) -> Mailbox | None:
        """The mailbox of an event and key with its waiters and kept events; None: there is neither.

        Raises:
            TransientError: the read model has not caught up yet, or does not answer.
        """
        await self._asking.settled()
        found = await self._read_model.entity(mailbox_id(event, key))
        return found if isinstance(found, Mailbox) else None

    async def list(
        self, event: str | None = None, *, waiting: bool = False, limit: int = 50, cursor: str | None = None
    ) -> EntitiesPage[Mailbox]:
        """Mailboxes by event and key.

        Args:
            event: only mailboxes of this event.
            waiting: only mailboxes that have waiters.
            limit: the largest number per page.
            cursor: from the page before.

        Raises:
            InvalidRequest: the cursor is not valid.
            TransientError: the read model has not caught up yet, or does not answer.
        """
        await self._asking.settled()
        prefix = mailbox_id(event, "") if event is not None else "@mailbox/"
        page = await self._read_model.entities(
            EntityFilter(prefix, WAITED if waiting else None), limit=limit, cursor=cursor
        )
        return EntitiesPage([each for each in page.entities if isinstance(each, Mailbox)], page.cursor)
