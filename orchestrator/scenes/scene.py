"""``Scene``: one instance and the entities it uses, in memory, driven by method calls. Decisions are by ``decide``.

A scene is immutable: each method returns a new one, so scenes can be kept, compared and continued several times. Time
passes only when told to. Messages between entities (children, mailboxes, locks, tables) arrive at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

from pydantic import BaseModel

from ...sagas import Event
from ...sagas.definition import AnyDefinition
from ...sagas.models import read, read_foreign
from ...sagas.personal import pretend_sealed
from ...sagas.policy import to_ms
from ..kernel import Registry, decide, decide_entity, names_instance
from ..messages.document import Attention, Document, Status, StepStatus
from ..messages.entities import Entity
from ..messages.entity_messages import EventDelivered, Published, Rule, SetRules, mailbox_id, table_id, table_name
from ..messages.forwarding import forwarded
from ..messages.inputs import Act, ActName, Arrival, Completed, Failed, Message, Rejected, Start, TimerFired
from ..messages.outputs import Change, Decision, Publish, SendCommand, Tell, command_id, label_of
from ..messages.slips import Slip
from ..messages.values import JsonObject, as_json, instance_id
from .sample import samples

__all__ = ["DueTimer", "Scene"]

Value = BaseModel | JsonObject
_MESSAGES_MAX = 10_000
_TURNS_MAX = 1_000
_NO_WAKE = ("~retention", "keep")
_SENT = {False: StepStatus.SENT, True: StepStatus.UNDO_SENT}
_BACKOFF = {False: StepStatus.BACKOFF, True: StepStatus.UNDO_BACKOFF}


@dataclass(frozen=True, slots=True, order=True)
class DueTimer:
    """A timer of an instance, ordered by its time."""

    due_ms: int
    instance: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The current state of everything. Created by ``start`` (a saga) or ``of`` (a process manager, started by events).

    ``id`` is the instance under test; ``sent``, ``published`` and ``changes`` (with the instance's id) hold everything
    since the beginning.
    """

    definition: AnyDefinition
    registry: Registry
    id: str
    entities: Mapping[str, Document | Entity] = field(default_factory=dict)
    now_ms: int = 0
    sent: tuple[SendCommand, ...] = ()
    published: tuple[Published, ...] = ()
    changes: tuple[tuple[str, Change], ...] = ()
    last: Decision | None = None
    count: int = 0

    # -- beginning ---------------------------------------------------------------------------------------------------

    @classmethod
    def of(cls, definition: AnyDefinition, *, key: str = "k") -> Scene:
        """The scene before anything has happened."""
        return cls(definition=definition, registry=Registry([definition]), id=instance_id(definition.name, key))

    @classmethod
    def start(
        cls,
        definition: AnyDefinition,
        input: Value | None = None,
        *,
        key: str = "k",
        rules: Mapping[str, str] | None = None,
    ) -> Scene:
        """Starts a saga; the default input is the smallest valid one.

        ``rules``: table -> branch that the table returns for all facts.

        Raises:
            AssertionError: the input is not valid.
        """
        scene = cls.of(definition, key=key)
        given = samples(definition.state)[0] if input is None else _json(input)
        for table, branch in (rules or {}).items():
            rule = Rule(when={}, to=branch)
            scene = scene.play(SetRules(id=f"rules-{table}", instance=table_id(table), rules=(rule,)))
        started = scene.play(Start(id="start", definition=definition.name, key=key, input=given))
        assert started.id in started.entities, started.last.reason if started.last else "it was not started"
        return started

    # -- replies of workers ------------------------------------------------------------------------------------------

    def ok(self, step: str, reply: Value | None = None, *, of: str | None = None) -> Scene:
        """The worker completes the step; the default reply is the smallest valid one. ``of``: a child's instance."""
        return self._completed(self.open(step, of=of), reply)

    def rejects(self, step: str, reason: str = "no", *, code: str = "no", of: str | None = None) -> Scene:
        """The worker rejects the step."""
        return self._rejected(self.open(step, of=of), reason, code)

    def crash(self, step: str, *, of: str | None = None) -> Scene:
        """One attempt fails."""
        return self._failed(self.open(step, of=of))

    def exhaust(self, step: str, *, of: str | None = None) -> Scene:
        """Every attempt fails, until the step fails."""
        return self._exhausted(step, of, undo=False)

    def time_out(self, step: str, *, of: str | None = None) -> Scene:
        """No reply comes until the step times out."""
        return self._silent(step, of, undo=False)

    def undo_ok(self, step: str, reply: Value | None = None, *, of: str | None = None) -> Scene:
        """The worker completes the undo."""
        return self._completed(self.open(step, undo=True, of=of), reply)

    def undo_rejects(self, step: str, reason: str = "no", *, of: str | None = None) -> Scene:
        """The worker rejects the undo."""
        return self._rejected(self.open(step, undo=True, of=of), reason, "no")

    def undo_crash(self, step: str, *, of: str | None = None) -> Scene:
        """One attempt of the undo fails."""
        return self._failed(self.open(step, undo=True, of=of))

    def undo_exhaust(self, step: str, *, of: str | None = None) -> Scene:
        """Every attempt of the undo fails, until the undo fails."""
        return self._exhausted(step, of, undo=True)

    def undo_time_out(self, step: str, *, of: str | None = None) -> Scene:
        """No reply to the undo comes until it times out."""
        return self._silent(step, of, undo=True)

    def late(self, step: str, reply: Value | None = None, *, of: str | None = None) -> Scene:
        """A reply to the last (forward) command of a step arrives, even if it is no longer expected."""
        return self._completed(self._newest(step, of), reply)

    duplicate = late

    # -- people and events -------------------------------------------------------------------------------------------

    def cancel(self, reason: str = "", *, of: str | None = None) -> Scene:
        """Cancels the instance."""
        return self.act(ActName.CANCEL, reason, of=of)

    def retry(self, *, of: str | None = None) -> Scene:
        """An operator retries what put the instance into attention."""
        return self.act(ActName.RETRY, of=of)

    def answer(self, step: str, form: Value, *, by: str | None = None, of: str | None = None) -> Scene:
        """A person answers a question, by default the first who may; ``last`` holds a denial."""
        return self.act(ActName.ANSWER, step=step, value=form, by=by or self._asked(step, of), of=of)

    def _asked(self, step: str, of: str | None) -> str:
        document = self.entities.get(of or self.id)
        record = document.steps.get(step) if isinstance(document, Document) else None
        who = (record.memo or {}).get("who") if record else None
        return str(who[0]) if isinstance(who, list) and who else "somebody"

    def act(
        self,
        act: ActName,
        reason: str = "",
        *,
        step: str = "",
        value: Value | None = None,
        by: str = "somebody",
        of: str | None = None,
    ) -> Scene:
        """An operator's act on the instance or on one of its steps."""
        given = None if value is None else _json(value)
        asked = Act(
            id=f"act-{self.count}", instance=of or self.id, act=act, by=by, reason=reason, step=step, value=given
        )
        return self.play(asked)

    def receives(self, event: Event[Any] | str, body: Value | None = None, *, key: str | None = None) -> Scene:
        """Publishes an event; the default key is one that an instance here waits for."""
        name = event if isinstance(event, str) else event.name
        if body is None:
            body = samples(self._event(name).model)[0]
        box = self._box(name) if key is None else mailbox_id(name, key)
        published = Published(
            id=f"event-{self.count}",
            instance=box,
            event=name,
            key=box.split("/", 2)[2],
            body=_json(body),
            keep_ms=to_ms(self._event(name).keep),
        )
        return self.play(published)

    # -- time --------------------------------------------------------------------------------------------------------

    @property
    def timers(self) -> list[DueTimer]:
        """The timers of all instances, earliest first."""
        return sorted(
            DueTimer(due_ms, id, name)
            for id, entity in self.entities.items()
            for name, due_ms in entity.timers.items()
            if name not in _NO_WAKE
        )

    @property
    def has_timer(self) -> bool:
        """True when an instance has a timer."""
        return any(name not in _NO_WAKE for entity in self.entities.values() for name in entity.timers)

    def tick(self) -> Scene:
        """Time passes until the next timer, which fires."""
        timers = self.timers
        assert timers, f"{self.id} has no timer\n{self}"
        return self._fire(timers[0])

    def advance(self, span: timedelta) -> Scene:
        """Time passes; timers that are due fire."""
        scene, until_ms = self, self.now_ms + to_ms(span)
        for _ in range(_TURNS_MAX):
            due = [timer for timer in scene.timers if timer.due_ms <= until_ms]
            if not due:
                break
            scene = scene._fire(due[0])
        return replace(scene, now_ms=until_ms)

    def settle(self) -> Scene:
        """Every worker completes its commands and time passes, until the instance ends, needs attention or is idle."""
        scene = self
        for each in self.walk():
            scene = each
        return scene

    def walk(self) -> Iterator[Scene]:
        """This scene, and every scene on the way of ``settle``."""
        scene = self
        for _ in range(_TURNS_MAX):
            yield scene
            waiting = scene.waiting
            if waiting:
                scene = scene._completed(waiting[0], None)
            elif scene.status in (None, Status.ATTENTION) or cast(Status, scene.status).is_final or not scene.has_timer:
                return
            else:
                scene = scene.tick()

    # -- the current state -------------------------------------------------------------------------------------------

    @property
    def documents(self) -> list[Document]:
        """Every instance of the scene: the one under test and its children."""
        return [entity for entity in self.entities.values() if isinstance(entity, Document)]

    @property
    def document(self) -> Document:
        """The instance under test."""
        found = self.entities.get(self.id)
        assert isinstance(found, Document), f"there is no instance {self.id}; it has not been started"
        return found

    @property
    def status(self) -> Status | None:
        """Its status; None: it has not been started."""
        found = self.entities.get(self.id)
        return found.status if isinstance(found, Document) else None

    @property
    def state(self) -> Any:
        """Its state, as the author's model."""
        return read(self.definition.state, self.document.state)

    @property
    def attention(self) -> Attention | None:
        """Why an operator must act, for the instance or else for one of its children."""
        return next((each.attention for each in [self.document, *self.documents] if each.attention), None)

    @property
    def undone(self) -> tuple[str, ...]:
        """All undone steps, each as ``{instance}/{step}``, in order."""
        return tuple(f"{id}/{each.what}" for id, each in self.changes if each.after == StepStatus.UNDONE)

    @property
    def waiting(self) -> list[SendCommand]:
        """The commands that wait for their replies, oldest first."""
        found = []
        for command in self.sent:
            document = self.entities.get(command.instance)
            if not isinstance(document, Document):
                continue
            record = document.steps.get(command.step)
            if record is None or label_of(command.step, record.generation, document.incarnation) != command.label:
                continue
            attempt = record.undo_attempt if command.undo else record.attempt
            kept = (each.command_id for each in document.deferred if isinstance(each, Completed | Rejected | Failed))
            if record.status is _SENT[command.undo] and attempt == command.attempt and command.id not in kept:
                found.append(command)
        return found

    def step(self, place: str) -> StepStatus | None:
        """The status of a step; None: it has not begun."""
        record = self.document.steps.get(place)
        return record.status if record else None

    def open(self, step: str, *, undo: bool = False, of: str | None = None) -> SendCommand:
        """The command of a step, or of its undo, that waits for its reply.

        Raises:
            AssertionError: there is no such command.
        """
        for document in self.documents:
            record = document.steps.get(step)
            if record is None or record.status is not _SENT[undo] or of not in (None, document.id):
                continue
            attempt = record.undo_attempt if undo else record.attempt
            label = label_of(step, record.generation, document.incarnation)
            id = command_id(document.id, label, undo=undo, attempt=attempt)
            return next(command for command in reversed(self.sent) if command.id == id)
        there = ", ".join(f"{'the undo of ' if each.undo else ''}{each.step}" for each in self.waiting)
        what = f"the undo of {step!r}" if undo else repr(step)
        raise AssertionError(f"no reply to {what} is expected; expected: {there or 'nothing'}\n{self}")

    def __str__(self) -> str:
        document = self.document
        steps = "".join(f"\n  {place}: {record.status}" for place, record in document.steps.items())
        attention = f"\n  attention: {document.attention.message}" if document.attention else ""
        return f"{self.id} is {document.status}{steps}{attention}"

    # -- messages ----------------------------------------------------------------------------------------------------

    def play(self, message: Message) -> Scene:
        """Delivers a message, and all messages between entities that follow from it."""
        entities: dict[str, Document | Entity] = dict(self.entities)
        sent, published, changes = list(self.sent), list(self.published), list(self.changes)
        queue, last = deque([message]), self.last
        for count in range(_MESSAGES_MAX):
            if not queue:
                break
            current = queue.popleft()
            entity = entities.get(current.instance)
            arrival = Arrival(message=current, now_ms=self.now_ms)
            after: Document | Entity | None
            if not names_instance(current.instance):
                entity = None if isinstance(entity, Document) else entity
                subscribers, wrong = self.registry.subscribers(current) if isinstance(current, Published) else ((), "")
                assert not wrong, wrong
                branches = self.registry.tables.get(table_name(current.instance), ())
                answer = decide_entity(entity, arrival, subscribers=subscribers, branches=branches)
                after, actions = answer.entity, answer.actions
            else:
                document = entity if isinstance(entity, Document) else None
                decision = decide(self._deployed(current, document), document, arrival)
                last = last if count and current.instance != self.id else decision
                after, actions = decision.document, decision.actions
                changes += [(current.instance, change) for change in decision.changes]
            if after is None:
                entities.pop(current.instance, None)
            else:
                entities[current.instance] = after
            for action in actions:
                if isinstance(action, SendCommand):
                    sent.append(action)
                elif isinstance(action, Tell):
                    queue.append(action.message)
                elif isinstance(action, Publish):
                    published.append(action.event)
        return Scene(
            definition=self.definition,
            registry=self.registry,
            id=self.id,
            entities=entities,
            now_ms=self.now_ms,
            sent=tuple(sent),
            published=tuple(published),
            changes=tuple(changes),
            last=last,
            count=self.count + 1,
        )

    def _deployed(self, message: Message, document: Document | None) -> AnyDefinition | None:
        if document is not None:
            return self.registry.deciding(document, message)
        if isinstance(message, Start):
            return self.registry.find(message.definition, message.version)
        return self.registry.find(message.instance.partition("/")[0]) if isinstance(message, EventDelivered) else None

    def _completed(self, command: SendCommand, reply: Value | None) -> Scene:
        given = samples(self._contract(command).reply)[0] if reply is None else _json(reply)
        onward = None if command.slip is None else self._forwarded(command, command.slip, given)
        done = Completed(
            id=f"reply-{self.count}",
            instance=command.instance,
            command_id=command.id,
            reply=given,
            forwarded="" if onward is None else onward.id,
        )
        return (self if onward is None else replace(self, sent=(*self.sent, onward))).play(done)

    def _forwarded(self, command: SendCommand, slip: Slip, reply: JsonObject) -> SendCommand | None:
        """The command that the worker forwards for a slip; None: the slip returns."""
        model = read_foreign(self._contract(command).reply, reply)
        return forwarded(slip, command.instance, as_json(model))

    def _rejected(self, command: SendCommand, reason: str, code: str) -> Scene:
        id = f"reply-{self.count}"
        return self.play(Rejected(id=id, instance=command.instance, command_id=command.id, reason=reason, code=code))

    def _failed(self, command: SendCommand) -> Scene:
        id = f"reply-{self.count}"
        return self.play(Failed(id=id, instance=command.instance, command_id=command.id, error="it crashed"))

    def _exhausted(self, step: str, of: str | None, *, undo: bool) -> Scene:
        instance = self.open(step, undo=undo, of=of).instance
        scene = self
        for _ in range(_TURNS_MAX):
            status = scene._status_at(instance, step)
            if status is _SENT[undo]:
                scene = scene._failed(scene.open(step, undo=undo, of=instance))
            elif status is _BACKOFF[undo]:
                scene = scene._fire(scene._next_of(instance, step))
            else:
                break
        return scene

    def _silent(self, step: str, of: str | None, *, undo: bool) -> Scene:
        instance = self.open(step, undo=undo, of=of).instance
        scene = self
        for _ in range(_TURNS_MAX):
            if scene._status_at(instance, step) not in (_SENT[undo], _BACKOFF[undo]) or not scene.timers:
                break  # in attention, a scatter whose time is over still waits until an operator retries
            scene = scene.tick()
        return scene

    def _status_at(self, instance: str, step: str) -> StepStatus | None:
        document = self.entities.get(instance)
        record = document.steps.get(step) if isinstance(document, Document) else None
        return record.status if record else None

    def _next_of(self, instance: str, step: str) -> DueTimer:
        """The next timer of a step; timers of other steps that are due earlier fire after it."""
        return next(t for t in self.timers if t.instance == instance and t.name.rpartition(":")[0] == step)

    def _fire(self, timer: DueTimer) -> Scene:
        id = f"timer-{self.count}"
        fired = TimerFired(id=id, instance=timer.instance, timer=timer.name, due_ms=timer.due_ms)
        return replace(self, now_ms=max(self.now_ms, timer.due_ms)).play(fired)

    def _newest(self, step: str, of: str | None) -> SendCommand:
        for command in reversed(self.sent):
            if command.step == step and not command.undo and (of is None or command.instance == of):
                return command
        raise AssertionError(f"no command of {step!r} has been sent\n{self}")

    def _contract(self, command: SendCommand) -> Any:
        return next(c for each in self.registry for c in each.contracts if c.name == command.contract)

    def _event(self, name: str) -> Event[Any]:
        found = next((each for one in self.registry for each in one.events if each.name == name), None)
        assert found is not None, f"{self.definition!r} knows no event {name!r}"
        return found

    def _box(self, event: str) -> str:
        """The mailbox of an event that an instance here waits for."""
        boxes: Iterable[str] = (id for id in self.entities if id.startswith(f"@mailbox/{event}/"))
        return next(iter(boxes), mailbox_id(event, self.id.partition("/")[2]))


def _json(value: Value) -> JsonObject:
    return as_json(pretend_sealed(value)) if isinstance(value, BaseModel) else value
