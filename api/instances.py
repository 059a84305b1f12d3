"""Routes of instances: start, show, act."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..orchestrator.client import Client, OnStep
from ..orchestrator.errors import ActDenied, InvalidRequest, NotYetDecided, TransientError, UnknownInstance
from ..orchestrator.messages.inputs import ActName, OnConflict
from ..orchestrator.messages.reasons import ReasonCode
from ..orchestrator.tracing import trace_id_of
from .bodies import Bodies, Json, described
from .headers import undecided, with_headers
from .identity import Permission, caller_of, needs
from .outcomes import Wait, accepted, answered
from .paths import INSTANCES, instance_of, instance_path
from .problems import documented, problem_of
from .queries import only
from .searching import CountQuery, ListQuery, sort_of, sought, where_of
from .settings import ApiSettings
from .views import (
    AcceptedView,
    CountView,
    HistoryView,
    InstanceList,
    InstanceView,
    OutcomeView,
    history_view,
    instance_summary,
    instance_view,
    links,
    tag_of,
)
from .waiting import wait_of
from .what_if import DryRun, WhatIfView, rehearsed

__all__ = ["ActBody", "StartBody", "access_of", "expected_by", "instances_router"]

_KEY = (
    "business identity, at most 256 characters; with it a start may be repeated safely; none: a fresh one is made, and "
    "a repeated start is another instance"
)
_IF_MATCH = "the `ETag` with which the instance was shown: 412 if it has changed since; none: whatever it is now"
_TAG = re.compile(r'"([0-9A-Za-z_-]{1,64}-[0-9]{1,10})"')
_ACTS = {
    ActName.CANCEL: "Cancels the instance: every step that took effect or may have is undone",
    ActName.PAUSE: "Sends no more commands until it is resumed",
    ActName.RESUME: "Continues a paused instance",
    ActName.RETRY: "Retries what put the instance into attention",
    ActName.ABANDON: "Closes an instance in attention without undoing it; the history lists the outstanding effects",
    ActName.ANSWER: "Answers a question with a filled form",
    ActName.CLAIM: "Claims a question: from then on nobody else may answer it",
    ActName.ASSIGN: "Assigns a question to a person",
    ActName.SKIP: "Treats a step as done, with the given reply",
    ActName.REVISE: "Replaces the remaining stops of a routing slip",
    ActName.EDIT: "Patches the state (JSON Patch); a result that does not fit the model is denied and changes nothing",
    ActName.REPLACE_UNDO: "Retries a failed undo with another command",
    ActName.RESTART: "Undoes the steps from a step on, then runs them again",
    ActName.FORK: "Starts another instance at a step; the steps before it are taken over",
    ActName.WAIVE: "Accepts the loss of a failing undo; the reason is the evidence",
}


class StartBody(BaseModel):
    """A start request."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"key": "A-1001", "input": {"order": {"id": "A-1001", "total_cents": 4200}}}]},
    )

    key: str | None = Field(default=None, description=_KEY)
    input: dict[str, JsonValue] = Field(description="first value of the state; /v1/definitions has its schema")
    version: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="none: the newest version that the API knows"
    )
    conflict: OnConflict = Field(
        default="reject",
        description="if the key has an instance already: `reject`, `attach` (that one), `queue` (a new run after it) "
        "or `replace` (the same, and it is cancelled)",
    )
    request_id: str | None = Field(
        default=None, description="with queue and replace: a start that is repeated with its id is taken once"
    )


class ActBody(BaseModel):
    """An act, who sends it and why; kept in the history."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "the customer withdrew"}]})

    by: str = Field("", description="the caller's name, at most 256 characters")
    reason: str = Field("", description="why, at most 2,000 characters")
    request_id: str | None = Field(None, description="with the same id it acts once; none: a new one")
    step: str = Field("", description="for an act on one step: the step's name, as the instance shows it")
    value: dict[str, JsonValue] | None = Field(
        None,
        description='the form of an answer, the reply of a skip, of assign {"to": name}, of revise {"ahead": [stop]}, '
        'of edit {"patch": [...], "retry": bool}, of replace-undo {"contract": name, "command": {...}}, of restart '
        '{"patch": [...]}, of fork {"key": text, "patch": [...]}',
    )


def access_of(act: ActName) -> Permission:
    """Who a question is put to is judged by the question; every other act is an operator's."""
    return Permission.START if act in (ActName.ANSWER, ActName.CLAIM) else Permission.OPERATE


