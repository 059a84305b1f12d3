"""Fork from a step: another instance begins there; what lies before it belongs to the origin."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import BaseModel, Field
from pydantic_core import from_json

from sagaline.orchestrator.kernel import decide
from sagaline.orchestrator.kernel.inspection import inspect
from sagaline.orchestrator.kernel.recompute import recompute
from sagaline.orchestrator.messages.document import Document, Status, StepStatus
from sagaline.orchestrator.messages.history import HistoryRecord, SentCommand
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival, JsonObject, Start
from sagaline.orchestrator.messages.outputs import Change, DeadLetter, Decision, Outcome, SendCommand, Tell
from sagaline.orchestrator.messages.values import Origin
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Node, Saga, pivot
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.sagas.examples.order_fulfilment import order_fulfilment
from sagaline.sagas.nodes import choose, loop, parallel, run, sleep, when

from .kernel_nodes import LIFE, Talk, flow_of, leg

ENDED = Scene.start(checkout).ok("reserve").ok("charge").ok("book").ok("ship")
SHIPPING = Scene.start(checkout).ok("reserve").ok("charge").ok("book").rejects("ship")
NEW = "order-checkout/new"


def last(scene: Scene) -> Decision:
    assert scene.last is not None
    return scene.last


def fork(scene: Scene, step: str, value: JsonObject | None = None, *, of: str | None = None) -> Scene:
    given = {"key": "new"} if value is None else value
    return scene.act(ActName.FORK, "second parcel", step=step, value=given, by="ann", of=of)


def refused(scene: Scene, step: str, value: JsonObject | None = None) -> str:
    """Why a fork is refused; nothing has changed and nobody was told."""
    after = fork(scene, step, value)
    assert last(after).outcome is Outcome.DENIED
    assert after.entities == scene.entities
    return last(after).reason


def at(scene: Scene, instance: str) -> Scene:
    """The same scene, another instance looked at."""
    return replace(scene, id=instance)


def test_a_fork_begins_at_the_step_with_what_lies_before_taken_over() -> None:
    """Of the same version, with the state as it is, and effect keys of its own."""
    new = at(fork(ENDED, "ship"), NEW)
    assert (new.status, new.step("ship"), new.document.pivot_passed) == (Status.RUNNING, StepStatus.SENT, True)
    assert new.open("ship", of=NEW).effect_key == f"order-checkout/new/ship~{new.document.incarnation}"
    assert new.document.incarnation != ENDED.document.incarnation
    assert new.document.state == ENDED.document.state
    for place in ("reserve", "charge", "book"):
        record = new.document.steps[place]
        assert (record.status, record.attempt, record.undo) == (StepStatus.DONE, 0, None)
        assert record.memo == {"taken_over": "order-checkout/k"}
    assert at(new.ok("ship", of=NEW), NEW).status is Status.COMPLETED


def test_both_histories_name_the_other() -> None:
    """The origin tells where to, the fork where from; the origin is otherwise as it was."""
    forked = fork(ENDED, "ship")
    assert last(forked).changes == (Change(what="fork", before=None, after=NEW),)
    before, after = ENDED.document, forked.document
    assert (after.revision, after.requests[-1].id) == (before.revision + 1, "act-5")
    assert replace(after, revision=before.revision, updated_ms=before.updated_ms, requests=before.requests) == before
    new = at(forked, NEW).document
    assert new.origin == Origin(instance="order-checkout/k", revision=after.revision, step="ship")


def test_a_fork_never_undoes_what_is_the_origins() -> None:
    """Its own steps are undone; those before it stay."""
    saga = flow_of(leg("a", undo=False), leg("b"), leg("c"))
    scene = Scene.start(saga).ok("a").ok("b")
    new = at(fork(scene, "b"), "talk/new")
    turned = new.ok("b", of="talk/new").rejects("c", of="talk/new").undo_ok("b", of="talk/new")
    assert (turned.status, turned.undone) == (Status.COMPENSATED, ("talk/new/b",))


def test_the_state_of_a_fork_can_be_patched() -> None:
    """The origin's stays. What does not fit is refused."""
    patch: JsonObject = {"op": "replace", "path": "/order/customer", "value": "ben"}
    forked = fork(ENDED, "ship", {"key": "new", "patch": [patch]})
    assert (at(forked, NEW).state.order.customer, forked.state) == ("ben", ENDED.state)
    wrong: JsonObject = {"key": "new", "patch": [{"op": "remove", "path": "/order"}]}
    assert refused(ENDED, "ship", wrong) == "the state would not fit Checkout: order: the field is missing, add it"
    whole: JsonObject = {"op": "replace", "path": "", "value": {**ENDED.document.state, "stock": None}}
    assert at(fork(ENDED, "ship", {"key": "new", "patch": [whole]}), NEW).state.stock is None


