"""Nodes that run child instances: ``run`` and ``each``. A child is completed and undone as a unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from ...sagas.definition import AnyDefinition
from ...sagas.models import read
from ...sagas.nodes import Child, Each
from ...sagas.policy import to_ms
from ..messages.document import CauseKind, StepStatus
from ..messages.entity_messages import ChildEnd, ChildEnded, Unwind
from ..messages.inputs import Start
from ..messages.keys import instance_wrong
from ..messages.values import JsonObject, Parent, instance_id
from .asking import Nothing, ask
from .context import DecisionContext, as_json
from .failure import fail
from .results import WrongResult, a_model
from .results import parts as parts_of

__all__ = [
    "begin_child",
    "begin_each",
    "begin_held_parts",
    "on_child_ended",
    "on_child_timer",
    "undo_child",
    "unwind_child",
]

_FAILURES_SHOWN = 20


def begin_child(ctx: DecisionContext, place: str, node: Child[Any]) -> None:
    """Starts the child; after an operator's retry a new child, for the next attempt."""
    input = ask(ctx, place, f"the input of run {place!r}", lambda: _state_of(node.child, node.input(ctx.model())))
    before = ctx.steps.get(place)
    if isinstance(input, Nothing) or not _has_id(ctx, place, None, before.attempt + 1 if before else 1):
        return
    attempt = ctx.mark_sent(place, undo=False, fresh=True)
    child = _start(ctx, place, node.child, input, index=None, attempt=attempt)
    ctx.remember(place, {"child": child})
    if node.timeout is not None:
        ctx.timers[f"{place}:deadline"] = ctx.now_ms + to_ms(node.timeout)


def _state_of(child: AnyDefinition, value: object) -> JsonObject:
    return as_json(a_model(value, child.state, f"{child!r} starts with"), child.state)


def _key(ctx: DecisionContext, place: str, index: int | None, attempt: int) -> str:
    part = "" if index is None else f"/{index}"
    again = "" if attempt == 1 else f"~{attempt}"
    return f"{ctx.id}/{ctx.label(place)}{again}{part}"


def _start(
    ctx: DecisionContext, place: str, child: AnyDefinition, input: JsonObject, *, index: int | None, attempt: int
) -> str:
    start = Start(
        id="",
        definition=child.name,
        key=_key(ctx, place, index, attempt),
        input=input,
        version=child.version,
        parent=_parent(ctx, place, index),
    )
    ctx.tell(start)
    return start.instance


def _has_id(ctx: DecisionContext, place: str, index: int | None, attempt: int) -> bool:
    """False, and the place is blocked, when the child's id is invalid: no child could start, and the wait never end."""
    node = ctx.node(place)
    assert isinstance(node, Child | Each)
    id = instance_id((node.child if isinstance(node, Child) else node.part).name, _key(ctx, place, index, attempt))

    def check() -> None:
        if (wrong := instance_wrong(id)) is not None:
            raise WrongResult(f"its child an id that {wrong}: nest less deep, or use shorter names")

    return not isinstance(ask(ctx, place, f"{node.kind} {place!r}", check), Nothing)


def _parent(ctx: DecisionContext, place: str, index: int | None) -> Parent:
    """How a child refers to its parent."""
    above = ctx.document.parent
    root, life = (above.root, above.root_incarnation) if above else (ctx.id, ctx.document.incarnation)
    return Parent(instance=ctx.id, place=ctx.label(place), index=index, root=root, root_incarnation=life)


def begin_each(ctx: DecisionContext, place: str, node: Each[Any]) -> None:
    """Begins the first parts. After an operator's retry it continues where it stopped; failed parts begin again."""
    found = _parts(ctx, place, node)
    if isinstance(found, Nothing):
        return
    parts, count = found
    record = ctx.steps.get(place)
    if record is not None and record.status is StepStatus.BLOCKED and record.attempt > 0:
        ctx.mark(place, StepStatus.SENT)
    else:
        before = (record.memo if record else None) or {"count": count, "next": 0, "completed": 0}
        again = _ints(before.get("failed", []))
        attempt = ctx.mark_sent(place, undo=False, fresh=True)
        attempts = {**_attempts(before), **{str(index): attempt for index in again}}
        fresh: JsonObject = {"under_way": [], "failed": [], "why": [], "closing": False, "attempts": attempts}
        kept = {name: value for name, value in before.items() if name != "not_started"}
        ctx.remember(place, {**kept, **fresh, "todo": list(again)})
    _fill(ctx, place, node, parts)


