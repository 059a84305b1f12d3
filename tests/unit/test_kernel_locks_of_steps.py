"""Semantic locks of steps: asked for before the command leaves, held until the end, given up when it takes too long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sagaline.orchestrator.kernel import decide
from sagaline.orchestrator.messages.document import CauseKind, Document, Status, StepStatus
from sagaline.orchestrator.messages.entities import Lock
from sagaline.orchestrator.messages.entity_messages import Acquire, Deadlocked, Granted, Probe, ProbeLock, Release
from sagaline.orchestrator.messages.inputs import ActName, Arrival, Completed, Start
from sagaline.orchestrator.messages.outputs import Outcome, Tell, incarnation_of
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Saga
from sagaline.sagas.nodes import parallel

from .kernel_nodes import LIFE, Talk, flow_of, leg, memo_of, outcome_of, redeployed, timers_of, told_by

LOCK = "@lock/order:4"


def locked(name: str = "b", *, broken: bool = False, template: str = "order:{n}") -> Saga[Talk]:
    return flow_of(leg("a"), leg(name, locks=template, broken=broken), leg("c"))


WAITER = incarnation_of("2", 0)
"""The incarnation of those that begin after a holder."""


def looked_at(scene: Scene, id: str) -> Scene:
    return replace(scene, id=id)


def two(*, broken: bool = False) -> Scene:
    """``talk/holder`` holds the lock, ``talk/k`` waits for it."""
    scene = Scene.start(locked(), {"n": 4}, key="holder").ok("a", of="talk/holder")
    scene = looked_at(scene.play(Start(id="2", definition="talk", key="k", input={"n": 4})), "talk/k")
    scene = scene.ok("a", of="talk/k")
    return redeployed(scene, locked(broken=True)) if broken else scene


def test_a_step_asks_for_its_lock_before_its_command_leaves() -> None:
    """By the name that the state gives; it waits as long as its timeout."""
    saga = locked()
    scene = Scene.start(saga, {"n": 4})
    reply = Completed(id="r", instance="talk/k", command_id=f"talk/k/a~{LIFE}/1", reply={"ok": True})
    held = decide(saga, scene.document, Arrival(message=reply, now_ms=50))
    assert held.actions == (
        Tell(message=Acquire(id=f"talk/k/~2.1~{LIFE}", instance=LOCK, by="talk/k", place=f"b~{LIFE}")),
    )
    assert held.document is not None
    record = held.document.steps["b"]
    assert (record.status, record.memo, record.attempt) == (StepStatus.LOCKING, {"lock": "order:4"}, 0)
    assert held.document.timers == {"b:lock": 60_050}


def test_with_its_lock_the_command_leaves() -> None:
    """The one who waits gets it when the holder has ended, whichever way."""
    waits = two()
    assert (waits.step("b"), waits.document.steps["b"].attempt) == (StepStatus.LOCKING, 0)
    ended = waits.ok("b", of="talk/holder").ok("c", of="talk/holder")
    assert ended.step("b") is StepStatus.SENT
    assert "b:lock" not in timers_of(ended)
    assert memo_of(ended, "b") == {"lock": "order:4"}
    failed = waits.rejects("b", of="talk/holder").undo_ok("a", of="talk/holder")
    assert failed.step("b") is StepStatus.SENT


def test_an_end_frees_every_lock_once() -> None:
    """In the order of their names, before anything else is said."""
    saga = flow_of(leg("x", locks="z"), leg("y", locks="a"), leg("w", locks="z"))
    done = Scene.start(saga).ok("x").ok("y").ok("w")
    assert told_by(done) == [
        Release(id=f"talk/k/~7.1~{LIFE}", instance="@lock/a", by="talk/k"),
        Release(id=f"talk/k/~7.2~{LIFE}", instance="@lock/z", by="talk/k"),
    ]
    assert [id for id in done.entities if id.startswith("@")] == []


def test_a_lock_that_is_not_free_in_time_is_given_up() -> None:
    """A business rejection: nothing has happened."""
    scene = two().act(ActName.PAUSE, of="talk/holder")
    late = scene.advance(timedelta(minutes=1))
    cause = late.document.cause
    assert cause is not None
    assert (cause.kind, cause.step, cause.message) == (
        CauseKind.LOCK,
        "b",
        "the lock 'order:4' was not free within 60 s",
    )
    assert (late.step("b"), late.document.steps["b"].error) == (StepStatus.REJECTED, cause.message)
    assert memo_of(late, "b") == {}
    lock = late.entities[LOCK]
    assert isinstance(lock, Lock)
    assert lock.waiting == ()


def test_a_cancel_withdraws_who_waits() -> None:
    cancelled = two().cancel()
    assert cancelled.step("b") is StepStatus.DROPPED
    assert told_by(cancelled) == [Release(id=f"talk/k/~3.1~{WAITER}", instance=LOCK, by="talk/k")]
    assert "b:lock" not in timers_of(cancelled)


def test_a_lock_that_another_place_needs_is_kept() -> None:
    """A branch that gives up waiting does not withdraw the other."""
    slow = leg("y", locks="one", timeout=timedelta(minutes=5))
    saga = flow_of(parallel(leg("x", locks="one"), slow, need="any", name="both"))
    scene = Scene.start(saga, {}, key="holder").act(ActName.PAUSE, of="talk/holder")
    assert [each.step for each in scene.waiting] == ["x", "y"]
    waits = looked_at(scene.play(Start(id="2", definition="talk", key="k", input={})), "talk/k")
    late = waits.advance(timedelta(minutes=1))
    assert (late.step("x"), late.step("y"), late.status) == (StepStatus.REJECTED, StepStatus.LOCKING, Status.RUNNING)
    assert told_by(late) == []
    lock = late.entities["@lock/one"]
    assert isinstance(lock, Lock)
    assert [(each.by, each.place) for each in lock.waiting] == [("talk/k", f"x~{WAITER}"), ("talk/k", f"y~{WAITER}")]


def test_branches_that_wait_for_one_lock_get_it_together() -> None:
    """As they do when it is free at once: the lock is the instance's."""
    saga = flow_of(parallel(leg("x", locks="one"), leg("y", locks="one")))
    scene = Scene.start(saga, {}, key="holder")
    waits = looked_at(scene.play(Start(id="2", definition="talk", key="k", input={})), "talk/k")
    assert (waits.step("x"), waits.step("y")) == (StepStatus.LOCKING, StepStatus.LOCKING)
    ended = waits.ok("x", of="talk/holder").ok("y", of="talk/holder")
    assert (ended.step("x"), ended.step("y")) == (StepStatus.SENT, StepStatus.SENT)
    assert ended.ok("x").ok("y").status is Status.COMPLETED


