"""A process manager's instance: what comes is offered to the handlers of its phase, and what they ask for is done."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, Field

from sagaline.orchestrator.kernel import Registry, decide
from sagaline.orchestrator.messages.document import CauseKind, Status, StepStatus
from sagaline.orchestrator.messages.entity_messages import EventDelivered, Published
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival, Start, TimerFired
from sagaline.orchestrator.messages.outputs import Change, DeadLetter, Outcome, SendCommand
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Event, step
from sagaline.sagas.nodes import emit
from sagaline.sagas.process_manager import Next, ProcessManager

from .kernel_nodes import HOUR, Did, Do, memo_of, outcome_of, timers_of, told_by

HOUR_MS = 3_600_000


class Order(BaseModel):
    """What the process knows."""

    id: str = "k"
    n: int = 0
    did: Did | None = None


class Placed(BaseModel):
    """The body of every event."""

    id: str = "k"
    n: int = 0


placed = Event("placed", Placed, keep=2 * HOUR)
paid, shipped, said = Event("paid", Placed), Event("shipped", Placed), Event("said", Placed)


def some_step(name: str, into: str | None = None) -> Any:
    made = step(Contract(f"do-{name}", Do, Did, queue="q"), into=into, name=name)(lambda s: Do(n=s.n))
    made.undo(Contract(f"undo-{name}", Do, Did, queue="q"))(lambda s: Do(n=-s.n))
    return made


pick, pack = some_step("pick", "did"), some_step("pack")
says = emit(said, lambda s: Placed(n=s.n), key=lambda s: s.id)


def manager(
    *,
    on_paid: Any = lambda s, e: Next("picking", do=[pick]),
    on_placed: Any = lambda e: Next("unpaid", Order(id=e.id, n=e.n), timers={"later": HOUR, "never": 2 * HOUR}),
    on_shipped: Any = lambda s, e: Next.complete(),
    on_done: Any = lambda s: Next("packing", do=[pack]),
    on_failed: Any = None,
    on_timer: Any = lambda s: Next("late"),
) -> ProcessManager[Order]:
    """Placed, paid (picks), picked (packs), shipped (ends)."""
    found = ProcessManager("pm", Order, steps=[pick, pack], version=2, retention=HOUR)
    found.starts_on(placed, key=lambda e: e.id)(on_placed)
    found.on(paid, key=lambda e: e.id, when="unpaid")(on_paid)
    found.on(shipped, key=lambda e: e.id, when=["picking", "packing"])(on_shipped)
    found.on_done(pick, when="picking")(on_done)
    found.on_timer("later", when="unpaid")(on_timer)
    if on_failed is not None:
        found.on_failed(pick, when="picking")(on_failed)
    return found


def came(event: str, event_id: str = "", n: int = 5) -> EventDelivered:
    id = event_id or f"{event}-1"
    return EventDelivered(
        id=f"m-{id}", instance="pm/k", place="", index=0, event=event, event_id=id, body={"id": "k", "n": n}
    )


def begun(**options: Any) -> Scene:
    return Scene.of(manager(**options)).play(came("placed"))


def test_its_first_event_begins_an_instance() -> None:
    """With the state that the handler gives, and the timers that it asks for."""
    event = EventDelivered(
        id="m", instance="pm/a/b", place="", index=0, event="placed", event_id="e1", body={"n": 5}, traceparent="00-t"
    )
    decision = decide(manager(), None, Arrival(message=event, now_ms=100))
    document = decision.document
    assert document is not None
    assert (document.id, document.definition, document.key, document.version) == ("pm/a/b", "pm", "a/b", 2)
    assert (document.status, document.revision, document.started_by) == (Status.RUNNING, 1, "e1")
    assert (document.state, document.digest, document.traceparent) == ({"id": "k", "n": 5, "did": None}, "", "00-t")
    assert (document.created_ms, document.updated_ms) == (100, 100)
    assert document.timers == {"later:timer": HOUR_MS + 100, "never:timer": 2 * HOUR_MS + 100}
    assert document.managed is not None
    assert (document.managed.phase, document.managed.early, document.managed.seen) == ("unpaid", (), ("e1",))
    assert (document.managed.ends, decision.actions) == (False, ())
    assert decision.changes == (
        Change(what="instance", before=None, after="running"),
        Change(what="phase", before=None, after="unpaid"),
    )


def test_an_event_that_comes_before_the_start_is_kept_for_it_in_order() -> None:
    """As long as its ``keep``; then nothing of it is left, and the history says how many there were."""
    early = Scene.of(manager()).play(came("paid"))
    assert (early.status, early.document.state) == (Status.RUNNING, {})
    assert early.document.managed is not None
    assert [each.event for each in early.document.managed.early] == ["paid"]
    assert timers_of(early) == {"~early": 24 * HOUR_MS}
    assert early.last is not None
    assert early.last.changes == (Change(what="instance", before=None, after="running"),)
    started = early.play(came("placed"))
    assert (started.step("pick"), "~early" in timers_of(started)) == (StepStatus.SENT, False)
    assert started.document.managed is not None
    assert started.document.managed.seen == ("placed-1", "paid-1")
    two = early.play(came("paid", "paid-2"))
    fired = TimerFired(id="t", instance="pm/k", timer="~early", due_ms=24 * HOUR_MS)
    forgotten = decide(two.definition, two.document, Arrival(message=fired, now_ms=24 * HOUR_MS))
    assert (forgotten.document, forgotten.outcome, forgotten.reason) == (
        None,
        Outcome.APPLIED,
        "no start came in time for 2 early events",
    )
    moved = TimerFired(id="t", instance="pm/k", timer="~early", due_ms=1)
    assert decide(two.definition, two.document, Arrival(message=moved, now_ms=24 * HOUR_MS)).outcome is Outcome.IGNORED


def test_a_pause_after_the_time_of_an_early_event_does_not_keep_it_for_ever() -> None:
    """Its timer was due when the pause came; after the pause it fires."""
    early = Scene.of(manager()).play(came("paid"))
    pause = Act(id="p", instance="pm/k", act=ActName.PAUSE)
    paused = decide(early.definition, early.document, Arrival(message=pause, now_ms=24 * HOUR_MS + 1)).document
    assert paused is not None
    resume = Act(id="r", instance="pm/k", act=ActName.RESUME)
    resumed = decide(early.definition, paused, Arrival(message=resume, now_ms=25 * HOUR_MS)).document
    assert resumed is not None
    (due_ms,) = resumed.timers.values()
    fired = TimerFired(id="t", instance="pm/k", timer="~early", due_ms=due_ms)
    assert decide(early.definition, resumed, Arrival(message=fired, now_ms=25 * HOUR_MS)).document is None


def test_an_event_that_nobody_knows_is_forgotten_at_once() -> None:
    """Nobody listens to it (any more): its timer is due in the same moment, and a start takes it away."""
    unknown = Scene.of(manager()).play(came("lost"))
    assert timers_of(unknown) == {"~early": 0}
    started = unknown.play(came("placed"))
    assert started.document.managed is not None
    assert (started.document.managed.early, started.document.managed.seen) == ((), ("lost-1", "placed-1"))


def test_an_event_is_taken_in_its_phase_and_waits_until_then() -> None:
    """One of the same id comes once, whether it waits or was taken."""
    waits = begun().play(came("shipped"))
    assert waits.document.managed is not None
    assert [each.event for each in waits.document.managed.early] == ["shipped"]
    for twice in (waits.play(came("shipped")), waits.play(came("placed"))):
        assert outcome_of(twice) == (Outcome.IGNORED, "the instance does not wait for this message")
        assert twice.document == waits.document
    assert waits.play(came("shipped", "shipped-2")).document.managed is not None
    done = waits.play(came("paid"))
    assert done.document.managed is not None
    assert (done.document.managed.early, done.document.managed.ends) == ((), True)


def test_a_second_start_is_taken_away() -> None:
    """It has started already, and nothing else listens to that event."""
    again = begun().play(came("placed", "placed-2", n=9))
    assert again.document.managed is not None
    assert (again.document.managed.early, again.document.managed.seen) == ((), ("placed-1", "placed-2"))
    assert again.state.n == 5


@pytest.mark.slow
def test_an_instance_keeps_a_thousand_early_events_and_the_next_is_a_dead_letter() -> None:
    """Also while it stands in attention; one that the present phase takes is taken however many wait."""
    scene = Scene.of(manager())
    for number in range(1_000):
        scene = scene.play(came("paid", f"paid-{number}"))
    assert scene.document.managed is not None
    assert len(scene.document.managed.early) == 1_000
    full = scene.play(came("paid", "one-more"))
    reason = "1,000 events already wait for a phase with a handler for them; let the instance continue, then redrive "
    assert outcome_of(full) == (Outcome.DENIED, f"{reason}this event from the dead letters")
    assert full.last is not None
    assert full.last.actions == (DeadLetter(reason=f"{reason}this event from the dead letters"),)
    assert full.document == scene.document
    assert scene.play(came("placed")).step("pick") is StepStatus.SENT


def test_what_was_taken_is_known_two_hundred_events_back() -> None:
    seen = begun(on_paid=lambda s, e: Next("unpaid"))
    for number in range(200):
        seen = seen.play(came("paid", f"paid-{number}"))
    assert seen.document.managed is not None
    assert len(seen.document.managed.seen) == 200
    assert seen.document.managed.seen[0] == "paid-0"


def test_a_step_is_done_and_its_handler_told_once() -> None:
    """Its reply is known by then; a step that nobody handles is just done."""
    scene = begun().play(came("paid"))
    assert scene.open("pick").payload == b'{"n":5}'
    picked = scene.ok("pick", {"ok": False})
    assert picked.state.did == Did(ok=False)
    assert (picked.step("pick"), picked.step("pack")) == (StepStatus.DONE, StepStatus.SENT)
    assert memo_of(picked, "pick") == {"told": True}
    assert picked.document.managed is not None
    assert picked.document.managed.phase == "packing"
    packed = picked.ok("pack")
    assert (packed.status, memo_of(packed, "pack")) == (Status.RUNNING, {})
    assert [each.step for each in packed.sent] == ["pick", "pack"]


def test_a_step_that_ends_in_another_phase_waits_for_its_handler() -> None:
    """It is told when the phase comes."""
    phases = [lambda s, e: Next("elsewhere", do=[pick])]
    scene = begun(on_paid=lambda s, e: phases[-1](s, e)).play(came("paid")).ok("pick")
    assert (scene.step("pick"), memo_of(scene, "pick")) == (StepStatus.DONE, {})
    assert scene.step("pack") is None


def test_a_process_ends_when_no_step_is_under_way_any_more() -> None:
    ends = begun().play(came("paid")).play(came("shipped"))
    assert (ends.status, ends.step("pick")) == (Status.RUNNING, StepStatus.SENT)
    assert ends.last is not None
    assert ends.last.changes == (Change(what="phase", before="picking", after="completed"),)
    done = ends.ok("pick")
    assert done.status is Status.COMPLETED
    assert timers_of(done) == {"~retention": HOUR_MS}


def test_an_end_forgets_the_timers_of_the_author() -> None:
    ends = begun().play(came("paid")).play(came("shipped"))
    assert [name for name in timers_of(ends) if name.endswith(":timer")] == []
    assert [name for name in timers_of(ends) if name.startswith("pick:")] != []


def test_a_process_that_fails_undoes_its_steps() -> None:
    """With the reason of the author; the state is the one that it gives."""
    failing = begun(on_done=lambda s: Next.fail("no boxes", Order(n=8))).play(came("paid")).ok("pick")
    assert (failing.status, failing.state.n) == (Status.COMPENSATING, 8)
    cause = failing.document.cause
    assert cause is not None
    assert (cause.kind, cause.message, cause.step) == (CauseKind.REJECTED, "no boxes", None)
    assert failing.last is not None
    assert Change(what="phase", before="picking", after="failed") in failing.last.changes
    assert [name for name in timers_of(failing) if name.endswith(":timer")] == []
    assert failing.open("pick", undo=True).payload == b'{"n":-8}'
    assert failing.undo_ok("pick").status is Status.COMPENSATED


def test_a_step_done_again_is_another_place_with_an_effect_key_of_its_own() -> None:
    """``pick@2``, ``pick@3``; all of them are undone."""
    scene = begun(on_failed=lambda s: Next("picking", do=[pick])).play(came("paid")).rejects("pick").rejects("pick@2")
    assert [each.step for each in scene.sent] == ["pick", "pick@2", "pick@3"]
    assert "pick" not in scene.document.steps, "its run is over, and there is nothing to undo"
    assert memo_of(scene, "pick@2") == {"told": True}
    done = scene.ok("pick@3")
    assert done.step("pack") is StepStatus.SENT
    assert done.rejects("pack").settle().undone == ("pm/k/pick@3",)


def test_a_failed_step_that_nobody_decides_about_fails_the_process() -> None:
    """Also when its handler is of another phase."""
    turned = begun().play(came("paid")).rejects("pick", "none left")
    assert turned.status is Status.COMPENSATED
    other = begun(
        on_failed=lambda s: Next("picking", do=[pick]), on_paid=lambda s, e: Next("elsewhere", do=[pick])
    ).play(came("paid"))
    assert other.rejects("pick").status is Status.COMPENSATED
    assert begun(on_failed=lambda s: Next("x")).play(came("paid")).exhaust("pick").status is Status.RUNNING


def test_timers_are_moved_and_forgotten_as_asked() -> None:
    moved = begun(on_paid=lambda s, e: Next("unpaid", clear=["never"], timers={"later": 3 * HOUR}))
    scene = moved.advance(timedelta(minutes=1)).play(came("paid"))
    assert timers_of(scene) == {"later:timer": 3 * HOUR_MS + 60_000}
    assert begun(on_paid=lambda s, e: Next("unpaid", clear=["no such"])).play(came("paid")).status is Status.RUNNING


def test_a_timer_of_another_phase_does_nothing() -> None:
    """Nor one that nobody handles."""
    late = begun().advance(HOUR)
    assert late.document.managed is not None
    assert late.document.managed.phase == "late"
    paid_before = begun().play(came("paid")).ok("pick").advance(HOUR)
    assert paid_before.document.managed is not None
    assert paid_before.document.managed.phase == "packing"
    nobody = begun(on_timer=lambda s: Next("unpaid")).advance(2 * HOUR)
    assert (nobody.status, timers_of(nobody)) == (Status.RUNNING, {})


def test_what_is_emitted_is_built_from_the_new_state() -> None:
    """And published to the mailbox of its key."""
    scene = begun(on_paid=lambda s, e: Next("picking", Order(n=7), emit=[says], do=[pick])).play(came("paid"))
    assert told_by(scene) == [
        Published(
            id=f"pm/k/~2.1~{scene.document.incarnation}",
            instance="@mailbox/said/k",
            event="said",
            key="k",
            body={"id": "k", "n": 7},
            keep_ms=24 * HOUR_MS,
            source="pm/k",
        )
    ]
    assert scene.open("pick").payload == b'{"n":7}'


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (
            lambda s, e: 1 // 0,
            "raised ZeroDivisionError: integer division or modulo by zero; fix the function, redeploy",
        ),
        (lambda s, e: None, "gave None; a handler returns Next(…); deploy the fix"),
    ],
)
def test_a_handler_that_raises_stops_the_instance_and_takes_nothing(handler: Any, said: str) -> None:
    """After a mended deploy the same event is offered again."""
    handlers = [handler]
    stuck = begun(on_paid=lambda s, e: handlers[-1](s, e)).play(came("paid"))
    assert stuck.attention is not None
    assert stuck.attention.message == f"the handler of event 'paid' {said}, then retry"
    assert stuck.attention.kind is CauseKind.CODE
    assert ("Traceback" in stuck.attention.detail) == ("raised" in said)
    assert stuck.document.managed is not None
    assert [each.event for each in stuck.document.managed.early] == ["paid"]
    handlers.append(lambda s, e: Next("picking", do=[pick]))
    assert stuck.retry().step("pick") is StepStatus.SENT


def test_a_start_without_a_state_stops_the_instance() -> None:
    stuck = begun(on_placed=lambda e: Next("unpaid"))
    assert stuck.attention is not None
    assert stuck.attention.message == (
        "the handler of event 'placed' gave Next without a state; a start must return "
        "Next(phase, state); deploy the fix, then retry"
    )
    assert begun(on_paid=lambda s, e: Next("paid")).play(came("paid")).status is Status.RUNNING


def test_a_handler_of_a_step_or_a_timer_that_raises_stops_the_instance() -> None:
    """It is named, and called again after a retry."""

    def broken(s: Order) -> Next[Order]:
        raise ValueError("not yet")

    step_broken = begun(on_done=broken).play(came("paid")).ok("pick")
    assert step_broken.attention is not None
    assert step_broken.attention.message.startswith("the handler of step 'pick' raised ValueError: not yet; ")
    assert memo_of(step_broken, "pick") == {}
    timer_broken = begun(on_timer=broken).advance(HOUR)
    assert timer_broken.attention is not None
    assert timer_broken.attention.message.startswith("the handler of timer 'later' raised ValueError: not yet; ")
    assert timer_broken.document.managed is not None
    kept = timer_broken.document.managed.early
    assert kept == (TimerFired(id=f"pm/k/later:timer/{HOUR_MS}", instance="pm/k", timer="later:timer", due_ms=HOUR_MS),)


def test_a_handler_that_asks_for_much_is_done_until_something_stops_it() -> None:
    """Of two steps the second is not begun when the first cannot be built."""
    broken: Any = step(Contract("do-broken", Do, Did, queue="q"), name="broken")(lambda s: Do(n=1 // 0))
    broken.undo(Contract("undo-broken", Do, Did, queue="q"))(lambda s: Do())
    found = ProcessManager("pm", Order, steps=[broken, pick])
    found.starts_on(placed, key=lambda e: e.id)(lambda e: Next("x", Order(), do=[broken, pick]))
    stuck = Scene.of(found).play(came("placed"))
    assert (stuck.step("broken"), stuck.step("pick")) == (StepStatus.BLOCKED, None)


def test_a_paused_or_unwound_process_takes_nothing() -> None:
    """What comes in a pause is taken after it."""
    paused = begun().act(ActName.PAUSE).play(came("paid"))
    assert paused.step("pick") is None
    assert paused.act(ActName.RESUME).step("pick") is StepStatus.SENT
    ended = begun().cancel().play(came("paid"))
    assert outcome_of(ended)[0] is Outcome.IGNORED


def test_a_process_manager_is_not_started_by_name() -> None:
    """The dead letter says which events start it."""
    found = manager()
    decision = decide(found, None, Arrival(message=Start(id="s", definition="pm", key="k", input={}), now_ms=0))
    reason = "a process manager is started by its events; publish placed"
    assert (decision.outcome, decision.reason, decision.actions) == (
        Outcome.DENIED,
        reason,
        (DeadLetter(reason=reason),),
    )
    found.starts_on(said, key=lambda e: e.id)(lambda e: Next("x", Order()))
    both = decide(found, None, Arrival(message=Start(id="s", definition="pm", key="k", input={}), now_ms=0))
    assert both.reason == "a process manager is started by its events; publish placed or said"


def test_a_body_that_does_not_fit_stops_the_instance() -> None:
    stuck = begun().play(
        EventDelivered(id="m", instance="pm/k", place="", index=0, event="paid", event_id="p", body={"n": "much"})
    )
    assert stuck.attention is not None
    assert stuck.attention.message.startswith("the handler of event 'paid' raised pydantic_core._pydantic_core.Valid")


def test_commands_of_a_process_carry_what_its_state_says() -> None:
    scene = begun().play(came("paid"))
    assert scene.sent == (
        SendCommand(
            instance="pm/k",
            step="pick",
            contract="do-pick",
            queue="q",
            undo=False,
            attempt=1,
            payload=b'{"n":5}',
            deadline_ms=timers_of(scene)["pick:deadline"],
            incarnation=scene.document.incarnation,
        ),
    )


def test_a_step_that_another_phase_will_take_does_not_hold_back_the_next() -> None:
    """Each is told when its phase is there."""
    found = ProcessManager("pm", Order, steps=[pick, pack])
    found.starts_on(placed, key=lambda e: e.id)(lambda e: Next("both", Order(), do=[pick, pack]))
    found.on_done(pick, when="later")(lambda s: Next.complete())
    found.on_done(pack, when="both")(lambda s: Next("later"))
    scene = Scene.of(found).play(came("placed")).ok("pick")
    assert (memo_of(scene, "pick"), scene.status) == ({}, Status.RUNNING)
    assert scene.ok("pack").status is Status.COMPLETED


def test_everything_that_came_in_a_pause_is_offered_after_it() -> None:
    """Also what stands behind an event that nobody takes."""
    paused = begun().act(ActName.PAUSE).play(came("placed", "placed-2")).play(came("paid"))
    assert len(paused.document.deferred) == 2
    resumed = paused.act(ActName.RESUME)
    assert resumed.step("pick") is StepStatus.SENT
    assert resumed.document.managed is not None
    assert resumed.document.managed.seen == ("placed-1", "placed-2", "paid-1")


def test_handlers_are_given_what_the_process_knows() -> None:
    """Those of events, steps and timers."""
    by_event = begun(on_paid=lambda s, e: Next(f"paid-{s.n + e.n}")).play(came("paid", n=2))
    by_step = begun(on_done=lambda s: Next(f"picked-{s.n}")).play(came("paid")).ok("pick")
    by_timer = begun(on_timer=lambda s: Next(f"late-{s.n}")).advance(HOUR)
    phases = [scene.document.managed and scene.document.managed.phase for scene in (by_event, by_step, by_timer)]
    assert phases == ["paid-7", "picked-5", "late-5"]


def test_what_a_handler_returns_is_named() -> None:
    stuck = begun(on_paid=lambda s, e: 5).play(came("paid"))
    assert stuck.attention is not None
    assert "gave 5; a handler returns Next(…)" in stuck.attention.message


def test_where_no_step_is_on_record_none_can_be_acted_on() -> None:
    refused = begun().act(ActName.SKIP, step="pick")
    assert outcome_of(refused) == (Outcome.DENIED, "it has no step 'pick' on record; there are none")


def test_bodies_are_read_by_names_and_aliases() -> None:
    class Aliased(BaseModel):
        id: str = Field(alias="orderId")

    event = Event("aliased", Aliased)
    found = ProcessManager("pm", Order)
    found.starts_on(event, key=lambda e: e.id)(lambda e: Next("x", Order(id=e.id)))
    for body in ({"orderId": "7"}, {"id": "7"}):
        message = EventDelivered(id="m", instance="pm/k", place="", index=0, event="aliased", event_id="e", body=body)
        assert Scene.of(found).play(message).state.id == "7"
        published = Published(id="e", instance="@mailbox/x/y", event="aliased", key="y", body=body, keep_ms=0)
        assert Registry([found]).subscribers(published) == (("pm/7",), "")


def test_what_may_have_happened_is_undone_before_what_did() -> None:
    """Also when it began first."""
    found = ProcessManager("pm", Order, steps=[pick, pack])
    found.starts_on(placed, key=lambda e: e.id)(lambda e: Next("both", Order(), do=[pick, pack]))
    scene = Scene.of(found).play(came("placed")).ok("pack").exhaust("pick")
    assert [each.step for each in scene.waiting] == ["pick"]
    assert scene.settle().undone == ("pm/k/pick", "pm/k/pack")


def test_a_step_under_way_does_not_hold_back_one_that_has_ended() -> None:
    """In whatever order they were asked for."""
    found = ProcessManager("pm", Order, steps=[pick, pack])
    found.starts_on(placed, key=lambda e: e.id)(lambda e: Next("both", Order(), do=[pick, pack]))
    found.on_done(pack, when="both")(lambda s: Next("packed"))
    scene = Scene.of(found).play(came("placed")).ok("pack")
    assert scene.document.managed is not None
    assert scene.document.managed.phase == "packed"
