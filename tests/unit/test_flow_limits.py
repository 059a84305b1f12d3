"""Gates under stress: limits that change or have many keys, commands that are never begun, the cost of a command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.codec.commands import decode_command
from sagaline.orchestrator.messages.entity_messages import Rule
from sagaline.orchestrator.messages.flow_limits import LIMITS_TABLE, limits_of
from sagaline.orchestrator.messages.inputs import Failed
from sagaline.orchestrator.ports.log import Outgoing, Record
from sagaline.workers import Context, Worker
from sagaline.workers.backlog import Backlog
from sagaline.workers.flow import FlowControl
from sagaline.workers.followed import Followed
from sagaline.workers.gates import AtOnce, Circuit, Rate
from sagaline.workers.offsets import Offsets
from sagaline.workers.work import Work

from ..worker_world import Pack, Packed, WorkerWorld, pack, worker_world
from .test_flow_control import Bench, Item


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


def packer() -> Worker:
    worker = Worker("packer", concurrency=1)

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        return Packed(parcel=command.item)

    return worker


class Control:
    """The flow control of a worker that has all partitions, and its commands."""

    def __init__(self, world: WorkerWorld) -> None:
        self._world, self._offsets, self._handler = world, Offsets(), packer().handler("pack")
        self.flow = FlowControl(SystemClock(), lambda work: None, lambda queue, count: count, lambda: None)

    def put(self, *keys: str) -> None:
        for key in keys:
            out: Outgoing = self._world.command(f"order/{key}")
            record = Record(out.topic, 0, self._offsets.pending, out.key, out.value, out.headers, 0)
            self.flow.put(Work(record, self._offsets.polled(record), decode_command(record), self._handler, 0.0))

    def limit(self, *rules: tuple[dict[str, Any], str]) -> None:
        self.flow.limit(limits_of([Rule(when=when, to=to) for when, to in rules]))

    def begin(self) -> list[str]:
        """Takes everything that may begin; none is finished."""
        begun = []
        while (work := self.flow.take()) is not None:
            begun.append((work.record.key or b"").decode().removeprefix("order/"))
        return begun


async def test_a_limit_of_a_key_that_is_set_while_commands_wait_holds_back_only_that_key(world: WorkerWorld) -> None:
    at = Control(world)
    at.put("ann", "bob", "ann", "cid", "bob")
    at.limit(({"queue": "packing", "key": "order/ann"}, "1/h"))
    assert sorted(at.begin()) == ["ann", "bob", "bob", "cid"]
    at.limit()
    assert at.begin() == ["ann"]


async def test_a_limit_that_does_not_change_keeps_its_count(world: WorkerWorld) -> None:
    two = ({"queue": "packing"}, "2 at once")
    at = Control(world)
    at.limit(two)
    at.put(*"abcdef")
    assert at.begin() == ["a", "b"]
    at.limit(two, ({"contract": "pack"}, "5 at once"))
    assert at.begin() == []


async def test_a_reader_of_limits_applies_only_the_last_ones(world: WorkerWorld) -> None:
    """After an outage it reads the topic again: limits that were replaced do not come back for a moment."""
    for to in ("9/s", "7/s", "2 at once"):
        await world.limit(Rule(when={"queue": "packing"}, to=to))
    await world.log.append([Outgoing(world.topics.rules, LIMITS_TABLE.encode(), b"?", (), 0)])
    applied: list[str] = []
    limits = Followed(
        world.log,
        world.topics.rules,
        LIMITS_TABLE,
        lambda found: applied.extend(each.name for each in limits_of(found.rules)),
    )
    for _ in range(2):
        await limits.open()
        await limits.close()
    assert applied == ["queue packing: 2 at once"] * 2


async def test_many_keys_do_not_push_out_the_limit_of_the_queue(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagaline.workers.flow._GATES_MAX", 3)
    at = Control(world)
    at.limit(({"queue": "packing"}, "8 at once"), ({"queue": "packing", "key": "*"}, "1/h"))
    at.put("a", *(f"k{number}" for number in range(20)))
    assert len(at.begin()) == 8


async def test_the_key_that_was_used_longest_ago_is_forgotten_first(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagaline.workers.flow._GATES_MAX", 2)
    at = Control(world)
    at.limit(({"queue": "packing", "key": "*"}, "1/h"))
    at.put("a", "b")
    assert at.begin() == ["a", "b"]
    at.put("a")
    assert at.begin() == []
    at.put("c")
    assert at.begin() == ["c"]
    at.put("b", "b")
    assert at.begin() == ["b"], "it was forgotten, and the second one meets its new limit"


async def test_what_is_never_begun_does_not_open_a_circuit(world: WorkerWorld) -> None:
    """Commands that do not fit their model, or come too late, say nothing about the service."""
    wrong = [world.command(f"wrong/{i}", payload=b'{"count": "many"}') for i in range(30)]
    late = [world.command(f"late/{i}", due_in_ms=-1) for i in range(30)]
    async with world.running(packer()):
        replies = await world.ask(*wrong, *late, world.command("order/A"))
    assert sum(isinstance(reply, Failed) for reply in replies) == 60


async def test_late_commands_spend_nothing_of_a_rate_and_are_answered_while_it_is_used_up(world: WorkerWorld) -> None:
    rule = Rule(when={"queue": "packing"}, to="1/h")
    await world.limit(rule)
    late = [world.command(f"late/{i}", due_in_ms=-1) for i in range(5)]
    async with world.running(packer()) as runtime:
        await world.ask(*late, world.command("order/A"), *late)
    assert (runtime.counts.completed, runtime.counts.late) == (1, 10)


def test_an_attempt_that_tried_nothing_leaves_the_turn_of_an_open_circuit_to_the_next() -> None:
    circuit = Circuit("c")
    at = Bench(lambda item: [circuit])
    at.put(*(Item("f", number) for number in range(30)))
    assert len(at.take_all(failed=True)) == 20
    at.now = 1.0
    for number in (20, 21, 22):
        item = at.backlog.take()
        assert item is not None
        assert item.number == number
        assert at.backlog.take() is None
        at.backlog.finished(item, None)
    assert len(at.take_all(failed=False)) == 7


class Asked(AtOnce):
    """Counts how often it is asked."""

    count = 0

    def room(self, now: float) -> int:
        self.count += 1
        return super().room(now)


def test_a_finished_command_costs_the_same_whatever_number_of_flows_waits() -> None:
    gate = Asked("a", 8, float)
    backlog: Backlog[Item] = Backlog(lambda item: [gate], lambda: 0.0)
    for number in range(1_000):
        backlog.put(Item(f"f{number}", number))
    inside, begun = list[Item](), list[int]()
    while True:
        while (item := backlog.take()) is not None:
            inside.append(item)
            begun.append(item.number)
        if not inside:
            break
        backlog.finished(inside.pop(0), False)
    assert begun == list(range(1_000)), "those that waited longest come first"
    assert gate.count < 10 * 1_000


def test_a_rate_goes_on_although_other_commands_never_end() -> None:
    """Nothing asks the backlog when a timer rings while every handler is busy."""
    rate = Rate("r", 1, 1, float)
    at = Bench(lambda item: [rate] if item.flow == "limited" else [])
    at.put(*(Item("limited", number) for number in range(3)))
    begun = []
    for second in range(40):
        at.now = second / 10
        at.put(Item("free"), Item("free"))
        begun += [item.flow for _ in range(2) if (item := at.backlog.take()) is not None]
    assert begun.count("limited") == 3


def test_what_meets_a_second_gate_leaves_its_place_to_the_next() -> None:
    first, second = AtOnce("first", 1, float), AtOnce("second", 1, float)
    at = Bench(lambda item: [first, second] if item.flow == "both" else [second] if item.flow == "second" else [first])
    at.put(Item("first", 1))
    inside = at.backlog.take()
    at.put(Item("both"), Item("other", 2))
    assert at.backlog.take() is None
    at.put(Item("second"))
    assert at.backlog.take() == Item("second")
    assert inside is not None
    at.backlog.finished(inside, False)
    assert at.backlog.take() == Item("other", 2), "the room that it did not use"
    at.backlog.finished(Item("other", 2), False)


def test_a_gate_that_closes_again_before_its_old_time_keeps_what_waits_at_it() -> None:
    """The time of the first closing comes while the second one holds an item."""
    circuit = Circuit("c")
    at = Bench(lambda item: [circuit])

    def begun(count: int) -> list[Item]:
        at.put(*(Item("f", number) for number in range(count)))
        return [item for _ in range(count) if (item := at.backlog.take()) is not None]

    def fail(items: list[Item]) -> None:
        for item in items:
            at.backlog.finished(item, True)

    *first, slow = begun(21)
    fail(first)
    assert begun(1) == []
    at.backlog.finished(slow, False)
    at.take_all()
    at.now = 0.5
    *failing, slow = begun(23)
    fail(failing)
    assert begun(1) == []
    at.now = 1.01
    assert at.backlog.take() is None
    assert len(at.backlog.held()) == 1
    at.backlog.finished(slow, False)
    assert at.backlog.take() is not None
