"""The laws of records: topics, documents and the ledger must agree, and nothing is missing or duplicated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Final

from sagaline.orchestrator.codec.wire import header_map
from sagaline.orchestrator.kernel.inspection import inspect
from sagaline.orchestrator.kernel.places import name_of
from sagaline.orchestrator.kernel.recompute import recompute
from sagaline.orchestrator.messages.document import Document, Status, StepStatus
from sagaline.orchestrator.messages.entities import Lock, Mailbox
from sagaline.orchestrator.messages.entity_messages import EventDelivered
from sagaline.orchestrator.messages.inputs import Act, TimerFired
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.orchestrator.ports.log import Record, TopicPartition
from sagaline.sagas import Resequencer, Step
from sagaline.sagas.nodes import Child, Each, Route
from sagaline.sagas.process_manager import ProcessManager

from .agenda import BAD
from .forked import is_taken_over
from .generations import record_key
from .witness import Evidence, is_garbage, is_sent_on

__all__ = [
    "accepted",
    "act_once",
    "at_home",
    "command_once",
    "dead",
    "decided_once",
    "done",
    "effect_once",
    "ends",
    "event_once",
    "handed_on",
    "lets_go",
    "not_early",
    "not_late",
    "recomputed",
    "revisions",
    "time",
    "told_once",
    "wakes",
]

PROMPT_MS: Final = 5_000
"""How late a timer may fire without faults: an idle engine checks once a second."""
UNSURE_MS: Final = 10_000
"""How long a decision may take to reach the log, so that it is dated before its record."""
_LIVE: Final = frozenset({Status.RUNNING, Status.COMPENSATING})


def ends(found: Evidence) -> Iterator[str]:
    for document in found.documents.values():
        if document.status.is_final:
            continue
        definition = found.registry.find(document.definition, document.version)
        if document.status is not Status.ATTENTION:
            yield f"{document.id} is {document.status} still"
        elif not inspect(definition, document).acts:
            yield f"{document.id} is in attention, and no act can resolve it"
    if not found.came_to_an_end and all(each.status.is_final for each in found.documents.values()):
        yield "it does not settle"


def accepted(found: Evidence) -> Iterator[str]:
    answered = {
        decided.record.message.id
        for history in found.history.values()
        for decided in history
        if decided.record.message is not None
    }
    for id, request in found.accepted.items():
        if id not in answered:
            yield f"{request.kind} {id} of {request.instance} was acknowledged and never answered"


def decided_once(found: Evidence) -> Iterator[str]:
    places: Counter[tuple[int, str, int]] = Counter()
    for instance, history in found.history.items():
        life = 0  # a delayed message that was forwarded is forgotten: if it is sent again, it has a new timer
        for decided in history:
            places[decided.partition, decided.place, life] += 1
            life += instance.startswith("@parcel/") and decided.record.revision == 0
    for (_, place, _), count in places.items():
        if count > 1 and not place.startswith("deployed/"):
            yield f"{place} was decided about {count} times"


def at_home(found: Evidence) -> Iterator[str]:
    for instance, history in found.history.items():
        home = partition_of(instance.encode(), found.partitions)
        for decided in history:
            if decided.partition != home:
                yield f"{instance} belongs to partition {home} and was decided about on {decided.partition}"


def revisions(found: Evidence) -> Iterator[str]:
    for instance, history in found.history.items():
        if instance.startswith("@"):
            continue
        before = 0
        for decided in history:
            record = decided.record
            if record.status is None:
                before = 0
                continue
            grows = record.outcome in (Outcome.APPLIED, Outcome.DEFERRED)
            if record.revision != before + grows:
                yield f"{instance} goes from revision {before} to {record.revision} by {record.outcome}"
            before = record.revision
        document = found.documents.get(instance)
        if (document.revision if document else 0) != before:
            yield f"{instance} is at revision {document.revision if document else 0}, its history at {before}"


def recomputed(found: Evidence) -> Iterator[str]:
    for instance, document in found.documents.items():
        definition = found.registry.find(document.definition, document.version)
        if definition is None:
            continue
        again = recompute(definition, [decided.record for decided in found.history.get(instance, ())])
        if again.difference is not None:
            yield f"{instance}: {again.difference}"
        elif again.whole and again.document is not None and not _same(again.document, document):
            yield f"{instance} recomputed is another document: {_differences(again.document, document)}"


def _same(one: Document, other: Document) -> bool:
    """One that was abandoned where its code was not deployed is kept as the limits say: that is not recorded."""
    if other.status is Status.ABANDONED:
        one, other = replace(one, timers={}), replace(other, timers={})
    return one == other


def _differences(one: Document, other: Document) -> str:
    fields = (name for name in type(other).__slots__ if getattr(one, name) != getattr(other, name))
    return "; ".join(f"{name} {getattr(other, name)!r} would be {getattr(one, name)!r}" for name in fields)


def command_once(found: Evidence) -> Iterator[str]:
    sent = Counter(sent.id for history in found.history.values() for decided in history for sent in decided.record.sent)
    published = Counter(id for id, record in found.commands if not is_sent_on(record))
    for id, count in published.items():
        if count > 1:
            yield f"{id} was published {count} times"
    for id in sent.keys() ^ published.keys():
        yield f"{id} is " + ("in the history and was never published" if id in sent else "published and in no history")


def told_once(found: Evidence) -> Iterator[str]:
    for id, count in Counter(found.told).items():
        if (
            count > 1 and id.partition("/")[0] not in found.accepted
        ):  # a client's event, sent again after its keep has ended
            yield f"{id} was told {count} times"


def event_once(found: Evidence) -> Iterator[str]:
    for id, count in Counter(id for id, _ in found.events).items():
        if count > 1 and "/" in id:  # a client's event sent again after its keep has ended is another event
            yield f"{id} was published {count} times"


def act_once(found: Evidence) -> Iterator[str]:
    for instance, history in found.history.items():
        applied: set[str] = set()
        for record in (decided.record for decided in history):
            if record.status is None:
                applied.clear()  # a later start creates another instance
            if isinstance(record.message, Act) and record.outcome is Outcome.APPLIED:
                if record.message.id in applied:
                    yield f"{instance}: act {record.message.id} was applied twice"
                applied.add(record.message.id)


def effect_once(found: Evidence) -> Iterator[str]:
    done: set[str] = set()
    undone: set[str] = set()
    asked = {header_map(record.headers)["ce_effectkey"].decode() for _, record in found.commands}
    for effect in found.effects:
        key = effect.effect_key
        if key not in asked:
            yield f"{key} took effect, although it was not requested"
        if effect.undo:
            if key in undone:
                yield f"{key} was undone twice"
            if effect.had is not (key in done):
                yield f"the undo of {key} was told wrongly whether there was anything to undo"
            undone.add(key)
            continue
        if key in done:
            yield f"{key} took effect twice"
        if key in undone:
            yield f"{key} took effect after its undo"
        done.add(key)


def handed_on(found: Evidence) -> Iterator[str]:
    by_place: dict[TopicPartition, list[tuple[str, Record]]] = {}
    for id, record in found.commands:
        by_place.setdefault(TopicPartition(record.topic, record.partition), []).append((id, record))
    reached: dict[TopicPartition, int] = {}
    for at_ms, place, position in found.advances:
        for id, record in by_place.get(place, ()):
            if not reached.get(place, 0) <= record.offset < position:
                continue
            replied_ms = found.replies.get(id)
            if replied_ms is None or replied_ms > at_ms + found.back_ms:
                yield f"{id} was passed over without an answer"
        reached[place] = max(position, reached.get(place, 0))


def time(found: Evidence) -> Iterator[str]:
    for instance, history in found.history.items():
        for decided in history:
            apart_ms = abs(decided.record.at_ms - decided.written_ms)
            if found.right_ms + UNSURE_MS < decided.written_ms < found.restless_ms and apart_ms > UNSURE_MS:
                yield f"{instance} is decided about {apart_ms} ms away from its owner's clock"
    for instance, versions in found.versions.items():
        for before, after in pairwise(versions):
            same = after.incarnation == before.incarnation and after.revision > before.revision
            if same and after.updated_ms < before.updated_ms:
                yield f"{instance} was changed at {before.updated_ms}, and after it at {after.updated_ms}"


def done(found: Evidence) -> Iterator[str]:
    done = {effect.effect_key for effect in found.effects if not effect.undo}
    undone = {effect.effect_key for effect in found.effects if effect.undo}
    for document in found.documents.values():
        definition = found.registry.find(document.definition, document.version)
        if definition is None:
            continue
        for place, record in document.steps.items():
            key = record_key(document, place, record)
            if name_of(place) not in definition.steps or "skipped_by" in (record.memo or {}):
                continue
            if record.attempt == 0 and is_taken_over(definition, document, place):
                continue  # it took effect in another instance
            if record.status is StepStatus.DONE and key not in done:
                yield f"{key} is done and never took effect"
            if record.status is StepStatus.REJECTED and key in done:
                yield f"{key} was rejected and took effect"
            if record.status is StepStatus.UNDONE and key not in undone:
                yield f"{key} is undone and no undo took effect"


def not_early(found: Evidence) -> Iterator[str]:
    for history in found.history.values():
        for decided in history:
            message = decided.record.message
            if not isinstance(message, TimerFired):
                continue
            now_ms = decided.record.at_ms
            if decided.written_ms > found.right_ms + UNSURE_MS:  # its owner's clock may have been ahead of the log's
                now_ms = min(now_ms, decided.written_ms + found.back_ms)
            if now_ms < message.due_ms:
                yield f"timer {message.timer} of {message.instance} fired {message.due_ms - now_ms} ms early"


def not_late(found: Evidence) -> Iterator[str]:
    for history in found.history.values():
        for decided in history:
            message = decided.record.message
            if isinstance(message, TimerFired) and found.healed_ms + PROMPT_MS < message.due_ms < found.restless_ms:
                late_ms = decided.written_ms - message.due_ms
                if late_ms > PROMPT_MS:
                    yield f"timer {message.timer} of {message.instance} fired {late_ms} ms late"
    for entity in (*found.documents.values(), *found.entities.values()):
        for timer, due_ms in entity.timers.items():
            if max(due_ms, found.healed_ms) < found.ended_ms - PROMPT_MS:
                yield f"timer {timer} of {entity.id} has not fired {found.ended_ms - due_ms} ms after it was due"


def wakes(found: Evidence) -> Iterator[str]:
    for versions in found.versions.values():
        for document in versions:
            if document.status not in _LIVE or document.paused:
                continue
            if not document.timers and not _awaits(found, document):
                yield f"{document.id} is {document.status} at revision {document.revision}, and nothing will wake it"
            for place in _unwatched(found, document):
                yield f"{document.id}: nothing will end the waiting of {place} at revision {document.revision}"


def _unwatched(found: Evidence, document: Document) -> Iterator[str]:
    """Steps without their own timer."""
    definition = found.registry.find(document.definition, document.version)
    for place, record in document.steps.items():
        if definition is None or not isinstance(definition.steps.get(name_of(place)), Step):
            continue
        if definition.steps[name_of(place)].is_query:
            continue  # the deadline is the scatter's
        waits = {
            StepStatus.SENT: "deadline",
            StepStatus.UNDO_SENT: "deadline",
            StepStatus.BACKOFF: "retry",
            StepStatus.UNDO_BACKOFF: "retry",
            StepStatus.LOCKING: "lock",
        }.get(record.status)
        granted = record.status is StepStatus.LOCKING and (record.memo or {}).get("granted")
        if granted and document.restarting is not None:
            continue  # the restart's own undos end, and then it continues or is withdrawn
        if waits is not None and f"{place}:{waits}" not in document.timers:
            yield place


def _awaits(found: Evidence, document: Document) -> bool:
    """True when it waits for an entity that has timers, or answers at once."""
    definition = found.registry.find(document.definition, document.version)
    if definition is None or isinstance(definition, Resequencer):
        return True  # a sequence may wait for its next number for ever
    for place, record in document.steps.items():
        node = definition.tree[name_of(place)].node if name_of(place) in definition.tree else None
        if isinstance(node, Child | Each) and record.status in (StepStatus.SENT, StepStatus.UNDO_SENT):
            return True
        if isinstance(node, Route) and record.status is StepStatus.WAITING:
            return True
    return False


def lets_go(found: Evidence) -> Iterator[str]:
    ended = {id for id in found.versions if id not in found.documents or found.documents[id].status.is_final}
    for entity in found.entities.values():
        match entity:
            case Lock():
                held = [grant.by for grant in (entity.holder, *entity.waiting) if grant is not None]
            case Mailbox():
                held = [watcher.by for watcher in entity.watchers]
            case _:
                held = []
        for by in held:
            if by in ended:
                yield f"{entity.id} knows {by} still, which has ended"


def dead(found: Evidence) -> Iterator[str]:
    offered = set(_offered(found))
    for record in found.dead:
        headers = header_map(record.headers)
        id = headers.get("ce_id", b"").decode(errors="replace")
        if not is_garbage(record) and not id.startswith(BAD) and id not in offered:
            yield f"{id or record.key!r} is a dead letter: {headers.get('dead-reason', b'').decode(errors='replace')}"
    buried = {_grave(header_map(record.headers)) for record in found.dead}
    for record in found.garbage:
        place = record.topic, record.partition, record.offset
        forwarded = record.key and partition_of(record.key, found.partitions) != record.partition
        if place not in buried and not (forwarded and record.topic.endswith(".inputs")):
            yield f"garbage at {place} is no dead letter"


def _offered(found: Evidence) -> Iterator[str]:
    """The events to processes that may make dead letters of them: late ones, and those behind a gap."""
    for instance, history in found.history.items():
        definition = found.registry.find(instance.partition("/")[0])
        if isinstance(definition, ProcessManager) and (definition.takes_late or isinstance(definition, Resequencer)):
            for message in (decided.record.message for decided in history):
                if isinstance(message, EventDelivered):
                    yield message.id


def _grave(headers: Mapping[str, bytes]) -> tuple[str, int, int]:
    return headers["dead-topic"].decode(), int(headers["dead-partition"]), int(headers["dead-offset"])
