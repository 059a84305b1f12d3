"""What a producer returns and takes; each marked line is an error for both checkers."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from sagaline.client import Producer, SyncProducer
from sagaline.sagas import Event
from sagaline.workers import CommandBus, EventBus

from .shared import Release, Released, Reserve, Reserved, release_stock, reserve_stock

SOON = timedelta(seconds=5)
released = Event("released", Released)


async def asks(producer: Producer, reserve: Reserve, release: Release) -> None:
    assert_type(await producer.request(reserve_stock, reserve, timeout=SOON), Reserved)
    assert_type(await producer.request(release_stock, release, timeout=SOON), Released)
    assert_type(await producer.tell(reserve_stock, reserve, key="k", deliver_after=SOON), str)
    assert_type(await producer.publish(released, "k", Released(was_reserved=True)), str)
    assert_type(await producer.publish(released, "k", {"was_reserved": True}), str)


async def asks_in_process(commands: CommandBus, events: EventBus, reserve: Reserve, release: Release) -> None:
    assert_type(await commands.request(reserve_stock, reserve), Reserved)
    assert_type(await commands.request(release_stock, release, timeout=SOON, id="r-1"), Released)
    assert_type(await events.publish(released, "k", Released(was_reserved=True)), str)
    await commands.request(reserve_stock, release)  # expect: error (another contract's command)
    await events.publish(released, "k", reserve)  # expect: error (another body)


def asks_and_waits(producer: SyncProducer, reserve: Reserve, release: Release) -> None:
    assert_type(producer.request(reserve_stock, reserve, timeout=SOON), Reserved)
    assert_type(producer.request(release_stock, release, timeout=SOON, id="r-1"), Released)
    assert_type(producer.tell(reserve_stock, reserve, key="k"), str)
    assert_type(producer.publish(released, "k", Released(was_reserved=True)), str)


async def mistakes(producer: Producer, reserve: Reserve, release: Release) -> None:
    await producer.request(reserve_stock, release, timeout=SOON)  # expect: error (another contract's command)
    await producer.request(reserve_stock, reserve)  # expect: error (no deadline)
    await producer.tell(reserve_stock, {"order_id": "A"})  # expect: error (no model)
    await producer.publish(released, "k", reserve)  # expect: error (another body)
    await producer.publish(reserve_stock, "k", reserve)  # expect: error (no event)


def waiting_mistakes(producer: SyncProducer, reserve: Reserve, release: Release) -> None:
    producer.request(reserve_stock, release, timeout=SOON)  # expect: error (another contract's command)
    producer.request(reserve_stock, reserve)  # expect: error (no deadline)


async def wrong_reply(producer: Producer, reserve: Reserve) -> Released:
    return await producer.request(reserve_stock, reserve, timeout=SOON)  # expect: error (another reply)


def wrong_reply_waited_for(producer: SyncProducer, reserve: Reserve) -> Released:
    return producer.request(reserve_stock, reserve, timeout=SOON)  # expect: error (another reply)
