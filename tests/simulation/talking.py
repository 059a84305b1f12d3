"""The laws of messages between entities: locks, mailboxes and tables, followed message by message.

Each law follows the history of an entity with its own small model, and checks that every required message was sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from sagaline.orchestrator.kernel.places import name_of
from sagaline.orchestrator.messages.entity_messages import (
    Acquire,
    EventDelivered,
    Published,
    Release,
    Routed,
    Rule,
    SetRules,
    Unwatch,
    Watch,
)
from sagaline.orchestrator.messages.inputs import TimerFired
from sagaline.orchestrator.messages.outputs import Outcome, place_of_label, taker_of
from sagaline.orchestrator.messages.values import JsonObject

from .witness import Decided, Evidence

__all__ = ["locked", "mailed", "routed"]

_Who: TypeAlias = tuple[str, str, int]
"""A waiter: the instance, its place, and the number of the event at that place."""


def locked(found: Evidence) -> Iterator[str]:
    """A lock has one holder, an instance with all its places; others get it in order of arrival."""
    told = set(found.told)
    for id, history in found.history.items():
        if id.startswith("@lock/"):
            yield from _follow_lock(id, history, told)


def _follow_lock(id: str, history: Sequence[Decided], told: set[str]) -> Iterator[str]:
    holder: str | None = None
    waiting: list[tuple[str, str]] = []
    for message in (each.record.message for each in history if each.record.outcome is Outcome.APPLIED):
        if isinstance(message, Acquire):
            wants = message.by, message.place
            if f"{message.id}/granted/{message.by}/{message.place}" in told:
                if holder not in (None, message.by):
                    yield f"{id} is granted to {message.by}, and {holder} holds it"
                holder = message.by
            elif holder in (None, message.by):
                yield f"{id} is free for {message.by} and not granted"
            elif wants not in waiting:
                waiting.append(wants)
        elif isinstance(message, Release):
            waiting = [wants for wants in waiting if wants[0] != message.by]
            if holder != message.by:
                continue
            holder = None
            granted = [wants for wants in waiting if f"{message.id}/granted/{wants[0]}/{wants[1]}" in told]
            if granted != [wants for wants in waiting if wants[0] == waiting[0][0]]:
                yield f"{id} is free, waited for by {waiting}, and granted to {granted}"
            if granted:
                holder = granted[0][0]
                waiting = [wants for wants in waiting if wants not in granted]


def mailed(found: Evidence) -> Iterator[str]:
    """An event reaches every instance that waits for it within its ``keep``: only the place that has waited longest,
    unless that one ends without using it.
    """
    came: Counter[tuple[_Who, str]] = Counter()
    for instance, history in found.history.items():
        for message in (decided.record.message for decided in history):
            if isinstance(message, EventDelivered):
                came[(instance, message.place, message.index), message.event_id] += 1
    due: Counter[tuple[_Who, str]] = Counter()
    for id, history in found.history.items():
        if id.startswith("@mailbox/"):
            due.update(_follow_box(history))
    for who, event in due.keys() | came.keys():
        managed = who[1] == ""  # a process manager's: it gets every event, and keeps it itself
        if came[who, event] > due[who, event] and not managed:
            yield f"{who} is brought event {event} {came[who, event]} times, and should be {due[who, event]} times"
        if came[who, event] < due[who, event] and who[0] in found.documents:
            yield f"{who} waits for event {event} and never gets it"
    for document in found.documents.values():
        seen = document.managed.seen if document.managed else ()
        if len(set(seen)) < len(seen):
            yield f"{document.id} has taken an event twice: {', '.join(seen)}"


def _follow_box(history: Sequence[Decided]) -> Iterator[tuple[_Who, str]]:
    """The required deliveries of a mailbox: the first event that an instance has not used, to the longest waiter."""
    until: dict[str, int] = {}
    taken: dict[tuple[str, str], _Who] = {}
    watching: list[_Who] = []
    for decided in history:
        message, now_ms = decided.record.message, decided.record.at_ms
        if decided.record.outcome is not Outcome.APPLIED:
            continue
        if isinstance(
            message, Published | TimerFired
        ):  # expired events are removed, by whichever clock they are expired
            until = {event: until_ms for event, until_ms in until.items() if until_ms > now_ms}
        if isinstance(message, Published):
            until.pop(message.id, None)
            until[message.id] = now_ms + message.keep_ms
            taken = {which: who for which, who in taken.items() if which[1] != message.id}
        elif isinstance(message, Watch):
            who = message.by, message.place, message.index
            watching.append(who)
            had = [event for event in until if taken.get((taker_of(*who[:2]), event)) == who and until[event] > now_ms]
            fresh = [event for event in until if (taker_of(*who[:2]), event) not in taken and until[event] > now_ms]
            if had and not fresh:  # it starts again: the events delivered there before were not used
                watching.remove(who)
                yield who, had[-1]
        elif isinstance(message, Unwatch):
            gone = message.by, message.place, message.index
            watching = [who for who in watching if who != gone]
            taken = {which: who for which, who in taken.items() if who != gone}
        for who in list(watching):
            live = (
                event
                for event, until_ms in until.items()
                if until_ms > now_ms and (taker_of(*who[:2]), event) not in taken
            )
            event = next(live, None)
            if event is not None:
                taken[taker_of(*who[:2]), event] = who
                watching.remove(who)
                yield who, event


def routed(found: Evidence) -> Iterator[str]:
    """An instance takes the branch that the table returned, by the rules of the version that it names."""
    for instance, history in found.history.items():
        document = found.documents.get(instance)
        if document is None:
            continue
        for message in _last_routed(history):
            place = place_of_label(message.place)
            record = document.steps.get(place)
            memo = (record.memo if record else None) or {}
            facts, version = memo.get("facts"), memo.get("version")
            if version != message.version or not isinstance(facts, dict):
                continue
            rules = _rules(found, instance, place, message.version)
            wanted = next((rule.to for rule in rules if _holds(rule.when, facts)), None)
            if message.to != wanted or (wanted is not None and memo.get("branch") not in (None, wanted)):
                went = f"{message.to!r}, went to {memo.get('branch')!r}"
                yield f"{instance}: {message.place} was told {went}, and version {message.version} says {wanted!r}"


def _last_routed(history: Sequence[Decided]) -> Sequence[Routed]:
    """The last applied answer for each place: a later question may have other facts."""
    last: dict[str, Routed] = {}
    for decided in history:
        if isinstance(decided.record.message, Routed) and decided.record.outcome is Outcome.APPLIED:
            last[place_of_label(decided.record.message.place)] = decided.record.message
    return list(last.values())


def _rules(found: Evidence, instance: str, place: str, version: int) -> Sequence[Rule]:
    document = found.documents[instance]
    definition = found.registry.find(document.definition, document.version)
    assert definition is not None
    table = getattr(definition.tree[name_of(place)].node, "table", "")
    sets = [
        each.record.message.rules
        for each in found.history.get(f"@table/{table}", ())
        if isinstance(each.record.message, SetRules) and each.record.outcome is Outcome.APPLIED
    ]
    return sets[version - 1] if version else ()


def _holds(when: JsonObject, facts: JsonObject) -> bool:
    """The only conditions in the agenda: equal, and less than."""
    for fact, wanted in when.items():
        has = facts[fact]
        if isinstance(wanted, dict):
            if not int(str(has)) < int(str(wanted["<"])):
                return False
        elif has != wanted:
            return False
    return True
