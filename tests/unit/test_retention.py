"""``Retention``: each status has its own, and what is removed is archived once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from sagaline.orchestrator.codec.wire import header_map
from sagaline.orchestrator.kernel import decide
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.entity_messages import Expire
from sagaline.orchestrator.messages.inputs import ActName, Arrival, Conflict, Start, TimerFired
from sagaline.orchestrator.messages.outputs import Archive, Decision
from sagaline.orchestrator.testing.world import World
from sagaline.sagas import Aggregator, Contract, DefinitionError, Event, Rejected, Resequencer, Saga, step
from sagaline.sagas.definition import Definition
from sagaline.sagas.process_manager import Next, ProcessManager
from sagaline.sagas.retention import Retention
from sagaline.sagas.routing_slip import RoutingSlip, stop
from sagaline.workers import Message, Worker

from .kernel_kit import Do, Notes, Play, erased, make_step, play

KEPT = Retention(completed=timedelta(hours=1), compensated=timedelta(hours=2), abandoned=timedelta(hours=3))
HOUR_MS = 3_600_000


def kept_as(retention: timedelta | Retention, version: int = 1) -> Saga[BaseModel]:
    return erased(Saga("demo", Notes, version=version, flow=[make_step("a", undo=True)], retention=retention))


def archived(decision: Decision) -> list[tuple[str, str]]:
    """The instance and the incarnation of each document that a decision archives."""
    found = [each.document for each in decision.actions if isinstance(each, Archive)]
    return [(each.id, each.incarnation) for each in found]


def test_each_status_has_its_own_retention() -> None:
    """An instance that failed is kept longer than one that went well."""
    good, bad, left = (play(kept_as(KEPT)) for _ in range(3))
    good.ok("a")
    bad.reject("a")
    left.act(ActName.CANCEL)
    left.ok("a")
    left.reject("a", undo=True)
    left.act(ActName.ABANDON)
    assert [run.status for run in (good, bad, left)] == ["completed", "compensated", "abandoned"]
    kept = [run.document.timers["~retention"] - (run.document.finished_ms or 0) for run in (good, bad, left)]
    assert kept == [HOUR_MS, 2 * HOUR_MS, 3 * HOUR_MS]


def test_what_is_not_given_is_a_week_and_a_timedelta_is_one_for_all() -> None:
    week, hour = timedelta(days=7), timedelta(hours=1)
    assert Retention(abandoned=hour).spans == {"completed": week, "compensated": week, "abandoned": hour}
    assert kept_as(hour).retention == Retention(completed=hour, compensated=hour, abandoned=hour)


class Part(BaseModel):
    key: str
    number: int = 0


class Sum(BaseModel):
    total: int = 0


part, whole = Event("part", Part), Event("whole", Part)
do_it = Contract("do-it", Do, Notes, queue="q")


def every_kind(retention: Any) -> Iterable[Definition[Any]]:
    yield Saga("s", Notes, flow=[make_step("a", undo=False)], retention=retention)
    yield ProcessManager("p", Notes, retention=retention)
    yield RoutingSlip("r", Do, stops=[stop(do_it)], retention=retention)
    yield Aggregator(
        "a",
        part,
        key=lambda body: body.key,
        into=Sum,
        add=lambda s, body: Sum(total=s.total + body.number),
        complete_when=lambda gathered: gathered.count == 2,
        emits=whole,
        result=lambda gathered: Part(key=gathered.key),
        timeout=timedelta(hours=1),
        retention=retention,
    )
    yield Resequencer(
        "q", part, key=lambda body: body.key, number=lambda body: body.number, emits=whole, retention=retention
    )


def test_every_kind_of_definition_takes_it() -> None:
    assert [each.retention for each in every_kind(KEPT)] == [KEPT] * 5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"completed": timedelta(0)}, "Retention.completed is 0:00:00; give a positive timedelta"),
        ({"compensated": 7}, "Retention.compensated is 7; give a positive timedelta"),
        ({"abandoned": -timedelta(days=1)}, "Retention.abandoned is -1 day, 0:00:00; give a positive timedelta"),
        ({"archive": "yes"}, "Retention.archive is 'yes'; give True or False"),
    ],
)
def test_a_mistake_is_raised_at_declaration(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Retention(**wrong)
    assert str(caught.value) == said


ARCHIVED = replace(KEPT, archive=True)


def test_the_document_that_the_retention_removes_is_archived_if_declared() -> None:
    for retention, wanted in ((ARCHIVED, 1), (KEPT, 0)):
        run = play(kept_as(retention))
        run.ok("a")
        last = run.document
        gone = run.fire("~retention")
        assert gone.document is None
        assert [each.document for each in gone.actions if isinstance(each, Archive)] == [last] * wanted


@pytest.mark.parametrize(("at_end", "later"), [(ARCHIVED, KEPT), (KEPT, ARCHIVED)])
def test_what_was_deployed_at_the_end_decides(at_end: Retention, later: Retention) -> None:
    """Neither the code that is deployed at the removal, nor that of the key's next run, and also without any code."""
    for definition in (kept_as(later), None):
        run = play(kept_as(at_end))
        run.ok("a")
        run.definition = definition
        assert len(archived(run.fire("~retention"))) == at_end.archive
    run = play(kept_as(at_end))
    run.ok("a")
    run.definition = kept_as(later, version=2)
    begun = run.apply(Start(id="n", definition="demo", key="k", input={"n": 2}, conflict=Conflict.REPLACE))
    assert (len(archived(begun)), run.status) == (at_end.archive, "running")