def instances_router(client: Client, settings: ApiSettings) -> APIRouter:
    """The routes of instances."""
    router = APIRouter(prefix="/v1", tags=["instances"])
    bodies = Bodies(settings)
    _add_start(router, client, settings, bodies)
    _add_queries(router, client)
    for act, summary in _ACTS.items():
        _add_act(router, client, settings, bodies, (act, summary))
    return router


def _add_start(router: APIRouter, client: Client, settings: ApiSettings, bodies: Bodies) -> None:
    @router.post(
        "/sagas/{definition}",
        status_code=201,
        response_model=OutcomeView,
        summary="Start an instance",
        description="Answers when the decision is committed. The same key and input again is the same instance.",
        responses={
            200: {
                "model": OutcomeView,
                "description": "The instance existed already, with the same input",
                **with_headers("Location"),
            },
            201: with_headers("Location"),
            202: {
                "model": AcceptedView,
                "description": "Accepted; not decided within the wait, or it begins when its code is deployed",
                **with_headers("Location", "Retry-After"),
            },
            **documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        },
        openapi_extra=described(StartBody, required=True),
    )
    @needs(Permission.START)
    async def start_instance(request: Request, definition: str, wait: Wait = None) -> Response:
        only(request, "wait")
        seconds = wait_of(request, settings)
        body = await bodies.read(request, StartBody)
        try:
            started = await client.start(
                definition,
                body.input,
                key=body.key,
                version=body.version,
                conflict=body.conflict,
                request_id=body.request_id,
                wait=seconds,
                traceparent=request.state.traceparent,
            )
        except NotYetDecided as error:
            return accepted(error.instance, error.request_id, warnings=list(client.notices(definition)))
        if started.waits is not None:
            return accepted(started.instance, started.request_id, started.waits)
        view = OutcomeView(
            id=started.instance,
            definition=started.definition,
            key=started.key,
            created=started.created,
            status=started.status,
            revision=started.revision,
            trace_id=started.trace_id,
            links=links(started.instance),
            warnings=list(client.notices(definition)),
        )
        where = {"Location": instance_path(started.instance)}
        return Json(view, 201 if started.created else 200, where)


