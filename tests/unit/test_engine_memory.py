"""Many documents: restore leaves the event loop its turns, and what is not held any more is freed at once."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.codec.documents import encode_document
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.orchestrator.ports.log import Batch
from sagaline.orchestrator.runtime import ownership as ownership_module
from sagaline.orchestrator.runtime import processor as processing
from sagaline.orchestrator.runtime.ahead import Room
from sagaline.orchestrator.runtime.engine import Engine
from sagaline.orchestrator.runtime.processor import Processor
from sagaline.orchestrator.wiring import running

from ..engine_world import PARTITIONS, World, open_log, two_steps, world


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with open_log(tmp_path / "log.db") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """As in a long-running process, where it is tuned to hardly run."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _held(engine: Engine) -> list[weakref.ref[Any]]:
    """All that lives and dies with the partitions that are processed now."""
    found: list[weakref.ref[Any]] = []
    for _, processor in engine._ownership.drivers():
        parts = (processor, processor._timers, processor._documents, processor._owner)
        found += [weakref.ref(each) for each in parts]
    return found


async def _freed(held: list[weakref.ref[Any]]) -> None:
    async with asyncio.timeout(5):
        while alive := [each() for each in held if each() is not None]:
            del alive
            await asyncio.sleep(0.01)


async def _busy(w: World) -> None:
    await asyncio.wait_for(w.engine.processes(PARTITIONS), 5)
    for key in "abcdefgh":
        await w.command(await w.start(key), "first")


@pytest.mark.slow
async def test_documents_of_a_partition_that_another_engine_takes_are_freed(log: SqliteLog, tmp_path: Path) -> None:
    async with world(log, [two_steps()]) as w:
        await _busy(w)
        held = _held(w.engine)
        async with open_log(tmp_path / "log.db") as elsewhere, world(elsewhere, [two_steps()]) as other:
            await asyncio.wait_for(other.engine.processes(1), 10)
            async with asyncio.timeout(10):
                while not (gone := [each for each in held if each not in _held(w.engine)]):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await _freed(gone)


@pytest.mark.slow
async def test_documents_of_a_partition_that_failed_are_freed(log: SqliteLog) -> None:
    """Fenced, or without an answer: an error knows the frames that it came through, and those know the owner."""
    async with world(log, [two_steps()]) as w:
        await _busy(w)
        held = _held(w.engine)
        membership = await log.join(w.topics.inputs, w.topics.state, "test.intruders")
        for partition in await membership.changed():
            await (await membership.take(partition)).release()
        for key in "ijklmnop":
            await w.start(key)
        await _freed(held)
        await membership.leave()


@pytest.mark.slow
async def test_an_engine_that_stops_leaves_nothing_behind(log: SqliteLog) -> None:
    async with world(log, [two_steps()]) as w:
        await _busy(w)
        held = _held(w.engine)
    await _freed(held)


@pytest.mark.slow
async def test_restore_gives_the_event_loop_its_turns_and_says_how_far_it_is(log: SqliteLog) -> None:
    """Heartbeats go out between, however many documents there are."""
    async with world(log, [two_steps()]) as w:
        await w.command(await w.start("A-1"), "first")
        partition = partition_of(b"pair/A-1", PARTITIONS)
        document = await w.document("pair/A-1")
    assert document is not None
    membership = await log.join(w.topics.inputs, w.topics.state, "test.fillers")
    await membership.changed()
    owner = await membership.take(partition)
    encoded, count = encode_document(document), 8 * processing._RESTORE_MAX
    await owner.commit(Batch({b"pair/%d" % n: encoded for n in range(count)}, [], owner.position))
    options: dict[str, Any] = {"partitions": w.log.partitions, "on_restored": lambda: None, "room": Room()}
    processor = Processor(owner, w.engine._setup, w.clock, **options)
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with running(tick(), "ticks"):
        before = w.metrics.counts["documents.restored"]
        await processor._restore()
    assert turns > 8
    assert w.metrics.counts["documents.restored"] - before == count + 1
    assert processor._timers.next_due_ms() is not None
    await owner.release()
    await membership.leave()


@pytest.mark.slow
def test_errors_that_name_each_other_as_their_causes_are_freed_too() -> None:
    """As aiokafka's do when a broker goes away; walking them for ever would hold the event loop."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__context__ = second, first
    ownership_module._free(first)
