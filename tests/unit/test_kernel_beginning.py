"""A start, or an event for a process manager, whose code is not here: it waits visibly and begins when the code is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, Field, JsonValue
from pydantic_core import from_json

from sagaline.orchestrator.codec.documents import decode_document, encode_document
from sagaline.orchestrator.kernel import Registry, decide
from sagaline.orchestrator.kernel.recompute import recompute
from sagaline.orchestrator.messages.document import CauseKind, Document, Status
from sagaline.orchestrator.messages.entity_messages import ChildEnd, ChildEnded, EventDelivered, Unwind
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival, Completed, Message, Start
from sagaline.orchestrator.messages.outputs import Decision, Outcome, SendCommand, Tell
from sagaline.orchestrator.messages.values import Parent
from sagaline.sagas import Contract, Event, Saga, step
from sagaline.sagas.process_manager import Next, ProcessManager

NOW_MS = 1_000_000


class Do(BaseModel):
    n: int


class Order(BaseModel):
    """Version 2 of the state: its amount is new, and has another name outside."""

    n: int = 7
    amount: int = Field(alias="Amount")


class OldOrder(BaseModel):
    n: int


@step(Contract("do-it", Do, Do, queue="q"), name="a")
def new_step(s: Order) -> Do:
    return Do(n=s.amount)


@step(Contract("do-it", Do, Do, queue="q"), name="a")
def old_step(s: OldOrder) -> Do:
    return Do(n=s.n)


OLD: Any = Saga("shop", OldOrder, version=1, flow=[old_step])
NEW: Any = Saga("shop", Order, version=2, flow=[new_step])
MIGRATING: Any = Saga("shop", Order, version=2, flow=[new_step])


@MIGRATING.migrate(from_version=1)  # type: ignore[untyped-decorator]  # the saga is Any here
def from_1(before: dict[str, JsonValue]) -> Order:
    return Order.model_validate({"n": before["n"], "Amount": 100})


paid = Event("paid", Do, keep=timedelta(hours=1))
pm: Any = ProcessManager("billing", Order)


@pm.starts_on(paid, key=lambda e: f"b-{e.n}")
def begins(e: Do) -> Next[Order]:
    return Next("open", Order.model_validate({"Amount": e.n}), timers={"late": timedelta(days=1)})


@pm.on_timer("late", when="open")
def late(s: Order) -> Next[Order]:
    return Next.complete()


def start(version: int | None = 2, **input: JsonValue) -> Start:
    return Start(id="s1", definition="shop", key="k", input=input or {"Amount": 5}, version=version)


def said(registry: Registry, document: Document | None, message: Message) -> Decision:
    """As the engine asks."""
    if document is not None:
        document = decode_document(encode_document(document))
        definition = registry.deciding(document)
    elif isinstance(message, Start):
        definition = registry.starting(message.definition, message.version)
    else:
        definition = registry.find(message.instance.partition("/")[0])
    return decide(definition, document, Arrival(message=message, now_ms=NOW_MS))


def act(name: ActName = ActName.RETRY, id: str = "r") -> Act:
    return Act(id=id, instance="shop/k", act=name)


def standing(decision: Decision) -> Document:
    assert decision.document is not None
    return decision.document


def waiting(message: Start | None = None) -> Document:
    return standing(said(Registry([OLD]), None, message or start()))


def commands(decision: Decision) -> list[dict[str, JsonValue]]:
    return [from_json(action.payload) for action in decision.actions if isinstance(action, SendCommand)]


@pytest.mark.parametrize("version", [2, 3, None])
def test_it_waits_with_the_reason_and_nothing_is_sent(version: int | None) -> None:
    registry = Registry([OLD]) if version else Registry([])
    decision = said(registry, None, start(version))
    document = standing(decision)
    named = f" version {version}" if version else ""
    assert (decision.outcome, decision.actions) == (Outcome.DEFERRED, ())
    assert decision.reason == f"'shop'{named} is not deployed here; deploy it"
    assert (document.status, document.unbegun, document.state) == (Status.ATTENTION, True, {"Amount": 5})
    assert document.attention is not None
    assert (document.attention.kind, document.attention.message) == (CauseKind.VERSION, decision.reason)


@pytest.mark.parametrize("version", [2, None])
def test_it_begins_with_its_input_checked_when_the_code_is_there(version: int | None) -> None:
    """As if it had come now: defaults are filled in, and the state stands by its fields' names."""
    document = waiting(start(version)) if version else standing(said(Registry([]), None, start(version)))
    begun = said(Registry([OLD, NEW]), document, act())
    fresh = standing(said(Registry([NEW]), None, start(version)))
    assert (begun.outcome, commands(begun)) == (Outcome.APPLIED, [{"n": 5}])
    assert replace(standing(begun), revision=fresh.revision, requests=()) == fresh


