"""Every error as RFC 9457 ``application/problem+json``: what is wrong, where, and what to do; never a stack trace.

``type`` is ``urn:sagaline:problem:<name>``; the names are in ``KINDS``. ``field`` is the path of the first wrong
field, ``errors`` lists all wrong fields. ``trace_id`` finds the request in the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from ..orchestrator.errors import (
    ActDenied,
    CallerError,
    ConfigurationError,
    CursorTooOld,
    EventDenied,
    InvalidRequest,
    ReplyNotAwaited,
    RequestTaken,
    SagalineError,
    StartConflict,
    TransientError,
    UnknownDeadLetter,
    UnknownDefinition,
    UnknownEvent,
    UnknownHook,
    UnknownInstance,
    UnknownKey,
    UnknownParcel,
    UnknownPush,
    UnknownRevision,
    UnknownSchedule,
    UnknownTable,
    UnknownWebhook,
    ValueTooLarge,
    VersionConflict,
)
from ..orchestrator.messages.reasons import ReasonCode
from ..orchestrator.tracing import trace_id_of
from .headers import with_headers
from .paths import instance_path

__all__ = [
    "KINDS",
    "FieldError",
    "HttpProblem",
    "Problem",
    "documented",
    "handlers",
    "problem",
    "problem_of",
    "told_of",
]

_log = structlog.get_logger("sagaline.api")

_ERRORS_MAX = 20


class FieldError(BaseModel):
    """One wrong field of a request."""

    field: str = Field(description="path of the field, such as input.order.lines.0.sku; empty: the whole body")
    message: str


class Problem(BaseModel):
    """An error in the format of RFC 9457."""

    type: str = Field(description="urn:sagaline:problem:<name>; stable, for programs")
    title: str
    status: int
    code: ReasonCode | None = Field(default=None, description="reason code of the engine")
    detail: str = Field(description="what is wrong and what to do")
    field: str | None = Field(default=None, description="path of the first wrong field")
    errors: list[FieldError] | None = Field(default=None, description="every wrong field, at most 20")
    trace_id: str | None = Field(default=None, description="32 hex digits; the server's log has it too")


class _Kind(NamedTuple):
    status: int
    title: str
    example: str
    headers: Mapping[str, str] = {}
    """What every problem of this kind sends."""


KINDS = {
    "not-json": _Kind(400, "The body is not JSON", "the body is not JSON: expected value at line 1 column 1"),
    "bad-request": _Kind(400, "The request is malformed", "the request cannot be understood"),
    "unauthorized": _Kind(
        401,
        "A token is required",
        "send the header: Authorization: Bearer <token>",
        {"WWW-Authenticate": "Bearer"},
    ),
    "not-verified": _Kind(
        401,
        "The delivery is not verified",
        "this delivery is not accepted: check the secret and the clock",
        {"WWW-Authenticate": "Signature"},
    ),
    "forbidden-host": _Kind(403, "This host name is not served", "without a token only this machine is served"),
    "foreign-origin": _Kind(
        403,
        "Requests from other origins are rejected",
        "requests from pages of another origin are rejected; use a program",
    ),
    "unknown-path": _Kind(404, "There is nothing at this path", "there is nothing at /v1/saga; see /openapi.json"),
    "unknown-definition": _Kind(404, "No such definition", "there is no definition 'x'; deployed are: order-checkout"),
    "unknown-event": _Kind(404, "No such event", "there is no event 'x'; there are: order-paid"),
    "unknown-table": _Kind(404, "No such table", "there is no table 'x'; there are: carriers"),
    "unknown-key": _Kind(404, "No such key", "there is no key 'billing'; list the keys, or create it"),
    "unknown-instance": _Kind(404, "No such instance", "there is no instance 'order-checkout/A-1': check the key"),
    "unknown-revision": _Kind(
        404, "No such revision", "revision 9 of 'order-checkout/A-1' cannot be shown: its history has revisions 1 to 4"
    ),
    "unknown-parcel": _Kind(404, "Nothing waits there", "nothing waits in '@parcel/billing/A-1': list what is parked"),
    "unknown-dead-letter": _Kind(404, "No such dead letter", "there is no dead letter '0-17': list the dead letters"),
    "unknown-schedule": _Kind(404, "No such schedule", "there is no schedule 'nightly'; list the schedules, or put it"),
    "unknown-webhook": _Kind(404, "No such webhook", "there is no webhook 'billing'; list the webhooks, or put it"),
    "unknown-hook": _Kind(404, "No such hook", "there is no hook 'stripe'; list the hooks, or put it"),
    "unknown-push": _Kind(
        404,
        "No such push subscription",
        "there is no push subscription 'p1f3…' of yours; list them, or let the browser subscribe",
    ),
    "method-not-allowed": _Kind(405, "Method not allowed", "DELETE is not possible here"),
    "timeout": _Kind(408, "The body did not arrive in time", "the body did not arrive within 30 s; send it again"),
    "start-conflict": _Kind(409, "The key is in use", "'order-checkout/A-1' was started with another input"),
    "not-permitted": _Kind(403, "Not permitted", "answer of 'loan/L-1' was denied: eve may not answer; ann may"),
    "wrong-status": _Kind(409, "Not allowed in this status", "cancel of 'order-checkout/A-1' was denied: it has ended"),
    "past-pivot": _Kind(409, "Past its pivot", "cancel of 'order-checkout/A-1' was denied: it can only go forward"),
    "paused": _Kind(
        409, "It is paused", "retry of 'order-checkout/A-1' was denied: it is paused; resume it, then retry"
    ),
    "request-taken": _Kind(
        409, "The request id is in use", "cancel of 'order-checkout/A-1' was denied: another act of this id was done"
    ),
    "code-not-deployed": _Kind(
        409, "The code is not deployed", "retry of 'order-checkout/A-1' was denied: version 3 is not deployed here"
    ),
    "code-differs": _Kind(
        409, "The deployed code differs", "retry of 'order-checkout/A-1' was denied: the code has no step 'ship'"
    ),
    "act-denied": _Kind(409, "Not allowed now", "fork of 'order-checkout/A-1' was denied: there is nothing to fork"),
    "event-denied": _Kind(
        409, "No room for the event", "event 'order-paid' for key 'O-7' was denied: there is no room"
    ),
    "reply-not-awaited": _Kind(
        409, "No answer is awaited", "no answer to 'order-checkout/A-1/ship~k3x9wq2z/1' is awaited: it is late"
    ),
    "revision-differs": _Kind(
        412,
        "Changed meanwhile",
        "cancel of 'order-checkout/A-1' was denied: it is at k3x-8 now, not at k3x-7",
    ),
    "version-conflict": _Kind(
        409, "Changed meanwhile", "table 'carriers' is at version 4, not 3; read its rules again"
    ),
    "cursor-too-old": _Kind(
        410,
        "The cursor is too old",
        "the history no longer has all events after this cursor: read the feed without a cursor",
    ),
    "too-large": _Kind(413, "The body is too large", "the body has more than 262,144 bytes; send references instead"),
    "media-type": _Kind(415, "The body must be JSON", "send the header: Content-Type: application/json"),
    "invalid-request": _Kind(422, "A field is wrong", "input.order.lines: the field is missing, add it"),
    "quota-exceeded": _Kind(
        429,
        "A quota is used up",
        "checkout-web has used up the quota of requests, 50 in 1 s; try again in 1 s",
        {"Retry-After": "1"},
    ),
    "too-many-readers": _Kind(
        503,
        "Too many readers",
        "500 streams are open on this node, the limit; try again later, or on another node",
        {"Retry-After": "5"},
    ),
    "unavailable": _Kind(
        503,
        "Not available at the moment",
        "the log did not answer in time; repeat the request",
        {"Retry-After": "1"},
    ),
    "internal": _Kind(500, "The server failed", "the server failed; its log has the cause under the trace id"),
}

_NAMES: dict[type[SagalineError], str] = {
    CursorTooOld: "cursor-too-old",
    UnknownDefinition: "unknown-definition",
    UnknownEvent: "unknown-event",
    UnknownTable: "unknown-table",
    UnknownKey: "unknown-key",
    UnknownInstance: "unknown-instance",
    UnknownRevision: "unknown-revision",
    UnknownDeadLetter: "unknown-dead-letter",
    UnknownParcel: "unknown-parcel",
    UnknownSchedule: "unknown-schedule",
    UnknownWebhook: "unknown-webhook",
    UnknownHook: "unknown-hook",
    UnknownPush: "unknown-push",
    RequestTaken: "request-taken",
    TransientError: "unavailable",
    ConfigurationError: "unavailable",
    ValueTooLarge: "too-large",
}
"""Errors of which the text says everything."""


class HttpProblem(CallerError):
    """A request that is wrong at the HTTP level; ``kind`` is the name of a problem."""

    def __init__(
        self, kind: str, detail: str, *, field: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.kind, self.field, self.headers = kind, field, headers or {}


class Told(NamedTuple):
    """What is told of an error; ``kind`` is the name of a problem, ``status`` None: that of the kind."""

    kind: str
    detail: str
    errors: Sequence[FieldError] = ()
    code: ReasonCode | None = None
    headers: Mapping[str, str] = {}
    status: int | None = None

    def body(self, trace_id: str | None = None) -> Problem:
        found = KINDS[self.kind]
        return Problem(
            type=f"urn:sagaline:problem:{self.kind}",
            title=found.title,
            status=self.status or found.status,
            code=self.code,
            detail=self.detail,
            field=self.errors[0].field if self.errors else None,
            errors=list(self.errors[:_ERRORS_MAX]) or None,
            trace_id=trace_id,
        )

    def response(self, trace_id: str | None = None) -> Response:
        body = self.body(trace_id)
        return Response(
            body.model_dump_json(exclude_none=True),
            status_code=body.status,
            headers={**KINDS[self.kind].headers, **self.headers},
            media_type="application/problem+json",
        )


def problem(
    kind: str,
    detail: str,
    *,
    errors: Sequence[FieldError] = (),
    trace_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    status: int | None = None,
) -> Response:
    """A problem as a response."""
    return Told(kind, detail, errors, headers=headers or {}, status=status).response(trace_id)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problem responses for a route's ``responses``, each with an example per kind."""
    described: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 500}):
        kinds = {name: kind for name, kind in KINDS.items() if kind.status == status}
        examples = {
            name: {
                "value": {
                    "type": f"urn:sagaline:problem:{name}",
                    "title": kind.title,
                    "status": status,
                    "detail": kind.example,
                }
            }
            for name, kind in kinds.items()
        }
        content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
        titles = "; ".join(kind.title for kind in kinds.values())
        named = sorted({name for kind in kinds.values() for name in kind.headers})
        described[status] = {
            "description": titles,
            "content": {"application/problem+json": content},
            **with_headers(*named),
        }
    return described


