"""The messages that an instance sends when it ends: to its parent, its locks, its mailboxes and its next run.

A process manager also sends the events that no handler has taken: to itself, as late ones, or to the dead letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ..messages.document import Cause, Deferred, Document, Managed, Status, StepRecord, StepStatus
from ..messages.entity_messages import ChildEnd, ChildEnded, EventDelivered, Release, Unwatch, lock_id
from ..messages.inputs import Message
from ..messages.outputs import DeadLetter, Decision, Outcome, Tell, label_of
from ..messages.values import JsonObject

__all__ = ["KEPT_LOCKS", "end_messages", "left_dead", "left_events", "locks_at", "locks_of", "next_run", "not_begun"]

KEPT_LOCKS = "kept_locks"
"""Field of a place's memo: locks that guard what its earlier rounds may have done."""

_ENDS = {
    Status.COMPLETED: ChildEnd.COMPLETED,
    Status.COMPENSATED: ChildEnd.COMPENSATED,
    Status.ABANDONED: ChildEnd.ABANDONED,
}


def locks_of(steps: Mapping[str, StepRecord]) -> list[str]:
    """The locks that an instance holds or waits for."""
    return sorted({lock for record in steps.values() if record.memo for lock in locks_at(record.memo)})


def locks_at(memo: JsonObject) -> list[str]:
    """The locks that one place holds or waits for: of this round and of earlier ones."""
    kept = memo.get(KEPT_LOCKS)
    return [*([str(memo["lock"])] if "lock" in memo else []), *(map(str, kept) if isinstance(kept, list) else ())]


def next_run(document: Document) -> tuple[Tell, ...]:
    """The first start that waits for the end of this run: it arrives again, and begins the next one."""
    return tuple(Tell(message=start) for start in document.queued[:1])


def not_begun(document: Document | None, message: Message, denied: Decision) -> Decision:
    """A denial as it stands; of the start that was to begin the next run: the ended run stays, and the one after it is
    next.
    """
    if (
        document is None
        or not document.status.is_final
        or not any(each.id == message.id for each in document.queued[:1])
    ):
        return replace(denied, document=document)
    after = replace(document, revision=document.revision + 1, queued=document.queued[1:])
    actions = (*denied.actions, *next_run(after))
    return replace(denied, document=after, outcome=Outcome.APPLIED, actions=actions, changes=())


def left_events(managed: Managed | None, deferred: Sequence[Deferred]) -> tuple[EventDelivered, ...]:
    """The events of a process manager that no handler has taken, in order of arrival, each once; none if its code
    ignores late events.
    """
    if managed is None or managed.late == "ignore":
        return ()
    left = (each for each in (*managed.early, *deferred) if isinstance(each, EventDelivered))
    return tuple({each.event_id: each for each in left if each.event_id not in managed.seen}.values())


def left_dead(id: str, how: str, events: Sequence[EventDelivered]) -> Iterator[DeadLetter]:
    """The dead letters of an instance that an operator has closed: its events must not begin the key again."""
    for event in events:
        text = f"{id} was {how} before it took this event; redrive it to offer it again, or discard it"
        yield DeadLetter(reason=text, message=event)


def end_messages(
    document: Document, steps: Mapping[str, StepRecord], status: Status, state: JsonObject, cause: Cause | None
) -> Iterator[Message]:
    """The messages, still without ids."""
    for lock in locks_of(steps):
        yield Release(id="", instance=lock_id(lock), by=document.id)
    for place, record in steps.items():
        boxes, got = (record.memo or {}).get("boxes"), (record.memo or {}).get("got")
        if record.status is StepStatus.WAITING and isinstance(boxes, list) and isinstance(got, list):
            for index, box in enumerate(boxes):
                if index not in got:
                    label = label_of(place, record.generation, document.incarnation)
                    yield Unwatch(id="", instance=str(box), by=document.id, place=label, index=index)
    parent = document.parent
    if parent is not None:
        yield ChildEnded(
            id="",
            instance=parent.instance,
            place=parent.place,
            index=parent.index,
            child=document.id,
            end=_ENDS[status],
            state=state if status is Status.COMPLETED else None,
            reason=cause.message if cause else "",
        )
