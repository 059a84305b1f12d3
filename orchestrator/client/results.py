"""The results of a client's requests."""

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
    """The instance exists. ``created`` False: it existed before, started with the same input.

    ``status`` and ``revision`` are those after the decision; ``trace_id`` is the request's trace id, 32 hex digits.
    ``waits``: why it has not begun: its code is not deployed on the engine, and it begins once the code is deployed; or
    the run before it has not ended (code ``queued``). None: it has begun.
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


class Caller(NamedTuple):
    """Who sends an act: a name for the history, and the groups of that person, which a question may be put to."""

    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OnStep:
    """The step that an act is about (``poll@3`` in a loop), and the act's value.

    ``step`` is empty for ``edit`` and ``revise``. ``value`` is for ``answer`` the form, for ``skip`` the reply, for
    ``assign`` ``{"to": name}``, for ``revise`` ``{"ahead": [stop]}``, for ``edit`` ``{"patch": [...], "retry": bool}``
    (a JSON Patch, RFC 6902), for ``replace-undo`` ``{"contract": name, "command": {...}}``, for ``restart``
    ``{"patch": [...]}``, for ``fork`` ``{"key": text, "patch": [...]}``.
    ``expected``: the ``Document.tag`` that the caller has seen; the act is denied if the instance has changed since.
    """

    step: str = ""
    value: BaseModel | Mapping[str, JsonValue] | None = None
    expected: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """An act was carried out. ``changed`` False: the instance was already as the act asks."""

    instance: str
    changed: bool
    status: Status
    revision: int
    trace_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question that waits for its answer. Times are milliseconds since epoch.

    ``who`` may answer; once it is claimed, only ``claimed_by``. ``form``: the JSON schema of the answer; None: its code
    is not deployed here.
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
    """Questions, due soonest first. ``cursor`` selects the next page; None: this is the last page."""

    questions: Sequence[Question]
    cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """A step that exceeds its ``expected_within``. Times are milliseconds since epoch.

    ``since_ms``: its last change; ``overdue_ms``: when it became overdue; ``deadline_ms``: when it times out, None:
    never.
    """

    instance: str
    step: str
    status: str
    since_ms: int
    overdue_ms: int
    deadline_ms: int | None


class OverduePage(NamedTuple):
    """Overdue steps, longest overdue first. ``cursor`` selects the next page; None: this is the last page."""

    overdue: Sequence[Overdue]
    cursor: str | None
