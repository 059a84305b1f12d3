"""Timers that are decided before they are due: the result is that of a decision at the due time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.codec.documents import decode_history
from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.messages.inputs import Message, TimerFired
from sagaline.orchestrator.messages.parcels import Discard, Edit, Letter, Posted, Reschedule, delayed_id, to_base64
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.orchestrator.ports.log import Record, TopicSpec
from sagaline.orchestrator.runtime.ahead import Ahead, Room
from sagaline.orchestrator.runtime.guard import Ready
from sagaline.orchestrator.runtime.timers import DueTimer
from sagaline.orchestrator.runtime.writes import Writes
from sagaline.orchestrator.tracing import Tracing
from tests.engine_world import PARTITIONS, HandClock, World, open_log, world

BEGAN_MS = 1_700_000_000_000
SOON_MS = 5_000


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with open_log(tmp_path / "log.db") as opened:
        await opened.create_topics([TopicSpec("mail", 1, "delete")])
        yield opened


def delay(name: str, due_ms: int, value: bytes = b"v") -> Posted:
    headers = (("h", to_base64(b"1") or ""),)
    letter = Letter(id=name, topic="mail", key=to_base64(name.encode()), value=to_base64(value), headers=headers)
    return Posted(id=f"post {name} {due_ms}", instance=delayed_id(name), letter=letter, due_ms=due_ms)


async def tell(w: World, *messages: Message) -> None:
    await w.log.append(
        [encode_entity_message(w.topics.inputs, m, source="/test", now_ms=0, traceparent=None) for m in messages]
    )
    for message in messages:
        await w.decided(message.instance, lambda record, m=message: record.message == m)  # type: ignore[misc]


async def made_ahead(w: World, *names: str) -> None:
    """Until the timers of these parcels are decided and wait."""
    async with asyncio.timeout(10):
        while True:
            drivers = [driver for _, driver in w.engine._ownership.drivers()]
            waiting = [id for driver in drivers for id in driver._ahead._ready]
            if sorted(waiting) == sorted(map(delayed_id, names)):
                return
            await asyncio.sleep(0.005)


async def mails(w: World, count: int) -> list[Record]:
    """All that were forwarded, when there are so many."""
    seen = 0

    def enough(_: Record) -> bool:
        nonlocal seen
        seen += 1
        return seen == count

    await w.wait("mail", enough)
    return await w.everything("mail")


async def test_a_timer_decided_ahead_does_what_it_does_when_it_is_due(log: SqliteLog) -> None:
    """The record is as it was given, and the history says when it was forwarded, not when that was prepared."""
    clock = HandClock(BEGAN_MS)
    async with world(log, [], clock=clock) as w:
        await tell(w, delay("a", BEGAN_MS + SOON_MS))
        await made_ahead(w, "a")
        clock.at_ms += SOON_MS - 1
        await asyncio.sleep(0.03)
        assert await w.everything("mail") == []
        clock.at_ms += 70
        (mail,) = await mails(w, 1)
        assert (mail.key, mail.value, mail.headers) == (b"a", b"v", (("h", b"1"),))
        told = (await w.everything(w.topics.history))[-1]
        decided = decode_history(told)
        assert isinstance(decided.message, TimerFired)
        assert (decided.at_ms, decided.revision, decided.traceparent) == (clock.at_ms, 0, None)
        assert dict(told.headers)["ce_time"] == b"2023-11-14T22:13:25.069+00:00"
        assert await w.document(delayed_id("a")) is None
        await made_ahead(w)


async def test_a_parcel_that_changed_after_it_was_decided_ahead_does_what_it_says_now(log: SqliteLog) -> None:
    clock = HandClock(BEGAN_MS)
    async with world(log, [], clock=clock) as w:
        due_ms = BEGAN_MS + SOON_MS
        await tell(w, *(delay(name, due_ms) for name in "abcd"))
        await made_ahead(w, *"abcd")
        edit = Edit(id="e", instance=delayed_id("a"), letter="a", value=to_base64(b"edited"))
        later = Reschedule(id="r", instance=delayed_id("b"), due_ms=due_ms + 1_000)
        await tell(w, edit, later, *(Discard(id=f"d{name}", instance=delayed_id(name)) for name in "cd"))
        await tell(w, delay("d", due_ms, b"new"))
        await made_ahead(w, *"abd")
        clock.at_ms = due_ms
        first = await mails(w, 2)
        assert {mail.key: mail.value for mail in first} == {b"a": b"edited", b"d": b"new"}
        clock.at_ms += 1_000
        assert [mail.key for mail in await mails(w, 3)][2:] == [b"b"]


async def test_a_change_in_the_same_batch_as_the_due_time_counts(log: SqliteLog) -> None:
    """It is decided before the timer, and is not committed yet."""
    clock = HandClock(BEGAN_MS)
    async with world(log, [], clock=clock) as w:
        await tell(w, delay("a", BEGAN_MS + SOON_MS))
        await made_ahead(w, "a")
        (driver,) = [driver for number, driver in w.engine._ownership.drivers() if number == _home("a")]
        edit = Edit(id="e", instance=delayed_id("a"), letter="a", value=to_base64(b"edited"))
        driver._own.append(edit)
        clock.at_ms += SOON_MS
        (mail,) = await mails(w, 1)
        assert mail.value == b"edited"


def _home(name: str) -> int:
    return partition_of(delayed_id(name).encode(), PARTITIONS)


async def test_with_tracing_the_record_of_the_history_names_the_span(log: SqliteLog) -> None:
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    clock = HandClock(BEGAN_MS)
    async with world(log, [], clock=clock, tracing=Tracing(provider)) as w:
        await tell(w, delay("a", BEGAN_MS + SOON_MS))
        await made_ahead(w, "a")
        kept.clear()
        clock.at_ms += SOON_MS
        await mails(w, 1)
        told = (await w.everything(w.topics.history))[-1]
        await made_ahead(w)
    (span,) = [span for span in kept.get_finished_spans() if span.name == "decide TimerFired"]
    context = span.get_span_context()
    assert context is not None
    assert span.attributes is not None
    assert span.attributes["sagaline.outcome"] == "applied"
    trace = decode_history(told).traceparent
    assert trace is not None
    assert trace.split("-")[1:3] == [f"{context.trace_id:032x}", f"{context.span_id:016x}"]
    assert dict(told.headers)["traceparent"] == trace.encode()


async def test_a_decision_ahead_counts_with_the_memory_of_its_objects(log: SqliteLog) -> None:
    """Those of small messages are ten times as large as their values."""
    async with world(log, [], clock=HandClock(BEGAN_MS)) as w:
        await tell(w, delay("a", BEGAN_MS + SOON_MS, b"v" * 1_000))
        await made_ahead(w, "a")
        assert 5_000 < w.engine._room.taken_bytes < 8_000


async def test_what_cannot_be_forwarded_is_decided_when_it_is_due(log: SqliteLog) -> None:
    """The topic may be there by then."""
    clock = HandClock(BEGAN_MS)
    async with world(log, [], clock=clock) as w:
        lost = Letter(id="x", topic="none", key=to_base64(b"k"), value=to_base64(b"v"))
        await tell(w, Posted(id="now", instance=delayed_id("x"), letter=lost, due_ms=0))
        await w.wait(w.topics.dead, lambda _: True)
        await tell(w, Posted(id="later", instance=delayed_id("x"), letter=lost, due_ms=BEGAN_MS + SOON_MS))
        await tell(w, delay("a", BEGAN_MS + SOON_MS))
        await made_ahead(w, "a")


def test_a_decision_is_taken_once_and_only_for_its_timer() -> None:
    ahead, first, other = Ahead(Room()), DueTimer(5, "@parcel/a", "due"), DueTimer(6, "@parcel/a", "due")
    ahead.put(first, _ready(1))
    assert ahead.take(other) is None
    assert ahead.take(first) is not None
    assert ahead.take(first) is None


def test_decisions_ahead_of_all_partitions_share_one_bound_of_bytes() -> None:
    room = Room(max_bytes=100)
    partitions, timers = [Ahead(room) for _ in range(2)], [DueTimer(n, f"@parcel/{n}", "due") for n in range(3)]
    for ahead, timer in zip(partitions, timers, strict=False):
        assert not ahead.full
        ahead.put(timer, _ready(50))
    assert [ahead.full for ahead in partitions] == [True, True]
    partitions[0].put(timers[0], _ready(20))
    assert not partitions[1].full
    partitions[0].put(timers[2], _ready(30))
    assert partitions[1].full
    partitions[0].clear()
    assert (partitions[1].full, room.taken_bytes) == (False, 50)
    partitions[1].forget(timers[1].instance)
    assert room.taken_bytes == 0


async def test_a_process_decides_no_more_ahead_than_its_room_whatever_its_partitions(log: SqliteLog) -> None:
    """What is not decided ahead is forwarded all the same, and a partition that is left gives its room back."""
    clock, count = HandClock(BEGAN_MS), 40
    async with world(log, [], clock=clock) as w:
        w.engine._room._max_bytes = 12 * 5_100
        await tell(w, *(delay(f"d{n}", BEGAN_MS + SOON_MS) for n in range(count)))
        aheads = [driver._ahead for _, driver in w.engine._ownership.drivers()]
        assert len(aheads) == PARTITIONS
        async with asyncio.timeout(10):
            while not w.engine._room.full:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        for _ in range(20):
            await asyncio.sleep(0)
        assert w.engine._room.taken_bytes <= (12 + 20) * 6_000, "its bound, and one turn of a partition"
        clock.at_ms = BEGAN_MS + SOON_MS
        await mails(w, count)
        room = w.engine._room
    assert room.taken_bytes == 0


def _ready(size_bytes: int) -> Ready:
    return Ready(TimerFired(id="t", instance="@parcel/a", timer="due", due_ms=5), Writes(), size_bytes)
