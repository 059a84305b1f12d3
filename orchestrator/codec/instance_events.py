"""History records -> ``InstanceEvent``, and an event as CloudEvents 1.0 JSON: one shape for every transport."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..messages.document import Status
from ..messages.instance_events import InstanceEvent, event_type
from ..messages.outputs import Change, Outcome
from ..messages.values import JsonObject, first_mistake
from ..ports.log import Record
from .wire import BadRecord

__all__ = ["EVENT_TYPE", "event_json", "read_event"]

EVENT_TYPE = "sagaline.instance."
"""Prefix of ``type``, before the word of ``EventType``."""
_QUIET = (Outcome.IGNORED.value.encode(), Outcome.UNCHANGED.value.encode())
_REASON_CHARS_MAX = 2_000


@dataclass(slots=True)
class _Message:
    kind: str
    by: Any = ""
    reason: Any = ""
    code: Any = ""
    error: Any = ""


@dataclass(slots=True)
class _Glance:
    """The part of a history record that an event needs, at a third of the cost of decoding all of it."""

    instance: str
    revision: int
    at_ms: int
    outcome: Outcome
    status: Status | None
    message: _Message | None = None
    changes: Sequence[Change] = ()
    code: str | None = None
    reason: str = ""
    traceparent: str | None = None


_GLANCE = TypeAdapter(_Glance)


def read_event(record: Record) -> InstanceEvent | None:
    """The event of a record of the history; None: nothing happened to an instance.

    Raises:
        BadRecord: it is not a history record.
    """
    if (record.key or b"@").startswith(b"@") or any(
        name == "ce_outcome" and value in _QUIET for name, value in record.headers
    ):
        return None
    try:
        seen = _GLANCE.validate_json(record.value or b"")
    except ValidationError as error:
        raise BadRecord(f"not a history record: {': '.join(first_mistake(error))}") from error
    left = [change.before for change in seen.changes if change.what == "instance" and change.before]
    try:
        kind = event_type(seen.outcome, seen.status, seen.changes)
        before = Status(left[0]) if left else None
    except ValueError as error:
        raise BadRecord(f"a history record of a newer release: {error}") from error
    if kind is None:
        return None
    code, reason, by = _why(seen)
    return InstanceEvent(
        partition=record.partition,
        offset=record.offset,
        instance=seen.instance,
        type=kind,
        at_ms=seen.at_ms,
        status=seen.status,
        before=before,
        revision=seen.revision,
        code=code,
        reason=reason[:_REASON_CHARS_MAX],
        by=by,
        traceparent=seen.traceparent,
    )


def _why(seen: _Glance) -> tuple[str, str, str]:
    """Code, reason and who: of the decision, else of its message."""
    message = seen.message
    if message is None or message.kind not in ("act", "rejected", "failed"):
        return seen.code or "", seen.reason, ""
    by = _text(message.by)
    if seen.code or seen.reason:
        return seen.code or "", seen.reason, by
    return _text(message.code), _text(message.reason) or _text(message.error), by


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def event_json(event: InstanceEvent, namespace: str, cursor: str | None = None) -> JsonObject:
    """The event as CloudEvents JSON. ``cursor``: after it, as an extension attribute; None: there is none."""
    seconds = min(max(event.at_ms, 0) / 1000, 253_402_300_799.0)
    time = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    found: JsonObject = {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/{namespace}",
        "type": f"{EVENT_TYPE}{event.type.value}",
        "subject": event.instance,
        "time": time,
        "datacontenttype": "application/json",
        "data": {
            "definition": event.definition,
            "key": event.key,
            "status": event.status.value if event.status is not None else None,
            "before": event.before.value if event.before is not None else None,
            "revision": event.revision,
            "code": event.code or None,
            "reason": event.reason or None,
            "by": event.by or None,
        },
    }
    if event.traceparent is not None:
        found["traceparent"] = event.traceparent
    if cursor is not None:
        found["cursor"] = cursor
    return found
