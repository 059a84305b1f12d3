"""Replies that nobody could read, and commands that nobody can use: each is answered or buried; the queue goes on."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, field_validator

from sagaline.orchestrator.codec.commands import ReplyTo, encode_command
from sagaline.orchestrator.codec.wire import BODY_DEPTH_MAX
from sagaline.orchestrator.messages.inputs import Completed, Failed
from sagaline.orchestrator.messages.outputs import SendCommand
from sagaline.orchestrator.ports.log import Headers, size_bytes
from sagaline.sagas import Contract
from sagaline.workers import Context, Worker

from ..worker_world import Pack, Packed, WorkerWorld, pack, worker_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


class Loose(BaseModel):
    """A reply that can hold anything, and write down what JSON has not."""

    model_config = ConfigDict(ser_json_inf_nan="constants")
    value: Any = None
    number: float = 0.0


loose = Contract("loose", Pack, Loose, queue="packing")


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


REPLIES: dict[str, tuple[Callable[[], Any], str]] = {
    "NaN": (lambda: Loose(number=float("nan")), "NaN and no infinity"),
    "infinity": (lambda: Loose(number=float("-inf")), "NaN and no infinity"),
    "NaN within": (lambda: Loose(value={"a": [float("nan")]}), "NaN and no infinity"),
    "too deep": (lambda: Loose(value=nested(BODY_DEPTH_MAX)), f"more than {BODY_DEPTH_MAX} levels"),
    "much too deep": (lambda: Loose(value=nested(190)), f"more than {BODY_DEPTH_MAX} levels"),
    "deeper than what writes it": (lambda: Loose(value=nested(400)), "depth exceeded"),
    "too large": (lambda: Loose(value="x" * 900_000), "answer with a reference instead of the content"),
    "half a character": (lambda: Loose(value="\udc80"), "surrogate"),
    "no JSON": (lambda: Loose(value=object()), "PydanticSerializationError"),
}


@pytest.mark.parametrize("what", REPLIES)
async def test_a_reply_that_nobody_could_read_is_a_failed_attempt_that_says_why(world: WorkerWorld, what: str) -> None:
    make, why = REPLIES[what]
    worker = Worker("packer")

    @worker.handles(loose)
    async def handle(command: Pack, ctx: Context) -> Loose:
        found: Loose = make()
        return found

    @worker.handles(pack)
    async def after(command: Pack, ctx: Context) -> Packed:
        return Packed(parcel="P")

    async with world.running(worker) as runtime:
        (reply,) = await world.ask(world.command(contract=loose))
        (good,) = await world.ask(world.command("order/B"))
    assert isinstance(reply, Failed), reply
    assert why in f"{reply.error}\n{reply.detail}"
    assert isinstance(good, Completed)
    assert runtime.counts.dead == 0


async def test_a_huge_error_keeps_its_type_its_head_and_its_place(world: WorkerWorld) -> None:
    worker = Worker("packer")

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        raise LookupError("no box for " + "x" * 5_000_000)

    async with world.running(worker):
        (reply,) = await world.ask(world.command())
    assert isinstance(reply, Failed)
    assert reply.error.startswith("LookupError: no box for xxx")
    assert len(reply.error) <= 1_000
    assert len(reply.detail) <= 8_000


class Touchy(BaseModel):
    item: str = ""

    @field_validator("item")
    @classmethod
    def check(cls, value: str) -> str:
        raise RuntimeError(f"the validator cannot {value}")


touchy = Contract("touchy", Touchy, Packed, queue="packing")


async def test_a_command_whose_validator_raises_is_a_failed_attempt(world: WorkerWorld) -> None:
    worker = Worker("packer")

    @worker.handles(touchy)
    async def handle(command: Touchy, ctx: Context) -> Packed:
        return Packed(parcel="P")

    async with world.running(worker):
        (reply,) = await world.ask(world.command(contract=touchy, payload=b'{"item":"cope"}'))
    assert isinstance(reply, Failed)
    assert reply.error == "RuntimeError: the validator cannot cope"


MANY: Headers = tuple((f"x-{number}", b"v" * 1_000) for number in range(45))
POISON: dict[str, tuple[bytes | None, bytes, Headers]] = {
    "no headers, as large as the log takes": (b"k", b"x" * 899_000, ()),
    "many headers": (b"k", b"x" * 850_000, MANY),
    "a huge key": (b"k" * 500_000, b"x" * 399_000, ()),
    "a huge header": (None, b"", (("h", b"v" * 899_000),)),
}


@pytest.mark.parametrize("what", POISON)
async def test_a_record_as_large_as_the_log_takes_is_buried_and_the_queue_goes_on(
    world: WorkerWorld, what: str
) -> None:
    """The dead letter has more headers than what it buries, so something of that has to go."""
    key, value, headers = POISON[what]
    good = world.command()
    bad = good._replace(key=key, value=value, headers=headers)
    filling = world.log.max_value_bytes - size_bytes(bad.key, bad.value, bad.headers)
    bad = bad._replace(value=value + b"x" * filling)
    worker = Worker("packer")

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        return Packed(parcel="P")

    async with world.running(worker) as runtime:
        await world.send(bad)
        assert isinstance((await world.ask(good))[0], Completed)
    assert runtime.counts.dead == 1
    (letter,) = await world.all_of(world.topics.dead)
    found = dict(letter.headers)
    assert found["dead-reason"] == b"header ce_id is missing"
    assert (found["dead-topic"], found["dead-offset"]) == (world.topics.commands("packing").encode(), b"0")
    assert bad.value is not None
    assert bad.value.startswith(letter.value or b"")
    assert found.get("dead-value-bytes", str(len(bad.value)).encode()) == str(len(bad.value)).encode()
    if letter.value != bad.value:
        assert found["dead-value-sha256"] == hashlib.sha256(bad.value).hexdigest().encode()


def test_a_command_whose_reply_could_not_be_read_is_not_written() -> None:
    command = SendCommand(
        instance="d/" + "k" * 5_000,
        step="a",
        contract="pack",
        queue="q",
        undo=False,
        attempt=1,
        payload=b"{}",
        deadline_ms=1,
        incarnation="k3x9wq2z",
    )
    with pytest.raises(ValueError, match=r"has more than 4,096 bytes; use shorter keys"):
        encode_command(
            "t.commands.q",
            command,
            ReplyTo(topic="t.inputs", partition=0),
            source="/t",
            now_ms=1,
            traceparent=None,
        )
