"""The guard round one message: whatever it holds or does, it harms its own instance only, and the partition goes on.

Each test sends something that the engine once stopped at, then a start on the same partition, which must begin.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import to_json

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.codec.commands import Command
from sagaline.orchestrator.codec.wire import BODY_DEPTH_MAX
from sagaline.orchestrator.messages.document import CauseKind, Document, Status, StepStatus
from sagaline.orchestrator.messages.entity_messages import ChildEnd, ChildEnded
from sagaline.orchestrator.messages.inputs import Act, ActName, Failed, Rejected, Start
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.orchestrator.ports.log import Headers, Outgoing, size_bytes
from sagaline.orchestrator.runtime import guard, writes
from sagaline.sagas import Contract, Event, Retry, Saga, step
from sagaline.sagas.nodes import ask, each, emit, run

from ..engine_world import PARTITIONS, Answer, Ask, Note, World, open_log, two_steps, world


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with open_log(tmp_path / "log.db") as opened:
        yield opened


def key_on(partition: int, prefix: str = "") -> str:
    """A key of ``pair`` on that partition."""
    return next(
        f"{prefix}{n}" for n in range(99) if partition_of(f"pair/{prefix}{n}".encode(), PARTITIONS) == partition
    )


async def goes_on(w: World, partition: int) -> None:
    """A fresh instance on that partition begins."""
    await w.command(await w.start(key_on(partition, "after-")), "first")


async def has_status(w: World, instance: str) -> Document:
    await w.decided(instance, lambda record: record.status is Status.ATTENTION)
    document = await w.document(instance)
    assert document is not None
    assert document.attention is not None
    return document


class _PanicError(BaseException):
    """As an extension in Rust raises it."""


class _MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def _raises(error: BaseException) -> Callable[[Note], Ask]:
    def build(s: Note) -> Ask:
        raise error

    return build


THROWN: dict[str, BaseException] = {
    "a name of a file that is not UTF-8": ValueError(os.fsdecode(bytes.fromhex("636166e92e747874"))),
    "control characters": ValueError("a\x00b\x1b[31m"),
    "a text of 5 MB": ValueError("x" * 5_000_000),
    "no text": _MuteError(),
    "a panic": _PanicError("called `Option::unwrap()` on a `None` value"),
    "the end of the process": SystemExit(3),
    "a recursion": RecursionError("maximum recursion depth exceeded"),
}


@pytest.mark.parametrize("what", THROWN)
async def test_whatever_a_step_function_raises_stands_in_attention(log: SqliteLog, what: str) -> None:
    async with world(log, [two_steps(build=_raises(THROWN[what]))]) as w:
        instance = await w.start(key_on(0))
        await w.reply(await w.command(instance, "first"), Answer(text="1"))
        document = await has_status(w, instance)
        assert document.attention is not None
        assert type(THROWN[what]).__name__ in document.attention.message
        await goes_on(w, 0)
        assert await w.everything(w.topics.dead) == []


class Loose(BaseModel):
    text: str = ""
    value: Any = None


do_loose = Contract("do-loose", Loose, Loose, queue="work")


def loose(build: Callable[[Loose], Loose]) -> Saga[Loose]:
    """A saga whose first command is what ``build`` makes, and whose reply becomes its value."""

    @step(do_loose, into="value", name="first", retry=Retry(max_attempts=1))
    def first(s: Loose) -> Loose:
        return build(s)

    return Saga("loose", Loose, version=1, flow=[first])


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


COMMANDS: dict[str, Callable[[Loose], Loose]] = {
    "half a character": lambda s: Loose(text="\udc80"),
    "no JSON": lambda s: Loose(value=object()),
    "too deep to be written": lambda s: Loose(value=nested(400)),
    "too deep to be read": lambda s: Loose(value=nested(220)),
    "deeper than anything may be": lambda s: Loose(value=nested(150)),
    "too large": lambda s: Loose(text="x" * 600_000),
}


@pytest.mark.parametrize("what", COMMANDS)
async def test_a_command_that_cannot_be_written_or_read_keeps_its_instance_from_beginning(
    log: SqliteLog, what: str
) -> None:
    async with world(log, [loose(COMMANDS[what]), two_steps()]) as w:
        instance = await w.start("A", definition="loose")
        await w.decided(instance, lambda record: record.status is Status.ATTENTION or record.outcome is Outcome.DENIED)
        assert await w.everything(w.topics.commands("work")) == []
        for partition in range(PARTITIONS):
            await goes_on(w, partition)


REPLIES: dict[str, tuple[bytes | None, str]] = {
    "NaN": (b'{"text":"a","value":NaN}', "not JSON"),
    "infinity": (b'{"text":"a","value":-Infinity}', "not JSON"),
    "not JSON": (b"{nope", "not JSON"),
    "a list": (b"[]", "not a JSON object"),
    "nothing": (None, "no value"),
    "half a character": (b'{"text":"\\ud800"}', "not JSON"),
    "198 levels": (b'{"value":' + b"[" * 197 + b"]" * 197 + b"}", f"more than {BODY_DEPTH_MAX} levels"),
    "100,000 levels": (b'{"value":' + b"[" * 99_999 + b"]" * 99_999 + b"}", f"more than {BODY_DEPTH_MAX} levels"),
    "larger than what can be kept": (b'{"text":"' + b"x" * 1_000_000 + b'"}', "the limit is 900,000"),
}


@pytest.fixture
async def wide(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    """The same log, as a process with a higher limit has it: what it writes the engine could not."""
    async with SqliteLog(tmp_path / "log.db", clock=SystemClock(), max_value_bytes=3_000_000) as opened:
        yield opened


def reply_to(command: Command, value: bytes | None, *more: tuple[str, bytes]) -> Outgoing:
    """A completed reply as a worker in any language would write it."""
    sound = (("ce_type", b"sagaline.reply.completed"), ("ce_id", b"r"), ("ce_commandid", command.id.encode()))
    target = command.reply_to
    return Outgoing(target.topic, command.instance.encode(), value, (*sound, *more), target.partition)


@pytest.mark.parametrize("what", REPLIES)
async def test_a_reply_that_nobody_can_use_is_a_failed_attempt(log: SqliteLog, wide: SqliteLog, what: str) -> None:
    value, why = REPLIES[what]
    async with world(log, [two_steps()]) as w:
        instance = await w.start(key_on(0))
        await wide.append([reply_to(await w.command(instance, "first"), value)])
        failed = await w.decided(instance, lambda record: isinstance(record.message, Failed))
        assert isinstance(failed.message, Failed)
        assert failed.message.error.startswith("the worker's reply cannot be used: ")
        assert why in failed.message.error
        document = await w.document(instance)
        assert document is not None
        assert document.steps["first"].status is StepStatus.BACKOFF
        assert await w.everything(w.topics.dead) == []
        await goes_on(w, 0)


@pytest.mark.parametrize("field", ["error", "detail", "reason", "code"])
async def test_huge_texts_of_a_worker_keep_their_head(log: SqliteLog, wide: SqliteLog, field: str) -> None:
    kind = b"sagaline.reply.failed" if field in ("error", "detail") else b"sagaline.reply.rejected"
    texts = {"error": "ValueError: e", "detail": "", "reason": "sold out", "code": "sold_out"}
    texts[field] = texts[field] + "x" * 850_000
    async with world(log, [two_steps()]) as w:
        instance = await w.start(key_on(0))
        reply = reply_to(await w.command(instance, "first"), to_json(texts))
        await wide.append([reply._replace(headers=(("ce_type", kind), *reply.headers[1:]))])
        await w.decided(instance, lambda record: isinstance(record.message, Failed | Rejected))
        document = await w.document(instance)
        assert document is not None
        if kind == b"sagaline.reply.failed":
            assert (document.steps["first"].error or "").startswith("ValueError: e")
        else:
            assert document.cause is not None
            assert document.cause.message.startswith("sold out")
        await goes_on(w, 0)


MANY: Headers = tuple((f"x-{number}", b"v" * 1_000) for number in range(48))
START: Headers = (("ce_type", b"sagaline.start"), ("ce_id", b"s"))


def start_of(key: str, text: str = "x") -> bytes:
    return to_json({"definition": "pair", "key": key, "input": {"text": text}})


RECORDS: dict[str, tuple[bytes, bytes, Headers]] = {
    "an invalid value of 1,000,001 bytes": (b"pair/k", b"x" * 1_000_001, START),
    "an unpacked value of 2.9 MB": (b"pair/k", b"{" + b" " * 2_900_000, START),
    "a valid value with 48 KB of headers": (b"pair/0", start_of("0", "x" * 899_000), (*START, *MANY)),
    "a header of 1 MB": (b"pair/k", b"{}", (*START, ("h", b"v" * 1_000_000))),
    "a key of 1 MB": (b"k" * 1_000_000, b"{}", START),
    "as large as the log takes": (b"pair/k", b"x" * 899_900, START),
}


@pytest.mark.parametrize("what", RECORDS)
async def test_a_dead_letter_always_fits(log: SqliteLog, wide: SqliteLog, what: str) -> None:
    """Place, reason, the headers that fit, the first bytes, and the digest and length of the whole."""
    key, value, headers = RECORDS[what]
    partition = partition_of(key, PARTITIONS)
    async with world(log, [two_steps()]) as w:
        await wide.append([Outgoing(w.topics.inputs, key, value, headers, partition)])
        await goes_on(w, partition)
        (letter,) = await w.everything(w.topics.dead)
    found = dict(letter.headers)
    assert {"dead-reason", "dead-topic", "dead-partition", "dead-offset", "ce_type", "ce_id"} <= set(found)
    assert key.startswith(letter.key or b"")
    assert value.startswith(letter.value or b"")
    if letter.value != value:
        assert found["dead-value-bytes"] == str(len(value)).encode()
        assert found["dead-value-sha256"] == hashlib.sha256(value).hexdigest().encode()
        assert len(letter.value or b"") == 65_536
    left_out = len({name for name, _ in headers} - set(found))
    assert int(found.get("dead-headers-left-out", b"0")) == left_out
    assert size_bytes(letter.key, letter.value, letter.headers) <= log.max_value_bytes


async def test_a_record_on_the_wrong_partition_that_cannot_be_forwarded_is_buried(
    log: SqliteLog, wide: SqliteLog
) -> None:
    key = key_on(0)
    async with world(log, [two_steps()]) as w:
        start = Outgoing(w.topics.inputs, f"pair/{key}".encode(), start_of(key, "x" * 900_100), START, 1)
        await wide.append([start])
        await goes_on(w, 1)
        (letter,) = await w.everything(w.topics.dead)
    assert "a message to test.inputs would have" in dict(letter.headers)["dead-reason"].decode()


class Parts(BaseModel):
    size: int = 0
    child: Loose | None = None


def child_of(size: int) -> Loose:
    return Loose(text="x" * size) if size >= 0 else Loose(value=nested(120))


CHILDREN: dict[str, tuple[int, str]] = {
    "a start that is a document too large": (600_000, "the limit is 512,000"),
    "a first command that no worker could read": (-1, "more than 128 levels"),
}


@pytest.mark.parametrize("what", CHILDREN)
@pytest.mark.parametrize("kind", ["run", "each"])
async def test_a_parent_hears_that_its_child_cannot_begin(log: SqliteLog, what: str, kind: str) -> None:
    """It waits without a timer."""
    size, why = CHILDREN[what]
    child = loose(lambda s: s if size >= 0 else Loose(value=[[[[[[[[[[s.value]]]]]]]]]]))
    node: Any = run(child, lambda s: child_of(s.size), into="child", name="part")
    if kind == "each":
        node = each(child, of=lambda s: [child_of(s.size)], name="part")
    parent = Saga("parent", Parts, version=1, flow=[node])
    async with world(log, [parent, two_steps()]) as w:
        start = Start(id="s", definition="parent", key="A", input={"size": size})
        await w.send(start)
        ended = await w.decided("parent/A", lambda record: isinstance(record.message, ChildEnded))
        assert isinstance(ended.message, ChildEnded)
        assert ended.message.end is ChildEnd.NOT_STARTED
        assert why in ended.message.reason
        await w.decided("parent/A", lambda record: record.status is Status.COMPENSATED)
        for partition in range(PARTITIONS):
            await goes_on(w, partition)


async def test_what_fails_while_it_is_written_down_harms_its_own_instance_only(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision first, then its attention, then its refusal, then all of it: each time the next step is taken."""
    real, left = writes.encode_document, [0]

    def failing(document: Document) -> bytes:
        if document.id == "pair/bad" and left[0]:
            left[0] -= 1
            raise RuntimeError("planted")
        return real(document)

    monkeypatch.setattr(writes, "encode_document", failing)
    async with world(log, [two_steps()]) as w:
        await w.start("bad")
        command = await w.command("pair/bad", "first")
        left[0] = 2
        await w.reply(command, Answer(text="1"))
        refused = await w.decided("pair/bad", lambda record: record.outcome is Outcome.DENIED)
        assert "RuntimeError: planted" in refused.reason
        assert len(await w.everything(w.topics.dead)) == 1
        left[0] = 1
        await w.reply(command, Answer(text="1"))
        document = await has_status(w, "pair/bad")
        assert document.attention is not None
        assert document.attention.kind is CauseKind.CODE
        await w.act("pair/bad", ActName.RETRY)
        await w.reply(await w.command("pair/bad", "first", 2), Answer(text="1"))
        await w.command("pair/bad", "second")


