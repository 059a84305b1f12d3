"""Nodes that wait for something other than a worker: ``sleep``, ``wait``, ``ask``, and ``route`` for its table."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from ...sagas.models import mistakes, read_foreign
from ...sagas.nodes import Ask, Expected, Route, Sleep, Wait
from ...sagas.policy import to_ms
from ..messages.document import CauseKind, StepStatus
from ..messages.entity_messages import Denied, EventDelivered, Lookup, Routed, Unwatch, Watch, mailbox_id, table_id
from ..messages.reasons import ReasonCode
from ..messages.values import JsonObject
from .asking import Fault, Nothing, ask, block
from .context import DecisionContext, as_json, said
from .failure import fail
from .results import a_key, a_span, a_text, names
from .results import facts as facts_of

__all__ = [
    "begin_ask",
    "begin_route",
    "begin_sleep",
    "begin_wait",
    "drop_wait",
    "on_deadline",
    "on_denied",
    "on_escalation",
    "on_event",
    "on_routed",
    "on_slept",
]


def begin_sleep(ctx: DecisionContext, place: str, node: Sleep[Any]) -> None:
    """Sets the timer."""
    duration = node.duration
    span: timedelta | Nothing
    if isinstance(duration, timedelta):
        span = duration
    else:
        span = ask(ctx, place, f"sleep {place!r}", lambda: a_span(duration(ctx.model())))
    if isinstance(span, timedelta):
        ctx.mark(place, StepStatus.WAITING)
        ctx.timers[f"{place}:due"] = ctx.now_ms + to_ms(span)


def on_slept(ctx: DecisionContext, place: str) -> None:
    """Ends a sleep."""
    ctx.mark(place, StepStatus.DONE)


def begin_wait(ctx: DecisionContext, place: str, node: Wait[Any]) -> None:
    """Registers with the mailbox of every expected event."""
    keys = ask(ctx, place, f"a key of wait {place!r}", lambda: [a_key(each.key(ctx.model())) for each in node.expected])
    if isinstance(keys, Nothing):
        return
    boxes = [mailbox_id(each.event.name, key) for each, key in zip(node.expected, keys, strict=True)]
    ctx.mark(place, StepStatus.WAITING, memo={"boxes": list(boxes), "expects": list(node.expects), "got": []})
    ctx.timers[f"{place}:deadline"] = ctx.now_ms + to_ms(node.options.timeout)
    for index, box in enumerate(boxes):
        ctx.tell(Watch(id="", instance=box, by=ctx.id, place=ctx.label(place), index=index))


def on_event(ctx: DecisionContext, message: EventDelivered) -> bool:
    """Applies an event. False: the place no longer waits for it."""
    record = ctx.steps.get(message.place)
    if record is None or record.status is not StepStatus.WAITING:
        return False
    node, memo = ctx.node(message.place), ctx.memo(message.place)
    got = memo.get("got")
    if not isinstance(node, Wait) or not isinstance(got, list):
        return False
    found = _meant(node, memo, message)
    if found is None:
        return False
    index, expected = found
    if expected.into is not None:
        try:
            body = read_foreign(expected.event.model, message.body)
            kept = as_json(body, expected.event.model)
        except Exception as error:  # the author's validators may raise anything
            drop_wait(ctx, message.place, used=[index])  # else the mailbox would deliver it again
            wrong = mistakes(error, "body") if isinstance(error, ValidationError) else said(error)
            why = f"event {message.event_id!r} does not fit {expected.event.model.__name__}: {wrong}"
            block(
                ctx, message.place, CauseKind.CODE, Fault(f"{why}; publish a valid one, then retry", ReasonCode.INVALID)
            )
            return True
        ctx.put(expected.into, kept)
    got = [*got, index]
    ctx.remember(message.place, memo | {"got": got})
    if node.options.need == "any" or len(got) == len(node.expects):
        drop_wait(ctx, message.place, used=got)
        ctx.mark(message.place, StepStatus.DONE)
    return True


def _meant(node: Wait[Any], memo: JsonObject, message: EventDelivered) -> tuple[int, Expected[Any]] | None:
    """Which of the expected events this is: its index in the memo, and its declaration in the code.

    None: it is not expected, or was received already. The code may list the events in another order than the memo;
    and when a history is recomputed by such code, the memo may have another order than the message.
    """
    known, got = memo.get("expects"), memo.get("got")
    names = [str(name) for name in known] if isinstance(known, list) else list(node.expects)
    by_name = dict(zip(node.expects, node.expected, strict=True))
    found = [
        (index, by_name[name])
        for index, name in enumerate(names)
        if name in by_name and by_name[name].event.name == message.event
    ]
    own = [each for each in found if each[0] == message.index] or found
    return next((each for each in own if isinstance(got, list) and each[0] not in got), None)


def drop_wait(ctx: DecisionContext, place: str, used: Collection[object] = ()) -> None:
    """Stops waiting: clears the timers and unregisters from the mailboxes, except for the events in ``used``."""
    ctx.clear_timers(place)
    boxes = ctx.memo(place).get("boxes")
    for index, box in enumerate(boxes if isinstance(boxes, list) else ()):
        if index not in used:
            ctx.tell(Unwatch(id="", instance=str(box), by=ctx.id, place=ctx.label(place), index=index))


def on_denied(ctx: DecisionContext, message: Denied) -> bool:
    """A mailbox has no room for another watcher: blocks the place. False: the place no longer waits."""
    record = ctx.steps.get(message.place)
    if record is None or record.status is not StepStatus.WAITING:
        return False
    drop_wait(ctx, message.place)
    fault = Fault(f"wait {message.place!r} was not registered: {message.reason}", message.code)
    block(ctx, message.place, CauseKind.LIMIT, fault)
    return True


def begin_ask(ctx: DecisionContext, place: str, node: Ask[Any]) -> None:
    """Records the question, so that those who may answer can list it."""
    options = node.options
    question = ask(ctx, place, f"the question of ask {place!r}", lambda: a_text(options.question(ctx.model())))
    if isinstance(question, Nothing):
        return
    who = ask(ctx, place, f"who of ask {place!r}", lambda: names(options.who(ctx.model())))
    if isinstance(who, Nothing):
        return
    due_ms = ctx.now_ms + to_ms(options.due)
    memo: JsonObject = {"question": ctx.shortened(question), "who": list(who), "form": options.form.__name__}
    ctx.mark(place, StepStatus.WAITING, memo=memo | {"asked_ms": ctx.now_ms, "due_ms": due_ms, "claimed_by": None})
    ctx.timers[f"{place}:deadline"] = due_ms
    if options.escalation is not None:
        ctx.timers[f"{place}:escalate"] = ctx.now_ms + to_ms(options.escalation.after)


def on_escalation(ctx: DecisionContext, place: str) -> None:
    """Escalates an unanswered question: more people may answer it, and a claim is removed."""
    node, memo = ctx.node(place), ctx.memo(place)
    if isinstance(node, Ask) and node.options.escalation is not None:
        who = memo["who"] if isinstance(memo["who"], list) else []
        more = [name for name in node.options.escalation.to if name not in who]
        ctx.remember(place, memo | {"who": [*who, *more], "escalated": True, "claimed_by": None})


def on_deadline(ctx: DecisionContext, place: str) -> None:
    """The deadline of a wait or a question has passed."""
    node = ctx.node(place)
    if isinstance(node, Wait) and node.options.on_timeout == "go_on":
        got = ctx.memo(place)["got"]
        drop_wait(ctx, place, used=got if isinstance(got, list) else ())
        ctx.mark(place, StepStatus.DONE, memo=ctx.memo(place) | {"timed_out": True})
        return
    drop_wait(ctx, place)
    what = "no answer" if isinstance(node, Ask) else "the events did not come"
    span = node.options.due if isinstance(node, Ask) else node.options.timeout if isinstance(node, Wait) else None
    message = f"{what} within {to_ms(span) / 1000 if span else 0:g} s"
    ctx.mark(place, StepStatus.FAILED, error=message)
    fail(ctx, place, CauseKind.TIMEOUT, message)


def begin_route(ctx: DecisionContext, place: str, node: Route[Any]) -> None:
    """Asks the table for the branch."""
    facts = ask(ctx, place, f"the facts of route {place!r}", lambda: facts_of(node.by(ctx.model())))
    if isinstance(facts, Nothing):
        return
    ctx.mark(place, StepStatus.WAITING, memo={"facts": facts})
    ctx.tell(Lookup(id="", instance=table_id(node.table), by=ctx.id, place=ctx.label(place), facts=facts))


def on_routed(ctx: DecisionContext, message: Routed) -> bool:
    """Applies the table's answer. False: the place no longer waits for it."""
    record = ctx.steps.get(message.place)
    if record is None or record.status is not StepStatus.WAITING:
        return False
    node = ctx.node(message.place)
    assert isinstance(node, Route)
    if message.code is not None:
        why = f"table {node.table!r} cannot answer: {message.reason}"
        block(ctx, message.place, CauseKind.ROUTE, Fault(f"{why}; fix the table, then retry", message.code))
        return True
    to = message.to if message.to is not None else node.otherwise
    labels = [branch.label for branch in node.branches]
    if to is not None and to not in labels:
        why = f"table {node.table!r} version {message.version} gives {to!r}; there are only {', '.join(labels)}"
        block(ctx, message.place, CauseKind.ROUTE, Fault(f"{why}; fix the table, then retry"))
        return True
    memo = ctx.memo(message.place) | {"branch": to, "version": message.version}
    ctx.mark(message.place, StepStatus.DONE, memo=memo)
    return True
