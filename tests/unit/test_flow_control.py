"""Limits, fairness and circuits: what begins next, what waits beside a closed gate, and that nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from structlog.testing import capture_logs

from sagaline.orchestrator.codec.commands import decode_command
from sagaline.orchestrator.codec.presences import Held
from sagaline.orchestrator.errors import InvalidRequest
from sagaline.orchestrator.kernel.table import decide_table
from sagaline.orchestrator.messages.entity_messages import Rule, SetRules, table_id
from sagaline.orchestrator.messages.flow_limits import LIMITS_TABLE, check_limits, limits_of
from sagaline.orchestrator.messages.outputs import Announce, Outcome
from sagaline.orchestrator.ports.log import Record
from sagaline.sagas import DefinitionError
from sagaline.sagas.contract import PRIORITIES, Priority
from sagaline.workers import Context, Worker, WorkerRuntime
from sagaline.workers.backlog import WEIGHTS, Backlog
from sagaline.workers.flow import FlowControl
from sagaline.workers.gates import AtOnce, Circuit, Gate, Rate
from sagaline.workers.offsets import Offsets
from sagaline.workers.work import Work

from ..worker_world import PATIENCE_SECONDS, Pack, Packed, WorkerWorld, pack, worker_world
from .stack import stack


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


class Item(NamedTuple):
    flow: str
    number: int = 0
    priority: Priority = "normal"


class Bench:
    """A backlog and its time."""

    def __init__(self, gates: Callable[[Item], Sequence[Gate]] = lambda item: ()) -> None:
        self.now = 0.0
        self.backlog: Backlog[Item] = Backlog(gates, lambda: self.now)

    def put(self, *items: Item) -> None:
        for item in items:
            self.backlog.put(item)

    def take_all(self, failed: bool | None = False) -> list[Item]:
        """Everything that may begin now, each finished at once."""
        found = []
        while (item := self.backlog.take()) is not None:
            found.append(item)
            self.backlog.finished(item, failed)
        return found


def test_in_a_round_every_lane_gets_its_weight_and_none_starves() -> None:
    at = Bench()
    at.put(*(Item("f", number, each) for number in range(1_000) for each in PRIORITIES))
    taken = [at.backlog.take() for _ in range(10 * sum(WEIGHTS.values()))]
    assert Counter(item.priority for item in taken if item) == {each: 10 * weight for each, weight in WEIGHTS.items()}
    assert len(at.backlog) == 3_000 - len(taken)


def test_what_a_lane_does_not_use_goes_to_the_others() -> None:
    at = Bench()
    at.put(*(Item("f", number, "low") for number in range(50)))
    assert [item.number for item in at.take_all()] == list(range(50))
    at.put(Item("f", 1, "low"), Item("f", 2, "high"))
    assert [item.priority for item in at.take_all()] == ["high", "low"]


def test_flows_take_turns_whatever_their_backlog() -> None:
    at = Bench()
    at.put(*(Item("big", number) for number in range(1_000)), *(Item("small", number) for number in range(10)))
    taken = [at.backlog.take() for _ in range(20)]
    for flow in ("big", "small"):
        assert [item.number for item in taken if item and item.flow == flow] == list(range(10))


def test_a_rate_lets_so_many_begin_in_its_time_and_others_pass() -> None:
    rate = Rate("r", 10, 1, float)
    at = Bench(lambda item: [rate] if item.flow == "limited" else [])
    at.put(*(Item("limited", number) for number in range(100)), Item("free"))
    assert Counter(item.flow for item in at.take_all()) == {"limited": 10, "free": 1}
    begun = []
    for _ in range(50):
        opens = at.backlog.opens_at()
        assert opens is not None
        at.now = opens
        begun += [item.number for item in at.take_all()]
    assert begun == list(range(10, 60))
    assert at.now == pytest.approx(5.0)


def test_a_process_takes_its_share_of_a_rate() -> None:
    rate = Rate("r", 60, 60, lambda count: count / 4)
    at = Bench(lambda item: [rate])
    at.put(*(Item("f", number) for number in range(9)))
    assert len(at.take_all()) == 1
    at.now = 4.0
    assert len(at.take_all()) == 1


def test_so_many_run_at_once_and_a_share_is_at_least_one() -> None:
    for share, most in ((1.0, 3), (0.5, 1), (0.1, 1)):
        gate = AtOnce("a", 3, lambda count, part=share: count * part)  # type: ignore[misc]
        at = Bench(lambda item, gate=gate: [gate])  # type: ignore[misc]
        at.put(*(Item("f", number) for number in range(10)))
        inside = []
        while (item := at.backlog.take()) is not None:
            inside.append(item)
        assert len(inside) == most
        at.backlog.finished(inside[0], False)
        assert at.backlog.take() is not None


def test_a_circuit_opens_tries_one_a_second_and_closes_at_the_first_success() -> None:
    circuit = Circuit("c")
    at = Bench(lambda item: [circuit] if item.flow == "broken" else [])
    at.put(*(Item("broken", number) for number in range(100)), Item("sound"))
    assert len(at.take_all(failed=True)) == 21, "20 failures in a row, and the sound one"
    assert circuit.is_open
    for second in range(1, 6):
        at.now = float(second)
        assert len(at.take_all(failed=True)) == 1
        assert at.backlog.opens_at() == second + 1
    at.now = 6.0
    assert [item.number for item in at.take_all()] == list(range(25, 100)), "in order, and none is lost"
    assert not circuit.is_open


def test_some_failures_do_not_open_a_circuit_and_a_drop_is_none() -> None:
    circuit = Circuit("c")
    for number in range(200):
        circuit.enter(0.0)
        circuit.leave(number % 2 == 0, 0.0)
        circuit.leave(None, 0.0)
    assert not circuit.is_open


def test_at_a_stop_no_gate_holds_anything_back() -> None:
    gate = Rate("r", 1, 3_600, float)
    at = Bench(lambda item: [gate])
    at.put(*(Item("f", number) for number in range(10)))
    assert len(at.take_all()) == 1
    at.backlog.stop()
    assert len(at.take_all(failed=None)) == 9


@pytest.mark.parametrize(
    ("when", "to", "wrong"),
    [
        ({"queue": "mail"}, "100/s", None),
        ({"contract": "send-mail", "key": "*"}, "8 at once", None),
        ({"queue": "mail", "key": "ann"}, "5/h", None),
        ({"queue": "mail"}, "fast", "'fast' is no limit; give such as '100/s'"),
        ({"queue": "mail"}, "0/s", "is no limit"),
        ({}, "1/s", "give either a queue or a contract"),
        ({"queue": "a", "contract": "b"}, "1/s", "give either a queue or a contract"),
        ({"queue": "mail.high"}, "1/s", "as declared, without a lane"),
        ({"queue": "mail", "tenant": "x"}, "1/s", "tenant is unknown"),
        ({"queue": "mail", "key": 7}, "1/s", "give one key, or '*'"),
    ],
)
def test_a_limit_is_checked_when_it_is_set(when: dict[str, Any], to: str, wrong: str | None) -> None:
    found = check_limits([Rule(when=when, to=to)])
    assert found is None if wrong is None else found is not None and wrong in found
    assert len(limits_of([Rule(when=when, to=to)])) == (wrong is None)


def test_a_limit_that_is_given_twice_is_refused() -> None:
    """It would be one gate that a command enters twice."""
    rules = [Rule(when={"queue": "mail"}, to=to) for to in ("4 at once", "9/s", "4 at once")]
    assert check_limits(rules) == "limit 3 is the same as limit 1; remove one of them"
    assert check_limits(rules[:2]) is None
    assert len(limits_of(rules)) == 2


async def _later(command: Pack) -> str:
    return command.item


@pytest.mark.parametrize(
    ("fair_by", "wrong"),
    [("item", "give a function"), (_later, "make it a plain, pure function"), (lambda: 1, "let it take 1")],
)
def test_what_a_handler_is_fair_by_is_checked_at_its_declaration(fair_by: Any, wrong: str) -> None:
    worker = Worker("packer")
    with pytest.raises(DefinitionError, match=wrong) as error:
        worker.handles(pack, fair_by=fair_by)
    assert "fair_by of 'pack'" in str(error.value)


async def test_a_fair_by_that_fails_is_logged_once_and_its_commands_are_handled(world: WorkerWorld) -> None:
    def tenant(command: Pack) -> str:
        raise KeyError(command.item)

    at = Desk(fair_by=tenant)
    at.go_on.set()
    with capture_logs() as logs:
        async with world.running(at.worker):
            await world.ask(*(world.command(f"order/{i}") for i in range(3)), world.command("order/x", payload=b"[]"))
    (line,) = [each for each in logs if each["event"] == "worker.fair_by.failed"]
    assert (line["contract"], line["log_level"]) == ("pack", "warning")
    assert "correct the function" in line["error"]
    assert len(at.begun) == 3


def test_a_change_of_limits_is_announced_with_the_table_and_a_wrong_one_is_denied() -> None:
    rules = (Rule(when={"queue": "packing"}, to="1/s"),)
    request = SetRules(id="r", instance=table_id(LIMITS_TABLE), rules=rules)
    answer = decide_table(None, request, 0, ())
    assert (answer.outcome, answer.actions) == (
        Outcome.APPLIED,
        (Announce(table=LIMITS_TABLE, version=1, rules=rules),),
    )
    wrong = SetRules(id="r", instance=table_id(LIMITS_TABLE), rules=(Rule(when={}, to="x"),))
    denied = decide_table(None, wrong, 0, ())
    assert (denied.outcome, denied.actions) == (Outcome.DENIED, ())


class Desk:
    """A handler that notes how many are inside."""

    def __init__(self, fair_by: Callable[[Pack], object] | None = None) -> None:
        self.inside = self.most = 0
        self.begun: list[str] = []
        self.go_on = asyncio.Event()
        self.worker = Worker("packer")
        self.worker.handles(pack, fair_by=fair_by)(self.handle)

    async def handle(self, command: Pack, ctx: Context) -> Packed:
        self.begun.append(command.item)
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.go_on.wait()
        self.inside -= 1
        return Packed(parcel=command.item)


def held(runtime: WorkerRuntime) -> list[Held]:
    return [held for each in runtime.doing() for held in each.held]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_limits_that_are_changed_while_a_worker_runs_take_effect(world: WorkerWorld) -> None:
    """Two at once; then three; then none is limited. Everything is answered."""

    async def limited(*rules: Rule) -> None:
        await world.limit(*rules)

    await limited(Rule(when={"queue": "packing"}, to="2 at once"))
    await world.send(*(world.command(f"order/{i}", payload=Pack(item=f"i{i}")) for i in range(10)))
    at = Desk()
    async with world.running(at.worker) as runtime:
        await until(lambda: at.inside == 2 and sum(each.count for each in held(runtime)) == 8)
        assert {(each.by, each.name) for each in held(runtime)} == {("limit", "queue packing: 2 at once")}
        await limited(Rule(when={"contract": "pack"}, to="3 at once"))
        await until(lambda: at.inside >= 3)
        assert at.most == 3 or at.most == 5, "those inside before do not count against the new limit"
        await limited()
        await until(lambda: at.inside == 10)
        at.go_on.set()
        await world.replies(10)


async def test_a_limit_of_each_key_holds_back_only_that_key(world: WorkerWorld) -> None:
    await world.limit(Rule(when={"queue": "packing", "key": "*"}, to="1/h"))
    await world.send(
        *(world.command(f"order/{key}", payload=Pack(item=key), step=f"s{i}") for i in range(3) for key in "AB")
    )
    at = Desk()
    at.go_on.set()
    async with world.running(at.worker) as runtime:
        await world.replies(2)
        assert sorted(at.begun) == ["A", "B"]
        assert runtime.unfinished("packing") > 0


async def test_a_gate_is_kept_while_a_command_runs_behind_it_or_waits_before_it(world: WorkerWorld) -> None:
    """However many other keys there were meanwhile."""
    flow = FlowControl(world.clock, lambda work: None, lambda queue, count: float(count), lambda: None)
    flow.limit(limits_of([Rule(when={"queue": "packing", "key": "*"}, to="1 at once")]))
    at, offsets = Desk(), Offsets()
    records = (Record(r.topic, 0, n, r.key, r.value, r.headers, 1) for n, r in enumerate(repeat(world.command())))

    def came(key: str) -> Work:
        record = next(records)._replace(key=key.encode())
        work = Work(record, offsets.polled(record), decode_command(record), at.worker.handler("pack"), 0.0)
        flow.put(work)
        return work

    def others(count: int) -> None:
        for number in range(count):
            other = came(f"other-{number}")
            assert flow.take() is other
            flow.finished(other, False)

    first = came("busy")
    assert flow.take() is first
    others(10_001)
    second, third = came("busy"), came("busy")
    assert flow.take() is None
    others(10_001)
    flow.finished(first, False)
    assert (flow.take(), flow.take()) == (second, None)
    others(10_001)
    flow.finished(second, False)
    assert flow.take() is third


async def test_tenants_take_turns(world: WorkerWorld) -> None:
    """One with three hundred commands does not keep another's ten waiting."""
    at = Desk(fair_by=lambda command: command.item)
    at.worker.concurrency = 1
    at.go_on.set()
    many = [world.command(f"big/{i}", payload=Pack(item="big")) for i in range(300)]
    few = [world.command(f"small/{i}", payload=Pack(item="small")) for i in range(10)]
    await world.send(*many, *few)
    async with world.running(at.worker):
        await world.replies(310)
    last = len(at.begun) - 1 - at.begun[::-1].index("small")
    assert at.begun[:last].count("big") < 300
    assert sum(item == "big" for item in at.begun[at.begun.index("small") : last]) <= 20


async def test_limits_are_set_like_every_table(tmp_path: Path) -> None:
    async with stack(tmp_path) as up:
        with pytest.raises(InvalidRequest, match="limit 1"):
            await up.client.tables.set(LIMITS_TABLE, [Rule(when={}, to="1/s")])
        done = await up.client.tables.set(LIMITS_TABLE, [Rule(when={"queue": "stock"}, to="1/s")], by="ann")
        assert (done.version, done.changed) == (1, True)
        assert (await up.client.tables.get(LIMITS_TABLE)).changed_by == "ann"
        assert [each.name for each in (await up.client.tables.list()).tables] == [LIMITS_TABLE]
        tail = await up.log.tail([up.topics.rules], "earliest")
        (record,) = await tail.poll(max_records=10, timeout=PATIENCE_SECONDS)
        assert b"stock" in (record.value or b"")
