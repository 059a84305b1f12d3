"""The laws: what must hold of everything that is on record when a run has ended. Each has a name and a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ....sagas import Step
from ....sagas.nodes import Child, Each, Route
from ...codec.wire import header_map
from ...kernel.case import case_of
from ...kernel.places import name_of
from ...kernel.recompute import recompute
from ...messages.document import Document, Status, StepStatus
from ...messages.helpers import Lock, Mailbox
from ...messages.inputs import Act, Start, TimerFired
from ...messages.outputs import Outcome
from ...messages.partitioning import partition_of
from ...ports.log import Record, TopicPartition
from .agenda import BAD
from .forward import blamed, completed, late_replies, past_pivot, paused, slept, width
from .talking import locked, mailed, routed
from .travelling import travelled
from .unwinding import compensated, in_order
from .witness import Evidence, is_garbage, is_sent_on

__all__ = ["LAWS", "SENTENCES", "Breach", "Law", "breaches"]

PROMPT_MS: Final = 5_000
"""How late a timer may fire when nothing goes wrong: an idle engine looks once a second."""
_LIVE: Final = frozenset({Status.RUNNING, Status.COMPENSATING})


class Law(StrEnum):
    """What is checked."""

    ENDS = "ends"
    ACCEPTED = "accepted"
    ONE_INSTANCE = "one-instance"
    DECIDED_ONCE = "decided-once"
    AT_HOME = "at-home"
    REVISIONS = "revisions"
    RECOMPUTED = "recomputed"
    COMMAND_ONCE = "command-once"
    TOLD_ONCE = "told-once"
    EVENT_ONCE = "event-once"
    ACT_ONCE = "act-once"
    EFFECT_ONCE = "effect-once"
    DONE = "done"
    COMPENSATED = "compensated"
    IN_ORDER = "in-order"
    COMPLETED = "completed"
    TRAVELLED = "travelled"
    PAST_PIVOT = "past-pivot"
    PAUSED = "paused"
    WIDTH = "width"
    LATE_REPLY = "late-reply"
    BLAMED = "blamed"
    LOCKED = "locked"
    MAILED = "mailed"
    ROUTED = "routed"
    HANDED_ON = "handed-on"
    TIME = "time"
    SLEPT = "slept"
    NOT_EARLY = "not-early"
    NOT_LATE = "not-late"
    WAKES = "wakes"
    LETS_GO = "lets-go"
    DEAD = "dead"
    RUNS = "runs"


SENTENCES: Final[Mapping[Law, str]] = {
    Law.ENDS: "when all is healed, every instance ends or stands in attention with a case (G4)",
    Law.ACCEPTED: "what the log has acknowledged is answered in the history (G1)",
    Law.ONE_INSTANCE: "an instance begins once (G1)",
    Law.DECIDED_ONCE: "an input or a timer is decided about once (G2)",
    Law.AT_HOME: "an instance is decided about only on its own partition (G2)",
    Law.REVISIONS: "in history and state topic revisions grow by one, without a gap (G2)",
    Law.RECOMPUTED: "the history recomputed is the document that is stored (G2, G9)",
    Law.COMMAND_ONCE: "the engine publishes a command once, and exactly those that the history names (G2, G3)",
    Law.TOLD_ONCE: "what one entity says to another arrives once (G2)",
    Law.EVENT_ONCE: "an event that a saga publishes goes out once (G2)",
    Law.ACT_ONCE: "an operator's act is applied once, however often it is sent",
    Law.EFFECT_ONCE: "an effect key takes effect at most once, is undone at most once, and never after its undo (G3)",
    Law.DONE: "a step that is done took effect; one that was refused did not (G3)",
    Law.COMPENSATED: "of a compensated instance, or a lost branch, every effect is undone, once (G5)",
    Law.IN_ORDER: "undos run in reverse order of completion, unless declared otherwise (G5)",
    Law.COMPLETED: "what is completed was gone through as it is declared",
    Law.TRAVELLED: "a completed slip was at every stop; one that is taken back leaves no effect, its end first (G5)",
    Law.PAST_PIVOT: "past the pivot nothing before it is under way, and nothing is taken back (G5)",
    Law.PAUSED: "a paused instance sends nothing",
    Law.WIDTH: "no more parts of a collection are under way than is declared",
    Law.LATE_REPLY: "only the first reply to the newest attempt is applied (G8)",
    Law.BLAMED: "no code is blamed but that which raised (G6)",
    Law.LOCKED: "a lock has one holder, and is handed on in order of arrival",
    Law.MAILED: "an event reaches everybody who waits for it or begins to within its keep, and each once",
    Law.ROUTED: "an instance goes where the rules say, of the version that it names",
    Law.HANDED_ON: "a worker's position passes a command only when its answer is durable, or nobody waits (G3)",
    Law.TIME: "the time of decisions never goes back on a partition (G7)",
    Law.SLEPT: "a sleep lasts as long as it says (G7)",
    Law.NOT_EARLY: "no timer fires before it is due (G7)",
    Law.NOT_LATE: "when all is healed, timers fire when they are due, and none is left behind (G7)",
    Law.WAKES: "whatever lives has a timer, waits for another entity that has, or stands in attention (G4)",
    Law.LETS_GO: "nobody who has ended holds a lock or waits in a mailbox (G4)",
    Law.DEAD: "only what cannot be read, or can never be carried out, is a dead letter (G6)",
    Law.RUNS: "no process fails for another reason than its surroundings (G6)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A law that does not hold, and of what."""

    law: Law
    message: str

    def __str__(self) -> str:
        return f"{self.law}: {self.message}"


