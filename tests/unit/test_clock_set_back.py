"""A clock that runs ahead and is set back: what was set while it was wrong comes late, everything else is on time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sagaline.orchestrator.codec.documents import decode_history
from sagaline.orchestrator.kernel.recompute import recompute
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.inputs import TimerFired
from sagaline.sagas import Event, Retry, Saga, step
from sagaline.sagas.nodes import expect, wait
from sagaline.testing import World
from tests.engine_world import Answer, Ask, Note, do_first, undo_first

HOUR = timedelta(hours=1)


@step(
    do_first,
    into="first",
    timeout=timedelta(minutes=2),
    retry=Retry(max_attempts=3, first_delay=timedelta(seconds=10)),
)
def first(s: Note) -> Ask:
    return Ask(text=s.text)


@first.undo(undo_first)
def undo(s: Note) -> Ask:
    return Ask(text=s.text)


came: Event[Answer] = Event("it-came", Answer, keep=timedelta(seconds=30))
WAITS = Saga(
    "waits",
    Note,
    version=1,
    flow=[wait(expect(came, key=lambda s: s.text, into="first"), timeout=timedelta(seconds=30), name="wait-for-it")],
)
SAGA = Saga("jumpy", Note, version=1, flow=[first])


def fails(times: int) -> dict[str, int]:
    """How often the handler fails for each text."""
    return dict.fromkeys(("before", "while", "after"), times)


def history(world: World, instance: str) -> list[HistoryRecord]:
    records = [record for part in world.broker.snapshot()[world.topics.history] for record in part]
    return [decode_history(record) for record in records if record.key == instance.encode()]


def flaky(world: World, times: int) -> None:
    left = fails(times)

    def answer(command: Ask) -> Answer:
        left[command.text] -= 1
        if left[command.text] >= 0:
            raise RuntimeError("not yet")
        return Answer(text=command.text)

    world.answer(do_first, answer)


@pytest.mark.parametrize("crash", [False, True])
def test_what_is_set_after_the_correction_is_on_time(crash: bool) -> None:
    """Also on an instance that was decided about while the clock was wrong, and after a restart."""
    with World(SAGA) as world:
        flaky(world, 2)
        world.clock.jump(HOUR)
        early = world.start(SAGA, "while", {"text": "while"})
        world.clock.jump(-HOUR)
        if crash:
            world.crash("engine")
        late = world.start(SAGA, "after", {"text": "after"})
        world.advance(minutes=1)
        assert world.status(late) == "completed"
        assert world.status(early) == "running"  # its first retry was set while the clock was wrong
        world.advance(minutes=61)
        assert world.status(early) == "completed"


def test_what_was_set_before_the_jump_and_is_due_after_the_correction_is_on_time() -> None:
    with World(SAGA) as world:
        world.answer(undo_first, Answer(text=""))
        world.answer(do_first, RuntimeError("never"))
        before = world.start(SAGA, "before", {"text": "before"})
        world.advance(seconds=2)
        due_ms = min(world.documents()[before].timers.values())
        world.clock.jump(-HOUR)
        world.start(SAGA, "while", {"text": "while"})
        world.clock.jump(HOUR)
        world.advance(seconds=30)
        fired = [one for one in history(world, before) if isinstance(one.message, TimerFired)]
        assert fired[0].message is not None
        assert due_ms <= fired[0].at_ms < due_ms + 2_000


def test_the_history_of_an_instance_is_ordered_by_revision_and_its_last_change_never_goes_back() -> None:
    """Each decision is dated by the clock at its batch, and no timer fires before that clock shows its time."""
    with World(SAGA) as world:
        flaky(world, 1)
        world.clock.jump(HOUR)
        instance = world.start(SAGA, "while", {"text": "while"})
        ahead_ms = world.documents()[instance].updated_ms
        world.clock.jump(-HOUR)
        world.act(instance, "pause")
        paused = world.documents()[instance]
        assert paused.updated_ms == ahead_ms
        world.act(instance, "resume")
        world.advance(hours=2)
        assert world.status(instance) == "completed"
        found = history(world, instance)
        revisions = [one.revision for one in found]
        assert revisions == sorted(revisions)
        times = [one.at_ms for one in found]
        assert times != sorted(times)
        for one in found:
            if isinstance(one.message, TimerFired):
                assert one.at_ms >= one.message.due_ms
        again = recompute(SAGA, found)
        assert (again.difference, again.document) == (None, world.documents()[instance])


def test_an_event_that_came_while_the_clock_was_ahead_is_kept_longer_not_lost() -> None:
    with World(WAITS) as world:
        world.clock.jump(HOUR)
        world.publish(came, Answer(text="early"), key="x")
        world.clock.jump(-HOUR)
        world.publish(came, Answer(text="on time"), key="y")
        world.advance(seconds=5)
        got = world.start(WAITS, "1", {"text": "x"})
        also = world.start(WAITS, "2", {"text": "y"})
        world.advance(seconds=5)
        assert [world.state(one).first.text for one in (got, also)] == ["early", "on time"]
        missed = world.start(WAITS, "3", {"text": "z"})
        world.advance(seconds=32)
        assert world.status(missed) == "compensated"