def problem_of(error: SagalineError, trace_id: str | None = None) -> Response:
    """An error as a response."""
    return told_of(error).response(trace_id)


def told_of(error: SagalineError) -> Told:
    """What is told of an error."""
    text = str(error)
    match error:
        case HttpProblem():
            fields = [FieldError(field=error.field, message=text)] if error.field is not None else []
            return Told(error.kind, text, fields, headers=error.headers)
        case InvalidRequest():
            return Told("invalid-request", text, [FieldError(field=error.field, message=text)])
        case StartConflict():
            where = {"Location": instance_path(error.instance)}
            return Told("start-conflict", text, code=ReasonCode.KEY_TAKEN, headers=where)
        case ReplyNotAwaited():
            return Told("reply-not-awaited", text, code=ReasonCode.STALE)
        case EventDenied():
            return Told("event-denied", text, code=error.code)
        case VersionConflict():
            return Told("version-conflict", text, code=ReasonCode.VERSION_DIFFERS)
        case ActDenied():
            return Told(error.code.value if error.code.value in KINDS else "act-denied", text, code=error.code)
    for kind_of_error, name in _NAMES.items():
        if isinstance(error, kind_of_error):
            return Told(name, text)
    _log.error("request failed", reason=text, kind=type(error).__name__)
    return Told("internal", KINDS["internal"].example)


