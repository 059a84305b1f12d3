"""What a routing slip leaves on record at each turn: timers, what was sent, why a stop counts as reached."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, Field
from pydantic_core import from_json, to_json

from sagaline.orchestrator.kernel import Limits, decide
from sagaline.orchestrator.kernel.slip import at_home
from sagaline.orchestrator.messages.document import CauseKind, Status
from sagaline.orchestrator.messages.inputs import ActName, Arrival, Completed, Start
from sagaline.orchestrator.messages.outputs import Change, SendCommand
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract
from sagaline.sagas.routing_slip import Kept, RoutingSlip, stop

from .kernel_nodes import LIFE, memo_of, outcome_of, timers_of
from .test_routing_slip import File, Stamp, Stamped, desk, slip

SECONDS = timedelta(seconds=5)


def done(scene: Scene, place: str, *, forwarded: str = "", reply: dict[str, Any] | None = None) -> Scene:
    """A report as a worker writes it, in whatever order it arrives."""
    id, command = f"report-{place}-{scene.count}", f"file/k/{place}~{LIFE}/1"
    return scene.play(Completed(id=id, instance=scene.id, command_id=command, reply=reply or {}, forwarded=forwarded))


def changes_of(scene: Scene) -> tuple[Change, ...]:
    assert scene.last is not None
    return scene.last.changes


def test_a_stop_that_the_slip_has_reached_has_its_own_time() -> None:
    """From the report of the one before it on; those behind it keep theirs."""
    begun = Scene.start(slip(attempt=SECONDS), {})
    later = done(begun.advance(timedelta(seconds=2)), "a", forwarded=f"file/k/b~{LIFE}/1")
    assert timers_of(later) == {"b:deadline": 62_000, "b:attempt": 7_000, "c:deadline": 180_000}
    assert memo_of(later, "b") == {"took": {"file": "F"}}
    assert memo_of(later, "c") == {"carried": True}
    assert "b:attempt" not in timers_of(done(Scene.start(slip(), {}), "a", forwarded=f"file/k/b~{LIFE}/1"))


def test_a_report_that_was_overtaken_leaves_alone_what_is_done() -> None:
    ahead = done(Scene.start(slip(attempt=SECONDS), {}), "b", forwarded=f"file/k/c~{LIFE}/1")
    both = done(ahead, "a", forwarded=f"file/k/b~{LIFE}/1")
    assert timers_of(both) == {"c:deadline": 60_000, "c:attempt": 5_000}
    assert both.step("b") == "done"


def test_a_stop_before_one_that_is_done_goes_alone() -> None:
    """There is nothing that a second slip would have to reach."""
    again = done(Scene.start(slip(), {}), "b", forwarded=f"file/k/c~{LIFE}/1").crash("a").tick()
    assert (again.sent[-1].id, again.sent[-1].slip) == (f"file/k/a~{LIFE}/2", None)


def test_half_of_what_a_command_may_have_is_carried_and_no_byte_more() -> None:
    """The rest is for the command itself."""
    definition = slip()
    start = Start(id="s", definition="file", key="k", input={})
    size = len(to_json(Scene.start(definition, {}).document.state))
    for more, ahead in ((0, 2), (-1, None)):
        decision = decide(definition, None, Arrival(message=start, now_ms=0), Limits(command_bytes=2 * size + more))
        (command,) = (each for each in decision.actions if isinstance(each, SendCommand))
        assert (len(command.slip.ahead) if command.slip else None) == ahead


def test_why_a_stop_counts_as_reached_is_on_record_and_its_time_is_over() -> None:
    """Whether the one before it failed, or was skipped."""
    begun = Scene.start(slip(attempt=SECONDS), {})
    failed = begun.time_out("a")
    paused = begun.act(ActName.PAUSE).act(ActName.SKIP, step="a", value={"number": 1})
    for scene, stops in ((failed, ("b",)), (paused, ("b",))):
        for name in stops:
            assert scene.document.steps[name].error == "stop 'a' may have sent the slip on"
            assert f"{name}:deadline" not in scene.document.all_timers
    assert paused.document.all_timers == {"c:deadline": 180_000}


def test_what_was_not_sent_is_as_if_it_had_never_been_handed_out() -> None:
    """Its first attempt is still to come."""
    home = done(Scene.start(slip(), {}).act(ActName.PAUSE), "a").act(ActName.RESUME)
    assert Change(what="b", before="sent", after="dropped") in changes_of(home)
    assert (home.sent[-1].id, home.document.steps["b"].attempt) == (f"file/k/b~{LIFE}/1", 1)


def test_nobody_waits_for_what_is_carried_while_the_slip_is_at_home() -> None:
    begun = Scene.start(slip(), {})
    assert at_home(begun.document.steps) == set()
    assert at_home(begun.crash("a").document.steps) == {"b", "c"}


def test_a_revision_is_recorded_with_what_lay_ahead_before() -> None:
    revised = Scene.start(slip(hops=1), {}).ok("a", {"number": 1, "instead": ["d"]})
    assert Change(what="itinerary", before="b, c, d", after="d") in changes_of(revised)
    nothing = Scene.start(slip(hops=1), {}).ok("a", {"number": 1, "instead": []})
    assert Change(what="itinerary", before="b, c, d", after="nothing") in changes_of(nothing)
    assert nothing.status == "completed"


def test_a_revision_that_cannot_be_says_where_and_which_stops_there_are() -> None:
    stuck = Scene.start(slip(), {}).ok("a", {"number": 1, "instead": ["x", "b", "y"]})
    assert stuck.attention is not None
    assert (stuck.attention.kind, stuck.attention.step) == (CauseKind.ROUTE, "a")
    assert stuck.attention.message == (
        "stop 'a' revised the stops ahead, but 'file' has no stop 'x', 'y'; there are a, b, c, d; "
        "revise them yourself, then retry"
    )


def test_a_slip_that_is_taken_back_is_not_revised_any_more() -> None:
    """Its undos follow the itinerary that it went."""
    back = Scene.start(slip(hops=1), {}).cancel().ok("a", {"number": 1, "instead": ["d"]})
    assert back.document.itinerary == ("a", "b", "c", "d")


def test_any_stop_on_the_way_may_revise_and_be_heard_at_home() -> None:
    """The slip says so of each, not only of the one that it was handed out for."""
    home = Scene.start(slip(hops=4), {}).ok("a").ok("b", {"number": 1, "instead": ["d"]})
    assert home.document.itinerary == ("a", "b", "d")
    assert [each.step for each in home.sent] == ["a", "b", "d"]
    assert home.ok("d").status == "completed"


def test_each_stop_on_the_way_sees_what_those_before_it_found() -> None:
    """Its worker puts its reply where the definition says."""
    sums = Contract("sum", Sum, Stamped, queue="desks")
    added = stop(sums, takes={"first": "a.number", "second": "b.number"}, read_only=True)
    scene = Scene.start(RoutingSlip("file", File, stops=[desk("a"), desk("b"), added], hops=3), {})
    there = scene.ok("a", {"number": 1}).ok("b", {"number": 2})
    assert from_json(there.open("sum").payload) == {"first": 1, "second": 2}


class Sum(BaseModel):
    first: int
    second: int


class Named(BaseModel):
    """Its field has another name outside."""

    file: str = Field(alias="the_file", default="")


@pytest.mark.parametrize("reached", [True, False])
def test_an_undo_sees_what_its_stop_was_sent_or_would_have_been(reached: bool) -> None:
    """What it took stays what it was; of a stop that was only carried it is made from the state."""
    seen: list[str] = []
    named = stop(Contract("name", Named, Stamped, queue="desks"), takes={"file": "file"}, name="name")

    @named.undo(Contract("unname", Stamp, Stamped, queue="desks"))
    def back(kept: Kept[Named, Stamped]) -> Stamp:
        assert kept.command is not None
        seen.append(kept.command.file)
        return Stamp(file=kept.command.file)

    scene = Scene.start(RoutingSlip("file", File, stops=[desk("a"), named, desk("b")], hops=3), {"file": "G"})
    if reached:
        back_again = scene.ok("a").ok("name").rejects("b")
        assert memo_of(back_again, "name") == {"took": {"file": "G"}, "reply": {"number": 7, "instead": None}}
    else:
        scene.exhaust("a").settle()
    assert set(seen) == {"G"}


@pytest.mark.slow
def test_a_stop_that_revises_to_itself_without_end_is_stopped() -> None:
    """Stops that were passed count; an operator's revision is held to it too, and may shorten the way."""
    scene = Scene.start(slip(hops=1), {})
    for number in range(200):
        assert scene.status is Status.RUNNING
        scene = scene.ok("a" if number == 0 else f"a@{number + 1}", {"number": 1, "instead": ["a"]})
    assert scene.attention is not None
    assert (scene.attention.kind, len(scene.document.steps)) == (CauseKind.ROUTE, 200)
    assert scene.attention.message == (
        "stop 'a@200' revised the stops ahead, but that would be 201 stops including those passed, the limit is 200; "
        "revise them yourself, then retry"
    )
    more = scene.act(ActName.REVISE, value={"ahead": ["b"]})
    assert outcome_of(more) == ("denied", "that would be 201 stops including those passed, the limit is 200")
    over = scene.act(ActName.REVISE, value={"ahead": []}).retry()
    assert over.status is Status.COMPLETED
    assert scene.cancel().settle().status is Status.COMPENSATED


def test_a_plan_of_too_many_stops_is_stopped() -> None:
    many = slip(hops=1)
    many.plan(lambda s: [many.stops["a"]] * 201)
    scene = Scene.start(many, {})
    assert scene.attention is not None
    assert scene.attention.message == (
        "that would be 201 stops including those passed, the limit is 200; fix the plan, redeploy, then retry"
    )
    assert scene.document.itinerary is None
