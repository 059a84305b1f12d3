"""One SQLite transaction for the work of many callers, and the writer's cache between transactions.

Records, removals and positions are collected and written by a few statements with many rows each: a statement releases
the interpreter's lock once per row, and must get it back from the event loop each time.

``Memory`` (next offsets, epochs) is valid as long as no other process writes the file; the writer clears it when
SQLite's ``data_version`` shows such a write, and after every rollback.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from .schema import first_id, past_last_id

__all__ = ["Memory", "Row", "Transaction"]

_ROWS_PER_STATEMENT = 64


class Row(NamedTuple):
    """A record without its offset."""

    part: int
    key: bytes | None
    value: bytes | None
    headers: bytes | None
    erases: bool = False
    """The earlier records of its key are removed, and overwritten on the disk."""


class Memory:
    def __init__(self) -> None:
        self.next_ids: dict[int, int] = {}
        self.epochs: dict[tuple[str, int], int] = {}

    def forget(self) -> None:
        self.next_ids.clear()
        self.epochs.clear()


@cache
def _insert(rows: int) -> str:
    return "INSERT INTO records VALUES " + ",".join(["(?,?,?,?,?)"] * rows)  # nosec B608  # only question marks


@cache
def _remove(rows: int) -> str:
    return f"DELETE FROM records WHERE id IN ({','.join('?' * rows)})"  # nosec B608  # only question marks


@cache
def _advance(rows: int) -> str:
    return "INSERT OR REPLACE INTO positions VALUES " + ",".join(["(?,?,?)"] * rows)


class Transaction:
    """Between BEGIN and COMMIT, in the writer's thread."""

    def __init__(self, connection: sqlite3.Connection, memory: Memory, now_ms: int) -> None:
        self.connection = connection
        self.now_ms = now_ms
        self.ends: dict[int, int] = {}
        """The next id of every partition that got records."""
        self.groups_changed = False
        self.scrubbed = False
        """Something was erased: what the journal still has of it must go too."""
        self._memory = memory
        self._inserts: list[object] = []
        self._removals: list[int] = []
        self._positions: dict[tuple[str, int], int] = {}
        self._erased: list[tuple[int, int, bytes | None]] = []

    def append(self, rows: Iterable[Row]) -> list[int]:
        """Gives each row the next offset of its partition; returns the ids in the same order."""
        next_ids, now_ms, add, ids = self._memory.next_ids, self.now_ms, self._inserts.extend, []
        for part, key, value, headers, erases in rows:
            record_id = next_ids.get(part)
            if record_id is None:
                record_id = self._next_id(part)
            next_ids[part] = self.ends[part] = record_id + 1
            add((record_id, key, value, headers, now_ms))
            ids.append(record_id)
            if erases:
                self.scrubbed = self.scrubbed or value is None
                self._erased.append((first_id(part), record_id, key))
        return ids

    def remove(self, ids: Sequence[int]) -> None:
        self._removals += ids

    def advance(self, group: str, part: int, next_offset: int) -> None:
        self._positions[group, part] = next_offset

    def epoch(self, group: str, part: int) -> int:
        """The current epoch; 0 before the first take."""
        found = self._memory.epochs.get((group, part))
        if found is None:
            row = self.connection.execute(
                "SELECT epoch FROM epochs WHERE grp = ? AND part = ?", (group, part)
            ).fetchone()
            found = self._memory.epochs[group, part] = row[0] if row else 0
        return found

    def bump(self, group: str, part: int) -> int:
        """Increases the epoch: fences all holders of an earlier one."""
        epoch = self.epoch(group, part) + 1
        self.connection.execute("INSERT OR REPLACE INTO epochs VALUES (?, ?, ?)", (group, part, epoch))
        self._memory.epochs[group, part] = epoch
        return epoch

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Runs one statement, after everything collected before it."""
        self.flush()
        return self.connection.execute(sql, parameters)

    def regroup(self) -> None:
        """Makes every member of every group, here and in other processes, read the assignment again."""
        if not self.groups_changed:
            self.execute("UPDATE generation SET value = value + 1")
            self.groups_changed = True

    def flush(self) -> None:
        width = 5
        for start in range(0, len(self._inserts), width * _ROWS_PER_STATEMENT):
            chunk = self._inserts[start : start + width * _ROWS_PER_STATEMENT]
            self.connection.execute(_insert(len(chunk) // width), chunk)
        for start in range(0, len(self._removals), _ROWS_PER_STATEMENT):
            ids = self._removals[start : start + _ROWS_PER_STATEMENT]
            self.connection.execute(_remove(len(ids)), ids)
        rows = list(self._positions.items())
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            some = rows[start : start + _ROWS_PER_STATEMENT]
            flat = [field for (group, part), next_offset in some for field in (group, part, next_offset)]
            self.connection.execute(_advance(len(some)), flat)
        if self._erased:
            self.connection.executemany("DELETE FROM records WHERE id >= ? AND id < ? AND key = ?", self._erased)
        self._inserts, self._removals, self._positions, self._erased = [], [], {}, []

    def _next_id(self, part: int) -> int:
        (last,) = self.connection.execute(
            "SELECT max(id) FROM records WHERE id >= ? AND id < ?", (first_id(part), past_last_id(part))
        ).fetchone()
        return first_id(part) if last is None else last + 1
