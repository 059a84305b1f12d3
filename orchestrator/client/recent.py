"""``Recent``: the rules of a table for what checks every request by them, such as keys and hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog

from ..errors import TransientError
from ..messages.entity_messages import Rule
from .options import RequestOptions
from .parts import ClientParts
from .tables import RulesSet, Tables

__all__ = ["Recent"]

_log = structlog.get_logger("sagaline.client")

_FRESH_SECONDS = 0.25
_STALE_SECONDS = 60.0

T = TypeVar("T")


class Recent(Generic[T]):
    """What ``read`` makes of the rules of a table, at most a quarter of a second old.

    While the read model does not answer, or does not follow the log, what was known last, for up to a minute. A change
    by this client holds at once.
    """

    def __init__(self, parts: ClientParts, tables: Tables, table: str, read: Callable[[Sequence[Rule]], T]) -> None:
        self._parts, self._tables, self._table, self._of = parts, tables, table, read
        self._reading = asyncio.Lock()
        self._known, self._version = read(()), 0
        self._read_at = self._tried_at = float("-inf")

    async def current(self) -> T:
        """As it is now. A failed try counts for a quarter of a second too, so that requests do not queue for tries.

        Raises:
            TransientError: it is not known.
        """
        clock = self._parts.clock
        async with self._reading:
            if clock.monotonic() - self._tried_at >= _FRESH_SECONDS:
                began = clock.monotonic()
                try:
                    found = await self._tables.read(self._table)
                    if found.version >= self._version:
                        self._know(found.rules, found.version)
                        self._read_at = min(began, self._parts.projector.followed_at)
                except TransientError as error:
                    _log.warning("table.unavailable", table=self._table, reason=str(error))
                self._tried_at = clock.monotonic()
        if clock.monotonic() - self._read_at > _STALE_SECONDS:
            text = "the read model does not answer, or does not follow the log"
            raise TransientError(f"the table {self._table!r} cannot be read now: {text}; try again")
        return self._known

    async def change(self, change: Callable[[Sequence[Rule]], Sequence[Rule]], options: RequestOptions) -> RulesSet:
        """As ``Tables.change``; ``current`` of this client knows it at once."""
        changed: Sequence[Rule] = ()
        began = self._parts.clock.monotonic()

        def rules(before: Sequence[Rule]) -> Sequence[Rule]:
            nonlocal changed
            changed = change(before)
            return changed

        done = await self._tables.change(self._table, rules, options)
        if done.version > self._version:
            self._know(changed, done.version)
        self._read_at = max(self._read_at, began)
        return done

    def _know(self, rules: Sequence[Rule], version: int) -> None:
        self._known, self._version = self._of(rules), version
