"""What the kernel's tests share: small sagas, a driver that plays one instance, and the laws of every decision.

Each call of the driver goes through ``lawful``: it decides twice, compares, stores and reads back the document, and
checks what must hold whatever the message was. Transitions that were seen are collected in ``SEEN``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import TypeVar, cast

from pydantic import BaseModel

from sagaline.orchestrator.codec.documents import decode_document, encode_document
from sagaline.orchestrator.kernel import Limits, decide
from sagaline.orchestrator.kernel.context import RETENTION
from sagaline.orchestrator.kernel.transitions import INSTANCE, STEP
from sagaline.orchestrator.messages.document import Document, Status, StepStatus
from sagaline.orchestrator.messages.inputs import (
    Act,
    ActName,
    Arrival,
    Completed,
    Failed,
    JsonObject,
    Message,
    Rejected,
    Start,
    TimerFired,
)
from sagaline.orchestrator.messages.outputs import Decision, Outcome, SendCommand, command_id, label_of
from sagaline.orchestrator.messages.reasons import Reason, ReasonCode
from sagaline.sagas import Contract, Node, Retry, Saga, Step, pivot, step

SECOND = 1_000
S = TypeVar("S", bound=BaseModel)
STEP_TIMEOUT = timedelta(seconds=60)
UNDO_TIMEOUT = timedelta(seconds=600)
RETENTION_MS = 3_600_000
TOO_LARGE = Reason(ReasonCode.TOO_LARGE, "too large")
ENGINE_FAILED = Reason(ReasonCode.ENGINE_FAILED, "no")

SEEN: set[tuple[str, Status | StepStatus | None, Status | StepStatus]] = set()
"""(kind, before, after) of every transition that any test of this process went through."""


class Do(BaseModel):
    n: int


class Did(BaseModel):
    ok: bool


class Undid(BaseModel):
    was_done: bool


class Notes(BaseModel):
    n: int
    a: Did | None = None
    b: Did | None = None
    c: Did | None = None


REPLIES: Mapping[bool, JsonObject] = {False: {"ok": True}, True: {"was_done": True}}


def make_step(
    name: str, *, undo: bool, broken: bool = False, broken_undo: bool = False, attempt_timeout: timedelta | None = None
) -> Step[Notes]:
    """A step whose functions raise when they are ``broken``."""
    retry = Retry(max_attempts=2, attempt_timeout=attempt_timeout)

    @step(Contract(f"do-{name}", Do, Did, queue="q"), into=name, timeout=STEP_TIMEOUT, retry=retry, name=name)
    def build(s: Notes) -> Do:
        if broken:
            raise RuntimeError(f"{name} is broken")
        return Do(n=s.n)

    if undo:

        @build.undo(Contract(f"undo-{name}", Do, Undid, queue="q"), timeout=UNDO_TIMEOUT, retry=retry)
        def unbuild(s: Notes) -> Do:
            if broken_undo:
                raise RuntimeError(f"the undo of {name} is broken")
            return Do(n=-s.n)

    return build


@lru_cache(maxsize=256)
def make_saga(
    flow: str = "abc",
    *,
    undo: str = "abc",
    broken: str = "",
    broken_undo: str = "",
    attempt_timeout: timedelta | None = None,
    version: int = 1,
) -> Saga[BaseModel]:
    """A saga of one-letter steps; ``|`` in ``flow`` is the pivot."""
    nodes: list[Node[Notes]] = []
    for letter in flow:
        if letter == "|":
            nodes.append(pivot)
            continue
        may_undo = letter in undo and "|" not in flow[: flow.index(letter)]
        nodes.append(
            make_step(
                letter,
                undo=may_undo,
                broken=letter in broken,
                broken_undo=letter in broken_undo,
                attempt_timeout=attempt_timeout,
            )
        )
    retention = timedelta(milliseconds=RETENTION_MS)
    return erased(Saga("demo", Notes, version=version, flow=nodes, retention=retention))


def erased(saga: Saga[S]) -> Saga[BaseModel]:
    """A saga as the kernel takes it, which knows nothing of its state's type."""
    return cast(Saga[BaseModel], saga)


def lawful(
    definition: Saga[BaseModel] | None, document: Document | None, message: Message, now_ms: int, limits: Limits
) -> Decision:
    """One decision, with the laws that hold for every one."""
    arrival = Arrival(message=message, now_ms=now_ms)
    frozen = encode_document(document) if document else b""
    decision = decide(definition, document, arrival, limits)
    assert decide(definition, document, arrival, limits) == decision, "decide is not pure: two answers to one question"
    assert (encode_document(document) if document else b"") == frozen, "decide has changed its input"
    assert decision.code is not None or decision.outcome is Outcome.APPLIED, "no program can tell why"
    after = decision.document
    if decision.outcome in (Outcome.APPLIED, Outcome.DEFERRED):
        assert after is None or after.revision == (document.revision if document else 0) + 1
        assert after != document
    else:
        assert after == document, f"{decision.outcome} must leave the document alone"
        assert not decision.changes
        assert not [action for action in decision.actions if isinstance(action, SendCommand)]
    _check_changes(decision)
    if after is not None:
        assert decode_document(encode_document(after)) == after, "the stored document reads as another one"
        check_document(after)
    return decision