def begin_held_parts(ctx: DecisionContext, place: str, node: Each[Any]) -> None:
    """Begins, or begins to undo, the parts that were held up while the instance was stopped."""
    if ctx.steps[place].status is StepStatus.UNDO_SENT:
        _undo_more(ctx, place, node)
    else:
        _fill(ctx, place, node, None)


def _parts(ctx: DecisionContext, place: str, node: Each[Any]) -> tuple[Sequence[BaseModel], int] | Nothing:
    """The parts, and how many there are."""
    before = (ctx.steps[place].memo or {}).get("count") if place in ctx.steps else None

    def split() -> tuple[Sequence[BaseModel], int]:
        found = parts_of(node.options.of(ctx.model()))
        count = len(found)
        if before is not None and count != before:
            remedy = "if an edit of the state changed them, edit it back; else return the same parts each time"
            raise WrongResult(f"{count} parts and had given {before} when it began; {remedy}")
        return found, count

    return ask(ctx, place, f"of, the parts of each {place!r},", split)


def _fill(ctx: DecisionContext, place: str, node: Each[Any], parts: Sequence[BaseModel] | None) -> None:
    """Begins parts up to the concurrency, at least half of it at a time; ends the node when no part is in progress.

    While the instance is stopped no part begins.
    """
    memo = ctx.memo(place)
    under_way, todo, first = _ints(memo["under_way"]), _ints(memo["todo"]), _int(memo["next"])
    room = node.options.concurrency - len(under_way)
    more = not memo["closing"] and (todo or first < _int(memo["count"]))
    if more and ctx.stopped:
        return
    if more and (room * 2 > node.options.concurrency or not under_way):
        found = _parts(ctx, place, node) if parts is None else (parts, 0)
        if isinstance(found, Nothing):
            return
        all_parts, _ = found
        indexes = [*todo, *range(first, _int(memo["count"]))][:room]
        inputs = ask(ctx, place, f"a part of each {place!r}", lambda: _inputs(node, all_parts, indexes))
        last = max(indexes, default=0)
        if isinstance(inputs, Nothing) or not _has_id(ctx, place, last, _attempt(ctx, place, last)):
            return
        for index, input in zip(indexes, inputs, strict=True):
            _start(ctx, place, node.part, input, index=index, attempt=_attempt(ctx, place, index))
        under_way = [*under_way, *indexes]
        left = [index for index in todo if index not in indexes]
        begun = len(indexes) - (len(todo) - len(left))
        ctx.remember(place, memo | {"under_way": list(under_way), "todo": list(left), "next": first + begun})
    if not under_way:
        _each_over(ctx, place, node)


def _inputs(node: Each[Any], parts: Sequence[BaseModel], indexes: Sequence[int]) -> list[JsonObject]:
    return [_state_of(node.part, parts[index]) for index in indexes]


def _attempt(ctx: DecisionContext, place: str, index: int) -> int:
    """The number of a part's last attempt; only failed parts have more than one."""
    return _int(_attempts(ctx.memo(place)).get(str(index), 1))


def _attempts(memo: JsonObject) -> JsonObject:
    """The attempts by part, for parts that were begun more than once."""
    attempts = memo.get("attempts")
    return attempts if isinstance(attempts, dict) else {}