def _trace_id(request: Request) -> str | None:
    return trace_id_of(getattr(request.state, "traceparent", None))


async def _on_sagaline_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SagalineError)
    return problem_of(error, _trace_id(request))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = [
        FieldError(field=".".join(map(str, each["loc"][1:])), message=each["msg"])
        for each in error.errors()[:_ERRORS_MAX]
    ]
    detail = f"{fields[0].field}: {fields[0].message}" if fields else "a parameter is wrong"
    return problem("invalid-request", detail, errors=fields, trace_id=_trace_id(request))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, status = request.scope["path"], error.status_code
    if status == 405:
        allow = {"Allow": request.app.state.allowed.at(path)}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=allow)
        text = f"{request.method} is not possible at {path[:200]}; possible are: {allow['Allow']}"
        return problem("method-not-allowed", text, trace_id=_trace_id(request), headers=allow)
    if status == 404:
        text = f"there is nothing at {path[:200]}; see /openapi.json"
        return problem("unknown-path", text, trace_id=_trace_id(request))
    kind = "bad-request" if status < 500 else "internal"
    return problem(kind, str(error.detail), trace_id=_trace_id(request), headers=error.headers, status=status)


handlers = {
    SagalineError: _on_sagaline_error,
    RequestValidationError: _on_validation_error,
    HTTPException: _on_http_error,
}
