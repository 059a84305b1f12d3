"""The inbox's suite on SQLAlchemy: SQLite and PostgreSQL, by every driver; and sessions of handlers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from sagaline.workers import Inbox
from sagaline.workers.errors import InboxUnavailable
from sagaline.workers.inbox import Applied, Effect, Found, Statement, Unit, Verdict
from sagaline.workers.sql import SqlInbox
from tests.sql_kit import DRIVERS, Home, home_of, opened

from .inbox_contract import InboxContract, effect


@pytest.fixture(params=DRIVERS)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    home = home_of(request.param, tmp_path, request)
    home.run(
        "CREATE TABLE marks (label TEXT PRIMARY KEY)",
        "CREATE TABLE children (label TEXT REFERENCES marks DEFERRABLE INITIALLY DEFERRED)",
    )
    yield home
    home.plain.dispose()


@pytest.fixture
async def engine(home: Home) -> AsyncIterator[Engine | AsyncEngine]:
    async with opened(home) as engine:
        yield engine


class TestSqlInbox(InboxContract):
    @pytest.fixture
    async def inbox(self, home: Home) -> AsyncIterator[Inbox]:
        self.home = home
        async with opened(home) as engine:
            yield SqlInbox(engine, retention=timedelta(seconds=1))

    @pytest.fixture
    async def second_inbox(self, home: Home) -> AsyncIterator[Inbox]:
        async with opened(home) as engine:
            yield SqlInbox(engine, retention=timedelta(seconds=1))

    def mark(self, label: str) -> Statement:
        return "INSERT INTO marks VALUES (?)", (label,)

    async def marks(self) -> list[str]:
        return labels(self.home)


def labels(home: Home) -> list[str]:
    return [str(label) for (label,) in home.rows("SELECT label FROM marks ORDER BY label")]


@pytest.fixture
def inbox(engine: Engine | AsyncEngine) -> SqlInbox:
    return SqlInbox(engine)


def unit_of(inbox: SqlInbox, engine: Engine | AsyncEngine) -> Unit:
    return inbox.unit(AsyncSession if isinstance(engine, AsyncEngine) else Session)


async def write(unit: Unit, label: str) -> None:
    """What a handler does with its session."""
    statement = text("INSERT INTO marks VALUES (:label)")
    if isinstance(unit.session, AsyncSession):
        await unit.session.execute(statement, {"label": label})
    else:
        assert isinstance(unit.session, Session)
        await asyncio.to_thread(unit.session.execute, statement, {"label": label})


@pytest.mark.parametrize(
    "statement",
    [
        ("INSERT INTO children VALUES ('nobody')", ()),
        ("INSERT INTO marks VALUES ('x'); DELETE FROM marks", ()),
        ("INSERT INTO nowhere VALUES (1)", ()),
        ("INSERT INTO marks VALUES (?)", ()),
        ("INSERT INTO marks VALUES ('a ? : b')", ("one",)),
    ],
    ids=["refused at commit", "two statements", "no such table", "no parameter", "no question mark"],
)
async def test_whatever_a_statement_does_it_harms_its_own_effect_only(
    inbox: SqlInbox, home: Home, engine: Engine | AsyncEngine, statement: Statement
) -> None:
    if home.driver.startswith("sqlite") and "children" in statement[0]:
        pytest.skip("this engine does not ask SQLite to check foreign keys")
    good = [effect(key, ("INSERT INTO marks VALUES (?)", (key,))) for key in ("a", "c")]
    applied = await inbox.apply([good[0], effect("b", statement), good[1]])
    assert [one.verdict for one in applied] == [Verdict.STORED, Verdict.FAILED, Verdict.STORED]
    assert labels(home) == ["a", "c"]
    assert set(await inbox.find(["a", "b", "c"])) == {"a", "c"}


async def test_a_statement_that_ends_the_transaction_harms_its_own_effect_only(inbox: SqlInbox, home: Home) -> None:
    if not home.driver.startswith("sqlite"):
        pytest.skip("only SQLite has such statements")
    home.run("INSERT INTO marks VALUES ('taken')")
    torn = effect("b", ("INSERT OR ROLLBACK INTO marks VALUES ('taken')", ()))
    applied = await inbox.apply([effect("a"), torn, effect("c")])
    assert [one.verdict for one in applied] == [Verdict.STORED, Verdict.FAILED, Verdict.STORED]


async def test_texts_with_question_marks_and_colons_are_taken_as_they_are(inbox: SqlInbox, home: Home) -> None:
    statement = ("INSERT INTO marks VALUES ('?:x' || ? || ':y' /* ? */) -- ?", ("é",))
    await inbox.apply([effect("a", statement)])
    assert labels(home) == ["?:xé:y"]


async def test_work_in_a_session_is_committed_with_the_entry(
    inbox: SqlInbox, home: Home, engine: Engine | AsyncEngine
) -> None:
    unit = unit_of(inbox, engine)
    await write(unit, "own")
    wanted = effect("a", ("INSERT INTO marks VALUES (?)", ("raw",)), unit=unit)
    assert labels(home) == [], "nothing before the entry"
    assert await inbox.apply([wanted]) == [Applied(Verdict.STORED)]
    assert labels(home) == ["own", "raw"]
    assert await inbox.find(["a"]) == {"a": Found(forward=wanted.reply)}


async def test_a_commit_needs_no_thread_that_handlers_may_hold(home: Home, engine: Engine | AsyncEngine) -> None:
    inbox, ended = SqlInbox(engine, deadline=timedelta(seconds=2)), threading.Event()
    unit = unit_of(inbox, engine)
    await write(unit, "own")
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    handler = asyncio.create_task(asyncio.to_thread(ended.wait))  # as one that waits for the lock of the first
    try:
        await asyncio.sleep(0)
        assert await inbox.apply([effect("a", unit=unit)]) == [Applied(Verdict.STORED)]
        assert set(await inbox.find(["a"])) == {"a"}
    finally:
        ended.set()
        await handler
    assert labels(home) == ["own"]


@contextmanager
def held(home: Home) -> Iterator[None]:
    """Another transaction holds what the effect "a" needs: its row, on SQLite the whole file."""
    with home.plain.connect() as connection:
        connection.execute(text("INSERT INTO sagaline_inbox (effect_key, command_id, at_ms) VALUES ('a', '', 0)"))
        yield
        connection.rollback()


@pytest.fixture
async def patient(home: Home) -> AsyncIterator[Engine | AsyncEngine]:
    """An engine whose driver waits for SQLite's lock longer than any test."""
    async with opened(home, **({"timeout": 600} if home.driver.startswith("sqlite") else {})) as engine:
        yield engine


