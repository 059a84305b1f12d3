"""The requests of clients and operators during the storm: drawn beforehand, sent at their times."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, TypeAlias

from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.codec.inputs import encode_request
from sagaline.orchestrator.messages.dead import DeadRequest
from sagaline.orchestrator.messages.entity_messages import Published, Rule, SetRules, mailbox_id, table_id
from sagaline.orchestrator.messages.inputs import Act, ActName, Conflict, Start
from sagaline.orchestrator.messages.parcels import Discard, Letter, Posted, Reschedule, delayed_id, to_base64
from sagaline.orchestrator.messages.schedules import (
    Backfill,
    DeleteSchedule,
    PauseSchedule,
    Plan,
    PutSchedule,
    ResumeSchedule,
    ScheduleRequest,
    Trigger,
    schedule_id,
)
from sagaline.orchestrator.messages.values import JsonObject
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.orchestrator.scenes.sample import samples
from sagaline.sagas import Event, Saga
from sagaline.sagas.calendar import Calendar, at_utc
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.models import as_json
from sagaline.sagas.policy import to_ms
from sagaline.sagas.process_manager import ProcessManager
from sagaline.sagas.routing_slip import RoutingSlip

from .gatherings import OF, PARTS
from .invent import TABLES
from .managers import STARTS_ON
from .parts import EVENTS, Happened, Known

__all__ = ["BAD", "LATER", "Errand", "agenda", "as_record", "good_rules"]

Request: TypeAlias = Start | Act | Published | SetRules | Posted | Reschedule | Discard | ScheduleRequest | DeadRequest

BAD: Final = "bad"
"""Prefix of the id of a request that must become a dead letter."""

LATER: Final = "later"
"""The topic of delayed messages."""

_SOON: Final = timedelta(minutes=1)
"""A shorter retention may end before the run."""
_ACTS: Final = (
    *(ActName.CANCEL, ActName.CANCEL, ActName.PAUSE, ActName.PAUSE, ActName.RESUME, ActName.RETRY),
    *(ActName.ABANDON, ActName.SKIP, ActName.WAIVE, ActName.REVISE),
)


_BRINGS: Final[dict[ActName, JsonObject]] = {
    ActName.SKIP: {"number": 1},
    ActName.REVISE: {"ahead": ["step-2", "step-1"]},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A request and its time, in seconds after the start."""

    at: float
    request: Request


def agenda(
    drawn: random.Random,
    definitions: Sequence[AnyDefinition],
    new_id: Callable[[], str],
    seconds: float,
    now_ms: int = 0,
) -> list[Errand]:
    """All requests within this many seconds from ``now_ms`` on, in order."""
    maker = _Maker(drawn, new_id, seconds, now_ms)
    roots = [each for name, each in {each.name: each for each in definitions}.items() if name not in OF]
    for number in range(drawn.randint(2, 6)):
        maker.start(drawn.choice(roots), number)
    for _ in range(drawn.choice((0, 0, 1, 2, 3))):
        maker.act()
    for table, labels in TABLES.items():
        for _ in range(drawn.choice((0, 1, 1, 2))):
            maker.rules(table, labels)
    for group in range(2):
        for event in EVENTS:
            if drawn.random() < 0.4:
                maker.publish(event, f"group-{group}")
    for number in range(drawn.choice((0, 1, 2))):
        maker.delay(number)
    for number in range(drawn.choice((0, 0, 1, 2))):
        maker.schedule(drawn.choice(roots), number)
    for name in sorted({each.name for each in definitions} & OF.keys()):
        for number in range(drawn.choice((1, 2, 3))):
            maker.gather(name, f"k{number}")
    maker.run_again()
    maker.delete_schedules()
    return sorted(maker.errands, key=lambda errand: errand.at)


def as_record(topic: str, request: Request, now_ms: int, partition: int | None = None) -> Outgoing:
    """The request as a record; ``partition``: where a client with another partitioner sends it."""
    if isinstance(request, Start | Act):
        record = encode_request(topic, request, source="/client", now_ms=now_ms)
    else:
        record = encode_entity_message(topic, request, source="/client", now_ms=now_ms, traceparent=None)
    return record._replace(partition=partition)


def good_rules(table: str, new_id: Callable[[], str]) -> SetRules:
    """Rules that are valid for every route of that table."""
    rules = (Rule(when={}, to=TABLES[table][0]),)
    return SetRules(id=new_id(), instance=table_id(table), rules=rules, by="operator", reason="mended")


