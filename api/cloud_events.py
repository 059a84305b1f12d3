"""CloudEvents 1.0 in the three modes of the HTTP binding: what a request says, as events to publish.

``type`` is the name of the event here, ``partitionkey`` (of the extension "partitioning"), else ``subject``, is its
key. ``source`` and ``id`` together name an event, so both make its id: a sender that repeats one repeats that id. Other
extensions are read and not kept.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import unquote

from fastapi import Request
from pydantic import JsonValue

from ..orchestrator.client.checks import ID_CHARS_MAX
from ..orchestrator.errors import InvalidRequest
from .bodies import Bodies, media_type_of
from .problems import HttpProblem

__all__ = ["BATCH", "STRUCTURED", "CloudEvent", "is_batch", "joined", "read_batch", "read_one"]

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
_BATCH_MAX: Final = 500
_NAME: Final = re.compile(r"[a-z0-9]{1,64}")
_JSON: Final = re.compile(r"application/(?:[^/]+\+)?json")
_CONTENTS: Final = frozenset({"data", "data_base64"})
_MODES: Final = (
    f"send a CloudEvent: with the headers ce-specversion, ce-id, ce-source and ce-type and its data as JSON; or whole, "
    f"as Content-Type: {STRUCTURED}; or a list of them, as Content-Type: {BATCH}; in UTF-8 and not compressed"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """An event to publish. ``key_from``: the attribute that has its key. ``traceparent`` None: of the request."""

    id: str
    event: str
    key: str
    key_from: str
    body: Mapping[str, JsonValue]
    traceparent: str | None


def is_batch(request: Request) -> bool:
    """True: the body has a list of events.

    Raises:
        HttpProblem: the body is in none of the modes.
    """
    media_type = media_type_of(request)
    if media_type not in (STRUCTURED, BATCH) and (
        "ce-specversion" not in request.headers or (media_type or "").startswith("application/cloudevents")
    ):
        raise HttpProblem("media-type", _MODES)
    return media_type == BATCH


async def read_one(request: Request, bodies: Bodies) -> CloudEvent:
    """The event of a request in binary or structured mode.

    Raises:
        HttpProblem, InvalidRequest: it is no such event, or breaks a limit; ``field`` is the attribute.
    """
    raw = await bodies.receive(request)
    if media_type_of(request) == STRUCTURED:
        return _whole(bodies.parse(raw), bodies)
    attributes = _of_headers(request)
    return _event(attributes, _of_json(raw, attributes, bodies) if raw else {})


async def read_batch(request: Request, bodies: Bodies) -> Sequence[CloudEvent | InvalidRequest | HttpProblem]:
    """The events of a request in batch mode, and in place of each that is none the error.

    Raises:
        HttpProblem, InvalidRequest: the body is no list, or breaks a limit.
    """
    events = bodies.parse(await bodies.receive(request))
    if not isinstance(events, list):
        raise InvalidRequest("a batch is a JSON list of events; send one", field="")
    if len(events) > _BATCH_MAX:
        text = f"the batch has {len(events):,} events, the limit is {_BATCH_MAX}; send several"
        raise InvalidRequest(text, field="")
    found: list[CloudEvent | InvalidRequest | HttpProblem] = []
    for each in events:
        try:
            found.append(_whole(each, bodies))
        except (InvalidRequest, HttpProblem) as error:
            found.append(error)
    return found


def joined(source: str, id: str) -> str:
    """The id of an event here: of each source and id another one.

    Raises:
        InvalidRequest: they are too long. Field ``id``.
    """
    found = f"{id.replace('%', '%25').replace('@', '%40')}@{source}"
    if len(found) > ID_CHARS_MAX:
        text = f"id and source have {len(found) - 1} characters together; give at most {ID_CHARS_MAX - 1}"
        raise InvalidRequest(text, field="id")
    return found


def _whole(value: object, bodies: Bodies) -> CloudEvent:
    """The event of a JSON value, by the JSON format of CloudEvents."""
    if not isinstance(value, dict):
        raise InvalidRequest("an event is a JSON object; send one", field="")
    given = {name: each for name, each in value.items() if each is not None}
    attributes = {name: each for name, each in given.items() if name not in _CONTENTS}
    if len(given) - len(attributes) == len(_CONTENTS):
        raise InvalidRequest("data and data_base64 are both given; omit one", field="data_base64")
    if "data_base64" not in given:
        return _event(attributes, given.get("data", {}))
    coded = given["data_base64"]
    with suppress(ValueError, TypeError):
        raw = b64decode(coded, validate=True)
        return _event(attributes, _of_json(raw, attributes, bodies))
    raise InvalidRequest("data_base64 is not base64; encode it, or give data as JSON", field="data_base64")


def _of_headers(request: Request) -> dict[str, object]:
    found: dict[str, object] = {}
    for header, value in request.headers.items():
        if not header.startswith("ce-"):
            continue
        name = header.removeprefix("ce-")
        if name in found:
            raise InvalidRequest(f"the header {header[:80]} appears twice; remove one", field=name[:64])
        plain = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
        try:
            found[name] = unquote(plain.encode("latin-1").decode(), errors="strict")
        except UnicodeError:
            text = f"the header {header[:80]} is not UTF-8; write what is not ASCII percent-encoded"
            raise InvalidRequest(text, field=name[:64]) from None
    if "content-type" in request.headers:
        found["datacontenttype"] = request.headers["content-type"]
    return found


def _of_json(raw: bytes, attributes: Mapping[str, object], bodies: Bodies) -> object:
    _check_json(attributes)
    return bodies.parse(raw)


def _check_json(attributes: Mapping[str, object]) -> None:
    kind = str(attributes.get("datacontenttype", "application/json")).partition(";")[0].strip().lower()
    if _JSON.fullmatch(kind) is None:
        text = f"datacontenttype is {kind[:64]!r}; events here are JSON: give application/json"
        raise InvalidRequest(text, field="datacontenttype")


def _event(attributes: Mapping[str, object], data: object) -> CloudEvent:
    for name, value in attributes.items():
        _check_attribute(name, value)
    if (version := attributes.get("specversion")) != "1.0":
        text = "is missing" if version is None else f"is {str(version)[:16]!r}"
        raise InvalidRequest(f"specversion {text}; give an event of version 1.0", field="specversion")
    _check_json(attributes)
    if not isinstance(data, dict):
        raise InvalidRequest("data is not a JSON object; send one, by the model of the event", field="data")
    key_from = "partitionkey" if "partitionkey" in attributes else "subject"
    key = attributes.get(key_from)
    if not isinstance(key, str) or not key:
        text = "the event has no key, which waiting instances match; give it as subject, or as partitionkey"
        raise InvalidRequest(text, field=key_from)
    id, source, kind = (_required(attributes, name) for name in ("id", "source", "type"))
    if isinstance(time := attributes.get("time"), str):
        _check_time(time)
    trace = attributes.get("traceparent")
    return CloudEvent(
        id=joined(source, id),
        event=kind,
        key=key,
        key_from=key_from,
        body=data,
        traceparent=trace if isinstance(trace, str) else None,
    )


def _check_attribute(name: str, value: object) -> None:
    if _NAME.fullmatch(name) is None:
        text = f"{name[:64]!r} is no name of an attribute; use lower-case letters and digits"
        raise InvalidRequest(text, field=name[:64])
    if not isinstance(value, str | int):
        text = f"{name} is neither a text nor a whole number nor true or false; give one, or put it into data"
        raise InvalidRequest(text, field=name)


def _required(attributes: Mapping[str, object], name: str) -> str:
    value = attributes.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{name} is missing or empty, or no text; give one", field=name)
    return value


def _check_time(text: str) -> None:
    with suppress(ValueError):
        if datetime.fromisoformat(text).tzinfo is not None:
            return
    raise InvalidRequest(f"time is {text[:40]!r}; give a time with a zone, as 2027-01-01T08:00:00Z", field="time")