SHAPE = 'a fork needs {"key": the key of the new instance}; "patch" is optional'


def test_a_fork_of_what_may_still_be_unwound_is_refused() -> None:
    """It would stand on what is then gone. Abandoned or past its pivot nothing undoes it any more."""
    charging = Scene.start(checkout).ok("reserve")
    why = "it may still be compensated, which would undo {}; fork when it has ended or is past its pivot"
    assert refused(charging, "charge") == why.format("reserve")
    assert refused(charging.ok("charge"), "book") == why.format("reserve, charge")
    assert at(fork(charging, "reserve"), NEW).step("reserve") is StepStatus.SENT, "nothing is taken over"
    assert at(fork(SHIPPING, "ship"), NEW).step("ship") is StepStatus.SENT, "it is past its pivot"
    undone = charging.cancel().ok("charge").settle()
    assert refused(undone, "charge") == "it is compensating, and the steps before 'charge' are undone too"
    assert at(fork(undone, "reserve"), NEW).step("reserve") is StepStatus.SENT


def test_a_completed_child_may_still_be_unwound_by_its_parent() -> None:
    """So nothing of it is taken over."""
    child = flow_of(leg("inner"), leg("more"), name="child")
    scene = Scene.start(flow_of(run(child, lambda s: Talk(), name="sub"), leg("b"))).ok("inner").ok("more")
    after = fork(at(scene, f"child/talk/k/sub~{LIFE}"), "more")
    assert last(after).reason.startswith("it may still be compensated, which would undo inner")


@pytest.mark.parametrize(
    ("step", "value", "reason"),
    [
        ("ship", {}, SHAPE),
        ("ship", {"key": ""}, "the key has 0 characters; give 1 to 256"),
        ("ship", {"key": "x" * 257}, "the key has 257 characters; give 1 to 256"),
        ("ship", {"key": "a\nb"}, "the key has a control character (U+000A) at position 1; remove it"),
        ("ship", {"key": 7}, SHAPE),
        ("ship", {"key": "k"}, "key 'k' is the key of the instance itself; choose another"),
        ("ship", {"key": "new", "state": {}}, "a fork takes key and patch, not state"),
        (
            "ship",
            {"key": "new", "patch": []},
            "the patch must be a list of 1 to 100 operations of RFC 6902, each an object",
        ),
        ("pay", {"key": "new"}, "it has no step 'pay' on record; there are reserve, charge, book, ship"),
    ],
)
def test_a_fork_of_another_shape_is_refused(step: str, value: JsonObject, reason: str) -> None:
    assert refused(ENDED, step, value) == reason


def test_a_fork_begins_between_nodes_not_inside_one() -> None:
    """What lies before a branch or a loop is taken over with the way it went."""
    either = choose(when(lambda s: True, leg("x", undo=False)), otherwise=None, name="either")
    both = parallel(leg("p", undo=False), leg("q", undo=False), name="both")
    twice = loop(leg("l", undo=False), while_=lambda s: False, name="twice")
    saga = flow_of(either, both, twice, pivot, leg("e", undo=False))
    scene = Scene.start(saga).ok("x").ok("p")
    assert refused(scene, "p") == "'p' is inside 'both'; fork from there"
    assert at(fork(scene, "both"), "talk/new").step("q") is StepStatus.SENT
    assert at(fork(scene.ok("q"), "e"), "talk/new").step("e") is StepStatus.SENT
    lossy = parallel(leg("p", undo=False), leg("q", undo=False), name="both", need=1, rest="finish")
    racing = Scene.start(flow_of(lossy, leg("e", undo=False))).ok("p")
    assert refused(racing, "e") == "the steps before it must be done; in progress: q"


