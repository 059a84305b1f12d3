"""The SQLite log passes the log port's suite; below it, what only one file can promise."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from types import NoneType
from typing import ClassVar

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.adapters.sqlite_log.operations import Call
from sagaline.orchestrator.errors import (
    ConfigurationError,
    CorruptRecord,
    LogUnavailable,
    OwnershipLost,
    SagalineError,
)
from sagaline.orchestrator.ports.clock import Clock
from sagaline.orchestrator.ports.log import Owner
from sagaline.orchestrator.ports.topics import POSITION_KEY, Topics

from .harness import QUEUE, Breakable, batch, contents, out, read_all
from .log_contract import LogContract


class TestSqliteLog(LogContract):
    deadline_seconds: ClassVar[float] = 0.3

    @pytest.fixture
    async def log(self, tmp_path: Path) -> AsyncIterator[SqliteLog]:
        async with SqliteLog(tmp_path / "log.db", clock=SystemClock()) as log:
            yield log

    @pytest.fixture
    async def second_log(self, log: SqliteLog, tmp_path: Path) -> AsyncIterator[SqliteLog]:
        async with SqliteLog(tmp_path / "log.db", clock=SystemClock()) as second:
            yield second

    @pytest.fixture
    async def breakable(self, log: SqliteLog, tmp_path: Path) -> AsyncIterator[Breakable]:
        """The other side of a file is its lock: somebody else takes it and keeps it."""
        locker = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        deadline = timedelta(seconds=self.deadline_seconds)

        async def cut() -> None:
            locker.execute("BEGIN IMMEDIATE")

        async def mend() -> None:
            locker.execute("ROLLBACK")

        async with SqliteLog(
            tmp_path / "log.db", clock=SystemClock(), deadline=deadline, member_timeout=timedelta(seconds=1)
        ) as third:
            yield Breakable(third, cut, mend)
        locker.close()


class TickingClock:
    """A clock that a test sets; with ``step_ms`` every reading is another time."""

    def __init__(self, now_ms: int = 1_000_000, step_ms: int = 0) -> None:
        self.now, self.step_ms, self._ids = now_ms, step_ms, count()

    def now_ms(self) -> int:
        self.now += self.step_ms
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000

    def new_id(self) -> str:
        return f"{os.getpid()}-{id(self)}-{next(self._ids)}"


TOPICS = Topics("t")
DAY_MS = 86_400_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@asynccontextmanager
async def opened(path: Path, clock: Clock | None = None, partitions: int = 2) -> AsyncIterator[SqliteLog]:
    async with SqliteLog(path, clock=clock or SystemClock(), deadline=timedelta(seconds=5)) as log:
        await log.create_topics(TOPICS.specs([QUEUE], partitions))
        yield log


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """While another process holds the file's lock, what callers hand in gathers; then it is one batch."""
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        locker.close()


def stored(path: Path, topic: str) -> list[tuple[bytes, bytes | None]]:
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT key, value FROM records AS r JOIN topics ON r.id >> 40 BETWEEN first_part "
        "AND first_part + partitions - 1 "
        "WHERE name = ? ORDER BY r.id",
        (topic,),
    ).fetchall()
    connection.close()
    return rows


async def sole_owner(log: SqliteLog, group: str = "engine") -> Owner:
    membership = await log.join(TOPICS.inputs, TOPICS.state, group)
    await membership.changed()
    return await membership.take(0)


# The file


async def test_everything_is_there_after_closing_and_opening(path: Path) -> None:
    async with opened(path) as log:
        await log.append([out(TOPICS.inputs, b"k", b"kept", 0)])
        await (await sole_owner(log)).commit(batch({b"a": b"1"}, [], 1, 5))
    async with opened(path) as log:
        owner = await sole_owner(log)
        assert owner.position == (1, 5)
        assert owner.get(b"a") == b"1"
        assert [r.value for r in await read_all(log, TOPICS.inputs)] == [b"kept"]


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"create {tmp_path / 'nowhere'}"):
        await SqliteLog(tmp_path / "nowhere" / "log.db", clock=SystemClock()).open()


async def test_a_folder_instead_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        await SqliteLog(tmp_path, clock=SystemClock()).open()


