"""Corners where several nodes, or an instance and its surroundings, meet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sagaline.orchestrator.kernel import decide, decide_entity
from sagaline.orchestrator.kernel.recompute import recompute
from sagaline.orchestrator.messages.document import CauseKind, Document, Status, StepStatus
from sagaline.orchestrator.messages.entities import Mailbox
from sagaline.orchestrator.messages.entity_messages import (
    Deadlocked,
    Expire,
    ExpiryRequested,
    Probe,
    Published,
    Unwatch,
    Unwind,
    Watch,
    mailbox_id,
)
from sagaline.orchestrator.messages.history import HistoryRecord, SentCommand
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival, Completed, Message, Start, TimerFired
from sagaline.orchestrator.messages.outputs import Decision, Outcome, SendCommand, Tell
from sagaline.orchestrator.messages.values import Parent
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Saga, pivot, step
from sagaline.sagas.nodes import each, expect, loop, parallel, scatter, wait

from .kernel_nodes import HOUR, LIFE, Did, Do, Offer, Talk, flow_of, leg, paid, redeployed, waiting_again

NOW_MS = 1_000_000


def begun(saga: Saga[Talk]) -> Document:
    start = Start(id="s", definition="talk", key="k", input={})
    document = decide(saga, None, Arrival(message=start, now_ms=NOW_MS)).document
    assert document is not None
    return document


def told(decision: Decision) -> list[Message]:
    return [action.message for action in decision.actions if isinstance(action, Tell)]


def arrival(message: Message) -> Arrival:
    return Arrival(message=message, now_ms=NOW_MS)


def test_a_pivot_does_not_wait_for_a_branch_that_only_waited() -> None:
    """The branch that is not needed has nothing to undo: nobody would ever answer and wake the flow."""
    waiting = wait(expect(paid, key=lambda s: "k"), timeout=HOUR)
    saga = flow_of(parallel(waiting, leg("a"), need="any"), pivot, leg("b", undo=False))
    scene = Scene.start(saga).ok("a")
    assert scene.step("wait-paid") is StepStatus.DROPPED
    assert scene.step("b") is StepStatus.SENT


def failing_branch() -> Scene:
    """The undo of a branch that was not needed has been refused."""
    saga = flow_of(parallel([leg("a"), leg("x")], leg("b", undo=False), need="any"), leg("c", undo=False))
    return Scene.start(saga).ok("a").ok("b").rejects("x").ok("c").undo_rejects("a")


def test_a_cancel_begins_an_undo_that_had_failed_anew() -> None:
    """G4, G5: the instance leaves attention, so nobody would send a retry for it any more."""
    scene = failing_branch()
    assert scene.status is Status.ATTENTION
    scene = scene.cancel()
    assert scene.step("a") is StepStatus.UNDO_SENT
    assert scene.undo_ok("a").settle().status is not Status.COMPENSATING


def test_a_parent_that_unwinds_begins_an_undo_that_had_failed_anew() -> None:
    scene = failing_branch()
    parent = Parent(instance="outer/k", place=f"run~{LIFE}", root="outer/k", root_incarnation="k3x9wq2z")
    unwind = Unwind(id="u", instance=scene.document.id, parent=parent, reason="")
    decision = decide(scene.definition, scene.document, arrival(unwind))
    assert [action.step for action in decision.actions if isinstance(action, SendCommand)] == ["a"]


def test_what_is_told_without_a_new_revision_bears_ids_of_its_own() -> None:
    """A probe is passed on once for each lock, under an id that no later decision gives again."""
    document = begun(flow_of(parallel(leg("a", locks="x"), leg("b", locks="x"))))
    saga = flow_of(parallel(leg("a", locks="x"), leg("b", locks="x")))
    probes = [decide(saga, document, arrival(Probe(id=id, instance="talk/k", path=("p", "@lock/x")))) for id in "12"]
    ids = [message.id for decision in probes for message in told(decision)]
    assert len(ids) == len(set(ids)) == 2
    ended = replace(document, status=Status.COMPLETED)
    leaves = [
        decide(
            saga, ended, arrival(ExpiryRequested(id=id, instance="talk/k", child="c/1", incarnation=ended.incarnation))
        )
        for id in "12"
    ]
    answers = [message for decision in leaves for message in told(decision)]
    assert all(isinstance(answer, Expire) for answer in answers)
    assert len({answer.id for answer in answers}) == 2


def test_an_event_that_is_brought_again_bears_another_id() -> None:
    """A wait that is retried asks again, and gets the same event in another message."""
    box = mailbox_id("paid", "k")
    event = Published(id="e", instance=box, event="paid", key="k", body={"amount": 1}, keep_ms=10_000)
    entity = decide_entity(None, arrival(event)).entity
    ids = []
    for number in "12":
        watch = Watch(id=f"w{number}", instance=box, by="talk/k", place=f"wait~{LIFE}", index=0)
        answer = decide_entity(entity, arrival(watch))
        ids += [action.message.id for action in answer.actions if isinstance(action, Tell)]
        entity = answer.entity
    assert isinstance(entity, Mailbox)
    assert len(ids) == len(set(ids)) == 2
    assert (
        decide_entity(entity, arrival(Unwatch(id="u", instance=box, by="talk/k", place=f"wait~{LIFE}", index=0))).entity
        is not None
    )


def test_a_child_whose_definition_is_not_deployed_here_waits_for_it() -> None:
    """In a rolling change the parent's node may be newer than the child's."""
    saga = flow_of(leg("a"), name="child")
    parent = Parent(instance="talk/k", place=f"run~{LIFE}", root="talk/k", root_incarnation=LIFE)
    start = Start(id="s", definition="child", key="c", input={"n": 1}, version=1, parent=parent)
    waits = decide(None, None, arrival(start))
    assert waits.outcome is Outcome.DEFERRED
    assert waits.document is not None
    assert waits.document.attention is not None
    assert waits.document.attention.kind is CauseKind.VERSION
    assert told(waits) == []
    goes = decide(saga, waits.document, arrival(Act(id="r", instance="child/c", act=ActName.RETRY)))
    assert goes.document is not None
    assert goes.document.status is Status.RUNNING
    assert [action.step for action in goes.actions if isinstance(action, SendCommand)] == ["a"]
    again = recompute(
        saga, [record_of(start, waits), record_of(Act(id="r", instance="child/c", act=ActName.RETRY), goes)]
    )
    assert (again.difference, again.document) == (None, goes.document)


def record_of(message: Message, decision: Decision) -> HistoryRecord:
    after = decision.document
    assert after is not None
    return HistoryRecord(
        instance=after.id,
        revision=after.revision,
        at_ms=NOW_MS,
        outcome=decision.outcome,
        status=after.status,
        message=message,
        changes=decision.changes,
        sent=tuple(
            SentCommand(id=action.id, contract=action.contract, queue=action.queue)
            for action in decision.actions
            if isinstance(action, SendCommand)
        ),
        code=decision.code,
        reason=decision.reason,
    )


def test_an_act_that_was_refused_for_want_of_code_says_nothing_about_todays() -> None:
    """Recomputed it is refused again, as everything that was put off is put off again."""
    saga = flow_of(leg("a"))
    start = Start(id="s", definition="talk", key="k", input={})
    first = decide(saga, None, arrival(start))
    act = Act(id="c", instance="talk/k", act=ActName.CANCEL)
    refused = decide(None, first.document, arrival(act))
    assert refused.outcome is Outcome.DENIED
    reply = Completed(id="r", instance="talk/k", command_id=f"talk/k/a~{LIFE}/1", reply={})
    last = decide(saga, first.document, arrival(reply))
    again = recompute(saga, [record_of(start, first), record_of(act, refused), record_of(reply, last)])
    assert (again.difference, again.document) == (None, last.document)


def test_a_retry_does_not_ask_again_what_a_scatter_that_is_over_has_asked() -> None:
    """One answer was enough; the worker that raised was out, and stays so when another step is tried again."""
    ask = Contract("ask", Do, Offer, queue="one")
    question = scatter(ask, queues=("one", "two"), into="offers", deadline=HOUR, need=2, name="question")
    saga = flow_of(question(lambda s: Do()), pivot, leg("b", undo=False))
    scene = Scene.start(saga).ok("question.one").rejects("question.two").rejects("b")
    assert scene.status is Status.ATTENTION
    assert [command.step for command in scene.retry().waiting] == ["b"]


def test_a_retry_asks_again_when_the_scatter_has_failed() -> None:
    """Past the pivot: those that gave no answer."""
    ask = Contract("ask", Do, Offer, queue="one")
    question = scatter(ask, queues=("one", "two"), into="offers", deadline=HOUR, at_least=2, name="question")
    scene = Scene.start(flow_of(question(lambda s: Do()), past_pivot=True)).ok("question.one").rejects("question.two")
    assert scene.status is Status.ATTENTION
    assert [command.step for command in scene.retry().waiting] == ["question.two"]


def test_the_undo_of_a_collection_finds_the_parts_that_were_begun_again() -> None:
    """G5: a part that failed and succeeded at its second attempt is another instance, and that one is taken back."""

    def talk(*, broken: bool) -> Saga[Talk]:
        part = Saga("part", Talk, flow=[leg("p")])
        parts = each(part, of=lambda s: [Talk()], name="parts")
        return flow_of(parallel(parts, leg("x", broken=broken)), leg("c"))

    scene = Scene.start(talk(broken=True)).rejects("p", of=f"part/talk/k/parts~{LIFE}/0")
    assert (scene.status, scene.step("parts")) == (Status.ATTENTION, StepStatus.FAILED)
    scene = redeployed(scene, talk(broken=False)).retry()
    scene = scene.ok("p", of=f"part/talk/k/parts~{LIFE}~2/0").ok("x").rejects("c").undo_ok("x")
    assert [(command.instance, command.undo) for command in scene.waiting] == [(f"part/talk/k/parts~{LIFE}~2/0", True)]
    assert scene.undo_ok("p").status is Status.COMPENSATED


def test_a_branch_that_ends_beside_the_flow_goes_on_when_its_round_is_over() -> None:
    """The loop has ended, or is in another round; the branch that was not waited for is gone on with all the same."""
    known = step(Contract("do-d", Do, Did, queue="q"), into="did", name="d")(lambda s: Do())
    beside = parallel([leg("a"), leg("b")], known, need="any", rest="finish")
    saga = flow_of(loop(beside, while_=lambda s: s.did is None), leg("z"))
    scene = Scene.start(saga).ok("d@1").ok("a@1")
    assert [command.step for command in scene.waiting] == ["z", "b@1"]
    assert scene.ok("z").status is Status.RUNNING
    assert scene.ok("z").ok("b@1").status is Status.COMPLETED


def test_a_branch_of_an_earlier_round_goes_on_as_well() -> None:
    beside = parallel([leg("a"), leg("b")], leg("d"), need="any", rest="finish")
    saga = flow_of(loop(beside, while_=lambda s: True, rounds_max=3))
    scene = Scene.start(saga).ok("d@1").ok("a@1")
    assert {command.step for command in scene.waiting} == {"b@1", "a@2", "d@2"}


def test_a_step_that_may_have_happened_is_undone_also_when_it_waits_for_its_lock_again() -> None:
    """G5: a cancel finds it waiting; what an earlier attempt did is taken back."""
    scene, document = waiting_again()
    cancelled = decide(scene.definition, document, arrival(Act(id="c", instance=scene.id, act=ActName.CANCEL))).document
    assert cancelled is not None
    assert cancelled.steps["a"].status is StepStatus.FAILED


def test_a_lock_that_does_not_come_again_leaves_a_step_that_may_have_happened() -> None:
    """Neither at the end of its patience nor for a deadlock does it count as refused."""
    scene, document = waiting_again()
    due_ms = document.timers["a:lock"]
    late = TimerFired(id="t", instance=scene.id, timer="a:lock", due_ms=due_ms)
    over = decide(scene.definition, document, Arrival(message=late, now_ms=due_ms)).document
    cycle = (scene.id, "@lock/x", "other/k", "@lock/y")
    locked = decide(scene.definition, document, arrival(Deadlocked(id="d", instance=scene.id, cycle=cycle))).document
    assert over is not None
    assert locked is not None
    for after in (over, locked):
        assert after.steps["a"].status is StepStatus.FAILED
        assert after.steps["a"].undo is not None


def test_who_turns_a_paused_instance_lets_its_clocks_go_on() -> None:
    """The next attempt of a branch's undo comes as much later as the pause lasted."""
    saga = flow_of(parallel([leg("a"), leg("x")], leg("b", undo=False), need="any"), leg("c", undo=False))
    scene = Scene.start(saga).ok("a").ok("b").rejects("x").ok("c").undo_crash("a")
    due_ms = scene.document.timers["a:retry"]
    scene = scene.act(ActName.PAUSE).advance(timedelta(minutes=1))
    assert (scene.document.timers, scene.document.held["a:retry"]) == ({}, due_ms)
    assert scene.step("a") is StepStatus.UNDO_BACKOFF
    parent = Parent(instance="outer/k", place=f"run~{LIFE}", root="outer/k", root_incarnation="k3x9wq2z")
    unwind = Unwind(id="u", instance=scene.id, parent=parent, reason="")
    for turns in (Act(id="c", instance=scene.id, act=ActName.CANCEL), unwind):
        document = decide(scene.definition, scene.document, Arrival(message=turns, now_ms=scene.now_ms)).document
        assert document is not None
        assert (document.paused, document.held, document.steps["a"].status) == (False, {}, StepStatus.UNDO_BACKOFF)
        assert document.timers["a:retry"] == due_ms + 60_000
