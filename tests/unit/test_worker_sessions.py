"""Handlers with a session in the inbox's database (``ctx.session``), in a real worker on the SQLite log."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from sqlalchemy import String, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sagaline.orchestrator.messages.inputs import Completed, Failed, Rejected
from sagaline.sagas import Rejected as No
from sagaline.workers import AnswerLater, Context, Depends, SqliteInbox, Worker
from sagaline.workers.sql import SqlInbox, create_tables
from tests.worker_world import Pack, Packed, Unpack, Unpacked, WorkerWorld, pack, unpack, worker_world


class Base(DeclarativeBase):
    pass


class Parcel(Base):
    __tablename__ = "parcels"
    effect_key: Mapped[str] = mapped_column(String, primary_key=True)
    item: Mapped[str]


@dataclass
class Store:
    engine: AsyncEngine

    async def items(self) -> list[str]:
        async with AsyncSession(self.engine) as session:
            return sorted(await session.scalars(select(Parcel.item)))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'own.db'}")
    async with engine.begin() as connection:
        await connection.run_sync(create_tables)
        await connection.run_sync(Base.metadata.create_all)
    yield Store(engine)
    await engine.dispose()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


async def session_of(ctx: Context) -> AsyncSession:
    return ctx.session(AsyncSession)


def packing(store: Store, calls: list[str]) -> Worker:
    worker = Worker("packer", inbox=SqlInbox(async_sessionmaker(store.engine, expire_on_commit=False)))

    @worker.handles(pack)
    async def do_pack(command: Pack, ctx: Context) -> Packed | No | AnswerLater:
        calls.append(command.item)
        session = ctx.session(AsyncSession)
        session.add(Parcel(effect_key=ctx.effect_key, item=command.item))
        await session.flush()
        match command.item:
            case "no":
                return No("we do not pack this")
            case "later":
                return AnswerLater()
            case "broken":
                raise ValueError("the machine is broken")
        return Packed(parcel=f"P-{command.item}")

    @worker.handles(unpack)
    async def do_unpack(
        command: Unpack, ctx: Context, session: Annotated[AsyncSession, Depends(session_of)]
    ) -> Unpacked:
        found = await session.get(Parcel, ctx.effect_key)
        if found is not None:
            await session.delete(found)
        return Unpacked(was_packed=found is not None)

    return worker


async def test_work_and_mark_are_kept_together_and_once(world: WorkerWorld, store: Store) -> None:
    calls: list[str] = []
    async with world.running(packing(store, calls)):
        first, second = await world.ask(world.command(), world.command(attempt=2))
        assert isinstance(first, Completed)
        assert isinstance(second, Completed)
        assert first.reply == second.reply == {"parcel": "P-book"}
    assert (calls, await store.items()) == (["book"], ["book"])


@pytest.mark.parametrize(("item", "answer"), [("no", Rejected), ("broken", Failed)])
async def test_without_a_reply_nothing_of_a_session_is_kept(
    world: WorkerWorld, store: Store, item: str, answer: type[object]
) -> None:
    async with world.running(packing(store, [])):
        (reply,) = await world.ask(world.command(payload=Pack(item=item)))
        assert isinstance(reply, answer)
        # The lock of the file is free again.
        (after,) = await world.ask(world.command("order/B"))
        assert isinstance(after, Completed)
    assert await store.items() == ["book"]


async def test_an_answer_from_elsewhere_keeps_nothing_of_a_session(world: WorkerWorld, store: Store) -> None:
    async with world.running(packing(store, [])) as runtime:
        await world.send(world.command(payload=Pack(item="later")))
        (after,) = await world.ask(world.command("order/B"))
        assert isinstance(after, Completed)
    assert runtime.counts.later == 1
    assert await store.items() == ["book"]


async def test_undo_and_its_fence_by_sessions(world: WorkerWorld, store: Store) -> None:
    async with world.running(packing(store, [])):
        await world.ask(world.command())
        (undone,) = await world.ask(world.command(contract=unpack))
        (late,) = await world.ask(world.command(attempt=2))
    assert isinstance(undone, Completed)
    assert undone.reply == {"was_packed": True}
    assert isinstance(late, Rejected)
    assert late.code == "fenced"
    assert await store.items() == []


async def test_a_refused_change_fails_its_attempt_only(world: WorkerWorld, store: Store) -> None:
    async with AsyncSession(store.engine) as session:
        key = "order/A/pack"
        session.add(Parcel(effect_key=key, item="old"))
        await session.commit()
    worker = Worker("packer", inbox=SqlInbox(store.engine))

    @worker.handles(pack)
    async def do_pack(command: Pack, ctx: Context) -> Packed:
        # Not flushed: the database sees it when the worker commits.
        ctx.session(AsyncSession).add(Parcel(effect_key=key, item="new"))
        return Packed(parcel="P")

    async with world.running(worker):
        (reply,) = await world.ask(world.command())
    assert isinstance(reply, Failed)
    assert "IntegrityError" in reply.error
    assert await store.items() == ["old"]


async def test_sessions_and_raw_statements_wait_for_each_other_and_all_are_done(
    world: WorkerWorld, store: Store
) -> None:
    """A handler that holds the file's lock while others wait for it with theirs must not stop them for good."""
    worker = Worker("packer", inbox=SqlInbox(store.engine))

    @worker.handles(pack)
    async def do_pack(command: Pack, ctx: Context) -> Packed:
        if command.count % 2:
            session = ctx.session(AsyncSession)
            session.add(Parcel(effect_key=ctx.effect_key, item=f"{command.count}"))
            await session.flush()
            await asyncio.sleep(0.02)
        else:
            ctx.execute("INSERT INTO parcels VALUES (?, ?)", (ctx.effect_key, f"{command.count}"))
        return Packed(parcel="P")

    commands = [world.command(f"order/{n}", payload=Pack(count=n)) for n in range(20)]
    async with world.running(worker):
        replies = await world.ask(*commands)
    assert all(isinstance(reply, Completed) for reply in replies)
    assert len(await store.items()) == 20


