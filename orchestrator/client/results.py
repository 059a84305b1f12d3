"""What a client gets back when its request has been decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel, JsonValue

from ..messages.document import Status
from ..messages.reasons import Reason
from ..messages.values import JsonObject

__all__ = ["Acted", "OnStep", "Overdue", "OverduePage", "Question", "QuestionsPage", "Started"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """An instance stands. ``created`` False: it was there already, started with the same input.

    ``status`` and ``revision`` are those after the decision; ``trace_id`` is the 32 hex digits of the request's trace.
    ``waits``: why it has not begun yet (its code is not deployed on the engine that owns it, and it begins when that
    is); None: it has begun.
    """

    instance: str
    definition: str
    key: str
    created: bool
    status: Status
    revision: int
    trace_id: str | None
    request_id: str
    waits: Reason | None = None


@dataclass(frozen=True, slots=True)
class OnStep:
    """What an act is about: the place of a step (``poll@3`` in a loop), and what the act brings.

    ``step`` is empty for an ``edit`` and a ``revise``. ``value``: the form of an ``answer``, the reply of a ``skip``,
    of ``assign`` ``{"to": name}``, of ``revise`` ``{"ahead": [stop]}``, of ``edit`` ``{"patch": [...], "retry": bool}``
    (a JSON Patch, RFC 6902), of ``replace-undo`` ``{"contract": name, "command": {...}}``, of ``restart``
    ``{"patch": [...]}``, of ``fork`` ``{"key": text, "patch": [...]}``.
    """

    step: str = ""
    value: BaseModel | Mapping[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """An act was carried out. ``changed`` False: what it asks for was so already."""

    instance: str
    changed: bool
    status: Status
    revision: int
    trace_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question that waits for its answer. Milliseconds since epoch.

    ``who`` may answer, or only ``claimed_by``. ``form``: the JSON schema of the answer; None: its code is not deployed
    here.
    """

    instance: str
    step: str
    text: str
    who: tuple[str, ...]
    claimed_by: str | None
    asked_ms: int
    due_ms: int
    escalated: bool
    form: JsonObject | None


class QuestionsPage(NamedTuple):
    """Those due soonest first. ``cursor`` leads to the next page; None: this is the last."""

    questions: Sequence[Question]
    cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """A step that was expected to be done by now. Milliseconds since epoch.

    ``since_ms``: its last change; ``overdue_ms``: when it was found overdue; ``deadline_ms``: when it is given up,
    None: nothing gives it up.
    """

    instance: str
    step: str
    status: str
    since_ms: int
    overdue_ms: int
    deadline_ms: int | None


class OverduePage(NamedTuple):
    """Those overdue longest first. ``cursor`` leads to the next page; None: this is the last."""

    overdue: Sequence[Overdue]
    cursor: str | None