def _each_over(ctx: DecisionContext, place: str, node: Each[Any]) -> None:
    memo = ctx.memo(place)
    failed = _ints(memo["failed"])
    if not memo["closing"]:
        ctx.mark(place, StepStatus.DONE)
        ctx.again = True
        return
    reasons = "; ".join(map(str, memo["why"])) if isinstance(memo["why"], list) else ""
    message = f"{len(failed)} of {memo['count']} parts failed, {node.options.tolerate} are tolerated: {reasons}"
    ctx.mark(place, StepStatus.FAILED, error=message)
    fail(ctx, place, CauseKind.CHILD, message)


def on_child_ended(ctx: DecisionContext, message: ChildEnded) -> bool:
    """Applies the end of a child. False: no place waits for it."""
    record = ctx.steps.get(message.place)
    if record is None:
        return False
    node = ctx.node(message.place)
    match record.status:
        case StepStatus.UNDO_SENT:
            _child_undone(ctx, message)
        case StepStatus.SENT if isinstance(node, Each):
            _part_ended(ctx, node, message)
        case StepStatus.SENT if isinstance(node, Child):
            _one_ended(ctx, node, message)
        case StepStatus.BLOCKED if isinstance(node, Each):
            _put_off(ctx, message)
        case _:
            return False
    return True


def _put_off(ctx: DecisionContext, message: ChildEnded) -> None:
    """Defers the message as it came, with the place's outside name."""
    ctx.deferred = (*ctx.deferred, replace(message, place=ctx.label(message.place)))


def _one_ended(ctx: DecisionContext, node: Child[Any], message: ChildEnded) -> None:
    place = message.place
    ctx.clear_timers(place)
    if message.end is ChildEnd.COMPLETED:
        ctx.mark(place, StepStatus.DONE)
        if node.into is not None and not ctx.unwinds(place):  # not needed for an undo, and it may be large
            ctx.put(node.into, message.state)
        return
    timed_out = bool(ctx.memo(place).get("timed_out"))
    nothing_left = message.end in (ChildEnd.COMPENSATED, ChildEnd.NOT_STARTED)
    reason = f"{message.child} {message.end}: {message.reason}"
    ctx.mark(place, StepStatus.REJECTED if nothing_left else StepStatus.FAILED, error=reason)
    fail(ctx, place, CauseKind.TIMEOUT if timed_out else CauseKind.CHILD, reason)


def _part_ended(ctx: DecisionContext, node: Each[Any], message: ChildEnded) -> None:
    place, memo = message.place, ctx.memo(message.place)
    under_way = _ints(memo["under_way"])
    if message.index is None or message.index not in under_way:
        return
    memo["under_way"] = [index for index in under_way if index != message.index]
    if message.end is ChildEnd.COMPLETED:
        if not _gather(ctx, place, node, message):
            _put_off(ctx, message)
            return
        ctx.remember(place, memo | {"completed": _int(memo["completed"]) + 1})
    else:
        failed = [*_ints(memo["failed"]), message.index]
        why = memo["why"] if isinstance(memo["why"], list) else []
        shown = [*why, f"{message.index}: {message.reason}"[:200]][:_FAILURES_SHOWN]
        if message.end is ChildEnd.NOT_STARTED:
            memo["not_started"] = [*_ints(memo.get("not_started", [])), message.index]
        ctx.remember(place, memo | {"failed": list(failed), "why": shown})
        if len(failed) > node.options.tolerate:
            unwind_child(ctx, place, "too many other parts failed")
    _fill(ctx, place, node, None)


def _gather(ctx: DecisionContext, place: str, node: Each[Any], message: ChildEnded) -> bool:
    gather = node.options.gather
    if gather is None or ctx.unwinds(place):
        return True

    def gathered() -> JsonObject:
        part = read(node.part.state, message.state)
        state = a_model(gather(ctx.model(), part), ctx.definition.state, "the state is")
        return as_json(state, ctx.definition.state)

    state = ask(ctx, place, f"gather of each {place!r}", gathered)
    if isinstance(state, Nothing):
        return False
    ctx.replace_json(state)
    return True


def on_child_timer(ctx: DecisionContext, place: str) -> None:
    """The child has not ended in time: it is cancelled, and the place waits for its end."""
    ctx.remember(place, ctx.memo(place) | {"timed_out": True})
    unwind_child(ctx, place, "it did not end in time")