def test_every_branch_gives_way_in_a_deadlock() -> None:
    """A parallel that can do without them goes on with the third."""
    saga = flow_of(parallel(leg("x", locks="one"), leg("y", locks="one"), leg("z"), need=1))
    scene = Scene.start(saga, {}, key="holder").act(ActName.PAUSE, of="talk/holder")
    waits = looked_at(scene.play(Start(id="2", definition="talk", key="k", input={})), "talk/k")
    freed = waits.play(Deadlocked(id="d", instance="talk/k", cycle=("talk/k", "@lock/one", "talk/holder", "@lock/two")))
    assert (freed.step("x"), freed.step("y"), freed.step("z")) == (
        StepStatus.REJECTED,
        StepStatus.REJECTED,
        StepStatus.SENT,
    )
    lock = freed.entities["@lock/one"]
    assert isinstance(lock, Lock)
    assert lock.waiting == ()


def test_a_lock_that_comes_in_a_pause_sends_on_resume() -> None:
    """Or not at all, when it was cancelled meanwhile."""
    paused = two().act(ActName.PAUSE).ok("b", of="talk/holder").ok("c", of="talk/holder")
    assert (paused.step("b"), memo_of(paused, "b")) == (StepStatus.LOCKING, {"lock": "order:4"})
    assert (timers_of(paused), [each.kind for each in paused.document.deferred]) == ({}, ["granted"])
    assert paused.act(ActName.RESUME).step("b") is StepStatus.SENT
    cancelled = paused.cancel()
    assert cancelled.step("b") is StepStatus.DROPPED
    assert LOCK not in cancelled.entities


