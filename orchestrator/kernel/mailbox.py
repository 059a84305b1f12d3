"""A mailbox: events of one kind and key, and who waits for them.

An event is brought to everybody who waits, and kept for its ``keep`` for those who begin to wait later; to one instance
it is brought once. Who waits again after trouble gets what it has not had, else once more what it had last. An event
of the same id changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from ..messages.entities import EventCame, Published, ToMailbox, Unwatch, Watch
from ..messages.helpers import KeptEvent, Mailbox, Watcher
from ..messages.outputs import Action, Answer, DeadLetter, Outcome, Publish, Tell
from .limits import Limits

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
            return _watch(box, message, limits)
        case Unwatch():
            if box is None:
                return Answer(entity=None, outcome=Outcome.IGNORED, reason="nobody waits here")
            left = tuple(w for w in box.watchers if (w.by, w.place) != (message.by, message.place))
            return _changed(box, replace(box, watchers=left), ())
        case _:
            assert_never(message)


def forget(box: Mailbox, now_ms: int) -> Answer:
    """Drops the events whose time is over."""
    return _changed(box, replace(box, kept=tuple(event for event in box.kept if event.until_ms > now_ms)), ())


def _new(message: Published) -> Mailbox:
    return Mailbox(id=message.instance, event=message.event, key=message.key)


def _published(box: Mailbox, message: Published, now_ms: int, limits: Limits, subscribers: Sequence[str]) -> Answer:
    if any(event.id == message.id for event in box.kept):
        return Answer(entity=box, outcome=Outcome.UNCHANGED, reason="an event of this id is here already")
    kept = tuple(event for event in box.kept if event.until_ms > now_ms)
    if len(kept) >= limits.events_max:
        reason = f"{limits.events_max} events of this kind and key are kept already; publish under other keys"
        entity = box if box.revision else None
        return Answer(entity=entity, outcome=Outcome.REFUSED, actions=(DeadLetter(reason=reason),), reason=reason)
    always = [Watcher(by=instance, place="", index=0) for instance in subscribers]
    told = [
        _brought(f"{message.id}/to/{number}", message.event, message.id, message.body, watcher)
        for number, watcher in enumerate((*box.watchers, *always), start=1)
    ]
    event = KeptEvent(
        id=message.id,
        body=message.body,
        until_ms=now_ms + message.keep_ms,
        taken_by=tuple(dict.fromkeys(watcher.by for watcher in box.watchers)),
        traceparent=message.traceparent,
    )
    return _changed(box, replace(box, watchers=(), kept=(*kept, event)), (*told, Publish(event=message)))


def _brought(id: str, event: str, event_id: str, body: object, watcher: Watcher) -> Tell:
    came = EventCame(
        id=id,
        instance=watcher.by,
        place=watcher.place,
        index=watcher.index,
        event=event,
        event_id=event_id,
        body=body,  # type: ignore[arg-type]  # a JSON object as it came
    )
    return Tell(message=came)


def _watch(box: Mailbox | None, message: Watch, limits: Limits) -> Answer:
    _, event, key = message.instance.split("/", 2)
    box = box or Mailbox(id=message.instance, event=event, key=key)
    watcher = Watcher(by=message.by, place=message.place, index=message.index)
    early = next((each for each in box.kept if message.by not in each.taken_by), None)
    if early is None and message.again and box.kept:
        early = box.kept[-1]
    if early is not None:
        taken = replace(early, taken_by=tuple(dict.fromkeys((*early.taken_by, message.by))))
        kept = tuple(taken if each is early else each for each in box.kept)
        return _changed(
            box, replace(box, kept=kept), (_brought(f"{message.id}/event", box.event, early.id, early.body, watcher),)
        )
    if watcher in box.watchers:
        return Answer(entity=box, outcome=Outcome.UNCHANGED, reason="it waits already")
    if len(box.watchers) >= limits.watchers_max:
        reason = f"{limits.watchers_max} wait for this event already; this one will time out"
        return Answer(entity=box, outcome=Outcome.REFUSED, reason=reason)
    return _changed(box, replace(box, watchers=(*box.watchers, watcher)), ())


def _changed(before: Mailbox, after: Mailbox, actions: tuple[Action, ...]) -> Answer:
    """The mailbox one revision on, with its timer; none at all when there is nothing left to remember."""
    if not after.watchers and not after.kept:
        return Answer(entity=None, outcome=Outcome.APPLIED, actions=actions)
    timers = {KEEP: min(event.until_ms for event in after.kept)} if after.kept else {}
    entity = replace(after, revision=before.revision + 1, timers=timers)
    return Answer(entity=entity, outcome=Outcome.APPLIED, actions=actions)
