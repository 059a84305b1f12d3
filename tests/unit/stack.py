"""A whole small system for tests of the client and the API: real log on a file, real engine, projector, feed."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.client import Client, ClientParts, Feed
from sagaline.orchestrator.kernel import Limits, Registry
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.runtime.deciding import Deciding
from sagaline.orchestrator.runtime.engine import Engine
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.orchestrator.runtime.namespace import identity_of
from sagaline.orchestrator.runtime.projector import Projector
from sagaline.orchestrator.runtime.watch import Watch
from sagaline.orchestrator.tracing import Tracing
from sagaline.orchestrator.vault import KeyRing, Vault
from sagaline.sagas.examples.order_checkout import checkout

__all__ = ["PARTITIONS", "Stack", "order", "running", "stack"]

PARTITIONS = 2
PERSONAL_KEY = "2026-11:" + b64encode(bytes(range(32))).decode()


def order(key: str = "A-1", **more: Any) -> dict[str, Any]:
    """An input that the order checkout takes."""
    body = {"id": key[:64] or "x", "customer": "C-1", "lines": [{"sku": "book", "quantity": 1}], "total_cents": 990}
    return {"order": {**body, **more}}


@dataclass
class Stack:
    log: SqliteLog
    topics: Topics
    registry: Registry
    read_model: SqlReadModel
    projector: Projector
    feed: Feed
    client: Client
    parts: ClientParts


@asynccontextmanager
async def running(*parts: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs the parts beside the block; one that ends by itself with an error fails the test."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(outcome, asyncio.CancelledError) and outcome is not None:
                raise outcome


@asynccontextmanager
async def stack(
    folder: Path,
    *,
    engine: bool = True,
    registry: Registry | None = None,
    deployed: Registry | None = None,
    tracing: Tracing | None = None,
    limits: Limits | None = None,
    metrics: Metrics | None = None,
    tenancy: tuple[str, str | None] = ("t", None),
) -> AsyncIterator[Stack]:
    """``deployed``: what the engine knows, where that is not what the client knows. ``tenancy``: the namespace and
    the address of its read model; None: the file of the log, which namespaces of one folder share.
    """
    namespace, address = tenancy
    clock, topics, group = SystemClock(), Topics(namespace), f"{namespace}.engine"
    registry = registry or Registry([checkout])
    tracing = tracing or Tracing()
    url = address or f"sqlite:///{folder / 'sagaline.db'}"
    async with SqliteLog(folder / "sagaline.db", clock=clock) as log:
        queues = registry.queues | (deployed.queues if deployed else frozenset())
        await log.create_topics(topics.specs(sorted(queues), PARTITIONS))
        read_model = await SqlReadModel.open(url, namespace=namespace)
        try:
            projector, feed = Projector(log, topics, read_model, clock, registry=registry), Feed(log, topics)
            vault = Vault(log, topics.personal, KeyRing([PERSONAL_KEY], "SAGALINE_PERSONAL_KEYS"))
            watch = Watch(log, topics, clock, Metrics(), group=group)
            parts = ClientParts(
                log=log,
                topics=topics,
                registry=registry,
                clock=clock,
                tracing=tracing,
                read_model=read_model,
                projector=projector,
                feed=feed,
                watch=watch,
                identity=partial(identity_of, log, topics),
                vault=vault,
            )
            setup = Deciding(
                registry=deployed or registry,
                topics=topics,
                partitions=PARTITIONS,
                limits=limits or Limits(),
                tracing=tracing,
                metrics=metrics or Metrics(),
                max_value_bytes=log.max_value_bytes,
            )
            engines = [Engine(log, setup, clock, group=group).run()] if engine else []
            async with running(projector.run(), feed.run(), *engines):
                yield Stack(log, topics, registry, read_model, projector, feed, Client(parts), parts)
        finally:
            await read_model.close()