def breaches(found: Evidence) -> Iterator[Breach]:
    """The laws that do not hold of a run."""
    for law, check in LAWS.items():
        for message in check(found):
            yield Breach(law=law, message=message)


def _ends(found: Evidence) -> Iterator[str]:
    for document in found.documents.values():
        if document.status.is_final:
            continue
        definition = found.registry.find(document.definition, document.version)
        if document.status is not Status.ATTENTION:
            yield f"{document.id} is {document.status} still"
        elif not case_of(definition, document).acts:
            yield f"{document.id} stands in attention, and nothing can be done about it"
    if not found.came_to_an_end and all(each.status.is_final for each in found.documents.values()):
        yield "it does not come to rest"


def _accepted(found: Evidence) -> Iterator[str]:
    answered = {
        decided.record.message.id
        for history in found.history.values()
        for decided in history
        if decided.record.message is not None
    }
    for id, request in found.accepted.items():
        if id not in answered:
            yield f"{request.kind} {id} of {request.instance} was acknowledged and never answered"


def _one_instance(found: Evidence) -> Iterator[str]:
    for instance, history in found.history.items():
        lives = False
        for record in (decided.record for decided in history):
            begins = any(change.what == "instance" and change.before is None for change in record.changes)
            if begins and lives:
                yield f"{instance} began while it lived, at revision {record.revision}"
            lives = record.status is not None
    for start in found.accepted.values():
        if isinstance(start, Start) and not start.id.startswith(BAD) and start.instance not in found.versions:
            yield f"{start.instance} was accepted and never began"


def _decided_once(found: Evidence) -> Iterator[str]:
    places = Counter((decided.partition, decided.place) for all in found.history.values() for decided in all)
    for (_, place), count in places.items():
        if count > 1 and not place.startswith("deployed/"):
            yield f"{place} was decided about {count} times"


def _at_home(found: Evidence) -> Iterator[str]:
    for instance, history in found.history.items():
        home = partition_of(instance.encode(), found.partitions)
        for decided in history:
            if decided.partition != home:
                yield f"{instance} belongs to partition {home} and was decided about on {decided.partition}"


def _revisions(found: Evidence) -> Iterator[str]:
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


def _recomputed(found: Evidence) -> Iterator[str]:
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


def _command_once(found: Evidence) -> Iterator[str]:
    sent = Counter(sent.id for history in found.history.values() for decided in history for sent in decided.record.sent)
    published = Counter(id for id, record in found.commands if not is_sent_on(record))
    for id, count in published.items():
        if count > 1:
            yield f"{id} was published {count} times"
    for id in sent.keys() ^ published.keys():
        yield f"{id} is " + ("in the history and was never published" if id in sent else "published and in no history")


def _told_once(found: Evidence) -> Iterator[str]:
    for id, count in Counter(found.told).items():
        if count > 1 and id.partition("/")[0] not in found.accepted:  # a client's event, sent again after its keep
            yield f"{id} was told {count} times"


def _event_once(found: Evidence) -> Iterator[str]:
    for id, count in Counter(found.events).items():
        if count > 1 and id not in found.accepted:  # what a client sends again after its keep is another event
            yield f"{id} was published {count} times"


