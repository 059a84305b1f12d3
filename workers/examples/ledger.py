"""The books of the order checkout: the effects of the three workers, one row each, in the file of their inbox.

The workers write only through ``ctx.execute``, so every row is stored together with the inbox's entry. No table
prevents a second row for an effect key: only the inbox does, and the books would show a second effect.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ["LEDGER_SCHEMA", "Ledger", "OrderBooks"]

LEDGER_SCHEMA = """
CREATE TABLE IF NOT EXISTS reservations (order_id TEXT NOT NULL, effect_key TEXT NOT NULL, lines INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS releases (order_id TEXT NOT NULL, effect_key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS charges (order_id TEXT NOT NULL, effect_key TEXT NOT NULL, amount_cents INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS refunds (order_id TEXT NOT NULL, effect_key TEXT NOT NULL, amount_cents INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS bookings (order_id TEXT NOT NULL, effect_key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cancellations (order_id TEXT NOT NULL, effect_key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS shipments (order_id TEXT NOT NULL, effect_key TEXT NOT NULL, tracking_number TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS crashes (effect_key TEXT PRIMARY KEY);
CREATE INDEX IF NOT EXISTS reservations_effect ON reservations (effect_key);
CREATE INDEX IF NOT EXISTS charges_effect ON charges (effect_key);
CREATE INDEX IF NOT EXISTS bookings_effect ON bookings (effect_key);
"""

_BOOKS = ("reservations", "releases", "charges", "refunds", "bookings", "cancellations", "shipments")


class OrderBooks(NamedTuple):
    """How often each thing was done for an order."""

    order_id: str
    reservations: int = 0
    releases: int = 0
    charges: int = 0
    refunds: int = 0
    bookings: int = 0
    cancellations: int = 0
    shipments: int = 0


class Ledger:
    """Reads the books. Its calls block for some milliseconds: from async code call them through a thread."""

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)

    def orders(self) -> dict[str, OrderBooks]:
        """The effects, by order."""
        books: dict[str, OrderBooks] = {}
        with self._open() as connection:
            for table in _BOOKS:
                query = f"SELECT order_id, count(*) FROM {table} GROUP BY order_id"  # nosec B608  # a table of ours
                for order_id, count in connection.execute(query):
                    books[order_id] = books.get(order_id, OrderBooks(order_id))._replace(**{table: count})
        return books

    def open_charges(self) -> list[str]:
        """Orders that are charged but neither shipped nor refunded: when every flow has ended there must be none."""
        return [b.order_id for b in self.orders().values() if b.charges > b.refunds and not b.shipments]

    def done_twice(self) -> list[tuple[str, str, int]]:
        """Table, effect key and count of effects that were applied more than once: there must never be any."""
        with self._open() as connection:
            return [
                (table, effect_key, count)
                for table in _BOOKS
                for effect_key, count in connection.execute(
                    f"SELECT effect_key, count(*) FROM {table} GROUP BY effect_key HAVING count(*) > 1"  # nosec B608
                )
            ]

    def first_crash(self, effect_key: str) -> bool:
        """True once per effect key, even if the process is killed afterwards."""
        with self._open() as connection:
            before = connection.total_changes
            connection.execute("INSERT OR IGNORE INTO crashes VALUES (?)", (effect_key,))
            return connection.total_changes > before

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=5.0, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(LEDGER_SCHEMA)
            yield connection
