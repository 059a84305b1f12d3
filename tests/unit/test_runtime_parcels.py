"""Parcels at work in a real engine on the SQLite log: what they forward stands in its topic as it was given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.messages.inputs import Message
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.parcels import (
    Discard,
    Handled,
    Letter,
    Posted,
    Redrive,
    Reschedule,
    RetryPolicy,
    Skip,
    Source,
    delayed_id,
    parcel_id,
    parked_letter,
    to_base64,
)
from sagaline.orchestrator.ports.log import Record, TopicSpec
from tests.engine_world import HandClock, World, open_log, world

KEY, AGAIN = parcel_id("billing", b"\xff"), "test.redelivered.billing"
RETRY = RetryPolicy(max_attempts=2, first_ms=1_000, factor=2.0, most_ms=60_000)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with open_log(tmp_path / "log.db") as opened:
        await opened.create_topics([TopicSpec(AGAIN, 2, "delete"), TopicSpec("mail", 3, "delete")])
        yield opened


async def tell(w: World, message: Message) -> None:
    await w.log.append([encode_entity_message(w.topics.inputs, message, source="/test", now_ms=0, traceparent=None)])


async def asked(w: World, message: Message) -> Outcome:
    await tell(w, message)
    found = await w.decided(message.instance, lambda record: record.message is not None and record.message == message)
    return found.outcome


def place(offset: int) -> Source:
    return Source(topic="shop", partition=1, offset=offset)


def post(offset: int, *, error: str | None = None, value: bytes = b"v") -> Posted:
    return Posted(
        id=f"p{offset}",
        instance=KEY,
        letter=replace(
            parked_letter("billing", place(offset), b"\xff", value, (("ce_type", b"paid"),)), timestamp_ms=77
        ),
        group="billing",
        redeliver_to=AGAIN,
        redeliver_partition=1,
        retry=RETRY,
        error=error,
        attempts=0 if error is None else 1,
    )


def delay(w: World, due_ms: int) -> Posted:
    letter = Letter(id="m-1", topic="mail", partition=2, key=to_base64(b"k"), value=to_base64(b"\x00"))
    return Posted(id="p", instance=delayed_id("m-1"), letter=letter, due_ms=due_ms)


async def redelivered(w: World, header: str, value: bytes) -> Record:
    return (await w.wait(AGAIN, lambda record: dict(record.headers).get(header) == value))[-1]


async def test_a_delayed_message_stands_in_its_topic_when_it_is_due_and_not_before(log: SqliteLog) -> None:
    clock = HandClock()
    async with world(log, [], clock=clock) as w:
        assert await asked(w, delay(w, clock.at_ms + 60_000)) is Outcome.APPLIED
        assert await asked(w, Reschedule(id="r", instance=delayed_id("m-1"), due_ms=clock.at_ms + 5_000, by="ann"))
        assert await w.everything("mail") == []
        clock.at_ms += 5_000
        (record,) = await w.wait("mail", lambda _: True)
        assert (record.partition, record.key, record.value, record.headers) == (2, b"k", b"\x00", ())
        assert await asked(w, Discard(id="d", instance=delayed_id("m-1"))) is Outcome.DENIED


async def test_a_key_is_retried_parked_skipped_and_released(log: SqliteLog) -> None:
    """What the owner of the source partition sees, and what it answers."""
    clock = HandClock()
    async with world(log, [], clock=clock) as w:
        await tell(w, post(5, error="boom"))
        assert await asked(w, post(6, value=b"w")) is Outcome.APPLIED
        clock.at_ms += 1_000
        again = await redelivered(w, "sagaline-attempt", b"2")
        assert (again.partition, again.key, again.value) == (1, b"\xff", b"v")
        assert again.headers == (
            ("ce_type", b"paid"),
            ("sagaline-parcel", KEY.encode()),
            ("sagaline-source", b"shop/1/5"),
            ("sagaline-attempt", b"2"),
            ("sagaline-timestamp", b"77"),
        )
        failed = Handled(id="h1", instance=KEY, source=place(5), attempt=2, ok=False, error="boom")
        assert await asked(w, failed) is Outcome.APPLIED
        assert await asked(w, Redrive(id="r", instance=KEY, by="ann")) is Outcome.APPLIED
        assert await asked(w, Skip(id="s", instance=KEY, by="ann", reason="known")) is Outcome.APPLIED
        (dead,) = await w.everything(w.topics.dead)
        assert (dead.key, dead.value) == (b"\xff", b"v")
        headers = dict(dead.headers)
        assert headers["dead-reason"] == b"skipped by ann: known"
        assert [headers[f"dead-{each}"] for each in ("topic", "partition", "offset")] == [b"shop", b"1", b"5"]
        await redelivered(w, "sagaline-source", b"shop/1/6")
        await tell(w, Handled(id="h2", instance=KEY, source=place(6), attempt=1, ok=True))
        release = await redelivered(w, "sagaline-release", b"6")
        assert (release.partition, release.key, release.value) == (1, b"\xff", None)


async def test_a_request_that_changes_nothing_is_answered_in_the_history(log: SqliteLog) -> None:
    """Who asked waits for that record."""
    async with world(log, []) as w:
        assert await asked(w, delay(w, 1 << 45)) is Outcome.APPLIED
        same = Reschedule(id="r", instance=delayed_id("m-1"), due_ms=1 << 45)
        assert await asked(w, same) is Outcome.UNCHANGED


async def test_a_topic_that_is_missing_makes_a_dead_letter_and_harms_nothing_else(log: SqliteLog) -> None:
    """Once it was created it is used."""
    async with world(log, []) as w:
        lost = Letter(id="m-9", topic="none", key=to_base64(b"k"), value=to_base64(b"v"))
        messages = [Posted(id=f"p{n}", instance=delayed_id(f"m-{n}"), letter=lost, due_ms=0) for n in range(3)]
        for message in messages[:2]:
            assert await asked(w, message) is Outcome.APPLIED
        assert await asked(w, delay(w, 0)) is Outcome.APPLIED
        await w.wait("mail", lambda _: True)
        for dead in await w.wait(w.topics.dead, lambda _: True):
            assert dict(dead.headers)["dead-reason"] == b"topic none does not exist; create it, then redrive this"
            assert (dead.key, dead.value) == (b"k", b"v")
        await log.create_topics([TopicSpec("none", 1, "delete")])
        await asked(w, replace(messages[2], id="look"))  # looks again
        await asked(w, replace(messages[2], id="sent"))
        await w.wait("none", lambda _: True)


@pytest.mark.parametrize("topic", ["test.state", "test.history", "test.parked.billing"])
async def test_no_letter_is_written_to_a_topic_that_has_owners(log: SqliteLog, topic: str) -> None:
    async with world(log, []) as w:
        letter = Letter(id="m-9", topic=topic, key=to_base64(b"orders/1"), value=to_base64(b"v"))
        await asked(w, Posted(id="p", instance=delayed_id("m-9"), letter=letter, due_ms=0))
        (dead,) = await w.everything(w.topics.dead)
        assert b"is written only by its owners" in dict(dead.headers)["dead-reason"]


async def test_a_partition_that_is_missing_makes_a_dead_letter(log: SqliteLog) -> None:
    async with world(log, []) as w:
        letter = Letter(id="m-9", topic="mail", partition=3)
        await asked(w, Posted(id="p", instance=delayed_id("m-9"), letter=letter, due_ms=0))
        (dead,) = await w.everything(w.topics.dead)
        assert dict(dead.headers)["dead-reason"].startswith(b"topic mail has 3 partitions, not 4")
