"""The floor: the records of a three-step flow through the log port, with constant bytes and no decision.

Per message one state document, one history record and one command, position in the same commit; a worker that answers
every command. What a flow costs above this is ours: codec, kernel, worker runtime.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from flows import QUEUE

from sagaline.orchestrator.ports.log import Batch, Outgoing, Owner, Position, Record
from sagaline.orchestrator.wiring import Base, running

DOCUMENT = b'{"status":"running","pad":"' + b"x" * 900 + b'"}'
LAST = b'{"status":"completed","pad":"' + b"x" * 600 + b'"}'
BODY = b'{"pad":"' + b"x" * 150 + b'"}'
HEADERS = tuple((f"ce_header{n}", b"v" * 24) for n in range(10))


@asynccontextmanager
async def floor(base: Base, _: argparse.Namespace) -> AsyncIterator[Callable[[str], Outgoing]]:
    """Runs the floor's processors and worker in this process."""
    membership = await base.log.join(base.topics.inputs, base.topics.state, f"{base.settings.namespace}.engine")
    assigned = await membership.changed()
    owners = [await membership.take(partition) for partition in sorted(assigned)]
    async with running(_work(base), "worker"):
        tasks = [asyncio.create_task(_process(base, owner)) for owner in owners]
        try:
            yield lambda key: Outgoing(base.topics.inputs, key.encode(), BODY, HEADERS)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=10)
            for owner in owners:
                await owner.release()
            await membership.leave()


async def _process(base: Base, owner: Owner) -> None:
    seen: Counter[bytes] = Counter()
    topics, partition = base.topics, owner.partition
    while True:
        records = await owner.poll(max_records=500, timeout=1.0)
        if not records:
            continue
        state: dict[bytes, bytes | None] = {}
        appends: list[Outgoing] = []
        for record in records:
            key = record.key or b""
            seen[key] += 1
            ended = seen[key] == 4
            state[key] = DOCUMENT
            appends.append(Outgoing(topics.history, key, LAST if ended else DOCUMENT, HEADERS, partition))
            if not ended:
                appends.append(Outgoing(topics.commands(QUEUE), key, BODY, HEADERS, partition))
        await owner.commit(Batch(state, appends, Position(records[-1].offset + 1, 0)))


async def _work(base: Base) -> None:
    subscription = await base.log.subscribe([base.topics.commands(QUEUE)], f"{base.settings.namespace}.floor")
    while True:
        records = await subscription.poll(max_records=500, timeout=1.0)
        if records:
            await base.log.append([_answer(base, record) for record in records])


def _answer(base: Base, record: Record) -> Outgoing:
    return Outgoing(base.topics.inputs, record.key, BODY, HEADERS, record.partition)