def _add_queries(router: APIRouter, client: Client) -> None:
    @router.get(
        "/instances",
        response_model=InstanceList,
        summary="List instances, by default the newest start first",
        description="All given conditions hold. An instance that matches during the whole query is on exactly one "
        "page, even if it changes in between; with a `sort` by a value that changes, one whose value changes meanwhile "
        "may be on two pages, or on none.",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def list_instances(request: Request, query: Annotated[ListQuery, Query()]) -> Response:
        sought(request, query)
        where, sort = where_of(client, query), sort_of(query.sort)
        page = await client.list(where, limit=query.limit, cursor=query.cursor, sort=sort)
        return Json(InstanceList(instances=[instance_summary(each) for each in page.documents], cursor=page.cursor))

    @router.get(
        "/instances/count",
        response_model=CountView,
        summary="Count instances, exactly up to 10,000",
        description="With the filter of the list.",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def count_instances(request: Request, query: Annotated[CountQuery, Query()]) -> Response:
        sought(request, query)
        found = await client.count(where_of(client, query))
        return Json(CountView(count=found.number, exact=found.is_exact))

    @router.get(
        f"{INSTANCES.removeprefix('/v1')}/{{definition}}/{{key}}",
        response_model=InstanceView,
        summary="Show an instance",
        description="The key is one path segment, fully percent-encoded: `/` is `%2F`.",
        responses={200: with_headers("ETag"), **documented(401, 403, 404, 422, 503)},
    )
    @needs(Permission.VIEW)
    async def get_instance(request: Request, definition: str, key: str) -> Response:
        only(request)
        document = await client.get(instance_of(definition, key))
        return Json(instance_view(document, client.notices(document)), headers={"ETag": tag_of(document)})

    @router.get(
        f"{INSTANCES.removeprefix('/v1')}/{{definition}}/{{key}}/history",
        response_model=HistoryView,
        summary="Show the decisions about an instance, oldest or newest first",
        responses=documented(401, 403, 404, 422, 503),
    )
    @needs(Permission.VIEW)
    async def get_history(
        request: Request,
        definition: str,
        key: str,
        *,
        after: Annotated[int, Query(ge=-1, le=2**62, description="the `next` from the page before")] = -1,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        newest_first: Annotated[bool, Query(description="the newest decision first, instead of the oldest")] = False,
    ) -> Response:
        only(request, "after", "limit", "newest_first")
        instance = instance_of(definition, key)
        rows = await client.history(instance, after=after, limit=limit + 1, newest_first=newest_first)
        return Json(history_view(rows, limit))


def _add_act(
    router: APIRouter, client: Client, settings: ApiSettings, bodies: Bodies, what: tuple[ActName, str]
) -> None:
    act, summary = what

    @router.post(
        f"{INSTANCES.removeprefix('/v1')}/{{definition}}/{{key}}/{act.value}",
        response_model=OutcomeView | WhatIfView,
        operation_id=f"{act.value.replace('-', '_')}_instance",
        summary=summary,
        responses={
            **undecided(AcceptedView, "Location"),
            **documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
            412: {**documented(412)[412], **with_headers("ETag")},
        },
        openapi_extra=described(ActBody, required=False),
    )
    @needs(access_of(act))
    async def perform(
        request: Request,
        definition: str,
        key: str,
        *,
        wait: Wait = None,
        dry_run: DryRun = False,
        if_match: Annotated[str | None, Header(alias="If-Match", description=_IF_MATCH)] = None,
    ) -> Response:
        only(request, "wait", "dry_run")
        seconds = wait_of(request, settings)
        instance = instance_of(definition, key)
        body = await bodies.read(request, ActBody)
        expected = "" if if_match is None else await expected_by(client, instance, if_match)
        by, on = caller_of(request, body.by), OnStep(body.step, body.value, expected)
        if dry_run:
            return await rehearsed(client, instance, act, by=by, reason=body.reason, on=on)
        asked = client.act(
            instance,
            act,
            by=by,
            reason=body.reason,
            on=on,
            request_id=body.request_id,
            wait=seconds,
            traceparent=request.state.traceparent,
        )
        try:
            return await answered(asked)
        except ActDenied as denied:
            if denied.code is not ReasonCode.REVISION_DIFFERS:
                raise
            answer = problem_of(denied, trace_id_of(request.state.traceparent))
            with suppress(TransientError, UnknownInstance):  # the decision is told also when the tag of now is not
                answer.headers["ETag"] = tag_of(await client.get(instance))
            return answer


async def expected_by(client: Client, instance: str, if_match: str, field: str = "If-Match") -> str:
    """The tag that ``If-Match`` (RFC 9110, section 13.1.1) asks for; of several that of now, if it is among them.
    ``field``: where it stood.

    Raises:
        InvalidRequest: one is no tag of an instance.
    """
    if if_match.strip() == "*":
        return ""
    tags = [_TAG.fullmatch(each.strip()) for each in if_match.split(",")]
    found = [each[1] for each in tags if each is not None]
    if len(found) < len(tags):
        text = f"{field} is {if_match[:80]!r}; give the ETag with which the instance was shown, in its quotes, or *"
        raise InvalidRequest(text, field=field)
    if len(found) == 1:
        return found[0]
    now = (await client.get(instance)).tag
    return now if now in found else found[0]
