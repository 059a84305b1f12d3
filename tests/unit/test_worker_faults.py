"""A worker whose log goes away, and a worker that is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from sagaline.orchestrator.codec.inputs import decode_input
from sagaline.orchestrator.messages.inputs import Completed
from sagaline.workers import Context, SqliteInbox, Worker
from sagaline.workers.errors import InboxUnavailable

from ..worker_world import PATIENCE_SECONDS, Pack, Packed, WorkerWorld, pack, worker_world

ROOT = Path(__file__).parents[2]
SCHEMA = "CREATE TABLE IF NOT EXISTS parcels (parcel TEXT NOT NULL);"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


@pytest.mark.slow
async def test_while_the_log_is_away_nothing_is_committed_and_afterwards_everything_is_answered(
    tmp_path: Path,
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    runs: list[str] = []
    worker = Worker("packer")

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        runs.append(ctx.command_id)
        begun.set()
        await go_on.wait()
        return Packed(parcel="P")

    async with worker_world(tmp_path, deadline=timedelta(milliseconds=200)) as world:
        async with world.running(worker) as runtime:
            await world.send(world.command())
            async with asyncio.timeout(PATIENCE_SECONDS):
                await begun.wait()
            with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                go_on.set()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.8):
                        await world.replies(1)
                assert runtime.counts.completed == 0
            (reply,) = await world.replies(1)
            assert isinstance(reply, Completed)
        assert runs == ["order/A/pack~k3x9wq2z/1"]
        assert await world.uncommitted() == []


async def test_a_worker_whose_polls_fail_is_not_ready_and_says_which_queue_cannot_be_read(world: WorkerWorld) -> None:
    worker = Worker("packer")

    @worker.handles(pack)
    async def handle(command: Pack) -> Packed:
        return Packed(parcel="P")

    async with world.running(worker) as runtime:
        assert runtime.objection is None
        await world.log.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (why := runtime.objection) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert why.startswith("worker 'packer': queue 'packing' cannot be read: the log")


@pytest.mark.slow
async def test_a_worker_can_be_stopped_while_the_log_is_away(tmp_path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    worker = Worker("packer", grace=timedelta(milliseconds=300))

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        begun.set()
        await go_on.wait()
        return Packed(parcel="P")

    async with worker_world(tmp_path, deadline=timedelta(milliseconds=200)) as world:
        with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
            async with world.running(worker) as runtime:
                await world.send(world.command())
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await begun.wait()
                other.execute("BEGIN IMMEDIATE")
                go_on.set()
                runtime.stop()
            assert runtime.counts.completed == 0
        assert await world.uncommitted() == ["order/A/pack~k3x9wq2z/1"], "not answered, hence not committed"


@pytest.mark.parametrize(("name", "schema"), [("missing/inbox.db", ""), ("inbox.db", "CREATE TABEL parcels")])
async def test_an_inbox_that_cannot_be_opened_ends_the_worker_at_its_start(
    world: WorkerWorld, tmp_path: Path, name: str, schema: str
) -> None:
    inbox = SqliteInbox(tmp_path / name, schema=schema)
    worker = Worker("packer", inbox=inbox)

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        return Packed(parcel="P")

    with pytest.raises(InboxUnavailable, match="check the file"):
        await world.until_crash(worker)
    await inbox.close()


DYING_WORKER = """
import asyncio, os, signal, sys
from pathlib import Path
from sagaline.workers import SqliteInbox, Worker, WorkerRuntime
from tests.worker_world import Packed, WorkerWorld, pack, worker_world

folder, where = Path(sys.argv[1]), sys.argv[2]

class DiesInside(SqliteInbox):
    async def apply(self, effects):
        if where == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        applied = await super().apply(effects)
        os.kill(os.getpid(), signal.SIGKILL)
        return applied

async def main():
    worker = Worker("packer", inbox=DiesInside(folder / "inbox.db", schema=sys.argv[3]))

    @worker.handles(pack)
    async def handle(command, ctx):
        ctx.execute("INSERT INTO parcels VALUES (?)", (command.item,))
        return Packed(parcel=f"by {os.getpid()}")

    async with worker_world(folder) as world:
        await WorkerRuntime(worker, world.log, world.topics, world.clock).run()

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("where", "stored"), [("before", 0), ("after", 1)])
async def test_a_killed_workers_command_comes_again_and_takes_effect_once(
    tmp_path: Path, where: str, stored: int
) -> None:
    async with worker_world(tmp_path) as world:
        await world.send(world.command())
    script = [sys.executable, "-c", DYING_WORKER, str(tmp_path), where, SCHEMA]
    killed = await asyncio.to_thread(subprocess.run, script, cwd=ROOT, timeout=60, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(parcels(tmp_path)) == stored

    inbox = SqliteInbox(tmp_path / "inbox.db", schema=SCHEMA)
    worker = Worker("packer", inbox=inbox)

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        ctx.execute("INSERT INTO parcels VALUES (?)", (command.item,))
        return Packed(parcel="by the successor")

    async with worker_world(tmp_path) as world:
        async with world.running(worker):
            (reply,) = [decode_input(record) for record in await world.reply_records(1)]
        assert isinstance(reply, Completed)
        assert (reply.reply == {"parcel": "by the successor"}) is (stored == 0), "a stored reply is the first one's"
        assert await world.uncommitted() == []
    assert parcels(tmp_path) == ["book"]
    assert str(os.getpid()) not in str(reply.reply)
    await inbox.close()


def parcels(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "inbox.db")) as connection:
        return [parcel for (parcel,) in connection.execute("SELECT parcel FROM parcels")]