class _Maker:
    def __init__(self, drawn: random.Random, new_id: Callable[[], str], seconds: float, now_ms: int) -> None:
        self._drawn, self._new_id, self._seconds, self._now_ms = drawn, new_id, seconds, now_ms
        self.errands: list[Errand] = []
        self._instances: list[str] = []
        self._starts: list[tuple[Start, AnyDefinition, float]] = []
        self._puts: list[tuple[PutSchedule, float]] = []

    def start(self, definition: AnyDefinition, number: int) -> None:
        """A start, sometimes twice, sometimes with another input or an invalid one; and events for it."""
        drawn, key = self._drawn, f"k{number}"
        if isinstance(definition, ProcessManager):
            self._manage(definition, key)
            return
        assert isinstance(definition, Saga | RoutingSlip)
        start = Start(id=self._new_id(), definition=definition.name, key=key, input=self._input(definition, key))
        at = self._at(0.5)
        self._ask(at, start)
        self._instances.append(start.instance)
        self._starts.append((start, definition, at))
        if drawn.random() < 0.15:
            self._ask(self._at(1.0, at), start)
        if drawn.random() < 0.1:
            self._ask(self._at(1.0), replace(start, id=self._new_id(), input=self._input(definition, key)))
        if definition.retention.completed < _SOON:
            self._live_again(start, definition, at)
        if drawn.random() < 0.05:
            self._ask(self._at(1.0), replace(start, id=f"{BAD}-{self._new_id()}", key=f"bad{number}", input={}))
        for event in EVENTS:
            if drawn.random() < 0.4:
                self.publish(event, key)

    def _live_again(self, start: Start, definition: AnyDefinition, at: float) -> None:
        """Uses the key again, once its first instance may be removed."""
        for _ in range(3):
            at += definition.retention.completed.total_seconds() + self._drawn.uniform(0.0, 2.0)
            self._ask(at, replace(start, id=self._new_id(), input=self._input(definition, start.key)))

    def run_again(self) -> None:
        """For some keys starts that wait for the end of the run before, or replace it; some are sent twice."""
        drawn = self._drawn
        for start, definition, at in self._starts:
            if drawn.random() >= 0.15:
                continue
            for _ in range(drawn.choice((1, 1, 2, 3))):
                conflict = drawn.choice((Conflict.QUEUE, Conflict.QUEUE, Conflict.REPLACE))
                input = self._input(definition, start.key)
                again, later = replace(start, id=self._new_id(), input=input, conflict=conflict), self._at(1.0, at)
                for _ in range(drawn.choice((1, 1, 1, 2))):
                    self._ask(later, again)

    def gather(self, name: str, key: str) -> None:
        """Numbered parts in any order; a few do not come, and some come twice, as the same event or as another one."""
        drawn = self._drawn
        self._instances.append(f"{name}/{key}")
        for number in range(1, PARTS + 1):
            for _ in range(drawn.choice((0, 1, 1, 1, 1, 1, 2, 2))):
                self._publish(OF[name], key, {"key": key, "number": number}, twice=drawn.random() < 0.2)

    def publish(self, event: Event[Happened], key: str) -> None:
        """An event, sometimes twice."""
        number = self._drawn.randint(0, 9)
        self._publish(event, key, {"key": key, "number": number}, twice=self._drawn.random() < 0.2)

    def act(self) -> None:
        """An operator's act on any instance, sometimes twice."""
        drawn = self._drawn
        if not self._instances:
            return
        name = drawn.choice(_ACTS)
        asked = Act(
            id=self._new_id(),
            instance=drawn.choice(self._instances),
            act=name,
            by="operator",
            reason="because",
            step=f"step-{drawn.randint(1, 4)}" if name in (ActName.SKIP, ActName.WAIVE) else "",
            value=_BRINGS.get(name),
        )
        at = self._at(1.0)
        self._ask(at, asked)
        if drawn.random() < 0.3:
            self._ask(self._at(1.0, at), asked)

    def rules(self, table: str, labels: Sequence[str]) -> None:
        """New rules for a router; sometimes one for an unknown branch."""
        drawn = self._drawn
        to = "nowhere" if drawn.random() < 0.1 else drawn.choice(labels)
        rules = (Rule(when={"size": {"<": drawn.randint(0, 9)}}, to=to), Rule(when={"group": 1}, to=labels[0]))
        self._ask(self._at(1.0), SetRules(id=self._new_id(), instance=table_id(table), rules=rules, by="operator"))

    def delay(self, number: int) -> None:
        """A delayed message, sometimes twice, sometimes due already; it may be rescheduled or cancelled."""
        drawn, message = self._drawn, f"later-{number}"
        at = self._at(1.0)
        content = to_base64(message.encode())
        letter = Letter(id=message, topic=LATER, key=content, value=content)
        id, due_ms = delayed_id(message), self._due_ms(at)
        posted = Posted(id=self._new_id(), instance=id, letter=letter, due_ms=due_ms)
        self._ask(at, posted)
        if drawn.random() < 0.3:
            self._ask(self._at(1.0, at), posted)
        if drawn.random() < 0.4:
            asked = self._at(1.0, at)
            self._ask(asked, Reschedule(id=self._new_id(), instance=id, due_ms=self._due_ms(asked), by="operator"))
        if drawn.random() < 0.2:
            self._ask(self._at(1.0, at), Discard(id=self._new_id(), instance=id, by="operator"))

    def schedule(self, definition: AnyDefinition, number: int) -> None:
        """A schedule with some due times in one minute; it may be paused, triggered, changed or filled back."""
        if isinstance(definition, ProcessManager):
            return
        drawn, id = self._drawn, schedule_id(f"s{number}")
        plan = Plan(
            definition=definition.name,
            input=self._input(definition, f"s{number}"),
            calendar=self._calendar(),
            catch_up=drawn.choice(("skip", "once", "all")),
            grace_ms=drawn.choice((0, 1_000, 60_000)),
            jitter_ms=drawn.choice((0, 1_500, 5_000)),
        )
        put = PutSchedule(id=self._new_id(), instance=id, plan=plan, by="operator")
        at = self._at(0.3)
        self._ask(at, put)
        self._puts.append((put, at))
        if drawn.random() < 0.3:
            self._ask(self._at(1.0, at), put)
        if drawn.random() < 0.3:
            other = replace(plan, calendar=self._calendar(), catch_up="all")
            self._ask(self._at(1.0, at), PutSchedule(id=self._new_id(), instance=id, plan=other, by="operator"))
        if drawn.random() < 0.4:
            paused = self._at(1.0, at)
            self._ask(paused, PauseSchedule(id=self._new_id(), instance=id, by="operator"))
            self._ask(self._at(1.0, paused), ResumeSchedule(id=self._new_id(), instance=id, by="operator"))
        if drawn.random() < 0.4:
            trigger = Trigger(id=self._new_id(), instance=id, by="operator")
            for _ in range(drawn.choice((1, 2))):
                self._ask(self._at(1.0, at), trigger)
        if drawn.random() < 0.3:
            asked = self._at(1.0, at)
            to_ms = self._now_ms + round(1_000 * asked)
            self._ask(
                asked, Backfill(id=self._new_id(), instance=id, from_ms=to_ms - 8_000, to_ms=to_ms, by="operator")
            )

    def delete_schedules(self) -> None:
        """Some schedules are deleted; then the put from before may be sent again, or another one."""
        drawn = self._drawn
        for put, at in self._puts:
            if drawn.random() >= 0.4:
                continue
            deleted, request = (
                self._at(1.0, at),
                DeleteSchedule(id=self._new_id(), instance=put.instance, by="operator"),
            )
            for _ in range(drawn.choice((1, 2))):
                self._ask(self._at(1.0, deleted), request)
            for again in drawn.choice(((), (put,), (replace(put, id=self._new_id()),))):
                self._ask(self._at(1.0, deleted), again)

    def _calendar(self) -> Calendar:
        """Some seconds of the minute in which the run begins, in every year."""
        begins = at_utc(self._now_ms)
        seconds = range(begins.second, min(60, begins.second + round(self._seconds) + 2))
        chosen = self._drawn.sample(seconds, min(3, len(seconds)))
        text = ",".join(map(str, sorted(chosen)))
        return Calendar(cron=f"{text} {begins.minute} {begins.hour} {begins.day} {begins.month} *")

    def _due_ms(self, at: float) -> int:
        return self._now_ms + round(1_000 * (at + self._drawn.uniform(-1.0, self._seconds)))

    def _manage(self, manager: ProcessManager[Known], key: str) -> None:
        """The events of one process, in any order."""
        drawn = self._drawn
        self._instances.append(f"{manager.name}/{key}")
        for name, subscription in manager.subscriptions.items():
            event = subscription.event
            body: JsonObject = {"key": key, "number": drawn.randint(0, 9)}
            if event.model is not Happened:
                body = dict(samples(event.model)[0]) | {"order_id": key}
            if name == STARTS_ON.name or subscription.starts is not None or drawn.random() < 0.6:
                self._publish(event, key, body, twice=drawn.random() < 0.5)

    def _publish(self, event: Event[Any], key: str, body: JsonObject, *, twice: bool) -> None:
        keep_seconds = min(event.keep.total_seconds(), 5.0)
        published = Published(
            id=self._new_id(),
            instance=mailbox_id(event.name, key),
            event=event.name,
            key=key,
            body=body,
            keep_ms=to_ms(event.keep),
        )
        at = self._at(1.0)
        self._ask(at, published)
        if twice:
            forgotten = at + keep_seconds + 0.2 if self._drawn.random() < 0.5 else at
            self._ask(self._at(1.0, forgotten), published)

    def _input(self, definition: AnyDefinition, key: str) -> JsonObject:
        if definition.state is not Known:
            shipped: JsonObject = samples(definition.state)[0]
            return shipped
        size = self._drawn.choice((*range(10), 8, 8, 9))  # of 8 undos raise, of 9 steps, if any does
        known = Known(key=key, size=size, group=self._drawn.randint(0, 1))
        return as_json(known)

    def _at(self, share: float, after: float = 0.0) -> float:
        return max(after, self._drawn.uniform(0.0, self._seconds * share))

    def _ask(self, at: float, request: Request) -> None:
        self.errands.append(Errand(at=at, request=request))
