"""Handlers of workers: right ones type-check without ignores, and each marked line is an error for both checkers."""

from __future__ import annotations

from sagaline.sagas import Rejected
from sagaline.workers import Context, Worker

from .shared import Release, Released, Reserve, Reserved, reserve_stock

worker = Worker("warehouse")


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


@worker.handles(reserve_stock)  # expect: error (not async)
def not_async(command: Reserve, ctx: Context) -> Reserved:
    return Reserved(reservation_id="r")


@worker.handles(reserve_stock)  # expect: error (no context)
async def no_context(command: Reserve) -> Reserved:
    return Reserved(reservation_id="r")


@worker.handles(reserve_stock)
async def no_parameter(command: Reserve, ctx: Context) -> Reserved:
    ctx.execute("INSERT INTO answers VALUES (?)", (command,))  # expect: error (a model is no SQL value)
    return Reserved(reservation_id="r")
