"""What a handler does, and what the saga hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from sagaline.orchestrator.codec.commands import ReplyTo
from sagaline.orchestrator.errors import TopicMismatch
from sagaline.orchestrator.messages.inputs import Completed, Failed
from sagaline.orchestrator.messages.inputs import Rejected as RejectedReply
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.orchestrator.ports.topics import Topics
from sagaline.sagas import Rejected
from sagaline.workers import Context, Worker, WorkerCrashed

from ..worker_world import Pack, Packed, WorkerWorld, audit, pack, worker_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


def packer() -> Worker:
    """Does what the item's name says."""
    worker = Worker("packer", handler_timeout=timedelta(seconds=30))

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed | Rejected:
        match command.item:
            case "refused":
                return Rejected("we do not pack this", code="forbidden")
            case "refused within":
                raise Rejected("we do not pack this", code="forbidden")
            case "broken":
                raise LookupError("the box is too small")
            case "unreadable":
                raise _UnreadableError
            case "surrogate":
                raise ValueError("lone \udc80")
            case "cancelled":
                raise asyncio.CancelledError
            case "panic":
                raise _PanicError("called `Option::unwrap()` on a `None` value")
            case "wrong":
                return command  # type: ignore[return-value]  # what the test is about
            case "nothing":
                return None  # type: ignore[return-value]  # what the test is about
            case "unwritable":
                return Packed(parcel="lone \udc80")
            case "huge":
                return Packed(parcel="x" * 2_000_000)
            case "silent":
                await asyncio.Event().wait()
        return Packed(parcel=f"P-{command.item}")

    return worker


class _UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class _PanicError(BaseException):
    """As an extension in Rust raises it."""


def of(item: str) -> Pack:
    return Pack(item=item)


async def failure(world: WorkerWorld, command: Outgoing, worker: Worker | None = None) -> Failed:
    async with world.running(worker or packer()):
        (reply,) = await world.ask(command)
    assert isinstance(reply, Failed), reply
    return reply


async def test_a_reply_goes_where_the_command_names_and_says_what_it_answers(world: WorkerWorld) -> None:
    async with world.running(packer()):
        await world.send(world.command(reply_to=ReplyTo(topic=world.topics.inputs, partition=1), traceparent="00-ab"))
        (record,) = await world.reply_records(1)
    headers = dict(record.headers)
    assert (record.topic, record.partition, record.key) == (world.topics.inputs, 1, b"order/A")
    assert record.value == b'{"parcel":"P-book"}'
    assert headers["ce_commandid"] == b"order/A/pack~k3x9wq2z/1"
    assert headers["ce_id"] == b"order/A/pack~k3x9wq2z/1/reply"
    assert headers["traceparent"] == b"00-ab"


@pytest.mark.parametrize("item", ["refused", "refused within"])
async def test_a_rejection_is_a_refusal_with_its_code_whether_it_is_returned_or_raised(
    world: WorkerWorld, item: str
) -> None:
    async with world.running(packer()):
        (reply,) = await world.ask(world.command(payload=of(item)))
    assert isinstance(reply, RejectedReply)
    assert (reply.reason, reply.code) == ("we do not pack this", "forbidden")


async def test_a_handler_knows_its_step_and_contract(world: WorkerWorld) -> None:
    worker = Worker("packer")

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        return Packed(parcel=f"{ctx.step} by {ctx.contract}")

    async with world.running(worker):
        (reply,) = await world.ask(world.command(payload=of("box")))
    assert isinstance(reply, Completed)
    assert reply.reply == {"parcel": "pack by pack"}


async def test_what_a_handler_raises_is_a_failure_with_type_text_and_place(world: WorkerWorld) -> None:
    reply = await failure(world, world.command(payload=of("broken")))
    assert reply.error == "LookupError: the box is too small"
    assert "in handle" in reply.detail
    assert len(reply.detail) <= 8_000


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("unreadable", "_UnreadableError: <exception str() failed>"),
        ("surrogate", "ValueError: lone \ufffd"),
        ("cancelled", "CancelledError"),
        ("panic", "_PanicError: called `Option::unwrap()` on a `None` value"),
        ("wrong", "the handler of 'pack' returned Pack; it must return Packed, Rejected or AnswerLater"),
        ("nothing", "the handler of 'pack' returned NoneType; it must return Packed, Rejected or AnswerLater"),
        ("unwritable", "this Packed cannot be written as JSON"),
        ("huge", "the log takes 900,000; answer with a reference instead of the content"),
    ],
)
async def test_whatever_a_handler_gives_back_is_answered(world: WorkerWorld, item: str, said: str) -> None:
    assert said in (await failure(world, world.command(payload=of(item)))).error


