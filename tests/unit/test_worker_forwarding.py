"""A worker sends a routing slip on to the next stop, together with its report, and again with the same ids."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic_core import from_json

from sagaline.orchestrator.codec.commands import Command, ReplyTo, decode_command, encode_command
from sagaline.orchestrator.codec.wire import BadRecord
from sagaline.orchestrator.messages.inputs import Completed
from sagaline.orchestrator.messages.outputs import SendCommand
from sagaline.orchestrator.messages.slips import Slip, SlipStop
from sagaline.orchestrator.ports.log import Outgoing, Record
from sagaline.sagas import Rejected
from sagaline.workers import Context, SqliteInbox, Worker

from ..worker_world import MINUTE_MS, Ahead, Pack, Packed, WorkerWorld, pack, worker_world

DUE_MS = 99_999_999_999_999


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


def audit_stop(takes: dict[str, str]) -> SlipStop:
    return SlipStop(place="check", contract="audit", queue="auditing", attempt=1, deadline_ms=DUE_MS, takes=takes)


def with_slip(world: WorkerWorld, *ahead: SlipStop, revises: str | None = None) -> Outgoing:
    """A command for packing that carries a slip."""
    slip = Slip(
        variables={"order": {"sku": "lamp"}}, into="packed", revises=revises, ahead=ahead, incarnation="k3x9wq2z"
    )
    command = SendCommand(
        instance="order/A",
        step="pack",
        contract="pack",
        queue="packing",
        undo=False,
        attempt=1,
        payload=b"{}",
        deadline_ms=world.clock.now_ms() + MINUTE_MS,
        incarnation="k3x9wq2z",
        slip=slip,
    )
    to = ReplyTo(topic=world.topics.inputs, partition=1)
    topic = world.topics.commands("packing")
    return encode_command(topic, command, to, source="/t", now_ms=world.clock.now_ms(), traceparent=None)


def packer(inbox: SqliteInbox | None = None, result: Packed | Rejected | None = None) -> Worker:
    worker = Worker("packer", inbox=inbox)

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed | Rejected:
        return result or Packed(parcel="P-1")

    return worker


async def sent_on(world: WorkerWorld) -> list[Command]:
    return [decode_command(record) for record in await world.all_of(world.topics.commands("auditing"))]


async def test_the_next_command_is_made_of_what_the_slip_carries(world: WorkerWorld) -> None:
    """Its fields, its id, where it answers, and the rest of the slip with the reply in it."""
    stops = (audit_stop({"item": "packed.parcel"}), replace(audit_stop({}), place="again"))
    async with world.running(packer()):
        (report,) = await world.ask(with_slip(world, *stops))
    assert isinstance(report, Completed)
    assert report.forwarded == "order/A/check~k3x9wq2z/1"
    (command,) = await sent_on(world)
    assert (command.id, command.effect_key, command.contract) == (
        "order/A/check~k3x9wq2z/1",
        "order/A/check~k3x9wq2z",
        "audit",
    )
    assert (command.reply_to, command.deadline_ms) == (ReplyTo(topic=world.topics.inputs, partition=1), DUE_MS)
    assert from_json(command.payload) == {"item": "P-1"}
    assert command.slip is not None
    assert command.slip.variables == {"order": {"sku": "lamp"}, "packed": {"parcel": "P-1"}}
    assert [each.place for each in command.slip.ahead] == ["again"]


@pytest.mark.parametrize("seconds", [-240, 240])
async def test_what_is_sent_on_is_dated_by_the_clock_that_set_its_deadline(world: WorkerWorld, seconds: int) -> None:
    """Otherwise the next worker could not tell the span that is left for it."""
    async with world.running(packer(), clock=Ahead(timedelta(seconds=seconds))):
        await world.ask(with_slip(world, audit_stop({})))
    (command,) = await sent_on(world)
    assert command.written_ms is not None
    assert abs(command.written_ms - world.clock.now_ms()) < 20_000


async def test_a_command_that_comes_twice_is_sent_on_twice_with_one_id(world: WorkerWorld, tmp_path: Path) -> None:
    """The stored reply goes the way that the first one went: a crash between report and command loses nothing."""
    inbox = SqliteInbox(tmp_path / "inbox.db")
    command = with_slip(world, audit_stop({"item": "order.sku"}))
    async with world.running(packer(inbox)):
        reports = await world.ask(command, command)
    await inbox.close()
    assert [report.forwarded for report in reports if isinstance(report, Completed)] == ["order/A/check~k3x9wq2z/1"] * 2
    assert [each.id for each in await sent_on(world)] == ["order/A/check~k3x9wq2z/1"] * 2


async def test_a_refused_stop_sends_nothing_on(world: WorkerWorld) -> None:
    async with world.running(packer(result=Rejected("no"))):
        await world.ask(with_slip(world, audit_stop({})))
    assert await sent_on(world) == []


async def test_a_reply_that_revises_what_lies_ahead_goes_home(world: WorkerWorld) -> None:
    """Whatever the field holds: only the orchestrator knows the other stops."""
    async with world.running(packer()):
        (report,) = await world.ask(with_slip(world, audit_stop({}), revises="parcel"))
    assert isinstance(report, Completed)
    assert report.forwarded == ""
    assert await sent_on(world) == []


async def test_a_command_that_the_log_would_not_take_is_left_to_the_orchestrator(world: WorkerWorld) -> None:
    """The slip goes home, where an operator is told."""
    big = Packed(parcel="x" * (world.log.max_value_bytes - 1_000))
    async with world.running(packer(result=big)):
        (report,) = await world.ask(with_slip(world, audit_stop({"item": "packed.parcel"}), audit_stop({})))
    assert isinstance(report, Completed)
    assert report.forwarded == ""
    assert await sent_on(world) == []


def test_a_slip_that_is_none_is_a_bad_record(tmp_path: Path) -> None:
    headers = tuple(
        (f"ce_{name}", value)
        for name, value in {
            "id": b"i",
            "type": b"t",
            "subject": b"o/A",
            "effectkey": b"o/A/s",
            "direction": b"do",
            "attempt": b"1",
            "replytopic": b"r",
            "replypartition": b"0",
            "slip": b"{}",
        }.items()
    )
    with pytest.raises(
        BadRecord, match="header ce_slip is not a routing slip: variables: the field is missing, add it"
    ):
        decode_command(Record("q", 0, 0, b"k", b"{}", headers, 0))
