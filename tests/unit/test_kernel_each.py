"""``each``: how parts begin, are gathered, fail, and are taken back."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from sagaline.orchestrator.messages.document import CauseKind, Status, StepStatus
from sagaline.orchestrator.messages.entity_messages import ChildEnd, ChildEnded, Unwind
from sagaline.orchestrator.messages.inputs import ActName, Start
from sagaline.orchestrator.messages.values import Parent
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Node, Saga, pivot, step
from sagaline.sagas.nodes import each, parallel

from .kernel_nodes import LIFE, Did, Do, memo_of, told_by


class Basket(BaseModel):
    """What is split: so many parts, and what came of them."""

    count: int = 3
    seen: list[int] = []
    did: Did | None = None


class Part(BaseModel):
    """One part."""

    n: int = 0
    did: Did | None = None


def parts(concurrency: int = 2, tolerate: int = 0, *, gathers: bool = True, broken: Any = None) -> Saga[Basket]:
    work = step(Contract("do-work", Do, Did, queue="q"), into="did", name="work")(lambda s: Do(n=s.n))
    work.undo(Contract("undo-work", Do, Did, queue="q"))(lambda s: Do(n=s.n))
    part = Saga("part", Part, flow=[work])
    node: Node[Basket] = each(
        part,
        of=broken or (lambda s: [Part(n=n * 10) for n in range(s.count)]),
        gather=(lambda s, p: s.model_copy(update={"seen": [*s.seen, p.n]})) if gathers else None,
        concurrency=concurrency,
        tolerate=tolerate,
        name="sub",
    )
    last = step(Contract("do-last", Do, Did, queue="q"), into="did", name="last")(lambda s: Do())
    last.undo(Contract("undo-last", Do, Did, queue="q"))(lambda s: Do())
    return Saga("talk", Basket, flow=[node, last])


def at(index: int, attempt: int = 1) -> str:
    again = "" if attempt == 1 else f"~{attempt}"
    return f"part/talk/k/sub~{LIFE}{again}/{index}"


def starts(scene: Scene) -> list[str]:
    return [each.instance for each in told_by(scene) if isinstance(each, Start)]


def begun(count: int = 3, **options: Any) -> Scene:
    return Scene.start(parts(**options), {"count": count})


def test_parts_begin_up_to_the_concurrency() -> None:
    """Each is an instance of its own that knows its number."""
    scene = begun()
    assert starts(scene) == [at(0), at(1)]
    second = told_by(scene)[1]
    assert isinstance(second, Start)
    assert second.parent == Parent(
        instance="talk/k", place=f"sub~{LIFE}", root="talk/k", index=1, root_incarnation=LIFE
    )
    assert second.input == {"n": 10, "did": None}
    assert memo_of(scene, "sub") == {
        "count": 3,
        "next": 2,
        "completed": 0,
        "under_way": [0, 1],
        "failed": [],
        "why": [],
        "closing": False,
        "todo": [],
        "attempts": {},
    }


def test_the_next_parts_begin_when_half_of_the_room_is_free() -> None:
    """So that the parts are not looked at for each that ends."""
    scene = begun(9, concurrency=4)
    assert starts(scene) == [at(0), at(1), at(2), at(3)]
    one = scene.ok("work", of=at(2))
    two = one.ok("work", of=at(0))
    assert (starts(one), starts(two)) == ([], [])
    three = two.ok("work", of=at(1))
    assert starts(three) == [at(4), at(5), at(6)]
    assert memo_of(three, "sub")["under_way"] == [3, 4, 5, 6]
    assert (memo_of(three, "sub")["next"], memo_of(three, "sub")["completed"]) == (7, 3)
    assert three.state.seen == [20, 0, 10]
    done = three.settle()
    assert (done.status, sorted(done.state.seen)) == (Status.COMPLETED, [n * 10 for n in range(9)])
    assert memo_of(done, "sub")["completed"] == 9


def test_one_at_a_time_and_none_at_all() -> None:
    """An empty collection is done at once."""
    one = begun(2, concurrency=1)
    assert starts(one) == [at(0)]
    assert starts(one.ok("work", of=at(0))) == [at(1)]
    none = begun(0)
    assert (none.step("sub"), none.step("last")) == (StepStatus.DONE, StepStatus.SENT)


def test_parts_need_not_be_gathered() -> None:
    done = begun(2, gathers=False).ok("work", of=at(1)).ok("work", of=at(0))
    assert (done.step("sub"), done.state.seen) == (StepStatus.DONE, [])


def test_as_many_parts_may_fail_as_are_tolerated() -> None:
    """Their reasons are kept, shortened."""
    scene = begun(3, tolerate=2).rejects("work", "x" * 300, of=at(1)).rejects("work", of=at(0))
    assert memo_of(scene, "sub")["failed"] == [1, 0]
    assert memo_of(scene, "sub")["why"] == ["1: " + "x" * 197, "0: no"]
    done = scene.ok("work", of=at(2))
    assert (done.step("sub"), done.state.seen) == (StepStatus.DONE, [20])


def test_one_more_ends_the_others_and_fails_the_whole() -> None:
    """No further part begins; what is under way is cancelled first; the completed ones are undone."""
    scene = begun(5, concurrency=3).ok("work", of=at(1)).rejects("work", "sold out", of=at(0))
    assert [(each.instance, each.reason) for each in told_by(scene) if isinstance(each, Unwind)] == [
        (at(2), "too many other parts failed")
    ]
    assert scene.step("sub") is StepStatus.SENT
    turned = scene.ok("work", of=at(2)).undo_ok("work", of=at(2))
    assert turned.document.cause is not None
    child = "cancelled by its parent talk/k: too many other parts failed"
    why = f"2 of 5 parts failed, 0 are tolerated: 0: sold out; 2: {child}"
    assert (turned.document.cause.kind, turned.document.cause.message, turned.document.cause.step) == (
        CauseKind.CHILD,
        why,
        "sub",
    )
    assert turned.document.steps["sub"].error == why
    assert turned.settle().status is Status.COMPENSATED
    assert f"{at(1)}/work" in turned.settle().undone


def test_completed_parts_are_undone_from_the_last_to_the_first_some_at_once() -> None:
    scene = begun(3).ok("work", of=at(0)).ok("work", of=at(1)).ok("work", of=at(2)).rejects("last", "no")
    assert scene.step("sub") is StepStatus.UNDO_SENT
    assert [(each.instance, each.reason, each.parent.index) for each in told_by(scene) if isinstance(each, Unwind)] == [
        (at(2), "no", 2),
        (at(1), "no", 1),
    ]
    assert (memo_of(scene, "sub")["undo_left"], memo_of(scene, "sub")["undo_under_way"]) == (1, [2, 1])
    more = scene.undo_ok("work", of=at(2))
    assert [each.instance for each in told_by(more)] == [at(0)]
    assert memo_of(more, "sub")["undo_under_way"] == [1, 0]
    done = more.undo_ok("work", of=at(0)).undo_ok("work", of=at(1))
    assert (done.step("sub"), done.status) == (StepStatus.UNDONE, Status.COMPENSATED)


def test_a_part_that_cannot_be_undone_is_asked_again_after_a_retry() -> None:
    """The others go on where they stood."""
    scene = begun(3).ok("work", of=at(0)).ok("work", of=at(1)).ok("work", of=at(2)).rejects("last")
    answer = ChildEnded(
        id="x", instance="talk/k", place=f"sub~{LIFE}", index=2, child=at(2), end=ChildEnd.NOT_UNDONE, reason="gone"
    )
    stuck = scene.play(answer)
    assert stuck.attention is not None
    assert stuck.attention.message == f"{at(2)} could not be undone: not_undone: gone; resolve it there, then retry"
    again = stuck.retry()
    assert [each.instance for each in told_by(again)] == [at(2), at(1)]
    assert again.undo_ok("work", of=at(2)).undo_ok("work", of=at(1)).undo_ok("work", of=at(0)).status is (
        Status.COMPENSATED
    )


def test_an_end_of_a_part_that_is_not_under_way_changes_nothing() -> None:
    scene = begun(3).ok("work", of=at(0))
    for index in (0, 2, None, 7):
        stray = ChildEnded(
            id="x",
            instance="talk/k",
            place=f"sub~{LIFE}",
            index=index,
            child="part/x",
            end=ChildEnd.COMPLETED,
            state={},
        )
        assert memo_of(scene.play(stray), "sub") == memo_of(scene, "sub")


def test_past_the_pivot_parts_that_failed_begin_again_after_a_retry() -> None:
    """Under another key; those that are done stay done."""
    saga = parts(concurrency=3)
    stuck = Scene.start(Saga("talk", Basket, flow=[pivot, saga.flow[0]]), {"count": 3})
    stuck = stuck.ok("work", of=at(0)).rejects("work", of=at(1)).ok("work", of=at(2)).undo_ok("work", of=at(2))
    assert stuck.status is Status.ATTENTION
    again = stuck.retry()
    assert starts(again) == [at(1, 2), at(2, 2)]
    memo = memo_of(again, "sub")
    assert (memo["attempts"], memo["todo"], memo["failed"], memo["closing"]) == ({"1": 2, "2": 2}, [], [], False)
    assert (memo["completed"], memo["under_way"]) == (1, [1, 2])
    done = again.ok("work", of=at(1, 2)).ok("work", of=at(2, 2))
    assert (done.status, done.state.seen) == (Status.COMPLETED, [0, 10, 20])


def test_other_parts_than_at_the_beginning_stop_the_instance() -> None:
    """They are counted whenever parts begin."""
    counts = [3]
    scene = Scene.start(parts(1, broken=lambda s: [Part(n=n) for n in range(counts[-1])]), {})
    counts.append(4)
    stuck = scene.ok("work", of=at(0))
    assert stuck.attention is not None
    assert stuck.attention.message == (
        "of, the parts of each 'sub', gave 4 parts and had given 3 when it began; "
        "if an edit of the state changed them, edit it back; else return the same parts each time; "
        "deploy the fix, then retry"
    )
    counts.append(3)
    again = stuck.retry()
    assert starts(again) == [at(1)]
    assert again.settle().status is Status.COMPLETED


def test_a_gathering_that_raises_keeps_the_end_of_its_part_for_a_retry() -> None:
    """So does what it returns of another kind; ends that come meanwhile are kept, too."""
    gathered: list[Any] = [lambda s, p: Did()]
    saga = parts(3)
    node: Any = saga.flow[0]
    again_node: Node[Basket] = each(
        node.part,
        of=node.options.of,
        gather=lambda s, p: gathered[-1](s, p),
        concurrency=3,
        name="sub",
    )
    scene = Scene.start(Saga("talk", Basket, flow=[again_node]), {"count": 3})
    stuck = scene.ok("work", of=at(1))
    assert stuck.attention is not None
    assert stuck.attention.message == (
        "gather of each 'sub' gave a Did; the state is a Basket; deploy the fix, then retry"
    )
    assert stuck.step("sub") is StepStatus.BLOCKED
    meanwhile = stuck.ok("work", of=at(2))
    assert [each.index for each in meanwhile.document.deferred if isinstance(each, ChildEnded)] == [1, 2]
    gathered.append(lambda s, p: s.model_copy(update={"seen": [*s.seen, p.n]}))
    done = meanwhile.retry().ok("work", of=at(0))
    assert (done.status, done.state.seen) == (Status.COMPLETED, [10, 20, 0])


def test_a_cancel_is_said_to_every_part_under_way() -> None:
    """Their ends are waited for, then the completed ones are undone."""
    scene = begun(4, concurrency=3).ok("work", of=at(0)).cancel()
    assert [each.instance for each in told_by(scene)] == [at(1), at(2)]
    over = scene.ok("work", of=at(1)).undo_ok("work", of=at(1)).ok("work", of=at(2)).undo_ok("work", of=at(2))
    assert over.settle().status is Status.COMPENSATED
    assert over.settle().undone[-1] == "talk/k/sub"


def test_parts_of_another_kind_stop_the_instance() -> None:
    scene = Scene.start(parts(broken=lambda s: [Part(), Did()]), {})
    assert scene.attention is not None
    assert scene.attention.message.startswith("a part of each 'sub' gave a Did; ")


def test_parts_of_another_attempt_are_the_ones_that_are_cancelled() -> None:
    """Past the pivot, when one too many of them fails again."""
    saga = parts(concurrency=3)
    stuck = Scene.start(Saga("talk", Basket, flow=[pivot, saga.flow[0]]), {"count": 3})
    stuck = stuck.ok("work", of=at(0)).rejects("work", of=at(1)).ok("work", of=at(2)).undo_ok("work", of=at(2))
    failed = stuck.retry().rejects("work", of=at(1, 2))
    assert [each.instance for each in told_by(failed)] == [at(2, 2)]


def test_an_undo_that_is_asked_again_gives_its_reason_again() -> None:
    scene = begun(2).ok("work", of=at(0)).ok("work", of=at(1)).rejects("last", "no room")
    answer = ChildEnded(id="x", instance="talk/k", place=f"sub~{LIFE}", index=1, child=at(1), end=ChildEnd.ABANDONED)
    again = scene.play(answer).retry()
    assert [each.reason for each in told_by(again) if isinstance(each, Unwind)] == ["no room", "no room"]


def test_no_part_begins_in_a_pause_and_the_next_ones_do_after_it() -> None:
    """Parts that end meanwhile count then."""
    paused = begun(4).act(ActName.PAUSE).ok("work", of=at(0)).ok("work", of=at(1))
    assert starts(paused) == []
    assert (memo_of(paused, "sub")["under_way"], paused.step("sub")) == ([0, 1], StepStatus.SENT)
    resumed = paused.act(ActName.RESUME)
    assert starts(resumed) == [at(2), at(3)]
    over = resumed.act(ActName.PAUSE).ok("work", of=at(2)).ok("work", of=at(3))
    assert (over.step("sub"), over.step("last")) == (StepStatus.SENT, None)
    assert over.act(ActName.RESUME).step("last") is StepStatus.SENT


def test_a_cancel_in_a_pause_undoes_the_parts_that_are_done() -> None:
    """Also when none is under way."""
    cancelled = begun(4).act(ActName.PAUSE).ok("work", of=at(0)).ok("work", of=at(1)).cancel()
    assert [each.instance for each in told_by(cancelled) if isinstance(each, Unwind)] == [at(1), at(0)]
    assert cancelled.settle().status is Status.COMPENSATED


def test_no_part_begins_while_an_operator_must_look() -> None:
    """After the retry they do."""
    node = parts(2).flow[0]
    wrong: list[int] = [0]
    beside: Any = step(Contract("do-x", Do, Did, queue="q"), name="x")(lambda s: Do(n=1 // wrong[-1]))
    beside.undo(Contract("undo-x", Do, Did, queue="q"))(lambda s: Do())
    stuck = Scene.start(Saga("talk", Basket, flow=[parallel(node, beside, name="both")]), {"count": 4})
    ended = stuck.ok("work", of=at(0)).ok("work", of=at(1))
    assert (ended.status, starts(ended), memo_of(ended, "sub")["completed"]) == (Status.ATTENTION, [], 2)
    wrong.append(1)
    assert starts(ended.retry()) == [at(2), at(3)]


def test_no_part_is_undone_in_a_pause_and_the_next_ones_are_after_it() -> None:
    """Nor does the whole count as undone before."""
    scene = begun(4).ok("work", of=at(0)).ok("work", of=at(1)).ok("work", of=at(2)).ok("work", of=at(3)).rejects("last")
    paused = scene.act(ActName.PAUSE).undo_ok("work", of=at(3)).undo_ok("work", of=at(2))
    assert (told_by(paused), paused.step("sub")) == ([], StepStatus.UNDO_SENT)
    resumed = paused.act(ActName.RESUME)
    assert [each.instance for each in told_by(resumed)] == [at(1), at(0)]
    assert resumed.settle().status is Status.COMPENSATED


def other_step(name: str) -> Any:
    made: Any = step(Contract(f"do-{name}", Do, Did, queue="q"), name=name)(lambda s: Do())
    made.undo(Contract(f"undo-{name}", Do, Did, queue="q"))(lambda s: Do())
    return made


def test_what_came_in_a_pause_does_after_it_what_it_would_have_done() -> None:
    """In order of arrival: a part ends and the next begins, then the branch is lost and both are undone."""
    inner = parallel(parts(1).flow[0], other_step("x"), name="inner")
    saga = Saga("talk", Basket, flow=[parallel(inner, other_step("y"), need="any", name="both")])
    paused = Scene.start(saga, {}).act(ActName.PAUSE).ok("work", of=at(0)).rejects("x")
    resumed = paused.act(ActName.RESUME)
    assert (resumed.status, starts(resumed)) == (Status.RUNNING, [at(1)])
    ended = resumed.ok("y").settle()
    assert (ended.status, set(ended.undone)) == (Status.COMPLETED, {f"{at(0)}/work", f"{at(1)}/work", "talk/k/sub"})


def test_an_undo_goes_on_after_a_retry_where_it_stood() -> None:
    """From the part that could not be undone to the first; those behind it are not asked again."""
    scene = begun(4, concurrency=1)
    for index in range(4):
        scene = scene.ok("work", of=at(index))
    turned = scene.rejects("last").undo_ok("work", of=at(3))
    answer = ChildEnded(id="x", instance="talk/k", place=f"sub~{LIFE}", index=2, child=at(2), end=ChildEnd.ABANDONED)
    again = turned.play(answer).retry()
    assert memo_of(again, "sub")["undo_left"] == 2
    asked = [each.instance for each in told_by(again)]
    for index in (2, 1, 0):
        again = again.undo_ok("work", of=at(index))
        asked += [each.instance for each in told_by(again)]
    assert asked == [at(2), at(1), at(0)]
    assert again.status is Status.COMPENSATED
    assert again.document.steps["sub"].undo_spent == 1


def test_a_retry_begins_what_failed_and_then_what_had_not_begun() -> None:
    """Each counts as begun once."""
    saga = parts(concurrency=3)
    stuck = Scene.start(Saga("talk", Basket, flow=[pivot, saga.flow[0]]), {"count": 6})
    stuck = stuck.ok("work", of=at(0)).rejects("work", of=at(1)).ok("work", of=at(2)).undo_ok("work", of=at(2))
    again = stuck.retry()
    assert starts(again) == [at(1, 2), at(2, 2), at(3)]
    assert (memo_of(again, "sub")["next"], again.document.steps["sub"].spent) == (4, 1)
    done = again.settle()
    assert (done.status, sorted(done.state.seen)) == (Status.COMPLETED, [0, 10, 20, 30, 40, 50])


def test_parts_are_asked_for_once_when_they_begin() -> None:
    asked: list[int] = []
    saga = parts(broken=lambda s: asked.append(1) or [Part(n=n) for n in range(s.count)])
    Scene.start(saga, {"count": 3})
    assert asked == [1]


def test_parts_of_a_lost_branch_are_undone_with_a_reason() -> None:
    branch = [parts(3).flow[0], other_step("x")]
    saga = Saga("talk", Basket, flow=[parallel(branch, other_step("y"), need="any", name="both")])
    scene = Scene.start(saga, {"count": 2}).ok("work", of=at(0)).ok("work", of=at(1)).rejects("x")
    assert [each.reason for each in told_by(scene) if isinstance(each, Unwind)] == ["its parent is compensating"] * 2