def _check_changes(decision: Decision) -> None:
    for change in decision.changes:
        if change.what == "instance":
            before, after = Status(change.before) if change.before else None, Status(change.after)
            assert after in INSTANCE[before], change
            SEEN.add(("instance", before, after))
        elif change.what not in ("paused", "overdue", "state", "restart", "fork"):
            was, now = StepStatus(change.before) if change.before else None, StepStatus(change.after)
            assert now in STEP[was], change
            SEEN.add(("step", was, now))


def check_document(document: Document) -> None:
    """G4 and the shape of a document: a live instance has a wake-up, or an operator is asked."""
    status = document.status
    if status.is_final:
        assert set(document.timers) == {RETENTION}
        assert document.finished_ms is not None
        return
    assert (status is Status.ATTENTION) == (document.attention is not None)
    assert not (document.pivot_passed and document.backward), "unwound although it is past its pivot"
    if status is Status.ATTENTION or document.paused:
        return
    in_flight = [n for n, r in document.steps.items() if r.status in (StepStatus.SENT, StepStatus.UNDO_SENT)]
    waiting = [n for n, r in document.steps.items() if r.status in (StepStatus.BACKOFF, StepStatus.UNDO_BACKOFF)]
    assert len(in_flight) + len(waiting) == 1, "a sequential flow has exactly one thing under way"
    assert all(f"{name}:deadline" in document.timers for name in in_flight + waiting), "nothing ends the waiting"
    assert all(f"{name}:retry" in document.timers for name in waiting), "nothing ends the wait for a retry"


@dataclass
class Play:
    """One instance, driven message by message. Replies are for the newest attempt unless told otherwise."""

    definition: Saga[BaseModel] | None
    limits: Limits = field(default_factory=Limits)
    now_ms: int = 1_000_000
    stored: Document | None = None
    sent: list[SendCommand] = field(default_factory=list)
    count: int = 0

    @property
    def document(self) -> Document:
        assert self.stored is not None
        return self.stored

    @property
    def status(self) -> str:
        return self.document.status.value

    @property
    def statuses(self) -> dict[str, str]:
        return {name: record.status.value for name, record in self.document.steps.items()}

    @property
    def ids(self) -> list[str]:
        """Command ids in the order in which they left, without the instance and its incarnation."""
        life = f"~{self.sent[0].incarnation}" if self.sent else ""
        return [command.id.removeprefix("demo/k/").replace(life, "") for command in self.sent]

    def apply(self, message: Message) -> Decision:
        decision = lawful(self.definition, self.stored, message, self.now_ms, self.limits)
        self.stored = decision.document
        self.sent += [action for action in decision.actions if isinstance(action, SendCommand)]
        return decision

    def start(self, input: JsonObject | None = None) -> Decision:
        body: JsonObject = {"n": 1} if input is None else input
        return self.apply(Start(id=self._id(), definition="demo", key="k", input=body))

    def ok(
        self, name: str, *, undo: bool = False, attempt: int | None = None, reply: JsonObject | None = None
    ) -> Decision:
        body = REPLIES[undo] if reply is None else reply
        return self.apply(
            Completed(id=self._id(), instance="demo/k", command_id=self._command(name, undo, attempt), reply=body)
        )

    def reject(self, name: str, *, undo: bool = False, attempt: int | None = None) -> Decision:
        return self.apply(
            Rejected(
                id=self._id(), instance="demo/k", command_id=self._command(name, undo, attempt), reason="no", code="no"
            )
        )

    def fail(self, name: str, *, undo: bool = False, attempt: int | None = None) -> Decision:
        return self.apply(
            Failed(id=self._id(), instance="demo/k", command_id=self._command(name, undo, attempt), error="boom")
        )

    def fire(self, timer: str) -> Decision:
        """Waits for a timer that is set and fires it."""
        due_ms = self.document.timers[timer]
        self.now_ms = max(self.now_ms, due_ms)
        return self.apply(TimerFired(id=self._id(), instance="demo/k", timer=timer, due_ms=due_ms))

    def act(self, act: ActName, *, by: str = "", reason: str = "") -> Decision:
        return self.apply(Act(id=self._id(), instance="demo/k", act=act, by=by, reason=reason))

    def _command(self, name: str, undo: bool, attempt: int | None) -> str:
        if attempt is None:
            record = self.document.steps[name]
            attempt = record.undo_attempt if undo else record.attempt
        return command_id("demo/k", self.label(name), undo=undo, attempt=attempt)

    def label(self, name: str) -> str:
        """What a step of the instance is called outside."""
        return label_of(name, 0, self.document.incarnation)

    def _id(self) -> str:
        self.count += 1
        return f"m{self.count}"


def play(definition: Saga[BaseModel] | None = None, **options: object) -> Play:
    """A started instance of ``definition`` (a, b, c, each with an undo, by default)."""
    driver = Play(definition or make_saga(), **options)  # type: ignore[arg-type]  # fields of Play
    driver.start()
    return driver
