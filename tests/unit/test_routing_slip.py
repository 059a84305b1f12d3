"""Routing slips: planned, sent on by workers, revised on the way, undone from what each stop kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import BaseModel
from pydantic_core import from_json

from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.inputs import ActName, Completed, Failed
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.testing.kit import Happening
from sagaline.sagas import Contract, Retry
from sagaline.sagas.routing_slip import AnyStop, Kept, RoutingSlip, Stop, stop
from sagaline.testing import (
    Given,
    cancel,
    crash,
    exhaust,
    given,
    has_status,
    ok,
    rejects,
    settle,
    time_out,
    undone,
    waits_for,
)
from sagaline.testing import undo_ok as taken_back

from .kernel_nodes import LIFE
from .promises import shows

MINUTE = timedelta(minutes=1)


class Stamp(BaseModel):
    file: str


class Stamped(BaseModel):
    number: int = 7
    instead: list[str] | None = None


class Unstamp(BaseModel):
    file: str | None
    number: int | None


class File(BaseModel):
    file: str = "F"
    hasty: bool = False
    a: Stamped | None = None
    b: Stamped | None = None
    c: Stamped | None = None
    d: Stamped | None = None
    e: Stamped | None = None


unstamp = Contract("unstamp", Unstamp, Stamped, queue="desks")


def desk(name: str, *, undo: bool = True, attempt: timedelta | None = None) -> Stop[Stamp, Stamped]:
    """A desk that may send the file elsewhere."""
    contract = Contract(f"stamp-{name}", Stamp, Stamped, queue="desks")
    retry = Retry(max_attempts=2, attempt_timeout=attempt)
    found = stop(contract, into=name, name=name, revises="instead", timeout=MINUTE, retry=retry)
    if undo:

        @found.undo(unstamp)
        def back(kept: Kept[Stamp, Stamped]) -> Unstamp:
            command, reply = kept.command, kept.reply
            return Unstamp(file=command and command.file, number=reply and reply.number)

    return found


def slip(hops: int = 3, *, attempt: timedelta | None = None) -> RoutingSlip[File]:
    return RoutingSlip("file", File, stops=[desk(name, attempt=attempt) for name in "abcd"], hops=hops)


@shows("stop", "success")
def test_each_worker_sends_the_slip_on() -> None:
    """The engine hands it out for three stops; behind them it comes home once."""
    a = given(slip()).then(waits_for("a"))
    assert [each.step for each in a.scene.sent] == ["a"]
    assert a.scene.sent[0].slip is not None
    d = a.when(ok("a"), ok("b"), ok("c")).then(waits_for("d"))
    handed = [[stop.place for stop in each.slip.ahead] if each.slip else None for each in d.scene.sent]
    assert handed == [["b", "c"], ["c"], None, None]
    d.when(ok("d")).then(has_status("completed"))


def test_a_stop_is_sent_what_the_stops_before_it_found() -> None:
    """Fields of the command are taken from what the slip carries, whoever sends it."""

    class Weigh(BaseModel):
        grams: int

    weigh = stop(Contract("weigh", Weigh, Stamped, queue="desks"), takes={"grams": "a.number"}, read_only=True)
    both = RoutingSlip("file", File, stops=[desk("a"), weigh])
    weighed = given(both).when(ok("a", Stamped(number=40)))
    assert from_json(weighed.scene.open("weigh").payload) == {"grams": 40}


def test_every_stop_that_the_slip_may_reach_is_on_record_with_its_undo_and_a_deadline() -> None:
    """Before the first command leaves."""
    document = given(slip()).scene.document
    on_record = {name: (record.status, record.undo) for name, record in document.steps.items()}
    assert on_record == dict.fromkeys("abc", ("sent", "unstamp"))
    assert document.timers == {f"{name}:deadline": (i + 1) * 60_000 for i, name in enumerate("abc")}


def test_a_report_that_overtakes_the_one_before_it_counts() -> None:
    """Two workers write to one partition; nothing says whose report is first."""
    scene = given(slip()).scene
    done = Completed(
        id="r", instance=scene.id, command_id=f"file/k/b~{LIFE}/1", reply={}, forwarded=f"file/k/c~{LIFE}/1"
    )
    scene = scene.play(done)
    assert scene.step("b") == "done"
    assert scene.ok("a").step("a") == "done"


def test_a_worker_that_knows_no_slips_sends_it_home() -> None:
    """Its reply says nothing of sending on: the engine sends the next command, the first of that stop."""
    scene = given(slip()).scene
    home = scene.play(Completed(id="r", instance=scene.id, command_id=f"file/k/a~{LIFE}/1", reply={}))
    assert [each.id for each in home.sent] == [f"file/k/a~{LIFE}/1", f"file/k/b~{LIFE}/1"]
    assert home.step("b") == "sent"


@shows("stop", "rejection")
def test_a_refused_stop_takes_back_what_stands_and_drops_what_was_carried() -> None:
    """The slip has not left the desk that refused."""
    refused = given(slip()).when(ok("a"), rejects("b"))
    assert refused.scene.step("c") == "dropped"
    refused.then(waits_for("a")).when(taken_back("a")).then(has_status("compensated"), undone("a"))


@shows("stop", "exhaustion", "timeout")
@pytest.mark.parametrize("fails", [exhaust, time_out])
def test_a_stop_that_fails_may_have_sent_the_slip_on(fails: Callable[[str], Happening]) -> None:
    """Its command may come to the worker once more, whatever was reported; so what was carried is undone as well.

    The last one first: each undo closes the door of its stop before the one before it is asked.
    """
    failed = given(slip()).when(fails("a")).then(has_status("compensating"), waits_for("c"))
    assert [failed.scene.step(name) for name in "abc"] == ["failed", "failed", "undo_sent"]
    back = failed.when(taken_back("c"), taken_back("b"), taken_back("a"))
    back.then(has_status("compensated"), undone("c", "b", "a"))


def test_a_silent_attempt_is_followed_by_another_that_carries_the_same_stops() -> None:
    """Their command ids are the same, so whoever has the slip already is not asked anew."""
    again = given(slip(attempt=timedelta(seconds=5))).scene.tick().tick()
    assert [each.id for each in again.sent] == [f"file/k/a~{LIFE}/1", f"file/k/a~{LIFE}/2"]
    assert again.sent[0].slip is not None
    assert again.sent[1].slip is not None
    assert [each.attempt for each in again.sent[1].slip.ahead] == [1, 1]


def test_an_attempt_that_fails_is_repeated_from_home() -> None:
    """With a retry timer in the document, as a saga's step."""
    again = given(slip()).when(ok("a"), crash("b"))
    assert again.scene.step("b") == "backoff"
    again.when(settle()).then(has_status("completed"))