async def test_an_inbox_without_sessions_and_a_wrong_kind_say_what_to_do(
    world: WorkerWorld, store: Store, tmp_path: Path
) -> None:
    for inbox, kind, remedy in (
        (SqliteInbox(tmp_path / "inbox.db"), AsyncSession, "SqlInbox(engine)"),
        (SqlInbox(store.engine), Session, "ask for AsyncSession"),
    ):
        worker = Worker("packer", inbox=inbox)

        @worker.handles(pack)
        async def do_pack(command: Pack, ctx: Context, kind: type[object] = kind) -> Packed:
            ctx.session(kind)
            return Packed(parcel="P")

        async with world.running(worker):
            (reply,) = await world.ask(world.command())
        assert isinstance(reply, Failed)
        assert remedy in reply.error
        await inbox.close()


@pytest.mark.parametrize("after_seconds", [0.0, 0.0005, 0.002, 0.01])
async def test_a_cancel_that_comes_after_the_handler_ends_no_worker(
    world: WorkerWorld, store: Store, after_seconds: float
) -> None:
    """A library kept the handler's task and cancels it while its transaction is committed, or rolled back."""
    worker, runs = Worker("packer", concurrency=1, inbox=SqlInbox(store.engine)), Counter[str]()

    @worker.handles(pack)
    async def do_pack(command: Pack, ctx: Context) -> Packed:
        runs[command.item] += 1
        session, task = ctx.session(AsyncSession), asyncio.current_task()
        session.add(Parcel(effect_key=ctx.effect_key, item=command.item))
        await session.flush()
        assert task is not None
        if runs[command.item] == 1:
            asyncio.get_running_loop().call_later(after_seconds, task.cancel)
        if command.item == "broken":
            raise ValueError("the machine is broken")
        return Packed(parcel="P")

    async with world.running(worker):
        for number, item in enumerate(["book", "broken", "lamp", "broken", "vase"]):
            (reply,) = await world.ask(world.command(f"order/{number}", payload=Pack(item=item)))
            assert isinstance(reply, Failed if item == "broken" else Completed)
            await asyncio.sleep(after_seconds)  # the next handler runs in the same task
    assert await store.items() == ["book", "lamp", "vase"]
