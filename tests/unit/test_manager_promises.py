"""What the docstring of process managers says, row by row."""

from __future__ import annotations

from sagaline.orchestrator.messages.document import CauseKind
from sagaline.orchestrator.messages.entity_messages import EventDelivered, Published, mailbox_id
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Event
from sagaline.sagas.process_manager import Next, ProcessManager

from .kernel_nodes import HOUR, Paid, Talk, leg, paid, redeployed
from .promises import shows
from .test_node_promises import FAILURES, KINDS, failing, kind_of, names, waiting

other = Event("other", Paid)


def managing(*, with_failed: bool = False, broken: bool = False) -> Scene:
    """Started by ``paid``: step a, then step b; ``other`` is for phase two, the timer ends it."""
    a, b = leg("a"), leg("b")
    pm = ProcessManager("talk", Talk, steps=[a, b])

    @pm.starts_on(paid, key=lambda e: "k")
    def begin(e: Paid) -> Next[Talk]:
        return Next("one", Talk(n=e.amount), do=[a], timers={"late": HOUR})

    @pm.on_done(a)
    def then(s: Talk) -> Next[Talk]:
        return Next("two", Talk(n=s.n // (0 if broken else 1)), do=[b])

    @pm.on_done(b)
    def end(s: Talk) -> Next[Talk]:
        return Next("three")

    @pm.on(other, key=lambda e: "k", when="three")
    def closed(s: Talk, e: Paid) -> Next[Talk]:
        return Next.complete(Talk(n=s.n + e.amount))

    @pm.on_timer("late")
    def give_up(s: Talk) -> Next[Talk]:
        return Next.fail("too late")

    if with_failed:

        @pm.on_failed(b, when="two")
        def without(s: Talk) -> Next[Talk]:
            return Next("three")

    return Scene.of(pm).receives(paid, Paid(amount=5), key="k")


@shows("ProcessManager", "success")
def test_a_process_goes_from_phase_to_phase_and_completes_when_no_step_is_under_way() -> None:
    done = managing().ok("a").ok("b").receives(other, Paid(amount=1), key="k")
    assert (done.status, done.state.n) == ("completed", 6)


@shows("ProcessManager", "an event without a handler in the current phase")
def test_an_event_waits_for_the_phase_that_takes_it() -> None:
    early = managing().receives(other, Paid(amount=1), key="k").ok("a")
    assert early.status == "running"
    assert early.ok("b").status == "completed"


@shows("ProcessManager", "rejection", "exhaustion", "timeout")
@FAILURES
def test_a_step_that_fails_is_for_its_handler_and_without_one_the_process_fails(how: str) -> None:
    handled = failing(managing(with_failed=True).ok("a"), "b", how)
    assert handled.status == "running"
    failed = failing(managing().ok("a"), "b", how)
    assert (failed.status, kind_of(failed)) == ("compensating", KINDS[how])
    late = handled.advance(HOUR).settle()
    assert late.status == "compensated"
    assert names(late) == (["a"] if how == "rejects" else ["b", "a"])


@shows("ProcessManager", "timeout")
def test_a_timer_is_for_its_handler() -> None:
    late = managing().ok("a").ok("b").advance(HOUR)
    assert late.document.cause is not None
    assert late.document.cause.message == "too late"


@shows("ProcessManager", "cancel", "undo")
def test_a_cancelled_process_calls_no_handler_and_undoes_in_reverse_order() -> None:
    cancelled = managing().ok("a").cancel().receives(other, Paid(amount=1), key="k").ok("b").settle()
    assert (cancelled.status, names(cancelled)) == ("compensated", ["b", "a"])
    assert cancelled.state.n == 5


@shows("ProcessManager", "events, ends of steps and due timers are handled in order of arrival")
def test_what_had_to_wait_for_an_operator_is_offered_in_order_of_arrival() -> None:
    """The end of a step whose handler raises, then a timer: the step's handler still begins the next step."""
    waited = managing(broken=True).ok("a").advance(HOUR)
    mended = redeployed(waited, managing().definition).retry()
    assert mended.document.cause is not None
    assert (mended.document.cause.message, waiting(mended)) == ("too late", ["b"])


@shows("ProcessManager", "an event is handled once per event id")
def test_an_event_that_comes_twice_is_taken_once() -> None:
    box = mailbox_id("other", "k")
    event = Published(id="e", instance=box, event="other", key="k", body={"amount": 1}, keep_ms=1_000)
    came = EventDelivered(id="m", instance="talk/k", place="", index=0, event="other", event_id="e", body={"amount": 1})
    twice = managing().play(event).play(event).play(came)
    assert twice.document.managed is not None
    assert [each.event_id for each in twice.document.managed.early] == ["e"]


@shows("ProcessManager", "a handler that raises")
def test_a_handler_that_raises_is_called_again_after_a_mended_deploy() -> None:
    raised = managing(broken=True).ok("a")
    assert (raised.status, kind_of(raised)) == ("attention", CauseKind.CODE)
    mended = redeployed(raised, managing().definition).retry()
    assert waiting(mended) == ["b"]