def _act_once(found: Evidence) -> Iterator[str]:
    applied = Counter(
        decided.record.message.id
        for history in found.history.values()
        for decided in history
        if isinstance(decided.record.message, Act) and decided.record.outcome is Outcome.APPLIED
    )
    for id, count in applied.items():
        if count > 1:
            yield f"act {id} was applied {count} times"


def _effect_once(found: Evidence) -> Iterator[str]:
    done: set[str] = set()
    undone: set[str] = set()
    asked = {header_map(record.headers)["ce_effectkey"].decode() for _, record in found.commands}
    for effect in found.effects:
        key = effect.effect_key
        if key not in asked:
            yield f"{key} took effect, and nobody had asked for it"
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


def _handed_on(found: Evidence) -> Iterator[str]:
    by_place: dict[TopicPartition, list[tuple[str, Record]]] = {}
    for id, record in found.commands:
        by_place.setdefault(TopicPartition(record.topic, record.partition), []).append((id, record))
    reached: dict[TopicPartition, int] = {}
    for at_ms, place, position in found.advances:
        for id, record in by_place.get(place, ()):
            if not reached.get(place, 0) <= record.offset < position:
                continue
            deadline_ms = int(header_map(record.headers)["ce_deadline"])
            replied_ms = found.replies.get(id)
            is_answered = replied_ms is not None and replied_ms <= at_ms + found.tolerance_ms
            if not is_answered and deadline_ms > at_ms + found.tolerance_ms:
                yield f"{id} was passed over {deadline_ms - at_ms} ms before its deadline, without an answer"
        reached[place] = max(position, reached.get(place, 0))


def _time(found: Evidence) -> Iterator[str]:
    for instance, history in found.history.items():
        times = [decided.record.at_ms for decided in history]
        if times != sorted(times):
            yield f"{instance} is decided about at {times}"


def _done(found: Evidence) -> Iterator[str]:
    done = {effect.effect_key for effect in found.effects if not effect.undo}
    undone = {effect.effect_key for effect in found.effects if effect.undo}
    for document in found.documents.values():
        definition = found.registry.find(document.definition, document.version)
        if definition is None:
            continue
        for place, record in document.steps.items():
            key = f"{document.id}/{place}"
            if name_of(place) not in definition.steps or "skipped_by" in (record.memo or {}):
                continue
            if record.status is StepStatus.DONE and key not in done:
                yield f"{key} is done and never took effect"
            if record.status is StepStatus.REFUSED and key in done:
                yield f"{key} was refused and took effect"
            if record.status is StepStatus.UNDONE and key not in undone:
                yield f"{key} is undone and no undo took effect"


def _not_early(found: Evidence) -> Iterator[str]:
    for history in found.history.values():
        for decided in history:
            message = decided.record.message
            if not isinstance(message, TimerFired):
                continue
            if decided.record.at_ms < message.due_ms or decided.written_ms + found.tolerance_ms < message.due_ms:
                early_ms = message.due_ms - min(decided.record.at_ms, decided.written_ms)
                yield f"timer {message.timer} of {message.instance} fired {early_ms} ms early"


def _not_late(found: Evidence) -> Iterator[str]:
    for history in found.history.values():
        for decided in history:
            message = decided.record.message
            if isinstance(message, TimerFired) and found.healed_ms + PROMPT_MS < message.due_ms < found.restless_ms:
                late_ms = decided.written_ms - message.due_ms
                if late_ms > PROMPT_MS + found.tolerance_ms:
                    yield f"timer {message.timer} of {message.instance} fired {late_ms} ms late"
    for entity in (*found.documents.values(), *found.helpers.values()):
        for timer, due_ms in entity.timers.items():
            if due_ms < found.ended_ms - PROMPT_MS - found.tolerance_ms:
                yield f"timer {timer} of {entity.id} has not fired {found.ended_ms - due_ms} ms after it was due"


def _wakes(found: Evidence) -> Iterator[str]:
    for versions in found.versions.values():
        for document in versions:
            if (
                document.status in _LIVE
                and not document.paused
                and not document.timers
                and not _awaits(found, document)
            ):
                yield f"{document.id} is {document.status} at revision {document.revision}, and nothing will wake it"


