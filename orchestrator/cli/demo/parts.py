"""The demo's process: engine, supervised workers and API on one log, started and stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from ....api.app import create_app
from ....api.door import Door
from ....api.serving import bind, serving
from ....sagas.definition import AnyDefinition
from ....sagas.examples.order_checkout import checkout
from ....workers.runtime import WorkerRuntime
from ....workers.worker import Worker
from ... import wiring
from ...errors import LogUnavailable
from ...kernel import Registry
from ...settings import Settings
from ...wiring import Base
from ..processes import any_ended, workers_running
from ..reading import whole_topic
from ..serving import api_settings, longest_grace
from ..verify import verification
from .place import Place
from .shop import Shop
from .supervisor import Supervisor
from .traces import SpanMemory

__all__ = ["Parts", "bound", "demo_parts", "orders_on_record", "unless_ended"]

_PORTS_TRIED = 20
_START_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The running demo. ``address`` is the API's; ``running`` are the tasks; none of them ends by itself."""

    base: Base
    shop: Shop
    spans: SpanMemory
    address: str
    supervisors: list[Supervisor]
    running: list[asyncio.Task[None]]

    @property
    def crashes(self) -> int:
        return sum(supervisor.crashes for supervisor in self.supervisors)


def bound(settings: Settings) -> Door:
    """A listening socket: on the given port, or on 8080 or the next free one.

    Raises:
        ConfigurationError: the given port is taken, or none near 8080 is free.
    """
    tries = 1 if "port" in settings.model_fields_set else _PORTS_TRIED
    return bind(settings.host, settings.port, api_settings(settings), tries=tries)


@asynccontextmanager
async def demo_parts(
    place: Place, listener: Door, definitions: Sequence[AnyDefinition], workers: Sequence[Worker]
) -> AsyncIterator[Parts]:
    """Runs everything while the block runs; at its end the API stops first, then workers, engine and log.

    Raises:
        SagalineError: a part could not be started; the message says what to do.
    """
    registry, spans = Registry(definitions), SpanMemory()
    running: list[asyncio.Task[None]] = []
    async with AsyncExitStack() as stack:
        tracing, provider = wiring.configure_tracing(place.settings, "sagaline-demo", spans)
        stack.push_async_callback(wiring.export_the_rest, provider)
        base = await stack.enter_async_context(wiring.open_base(place.settings, tracing))
        await wiring.prepare_topics(base, registry.queues)
        groups = {(each.options.group, each.topic) for worker in workers for each in worker.subscriptions}
        await wiring.prepare_subscriptions(base, groups)
        client = await stack.enter_async_context(wiring.client(base, registry, serves=True))
        engine = wiring.engine(base, registry)
        running.append(await stack.enter_async_context(wiring.running(engine.run(), "engine")))
        for inbox in {id(worker.inbox): worker.inbox for worker in workers if worker.inbox is not None}.values():
            stack.push_async_callback(inbox.close)
        supervisors = [Supervisor(worker.name, partial(_incarnation, worker, base)) for worker in workers]
        working = workers_running([(one.name, one) for one in supervisors], grace_seconds=longest_grace(workers))
        running += await stack.enter_async_context(working)
        doors = api_settings(place.settings)
        app = create_app(client, clock=base.clock, tracing=base.tracing, settings=doors, verifier=verification)
        address = await stack.enter_async_context(serving(app, listener, doors))
        http = await stack.enter_async_context(_customer(address, place.settings))
        await _all_started(supervisors, running)
        yield Parts(base=base, shop=Shop(http), spans=spans, address=address, supervisors=supervisors, running=running)


async def orders_on_record(base: Base) -> set[str]:
    """Every order whose start is in the log, decided or not.

    Raises:
        LogUnavailable: the log was not read to its end in time.
    """
    records = whole_topic(base, base.topics.inputs, timeout_seconds=_START_SECONDS)
    found = {(record.key or b"").decode(errors="replace") async for record in records}
    return {instance for instance in found if instance.startswith(f"{checkout.name}/")}


def _incarnation(worker: Worker, base: Base) -> WorkerRuntime:
    return WorkerRuntime(worker, base.log, base.topics, base.clock, base.tracing, vault=base.vault)


def _customer(address: str, settings: Settings) -> httpx.AsyncClient:
    headers = {}
    if settings.api_tokens:
        headers["Authorization"] = f"Bearer {settings.api_tokens[0].get_secret_value()}"
    return httpx.AsyncClient(base_url=address, headers=headers, timeout=httpx.Timeout(15.0), trust_env=False)


async def _all_started(supervisors: list[Supervisor], running: list[asyncio.Task[None]]) -> None:
    """Waits until every queue is subscribed; raises the error of a part that ended before."""
    started = asyncio.gather(*(supervisor.started.wait() for supervisor in supervisors))
    try:
        waited: set[asyncio.Future[Any]] = {started, *running}
        await asyncio.wait(waited, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if started.done():
            return
        for part in running:
            if part.done() and (error := part.exception()) is not None:
                raise error
        raise LogUnavailable(f"the workers did not start within {_START_SECONDS:g} s; see the log above")
    finally:
        started.cancel()


async def unless_ended(work: Awaitable[None], parts: Parts) -> None:
    """Awaits ``work``; raises the error of a part of the demo that ends meanwhile."""
    async with AsyncExitStack() as stack:
        doing = asyncio.ensure_future(work)
        ended = asyncio.ensure_future(any_ended(parts.running))
        stack.callback(ended.cancel)
        stack.callback(doing.cancel)
        done, _ = await asyncio.wait({doing, ended}, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