async def all_returned(engine: Engine | AsyncEngine) -> None:
    """Every connection is in the pool again: whatever was left alone has ended."""
    assert isinstance(engine.pool, QueuePool)
    async with asyncio.timeout(20):
        while engine.pool.checkedout():  # noqa: ASYNC110  # threads that nobody waits for
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("in_session", [False, True])
async def test_a_call_ends_at_its_deadline_while_its_work_still_waits(
    home: Home, patient: Engine | AsyncEngine, in_session: bool
) -> None:
    inbox, wanted = SqlInbox(patient, deadline=timedelta(seconds=0.2)), effect("a")
    if in_session:
        wanted = _with(wanted, unit_of(inbox, patient))
    with held(home):
        with pytest.raises(InboxUnavailable, match=r"within 0\.2 s"):
            await inbox.apply([wanted])
        if home.driver.startswith("sqlite"):  # one writes at a time: it waits for its turn, and no longer
            with pytest.raises(InboxUnavailable, match=r"within 0\.2 s"):
                await inbox.apply([effect("b")])
    await inbox.close()
    await all_returned(patient)
    (applied,) = await SqlInbox(patient).apply([wanted])
    assert applied.verdict in {
        Verdict.STORED,
        Verdict.REPEATED,  # a thread cannot be cancelled: it was committed late
        Verdict.STALE,  # the session is lost: its handler runs again
    }