def test_a_file_that_is_not_sqlite_is_refused_untouched(path: Path) -> None:
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(ConfigurationError, match="give another path"):
        asyncio.run(SqliteLog(path, clock=SystemClock()).open())
    assert path.read_bytes() == b"something else entirely" * 100


async def test_a_sqlite_file_of_another_program_is_refused_untouched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (a)")
    with pytest.raises(ConfigurationError, match="another program"):
        await SqliteLog(path, clock=SystemClock()).open()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


async def test_a_newer_schema_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="schema version 99"):
        await SqliteLog(path, clock=SystemClock()).open()


async def test_a_log_that_is_not_open_says_so(path: Path) -> None:
    with pytest.raises(LogUnavailable, match="open"):
        await SqliteLog(path, clock=SystemClock()).partitions("t")


async def test_a_call_after_close_says_so(path: Path) -> None:
    async with opened(path) as log:
        tail = await log.tail([TOPICS.inputs], "earliest")
    for call in (log.append([out(TOPICS.inputs, b"k")]), tail.poll(max_records=1, timeout=5), log.end_offsets(["t"])):
        with pytest.raises(SagalineError):
            await call


async def test_a_full_disk_is_said_and_passes(path: Path) -> None:
    async with opened(path) as log:
        await log.append([out(TOPICS.inputs, b"k", b"before", 0)])
        # SQLite's own limit on the size of the file gives the same SQLITE_FULL as a full disk.
        connection = log._open().writer._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(LogUnavailable, match="free space"):
            await log.append([out(TOPICS.inputs, b"k", b"x" * 100_000, 0)])
        connection.execute("PRAGMA max_page_count = 1000000")
        await log.append([out(TOPICS.inputs, b"k", b"after", 0)])
        assert [r.value for r in await read_all(log, TOPICS.inputs)] == [b"before", b"after"]


async def test_reading_never_waits_for_a_writer(path: Path) -> None:
    async with opened(path) as log:
        await log.append([out(TOPICS.inputs, b"k", b"there", 0)])
        with locked(path):
            async with asyncio.timeout(1):
                assert [r.value for r in await read_all(log, TOPICS.inputs)] == [b"there"]


# One transaction for many callers


async def test_callers_that_wait_together_share_one_transaction(path: Path) -> None:
    async with opened(path, TickingClock(step_ms=1)) as log:
        with locked(path):
            calls = [asyncio.create_task(log.append([out(TOPICS.inputs, b"k", b"%d" % i, 0)])) for i in range(100)]
            await asyncio.sleep(0)
        await asyncio.gather(*calls)
        records = await read_all(log, TOPICS.inputs)
        assert [r.value for r in records] == [b"%d" % i for i in range(100)]
        transactions = len({r.timestamp_ms for r in records})
        assert transactions <= 2, "the first may have gone alone, the others have waited together"


async def test_a_fenced_commit_harms_only_itself(path: Path) -> None:
    async with opened(path) as log:
        membership = await log.join(TOPICS.inputs, TOPICS.state, "engine")
        await membership.changed()
        fenced, valid = await membership.take(0), await membership.take(0)
        with locked(path):
            calls = [
                asyncio.create_task(fenced.commit(batch({b"a": b"fenced"}, [out(TOPICS.history, b"a", b"fenced")]))),
                asyncio.create_task(valid.commit(batch({b"a": b"valid"}, [out(TOPICS.history, b"a", b"valid")]))),
                asyncio.create_task(log.append([out(TOPICS.inputs, b"k", b"beside", 0)])),
            ]
            await asyncio.sleep(0)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [OwnershipLost, NoneType, NoneType]
        assert [value for _, value in stored(path, TOPICS.history)] == [b"valid"]
        assert [value for _, value in stored(path, TOPICS.inputs)] == [b"beside"]


async def test_an_operation_that_sqlite_refuses_harms_only_itself(path: Path) -> None:
    async with opened(path) as log:
        broken: Call[object] = Call(lambda transaction: transaction.execute("INSERT INTO nowhere VALUES (1)"))
        with locked(path):
            calls = [
                asyncio.create_task(log.append([out(TOPICS.inputs, b"k", b"1", 0)])),
                asyncio.create_task(log._open().writer.submit(broken)),
                asyncio.create_task(log.append([out(TOPICS.inputs, b"k", b"2", 0)])),
            ]
            await asyncio.sleep(0)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [NoneType, LogUnavailable, NoneType]
        assert [value for _, value in stored(path, TOPICS.inputs)] == [b"1", b"2"]