async def test_an_act_whose_outcome_cannot_be_stored_is_refused_and_changes_nothing(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = guard.decide

    def defective(definition: Any, document: Any, arrival: Any, limits: Any) -> Any:
        if isinstance(arrival.message, Act):
            raise RuntimeError("planted")
        return real(definition, document, arrival, limits)

    monkeypatch.setattr(guard, "decide", defective)
    async with world(log, [two_steps()]) as w:
        instance = await w.start("A")
        command = await w.command(instance, "first")
        await w.act(instance, ActName.PAUSE)
        refused = await w.decided(instance, lambda record: record.outcome is Outcome.DENIED)
        assert refused.status is Status.RUNNING
        await w.reply(command, Answer(text="1"))
        await w.command(instance, "second")


class Told(BaseModel):
    value: Any = None


NEWS = Event("news", Told)
NODES: dict[str, Any] = {
    "an event deeper than what is read": emit(NEWS, lambda s: Told(value=nested(70)), key=lambda s: "k", name="n"),
    "an event larger than a record": emit(NEWS, lambda s: Told(value="x" * 950_000), key=lambda s: "k", name="n"),
    "an event under half a character": emit(NEWS, lambda s: Told(), key=lambda s: "\udc80", name="n"),
    "a question to half a character": ask(
        "n", Told, question=lambda s: "?", who=lambda s: ["\udc80"], into="first", due=timedelta(hours=1)
    ),
}


@pytest.mark.parametrize("what", NODES)
async def test_what_a_node_cannot_say_stands_in_attention(log: SqliteLog, what: str) -> None:
    class Asked(BaseModel):
        text: str = ""
        first: Told | None = None

    @step(do_loose, name="before")
    def before(s: Asked) -> Loose:
        return Loose()

    saga = Saga("asked", Asked, version=1, flow=[before, NODES[what]])
    async with world(log, [saga, two_steps()]) as w:
        instance = await w.start("A", definition="asked")
        await w.reply(await w.command(instance, "before"), Loose())
        document = await has_status(w, instance)
        assert document.attention is not None
        assert document.attention.message
        for partition in range(PARTITIONS):
            await goes_on(w, partition)


async def test_a_question_is_asked_in_storable_text(log: SqliteLog) -> None:
    class Asked(BaseModel):
        text: str = ""
        first: Told | None = None

    wanted = ask(
        "n", Told, question=lambda s: "caf\udce9?\x00", who=lambda s: ["ann"], into="first", due=timedelta(hours=1)
    )
    async with world(log, [Saga("asked", Asked, version=1, flow=[wanted])]) as w:
        instance = await w.start("A", definition="asked")
        await w.decided(instance, lambda record: record.status is Status.RUNNING)
        document = await w.document(instance)
        assert document is not None
        assert (document.steps["n"].memo or {})["question"] == "caf\ufffd?\ufffd"