@shows("stop", "cancel")
def test_a_cancelled_slip_is_waited_for_where_it_was_sent_and_then_undone() -> None:
    """At most ``hops`` stops on; the fourth is never begun."""
    called_off = given(slip()).when(ok("a"), cancel()).then(has_status("compensating"), waits_for("b"))
    back = called_off.when(ok("b"), ok("c")).then(waits_for("c"))
    assert "d" not in back.scene.document.steps
    back.when(taken_back("c"), taken_back("b"), taken_back("a")).then(has_status("compensated"), undone("c", "b", "a"))


@shows("stop", "undo")
def test_an_undo_sees_what_its_stop_kept_and_nothing_else() -> None:
    """Its command and its reply; no reply when it may never have happened."""
    refused = given(slip(1), File(file="F-9")).when(ok("a", Stamped(number=3)), rejects("b"))
    assert from_json(refused.scene.open("a", undo=True).payload) == {"file": "F-9", "number": 3}
    unknown = given(slip(1), File(file="F-9")).when(exhaust("a"))
    assert from_json(unknown.scene.open("a", undo=True).payload) == {"file": "F-9", "number": None}


def test_a_stop_revises_what_lies_ahead() -> None:
    """The slip comes home, and goes on with the stops that the reply names; one of them for a second time."""
    revised = given(slip()).when(ok("a", Stamped(instead=["d", "a"]))).then(waits_for("d"))
    assert revised.scene.document.itinerary == ("a", "d", "a@2")
    assert [c.after for _, c in revised.scene.changes if c.what == "itinerary"] == ["a, b, c, d", "d, a@2"]
    revised.when(ok("d"), ok("a@2")).then(has_status("completed"))


