"""The laws of process managers: what aggregators and resequencers publish, and what becomes of late events."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sagaline.orchestrator.codec.wire import header_map
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.entity_messages import EventDelivered
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.sagas import Event, Resequencer
from sagaline.sagas.process_manager import ProcessManager

from .gatherings import SORTED, WHOLE
from .witness import Decided, Evidence, begins

__all__ = ["gathered", "late", "sorted_out"]


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: the events that came to it, and how it stands at its end, or now."""

    came: Sequence[EventDelivered]
    status: Status

    def numbers(self) -> set[int]:
        return {_number_of(event) for event in self.came}


def _number_of(event: EventDelivered) -> int:
    return int(str(event.body["number"]))


def _runs(history: Sequence[Decided]) -> list[_Run]:
    found: list[_Run] = []
    came: list[EventDelivered] = []
    status: Status | None = None
    for record in (decided.record for decided in history):
        if begins(record):
            if status is not None:
                found.append(_Run(came, status))
            came = []
        event = record.message
        if isinstance(event, EventDelivered) and record.outcome in (Outcome.APPLIED, Outcome.DEFERRED):
            came.append(event)
        status = record.status or status
    return [*found, _Run(came, status)] if status is not None else found


def _published(found: Evidence, event: Event[Any]) -> dict[str, list[dict[str, Any]]]:
    """The bodies of an event by key, in order."""
    bodies: dict[str, list[dict[str, Any]]] = {}
    for _, record in found.events:
        if header_map(record.headers).get("ce_type") == event.name.encode():
            body = json.loads(record.value or b"null")
            bodies.setdefault(body["key"], []).append(body)
    return bodies


def gathered(found: Evidence) -> Iterator[str]:
    """Each run of an aggregator that completes publishes one result, with each of its parts once."""
    results = _published(found, WHOLE)
    for instance, history in found.history.items():
        name, _, key = instance.partition("/")
        if name != "gatherer":
            continue
        runs = [run for run in _runs(history) if run.status is Status.COMPLETED]
        bodies = results.get(key, [])
        if len(runs) != len(bodies):
            yield f"{instance} has completed {len(runs)} times, and published {len(bodies)} results"
        for run, body in zip(runs, bodies, strict=False):
            numbers = body["numbers"]
            if len(set(numbers)) < len(numbers):
                yield f"{instance} has a part twice: {numbers}"
            if not set(numbers) <= run.numbers():
                yield f"{instance} has gathered {numbers}, and {sorted(run.numbers())} came"
            for event in run.came:
                if _number_of(event) not in numbers and not _again(history, event.event_id):
                    yield f"{instance} has lost part {_number_of(event)}, its result has {numbers}"


def _again(history: Sequence[Decided], event_id: str) -> bool:
    """True for an event that a run has left at its end: it came again, as a late one."""
    messages = (decided.record.message for decided in history)
    return sum(isinstance(each, EventDelivered) and each.event_id == event_id for each in messages) > 1


def sorted_out(found: Evidence) -> Iterator[str]:
    """A resequencer publishes each number once, in order; what it does not publish is a dead letter, or waits."""
    published = _published(found, SORTED)
    dead = _dead(found)
    for instance, history in found.history.items():
        name, _, key = instance.partition("/")
        definition = found.registry.find(name)
        if name != "sorter" or not isinstance(definition, Resequencer):
            continue
        runs, out = _runs(history), [int(body["number"]) for body in published.get(key, [])]
        sequences = _sequences(out)
        if len(sequences) > len(runs):
            yield f"{instance} publishes {out} in {len(runs)} runs"
        if "gap" in definition.rests and any(each != list(range(1, len(each) + 1)) for each in sequences):
            yield f"{instance} waits for what is missing, and publishes {out}"
        if len(runs) != 1 or runs[0].status is not Status.COMPLETED or definition.late == "ignore":
            continue
        for event in runs[0].came:
            if _number_of(event) not in out and not dead[event.id] and not _again(history, event.event_id):
                yield f"{instance} has lost message {_number_of(event)}, and published {out}"


def _sequences(numbers: Sequence[int]) -> list[list[int]]:
    """The numbers cut where they do not rise."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number > found[-1][-1]:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def _dead(found: Evidence) -> Counter[str]:
    """How often each message is a dead letter, by its id."""
    return Counter(header_map(record.headers).get("ce_id", b"").decode(errors="replace") for record in found.dead)


def late(found: Evidence) -> Iterator[str]:
    """An event after the end of its process is ignored, a dead letter, or begins the next run, as declared."""
    dead = _dead(found)
    for instance, history in found.history.items():
        definition = found.registry.find(instance.partition("/")[0])
        if not isinstance(definition, ProcessManager):
            continue
        before: Status | None = None
        came: set[str] = set()
        offered: Counter[str] = Counter()  # one sent again after its keep has ended is another event
        for record in (decided.record for decided in history):
            event = record.message
            if isinstance(event, EventDelivered):
                if before is not None and before.is_final and event.event_id not in came:
                    did = "restart" if begins(record) else "dead_letter" if dead[event.id] else "ignore"
                    if did not in _answers(definition, event, record):
                        yield f"{instance}: late event {event.event_id} was answered by {did}, not {definition.late}"
                offered[event.id] += 1
                came.add(event.event_id)
            before = record.status
        for id in offered:
            if dead[id] > offered[id]:
                yield f"{instance}: {id} was offered {offered[id]} times, and is a dead letter {dead[id]} times"


def _answers(manager: ProcessManager[Any], event: EventDelivered, record: HistoryRecord) -> Sequence[str]:
    """What may happen to a late event. A next run that is not possible now leaves a dead letter."""
    subscription = manager.subscriptions.get(event.event)
    if record.code is not None and (record.code.wants_code or record.code is ReasonCode.WRONG_STATUS):
        return ("dead_letter",)
    starts = subscription is not None and subscription.starts is not None
    return (manager.late,) if manager.late != "restart" or starts else ("ignore",)