def unwind_child(ctx: DecisionContext, place: str, reason: str) -> None:
    """Asks the children in progress at a place to undo everything. Sent once."""
    memo, node = ctx.memo(place), ctx.node(place)
    if memo.get("closing"):
        return
    ctx.remember(place, memo | {"closing": True})
    if isinstance(node, Each):
        for index in _ints(memo.get("under_way", [])):
            _unwind_one(ctx, place, reason, index, _attempt(ctx, place, index))
    elif isinstance(node, Child):
        _unwind_one(ctx, place, reason, attempt=ctx.steps[place].attempt)


def _unwind_one(ctx: DecisionContext, place: str, reason: str, index: int | None = None, attempt: int = 1) -> None:
    node = ctx.node(place)
    assert isinstance(node, Child | Each)
    child = node.child if isinstance(node, Child) else node.part
    instance = instance_id(child.name, _key(ctx, place, index, attempt))
    ctx.tell(Unwind(id="", instance=instance, parent=_parent(ctx, place, index), reason=reason))


def undo_child(ctx: DecisionContext, place: str) -> None:
    """Undoes the children of a place: the child of a run; the parts of an each in reverse order, several at a time."""
    ctx.mark_sent(place, undo=True, fresh=True)
    memo, node = ctx.memo(place), ctx.node(place)
    reason = ctx.cause.message if ctx.cause else "its parent is compensating"
    if isinstance(node, Child):
        _unwind_one(ctx, place, reason, attempt=ctx.steps[place].attempt)
        return
    assert isinstance(node, Each)
    left = memo.get("undo_left")
    memo["undo_left"] = _int(memo["next"]) if left is None else left
    todo = _ints(memo.get("undo_under_way", []))
    ctx.remember(place, memo | {"undo_under_way": []})
    for index in todo:
        _undo_part(ctx, place, index, reason)
    _undo_more(ctx, place, node)


def _undo_part(ctx: DecisionContext, place: str, index: int, reason: str) -> None:
    memo = ctx.memo(place)
    ctx.remember(place, memo | {"undo_under_way": [*_ints(memo["undo_under_way"]), index]})
    _unwind_one(ctx, place, reason, index, _attempt(ctx, place, index))


def _undo_more(ctx: DecisionContext, place: str, node: Each[Any]) -> None:
    reason = ctx.cause.message if ctx.cause else "its parent is compensating"
    while True:
        memo = ctx.memo(place)
        left, under_way = _int(memo["undo_left"]), _ints(memo["undo_under_way"])
        if left == 0 or ctx.stopped or len(under_way) >= node.options.concurrency:
            break
        ctx.remember(place, memo | {"undo_left": left - 1})
        if left - 1 not in _ints(memo.get("not_started", [])):  # those never began
            _undo_part(ctx, place, left - 1, reason)
    if left == 0 and not under_way:
        ctx.mark(place, StepStatus.UNDONE)


def _child_undone(ctx: DecisionContext, message: ChildEnded) -> None:
    place, node = message.place, ctx.node(message.place)
    if message.end not in (ChildEnd.COMPENSATED, ChildEnd.NOT_STARTED):
        reason = f"{message.child} could not be undone: {message.end}: {message.reason}"
        ctx.mark(place, StepStatus.UNDO_FAILED, error=reason)
        ctx.stop(CauseKind.UNDO, f"{reason}; resolve it there, then retry", step=place)
        return
    if isinstance(node, Child):
        ctx.mark(place, StepStatus.UNDONE)
        return
    assert isinstance(node, Each)
    memo = ctx.memo(place)
    under_way = [index for index in _ints(memo["undo_under_way"]) if index != message.index]
    ctx.remember(place, memo | {"undo_under_way": list(under_way)})
    _undo_more(ctx, place, node)


def _ints(value: object) -> list[int]:
    return [each for each in value if isinstance(each, int)] if isinstance(value, list) else []


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
