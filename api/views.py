"""Response models: instances, decisions and definitions. Times are ISO 8601 in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, JsonValue, TypeAdapter

from ..orchestrator.kernel import Registry
from ..orchestrator.messages.document import Cause, Document, Status, StepRecord, heard_of
from ..orchestrator.messages.history import HistoryRecord
from ..orchestrator.messages.inputs import ActName, JsonObject
from ..orchestrator.messages.reasons import ReasonCode
from ..orchestrator.ports.read_model import COUNT_MAX, HistoryRow
from ..orchestrator.tracing import trace_id_of
from ..sagas import Node, Retry, Saga, Step
from ..sagas.definition import AnyDefinition
from .paths import instance_path

__all__ = [
    "AcceptedView",
    "CountView",
    "DecisionView",
    "DefinitionView",
    "HistoryView",
    "InstanceList",
    "InstanceSummary",
    "InstanceView",
    "OutcomeView",
    "definition_view",
    "history_view",
    "instance_summary",
    "cause_view",
    "decision_view",
    "instance_view",
    "iso",
    "iso_or_none",
    "links",
    "tag_of",
]

_HISTORY: TypeAdapter[HistoryRecord] = TypeAdapter(HistoryRecord)


def iso(ms: int) -> str:
    """Milliseconds since epoch as text; a value beyond the calendar is shown as the last possible time."""
    seconds = min(max(ms, 0) / 1000, 253_402_300_799.0)
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_or_none(ms: int | None) -> str | None:
    """As ``iso``; None: there is no such time."""
    return iso(ms) if ms is not None else None


Warnings = Annotated[
    list[str], Field(description="why it may not go on now: no engine decides, or no worker reads a queue")
]


class Links(BaseModel):
    """Related paths, relative to the server."""

    self_: str = Field(alias="self")
    history: str
    acts: dict[str, str] = Field(description="act -> where to POST it")


def links(instance: str) -> Links:
    """The paths of an instance."""
    base = instance_path(instance)
    acts = {act.value: f"{base}/{act.value}" for act in ActName}
    return Links.model_validate({"self": base, "history": f"{base}/history", "acts": acts})


class OutcomeView(BaseModel):
    """The result of a start or an act."""

    id: str
    definition: str
    key: str
    created: bool | None = Field(default=None, description="for a start: false when the instance existed already")
    changed: bool | None = Field(
        default=None, description="for an act: false when the instance was already as the act asks"
    )
    status: Status
    revision: int
    trace_id: str | None
    links: Links
    warnings: Warnings = []


class AcceptedView(BaseModel):
    """The request is in the log and will be decided, or it is decided and the instance waits; check ``links.self``
    later.
    """

    id: str
    request_id: str
    code: ReasonCode | None = Field(default=None, description="reason code why it waits; null: it is not decided yet")
    reason: str | None = Field(default=None, description="reason why it waits")
    links: Links
    warnings: Warnings = []


class UndoView(BaseModel):
    contract: str
    attempts: int


class HeartbeatView(BaseModel):
    at: str
    progress: dict[str, JsonValue] | None = Field(description="how far it has come; null: it was not told")


class StepView(BaseModel):
    name: str
    status: str
    attempts: int
    order: int | None = Field(description="place in the order of completion")
    changed_at: str
    error: str | None
    undo: UndoView | None
    heartbeat: HeartbeatView | None = Field(description="the last one of a worker; null: none came")


class TimerView(BaseModel):
    name: str
    due_at: str


class CauseView(BaseModel):
    kind: str
    message: str
    at: str
    step: str | None
    code: str | None
    detail: str


class InstanceSummary(BaseModel):
    """An instance in a list."""

    id: str
    definition: str
    version: int
    key: str
    status: Status
    paused: bool
    revision: int
    cause: CauseView | None = Field(description="why it is being, or was, compensated")
    attention: CauseView | None = Field(description="why it needs an operator")
    trace_id: str | None
    created_at: str
    updated_at: str
    finished_at: str | None
    links: Links


class InstanceView(InstanceSummary):
    """An instance in full."""

    backward: bool = Field(description="it is being, or was, compensated")
    pivot_passed: bool
    state: dict[str, JsonValue]
    steps: list[StepView] = Field(description="in the order in which they began")
    timers: list[TimerView] = Field(description="what it waits for, soonest first")
    deferred_count: int = Field(description="messages kept until it is resumed, or its version is deployed")
    phase: str | None = Field(description="of a process manager: its current phase")
    itinerary: list[str] | None = Field(description="of a routing slip: every stop, passed and remaining")
    restarting: str | None = Field(
        description="the steps from this step on are being undone for a restart; null: no restart"
    )
    forked_from: str | None = Field(description="the instance that it was forked from; null: none")
    warnings: Warnings = []


class CountView(BaseModel):
    """How many match."""

    count: int = Field(ge=0, le=COUNT_MAX)
    exact: bool = Field(description="false: there are more than `count`")


class InstanceList(BaseModel):
    """A page of instances."""

    instances: list[InstanceSummary]
    cursor: str | None = Field(description="pass it on as ?cursor= for the next page; null: this is the last page")


class DecisionView(BaseModel):
    """One decision: its message, the changes, the messages sent."""

    sequence: int
    revision: int
    at: str
    outcome: str
    status: Status | None
    message: dict[str, JsonValue] | None
    changes: list[dict[str, JsonValue]]
    sent: list[dict[str, JsonValue]]
    code: ReasonCode | None = Field(description="reason code")
    reason: str = Field(description="reason for people")
    trace_id: str | None


class HistoryView(BaseModel):
    """A page of decisions, oldest first."""

    decisions: list[DecisionView]
    next: int | None = Field(description="pass it on as ?after= for the next page; null: this is the last page")


class DefinitionView(BaseModel):
    """A deployed definition: its input and its nodes."""

    name: str
    version: int
    newest: bool
    retention_seconds: dict[str, float] = Field(description="how long an ended instance is kept, by its status")
    archived: bool = Field(description="its last document goes to the archive topic when it is removed")
    input: dict[str, Any] = Field(description="JSON schema of the input")
    flow: list[dict[str, JsonValue]] = Field(description="nodes, first to last: steps and the pivot")


def tag_of(document: Document) -> str:
    """The ``ETag`` of an instance at a revision: of this run of its key alone."""
    return f'"{document.tag}"'


def instance_summary(document: Document) -> InstanceSummary:
    return InstanceSummary(**_summary(document))


def instance_view(document: Document, warnings: Sequence[str] = ()) -> InstanceView:
    timers = sorted(document.all_timers.items(), key=lambda timer: (timer[1], timer[0]))
    return InstanceView(
        **_summary(document),
        backward=document.backward,
        pivot_passed=document.pivot_passed,
        state=document.state,
        steps=[_step(name, record) for name, record in document.steps.items()],
        timers=[TimerView(name=name, due_at=iso(due_ms)) for name, due_ms in timers],
        deferred_count=len(document.deferred),
        phase=document.managed.phase if document.managed is not None else None,
        itinerary=list(document.itinerary) if document.itinerary is not None else None,
        restarting=document.restarting.step if document.restarting is not None else None,
        forked_from=document.origin.instance if document.origin is not None else None,
        warnings=list(warnings),
    )


def _summary(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "definition": document.definition,
        "version": document.version,
        "key": document.key,
        "status": document.status,
        "paused": document.paused,
        "revision": document.revision,
        "cause": cause_view(document.cause),
        "attention": cause_view(document.attention),
        "trace_id": trace_id_of(document.traceparent),
        "created_at": iso(document.created_ms),
        "updated_at": iso(document.updated_ms),
        "finished_at": iso_or_none(document.finished_ms),
        "links": links(document.id),
    }


def cause_view(cause: Cause | None) -> CauseView | None:
    if cause is None:
        return None
    return CauseView(
        kind=cause.kind.value,
        message=cause.message,
        at=iso(cause.at_ms),
        step=cause.step,
        code=cause.code,
        detail=cause.detail,
    )


def _step(name: str, record: StepRecord) -> StepView:
    return StepView(
        name=name,
        status=record.status.value,
        attempts=record.attempt,
        order=record.order,
        changed_at=iso(record.at_ms),
        error=record.error,
        undo=UndoView(contract=record.undo, attempts=record.undo_attempt) if record.undo is not None else None,
        heartbeat=_heartbeat(record),
    )


def _heartbeat(record: StepRecord) -> HeartbeatView | None:
    heard = heard_of(record)
    return None if heard is None else HeartbeatView(at=iso(heard[0]), progress=heard[1])


def history_view(rows: Sequence[HistoryRow], limit: int) -> HistoryView:
    """A page of up to ``limit`` rows; one extra row shows that there is another page."""
    decisions = [decision_view(row) for row in rows[:limit]]
    return HistoryView(decisions=decisions, next=rows[limit - 1].sequence if len(rows) > limit else None)


def decision_view(row: HistoryRow) -> DecisionView:
    """One decision, as the history shows it."""
    plain: JsonObject = _HISTORY.dump_python(row.record, mode="json")
    message = plain["message"]
    if isinstance(message, dict):
        message.pop("traceparent", None)
    return DecisionView.model_validate(
        {
            **{name: plain[name] for name in ("revision", "outcome", "status", "changes", "sent", "code", "reason")},
            "sequence": row.sequence,
            "at": iso(row.record.at_ms),
            "message": message,
            "trace_id": trace_id_of(row.record.traceparent),
        }
    )


def definition_view(saga: AnyDefinition, registry: Registry) -> DefinitionView:
    return DefinitionView(
        name=saga.name,
        version=saga.version,
        newest=registry.find(saga.name) is saga,
        retention_seconds={status: span.total_seconds() for status, span in saga.retention.spans.items()},
        archived=saga.retention.archive,
        input=saga.state.model_json_schema(mode="validation"),
        flow=_nodes(saga.flow if isinstance(saga, Saga) else tuple(saga.steps.values())),
    )


def _nodes(nodes: Sequence[Node[Any]]) -> list[dict[str, JsonValue]]:
    return [_step_node(node) if isinstance(node, Step) else _other_node(node) for node in nodes]


def _other_node(node: Node[Any]) -> dict[str, JsonValue]:
    """A node that is not a step: its kind, and the flows inside it."""
    found: dict[str, JsonValue] = {"kind": node.kind, "name": node.name}
    if node.branches:
        found["branches"] = [{"label": branch.label, "flow": [*_nodes(branch.nodes)]} for branch in node.branches]
    return found


def _step_node(step: Step[Any]) -> dict[str, JsonValue]:
    undo = step.compensation
    return {
        "kind": "step",
        "name": step.name,
        "contract": step.contract.name,
        "queue": step.contract.queue,
        "into": step.options.into,
        "reply": step.contract.reply.model_json_schema(mode="validation"),
        "timeout_seconds": step.options.timeout.total_seconds(),
        "retry": _retry(step.options.retry),
        "undo": None
        if undo is None
        else {
            "contract": undo.contract.name,
            "queue": undo.contract.queue,
            "timeout_seconds": undo.timeout.total_seconds(),
            "retry": _retry(undo.retry),
        },
    }


def _retry(retry: Retry) -> dict[str, JsonValue]:
    silence = retry.attempt_timeout
    return {
        "max_attempts": retry.max_attempts,
        "first_delay_seconds": retry.first_delay.total_seconds(),
        "factor": retry.factor,
        "max_delay_seconds": retry.max_delay.total_seconds(),
        "attempt_timeout_seconds": silence.total_seconds() if silence is not None else None,
    }
