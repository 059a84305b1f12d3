"""Process managers: what is left at the end is late, as if it came then, and nothing of it is lost silently."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from sagaline.orchestrator.kernel import Limits, Registry, decide
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.messages.entity_messages import EventDelivered
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival, Message
from sagaline.orchestrator.messages.outputs import Change, DeadLetter, Decision, Outcome
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.runtime.deciding import Deciding
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.orchestrator.runtime.spans import Spans
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.orchestrator.tracing import Tracing
from sagaline.sagas import Aggregator, Event
from sagaline.sagas.process_manager import Next, ProcessManager
from sagaline.testing import World

from .kernel_nodes import Paid, Talk, leg, paid


class Part(BaseModel):
    of: str = "A"
    number: int = 0


class Parts(BaseModel):
    numbers: list[int] = []


part, whole = Event("part", Part), Event("whole", Parts)
LATE = ("ignore", "dead_letter", "restart")


class Broken:
    """``add`` raises for this number."""

    number = 0


def three(late: Any, broken: Broken | None = None) -> Aggregator[Parts]:
    """Gathers three parts."""

    def add(parts: Parts, more: Part) -> Parts:
        if broken is not None and more.number == broken.number:
            raise RuntimeError("a bug")
        return Parts(numbers=[*parts.numbers, more.number])

    return Aggregator(
        "three",
        part,
        key=lambda each: each.of,
        into=Parts,
        add=add,
        complete_when=lambda gathered: gathered.count >= 3,
        emits=whole,
        result=lambda gathered: gathered.state,
        timeout=timedelta(hours=1),
        late=late,
    )


def send(world: World, *numbers: int) -> None:
    for number in numbers:
        world.publish(part, Part(number=number), key="A")


def published_in(world: World) -> list[list[int]]:
    """The results that were published."""
    events = (each for records in world.broker.snapshot()[world.topics.events] for each in records)
    return [json.loads(each.value or b"")["numbers"] for each in events if dict(each.headers)["ce_type"] == b"whole"]


def dead_in(world: World) -> list[int]:
    """The numbers of the parts that are dead letters."""
    letters = [each for records in world.broker.snapshot()[world.topics.dead] for each in records]
    return [json.loads(each.value or b"")["body"]["number"] for each in letters]


def holds(world: World, late: str) -> None:
    """Three parts were published once; the fourth and fifth went where ``late`` says."""
    world.advance(seconds=5)
    assert published_in(world) == [[1, 2, 3]]
    assert dead_in(world) == ([4, 5] if late == "dead_letter" else [])
    gathered = world.state("three/A").state.numbers
    assert (gathered, world.status("three/A")) == (
        ([4, 5], "running") if late == "restart" else ([1, 2, 3], "completed")
    )


@pytest.mark.parametrize("late", LATE)
def test_a_part_that_waited_behind_the_last_one_is_late(late: str) -> None:
    """It waited because the code of the part before it raised."""
    with World(three(late, broken := Broken())) as world:
        broken.number = 3
        send(world, 1, 2, 3, 4, 5)
        broken.number = 0
        world.act("three/A", "retry")
        holds(world, late)


@pytest.mark.parametrize("late", LATE)
def test_a_part_that_came_during_a_pause_behind_the_last_one_is_late(late: str) -> None:
    with World(three(late)) as world:
        send(world, 1, 2)
        world.act("three/A", "pause")
        send(world, 3, 4, 5)
        world.act("three/A", "resume")
        holds(world, late)


@pytest.mark.parametrize(("act", "status"), [("abandon", "abandoned"), ("cancel", "compensated")])
def test_what_an_operator_closes_leaves_dead_letters_and_no_new_life(act: str, status: str) -> None:
    """A new life of a bad event would need attention again, and could never be closed."""
    with World(three("restart", broken := Broken())) as world:
        broken.number = 2
        send(world, 1, 2, 3)
        world.act("three/A", act)
        world.advance(seconds=5)
        assert (world.status("three/A"), dead_in(world)) == (status, [2, 3])


a = leg("a")


def talking(on_start: Any = lambda e: Next("one", Talk(), do=[a])) -> ProcessManager[Talk]:
    """Begins with ``paid``, ends with the next one of another kind; ``a`` is under way."""
    pm = ProcessManager("talk", Talk, steps=[a], late="restart")
    pm.starts_on(paid, key=lambda e: "k")(on_start)
    pm.on(ends, key=lambda e: "k")(lambda s, e: Next.complete())
    return pm


ends = Event("ends", Paid)


def ended() -> Scene:
    return Scene.of(talking()).receives(paid, key="k").ok("a").receives(ends, key="k")


def test_an_event_that_starts_nothing_replaces_no_ended_instance() -> None:
    assert (before := ended()).status is Status.COMPLETED
    assert before.receives(ends, key="again").document == before.document
    assert before.receives(paid, key="again").document.incarnation != before.document.incarnation


def test_the_next_run_goes_on_where_the_one_before_has_ended() -> None:
    """As every later run: revisions and times go on, and what was taken before is known when it comes again."""
    act = Act(id="p", instance="talk/k", act=ActName.PAUSE)
    paused = decide(talking(), None, Arrival(message=came("paid"), now_ms=5_000)).document
    paused = decide(talking(), paused, Arrival(message=act, now_ms=5_000)).document
    left = decide(talking(), paused, Arrival(message=replace(act, id="a", act=ActName.CANCEL), now_ms=5_000)).document
    assert left is not None
    ended = replace(left, status=Status.COMPENSATED, paused=False, timers={"~retention": 9_000_000}, steps={})
    again = replace(came("paid"), event_id="f")
    begun = decide(talking(), ended, Arrival(message=again, now_ms=4_000)).document
    assert begun is not None
    assert (begun.status, begun.revision, begun.updated_ms) == (Status.RUNNING, ended.revision + 1, ended.updated_ms)
    assert (begun.started_by, begun.incarnation != ended.incarnation) == ("f", True)
    known = decide(talking(), begun, Arrival(message=act, now_ms=6_000))
    assert (known.outcome, known.code) == (Outcome.UNCHANGED, ReasonCode.DUPLICATE)
    assert decide(talking(), begun, Arrival(message=came("paid"), now_ms=6_000)).outcome is Outcome.IGNORED


def test_the_next_run_has_a_trace_of_its_own() -> None:
    setup = Deciding(
        registry=Registry([talking()]),
        topics=Topics("n"),
        partitions=1,
        limits=Limits(),
        tracing=Tracing(),
        metrics=Metrics(),
        max_value_bytes=1_000_000,
    )
    own, other = f"00-{'1' * 32}-{'2' * 16}-01", f"00-{'3' * 32}-{'4' * 16}-01"
    before = ended().document
    came_late = replace(came("paid"), event_id="f", traceparent=other)
    span = Spans(setup, 0).decision(Arrival(message=came_late, now_ms=1), None, replace(before, traceparent=own))
    assert span.traceparent is not None
    assert span.traceparent.split("-")[1] == "3" * 32


def test_an_event_that_its_start_denies_replaces_no_ended_instance() -> None:
    before = ended()
    now = decide(talking(lambda e: Next.deny("no")), before.document, Arrival(message=came("paid"), now_ms=1))
    assert (now.document, now.outcome, reasons_of(now)) == (before.document, Outcome.DENIED, ["no"])


def test_the_history_says_which_event_was_denied_and_why() -> None:
    pm = ProcessManager("talk", Talk, steps=[a])
    pm.starts_on(paid, key=lambda e: "k")(lambda e: Next("one", Talk(), do=[a]))
    pm.on(ends, key=lambda e: "k")(lambda s, e: Next.deny("not on a Sunday"))
    before = Scene.of(pm).receives(paid, key="k").document
    assert before is not None
    now = decide(pm, before, Arrival(message=came("ends"), now_ms=1))
    assert (now.outcome, reasons_of(now)) == (Outcome.APPLIED, ["not on a Sunday"])
    assert now.changes == (Change(what="denied", before="ends", after="not on a Sunday"),)


def test_an_abandoned_instance_is_kept_as_long_as_its_effects_must_be_seen() -> None:
    """Even if the next event could begin a new life."""
    stuck = Scene.of(talking()).receives(paid, key="k").ok("a").cancel().undo_exhaust("a")
    left = stuck.act(ActName.ABANDON).document
    assert left.status is Status.ABANDONED
    found = decide(talking(), left, Arrival(message=came("paid"), now_ms=1))
    assert (found.document, found.code) == (left, ReasonCode.WRONG_STATUS)
    assert "redrive this after its retention" in reasons_of(found)[0]


def test_an_abandoned_instance_without_effects_begins_again() -> None:
    starts: list[Any] = [lambda e: 1 // 0]
    stuck = Scene.of(talking(lambda e: starts[-1](e))).receives(paid, key="k").act(ActName.ABANDON)
    starts.append(lambda e: Next("one", Talk()))
    assert (stuck.status, stuck.receives(paid, key="again").status) == (Status.ABANDONED, Status.RUNNING)


BY_HAND, DEPLOY = "handle it by hand, or discard it", "is not deployed here; deploy it, then redrive this"


@pytest.mark.parametrize(("late", "says"), [("ignore", ""), ("dead_letter", BY_HAND), ("restart", DEPLOY)])
def test_no_late_event_is_lost_where_the_code_is_not_deployed(late: str, says: str) -> None:
    """The ended instance remembers what its code said."""
    gathered = Scene.of(three(late), key="A")
    for number in (1, 2, 3):
        gathered = gathered.receives(part, Part(number=number), key=f"{number}")
    found = without_code(gathered.document, came("part"))
    assert found.document == gathered.document
    assert [reason[-len(says) :] for reason in reasons_of(found)] == ([says] if says else [])


def test_an_instance_that_never_had_its_code_loses_no_event() -> None:
    """Neither those that an abandon leaves, nor those that come later."""
    waits = without_code(None, came("part")).document
    left = without_code(waits, Act(id="a", instance="three/A", act=ActName.ABANDON))
    (reason,) = reasons_of(left)
    assert "redrive it to offer it again" in reason
    (reason,) = reasons_of(without_code(left.document, came("part")))
    assert DEPLOY in reason


def without_code(document: Document | None, message: Message) -> Decision:
    return decide(None, document, Arrival(message=message, now_ms=1))


def came(event: str) -> EventDelivered:
    id = "three/A" if event == "part" else "talk/k"
    return EventDelivered(id="m", instance=id, place="", index=0, event=event, event_id="e", body={"amount": 1})


def reasons_of(decision: Decision) -> list[str]:
    return [each.reason for each in decision.actions if isinstance(each, DeadLetter)]
