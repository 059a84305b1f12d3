"""What the routes of parcels and of dead letters share: who asks, bytes in requests and responses, and the answer."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Iterable
from contextlib import suppress

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..orchestrator.client import EntityChanged, RequestOptions
from ..orchestrator.errors import InvalidRequest, NotYetDecided
from ..orchestrator.messages.parcels import from_base64
from .bodies import Json
from .headers import undecided
from .problems import documented
from .queries import only
from .settings import ApiSettings
from .waiting import wait_of

__all__ = [
    "RESPONSES",
    "AskBody",
    "BytesBody",
    "BytesView",
    "ChangedView",
    "HeaderBody",
    "HeaderView",
    "SignedBody",
    "answered",
    "bytes_of",
    "header_views",
    "options_of",
    "shown",
]


class SignedBody(BaseModel):
    """Who asks, and why; asked again it is done again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "the service is back"}]})

    by: str = Field("", description="the caller's name, at most 256 characters")
    reason: str = Field("", description="why, at most 2,000 characters")


class AskBody(SignedBody):
    """Who asks, and why, by an id: asked again with the same id it changes nothing."""

    request_id: str | None = Field(None, description="the same again changes nothing; none: a new one")


class BytesBody(BaseModel):
    """Exactly one of the two."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = None
    base64: str | None = None


class HeaderBody(BytesBody):
    """A header: its name and exactly one of `text` and `base64`."""

    name: str


class BytesView(BaseModel):
    """Bytes as base64, and as text if they are UTF-8."""

    base64: str
    text: str | None


class HeaderView(BytesView):
    name: str


class ChangedView(BaseModel):
    """The request was carried out."""

    id: str
    changed: bool = Field(description="false: it was carried out before, or there was nothing to change")
    trace_id: str | None


class AcceptedView(BaseModel):
    """The request is in the log and will be decided; look again later."""

    id: str
    request_id: str


RESPONSES = {
    **undecided(AcceptedView),
    **documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
}


def options_of(request: Request, settings: ApiSettings, body: SignedBody) -> RequestOptions:
    """Who asks and how long to wait; the only query parameter is ``wait``."""
    only(request, "wait")
    return RequestOptions(
        by=body.by,
        reason=body.reason,
        request_id=body.request_id if isinstance(body, AskBody) else None,
        wait=wait_of(request, settings),
        traceparent=request.state.traceparent,
    )


async def answered(asked: Awaitable[EntityChanged]) -> Response:
    """The response to a request, when it is decided or the wait is over."""
    try:
        done = await asked
    except NotYetDecided as error:
        accepted = AcceptedView(id=error.instance, request_id=error.request_id)
        return Json(accepted, 202, {"Retry-After": "1"})
    return Json(ChangedView(id=done.id, changed=done.changed, trace_id=done.trace_id))


def bytes_of(body: BytesBody, field: str) -> bytes:
    """The bytes of a request. Raises InvalidRequest: neither or both are given, or it is not base64."""
    if (body.text is None) == (body.base64 is None):
        raise InvalidRequest(f"{field}: give exactly one of text and base64", field=field)
    try:
        return body.text.encode() if body.text is not None else b64decode(body.base64 or "", validate=True)
    except ValueError as error:
        raise InvalidRequest(f"{field} is not base64, or not valid text: {error}", field=field) from error


def header_views(headers: Iterable[tuple[str, str]]) -> list[HeaderView]:
    """The headers of a letter."""
    return [HeaderView(name=name, base64=value, text=_text(value)) for name, value in headers]


def shown(coded: str | None) -> BytesView | None:
    """A part of a letter; ``coded``: its base64."""
    return None if coded is None else BytesView(base64=coded, text=_text(coded))


def _text(coded: str) -> str | None:
    with suppress(UnicodeDecodeError):
        return (from_base64(coded) or b"").decode()
    return None
