"""A history decided again: the same code finds nothing, other code the first decision that comes out differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from sagaline.orchestrator.kernel import Limits, decide
from sagaline.orchestrator.kernel.recompute import Difference, Recomputed, _put_off, newest_of, recompute
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.messages.entity_messages import EventDelivered
from sagaline.orchestrator.messages.history import HistoryRecord, SentCommand
from sagaline.orchestrator.messages.inputs import (
    Act,
    ActName,
    Arrival,
    Completed,
    Conflict,
    Failed,
    Message,
    Rejected,
    Start,
    TimerFired,
)
from sagaline.orchestrator.messages.outputs import Change, Outcome, SendCommand, incarnation_of
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.sagas import Saga
from sagaline.sagas.nodes import parallel

from .kernel_nodes import Talk, flow_of, leg

START = Start(id="s", definition="talk", key="k", input={"n": 1})
LIFE = incarnation_of(START.id, 0)


def ok(step: str) -> Completed:
    return Completed(id=f"ok-{step}", instance="talk/k", command_id=f"talk/k/{step}~{LIFE}/1", reply={"ok": True})


def lived(
    saga: Saga[Talk],
    *messages: Message,
    parked: Sequence[int] = (),
    by: Mapping[int, Saga[Talk]] = MappingProxyType({}),
    limits: Limits = Limits(),  # noqa: B008  # frozen
) -> list[HistoryRecord]:
    """The history of an instance; at the numbers in ``parked`` the code was not deployed, in ``by`` other code was."""
    document: Document | None = None
    history = []
    for number, message in enumerate(messages):
        code: Any = None if number in parked else by.get(number, saga)
        decision = decide(code, document, Arrival(message=message, now_ms=number * 1_000), limits)
        document = decision.document
        commands = [each for each in decision.actions if isinstance(each, SendCommand)]
        history.append(
            HistoryRecord(
                instance="talk/k",
                revision=document.revision if document else 0,
                at_ms=number * 1_000,
                outcome=decision.outcome,
                status=document.status if document else None,
                message=message,
                code=decision.code,
                reason=decision.reason,
                changes=decision.changes,
                sent=tuple(SentCommand(id=each.id, contract=each.contract, queue=each.queue) for each in commands),
            )
        )
    return history


OLD = flow_of(leg("a"), leg("b"))
HISTORY = lived(OLD, START, ok("a"), ok("b"))


def test_the_same_code_comes_to_the_same_document() -> None:
    found = recompute(OLD, HISTORY)
    assert (found.difference, found.whole) == (None, True)
    assert found.document is not None
    assert (found.document.status, found.document.revision, found.document.updated_ms) == ("completed", 3, 2_000)


def test_other_code_is_told_with_the_first_decision_that_differs() -> None:
    """And the document before it."""
    found = recompute(flow_of(leg("a"), leg("c")), HISTORY)
    assert found.difference == Difference(
        revision=2, what="what was sent", recorded=f"talk/k/b~{LIFE}/1", now=f"talk/k/c~{LIFE}/1"
    )
    assert found.whole
    assert found.document is not None
    assert found.document.revision == 1
    assert str(found.difference) == (
        f"revision 2 differs: what was sent was talk/k/b~{LIFE}/1 and would now be talk/k/c~{LIFE}/1"
    )


@pytest.mark.parametrize(
    ("number", "forged", "what", "recorded", "now"),
    [
        (1, {"outcome": Outcome.IGNORED}, "the outcome", "ignored", "applied"),
        (2, {"status": None}, "the status", "None", "completed"),
        (2, {"sent": (SentCommand(id="x", contract="c", queue="q"),)}, "what was sent", "x", "nothing"),
        (1, {"sent": ()}, "what was sent", "nothing", f"talk/k/b~{LIFE}/1"),
        (0, {"changes": ()}, "what changed", "nothing", "instance running, a sent"),
        (
            2,
            {"changes": (Change(what="b", before="sent", after="failed"),)},
            "what changed",
            "b failed",
            "b done, instance completed",
        ),
    ],
)
def test_whatever_differs_is_told(number: int, forged: Any, what: str, recorded: str, now: str) -> None:
    """Outcome, status, commands and changes, in this order."""
    history = [*HISTORY]
    history[number] = replace(history[number], **forged)
    found = recompute(OLD, history)
    assert found.difference == Difference(revision=history[number].revision, what=what, recorded=recorded, now=now)


def test_a_history_that_is_not_whole_says_nothing() -> None:
    """One that begins later, lost a message, or is of several versions."""
    assert recompute(OLD, HISTORY[1:]) == Recomputed(document=None, difference=None, whole=False)
    lost = [HISTORY[0], replace(HISTORY[1], message=None), HISTORY[2]]
    found = recompute(OLD, lost)
    assert (found.difference, found.whole) == (None, False)
    assert found.document is not None
    assert found.document.revision == 1
    moved = [*HISTORY[:2], replace(HISTORY[2], changes=(Change(what="version", before="1", after="2"),))]
    assert recompute(OLD, moved) == Recomputed(document=None, difference=None, whole=False)
    assert recompute(OLD, []) == Recomputed(document=None, difference=None, whole=True)


def test_a_start_that_was_refused_is_no_missing_beginning() -> None:
    refused = lived(OLD, Start(id="s", definition="talk", key="k", input={"n": "x"}), START)
    found = recompute(OLD, refused)
    assert (found.difference, found.whole) == (None, True)


def test_an_instance_that_used_the_key_before_says_nothing() -> None:
    """It may have been of another version; only the newest is decided again."""
    gone = TimerFired(id="gone", instance="talk/k", timer="~retention", due_ms=0)
    before = lived(flow_of(leg("b")), START, ok("b"))
    removed = replace(before[-1], revision=0, status=None, message=gone, changes=(), sent=())
    found = recompute(OLD, [*before, removed, *HISTORY])
    assert (found.difference, found.whole) == (None, True)
    assert found.document is not None
    assert found.document.revision == 3


def test_a_later_run_of_the_key_is_not_decided_again_with_the_code_of_an_earlier_one() -> None:
    again = replace(START, id="again", conflict=Conflict.QUEUE)
    history = lived(flow_of(leg("b")), START, ok("b"), again, by={2: OLD})
    assert recompute(OLD, history) == Recomputed(document=None, difference=None, whole=False, later=1)
    first = recompute(flow_of(leg("b")), history[:2])
    assert (first.whole, first.later) == (True, 0)


def test_a_late_event_that_was_denied_without_the_code_is_denied_again() -> None:
    event = EventDelivered(id="m", instance="talk/k", place="", index=0, event="paid", event_id="e", body={})
    denied = replace(HISTORY[-1], outcome=Outcome.DENIED, code=ReasonCode.CODE_NOT_DEPLOYED, message=event)
    with_code = replace(denied, code=None)
    assert [_put_off(each) for each in (denied, with_code)] == [True, False]


def test_what_was_put_off_is_put_off_again() -> None:
    """That the code was away says nothing about today's."""
    history = lived(
        OLD, START, ok("a"), Rejected(id="r", instance="talk/k", command_id=f"talk/k/b~{LIFE}/1", reason="", code="")
    )
    parked = lived(OLD, START, ok("a"), parked=[1])
    assert recompute(OLD, parked).difference is None
    assert recompute(OLD, history).difference is None