@pytest.mark.parametrize("within", ["choose", "loop"])
def test_a_branch_that_goes_on_beside_the_flow_is_gone_on_with_by_one_instance_only(within: str) -> None:
    """Between two of its steps nothing of it is under way, and yet it is not over: the fork would go on with it too."""
    p, q, r, e = (leg(name, undo=False) for name in "pqre")
    way = choose(when(lambda s: True, p, q), otherwise=None, name="way")
    race: Node[Talk] = parallel(way if within == "choose" else [p, q], r, name="race", need=1, rest="finish")
    turns = iter([True, False])
    place = "{}" if within == "choose" else "{}@1"
    if within == "loop":
        race = loop(race, while_=lambda s: next(turns), name="once")
    stuck = Scene.start(flow_of(pivot, race, e)).ok(place.format("r")).rejects("e").ok(place.format("p"))
    assert stuck.status is Status.ATTENTION
    assert refused(stuck, "e") == f"the steps before it must be done; not done yet: {place.format('q')}"
    assert ("e", ActName.FORK) not in inspect(stuck.definition, stuck.document).on_steps
    retried = stuck.act(ActName.RETRY).ok(place.format("q")).rejects("e")
    new = at(fork(retried, "e"), "talk/new")
    assert [record.attempt for record in new.document.steps.values()] == [0] * (len(new.document.steps) - 1) + [1]


def test_a_fork_under_a_taken_key_leaves_the_other_alone() -> None:
    """That one's history says so. The same fork again is the same instance."""
    first = fork(ENDED, "ship")
    second = fork(first, "ship")
    assert at(second, NEW).document == at(first, NEW).document
    taken = Scene.start(checkout, key="new")
    start = next(each.message for each in last(first).actions if isinstance(each, Tell))
    decision = decide(checkout, taken.document, Arrival(message=start, now_ms=0))
    assert (decision.outcome, decision.document) == (Outcome.DENIED, taken.document)
    assert decision.reason == "started already with another input"


def test_a_fork_into_code_that_lacks_a_step_is_a_dead_letter() -> None:
    """It must not begin somewhere else."""
    start = next(each.message for each in last(fork(ENDED, "ship")).actions if isinstance(each, Tell))
    assert isinstance(start, Start)
    shorter = Saga("order-checkout", checkout.state, flow=checkout.flow[:1])
    decision = decide(shorter, None, Arrival(message=start, now_ms=0))
    assert decision.reason == "the fork cannot begin: Saga('order-checkout', version=1) has no step 'charge'"
    assert (decision.document, decision.outcome) == (None, Outcome.DENIED)
    assert any(isinstance(action, DeadLetter) for action in decision.actions)


def test_a_step_that_was_skipped_stands_although_nothing_was_sent() -> None:
    """Somebody did it by hand: its undo would run, so no fork stands on it; and without one it is not done again."""
    saga = flow_of(leg("a", broken=True), leg("b", broken=True, undo=False), leg("c", broken=True), leg("d"))
    stuck = Scene.start(saga).act(ActName.SKIP, step="a").act(ActName.SKIP, step="b", value={})
    assert (stuck.status, stuck.document.steps["a"].attempt) == (Status.ATTENTION, 0)
    assert refused(stuck, "c") == (
        "it may still be compensated, which would undo a; fork when it has ended or is past its pivot"
    )
    restarted = stuck.act(ActName.RESTART, "again", step="a")
    assert last(restarted).reason == ("there is no undo for b (done); restart from a later step, or retry or skip it")
    assert [each.step for each in inspect(saga, stuck.document).cancel.undone] == ["a"]
    assert stuck.cancel().open("a", undo=True).effect_key == f"talk/k/a~{LIFE}"
    abandoned = stuck.act(ActName.ABANDON)
    assert last(abandoned).reason == "left open: a (done)"


