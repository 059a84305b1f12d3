"""What is under way is matched to new code by name: the order in which things are written means nothing."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, JsonValue

from sagaline.orchestrator.cli.deploy_check import objection
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.kernel.migrating import CannotMigrate, migrated
from sagaline.orchestrator.messages.document import CauseKind, Status, StepStatus
from sagaline.orchestrator.messages.entity_messages import ChildEnd, ChildEnded
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Event, Node, Saga
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.nodes import each, expect, parallel, route, run, scatter, wait

from .kernel_nodes import HOUR, LIFE, Do, Offer, Paid, Talk, flow_of, leg, memo_of, redeployed

Branch = Literal["x", "y", "z"]


class Both(BaseModel):
    """Takes two events of one shape."""

    one: Paid | None = None
    two: Paid | None = None


first = Event("first", Paid)
second = Event("second", Paid)
ONE = expect(first, key=lambda s: "k", into="one")
TWO = expect(second, key=lambda s: "k", into="two")
ALSO = expect(first, key=lambda s: "other", into="two")


def waits(*expected: Any, need: Literal["all", "any"] = "all", version: int = 1) -> Saga[Both]:
    return Saga("talk", Both, flow=[wait(*expected, timeout=HOUR, need=need, name="pay")], version=version)


def asks(*queues: str) -> Saga[Talk]:
    node = scatter(Contract("offer", Do, Offer, queue="q"), queues=queues, into="offers", deadline=HOUR, name="ask")
    return flow_of(node(lambda s: Do()))


def branches(order: str, **options: Any) -> Saga[Talk]:
    return flow_of(parallel(*(leg(name) for name in order), name="both", **options), leg("end"))


def kid(name: str) -> Saga[Talk]:
    return Saga(name, Talk, flow=[leg(f"in-{name}")])


def runs(name: str) -> Saga[Talk]:
    return flow_of(run(kid(name), lambda s: Talk(), name="sub"), leg("end"))


def splits(name: str) -> Saga[Talk]:
    return flow_of(each(kid(name), of=lambda s: [Talk()], name="sub"), leg("end"))


def routes(table: str) -> Saga[Talk]:
    return flow_of(route(table, by=lambda s: {}, to={"x": leg("x"), "y": leg("y")}, otherwise="x", name="way"))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("body", [{"amount": 1}])
def test_events_find_their_field_when_the_code_names_them_in_another_order(version: int, body: dict[str, int]) -> None:
    """With the version unchanged, and through a migration; half of them before the change and half after it."""
    other = waits(TWO, ONE, version=version)
    if version == 2:
        other.migrate(from_version=1)(lambda before: Both.model_validate(before))
    begun = Scene.start(waits(ONE, TWO), {})
    for before in (begun, begun.receives(first, {"amount": 1}, key="k")):
        swapped = redeployed(before, other)
        if before is begun:
            swapped = swapped.receives(first, {"amount": 1}, key="k")
        done = swapped.receives(second, {"amount": 2}, key="k")
        assert done.status is Status.COMPLETED
        assert (done.state.one, done.state.two) == (Paid(amount=1), Paid(amount=2))


def test_two_events_of_one_kind_keep_their_fields_too() -> None:
    """They differ in the field that takes them."""
    begun = redeployed(Scene.start(waits(ONE, ALSO), {}), waits(ALSO, ONE))
    done = begun.receives(first, {"amount": 1}, key="k").receives(first, {"amount": 2}, key="other")
    assert (done.state.one, done.state.two) == (Paid(amount=1), Paid(amount=2))


def test_whether_all_or_any_are_needed_may_change_under_a_wait() -> None:
    begun = redeployed(Scene.start(waits(ONE, TWO), {}), waits(ONE, TWO, need="any"))
    assert begun.receives(second, {"amount": 2}, key="k").status is Status.COMPLETED


ENDED = ChildEnded(
    id="e", instance="talk/k", place=f"sub~{LIFE}", index=None, child="x", end=ChildEnd.COMPLETED, state={}
)
PAIRS: dict[str, tuple[AnyDefinition, AnyDefinition, str]] = {
    "an event less": (
        waits(ONE, TWO),
        waits(TWO),
        "a wait of second into two in 'pay', which is on record here as a wait of first into one, second into two",
    ),
    "an event more": (
        waits(ONE),
        waits(ONE, TWO),
        "a wait of first into one, second into two in 'pay', which is on record here as a wait of first into one",
    ),
    "another field": (
        waits(ONE),
        waits(expect(first, key=lambda s: "k", into="two")),
        "a wait of first into two in 'pay', which is on record here as a wait of first into one",
    ),
    "a queue more": (
        asks("q1", "q2"),
        asks("q1", "q2", "q3"),
        "a scatter of q1, q2, q3 in 'ask', which is on record here as a scatter of q1, q2",
    ),
    "another child": (runs("ann"), runs("ben"), "a run of ben in 'sub', which is on record here as a run of ann"),
}


@pytest.mark.parametrize("what", list(PAIRS))
def test_code_that_means_something_else_decides_nothing_and_the_gate_says_so(what: str) -> None:
    """Whatever comes is kept until the code fits again."""
    before, after, why = PAIRS[what]
    begun = Scene.start(before)
    (place,) = begun.document.steps if what != "a queue more" else ("ask",)
    told = f"the deployed code has {why}; deploy it again"
    assert objection(Registry([after]), begun.document, []) == told
    timer = next(each for each in begun.timers if each.name.startswith(place)) if what != "another child" else None
    stuck = redeployed(begun, after)
    stuck = stuck._fire(timer) if timer else stuck.play(ENDED)
    assert stuck.document.attention is not None
    assert (stuck.document.attention.kind, stuck.document.attention.message) == (CauseKind.VERSION, told)
    assert redeployed(stuck, before).retry().status is not Status.ATTENTION


def test_parts_of_another_saga_under_the_same_name_are_not_taken_for_ours() -> None:
    begun = Scene.start(splits("ann"))
    found = objection(Registry([splits("ben")]), begun.document, [])
    assert found == (
        "the deployed code has an each of ben in 'sub', which is on record here as an each of ann; deploy it again"
    )


def test_the_wrong_child_is_not_undone() -> None:
    """A child that completed is undone by the code that ran it."""
    done = Scene.start(runs("ann")).ok("in-ann")
    assert done.step("sub") is StepStatus.DONE
    stuck = redeployed(done, runs("ben")).rejects("end")
    assert stuck.attention is not None
    assert stuck.attention.kind is CauseKind.VERSION
    assert redeployed(stuck, runs("ann")).retry().undo_ok("in-ann").status is Status.COMPENSATED


def test_a_child_past_the_pivot_that_is_over_may_be_replaced() -> None:
    """Nothing that it left will be looked at again."""
    over = flow_of(run(kid("ann"), lambda s: Talk(), name="sub"), leg("end", undo=False), past_pivot=True)
    other = flow_of(run(kid("ben"), lambda s: Talk(), name="sub"), leg("end", undo=False), past_pivot=True)
    done = redeployed(Scene.start(over).ok("in-ann"), other)
    assert done.ok("end").status is Status.COMPLETED


def test_a_scatter_that_is_over_may_ask_more_queues() -> None:
    def flow(*queues: str) -> Saga[Talk]:
        question = scatter(
            Contract("offer", Do, Offer, queue="q"), queues=queues, into="offers", deadline=HOUR, name="ask"
        )
        return flow_of(question(lambda s: Do()), leg("end"))

    done = Scene.start(flow("q1", "q2")).ok("ask.q1").ok("ask.q2")
    assert redeployed(done, flow("q1", "q2", "q3")).ok("end").status is Status.COMPLETED


def test_a_wait_that_has_told_nobody_begins_anew_with_other_events() -> None:
    """Its key raised; the code that was fixed may wait for something else as well."""

    def broken(s: Both) -> str:
        raise RuntimeError("no key")

    stuck = Scene.start(waits(expect(first, key=broken, into="one")), {})
    assert stuck.status is Status.ATTENTION
    fixed = redeployed(stuck, waits(ONE, TWO)).retry()
    assert (fixed.step("pay"), memo_of(fixed, "pay")["expects"]) == (
        StepStatus.WAITING,
        ["first into one", "second into two"],
    )
    assert fixed.document.steps["pay"].about == "first into one, second into two"


@pytest.mark.parametrize("order", ["yx", "xy"])
def test_the_branch_that_was_lost_is_the_lost_one_whatever_the_order(order: str) -> None:
    """The healthy one is not undone."""
    begun = Scene.start(branches("xy", need="any")).rejects("x")
    assert memo_of(begun, "both")["lost"] == {"x": "no"}
    done = redeployed(begun, branches(order, need="any")).ok("y")
    assert (done.step("y"), done.step("end")) == (StepStatus.DONE, StepStatus.SENT)
    assert done.ok("end").status is Status.COMPLETED
    assert done.undone == ()


def test_a_branch_that_was_lost_and_is_gone_is_said() -> None:
    begun = Scene.start(branches("xy", need="any")).rejects("x")
    found = objection(
        Registry([flow_of(parallel([leg("z"), leg("x")], leg("y"), need="any", name="both"), leg("end"))]),
        begun.document,
        [],
    )
    assert found == "the deployed code has no branch 'x' in 'both', which is on record here; deploy it again"


def test_a_table_that_was_asked_answers_the_question_that_was_asked() -> None:
    begun = Scene.start(routes("one"))
    assert begun.step("way") is StepStatus.DONE  # it answers at once
    assert objection(Registry([routes("two")]), begun.document, []) is None


def test_a_migration_says_what_does_not_fit() -> None:
    newer = waits(TWO, version=2)

    @newer.migrate(from_version=1)
    def upgrade(before: dict[str, JsonValue]) -> Both:
        return Both.model_validate(before)

    begun = Scene.start(waits(ONE, TWO), {})
    with pytest.raises(
        CannotMigrate, match=r"has a wait of second into two in 'pay', which is on record here as a wait"
    ):
        migrated(newer, begun.document)


def test_what_each_kind_of_node_is_called() -> None:
    nodes: list[tuple[Node[Any], str, str]] = [
        (leg("a"), "step", ""),
        (run(kid("ann"), lambda s: Talk(), name="sub"), "run", "ann"),
        (
            wait(TWO, ONE, ALSO, ONE, timeout=HOUR),
            "wait",
            "first into one (1), first into one (2), first into two, second into two",
        ),
        (wait(expect(first, key=lambda s: "k"), timeout=HOUR), "wait", "first"),
        (routes("one").flow[0], "route", "one"),
        (asks("q2", "q1").flow[0], "scatter", "q1, q2"),
    ]
    assert [(node.kind, node.about) for node, _, _ in nodes] == [each[1:] for each in nodes]