def test_a_repeated_start_keeps_its_rules_while_it_waits_and_after() -> None:
    document = waiting()
    for registry in (Registry([OLD]), Registry([NEW])):
        same, other = said(registry, document, start()), said(registry, document, start(Amount=6))
        assert (same.outcome, same.document) == (Outcome.UNCHANGED, document)
        assert (other.outcome, other.reason) == (Outcome.DENIED, "started already with another input")
    begun = standing(said(Registry([NEW]), document, act()))
    assert said(Registry([NEW]), begun, start()).outcome is Outcome.UNCHANGED


def test_an_operator_can_abandon_it_with_and_without_the_code() -> None:
    for registry in (Registry([OLD]), Registry([NEW])):
        closed = said(registry, waiting(), act(ActName.ABANDON))
        assert (closed.outcome, standing(closed).status) == (Outcome.APPLIED, Status.ABANDONED)
        assert standing(said(registry, standing(closed), act(ActName.RETRY, "again"))).status is Status.ABANDONED
        assert said(registry, standing(closed), start()).outcome is Outcome.UNCHANGED


@pytest.mark.parametrize("name", [each for each in ActName if each is not ActName.ABANDON])
def test_every_other_act_without_the_code_says_what_is_missing(name: ActName) -> None:
    decision = said(Registry([OLD]), waiting(), act(name))
    assert decision.outcome is (Outcome.UNCHANGED if name is ActName.RESUME else Outcome.DENIED)
    assert decision.document == waiting()


def test_a_cancel_with_the_code_ends_it_and_nothing_was_sent() -> None:
    closed = said(Registry([NEW]), waiting(), act(ActName.CANCEL))
    assert (standing(closed).status, commands(closed)) == (Status.COMPENSATED, [])


@pytest.mark.parametrize("input", [{"amount": "many"}, {"Amount": "many"}, {"n": 1}])
def test_an_input_that_the_code_does_not_take_is_shown_and_never_lost(input: dict[str, JsonValue]) -> None:
    document = waiting(replace(start(), input=input))
    first = said(Registry([NEW]), document, act(id="deployed/1"))
    shown = standing(first)
    assert (first.outcome, shown.revision, shown.state) == (Outcome.DEFERRED, 2, input)
    assert shown.attention is not None
    assert shown.attention.message.lower().startswith("the input is not valid: amount: ")
    again = said(Registry([NEW]), shown, act(id="deployed/2"))
    assert (again.outcome, again.code, again.reason) == (Outcome.DEFERRED, "code-differs", shown.attention.message)
    paused = said(Registry([NEW]), shown, act(ActName.PAUSE))
    assert (paused.outcome, paused.code, paused.document) == (Outcome.DENIED, "code-differs", shown)
    stray = said(Registry([NEW]), shown, Completed(id="r", instance=shown.id, command_id="c", reply={}))
    assert (stray.outcome, stray.code, stray.document) == (Outcome.IGNORED, "stale", shown)
    assert standing(said(Registry([NEW]), shown, act(ActName.ABANDON))).status is Status.ABANDONED


def test_code_that_takes_it_after_all_begins_it_and_its_history_is_the_same_again() -> None:
    document = waiting(start(n=1))
    lenient: Any = Saga("shop", OldOrder, version=2, flow=[old_step])
    messages = [(Registry([OLD]), start(n=1)), (Registry([NEW]), act(id="1")), (Registry([lenient]), act(id="2"))]
    history, standing_now = [], None
    for registry, message in messages:
        decision = said(registry, standing_now, message)
        standing_now = standing(decision)
        sent = tuple(each for each in decision.actions if isinstance(each, SendCommand))
        history.append(
            HistoryRecord(
                instance=document.id,
                revision=standing_now.revision,
                at_ms=NOW_MS,
                outcome=decision.outcome,
                status=standing_now.status,
                message=message,
                changes=decision.changes,
                sent=sent,  # type: ignore[arg-type]  # it has the fields that are compared
                code=decision.code,
                reason=decision.reason,
            )
        )
    assert standing_now is not None
    assert standing_now.status is Status.RUNNING
    found = recompute(lenient, history)
    assert (found.whole, found.difference) == (True, None)