def test_without_its_code_an_abandoned_instance_is_archived() -> None:
    """Nobody can say whether its definition wants it, and what is gone cannot be brought back."""
    run = Play(None)
    run.start()
    run.act(ActName.ABANDON)
    incarnation = run.document.incarnation
    assert archived(run.fire("~retention")) == [("demo/k", incarnation)]


def test_the_next_run_of_a_key_archives_the_one_before() -> None:
    """Its document is replaced in the commit that begins the next run; the retention then removes only that one."""
    run = play(kept_as(ARCHIVED))
    run.ok("a")
    first = run.document.incarnation
    begun = run.apply(Start(id="n", definition="demo", key="k", input={"n": 2}, conflict=Conflict.REPLACE))
    assert (archived(begun), run.status) == ([("demo/k", first)], "running")
    run.ok("a")
    assert archived(run.fire("~retention")) == [("demo/k", run.sent[-1].incarnation)]
    assert run.sent[-1].incarnation != first


def test_an_event_that_begins_the_next_life_archives_the_one_before() -> None:
    kept = Retention(completed=timedelta(minutes=1), archive=True)
    manager = ProcessManager("demo", Notes, late="restart", retention=kept)

    @manager.starts_on(part, key=lambda body: body.key)
    def begin(body: Part) -> Next[Notes]:
        return Next.complete(Notes(n=body.number))

    with World(manager) as world:
        for number in (1, 2):
            world.publish(part, Part(key="k", number=number), key="k")
        assert [each["ce_subject"] for each in records(world)] == [b"demo/k"]
        world.advance(seconds=80)
        assert [each["ce_subject"] for each in records(world)] == [b"demo/k", b"demo/k"]
        assert len({each["ce_id"] for each in records(world)}) == 2


def test_a_child_is_archived_when_its_root_lets_it_go() -> None:
    """Not at each end of its retention: it asks its root first."""
    run = play(kept_as(ARCHIVED))
    run.ok("a")
    leaves = Expire(id="x", instance="demo/k")
    assert archived(run.apply(leaves)) == [("demo/k", run.sent[0].incarnation)]


def test_what_lives_on_is_not_archived() -> None:
    run = Play(kept_as(ARCHIVED))
    decisions = [run.start(), run.ok("a"), run.start(), run.act(ActName.CANCEL)]
    early = TimerFired(id="t", instance="demo/k", timer="~retention", due_ms=run.document.timers["~retention"])
    decisions.append(decide(run.definition, run.document, Arrival(message=early, now_ms=run.now_ms)))
    assert [archived(each) for each in decisions] == [[]] * 5
    assert run.document.status is Status.COMPLETED


def records(world: World) -> list[dict[str, bytes | None]]:
    """The headers of what is in the archive."""
    found = world.broker.snapshot()[world.topics.archive]
    return [dict(header_map(each.headers)) for partition in found for each in partition]


class Stored(BaseModel):
    """What a subscriber takes from the document."""

    id: str
    status: str
    state: dict[str, Any]


def test_an_archived_document_arrives_once_in_a_subscriber() -> None:
    """In virtual time, with the real engine and a worker, each killed on the way; also what was there before it."""
    arrived: list[tuple[str, str, Any]] = []

    @step(do_it, into="a", name="a")
    def ask(s: Asked) -> Do:
        return Do(n=s.n)

    kept = Retention(completed=timedelta(minutes=2), compensated=timedelta(minutes=1), archive=True)
    saga = Saga("demo", Asked, flow=[ask], retention=kept)

    def workers(inbox: Any) -> Iterable[Worker]:
        hands = Worker("hands", inbox=inbox)

        @hands.handles(do_it)
        async def handle(command: Do) -> Notes | Rejected:
            return Notes(n=command.n) if command.n < 3 else Rejected("no", code="no")

        keeper = Worker("keeper")

        @keeper.consumes("world.archive", model=Stored)
        async def keep(document: Stored, message: Message) -> None:
            assert message.id.startswith(f"{document.id}~")
            arrived.append((document.id, document.status, document.state["n"]))

        return hands, keeper

    with World(saga, workers=workers) as world:
        for number in range(4):
            world.start(saga, f"k{number}", Asked(n=number))
        world.settle()
        world.advance(seconds=80)
        assert sorted(arrived) == [("demo/k3", "compensated", 3)]
        world.crash()
        world.advance(minutes=1)
        wanted = [*((f"demo/k{number}", "completed", number) for number in range(3)), ("demo/k3", "compensated", 3)]
        assert sorted(arrived) == wanted
        assert world.documents() == {}
        world.advance(minutes=1)
        assert sorted(arrived) == wanted


class Asked(BaseModel):
    n: int
    a: Notes | None = None
