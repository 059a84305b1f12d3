"""The books of the shipped examples: one row for every effect and one for every undo, in the file of their inbox.

The workers write only through ``note`` and ``take_back``, so every row is stored together with the inbox's entry. No
constraint prevents a second row for an effect: only the inbox does.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from sagaline.workers import Context

__all__ = ["BOOKS_SCHEMA", "Books", "Entry", "note", "take_back"]

BOOKS_SCHEMA = """
CREATE TABLE IF NOT EXISTS effects (what TEXT NOT NULL, subject TEXT NOT NULL, effect_key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS taken_back (effect_key TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS effects_key ON effects (effect_key);
"""


def note(ctx: Context, what: str, subject: str) -> None:
    """Records an effect for a subject, such as an order."""
    ctx.execute("INSERT INTO effects VALUES (?, ?, ?)", (what, subject, ctx.effect_key))


def take_back(ctx: Context) -> bool:
    """Records that the effect was undone. False: it never happened, and nothing is recorded."""
    if ctx.forward is None:
        return False
    ctx.execute("INSERT INTO taken_back VALUES (?)", (ctx.effect_key,))
    return True


class Entry(NamedTuple):
    """One effect: how often it was done and undone."""

    what: str
    subject: str
    effect_key: str
    done: int
    taken_back: int


class Books:
    """Reads the books. Its calls block for some milliseconds: from async code call them through a thread."""

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)

    def entries(self) -> list[Entry]:
        """Every effect, by key."""
        with closing(sqlite3.connect(self._path, timeout=5.0)) as connection:
            connection.executescript(BOOKS_SCHEMA)
            rows = connection.execute(
                "SELECT what, subject, effect_key, count(*),"
                " (SELECT count(*) FROM taken_back b WHERE b.effect_key = e.effect_key)"
                " FROM effects e GROUP BY effect_key ORDER BY effect_key"
            )
            return [Entry(*row) for row in rows]

    def standing(self, subject: str) -> list[str]:
        """The effects for a subject that were not undone, in alphabetical order."""
        return sorted(e.what for e in self.entries() if e.subject == subject and not e.taken_back)

    def wrong(self) -> list[Entry]:
        """Effects that were done or undone more than once: there must never be any."""
        return [entry for entry in self.entries() if entry.done != 1 or entry.taken_back > 1]