async def test_a_session_is_closed_behind_the_thread_that_still_connects_it(
    home: Home, engine: Engine | AsyncEngine
) -> None:
    if isinstance(engine, AsyncEngine):
        pytest.skip("a handler that was cancelled uses its session no more")
    inbox = SqlInbox(engine, deadline=timedelta(seconds=0.2))
    unit, begun, connects = unit_of(inbox, engine), threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        begun.set()
        connects.wait()

    event.listen(engine, "do_connect", wait)
    handler = asyncio.create_task(write(unit, "own"))
    await asyncio.to_thread(begun.wait)
    await unit.discard()  # as at a handler's time limit
    connects.set()
    with suppress(SQLAlchemyError):
        await handler
    await all_returned(engine)
    with pytest.raises(SQLAlchemyError, match="closed"):
        await write(unit, "late")
    assert labels(home) == []


@pytest.mark.parametrize(
    ("before", "wanted", "verdict"),
    [
        ([effect("a")], effect("a"), Verdict.REPEATED),
        ([effect("a", undo=True)], effect("a"), Verdict.FENCED),
        ([effect("a")], effect("a", undo=True), Verdict.STALE),
        ([], effect("a", ("INSERT INTO nowhere VALUES (1)", ())), Verdict.FAILED),
        ([], effect("a", ("INSERT INTO marks VALUES ('own')", ())), Verdict.FAILED),
    ],
)
async def test_with_every_other_verdict_the_session_is_rolled_back(
    inbox: SqlInbox,
    home: Home,
    engine: Engine | AsyncEngine,
    before: list[Effect],
    wanted: Effect,
    verdict: Verdict,
) -> None:
    await inbox.apply(before)
    unit = unit_of(inbox, engine)
    await write(unit, "own")
    (applied,) = await inbox.apply([_with(wanted, unit)])
    assert applied.verdict is verdict
    assert labels(home) == []
    await unit.discard()


def _with(wanted: Effect, unit: Unit) -> Effect:
    from dataclasses import replace

    return replace(wanted, unit=unit)


async def test_a_session_that_is_gone_is_looked_up_and_else_its_handler_runs_again(
    inbox: SqlInbox, home: Home, engine: Engine | AsyncEngine
) -> None:
    lost, kept = unit_of(inbox, engine), unit_of(inbox, engine)
    await write(lost, "lost")
    await lost.discard()
    assert await inbox.apply([effect("a", unit=lost)]) == [Applied(Verdict.STALE)]
    await write(kept, "kept")
    wanted = effect("b", unit=kept)
    await inbox.apply([wanted])
    assert await inbox.apply([wanted]) == [Applied(Verdict.REPEATED, wanted.reply)], "as after an unknown outcome"
    assert labels(home) == ["kept"]


async def test_a_forward_and_an_undo_in_sessions_race_to_one_outcome(home: Home) -> None:
    if home.driver.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time: the second session waits from its first change")
    async with opened(home) as engine, opened(home) as other:
        inbox, second = SqlInbox(engine), SqlInbox(other)

        async def one(inbox: SqlInbox, engine: Engine | AsyncEngine, key: str, undo: bool) -> Verdict:
            unit = unit_of(inbox, engine)
            await write(unit, f"{key}-{undo}")
            (applied,) = await inbox.apply([effect(key, undo=undo, unit=unit)])
            return applied.verdict

        for number in range(10):
            pair = await asyncio.gather(one(inbox, engine, f"k{number}", False), one(second, other, f"k{number}", True))
            assert tuple(pair) in {(Verdict.STORED, Verdict.STALE), (Verdict.FENCED, Verdict.STORED)}
        assert len(labels(home)) == 10


async def test_a_session_of_another_kind_is_refused_with_the_remedy(
    inbox: SqlInbox, engine: Engine | AsyncEngine
) -> None:
    wrong = Session if isinstance(engine, AsyncEngine) else AsyncSession
    with pytest.raises(TypeError, match="ask for"):
        inbox.unit(wrong)


async def test_missing_tables_are_reported_with_the_remedy(inbox: SqlInbox, home: Home) -> None:
    home.run("DROP TABLE sagaline_inbox")
    with pytest.raises(InboxUnavailable, match="create_tables"):
        await inbox.find([])