def _unwatched(found: Evidence, document: Document) -> Iterator[str]:
    """Steps without a timer of their own."""
    definition = found.registry.find(document.definition, document.version)
    for place, record in document.steps.items():
        if definition is None or not isinstance(definition.steps.get(name_of(place)), Step):
            continue
        if definition.steps[name_of(place)].contract is not definition.steps[name_of(place)].declared:
            continue  # a leg of a scatter: the deadline is the scatter's
        waits = {
            StepStatus.SENT: "deadline",
            StepStatus.UNDO_SENT: "deadline",
            StepStatus.WAITING: "retry",
            StepStatus.UNDO_WAITING: "retry",
            StepStatus.LOCKING: "lock",
        }.get(record.status)
        if waits is not None and f"{place}:{waits}" not in document.timers:
            yield place


def _awaits(found: Evidence, document: Document) -> bool:
    """Whether it waits for an entity that has timers of its own, or answers at once."""
    definition = found.registry.find(document.definition, document.version)
    if definition is None:
        return True
    for place, record in document.steps.items():
        node = definition.tree[name_of(place)].node if name_of(place) in definition.tree else None
        if isinstance(node, Child | Each) and record.status in (StepStatus.SENT, StepStatus.UNDO_SENT):
            return True
        if isinstance(node, Route) and record.status is StepStatus.OPEN:
            return True
    return False


def _lets_go(found: Evidence) -> Iterator[str]:
    ended = {id for id in found.versions if id not in found.documents or found.documents[id].status.is_final}
    for helper in found.helpers.values():
        match helper:
            case Lock():
                held = [grant.by for grant in (helper.holder, *helper.waiting) if grant is not None]
            case Mailbox():
                held = [watcher.by for watcher in helper.watchers]
            case _:
                held = []
        for by in held:
            if by in ended:
                yield f"{helper.id} knows {by} still, which has ended"


def _dead(found: Evidence) -> Iterator[str]:
    for record in found.dead:
        headers = header_map(record.headers)
        id = headers.get("ce_id", b"").decode(errors="replace")
        if not is_garbage(record) and not id.startswith(BAD):
            yield f"{id or record.key!r} is a dead letter: {headers.get('dead-reason', b'').decode(errors='replace')}"
    buried = {_grave(header_map(record.headers)) for record in found.dead}
    for record in found.garbage:
        place = record.topic, record.partition, record.offset
        forwarded = record.key and partition_of(record.key, found.partitions) != record.partition
        if place not in buried and not (forwarded and record.topic.endswith(".inputs")):
            yield f"garbage at {place} is no dead letter"


def _grave(headers: Mapping[str, bytes]) -> tuple[str, int, int]:
    return headers["dead-topic"].decode(), int(headers["dead-partition"]), int(headers["dead-offset"])


LAWS: Final[Mapping[Law, Callable[[Evidence], Iterator[str]]]] = {
    Law.ACCEPTED: _accepted,
    Law.ONE_INSTANCE: _one_instance,
    Law.DECIDED_ONCE: _decided_once,
    Law.AT_HOME: _at_home,
    Law.REVISIONS: _revisions,
    Law.RECOMPUTED: _recomputed,
    Law.COMMAND_ONCE: _command_once,
    Law.TOLD_ONCE: _told_once,
    Law.EVENT_ONCE: _event_once,
    Law.ACT_ONCE: _act_once,
    Law.EFFECT_ONCE: _effect_once,
    Law.DONE: _done,
    Law.COMPENSATED: compensated,
    Law.IN_ORDER: in_order,
    Law.COMPLETED: completed,
    Law.TRAVELLED: travelled,
    Law.PAST_PIVOT: past_pivot,
    Law.PAUSED: paused,
    Law.WIDTH: width,
    Law.LATE_REPLY: late_replies,
    Law.BLAMED: blamed,
    Law.LOCKED: locked,
    Law.MAILED: mailed,
    Law.ROUTED: routed,
    Law.HANDED_ON: _handed_on,
    Law.TIME: _time,
    Law.SLEPT: slept,
    Law.NOT_EARLY: _not_early,
    Law.NOT_LATE: _not_late,
    Law.WAKES: _wakes,
    Law.LETS_GO: _lets_go,
    Law.DEAD: _dead,
    Law.ENDS: _ends,
}
"""Every law that is read off the record, what tells most first; ``runs`` is seen by who plays."""