def test_an_older_version_begins_by_the_one_that_migrates_from_it() -> None:
    """The engine is newer than whoever sent the start, and the old version is not deployed any more."""
    begun = said(Registry([MIGRATING]), None, start(1, n=4))
    assert (begun.outcome, commands(begun)) == (Outcome.APPLIED, [{"n": 100}])
    assert standing(begun).version == 2
    assert [(each.what, each.before, each.after) for each in begun.changes][:2] == [
        ("instance", None, "running"),
        ("version", "1", "2"),
    ]
    waited = standing(said(Registry([]), None, start(1, n=4)))
    later = said(Registry([MIGRATING]), waited, act())
    assert (commands(later), standing(later).state) == ([{"n": 100}], standing(begun).state)


def test_an_older_version_whose_migration_raises_waits_with_the_reason() -> None:
    decision = said(Registry([MIGRATING]), None, start(1, m=4))
    assert (decision.outcome, standing(decision).unbegun) == (Outcome.DEFERRED, True)
    assert "the migration of 'shop' from version 1 to 2 raised KeyError" in decision.reason
    assert standing(decision).version == 1
    begun = said(Registry([OLD, MIGRATING]), standing(decision), act())
    assert commands(begun) == [], "by version 1 it lacks its field n"
    assert said(Registry([OLD, MIGRATING]), None, start(1, n=4)).outcome is Outcome.APPLIED


def test_a_start_of_what_turns_out_to_be_a_process_manager_says_so() -> None:
    document = standing(said(Registry([]), None, Start(id="s", definition="billing", key="k", input={})))
    decision = said(Registry([pm]), document, Act(id="r", instance="billing/k", act=ActName.RETRY))
    assert (decision.outcome, standing(decision).status) == (Outcome.DEFERRED, Status.ATTENTION)
    assert "started by events" in decision.reason


def test_a_waiting_child_answers_its_parent_that_does_not_want_it_any_more() -> None:
    at = Parent(instance="above/k", place="sub", root="above/k", root_incarnation="k3x9wq2z")
    document = standing(said(Registry([OLD]), None, replace(start(), parent=at)))
    unwind = Unwind(id="u", instance="shop/k", parent=at, reason="cancelled")
    kept = said(Registry([OLD]), document, unwind)
    assert (kept.outcome, standing(kept).deferred) == (Outcome.DEFERRED, (unwind,))
    for decision in (said(Registry([NEW]), document, unwind), said(Registry([NEW]), standing(kept), act())):
        told = [each.message for each in decision.actions if isinstance(each, Tell)]
        assert [each.end for each in told if isinstance(each, ChildEnded)] == [ChildEnd.COMPENSATED]
        assert commands(decision) == []


def came(number: int = 3) -> EventDelivered:
    return EventDelivered(
        id=f"e{number}",
        instance="billing/b-3",
        place="",
        index=0,
        event="paid",
        event_id=f"e{number}",
        body={"n": number},
    )


def test_an_event_for_a_process_manager_that_is_not_here_waits_and_starts_it() -> None:
    decision = said(Registry([]), None, came())
    document = standing(decision)
    assert (decision.outcome, document.status, document.unbegun) == (Outcome.DEFERRED, Status.ATTENTION, True)
    more = standing(said(Registry([]), document, came(4)))
    begun = standing(said(Registry([pm]), more, Act(id="r", instance="billing/b-3", act=ActName.RETRY)))
    fresh = standing(said(Registry([pm]), None, came()))
    assert begun.managed is not None
    assert fresh.managed is not None
    assert (begun.status, begun.state, begun.timers) == (fresh.status, fresh.state, fresh.timers)
    assert begun.managed.seen == ("e3", "e4")
    assert begun.incarnation == fresh.incarnation != ""


def test_an_event_for_a_node_of_an_instance_that_is_gone_makes_none() -> None:
    """It names its place; a process manager's has none."""
    decision = said(Registry([]), None, replace(came(), place="wait"))
    assert (decision.document, decision.outcome) == (None, Outcome.IGNORED)