async def test_a_cancelled_caller_harms_nobody(path: Path) -> None:
    async with opened(path) as log:
        with locked(path):
            calls = [asyncio.create_task(log.append([out(TOPICS.inputs, b"k", b"%d" % i, 0)])) for i in range(3)]
            await asyncio.sleep(0)
            calls[1].cancel()
        assert (await asyncio.gather(*calls, return_exceptions=True))[::2] == [None, None]
        values = [value for _, value in stored(path, TOPICS.inputs)]
        assert [value for value in values if value != b"1"] == [b"0", b"2"]


# What stays and what goes


async def test_a_document_has_one_record_however_often_it_changes(path: Path) -> None:
    async with opened(path) as log:
        membership = await log.join(TOPICS.inputs, TOPICS.state, "engine")
        await membership.changed()
        for _ in range(2):
            owner = await membership.take(0)
            for i in range(3):
                await owner.commit(batch({b"a": b"%d" % i}, [], 0, i))
        rows = stored(path, TOPICS.state)
        assert [(key, value) for key, value in rows if key != POSITION_KEY] == [(b"a", b"2")]
        assert len(rows) == 2


async def test_no_partition_is_starved_by_another(path: Path) -> None:
    async with opened(path) as log:
        await log.append([out(TOPICS.inputs, b"k", b"v", p) for p in (0, 0, 0, 1, 1, 1)])
        tail = await log.tail([TOPICS.inputs], "earliest")
        polled = [await tail.poll(max_records=1, timeout=5) for _ in range(2)]
        assert {record.partition for records in polled for record in records} == {0, 1}


@pytest.mark.parametrize("value", [b"not JSON", b"{}", b'{"offset": -1, "now_ms": 0}', b'{"offset": 9, "now_ms": 0}'])
async def test_a_position_that_contradicts_the_log_stops_the_take(path: Path, value: bytes) -> None:
    async with opened(path) as log:
        await log.append([out(TOPICS.state, POSITION_KEY, value, 0)])
        with pytest.raises(CorruptRecord, match=f"{TOPICS.state}/0/0"):
            await sole_owner(log)


@pytest.mark.parametrize("value", [b"not JSON", b"{}", b"[]", b'{"offset": 1e999}'])
async def test_a_position_that_cannot_be_read_is_said_to_who_asks_how_the_partition_stands(
    path: Path, value: bytes
) -> None:
    async with opened(path) as log:
        await log.append([out(TOPICS.state, POSITION_KEY, value, 0)])
        with pytest.raises(CorruptRecord, match=r"t\.state/0: the position record cannot be read"):
            await log.standing(TOPICS.inputs, TOPICS.state, "engine")


async def test_documents_without_a_position_stop_the_take(path: Path) -> None:
    async with opened(path) as log:
        await log.append([out(TOPICS.state, b"a", b"1", 0)])
        with pytest.raises(CorruptRecord, match="no position"):
            await sole_owner(log)


async def test_documents_beyond_the_cache_are_read_from_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagaline.orchestrator.adapters.sqlite_log.owner._CACHE_BYTES_MAX", 1000)
    documents: dict[bytes, bytes | None] = {b"a%d" % i: b"%d" % i * 150 for i in range(20)}
    async with opened(path) as log:
        owner = await sole_owner(log)
        await owner.commit(batch(documents))
        assert await contents(owner) == documents
        again = await sole_owner(log, "next")
        assert await contents(again) == documents


# Several processes


def child(path: Path, body: str) -> subprocess.Popen[str]:
    """Another process on the same file; ``log`` is open in it and ``say`` writes one line that we can wait for."""
    script = f"""
import asyncio, sys
from datetime import timedelta
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.ports.log import Batch, Outgoing, Position

def say(what):
    print(what, flush=True)

async def main():
    async with SqliteLog({str(path)!r}, clock=SystemClock(), member_timeout=timedelta(seconds=0.5)) as log:
{textwrap.indent(textwrap.dedent(body), " " * 8)}

asyncio.run(main())
"""
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


