"""What stands round every handler of a worker, of commands as of messages."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from sagaline.orchestrator.messages.inputs import Completed, Failed
from sagaline.orchestrator.messages.inputs import Rejected as RejectedReply
from sagaline.sagas import Rejected
from sagaline.workers import Context, Delivery, Worker

from ..worker_world import Pack, Packed, Unpack, Unpacked, WorkerWorld, pack, unpack, worker_world

Next = Callable[[], Awaitable[object]]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


def packer(seen: list[str]) -> Worker:
    worker = Worker("packer")

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        seen.append(f"pack {command.item}")
        if command.item == "broken":
            raise ConnectionError("no tape")
        return Packed(parcel="P-1")

    @worker.handles(unpack)
    async def undo(command: Unpack, ctx: Context) -> Unpacked:
        seen.append("unpack")
        return Unpacked(was_packed=True)

    return worker


async def test_middlewares_stand_round_commands_and_undos_the_first_outermost(world: WorkerWorld) -> None:
    seen: list[str] = []
    worker = packer(seen)

    @worker.use
    async def outer(message: Delivery, call_next: Next) -> object:
        assert isinstance(message, Context)
        seen.append(f"outer {message.name} {message.topic} {message.attempt} {message.id == message.command_id}")
        assert message.key == b"order/A"
        assert message.headers["ce_id"].decode() == message.id
        result = await call_next()
        seen.append(f"outer after {type(result).__name__}")
        return result

    @worker.use
    async def inner(message: Delivery, call_next: Next) -> object:
        seen.append("inner")
        return await call_next()

    async with world.running(worker):
        replies = await world.ask(world.command())
        replies += await world.ask(world.command(contract=unpack))
    assert [type(reply) for reply in replies] == [Completed, Completed]
    topic = world.topics.commands("packing")
    assert seen == [
        *(f"outer pack {topic} 1 True", "inner", "pack book", "outer after Packed"),
        *(f"outer unpack {topic} 1 True", "inner", "unpack", "outer after Unpacked"),
    ]


async def test_what_a_middleware_raises_is_the_handlers_failure_or_rejection(world: WorkerWorld) -> None:
    seen: list[str] = []
    worker = packer(seen)

    @worker.use
    async def judge(message: Delivery, call_next: Next) -> object:
        if message.attempt == 2:
            raise Rejected("not at night", code="night")
        if message.attempt == 3:
            raise PermissionError("who are you")
        try:
            return await call_next()
        except ConnectionError as error:
            raise ConnectionError(f"{error}, said the middleware") from error

    async with world.running(worker):
        failed, rejected, denied = await world.ask(
            world.command(payload=Pack(item="broken")), world.command(attempt=2), world.command(attempt=3)
        )
    assert isinstance(failed, Failed)
    assert failed.error == "ConnectionError: no tape, said the middleware"
    assert isinstance(rejected, RejectedReply)
    assert rejected.code == "night"
    assert isinstance(denied, Failed)
    assert "who are you" in denied.error
    assert seen == ["pack broken"]


async def test_a_middleware_may_replace_the_reply_by_one_of_the_right_type_only(world: WorkerWorld) -> None:
    worker = packer([])

    @worker.use
    async def replacing(message: Delivery, call_next: Next) -> object:
        reply = await call_next()
        if message.attempt == 1:
            assert isinstance(reply, Packed)
            return Packed(parcel=f"{reply.parcel} with a bow")
        return None

    async with world.running(worker):
        replaced, none = await world.ask(world.command(), world.command(attempt=2))
    assert isinstance(replaced, Completed)
    assert replaced.reply == {"parcel": "P-1 with a bow"}
    assert isinstance(none, Failed)
    assert "returned NoneType" in none.error
    assert "a middleware must return what call_next() gave" in none.error


async def test_a_handler_that_is_not_async_runs_in_a_thread_and_may_take_the_command_alone(world: WorkerWorld) -> None:
    worker = Worker("packer")

    @worker.handles(pack)
    def handle(command: Pack) -> Packed | Rejected:
        assert threading.current_thread() is not threading.main_thread()
        return Packed(parcel=command.item)

    async with world.running(worker):
        (reply,) = await world.ask(world.command())
    assert isinstance(reply, Completed)
    assert reply.reply == {"parcel": "book"}
