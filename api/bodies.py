"""Request bodies: read with limits, parsed strictly, validated by a model. No part of a body is guessed or ignored.

Rejected are: another content type (415), too many bytes, counted while they arrive (413), a body that does not arrive
in time (408), anything that is not JSON by RFC 8259 (400: NaN, lone surrogates, a duplicate name in an object), too
deep nesting and unknown or wrong fields (422, with the field's name).
"""

from __future__ import annotations

import asyncio
import json
import re
from enum import StrEnum
from typing import Any, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel, ValidationError

from ..orchestrator.codec.wire import too_deep
from ..orchestrator.errors import InvalidRequest
from ..orchestrator.messages.parsing import parse_json
from ..orchestrator.messages.values import first_mistake
from .identity import principal_of, signed
from .problems import HttpProblem
from .settings import ApiSettings

__all__ = ["Bodies", "Json", "described", "media_type_of", "one_of", "unchanged"]

_KEY = "Idempotency-Key"
_KEYS = re.compile(r"[!#-~]{1,256}")
M = TypeVar("M", bound=BaseModel)
E = TypeVar("E", bound=StrEnum)


class Json(Response):
    """A model as JSON; ``None`` is written, so that every field is always present."""

    media_type = "application/json"

    def __init__(self, model: BaseModel, status_code: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(model.model_dump_json(by_alias=True), status_code, headers)


def unchanged(request: Request, tag: str) -> Response | None:
    """304, if the client has the value with this ``ETag`` already; else None."""
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    return Response(status_code=304, headers={"ETag": tag}) if tag in known or "*" in known else None


def described(model: type[BaseModel], *, required: bool) -> dict[str, Any]:
    """A request body in the OpenAPI document; FastAPI does not know it, as bodies are read here."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    examples = model.model_config.get("json_schema_extra")
    example = examples["examples"][0] if isinstance(examples, dict) else None  # type: ignore[index]  # each has one
    content = {"application/json": {"schema": schema, "example": example}}
    found: dict[str, Any] = {"requestBody": {"required": required, "content": content}}
    if (field := _id_field(model)) is not None:
        text = f"the same as `{field}` of the body: a request that is repeated with its key is carried out once"
        key = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": f"^{_KEYS.pattern}$"}
        found["parameters"] = [{"name": _KEY, "in": "header", "required": False, "description": text, "schema": key}]
    return found


def _keyed(request: Request, model: M) -> M:
    """The request with the id that the header gives it.

    Raises:
        InvalidRequest: it is no key, the body has another id, or the request has none, so that sent again it would be
            carried out again. Field ``Idempotency-Key``.
    """
    given, field = request.headers.get(_KEY), _id_field(type(model))
    if given is None:
        return model
    if field is None:
        text = f"this request has no id: sent again it is carried out again; omit {_KEY}, and look before you repeat it"
        raise InvalidRequest(text, field=_KEY)
    key = given[1:-1] if len(given) > 1 and given[0] == given[-1] == '"' else given
    if not _KEYS.fullmatch(key):
        text = f"{_KEY} is {given[:64]!r}; give 1 to 256 visible characters of ASCII, without quotes or within"
        raise InvalidRequest(text, field=_KEY)
    if (known := getattr(model, field)) not in (None, key):
        raise InvalidRequest(f"{_KEY} is {key!r}, but {field} of the body is {known!r}; omit one", field=_KEY)
    return model.model_copy(update={field: key})


def _id_field(model: type[BaseModel]) -> str | None:
    """The field with the id by which a request may be repeated; None: the request has none."""
    return next((name for name in ("request_id", "id") if name in model.model_fields), None)


def one_of(kind: type[E], value: str, field: str) -> E:
    """The member of this name. Raises InvalidRequest: there is none; the message names them."""
    try:
        return kind(value)
    except ValueError:
        raise InvalidRequest(f"there is no {field} {value[:64]!r}; there are {', '.join(kind)}", field=field) from None


class Bodies:
    """Reads bodies within the limits of the settings."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings

    async def read(self, request: Request, model: type[M]) -> M:
        """The body as a model; a missing body counts as ``{}`` if the model has no required field.

        ``by`` is who asks, where that is known (``identity.signed``), and the id of the request is that of the header
        ``Idempotency-Key``, if it is sent.

        Raises:
            HttpProblem, InvalidRequest: as described for the module.
        """
        raw = await self.receive(request)
        if not raw and not any(field.is_required() for field in model.model_fields.values()):
            return signed(principal_of(request), _keyed(request, model()))
        if media_type_of(request) != "application/json":
            text = "send the body as UTF-8 JSON, with the header: Content-Type: application/json"
            raise HttpProblem("media-type", text)
        value = self.parse(raw)
        if not isinstance(value, dict):
            raise InvalidRequest("the body is not a JSON object; send one", field="")
        try:
            read = model.model_validate(value, strict=True)
        except ValidationError as error:
            field, wrong = first_mistake(error)
            raise InvalidRequest(f"{field}: {wrong}", field=field) from error
        return signed(principal_of(request), _keyed(request, read))

    async def receive(self, request: Request) -> bytes:
        """The bytes of a body, within the limits of size and time.

        Raises:
            HttpProblem: it breaks one.
        """
        limit = self._settings.body_bytes_max
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and (len(declared) > 18 or int(declared) > limit):
            raise _too_large(limit)
        raw = bytearray()
        seconds = self._settings.body_timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    raw += chunk
                    if len(raw) > limit:
                        raise _too_large(limit)
        except TimeoutError:
            raise HttpProblem("timeout", f"the body did not arrive within {seconds:g} s; send it again") from None
        return bytes(raw)

    def parse(self, raw: bytes) -> object:
        """The value of a JSON text.

        Raises:
            HttpProblem, InvalidRequest: as described for the module.
        """
        most = self._settings.depth_max
        if too_deep(raw, most):
            raise InvalidRequest(f"the body is nested deeper than {most} levels; send a flatter one", field="")
        try:
            value = parse_json(raw)
        except ValueError as error:
            raise HttpProblem("not-json", f"the body is not JSON: {error}") from error
        json.loads(raw, object_pairs_hook=_refuse_duplicates)
        return value


def media_type_of(request: Request) -> str | None:
    """The media type of a body that is plain UTF-8; None: it is compressed, or in another charset."""
    media_type, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    plain = request.headers.get("content-encoding", "identity").lower() == "identity"
    charset = parameters.strip().removeprefix("charset=").strip('"')
    return media_type.strip() if charset in ("", "utf-8") and plain else None


def _too_large(limit: int) -> HttpProblem:
    return HttpProblem("too-large", f"the body has more than {limit:,} bytes; send references instead of contents")


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise InvalidRequest(f"the name {name[:100]!r} appears twice in one object; remove one", field=name[:100])
        seen.add(name)