def test_a_stop_that_names_no_stop_of_the_slip_needs_an_operator() -> None:
    """It has taken effect; what comes next is for people to say."""
    lost = given(slip()).when(ok("a", Stamped(instead=["nowhere"]))).then(has_status("attention"))
    assert lost.scene.step("a") == "done"
    assert lost.scene.attention is not None
    assert lost.scene.attention.message == (
        "stop 'a' revised the stops ahead, but 'file' has no stop 'nowhere'; there are a, b, c, d; "
        "revise them yourself, then retry"
    )
    mended = lost.scene.act(ActName.REVISE, value={"ahead": ["d"]}).retry()
    assert mended.document.itinerary == ("a", "d")
    assert mended.status == "running"


def test_an_operator_revises_what_the_slip_was_not_handed_out_for() -> None:
    """Two stops are on their way; what follows them is new."""
    revised = given(slip(2)).scene.act(ActName.REVISE, value={"ahead": ["d"]})
    assert revised.document.itinerary == ("a", "b", "d")
    assert revised.ok("a").ok("b").ok("d").status == "completed"
    ended = given(slip(2)).scene.act(ActName.REVISE, value={"ahead": []})
    assert ended.ok("a").ok("b").status == "completed"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"ahead": ["x"]}, "'file' has no stop 'x'; there are a, b, c, d"),
        ({"ahead": "d"}, 'the stops ahead are missing; give {"ahead": [stop, …]}, an empty list for none'),
        (None, 'the stops ahead are missing; give {"ahead": [stop, …]}, an empty list for none'),
    ],
)
def test_a_revision_that_cannot_be_changes_nothing(value: dict[str, list[str]] | None, reason: str) -> None:
    before = given(slip(2)).scene
    after = before.act(ActName.REVISE, value=value)  # type: ignore[arg-type]  # wrong on purpose
    assert after.last is not None
    assert (after.last.outcome, after.last.reason) == (Outcome.DENIED, reason)
    assert after.document == before.document


def test_a_slip_that_is_unwound_has_nothing_ahead() -> None:
    refused = given(slip()).when(ok("a"), rejects("b")).scene.act(ActName.REVISE, value={"ahead": ["d"]})
    assert refused.last is not None
    assert refused.last.reason == "it is compensating and has no stops ahead"


def test_a_stop_that_the_slip_has_not_reached_cannot_be_skipped() -> None:
    skipped = given(slip()).scene.act(ActName.SKIP, step="b", value={})
    assert skipped.last is not None
    assert skipped.last.reason == (
        "the slip has not reached 'b' yet; skip the stop where it is now, or revise the stops ahead"
    )


def test_a_skipped_stop_is_gone_on_from_at_home() -> None:
    """The engine sends the slip to the next stop itself, as another attempt: it may be there already."""
    asked = given(slip()).scene.act(ActName.SKIP, step="a", value={"number": 1})
    assert [each.id for each in asked.sent] == [f"file/k/a~{LIFE}/1", f"file/k/b~{LIFE}/2"]
    assert asked.ok("b").ok("c").ok("d").status == "completed"


def test_what_a_skipped_stop_may_have_reached_is_undone_with_the_rest() -> None:
    """Its worker may send the slip on although nobody waits for it any more."""
    paused = given(slip()).scene.act(ActName.PAUSE).act(ActName.SKIP, step="a", value={"number": 1})
    assert paused.step("b") == "failed"
    ended = paused.cancel().settle()
    assert ended.status == "compensated"
    assert {key.rpartition("/")[2] for key in ended.undone} == {"a", "b", "c"}


def test_what_the_second_of_two_slips_may_have_reached_is_undone_with_the_rest() -> None:
    """A stop that was asked twice is left by two slips. The first ends at its third stop, the second goes farther."""
    twice = given(slip()).when(ok("a"), crash("b")).scene.tick()
    assert [each.place for each in twice.sent[-1].slip.ahead] == ["c", "d"]  # type: ignore[union-attr]  # it was just sent on
    first = twice.play(Completed(id="r", instance=twice.id, command_id=f"file/k/c~{LIFE}/1", reply={}))
    assert (first.step("c"), first.step("d")) == ("done", "failed")
    ended = first.cancel().settle()
    assert ended.status == "compensated"
    assert {key.rpartition("/")[2] for key in ended.undone} == {"a", "b", "c", "d"}