async def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await asyncio.to_thread(process.stdout.readline)).strip()


def end(process: subprocess.Popen[str], *, kill: bool = False) -> str:
    if kill:
        process.kill()
    assert process.stdout is not None
    rest = process.stdout.read()  # communicate(timeout=…) would pass over what readline has buffered
    process.wait(30)
    process.stdout.close()
    return rest


@pytest.mark.slow
async def test_processes_that_write_at_the_same_time_share_the_offsets(path: Path) -> None:
    async with opened(path) as log:
        process = child(
            path,
            """
            say("ready")
            for i in range(200):
                await log.append([Outgoing("t.inputs", b"theirs", b"%d" % i, (), 0)])
            """,
        )
        assert await line(process) == "ready"
        for i in range(200):
            await log.append([out(TOPICS.inputs, b"ours", b"%d" % i, 0)])
        await asyncio.to_thread(end, process)
        records = await read_all(log, TOPICS.inputs)
        assert [r.offset for r in records] == list(range(400))
        for key in (b"ours", b"theirs"):
            assert [r.value for r in records if r.key == key] == [b"%d" % i for i in range(200)]


@pytest.mark.slow
async def test_the_partitions_of_a_killed_member_go_to_the_living(path: Path) -> None:
    async with SqliteLog(path, clock=SystemClock(), member_timeout=timedelta(seconds=0.5)) as log:
        await log.create_topics(TOPICS.specs([QUEUE], 2))
        process = child(
            path,
            """
            membership = await log.join("t.inputs", "t.state", "engine")
            await membership.changed()
            owner = await membership.take(0)
            await owner.commit(Batch({b"a": b"theirs"}, [], Position(0, 7)))
            say("taken")
            await asyncio.sleep(60)
            """,
        )
        assert await line(process) == "taken"
        membership = await log.join(TOPICS.inputs, TOPICS.state, "engine")
        assert await membership.changed() == {1}
        await asyncio.to_thread(partial(end, process, kill=True))
        async with asyncio.timeout(10):
            assert await membership.changed() == {0, 1}
        owner = await membership.take(0)
        assert (owner.position, owner.get(b"a")) == ((0, 7), b"theirs")


@pytest.mark.slow
async def test_a_kill_at_any_moment_loses_nothing_acknowledged_and_splits_no_commit(path: Path) -> None:
    async with opened(path) as log:
        await log.append([out(TOPICS.inputs, b"k", b"x", 0)] * 2000)
    for number in range(5):
        process = child(
            path,
            f"""
            membership = await log.join("t.inputs", "t.state", "round-{number}")
            await membership.changed()
            owner = await membership.take(0)
            at = owner.position.offset
            async def appending():
                for i in range(10_000):
                    await log.append([Outgoing("t.commands.{QUEUE}", b"k", b"{number}.%d" % i, (), 1)])
                    say("appended {number}.%d" % i)
            side = asyncio.create_task(appending())
            for i in range(at + 1, at + 400):
                value = b"%d" % i
                records = [Outgoing("t.history", b"a", value, (), p) for p in (0, 1)]
                await owner.commit(Batch({{b"a": value, b"b": value}}, records, Position(i, i)))
                say("committed %d" % i)
            """,
        )
        seen = [await line(process) for _ in range(40 + 30 * number)]
        seen += (await asyncio.to_thread(partial(end, process, kill=True))).splitlines()
        committed = max(int(word.split()[1]) for word in seen if word.startswith("committed"))
        appended = {word.split()[1].encode() for word in seen if word.startswith("appended") and word[-1].isdigit()}
        async with opened(path) as log:
            membership = await log.join(TOPICS.inputs, TOPICS.state, "judge")
            await membership.changed()
            owner = await membership.take(0)
            assert owner.position.offset in (committed, committed + 1)
            value = b"%d" % owner.position.offset
            assert await contents(owner) == {b"a": value, b"b": value}
            for partition in (0, 1):
                history = [r.value for r in await read_all(log, TOPICS.history) if r.partition == partition]
                assert history == [b"%d" % i for i in range(1, owner.position.offset + 1)]
            assert appended <= {r.value for r in await read_all(log, TOPICS.commands(QUEUE))}
