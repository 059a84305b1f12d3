"""Topics that are deleted: everybody who needs them is told that they are gone, and nobody makes them anew."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from sagaline.orchestrator.errors import LogUnavailable, TopicGone, TopicMismatch
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.runtime.namespace import prepare

from .support import PARTITIONS, QUEUE, SHORT, batch, member, opened, out

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(180)]


def _delete(address: str, names: Sequence[str]) -> None:
    """As an operator would, by another tool; returns when the broker shows none of them."""
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    for deleted in admin.delete_topics(list(names)).values():
        deleted.result(10)
    until = time.monotonic() + 10
    while set(names) & set(admin.list_topics(timeout=10).topics):
        assert time.monotonic() < until
        time.sleep(0.05)


async def gone(call: Callable[[], Awaitable[Any]], topic: str) -> None:
    """The call says that the topic is gone, within a minute; before, it may have had something or nothing."""
    until = asyncio.get_running_loop().time() + 60
    said = unavailable = ""
    while topic not in said:
        assert asyncio.get_running_loop().time() < until, f"{topic} is gone, and what is said is {said or unavailable}"
        try:
            await call()
        except TopicGone as error:
            said = str(error)
        except LogUnavailable as error:
            unavailable = str(error)
        await asyncio.sleep(0.05)


async def test_a_deleted_topic_is_called_gone_by_everybody_who_needs_it(kafka_bootstrap: str) -> None:
    async with opened(kafka_bootstrap, SHORT) as log, opened(kafka_bootstrap) as late:
        topics = Topics(f"gone{uuid.uuid4().hex[:10]}")
        await prepare(log, topics, [QUEUE], PARTITIONS, create=True)
        tail = await log.tail([topics.inputs], "earliest")
        subscription = await log.subscribe([topics.commands(QUEUE)], f"{topics.namespace}.work")
        membership = await member(log, topics)
        owner = await membership.take(0)
        await owner.commit(batch({b"a/1": b"{}"}, [], 0))
        await log.append([out(topics.inputs, b"a/1"), out(topics.commands(QUEUE), b"a/1")])
        missing = [topics.inputs, topics.state, topics.commands(QUEUE)]
        await asyncio.to_thread(_delete, kafka_bootstrap, missing)
        group = f"{topics.namespace}.engine"
        await gone(lambda: log.end_offsets([topics.inputs]), topics.inputs)
        await gone(lambda: log.standing(topics.inputs, topics.state, group), topics.inputs)
        await asyncio.gather(
            gone(lambda: log.append([out(topics.inputs, b"a/1")]), topics.inputs),
            gone(lambda: tail.poll(max_records=10, timeout=0.5), topics.inputs),
            gone(lambda: subscription.poll(max_records=10, timeout=0.5), topics.commands(QUEUE)),
            gone(lambda: owner.commit(batch({b"a/1": b"{}"}, [], 1)), topics.state),
        )
        for create in (True, False):
            with pytest.raises(TopicMismatch, match=r"inputs, .*state is gone.*restore it"):
                await prepare(late, topics, [QUEUE], PARTITIONS, create=create)
        assert await late.partitions(topics.state) == 0
        await owner.release()
        await membership.leave()
