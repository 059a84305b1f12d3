"""The laws of forward execution: completed instances ran all their nodes, and nothing happened that the definition
forbids.

They use their own model: they read definitions and documents, and call the kernel only for the names of places.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import Any

from sagaline.orchestrator.kernel.places import name_of, place_of
from sagaline.orchestrator.messages.document import CauseKind, Document, Status, StepRecord, StepStatus
from sagaline.orchestrator.messages.entity_messages import Unwind
from sagaline.orchestrator.messages.inputs import Act, Completed, Failed, Heartbeat, Rejected, Start, TimerFired
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.sagas import Node, Saga
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.nodes import Choose, Each, Loop, Parallel, Pivot, Route, Scatter, Sleep, Wait

from .forked import is_taken_over
from .parts import TRIPS
from .witness import Decided, Evidence, is_sent_on

__all__ = ["blamed", "completed", "late_replies", "paused", "past_pivot", "slept", "width"]

_LIVE = frozenset(
    {
        *(StepStatus.SENT, StepStatus.BACKOFF, StepStatus.WAITING, StepStatus.LOCKING, StepStatus.BLOCKED),
        *(StepStatus.UNDO_SENT, StepStatus.UNDO_BACKOFF, StepStatus.UNDO_FAILED),
    }
)


def completed(found: Evidence) -> Iterator[str]:
    """A completed instance has run all nodes that its definition requires."""
    for document in found.documents.values():
        definition = found.registry.find(document.definition, document.version)
        if document.status is not Status.COMPLETED or definition is None:
            continue
        for place, record in document.steps.items():
            if record.status in _LIVE:
                yield f"{document.id} is completed, and {place} is {record.status}"
        if isinstance(definition, Saga):
            for node in definition.flow:
                if not (_is_taken(definition, document, node) or _through(document, node, ())):
                    yield f"{document.id} is completed, and {node!r} was not gone through"


def _is_taken(definition: AnyDefinition, document: Document, node: Node[Any]) -> bool:
    """True when a fork counts a node as done without running it."""
    record = document.steps.get(node.name)
    done = record is not None and record.status is StepStatus.DONE and record.generation == 0
    return done and is_taken_over(definition, document, node.name)


def _through(document: Document, node: Node[Any], rounds: tuple[int, ...]) -> bool:
    if isinstance(node, Pivot):
        return document.pivot_passed
    record = document.steps.get(place_of(node.name, rounds))
    if record is None or record.status is not StepStatus.DONE:
        return False
    memo = record.memo or {}
    match node:
        case Choose() | Route():
            chosen = [branch for branch in node.branches if branch.label == memo["branch"]]
            return _all(document, chosen[0].nodes, rounds) if chosen else memo["branch"] is None
        case Loop():
            count, most = int(str(memo["rounds"])), int(str(memo["most"]))
            return count <= most and (count == 0 or _all(document, node.nodes, (*rounds, count)))
        case Parallel():
            lost = memo["lost"] if isinstance(memo["lost"], dict) else {}
            done = {branch.label for branch in node.branches if _all(document, branch.nodes, rounds)}
            return len(done) >= node.options.need and all(b.label in done or b.label in lost for b in node.branches)
        case Scatter():
            legs = [document.steps[place_of(leg.name, rounds)] for leg in node.legs]
            return sum(leg.status is StepStatus.DONE for leg in legs) >= node.options.at_least
        case Wait():
            return "timed_out" in memo or _count(memo["got"]) >= (
                1 if node.options.need == "any" else len(node.expected)
            )
        case Each():
            return _count(memo["failed"]) <= node.options.tolerate and memo["under_way"] == []
        case _:
            return True


def _all(document: Document, nodes: Sequence[Node[Any]], rounds: tuple[int, ...]) -> bool:
    return all(_through(document, node, rounds) for node in nodes)


def _count(value: object) -> int:
    return len(value) if isinstance(value, list) else 0


def past_pivot(found: Evidence) -> Iterator[str]:
    """Past the pivot nothing before it is under way, and nothing is undone."""
    for versions in found.versions.values():
        for document in versions:
            definition = found.registry.find(document.definition, document.version)
            if not document.pivot_passed or definition is None:
                continue
            if document.backward:
                yield f"{document.id} is past its pivot and compensating at revision {document.revision}"
            for place, record in document.steps.items():
                before = name_of(place) in definition.tree and not definition.tree[name_of(place)].past_pivot
                if before and record.status in _LIVE:
                    yield f"{document.id} is past its pivot, and {place} before it is {record.status}"


def width(found: Evidence) -> Iterator[str]:
    """No more parts of a collection run at once than declared."""
    for versions in found.versions.values():
        for document in versions:
            definition = found.registry.find(document.definition, document.version)
            for place, record in document.steps.items():
                node = _node(definition, place)
                if isinstance(node, Each) and max(_under_way(record)) > node.options.concurrency:
                    yield f"{document.id}, {place}: {max(_under_way(record))} parts at once"


def _under_way(record: StepRecord) -> tuple[int, int]:
    memo = record.memo or {}
    return _count(memo.get("under_way")), _count(memo.get("undo_under_way"))


def _node(definition: AnyDefinition | None, place: str) -> Node[Any] | None:
    if definition is None or name_of(place) not in definition.tree:
        return None
    return definition.tree[name_of(place)].node


def slept(found: Evidence) -> Iterator[str]:
    """A sleep lasts as long as declared."""
    for document, definition, history in found.lives():
        sizes = {number: int(str(each.state.get("size", 0))) for number, each in found.seen(document).items()}
        least = min(_sizes(history), default=0)  # if the state of a revision is no longer stored
        began: dict[str, int] = {}
        wakes: dict[str, int] = {}
        deferred_ms: dict[str, int] = {}  # its timer fired then, and waited for code, while the clock may be set back
        for record in (decided.record for decided in history):
            if record.outcome is Outcome.DEFERRED and isinstance(record.message, TimerFired):
                deferred_ms[record.message.timer.rpartition(":")[0]] = record.at_ms
            for change in record.changes:
                if change.what == change.after == "paused":  # what is due by then has fired
                    deferred_ms |= {place: record.at_ms for place, at_ms in wakes.items() if at_ms <= record.at_ms}
                node = _node(definition, change.what)
                if not isinstance(node, Sleep):
                    continue
                if change.after == StepStatus.WAITING:
                    deferred_ms.pop(change.what, None)
                    began[change.what] = record.at_ms
                    wakes[change.what] = record.at_ms + _span_ms(node, sizes.get(record.revision, least))
                elif change.after == StepStatus.DONE:
                    woke_ms = deferred_ms.get(change.what, record.at_ms)
                    if woke_ms < wakes[change.what]:
                        yield f"{document.id}: {change.what} slept {woke_ms - began[change.what]} ms"


def _span_ms(node: Sleep[Any], size: int) -> int:
    """Of a span that is a function of the state only what it says of the size is looked at."""
    if isinstance(node.duration, timedelta):
        return round(node.duration.total_seconds() * 1000)
    return int(getattr(node.duration, "step_ms", 0)) * size


def _sizes(history: Sequence[Decided]) -> Iterator[int]:
    """The first size, and those set by operators."""
    for message in (decided.record.message for decided in history):
        if isinstance(message, Start):
            yield int(str(message.input.get("size", 0)))
        patch = (message.value or {}).get("patch") if isinstance(message, Act) else None
        for operation in patch if isinstance(patch, list) else ():
            if isinstance(operation, dict) and operation.get("path") == "/size":
                yield int(str(operation["value"]))


def paused(found: Evidence) -> Iterator[str]:
    """A paused instance does nothing: messages wait, except acts and its parent's compensation; no timer fires. A start
    may wait for its end.
    """
    for instance, history in found.history.items():
        stands = False
        for record in (decided.record for decided in history):
            turns = [change.after for change in record.changes if change.what == "paused"]
            if stands and not turns and record.sent:
                yield f"{instance} is paused and sends {', '.join(sent.id for sent in record.sent)}"
            if (
                stands
                and record.outcome is Outcome.APPLIED
                and not isinstance(record.message, Act | Unwind | Heartbeat | Start)
            ):
                yield f"{instance} is paused and takes {record.message.kind if record.message else 'a message'}"
            ended = any(change.what == "instance" and Status(change.after).is_final for change in record.changes)
            stands = turns[-1] == "paused" if turns else stands and not ended


def late_replies(found: Evidence) -> Iterator[str]:
    """Only the first reply to the newest attempt is applied."""
    sent_on = {id for id, record in found.commands if is_sent_on(record)}
    for instance, history in found.history.items():
        yield from _late(instance, history, sent_on)


def _late(instance: str, history: Sequence[Decided], sent_on: Collection[str]) -> Iterator[str]:
    newest: dict[tuple[str, bool], str] = {}
    answered: set[str] = set()
    for record in (decided.record for decided in history):
        message = record.message
        if isinstance(message, Completed | Rejected | Failed) and record.outcome is Outcome.APPLIED:
            id = message.command_id
            if id not in sent_on and newest.get(_leg(instance, id)) != id:
                yield f"{instance}: a reply to {id} is applied, which is not the newest attempt"
            if id in answered:
                yield f"{instance}: a second reply to {id} is applied"
            answered.add(id)
        newest.update({_leg(instance, sent.id): sent.id for sent in record.sent})


def _leg(instance: str, command_id: str) -> tuple[str, bool]:
    """The place of a command, in any generation, and whether it is the undo."""
    label, _, attempt = command_id.removeprefix(f"{instance}/").partition("/")
    return label.partition("~")[0], attempt.startswith("undo/")


def blamed(found: Evidence) -> Iterator[str]:
    """Only code that raised is blamed, or a collection that an edit has changed."""
    for instance, versions in found.versions.items():
        for document in versions:
            attention = document.attention
            if attention is None or attention.kind is not CauseKind.CODE or TRIPS in attention.message:
                continue
            node = _node(found.registry.find(document.definition, document.version), attention.step or "")
            if not (isinstance(node, Each) and _edited(found, instance)):
                yield f"{document.id}: {attention.message}"


def _edited(found: Evidence, instance: str) -> bool:
    """True when an operator has edited its state."""
    changes = (change for decided in found.history.get(instance, ()) for change in decided.record.changes)
    return any(change.what == "state" for change in changes)
