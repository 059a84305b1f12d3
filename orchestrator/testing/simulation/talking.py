"""The laws of what entities say to each other: locks, mailboxes and tables, followed message by message.

Each follows the history of a helper with a small model of its own, and looks whether what had to be told was told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...kernel.places import name_of
from ...messages.entities import Acquire, EventCame, Published, Release, Routed, Rule, SetRules, Unwatch, Watch
from ...messages.outputs import Outcome
from ...messages.values import JsonObject
from .witness import Decided, Evidence

__all__ = ["locked", "mailed", "routed"]


def locked(found: Evidence) -> Iterator[str]:
    """A lock has one holder, an instance with all of its places; others get it in order of arrival."""
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
    """An event reaches everybody who waits for it or begins to within its ``keep``, and each of them once."""
    came: dict[tuple[str, str, int], list[str]] = {}
    for instance, history in found.history.items():
        for decided in history:
            message = decided.record.message
            if isinstance(message, EventCame):
                came.setdefault((instance, message.place, message.index), []).append(message.event_id)
    for id, history in found.history.items():
        if id.startswith("@mailbox/"):
            yield from _follow_box(id, history, came, set(found.told))
    for document in found.documents.values():
        seen = document.managed.seen if document.managed else ()
        if len(set(seen)) < len(seen):
            yield f"{document.id} has taken an event twice: {', '.join(seen)}"


def _follow_box(
    id: str, history: Sequence[Decided], came: dict[tuple[str, str, int], list[str]], told: set[str]
) -> Iterator[str]:
    kept: dict[str, int] = {}
    taken: set[tuple[str, str]] = set()
    watching: list[tuple[str, str, int]] = []
    for decided in history:
        message, now_ms = decided.record.message, decided.record.at_ms
        if decided.record.outcome is not Outcome.APPLIED:
            continue
        if isinstance(message, Published):
            if kept.get(message.id, 0) > now_ms:
                yield f"{id}: event {message.id} is taken again within its keep"
            kept[message.id] = now_ms + message.keep_ms
            for who in watching:
                taken.add((who[0], message.id))
                if message.id not in came.get(who, ()):
                    yield f"{id}: {who} waits for event {message.id} and never gets it"
            watching = []
        elif isinstance(message, Watch):
            early = [event for event, until_ms in kept.items() if until_ms > now_ms]
            fresh = [event for event in early if message.again or (message.by, event) not in taken]
            if f"{message.id}/event" in told:
                taken.update((message.by, event) for event in kept if event in came.get(_who(message), ()))
            elif fresh:
                yield f"{id}: {_who(message)} begins to wait and does not get {fresh[0]}, which came early"
            else:
                watching.append(_who(message))
        elif isinstance(message, Unwatch):
            watching = [who for who in watching if who[:2] != (message.by, message.place)]


def _who(watch: Watch) -> tuple[str, str, int]:
    return watch.by, watch.place, watch.index


def routed(found: Evidence) -> Iterator[str]:
    """An instance goes where the table said, by the rules of the version that it names."""
    for instance, history in found.history.items():
        document = found.documents.get(instance)
        if document is None:
            continue
        for message in _last_routed(history):
            place = message.place.partition("+")[0]
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
    """Of each place the last answer that was applied: whoever asks again may have other facts."""
    last: dict[str, Routed] = {}
    for decided in history:
        if isinstance(decided.record.message, Routed) and decided.record.outcome is Outcome.APPLIED:
            last[decided.record.message.place.partition("+")[0]] = decided.record.message
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
    """The only conditions that the agenda gives: equal, and less than."""
    for fact, wanted in when.items():
        has = facts[fact]
        if isinstance(wanted, dict):
            if not int(str(has)) < int(str(wanted["<"])):
                return False
        elif has != wanted:
            return False
    return True
