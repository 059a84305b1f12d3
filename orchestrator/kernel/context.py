"""The working copy of one decision: the fields of a document, changed step by step and put together again at the end.

It lives for one call of ``decide``. Only this module changes a status, through the tables in ``transitions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from pydantic import BaseModel, JsonValue

from ...sagas.models import read
from ...sagas.nodes import Child, Each, Node, Parallel, Step
from ...sagas.policy import to_ms
from ...sagas.process_manager import ProcessManager
from ..messages.document import FORMAT, Attention, Cause, CauseKind, Document, Managed, Status, StepRecord, StepStatus
from ..messages.inputs import JsonObject, Message, TimerFired
from ..messages.outputs import Action, Change, Decision, Outcome, Tell, label_of
from ..messages.texts import end_of, said, storable
from ..messages.values import as_json
from .ending import end_messages, left_dead, left_events, next_run
from .places import around, name_of
from .transitions import INSTANCE, STEP

if TYPE_CHECKING:
    from ...sagas.definition import AnyDefinition
    from .limits import Limits

__all__ = ["RETENTION", "DecisionContext", "as_json", "said", "told_id"]

RETENTION = "~retention"


def told_id(document: Document, number: int) -> str:
    """The id of the n-th message that the next decision about an instance sends to others."""
    return f"{document.id}/{label_of(f'~{document.revision + 1}.{number}', 0, document.incarnation)}"


class DecisionContext:
    """One decision in progress. ``definition`` is the version that the instance is pinned to."""

    def __init__(self, definition: AnyDefinition, document: Document, now_ms: int, limits: Limits) -> None:
        self.definition, self.document, self.now_ms, self.limits = definition, document, now_ms, limits
        self.status = document.status
        self.state = document.state
        self.backward = document.backward
        self.paused, self.paused_ms = document.paused, document.paused_ms
        self.pivot_passed = document.pivot_passed
        self.steps = dict(document.steps)
        self.timers = dict(document.all_timers)
        self.cause: Cause | None = document.cause
        self.attention: Attention | None = document.attention
        self.deferred = document.deferred
        self.finished_ms, self.archive = document.finished_ms, document.archive
        self.actions: list[Action] = []
        self.changes: list[Change] = []
        self.requests = document.requests
        self.itinerary = document.itinerary
        self.restarts, self.restarting = document.restarts, document.restarting
        self._managed = document.managed
        self.again = False
        self.quiet = False
        """True while deferred messages are applied and nothing may be sent yet (``deferral.take_in``)."""
        self._told = 0
        self._model: BaseModel | None = None

    @property
    def id(self) -> str:
        return self.document.id

    @property
    def stopped(self) -> bool:
        """True when nothing more may be sent: the instance has ended, needs attention, or is paused."""
        return self.paused or self.quiet or not self.status.is_active

    @property
    def managed(self) -> Managed:
        """The part of the document that only process managers have."""
        return self._managed or Managed()

    @managed.setter
    def managed(self, value: Managed) -> None:
        self._managed = value

    def node(self, place: str) -> Node[BaseModel]:
        """The node of a place."""
        return self.definition.tree[name_of(place)].node

    def step(self, place: str) -> Step[BaseModel]:
        return self.definition.steps[name_of(place)]

    def around(self, place: str) -> list[tuple[Node[BaseModel], str, str]]:
        """The nodes around a place, innermost first: node, its own place, and the label of the branch."""
        return around(self.definition.tree, place)[::-1]

    def unwinds(self, place: str) -> bool:
        """True when the effect of a place is being undone: with the whole instance, by a restart, or because its branch
        is lost.
        """
        if self.backward or self.rewinds(place):
            return True
        return self.definition.tree.forks and any(
            isinstance(node, Parallel) and label in self.lost(around) for node, around, label in self.around(place)
        )

    def rewinds(self, place: str) -> bool:
        """True when a restart undoes the effect of a place."""
        start = self.restarting
        return start is not None and self.definition.tree.from_on(name_of(start.step), name_of(place))

    def label(self, place: str) -> str:
        """The name of a place in ids outside the instance. It differs for each generation (restart) and for each life
        of the key.
        """
        record = self.steps.get(place)
        return label_of(place, record.generation if record else self.restarts, self.document.incarnation)

    def lost(self, place: str) -> dict[str, str]:
        """The branches of a parallel that have failed or are no longer needed, with the reason."""
        record = self.steps.get(place)
        lost: dict[str, str] = (record.memo or {}).get("lost", {}) if record else {}  # type: ignore[assignment]  # ours
        return lost

    def memo(self, place: str) -> JsonObject:
        """A copy of a place's memo."""
        return dict(self.steps[place].memo or {})

    def remember(self, place: str, memo: Mapping[str, object]) -> None:
        """Replaces a place's memo; its values must be JSON."""
        self.steps[place] = replace(self.steps[place], memo=cast(JsonObject, dict(memo)))

    def tell(self, message: Message) -> None:
        """Sends a message to another entity; its id is set here."""
        self._told += 1
        self.actions.append(Tell(message=replace(message, id=told_id(self.document, self._told))))

    def model(self) -> BaseModel:
        """The state as the author's model. Raises whatever the model's validators raise."""
        model = self._model
        if model is None:
            model = read(self.definition.state, self.state)
            self._model = model
        return model

    def put(self, field: str, value: JsonValue) -> None:
        """Sets one field of the state."""
        self.state = {**self.state, field: value}
        self._model = None

    def replace_state(self, value: BaseModel) -> None:
        """Sets the whole state."""
        self.state = as_json(value, self.definition.state)
        self._model = None

    def replace_json(self, value: JsonObject) -> None:
        """Sets the whole state to a result of ``as_json``."""
        self.state = value
        self._model = None

    def mark(self, name: str, status: StepStatus, *, error: str | None = None, memo: JsonObject | None = None) -> None:
        """Moves a node to another status. An illegal move is a kernel bug and raises AssertionError."""
        record = self._leaving(name, status)
        order = record.order
        if status is StepStatus.DONE:
            order = 1 + max((other.order or 0 for other in self.steps.values()), default=0)
        self.steps[name] = StepRecord(
            status=status,
            at_ms=self.now_ms,
            undo=record.undo,
            attempt=record.attempt,
            undo_attempt=record.undo_attempt,
            spent=record.spent,
            undo_spent=record.undo_spent,
            order=order,
            error=None
            if status in (StepStatus.DONE, StepStatus.UNDONE)
            else self.shortened(error)
            if error
            else record.error,
            memo=record.memo if memo is None else memo,
            generation=record.generation,
            kind=record.kind,
            about=self.node(name).about if status is StepStatus.WAITING else record.about,
        )

    def mark_sent(self, name: str, *, undo: bool, fresh: bool) -> int:
        """Counts one more command of a step, or of its undo, and returns its number. ``fresh`` starts a new round of
        attempts.
        """
        status = StepStatus.UNDO_SENT if undo else StepStatus.SENT
        record = self._leaving(name, status)
        attempt = 1 + (record.undo_attempt if undo else record.attempt)
        self.steps[name] = StepRecord(
            status=status,
            at_ms=self.now_ms,
            undo=record.undo,
            attempt=record.attempt if undo else attempt,
            undo_attempt=attempt if undo else record.undo_attempt,
            spent=attempt - 1 if fresh and not undo else record.spent,
            undo_spent=attempt - 1 if fresh and undo else record.undo_spent,
            order=record.order,
            error=record.error,
            memo=record.memo,
            generation=record.generation,
            kind=record.kind,
            about=record.about if undo else self.node(name).about,
        )
        return attempt

    def _leaving(self, name: str, after: StepStatus) -> StepRecord:
        """The record before a move to another status; a blank one for a step that begins."""
        record = self.steps.get(name)
        before = record.status if record else None
        assert after in STEP[before], f"step {name}: {before} -> {after}"
        self.changes.append(Change(what=name, before=before, after=after))
        if record is not None:
            return record
        node = self.node(name)
        return StepRecord(
            status=after,
            at_ms=self.now_ms,
            kind=node.kind,
            about=node.about,
            undo=self._undo_of(name),
            generation=self.restarts,
        )

    def _undo_of(self, place: str) -> str | None:
        """The name of the contract that undoes a node; None: it has no undo."""
        spot = self.definition.tree[name_of(place)]
        match spot.node:
            case Step():
                undo = spot.node.compensation
                return undo.contract.name if undo else None
            case Child() | Each() if not spot.past_pivot:
                return "unwind"
            case _:
                return None

    def move(self, status: Status) -> None:
        """Moves the instance to another status. An illegal move is a kernel bug and raises AssertionError."""
        assert status in INSTANCE[self.status], f"{self.id}: {self.status} -> {status}"
        self.changes.append(Change(what="instance", before=self.status, after=status))
        self.status = status
        if status.is_final:
            self.finished_ms, self.archive = self.now_ms, self.definition.retention.archive
            self.timers = {RETENTION: self.now_ms + to_ms(self.definition.retention.spans[status])}
            self.paused, self.paused_ms = False, None
            for message in end_messages(self.document, self.steps, status, self.state, self.cause):
                self.tell(message)
            self.actions += next_run(self.document)

    def shortened(self, text: str) -> str:
        """A text from outside, cut in the middle to the limit."""
        return storable(text, self.limits.detail_chars)

    def stop(
        self, kind: CauseKind, message: str, *, step: str | None = None, code: str | None = None, detail: str = ""
    ) -> None:
        """Puts the instance into ``attention``: nothing more is sent until an operator acts.

        Replies to commands in flight are still applied, and their timers stay.
        """
        if self.status is Status.ATTENTION:
            return
        self.attention = Attention(
            kind=kind,
            message=self.shortened(message),
            at_ms=self.now_ms,
            step=step,
            code=code and self.shortened(code),
            detail=end_of(detail, self.limits.detail_chars),
        )
        if step is not None:
            self.clear_timers(step)
        self.move(Status.ATTENTION)

    def pause(self) -> None:
        """Pauses the instance and stops its timers. Timers that are already due become the first deferred messages."""
        if self.paused:
            return
        self.paused, self.paused_ms = True, self.now_ms
        self.changes.append(Change(what="paused", before="resumed", after="paused"))
        for due_ms, timer in sorted((due_ms, timer) for timer, due_ms in self.timers.items() if due_ms <= self.now_ms):
            del self.timers[timer]
            id = f"{self.id}/{timer}/{due_ms}"
            self.deferred = (*self.deferred, TimerFired(id=id, instance=self.id, timer=timer, due_ms=due_ms))

    def unpause(self) -> None:
        """Ends the pause: every timer moves later by its length. The caller applies the deferred messages."""
        if not self.paused:
            return
        stood_ms = 0 if self.paused_ms is None else max(0, self.now_ms - self.paused_ms)
        self.paused, self.paused_ms = False, None
        self.changes.append(Change(what="paused", before="paused", after="resumed"))
        self.timers = {timer: due_ms + stood_ms for timer, due_ms in self.timers.items()}
        for place, record in self.steps.items():
            if record.memo is not None and isinstance(due_ms := record.memo.get("due_ms"), int):
                self.remember(place, record.memo | {"due_ms": due_ms + stood_ms})

    def clear_timers(self, step: str) -> None:
        """Removes every timer of a step."""
        self.timers = {name: due for name, due in self.timers.items() if not name.startswith(f"{step}:")}

    def _leave_queue(self) -> None:
        """What waits at the end is late: its events arrive again, and find an instance that has ended."""
        left = left_events(self._managed, self.deferred)
        self.deferred = ()
        if self._managed is not None:
            self._managed = replace(self._managed, early=())
        if self.cause is not None and self.cause.kind is CauseKind.CANCELLED:
            self.actions += left_dead(self.id, "cancelled", left)
            return
        for event in left:
            self.tell(event)

    def decision(self, outcome: Outcome = Outcome.APPLIED) -> Decision:
        """The decision: the new document, one revision later, with the actions and changes."""
        old = self.document
        if isinstance(self.definition, ProcessManager):
            self.managed = replace(self.managed, late=self.definition.late)
        if self.status.is_final:
            self._leave_queue()
        document = Document(
            format=FORMAT,
            id=old.id,
            definition=old.definition,
            version=old.version,
            key=old.key,
            status=self.status,
            revision=old.revision + 1,
            state=self.state,
            digest=old.digest,
            started_by=old.started_by,
            created_ms=old.created_ms,
            updated_ms=old.touched_ms(self.now_ms),
            paused=self.paused,
            paused_ms=self.paused_ms,
            held=self.timers if self.paused else {},
            backward=self.backward,
            pivot_passed=self.pivot_passed,
            steps=self.steps,
            timers={} if self.paused else self.timers,
            cause=self.cause,
            attention=self.attention,
            deferred=self.deferred,
            finished_ms=self.finished_ms,
            archive=self.archive,
            traceparent=old.traceparent,
            parent=old.parent,
            requests=self.requests,
            managed=self._managed,
            itinerary=self.itinerary,
            restarts=self.restarts,
            restarting=self.restarting,
            origin=old.origin,
            incarnation=old.incarnation,
            queued=old.queued,
        )
        return Decision(document=document, outcome=outcome, actions=tuple(self.actions), changes=tuple(self.changes))
