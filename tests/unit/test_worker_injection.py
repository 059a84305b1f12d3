"""Dependencies of handlers: what they get, when they are closed, and which declarations are refused."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import fastapi
import pytest

from sagaline.orchestrator.messages.inputs import Completed, Failed, Reply
from sagaline.orchestrator.messages.inputs import Rejected as RejectedReply
from sagaline.sagas import DefinitionError, Event, Rejected
from sagaline.workers import Context, Delivery, Depends, Message, Worker

from ..worker_world import Pack, Packed, WorkerWorld, pack, worker_world

if TYPE_CHECKING:
    from decimal import Decimal


seen: list[str] = []


class Desk:
    """Made once per delivery, however many ask for it."""

    made = 0

    def __init__(self) -> None:
        Desk.made += 1
        self.number = Desk.made


def room(message: Delivery) -> Iterator[str]:
    seen.append(f"open room {message.name}")
    try:
        yield "room"
    except BaseException as error:
        seen.append(f"room saw {type(error).__name__}")
        raise
    finally:
        seen.append("close room")


async def table(command: Pack, at: Annotated[str, Depends(room)]) -> AsyncIterator[str]:
    seen.append(f"open table in {at}")
    yield f"table for {command.item}"
    seen.append("close table")


async def swallowing() -> AsyncIterator[int]:
    try:
        yield 1
    except ConnectionError:
        seen.append("swallowed")


def tool(desk: Annotated[Desk, Depends(Desk)], other: Annotated[Desk, Depends(Desk)], size: int = 3) -> str:
    return f"tool {size} {desk is other}"


async def fresh() -> object:
    return object()


async def session(ctx: Annotated[Context, "of a command"]) -> str:
    return f"session of {ctx.step}"


async def circle(itself: Annotated[int, Depends(lambda: 0)]) -> int:
    return itself


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()
    Desk.made = 0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


async def answer(world: WorkerWorld, worker: Worker, command: Pack | None = None) -> Reply:
    async with world.running(worker):
        (reply,) = await world.ask(world.command(payload=command or Pack()))
    return reply


async def answered_by(world: WorkerWorld, handler: Callable[..., Any], **options: Any) -> Reply:
    worker = Worker("packer", **options)
    worker.handles(pack)(handler)
    return await answer(world, worker)


def at_table(command: Pack, it: Annotated[str, Depends(table)], in_room: Annotated[str, Depends(room)]) -> Packed:
    seen.append("handle")
    return Packed(parcel=f"{it}, {in_room}")


async def using_tools(
    command: Pack,
    ctx: Context,
    it: Annotated[str, Depends(tool)],
    *,
    desk: Annotated[Desk, Depends(Desk)],
    one: object = Depends(fresh, use_cache=False),
    two: object = Depends(fresh, use_cache=False),
    of: str = Depends(session),
) -> Packed:
    assert one is not two
    return Packed(parcel=f"{it} {desk.number} {of} {ctx.attempt}")


async def failing(command: Pack, it: Annotated[str, Depends(room)]) -> Packed:
    raise ValueError("dropped")


async def rejecting(command: Pack, it: Annotated[str, Depends(room)]) -> Packed:
    raise Rejected("no tape", code="tape")


async def hanging(command: Pack, it: Annotated[str, Depends(room)]) -> Packed:
    await asyncio.Event().wait()
    raise AssertionError("it was cancelled")


async def swallowed(command: Pack, it: Annotated[int, Depends(swallowing)]) -> Packed:
    raise ConnectionError("down")


async def test_dependencies_of_dependencies_are_opened_in_order_and_closed_in_reverse(world: WorkerWorld) -> None:
    reply = await answered_by(world, at_table)
    assert isinstance(reply, Completed)
    assert reply.reply == {"parcel": "table for book, room"}
    assert seen == ["open room pack", "open table in room", "handle", "close table", "close room"]


async def test_a_dependency_is_made_once_per_delivery_unless_it_says_otherwise(world: WorkerWorld) -> None:
    reply = await answered_by(world, using_tools)
    assert isinstance(reply, Completed), reply
    assert reply.reply == {"parcel": "tool 3 True 1 session of pack 1"}


@pytest.mark.parametrize(
    ("handler", "error", "kind"),
    [(failing, "ValueError", Failed), (rejecting, "Rejected", RejectedReply), (hanging, "CancelledError", Failed)],
)
async def test_a_dependency_is_closed_however_its_handler_ends(
    world: WorkerWorld, handler: Callable[..., Any], error: str, kind: type[Reply]
) -> None:
    reply = await answered_by(world, handler, handler_timeout=timedelta(milliseconds=300))
    assert isinstance(reply, kind), reply
    assert seen == ["open room pack", f"room saw {error}", "close room"]


async def test_a_dependency_cannot_make_a_failure_a_success(world: WorkerWorld) -> None:
    reply = await answered_by(world, swallowed)
    assert isinstance(reply, Failed)
    assert reply.error == "ConnectionError: down"
    assert seen == ["swallowed"]


async def test_middlewares_stand_round_the_dependencies(world: WorkerWorld) -> None:
    worker = Worker("packer")
    worker.handles(pack)(at_table)

    @worker.use
    async def around(message: Delivery, call_next: Callable[[], Awaitable[object]]) -> object:
        seen.append("before")
        reply = await call_next()
        seen.append("after")
        return reply

    await answer(world, worker)
    assert (seen[0], seen[-1]) == ("before", "after")
    assert len(seen) == 7


async def test_a_test_replaces_dependencies_with_ones_that_have_their_own(world: WorkerWorld) -> None:
    worker = Worker("packer")
    worker.handles(pack)(at_table)

    async def fake_table(ctx: Context, desk: Desk = Depends(Desk)) -> str:  # noqa: B008  # local: not in annotations
        return f"fake table {desk.number} of {ctx.name}"

    worker.dependency_overrides[table] = fake_table
    worker.dependency_overrides[room] = lambda: "fake room"
    reply = await answer(world, worker)
    assert isinstance(reply, Completed), reply
    assert reply.reply == {"parcel": "fake table 1 of pack, fake room"}
    assert seen == ["handle"]


async def test_an_override_that_nothing_fills_is_the_handlers_failure(world: WorkerWorld) -> None:
    worker = Worker("packer")
    worker.handles(pack)(at_table)
    worker.dependency_overrides[table] = lambda nobody: "table"
    reply = await answer(world, worker)
    assert isinstance(reply, Failed)
    assert "dependency_overrides" in reply.error
    assert "nothing fills 'nobody'" in reply.error


def unfilled(db: Annotated[sqlite3.Connection, Depends(sqlite3.connect)]) -> int:
    return 1


def two(it: Annotated[int, Depends(fresh)] = Depends(fresh)) -> int:
    return it


def foreign(it: Annotated[object, fastapi.Depends(fresh)]) -> object:
    return it


def of_message(message: Message) -> int:
    return message.place.offset


def unresolved(price: Decimal) -> int:
    return int(price)


circle.__annotations__["itself"] = Annotated[int, Depends(circle)]


@pytest.mark.parametrize(
    ("dependency", "remedy"),
    [
        (unfilled, r"unfilled: .*connect.* (nothing fills 'database'|cannot be called)"),
        (two, "'it' has two Depends; keep one of them$"),
        (foreign, "uses the Depends of fastapi; take it from sagaline.workers$"),
        (of_message, "takes Message as 'message', but gets Context; annotate it with Context$"),
        (unresolved, "the annotation 'Decimal' of 'price' cannot be resolved; define what it names at the top"),
        (circle, "depends on itself; break the circle$"),
        (lambda x: x, "nothing fills 'x'; annotate it as Annotated"),
    ],
)
def test_a_wrong_dependency_is_refused_at_declaration(dependency: Callable[..., Any], remedy: str) -> None:
    async def handler(command: Pack, it: Any = Depends(dependency)) -> Packed:  # noqa: B008  # local: not in annotations
        return Packed(parcel="P")

    with pytest.raises(DefinitionError, match=remedy):
        Worker("packer").handles(pack)(handler)


def test_what_cannot_be_called_is_no_dependency() -> None:
    with pytest.raises(DefinitionError, match="give a function"):
        Depends(3)  # type: ignore[arg-type]  # what the test is about


def test_a_subscription_asks_for_its_own_delivery_only() -> None:
    worker = Worker("packer")
    packed = Event("packed", Pack)

    @worker.subscribes(packed)
    async def right(body: Pack, message: Message, offset: Annotated[int, Depends(of_message)]) -> None: ...

    with pytest.raises(DefinitionError, match="takes Context as 'ctx', but gets Message"):

        @worker.subscribes(packed, group="other")
        async def wrong(body: Pack, of: Annotated[str, Depends(session)]) -> None: ...