@pytest.mark.parametrize(("place", "lock"), [("b", "other"), ("a", "order:4"), ("nowhere", "order:4")])
def test_a_lock_that_nobody_waits_for_is_ignored(place: str, lock: str) -> None:
    scene = two()
    stray = scene.play(Granted(id="g", instance="talk/k", place=place, lock=lock))
    assert outcome_of(stray)[0] is Outcome.IGNORED
    assert stray.document == scene.document


def test_a_command_that_cannot_be_built_keeps_its_lock_until_a_retry_or_a_cancel() -> None:
    blocked = two(broken=True).ok("b", of="talk/holder").ok("c", of="talk/holder")
    assert blocked.step("b") is StepStatus.BLOCKED
    assert redeployed(blocked, locked()).retry().step("b") is StepStatus.SENT
    cancelled = blocked.cancel()
    assert cancelled.step("b") is StepStatus.DROPPED
    assert LOCK not in cancelled.entities


def edited(scene: Scene, n: int) -> Scene:
    return scene.act(ActName.EDIT, value={"patch": [{"op": "replace", "path": "/n", "value": n}]})


def holders(scene: Scene) -> dict[str, str]:
    """Who holds which lock."""
    locks = [each for each in scene.entities.values() if isinstance(each, Lock)]
    return {each.name: each.holder.by for each in locks if each.holder is not None}


def test_a_step_that_is_begun_again_under_another_lock_gives_the_first_back() -> None:
    """Its command has never left. The other one is held until the end like any."""
    blocked = two(broken=True).ok("b", of="talk/holder").ok("c", of="talk/holder")
    again = redeployed(edited(blocked, 5), locked()).retry()
    assert (again.step("b"), holders(again)) == (StepStatus.SENT, {"order:5": "talk/k"})
    assert holders(again.ok("b").ok("c")) == {}


def test_a_step_that_may_have_happened_keeps_the_lock_under_which_it_did() -> None:
    """Until the end, beside those of later rounds; or until a restart has taken it back."""
    sent = Scene.start(locked(), {"n": 4}).ok("a").crash("b")
    blocked = redeployed(sent, locked(broken=True)).tick()
    assert (blocked.step("b"), blocked.document.steps["b"].attempt) == (StepStatus.BLOCKED, 1)
    again = redeployed(edited(blocked, 5), locked()).retry()
    assert (again.step("b"), holders(again)) == (StepStatus.SENT, {"order:4": "talk/k", "order:5": "talk/k"})
    assert holders(again.ok("b").ok("c")) == {}
    stuck = redeployed(again.crash("b"), locked(broken=True)).tick()
    third = redeployed(edited(stuck, 4), locked()).retry()
    assert holders(third) == {"order:4": "talk/k", "order:5": "talk/k"}
    assert memo_of(third, "b") == {"lock": "order:4", "kept_locks": ["order:5"]}
    other = redeployed(edited(stuck, 6), locked()).act(ActName.RESTART, step="b").undo_ok("b")
    assert (other.step("b"), holders(other)) == (StepStatus.SENT, {"order:6": "talk/k"})


def test_a_lock_that_one_place_keeps_is_not_given_back_by_another() -> None:
    """Both began under it; of the one nothing has ever left, the other may have happened."""

    def both(*, broken: bool) -> Saga[Talk]:
        ask = leg("x", locks="order:{n}"), leg("y", locks="order:{n}", broken=broken)
        return flow_of(parallel(*ask, name="both"))

    stuck = Scene.start(both(broken=True), {"n": 4}).advance(timedelta(minutes=1))
    assert (stuck.step("x"), stuck.step("y"), holders(stuck)) == (
        StepStatus.FAILED,
        StepStatus.BLOCKED,
        {"order:4": "talk/k"},
    )
    again = redeployed(edited(stuck, 5), both(broken=False)).retry()
    assert holders(again) == {"order:4": "talk/k", "order:5": "talk/k"}
    assert holders(again.ok("x").ok("y")) == {}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{did.ok}", "AttributeError: 'NoneType' object has no attribute 'ok'"),
        ("{offers[0]}", "IndexError: list index out of range"),
    ],
)
def test_a_name_that_cannot_be_made_stops_the_instance(template: str, said: str) -> None:
    scene = Scene.start(flow_of(leg("a", locks=template)))
    assert scene.attention is not None
    assert scene.attention.message == (
        f"the lock {template!r} of step 'a' raised {said}; fix the function, redeploy, then retry"
    )


