"""A worker with an inbox: what comes twice takes effect once, and what is undone stays undone."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from sagaline.orchestrator.messages.inputs import Completed, Failed, Reply
from sagaline.orchestrator.messages.inputs import Rejected as RejectedReply
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.sagas import Rejected
from sagaline.workers import Context, SqliteInbox, Worker
from sagaline.workers.inbox import Effect, Verdict

from ..worker_world import PATIENCE_SECONDS, Pack, Packed, Unpack, Unpacked, WorkerWorld, pack, unpack, worker_world

SCHEMA = "CREATE TABLE IF NOT EXISTS parcels (parcel TEXT PRIMARY KEY, undone INTEGER NOT NULL DEFAULT 0);"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[SqliteInbox]:
    inbox = SqliteInbox(tmp_path / "inbox.db", schema=SCHEMA)
    yield inbox
    await inbox.close()


@pytest.fixture
def parcels(tmp_path: Path) -> Parcels:
    return Parcels(tmp_path / "inbox.db")


class Parcels:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> list[tuple[str, int]]:
        with closing(sqlite3.connect(self._path)) as connection:
            return list(connection.execute("SELECT parcel, undone FROM parcels ORDER BY parcel"))


class Packing:
    """Packs into a table; counts how often its handlers run."""

    def __init__(self, inbox: SqliteInbox | None) -> None:
        self.worker = Worker("packer", inbox=inbox)
        self.packed = self.unpacked = 0
        self.held: asyncio.Event | None = None
        self.running = asyncio.Event()
        self.worker.handles(pack)(self.pack)
        self.worker.handles(unpack)(self.unpack)

    async def pack(self, command: Pack, ctx: Context) -> Packed | Rejected:
        self.packed += 1
        ctx.execute("INSERT INTO parcels (parcel) VALUES (?)", (command.item,))
        if command.item == "refused" and self.packed == 1:
            return Rejected("not today")
        if command.item == "broken" and self.packed == 1:
            raise OSError("no paper")
        return Packed(parcel=f"{command.item}-{ctx.attempt}")

    async def unpack(self, command: Unpack, ctx: Context) -> Unpacked:
        self.unpacked += 1
        ctx.execute("UPDATE parcels SET undone = undone + 1 WHERE parcel = ?", (command.item,))
        known = ctx.forward is not None
        self.running.set()
        if self.held is not None:
            await self.held.wait()
        return Unpacked(was_packed=known)


def body(reply: Reply) -> object:
    assert isinstance(reply, Completed), reply
    return reply.reply


async def test_a_second_attempt_gets_the_first_ones_reply_without_running(
    world: WorkerWorld, inbox: SqliteInbox, parcels: Parcels
) -> None:
    packing = Packing(inbox)
    async with world.running(packing.worker):
        first, again = await world.ask(world.command(), world.command(attempt=2))
    assert body(first) == body(again) == {"parcel": "book-1"}
    assert (first.id, again.id) == ("order/A/pack~k3x9wq2z/1/reply", "order/A/pack~k3x9wq2z/2/reply")
    assert isinstance(again, Completed)
    assert again.command_id == "order/A/pack~k3x9wq2z/2"
    assert packing.packed == 1
    assert parcels() == [("book", 0)]


async def test_what_took_effect_is_known_to_the_next_worker(world: WorkerWorld, inbox: SqliteInbox) -> None:
    async with world.running(Packing(inbox).worker):
        await world.ask(world.command())
    successor = Packing(inbox)
    async with world.running(successor.worker):
        (again,) = await world.ask(world.command(attempt=2))
    assert body(again) == {"parcel": "book-1"}
    assert successor.packed == 0


async def test_an_undo_that_comes_first_fences_the_late_forward(
    world: WorkerWorld, inbox: SqliteInbox, parcels: Parcels
) -> None:
    packing = Packing(inbox)
    async with world.running(packing.worker):
        undone, late = await world.ask(world.command(contract=unpack), world.command())
    assert body(undone) == {"was_packed": False}
    assert isinstance(late, RejectedReply)
    assert late.code == "fenced"
    assert (packing.packed, parcels()) == (0, [])


async def test_an_undo_knows_what_it_undoes_and_happens_once(
    world: WorkerWorld, inbox: SqliteInbox, parcels: Parcels
) -> None:
    packing = Packing(inbox)
    async with world.running(packing.worker):
        replies = await world.ask(
            world.command(), world.command(contract=unpack), world.command(contract=unpack, attempt=2)
        )
    assert [body(reply) for reply in replies[1:]] == [{"was_packed": True}] * 2
    assert (packing.unpacked, parcels()) == (1, [("book", 1)])


@pytest.mark.parametrize("item", ["refused", "broken"])
async def test_what_did_not_succeed_leaves_no_trace_and_may_succeed_later(
    world: WorkerWorld, inbox: SqliteInbox, parcels: Parcels, item: str
) -> None:
    packing = Packing(inbox)
    async with world.running(packing.worker):
        (first,) = await world.ask(world.command(payload=Pack(item=item)))
        assert isinstance(first, RejectedReply | Failed)
        assert parcels() == []
        (second,) = await world.ask(world.command(payload=Pack(item=item), attempt=2))
    assert body(second) == {"parcel": f"{item}-2"}
    assert parcels() == [(item, 0)]


async def test_a_change_that_the_database_refuses_fails_that_command_alone(
    world: WorkerWorld, inbox: SqliteInbox, parcels: Parcels
) -> None:
    packing = Packing(inbox)
    async with world.running(packing.worker):
        replies = await world.ask(*(world.command(f"order/{i}", payload=Pack(item="same")) for i in range(3)))
    failures = [reply for reply in replies if isinstance(reply, Failed)]
    assert len(failures) == 2
    assert all("UNIQUE constraint failed: parcels.parcel" in failure.error for failure in failures)
    assert parcels() == [("same", 0)]


async def test_a_forward_that_took_effect_elsewhere_while_its_undo_ran_is_undone_too(
    world: WorkerWorld, inbox: SqliteInbox, parcels: Parcels
) -> None:
    packing = Packing(inbox)
    packing.held = asyncio.Event()
    async with world.running(packing.worker):
        await world.send(world.command(contract=unpack))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await packing.running.wait()
        elsewhere = Effect(
            effect_key="order/A/pack~k3x9wq2z",
            undo=False,
            command_id="order/A/pack~k3x9wq2z/1",
            reply=b'{"parcel":"elsewhere"}',
            statements=(("INSERT INTO parcels (parcel) VALUES ('book')", ()),),
            at_ms=world.clock.now_ms(),
        )
        assert [one.verdict for one in await inbox.apply([elsewhere])] == [Verdict.STORED]
        packing.held.set()
        (reply,) = await world.replies(1)
    assert body(reply) == {"was_packed": True}
    assert packing.unpacked == 2, "the first run knew of no forward; it was run again"
    assert parcels() == [("book", 1)]


async def test_a_forward_is_rolled_back_when_its_undo_was_stored_while_it_ran(
    world: WorkerWorld, inbox: SqliteInbox, parcels: Parcels
) -> None:
    running, go_on = asyncio.Event(), asyncio.Event()
    worker = Worker("packer", inbox=inbox)

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        ctx.execute("INSERT INTO parcels (parcel) VALUES (?)", (command.item,))
        running.set()
        await go_on.wait()
        return Packed(parcel="P")

    async with world.running(worker):
        await world.send(world.command())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await running.wait()
        undo = Effect(
            effect_key="order/A/pack~k3x9wq2z", undo=True, command_id="u", reply=b"{}", at_ms=world.clock.now_ms()
        )
        await inbox.apply([undo])
        go_on.set()
        (reply,) = await world.replies(1)
    assert isinstance(reply, RejectedReply)
    assert reply.code == "fenced"
    assert parcels() == []


@pytest.mark.parametrize("sql", ["COMMIT", "DROP TABLE parcels", "  select 1", "-- x\nDELETE FROM parcels"])
async def test_only_changes_can_be_asked_for(world: WorkerWorld, inbox: SqliteInbox, sql: str) -> None:
    worker = Worker("packer", inbox=inbox)

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        ctx.execute(sql)
        return Packed(parcel="P")

    async with world.running(worker):
        (reply,) = await world.ask(world.command())
    assert isinstance(reply, Failed)
    assert "takes INSERT, UPDATE, DELETE, REPLACE, WITH" in reply.error


async def test_without_an_inbox_a_change_says_what_is_missing(world: WorkerWorld) -> None:
    async with world.running(Packing(None).worker):
        (reply,) = await world.ask(world.command())
    assert isinstance(reply, Failed)
    assert "give the worker one" in reply.error


async def test_a_reply_that_the_log_does_not_take_leaves_no_effect(
    inbox: SqliteInbox, tmp_path: Path, parcels: Parcels
) -> None:
    worker = Worker("packer", inbox=inbox)

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        ctx.execute("INSERT INTO parcels (parcel) VALUES (?)", (command.item,))
        return Packed(parcel="x" * 2_000)

    async with worker_world(tmp_path, max_value_bytes=1_000) as world, world.running(worker):
        (reply,) = await world.ask(world.command())
    assert isinstance(reply, Failed)
    assert "the log takes 1,000" in reply.error
    assert parcels() == []
    assert await inbox.find(["order/A/pack~k3x9wq2z"]) == {}


async def test_many_commands_at_once_are_each_done_once(
    world: WorkerWorld, inbox: SqliteInbox, parcels: Parcels
) -> None:
    def commands(attempt: int) -> list[Outgoing]:
        return [world.command(f"order/{i}", payload=Pack(item=f"i{i}"), attempt=attempt) for i in range(50)]

    packing = Packing(inbox)
    async with world.running(packing.worker):
        await world.ask(*commands(1), *commands(2), *commands(3))
    assert packing.packed == 50
    assert len(parcels()) == 50


@pytest.mark.slow
async def test_a_locked_inbox_delays_and_loses_nothing(world: WorkerWorld, tmp_path: Path, parcels: Parcels) -> None:
    inbox = SqliteInbox(tmp_path / "inbox.db", schema=SCHEMA, deadline=timedelta(milliseconds=300))
    await inbox.find([])
    packing = Packing(inbox)
    async with world.running(packing.worker):
        with closing(sqlite3.connect(tmp_path / "inbox.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await world.send(world.command())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.7):
                    await world.replies(1)
        (reply,) = await world.replies(1)
    assert body(reply) == {"parcel": "book-1"}
    assert (packing.packed, parcels()) == (1, [("book", 0)])
    await inbox.close()
