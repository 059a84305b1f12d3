"""A mailbox: events of one kind and key, and who waits for them.

An event is brought to each instance that waits, to the place of it that has waited longest, and is kept for its
``keep`` for those that begin to wait later. To one instance it is brought once, unless the place that it was brought to
ends without having used it, or begins anew and nothing else has come. An event of the same id changes nothing while it
is kept.

A bound on what is kept is no bound on delivery. When there is no room, events that somebody has taken make it, the
oldest first; only when nobody has taken any, and nobody waits for a new one, is that one denied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from pydantic_core import to_json

from ..messages.entities import KeptEvent, Mailbox, Watcher
from ..messages.entity_messages import EventDelivered, Published, ToMailbox, Unwatch, Watch
from ..messages.outputs import Action, Answer, DeadLetter, Outcome, Publish, Tell, taker_of
from ..messages.reasons import Reason, ReasonCode
from .limits import Limits
from .unusable import told_no

__all__ = ["KEEP", "decide_mailbox", "forget"]

KEEP = "keep"


def decide_mailbox(
    box: Mailbox | None, message: ToMailbox, now_ms: int, limits: Limits, subscribers: Sequence[str] = ()
) -> Answer:
    """What a mailbox does with a message. ``subscribers``: instances that a published event goes to in any case."""
    match message:
        case Published():
            return _published(box or _new(message), message, now_ms, limits, subscribers)
        case Watch():
            return _watch(box, message, now_ms, limits)
        case Unwatch():
            return _unwatch(box, message, now_ms)
        case _:
            assert_never(message)


def forget(box: Mailbox, now_ms: int) -> Answer:
    """Drops the events whose time is over."""
    return _changed(box, replace(box, kept=tuple(event for event in box.kept if event.until_ms > now_ms)), ())


def _new(message: Published) -> Mailbox:
    return Mailbox(id=message.instance, event=message.event, key=message.key)


def _published(box: Mailbox, message: Published, now_ms: int, limits: Limits, subscribers: Sequence[str]) -> Answer:
    if any(event.id == message.id for event in box.kept):
        text = "an event of this id is here already"
        return Answer(entity=box, outcome=Outcome.UNCHANGED, code=ReasonCode.DUPLICATE, reason=text)
    first: dict[str, Watcher] = {}
    for watcher in box.watchers:
        first.setdefault(_owner(watcher), watcher)
    always = [Watcher(by=instance, place="", index=0) for instance in subscribers]
    takers = (*first.values(), *always)
    event = KeptEvent(
        id=message.id,
        body=message.body,
        until_ms=now_ms + message.keep_ms,
        taken_by=takers,
        traceparent=message.traceparent,
    )
    live = tuple(event for event in box.kept if event.until_ms > now_ms)
    kept = _with_room((*live, event), limits)
    if kept is None:
        return _full(box, message, len(live))
    told = [
        _brought(f"{message.id}/to/{number}", message.event, event, watcher)
        for number, watcher in enumerate(takers, start=1)
    ]
    left = tuple(watcher for watcher in box.watchers if first[_owner(watcher)] is not watcher)
    return _changed(box, replace(box, watchers=left, kept=kept), (*told, Publish(event=message)))


def _with_room(kept: tuple[KeptEvent, ...], limits: Limits) -> tuple[KeptEvent, ...] | None:
    """Those events that stay within the limits. None: too many are kept that nobody has taken."""
    sizes = [len(to_json(event)) for event in kept]
    count, size = len(kept), sum(sizes)
    dropped: set[int] = set()
    for number, event in enumerate(kept):
        if count <= limits.events_max and size <= limits.document_bytes:
            break
        if event.taken_by:
            dropped.add(number)
            count, size = count - 1, size - sizes[number]
    if count > limits.events_max or size > limits.document_bytes:
        return None
    return tuple(event for number, event in enumerate(kept) if number not in dropped)


def _full(box: Mailbox, message: Published, count: int) -> Answer:
    """A client's event is denied before anything has happened. An emit of a saga has happened: it is published, but
    not kept.
    """
    reason = f"{count:,} events of this kind and key are kept, and nobody has taken any: there is no room for another"
    actions = (Publish(event=message),) if message.is_emitted else ()
    entity = box if box.revision else None
    letter = DeadLetter(reason=f"{reason}; let somebody wait for them, then redrive this one")
    code = ReasonCode.NO_ROOM
    return Answer(entity=entity, outcome=Outcome.DENIED, actions=(*actions, letter), code=code, reason=reason)


def _brought(id: str, event: str, kept: KeptEvent, watcher: Watcher) -> Tell:
    came = EventDelivered(
        id=id,
        instance=watcher.by,
        place=watcher.place,
        index=watcher.index,
        event=event,
        event_id=kept.id,
        body=kept.body,
        traceparent=kept.traceparent,
    )
    return Tell(message=came)


def _watch(box: Mailbox | None, message: Watch, now_ms: int, limits: Limits) -> Answer:
    _, event, key = message.instance.split("/", 2)
    box = box or Mailbox(id=message.instance, event=event, key=key)
    watcher = Watcher(by=message.by, place=message.place, index=message.index, traceparent=message.traceparent)
    if watcher in box.watchers:
        return Answer(entity=box, outcome=Outcome.UNCHANGED, code=ReasonCode.DUPLICATE, reason="it waits already")
    after, told = _served(replace(box, watchers=(*box.watchers, watcher)), message, now_ms)
    had = [event for event in box.kept if watcher in event.taken_by and event.until_ms > now_ms]
    if had and not told:  # what it had it has not used, or it would not begin anew
        return _changed(box, box, (_brought(f"{message.id}/event/1", box.event, had[-1], watcher),))
    if len(after.watchers) > max(limits.watchers_max, len(box.watchers)):
        text = f"{limits.watchers_max:,} places wait for this event and key already; retry when there are fewer"
        entity, code = box if box.revision else None, ReasonCode.NO_ROOM
        told = told_no(message, Reason(code, text))
        return Answer(entity=entity, outcome=Outcome.DENIED, actions=told, code=code, reason=text)
    return _changed(box, after, told)


def _unwatch(box: Mailbox | None, message: Unwatch, now_ms: int) -> Answer:
    """It waits no more. An event that was brought to it meanwhile it does not use: the next of its places may."""
    gone = Watcher(by=message.by, place=message.place, index=message.index)
    if box is None or not (gone in box.watchers or any(gone in event.taken_by for event in box.kept)):
        return Answer(entity=box, outcome=Outcome.IGNORED, code=ReasonCode.STALE, reason="it does not wait here")
    kept = tuple(
        replace(event, taken_by=tuple(each for each in event.taken_by if each != gone))
        if gone in event.taken_by
        else event
        for event in box.kept
    )
    left = replace(box, watchers=tuple(each for each in box.watchers if each != gone), kept=kept)
    return _changed(box, *_served(left, message, now_ms))


def _owner(at: Watcher | Watch | Unwatch) -> str:
    """The instance, and which life of its key: another life has had nothing yet."""
    return taker_of(at.by, at.place)


def _served(box: Mailbox, cause: Watch | Unwatch, now_ms: int) -> tuple[Mailbox, tuple[Tell, ...]]:
    """Brings an instance what it has not had: the events in order of arrival to its places in order of arrival."""
    live = (event for event in box.kept if event.until_ms > now_ms)
    early = [event for event in live if all(_owner(each) != _owner(cause) for each in event.taken_by)]
    waiting = [watcher for watcher in box.watchers if _owner(watcher) == _owner(cause)]
    given = {event.id: watcher for event, watcher in zip(early, waiting, strict=False)}
    if not given:
        return box, ()
    told = tuple(
        _brought(f"{cause.id}/event/{number}", box.event, event, watcher)
        for number, (event, watcher) in enumerate(zip(early, waiting, strict=False), start=1)
    )
    kept = tuple(
        replace(event, taken_by=(*event.taken_by, given[event.id])) if event.id in given else event
        for event in box.kept
    )
    left = tuple(watcher for watcher in box.watchers if watcher not in given.values())
    return replace(box, watchers=left, kept=kept), told


def _changed(before: Mailbox, after: Mailbox, actions: tuple[Action, ...]) -> Answer:
    """The mailbox one revision on, with its timer; none at all when there is nothing left to remember."""
    if not after.watchers and not after.kept:
        return Answer(entity=None, outcome=Outcome.APPLIED, actions=actions)
    timers = {KEEP: min(event.until_ms for event in after.kept)} if after.kept else {}
    entity = replace(after, revision=before.revision + 1, timers=timers)
    return Answer(entity=entity, outcome=Outcome.APPLIED, actions=actions)