def test_a_lock_has_a_name_of_a_length_that_can_be_kept() -> None:
    """As every key: 1 to 256 characters."""
    for n, fits in ((256, True), (257, False), (1, True)):
        scene = Scene.start(flow_of(leg("a", locks="{n:0>" + str(n) + "}")))
        assert (scene.status is Status.RUNNING) == fits
    too_long = Scene.start(flow_of(leg("a", locks="{n:0>257}")))
    assert too_long.attention is not None
    assert "gave a key that has 257 characters; give 1 to 256; " in too_long.attention.message


def test_a_probe_is_passed_on_to_every_lock_that_is_waited_for() -> None:
    """It changes nothing."""
    scene = two()
    probed = scene.play(Probe(id="p", instance="talk/k", path=("talk/x", "@lock/x")))
    assert probed.last is not None
    assert probed.last.outcome is Outcome.IGNORED
    assert probed.last.actions == (
        Tell(message=ProbeLock(id=f"p/{LOCK}", instance=LOCK, path=("talk/x", "@lock/x", "talk/k"))),
    )
    assert probed.document == scene.document
    holder = looked_at(scene, "talk/holder").play(Probe(id="p", instance="talk/holder", path=("talk/x", "@lock/x")))
    assert told_by(holder) == []


def test_who_is_told_of_a_deadlock_gives_way() -> None:
    """The cause shows the circle; the lock is given up, the flow turns."""
    cycle = ("talk/k", LOCK, "talk/holder", "@lock/y")
    scene = two()
    turned = scene.play(Deadlocked(id="d", instance="talk/k", cycle=cycle))
    cause = turned.document.cause
    assert cause is not None
    text = f"deadlock: talk/k -> {LOCK} -> talk/holder -> @lock/y -> talk/k"
    assert (cause.kind, cause.step, cause.message) == (CauseKind.DEADLOCK, "b", text)
    assert (turned.step("b"), turned.document.steps["b"].error) == (StepStatus.REJECTED, text)
    assert "b:lock" not in timers_of(turned)
    assert told_by(turned) == [Release(id=f"talk/k/~3.1~{WAITER}", instance=LOCK, by="talk/k")]
    granted = scene.act(ActName.PAUSE).ok("b", of="talk/holder").ok("c", of="talk/holder")
    late = granted.play(Deadlocked(id="d", instance="talk/k", cycle=cycle)).act(ActName.RESUME)
    assert late.step("b") is StepStatus.SENT, "it had the lock before"
    for over in (turned, scene.cancel()):
        again = over.play(Deadlocked(id="d", instance="talk/k", cycle=cycle))
        assert outcome_of(again)[0] is Outcome.IGNORED
    other = scene.play(Deadlocked(id="d", instance="talk/k", cycle=("talk/k", "@lock/y", "talk/holder")))
    assert other.document == scene.document


def test_a_deadlock_ends_in_one_undone_and_one_done() -> None:
    """Two that hold what the other wants: found by probes alone, no timer fires."""
    saga = flow_of(leg("a", locks="l{n}"), leg("b", locks="l{rounds}"))
    scene = Scene.start(saga, {"n": 1, "rounds": 2}, key="1")
    scene = scene.play(Start(id="2", definition="talk", key="2", input={"n": 2, "rounds": 1}))
    scene = scene.ok("a", of="talk/1").ok("a", of="talk/2").undo_ok("a", of="talk/2").ok("b", of="talk/1")
    ends = {each.id: each.status for each in scene.documents}
    assert ends == {"talk/1": Status.COMPLETED, "talk/2": Status.COMPENSATED}
    loser = scene.entities["talk/2"]
    assert isinstance(loser, Document)
    assert loser.cause is not None
    assert loser.cause.kind is CauseKind.DEADLOCK
    assert scene.now_ms == 0
