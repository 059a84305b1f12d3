"""A mailbox: the events of one kind and key, and the places that wait for them.

An event is delivered to each instance that waits, at the place that has waited longest, and is kept for the ``keep``
of its kind for those that begin to wait later. An instance gets an event once, unless the place that got it ends
without using it, or begins again and there is no newer event. An event with the id of a kept one changes nothing.

The limit on kept events does not limit delivery. When the mailbox is full, events that were delivered are dropped,
oldest first. Only if none was delivered, and no place waits for the new one, the new one is denied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from typing import assert_never

from ..messages.entities import KeptEvent, Mailbox, Watcher
from ..messages.entity_messages import EventDelivered, Published, ToMailbox, Unwatch, Watch
from ..messages.outputs import Action, Answer, DeadLetter, Outcome, Publish, Tell, taker_of
from ..messages.reasons import Reason, ReasonCode
from .limits import Limits
from .unusable import told_no

__all__ = ["KEEP", "decide_mailbox", "forget"]

KEEP = "keep"

_ID, _UNTIL_MS, _ENCODED = attrgetter("id"), attrgetter("until_ms"), attrgetter("encoded")
"""With ``map``: every message reads these of all kept events."""


def decide_mailbox(
    box: Mailbox | None, message: ToMailbox, now_ms: int, limits: Limits, subscribers: Sequence[str] = ()
) -> Answer:
    """Decides what a mailbox does with a message. ``subscribers``: instances that get a published event in any case."""
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
    """Drops the expired events."""
    return _changed(box, replace(box, kept=_live(box, now_ms)), ())


def _live(box: Mailbox, now_ms: int) -> tuple[KeptEvent, ...]:
    if box.timers.get(KEEP, now_ms) > now_ms:  # the first one to expire has not
        return box.kept
    return tuple(event for event in box.kept if event.until_ms > now_ms)


def _new(message: Published) -> Mailbox:
    return Mailbox(id=message.instance, event=message.event, key=message.key)


def _published(box: Mailbox, message: Published, now_ms: int, limits: Limits, subscribers: Sequence[str]) -> Answer:
    if message.id in map(_ID, box.kept):
        text = "an event with this id was published already"
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
    live = _live(box, now_ms)
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
    """The events that fit the limits. None: too many of them were never delivered."""
    count, size = len(kept), sum(map(len, map(_ENCODED, kept)))
    left: list[KeptEvent] = []
    for number, event in enumerate(kept):
        if count <= limits.events_max and size <= limits.document_bytes:
            return (*left, *kept[number:])
        if event.taken_by:
            count, size = count - 1, size - len(event.encoded)
        else:
            left.append(event)
    return tuple(left) if count <= limits.events_max and size <= limits.document_bytes else None


def _full(box: Mailbox, message: Published, count: int) -> Answer:
    """Denies a client's event. An event that a saga has emitted is already committed: it is published, but not kept."""
    reason = f"{count:,} events of this kind and key are kept and none was delivered: there is no room for another"
    actions = (Publish(event=message),) if message.is_emitted else ()
    entity = box if box.revision else None
    letter = DeadLetter(reason=f"{reason}; redrive this one after an instance has received some of them")
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
    if had and not told:  # it did not use its event, or it would not wait again
        return _changed(box, box, (_brought(f"{message.id}/event/1", box.event, had[-1], watcher),))
    if len(after.watchers) > max(limits.watchers_max, len(box.watchers)):
        text = f"{limits.watchers_max:,} places already wait for this event and key; retry when there are fewer"
        entity, code = box if box.revision else None, ReasonCode.NO_ROOM
        told = told_no(message, Reason(code, text))
        return Answer(entity=entity, outcome=Outcome.DENIED, actions=told, code=code, reason=text)
    return _changed(box, after, told)


def _unwatch(box: Mailbox | None, message: Unwatch, now_ms: int) -> Answer:
    """Removes a watcher. If an event was delivered to it meanwhile, another place of its instance may get the event."""
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
    """The instance and the life of its key: a new life of a key starts with no deliveries."""
    return taker_of(at.by, at.place)


def _served(box: Mailbox, cause: Watch | Unwatch, now_ms: int) -> tuple[Mailbox, tuple[Tell, ...]]:
    """Delivers kept events that an instance has not had, in order of arrival, to its places in order of arrival."""
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
    """The mailbox one revision later, with its timer; removed if it has neither events nor watchers."""
    if not after.watchers and not after.kept:
        return Answer(entity=None, outcome=Outcome.APPLIED, actions=actions)
    timers = {KEEP: min(map(_UNTIL_MS, after.kept))} if after.kept else {}
    entity = replace(after, revision=before.revision + 1, timers=timers)
    return Answer(entity=entity, outcome=Outcome.APPLIED, actions=actions)
