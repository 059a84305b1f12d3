"""A handler is begun by hand and gets its time limit when it first waits: nobody can tell that from ``await``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest
from pydantic import BaseModel

from sagaline.orchestrator.ports.log import Record
from sagaline.sagas import Event
from sagaline.workers import Message, Worker
from sagaline.workers.calling import Calling
from sagaline.workers.message import Place


class Shipped(BaseModel):
    number: int


shipped = Event("shipped", Shipped)
Handler = Callable[[Shipped], Awaitable[None]]


async def call(handler: Handler, *, seconds: float = 10.0) -> None:
    worker = Worker("w")
    worker.subscribes(shipped)(handler)
    (subscription,) = worker.subscriptions
    record = Record("t", 0, 1, b"k", b'{"number": 7}', (), 0)
    message = Message(record, Place("t", 0, 1), group="w", name="shipped", id="m", attempt=1, traceparent=None)
    if (rest := Calling(worker.calls, seconds).begin(subscription, Shipped(number=7), message)) is not None:
        await rest


@pytest.mark.parametrize("waits", [0, 1, 3])
async def test_a_handler_runs_in_the_task_and_the_context_of_its_caller_to_its_end(waits: int) -> None:
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("caller's")
    found: list[object] = []

    async def handler(event: Shipped) -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        future = asyncio.get_running_loop().create_future()
        if waits:
            asyncio.get_running_loop().call_soon(future.set_result, event.number)
            assert await future == 7
        found.extend((variable.get(), asyncio.current_task()))

    await call(handler)
    assert found == ["caller's", asyncio.current_task()]


@pytest.mark.parametrize("waits", [False, True])
async def test_what_a_handler_raises_is_raised(waits: bool) -> None:
    async def handler(event: Shipped) -> None:
        if waits:
            await asyncio.sleep(0)
        raise ConnectionError("away")

    with pytest.raises(ConnectionError, match="away"):
        await call(handler)


async def test_a_handler_that_waits_too_long_is_cancelled_and_may_clean_up() -> None:
    cleaned: list[str] = []

    async def handler(event: Shipped) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    with pytest.raises(TimeoutError, match=r"cancelled after 0\.01 s"):
        await call(handler, seconds=0.01)
    assert cleaned == ["up"]


async def test_a_time_limit_of_the_handler_s_own_is_its_own_affair() -> None:
    async def catches(event: Shipped) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        await asyncio.sleep(0)

    async def lets_pass(event: Shipped) -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    async def outlasts(event: Shipped) -> None:
        async with asyncio.timeout(100):
            await asyncio.Event().wait()

    await call(catches)
    with pytest.raises(TimeoutError) as passed:
        await call(lets_pass)
    assert "handler_timeout" not in str(passed.value)
    with pytest.raises(TimeoutError, match="handler_timeout"):
        await call(outlasts, seconds=0.01)


async def test_a_cancel_of_the_caller_reaches_the_handler() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def handler(event: Shipped) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
            raise

    task = asyncio.ensure_future(call(handler))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_handlers_that_block_have_as_many_threads_as_run_at_once() -> None:
    """The loop's own threads are few: six on two cores."""
    barrier = threading.Barrier(40, timeout=20)

    def handle(event: Shipped) -> None:
        barrier.wait()

    await asyncio.gather(*(call(handle) for _ in range(40)))  # type: ignore[arg-type]  # a handler may be sync
    assert not barrier.broken