@pytest.mark.parametrize("payload", [b'{"item": 7, "count": "secret"}', b"not JSON", b"[]"])
async def test_a_command_of_another_shape_fails_and_names_fields_not_values(world: WorkerWorld, payload: bytes) -> None:
    reply = await failure(world, world.command(payload=payload))
    assert reply.error.startswith("the command does not fit Pack: ")
    assert "secret" not in reply.error
    if payload.startswith(b"{"):
        assert "item: " in reply.error
        assert "count: " in reply.error


async def test_a_command_that_nobody_handles_fails_and_says_so(world: WorkerWorld) -> None:
    command = world.command(contract=audit)
    stray = command._replace(topic=world.topics.commands("packing"))
    assert "has no handler for contract 'audit'" in (await failure(world, stray)).error


async def test_an_unreadable_record_goes_to_the_dead_letters_and_the_queue_goes_on(world: WorkerWorld) -> None:
    queue = world.topics.commands("packing")
    good = world.command(instance="order/B")
    bad = Outgoing(queue, b"order/A", b"\xff\x00", (("ce_id", b"7"), ("dead-reason", b"earlier")), good.partition)
    async with world.running(packer()) as runtime:
        await world.send(bad, good)
        (reply,) = await world.replies(1)
        assert reply.instance == "order/B"
    assert runtime.counts.dead == 1
    (letter,) = await world.all_of(world.topics.dead)
    assert (letter.key, letter.value) == (b"order/A", b"\xff\x00")
    assert dict(letter.headers) == {
        "ce_id": b"7",
        "dead-reason": b"header ce_type is missing",
        "dead-code": b"unreadable",
        "dead-topic": queue.encode(),
        "dead-partition": str(good.partition).encode(),
        "dead-offset": b"0",
    }
    assert len(letter.headers) == 6
    assert await world.uncommitted() == []


async def test_a_reply_that_has_nowhere_to_go_is_a_dead_letter_and_harms_nobody(world: WorkerWorld) -> None:
    lost = world.command("order/lost", reply_to=ReplyTo(topic="t.nowhere", partition=0))
    wide = world.command("order/wide", reply_to=ReplyTo(topic=world.topics.inputs, partition=99))._replace(partition=0)
    async with world.running(packer()):
        await world.send(lost, world.command("order/A"), wide, world.command("order/B"))
        assert {reply.instance for reply in await world.replies(2)} == {"order/A", "order/B"}
    letters = await world.all_of(world.topics.dead)
    assert {letter.key for letter in letters} == {b"order/lost", b"order/wide"}
    assert all(dict(letter.headers)["dead-reason"].startswith(b"its reply could not") for letter in letters)
    assert await world.uncommitted() == []


async def test_a_handler_over_its_own_limit_fails_before_the_deadline(world: WorkerWorld) -> None:
    worker = Worker("packer", handler_timeout=timedelta(milliseconds=30))

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        await asyncio.Event().wait()
        return Packed(parcel="never")

    assert "cancelled after 0.03 s" in (await failure(world, world.command(), worker)).error


async def test_a_handlers_own_timeout_is_its_failure(world: WorkerWorld) -> None:
    worker = Worker("packer")

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()
        return Packed(parcel="never")

    assert (await failure(world, world.command(), worker)).error.startswith("TimeoutError")


@pytest.mark.parametrize("end", [SystemExit("out of memory"), KeyboardInterrupt()])
async def test_a_handler_that_ends_the_process_leaves_nothing_answered_or_committed(
    world: WorkerWorld, end: BaseException
) -> None:
    begun = asyncio.Event()

    def worker(deadly: bool) -> Worker:
        worker = Worker("packer")

        @worker.handles(pack)
        async def handle(command: Pack, ctx: Context) -> Packed:
            if deadly and ctx.instance == "order/deadly":
                await begun.wait()
                raise end
            if deadly:
                begun.set()
                await asyncio.Event().wait()
            return Packed(parcel="P")

        return worker

    await world.send(world.command("order/deadly"), world.command("order/B"))
    with pytest.raises(WorkerCrashed, match="start it again") as crash:
        await world.until_crash(worker(deadly=True))
    assert crash.value.__cause__ is end
    assert await world.all_of(world.topics.inputs) == []
    async with world.running(worker(deadly=False)):
        assert {reply.instance for reply in await world.replies(2)} == {"order/deadly", "order/B"}


async def test_every_kind_of_end_is_counted_once(world: WorkerWorld) -> None:
    items = ["book", "book", "refused", "broken"]
    async with world.running(packer()) as runtime:
        replies = await world.ask(*(world.command(f"order/{i}", payload=of(x)) for i, x in enumerate(items)))
    assert sum(isinstance(reply, Completed) for reply in replies) == runtime.counts.completed == 2
    assert (runtime.counts.rejected, runtime.counts.failed, runtime.counts.dead) == (1, 1, 0)


async def test_a_worker_without_its_queue_says_what_is_missing(world: WorkerWorld) -> None:
    world.topics = Topics("elsewhere")
    with pytest.raises(TopicMismatch, match=r"elsewhere\.commands\.packing"):
        await world.until_crash(packer())