def test_a_fork_whose_code_is_not_here_waits_for_it() -> None:
    """Its origin's code is: this node is older. What it has taken over is on record from the first on."""
    start = next(each.message for each in last(fork(ENDED, "ship")).actions if isinstance(each, Tell))
    assert isinstance(start, Start)
    waits = decide(None, None, Arrival(message=start, now_ms=70))
    why = "'order-checkout' version 1 is not deployed here; deploy it"
    assert (waits.outcome, waits.reason, waits.actions) == (Outcome.DEFERRED, why, ())
    document = waits.document
    assert document is not None
    assert (document.status, document.origin) == (Status.ATTENTION, start.fork.origin if start.fork else None)
    assert [record.status for record in document.steps.values()] == [StepStatus.DONE] * 3
    here = Act(id="deployed", instance=NEW, act=ActName.RETRY)
    begun = decide(checkout, document, Arrival(message=here, now_ms=80)).document
    assert begun is not None
    assert (begun.status, begun.steps["ship"].status, begun.pivot_passed) == (Status.RUNNING, StepStatus.SENT, True)
    shorter = Saga(checkout.name, checkout.state, flow=[node for node in checkout.flow if node.name != "ship"])
    still = decide(shorter, document, Arrival(message=here, now_ms=80))  # type: ignore[arg-type]  # whatever state
    lacks = "the deployed code has no step 'ship', at which this fork begins; deploy it again"
    assert (still.outcome, still.reason, still.document) == (Outcome.DENIED, lacks, document)


def test_what_a_fork_has_taken_over_it_does_not_begin_anew() -> None:
    """It stands, and nobody here takes it back: a restart would do it twice. What leaves nothing is begun anew."""
    saga = flow_of(
        leg("a"),
        leg("look", undo=False, read_only=True),
        sleep("nap", timedelta(seconds=1)),
        leg("b"),
        leg("c", broken=True),
    )
    origin = Scene.start(saga).ok("a").ok("look").tick().ok("b").act(ActName.ABANDON)
    new = at(fork(origin, "b"), "talk/new").ok("b", of="talk/new")
    assert new.status is Status.ATTENTION

    def restart(step: str) -> Scene:
        return new.act(ActName.RESTART, "again", step=step, of="talk/new")

    assert last(restart("a")).outcome is Outcome.DENIED
    assert last(restart("a")).reason == (
        "there is no undo for a (taken over from talk/k); restart from a later step, or retry or skip it"
    )
    life = at(restart("b"), "talk/new").document.incarnation
    assert restart("b").open("b", undo=True, of="talk/new").effect_key == f"talk/new/b~{life}"
    anew = restart("look").undo_ok("b", of="talk/new").open("look", of="talk/new")
    assert anew.effect_key == f"talk/new/look~{life}+1"


class Aliased(BaseModel):
    """A field with another name outside."""

    n: int = Field(default=0, alias="number")


def test_the_state_of_a_fork_is_read_as_it_was_kept() -> None:
    """By field names; a start from outside goes by aliases."""
    saga = Saga("aliased", Aliased, flow=[leg("a", model=Aliased)])
    scene = Scene.start(saga, {"number": 3})
    new = at(fork(scene, "a"), "aliased/new")
    assert new.document.state == {"n": 3}
    assert from_json(new.open("a", of="aliased/new").payload) == {"n": 0}


def test_a_process_manager_is_not_forked() -> None:
    """It has no order of steps."""
    scene = Scene.of(order_fulfilment).receives("order-placed", {"order_id": "k", "skus": ["x"]}, key="k")
    scene = scene.receives("order-paid", {"order_id": "k", "amount_cents": 1}, key="k")
    assert refused(scene, "pick") == "only a saga can be restarted or forked from a step"


def recorded(message: Start, document: Document | None, now_ms: int) -> tuple[Document | None, HistoryRecord]:
    """One decision and its record in the history."""
    decision = decide(checkout, document, Arrival(message=message, now_ms=now_ms))
    after = decision.document
    sent = [action for action in decision.actions if isinstance(action, SendCommand)]
    return after, HistoryRecord(
        instance=message.instance,
        revision=after.revision if after else 0,
        at_ms=now_ms,
        outcome=decision.outcome,
        status=after.status if after else None,
        message=message,
        changes=decision.changes,
        sent=tuple(SentCommand(id=each.id, contract=each.contract, queue=each.queue) for each in sent),
        code=decision.code,
        reason=decision.reason,
    )


def test_a_fork_is_recomputed_from_its_history() -> None:
    """Its start holds all that it began with."""
    start = next(each.message for each in last(fork(ENDED, "ship")).actions if isinstance(each, Tell))
    assert isinstance(start, Start)
    document, record = recorded(start, None, 5)
    found = recompute(checkout, [record])
    assert (found.document, found.difference, found.whole) == (document, None, True)
