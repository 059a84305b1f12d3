"""One partition of a subscription alone: what a release of a parcel frees, and what a stop waits for."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.messages.parcels import PARCEL, RELEASE
from sagaline.orchestrator.ports.log import Batch, Outgoing, Position
from sagaline.orchestrator.ports.topics import Topics
from sagaline.workers.arrived import Arrived, Reading
from sagaline.workers.source import SourcePartition

TOPICS = Topics("t")


@pytest.mark.parametrize(("up_to", "left"), [(8, 9), (9, None), (12, None)])
async def test_a_release_that_is_older_than_the_marker_is_ignored(tmp_path: Path, up_to: int, left: int | None) -> None:
    async with SqliteLog(tmp_path / "log.db", clock=SystemClock(), member_timeout=timedelta(seconds=2)) as log:
        await log.create_topics([*TOPICS.specs([], 1), *TOPICS.subscribed("g", None, 1)])
        membership = await log.join(TOPICS.events, TOPICS.parked("g"), "g")
        await membership.changed()
        owner = await membership.take(0)
        await owner.commit(Batch({b"key/k": b"9"}, (), Position(0, 1)))
        reading = Reading(
            log=log,
            clock=SystemClock(),
            redeliveries=TOPICS.redelivered("g"),
            group="g",
            alone=asyncio.Lock(),
            grace_seconds=1.0,
            delivery="at_least_once",
            room=lambda: 10,
            arrived=lambda arrived: None,
        )
        source = SourcePartition(owner, reading)
        run = asyncio.create_task(source.run())
        headers = ((PARCEL, b"@parcel/g/k"), (RELEASE, str(up_to).encode()))
        await log.append([Outgoing(TOPICS.redelivered("g"), b"k", None, headers, 0)])
        async with asyncio.timeout(10):
            while owner.get(b"~redelivered") is None:  # noqa: ASYNC110  # a commit tells no loop
                await asyncio.sleep(0.01)
        assert owner.get(b"key/k") == (None if left is None else str(left).encode())
        source.stop()
        await source.idle.wait()
        assert owner.get(b"~open") is None
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def test_a_stop_waits_for_messages_whose_position_was_committed_first(tmp_path: Path) -> None:
    """The stop comes with that very commit: nobody else would ever get them."""
    async with SqliteLog(tmp_path / "log.db", clock=SystemClock(), member_timeout=timedelta(seconds=2)) as log:
        await log.create_topics([*TOPICS.specs([], 1), *TOPICS.subscribed("g", None, 1)])
        membership = await log.join(TOPICS.events, TOPICS.parked("g"), "g")
        await membership.changed()
        owner = await membership.take(0)
        handed: list[Arrived] = []
        reading = Reading(
            log=log,
            clock=SystemClock(),
            redeliveries=TOPICS.redelivered("g"),
            group="g",
            alone=asyncio.Lock(),
            grace_seconds=10.0,
            delivery="at_most_once",
            room=lambda: 10,
            arrived=handed.append,
        )
        source = SourcePartition(owner, reading)
        commit = owner.commit

        async def stopping(batch: Batch) -> None:
            await commit(batch)
            if batch.position.offset == 1:
                source.stop()

        owner.commit = stopping  # type: ignore[method-assign]
        run = asyncio.create_task(source.run())
        await log.append([Outgoing(TOPICS.events, b"k", b"{}", (), 0)])
        async with asyncio.timeout(10):
            while not handed:  # noqa: ASYNC110  # what is handed over tells no loop
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert not source.idle.is_set()
            source.done(handed[0])
            await source.idle.wait()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