def test_what_was_let_go_because_it_waits_already_is_let_go_again() -> None:
    """By an instance that stands in attention for another reason, so that its code would hear it."""
    both = flow_of(parallel(leg("a"), leg("b", broken=True), name="both"))
    twice = lived(both, START, ok("a"), replace(ok("a"), id="again"), parked=[1, 2])
    assert [each.outcome for each in twice] == [Outcome.APPLIED, Outcome.DEFERRED, Outcome.IGNORED]
    assert recompute(both, twice).difference is None


def test_what_came_in_a_pause_is_put_off_again() -> None:
    """With the code or without, whichever was there."""
    pause, resume = (Act(id=act.value, instance="talk/k", act=act) for act in (ActName.PAUSE, ActName.RESUME))
    for parked in ([], [2]):
        lives = lived(OLD, START, pause, ok("a"), resume, parked=parked)
        assert [each.outcome.value for each in lives] == ["applied", "applied", "deferred", "applied"]
        assert recompute(OLD, lives).difference is None


def test_an_act_in_a_pause_that_was_refused_for_want_of_code_is_refused_again() -> None:
    pause, cancel = (Act(id=act.value, instance="talk/k", act=act) for act in (ActName.PAUSE, ActName.CANCEL))
    lives = lived(OLD, START, pause, cancel, parked=[2])
    assert [each.outcome.value for each in lives] == ["applied", "applied", "denied"]
    assert recompute(OLD, lives).difference is None


def test_what_waited_for_its_code_is_told_from_what_is_decided_otherwise() -> None:
    """It is deployed again; an act that was refused meanwhile, for a migration or a step on record, says nothing."""
    newer: Any = Saga("talk", Talk, version=2, flow=[leg("a"), leg("b")])
    cancel = Act(id="act", instance="talk/k", act=ActName.CANCEL)
    for code in (newer, flow_of(leg("b"))):
        waited = lived(OLD, START, cancel, by={1: code})
        assert waited[1].outcome is Outcome.DENIED
        assert recompute(OLD, waited).difference is None


def test_the_limits_are_those_of_the_engine() -> None:
    tiny = Limits(command_bytes=1)
    found = recompute(OLD, HISTORY, tiny)
    assert found.difference is not None
    assert (found.difference.revision, found.difference.what) == (1, "the status")
    failed = lived(OLD, START, Failed(id="f", instance="talk/k", command_id=f"talk/k/a~{LIFE}/1", error="boom"))
    assert recompute(OLD, failed).document is not None


STANDS, GONE = Status.COMPLETED, None


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((STANDS, STANDS), slice(0, 2)),
        ((STANDS, GONE), slice(0, 2)),
        ((STANDS, GONE, GONE, GONE), slice(0, 2)),
        ((STANDS, GONE, GONE, STANDS, STANDS, GONE, GONE), slice(3, 6)),
        ((GONE, GONE, STANDS), slice(2, 3)),
        ((GONE, GONE), slice(0, 1)),
    ],
)
def test_requests_about_what_was_removed_hide_no_decision_about_it(
    statuses: tuple[Status | None, ...], expected: slice
) -> None:
    act = Act(id="a", instance="order-checkout/A-1", act=ActName.CANCEL)
    history = [
        HistoryRecord(
            instance=act.instance,
            revision=n,
            at_ms=n,
            outcome=Outcome.APPLIED,
            status=status,
            message=act,
            changes=(),
            sent=(),
        )
        for n, status in enumerate(statuses)
    ]
    assert history[newest_of(history)] == history[expected]