def planned(*names: str, raises: bool = False) -> RoutingSlip[File]:
    stops = {name: desk(name) for name in "abcd"}
    found = RoutingSlip("file", File, stops=list(stops.values()))

    @found.plan
    def plan(s: File) -> Sequence[AnyStop]:
        if raises:
            raise RuntimeError("no map")
        return [stops[name] for name in names] if not s.hasty else []

    return found


def test_each_instance_has_the_itinerary_that_its_plan_gives() -> None:
    given(planned("c", "a", "c")).when(ok("c"), ok("a"), ok("c@2")).then(has_status("completed"))
    given(planned("c"), File(hasty=True)).then(has_status("completed"))


def test_a_plan_that_raises_needs_an_operator_and_goes_on_after_a_retry() -> None:
    stuck = given(planned("a", raises=True)).then(has_status("attention")).scene
    assert stuck.attention is not None
    assert stuck.attention.message == (
        "the plan of 'file' raised RuntimeError: no map; fix the function, redeploy, then retry"
    )


def test_a_slip_that_carries_too_much_comes_home_after_each_stop() -> None:
    """The header would not fit; nothing is lost but time."""
    heavy: Given = given(slip(), File(file="x" * 300_000))
    assert [each.slip for each in heavy.scene.sent] == [None]
    heavy.when(ok("a")).then(waits_for("b"))


def newer(*names: str, dropped: Sequence[str] = ()) -> RoutingSlip[File]:
    """Version 2, with these desks."""
    found = RoutingSlip("file", File, version=2, stops=[desk(name) for name in names])
    found.migrate(from_version=1, dropped=dropped)(lambda before: File.model_validate(before))
    return found


def test_a_slip_goes_on_as_a_newer_version_without_a_stop_ahead_that_was_dropped() -> None:
    """Its itinerary is its own: a stop that is new is not visited, one that is gone is passed over."""
    running = given(slip(1)).when(ok("a")).scene
    moved = replace(running, registry=Registry([newer("a", "e", "b", "d", dropped=["c"])]))
    ended = moved.ok("b").ok("d")
    assert (ended.status, ended.document.itinerary) == ("completed", ("a", "b", "d"))


def test_a_slip_with_a_stop_ahead_that_is_gone_waits_visibly() -> None:
    """As any step on record that the deployed code lacks, also where the version is the same."""
    running = given(slip(1)).when(ok("a")).scene
    stuck = replace(running, registry=Registry([newer("a", "b")])).ok("b")
    assert stuck.attention is not None
    assert stuck.attention.message == (
        "the migration of 'file' from version 1 to 2 has no stop 'c', which is ahead; keep the stop, or name it in "
        "dropped"
    )
    short = RoutingSlip("file", File, stops=[desk("a"), desk("b")])
    parked = replace(running, registry=Registry([short])).ok("b")
    assert parked.attention is not None
    assert (
        parked.attention.message
        == "the deployed code has no stop 'c', which is ahead in this instance; deploy it again"
    )


def test_a_stop_is_asked_again_from_home_only_when_those_before_it_are_done() -> None:
    """A report of failure may be overtaken by the slip itself; what that stop found is not known at home yet."""
    overtaken = given(slip()).when(crash("a")).scene.tick()
    ahead = Completed(
        id="r", instance=overtaken.id, command_id=f"file/k/b~{LIFE}/1", reply={}, forwarded=f"file/k/c~{LIFE}/1"
    )
    failed = Failed(id="f", instance=overtaken.id, command_id=f"file/k/c~{LIFE}/1", error="it crashed")
    waits = overtaken.play(ahead).play(failed)
    assert (waits.step("a"), waits.step("b"), waits.step("c")) == ("sent", "done", "backoff")
    later = waits.advance(timedelta(seconds=5))
    assert (later.step("c"), "c:retry" in later.document.timers) == ("backoff", True)
    home = later.ok("a").advance(timedelta(seconds=2))
    assert home.step("c") == "sent"
