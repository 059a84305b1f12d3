"""Handlers of workers: right ones type-check without ignores, and each marked line is an error for both checkers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from sagaline.sagas import Event, Rejected
from sagaline.workers import Context, Delivery, Depends, Worker

from .shared import Release, Released, Reserve, Reserved, reserve_stock

worker = Worker("warehouse")
reserved = Event("reserved", Reserved)


def one() -> int:
    return 1


@worker.handles(reserve_stock)
async def both(command: Reserve, ctx: Context) -> Reserved | Rejected:
    ctx.execute("INSERT INTO answers VALUES (?, ?)", (command.order_id, ctx.attempt))
    return Rejected("no") if ctx.undo else Reserved(reservation_id="r")


@worker.handles(reserve_stock)
async def reply_only(command: Reserve, ctx: Context) -> Reserved:
    return Reserved(reservation_id=command.order_id)


@worker.handles(reserve_stock)
async def refuses(command: Reserve, ctx: Context) -> Rejected:
    return Rejected("no")


@worker.handles(reserve_stock)  # expect: error (another command)
async def wrong_command(command: Release, ctx: Context) -> Reserved:
    return Reserved(reservation_id="r")


@worker.handles(reserve_stock)  # expect: error (another reply)
async def wrong_reply(command: Reserve, ctx: Context) -> Released:
    return Released(was_reserved=True)


@worker.handles(reserve_stock)  # expect: error (no reply is no answer)
async def no_reply(command: Reserve, ctx: Context) -> Reserved | None:
    return None


@worker.handles(reserve_stock)
def in_a_thread(command: Reserve, ctx: Context) -> Reserved | Rejected:
    return Reserved(reservation_id="r")


@worker.handles(reserve_stock)
async def no_context(command: Reserve) -> Reserved:
    return Reserved(reservation_id="r")


@worker.handles(reserve_stock)
async def injected(command: Reserve, number: Annotated[int, Depends(one)], text: str = Depends(str)) -> Reserved:
    return Reserved(reservation_id=f"{number}{text}")


@worker.handles(reserve_stock)  # expect: error (another reply, in a thread)
def wrong_reply_in_a_thread(command: Reserve) -> Released:
    return Released(was_reserved=True)


@worker.handles(reserve_stock)  # expect: error (takes no command)
async def no_command() -> Reserved:
    return Reserved(reservation_id="r")


@worker.use
async def around(message: Delivery, call_next: Callable[[], Awaitable[object]]) -> object:
    assert message.attempt > 0
    return await call_next()


@worker.use  # expect: error (takes no call_next)
async def alone(message: Delivery) -> object:
    return None


worker.dependency_overrides[one] = lambda: 2


async def calls_them(ctx: Context) -> None:
    await both(Reserve(order_id="o"), ctx)
    await injected(Reserve(order_id="o"), 1)
    await injected(Reserve(order_id="o"), "1")  # expect: error (a number)


@worker.handles(reserve_stock)
async def no_parameter(command: Reserve, ctx: Context) -> Reserved:
    ctx.execute("INSERT INTO answers VALUES (?)", (command,))  # expect: error (a model is no SQL value)
    return Reserved(reservation_id="r")


@worker.subscribes(reserved, where={"all": [{"prefix": {"subject": "a"}}, {"not": {"exact": {"type": "b"}}}]})
async def by_headers(body: Reserved) -> None: ...


@worker.subscribes(reserved, where=lambda body: body.reservation_id == "r")
async def by_body(body: Reserved) -> None: ...


worker.subscribes(reserved, where={"sql": "a"})  # expect: error (no such dialect)
worker.subscribes(reserved, where={"exact": {"type": 3}})  # expect: error (a text)
