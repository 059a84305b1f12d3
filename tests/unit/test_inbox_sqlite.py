"""The inbox's suite on SQLite, and what only an adapter on one file has to promise."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from sagaline.workers import Inbox, SqliteInbox
from sagaline.workers.errors import InboxUnavailable
from sagaline.workers.inbox import Statement, Verdict

from ..contract.inbox_contract import InboxContract, effect

SCHEMA = """
CREATE TABLE IF NOT EXISTS marks (label TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS children (label TEXT REFERENCES marks DEFERRABLE INITIALLY DEFERRED);
"""


def opened(path: Path, deadline: timedelta = timedelta(seconds=10)) -> SqliteInbox:
    return SqliteInbox(path / "inbox.db", schema=SCHEMA, retention=timedelta(seconds=1), deadline=deadline)


def labels(path: Path, table: str = "marks") -> list[str]:
    with closing(sqlite3.connect(path / "inbox.db")) as connection:
        return [label for (label,) in connection.execute(f"SELECT label FROM {table} ORDER BY label")]


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[Inbox]:
    inbox = opened(tmp_path)
    yield inbox
    await inbox.close()


async def test_without_a_retention_nothing_is_ever_dropped(tmp_path: Path) -> None:
    """An instance may live for a year, and its first step is undone on the last day."""
    inbox = SqliteInbox(tmp_path / "inbox.db")
    await inbox.apply([effect("a", at_ms=0)])
    assert await inbox.forget(365 * 24 * 3_600_000, limit=10) == 0
    assert set(await inbox.find(["a"])) == {"a"}
    await inbox.close()


class TestSqliteInbox(InboxContract):
    @pytest.fixture
    async def inbox(self, tmp_path: Path) -> AsyncIterator[Inbox]:
        self.path = tmp_path
        inbox = opened(tmp_path)
        await inbox.find([])
        yield inbox
        await inbox.close()

    @pytest.fixture
    async def second_inbox(self, tmp_path: Path) -> AsyncIterator[Inbox]:
        inbox = opened(tmp_path)
        yield inbox
        await inbox.close()

    def mark(self, label: str) -> Statement:
        return "INSERT INTO marks VALUES (?)", (label,)

    async def marks(self) -> list[str]:
        return labels(self.path)


async def test_what_was_stored_is_there_after_opening_again(tmp_path: Path) -> None:
    first = opened(tmp_path)
    await first.apply([effect("a")])
    await first.close()
    second = opened(tmp_path)
    assert set(await second.find(["a"])) == {"a"}
    await second.close()


@pytest.mark.parametrize(
    "statement",
    [
        ("INSERT OR ROLLBACK INTO marks VALUES ('taken')", ()),
        ("INSERT INTO children VALUES ('nobody')", ()),
        ("INSERT INTO marks VALUES ('x'); DELETE FROM marks", ()),
        ("INSERT INTO nowhere VALUES (1)", ()),
        ("INSERT INTO marks VALUES (?)", ()),
    ],
    ids=["ends the transaction", "refused at commit", "two statements", "no such table", "no parameter"],
)
async def test_whatever_a_statement_does_it_harms_its_own_effect_only(
    inbox: Inbox, tmp_path: Path, statement: Statement
) -> None:
    await inbox.apply([effect("before", ("INSERT INTO marks VALUES ('taken')", ()))])
    good = [effect(key, ("INSERT INTO marks VALUES (?)", (key,))) for key in ("a", "c")]
    applied = await inbox.apply([good[0], effect("b", statement), good[1]])
    assert [one.verdict for one in applied] == [Verdict.STORED, Verdict.FAILED, Verdict.STORED]
    assert labels(tmp_path) == ["a", "c", "taken"]
    assert labels(tmp_path, "children") == []
    assert set(await inbox.find(["a", "b", "c"])) == {"a", "c"}


@pytest.mark.slow
async def test_a_locked_file_is_reported_within_the_deadline_and_used_again_later(tmp_path: Path) -> None:
    inbox = opened(tmp_path, deadline=timedelta(milliseconds=400))
    await inbox.apply([effect("a")])
    with closing(sqlite3.connect(tmp_path / "inbox.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InboxUnavailable):
            await inbox.apply([effect("b")])
        assert set(await inbox.find(["a", "b"])) == {"a"}, "reading goes on"
    assert [one.verdict for one in await inbox.apply([effect("b")])] == [Verdict.STORED]
    await inbox.close()


async def test_a_path_that_cannot_be_opened_is_reported_with_the_remedy(tmp_path: Path) -> None:
    inbox = SqliteInbox(tmp_path / "missing" / "inbox.db")
    with pytest.raises(InboxUnavailable, match="check the file"):
        await inbox.find(["a"])
    await inbox.close()
