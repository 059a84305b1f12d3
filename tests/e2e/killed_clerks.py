"""A saga and its workers with ``SqlInbox``, for processes that are killed."""

from __future__ import annotations

import asyncio
import os

from pydantic import BaseModel
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from sagaline import Contract, Saga, step
from sagaline.workers import Context, Worker
from sagaline.workers.sql import SqlInbox

__all__ = ["DATABASE", "EFFECTS", "Page", "clerks", "filing"]

DATABASE = "KILLED_DATABASE"
"""The variable with its address."""
EFFECTS = "CREATE TABLE effects (effect_key TEXT NOT NULL)"
"""Without a key of its own: an effect that is applied twice is seen as two rows."""
_APPLY = "INSERT INTO effects VALUES "


class Write(BaseModel):
    number: int


class Written(BaseModel):
    number: int


class Page(BaseModel):
    number: int
    copied: Written | None = None
    stamped: Written | None = None


copy_page = Contract("copy-page", Write, Written, queue="clerks")
stamp_page = Contract("stamp-page", Write, Written, queue="clerks")


@step(copy_page, into="copied")
def copy(page: Page) -> Write:
    return Write(number=page.number)


@step(stamp_page, into="stamped")
def stamp(page: Page) -> Write:
    return Write(number=page.number)


filing = Saga("filing", Page, flow=[copy, stamp])


def clerks() -> Worker:
    """One handler with a session, one with a statement."""
    engine = create_engine(os.environ[DATABASE], pool_size=12)
    worker = Worker("clerks", inbox=SqlInbox(engine), concurrency=8)

    @worker.handles(copy_page)
    async def by_session(command: Write, ctx: Context) -> Written:
        session = ctx.session(Session)
        await asyncio.to_thread(session.execute, text(f"{_APPLY} (:key)"), {"key": ctx.effect_key})
        await asyncio.sleep(0.002)
        return Written(number=command.number)

    @worker.handles(stamp_page)
    async def by_statement(command: Write, ctx: Context) -> Written:
        ctx.execute(f"{_APPLY} (?)", (ctx.effect_key,))
        await asyncio.sleep(0.002)
        return Written(number=command.number)

    return worker
