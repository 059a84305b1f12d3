"""The AsyncAPI 3.0 document of a namespace, from its declarations: which service sends or receives what on which topic.

Topics are channels, records are messages with their CloudEvents headers, and models are JSON Schemas. An operation is
of one service: the engine, a worker, or a subscribing group, which its tag names. What a handler publishes by
``message.publish`` is not declared, so it is not here. Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ...sagas import Contract, Event
from ...sagas.definition import AnyDefinition
from ..messages.values import JsonObject
from ..ports.topics import Topics

__all__ = ["Service", "asyncapi_document"]

_VERSION: Final = "3.0.0"
_TEXT: Final[JsonObject] = {"type": "string"}
_OPTIONAL: Final = ("ce_specversion", "content-type", "ce_source", "ce_time", "traceparent")
_COMMAND: Final = ("ce_subject", "ce_effectkey", "ce_direction", "ce_attempt", "ce_replytopic", "ce_replypartition")
_Mode = Literal["validation", "serialization"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a worker declares. ``subscribes``: group and event; ``consumes``: group, foreign topic and model."""

    name: str
    handles: Sequence[Contract[Any, Any]] = ()
    subscribes: Sequence[tuple[str, Event[Any]]] = ()
    consumes: Sequence[tuple[str, str, type[BaseModel]]] = ()


@dataclass(slots=True)
class _Document:
    """What is collected. ``models``: pairs whose schemas are written at the end, all at once, so that names differ."""

    topics: Topics
    channels: dict[str, dict[str, Any]] = field(default_factory=dict)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    operations: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[tuple[type[BaseModel], _Mode], list[dict[str, Any]]] = field(default_factory=dict)

    def payload(self, model: type[BaseModel], mode: _Mode) -> dict[str, Any]:
        """A place for the model's schema."""
        place: dict[str, Any] = {}
        self.models.setdefault((model, mode), []).append(place)
        return place

    def message(self, topic: str, id: str, type: str | None, payload: JsonObject, required: Sequence[str] = ()) -> str:
        """Adds a record to a topic; returns its reference. ``type``: its ``ce_type``; None: it has no envelope."""
        channel = self.channels.setdefault(_key(topic), {"address": topic, "messages": {}})
        if id not in self.messages:
            self.messages[id] = {"name": type or id, "contentType": "application/json", "payload": payload}
            if type is not None:
                names: JsonObject = dict.fromkeys((*required, *_OPTIONAL), _TEXT)
                names |= {"ce_id": _TEXT, "ce_type": {"type": "string", "const": type}}
                headers = {"type": "object", "properties": names, "required": ["ce_id", "ce_type", *required]}
                self.messages[id]["headers"] = headers
        channel["messages"][id] = {"$ref": f"#/components/messages/{id}"}
        return f"#/channels/{_key(topic)}/messages/{id}"

    def operation(self, service: str, action: Literal["send", "receive"], message: str, reply: Sequence[str]) -> None:
        """Adds what a service does with a message. ``reply``: references of the messages that answer it."""
        channel, _, id = message.rpartition("/messages/")
        found: dict[str, Any] = {
            "action": action,
            "channel": {"$ref": channel},
            "messages": [{"$ref": message}],
            "tags": [{"name": service}],
        }
        if reply:
            answers = {"$ref": reply[0].rpartition("/messages/")[0]}
            found["reply"] = {"channel": answers, "messages": [{"$ref": each} for each in reply]}
        self.operations[f"{service}.{action}.{_last(channel)}.{id}"] = found


def asyncapi_document(
    topics: Topics, definitions: Iterable[AnyDefinition], services: Iterable[Service] = ()
) -> dict[str, Any]:
    """The document as JSON; the same declarations always give the same.

    Args:
        topics: the names of the namespace.
        definitions: what the engine decides.
        services: the workers; without them only the engine's side is there.
    """
    document = _Document(topics)
    for definition in definitions:
        _start(document, definition)
        for contract in definition.contracts:
            _command(document, "engine", "send", contract)
        for event in definition.events:
            _event(document, event)
    for service in services:
        for contract in service.handles:
            _command(document, service.name, "receive", contract)
        for group, event in service.subscribes:
            document.operation(group, "receive", _event(document, event), ())
        for group, topic, model in service.consumes:
            payload = document.payload(model, "validation")
            message = document.message(topic, _key(f"{topic}.{model.__name__}"), None, payload)
            document.operation(group, "receive", message, ())
    return {
        "asyncapi": _VERSION,
        "info": {"title": topics.namespace, "version": "1", "description": _ABOUT},
        "defaultContentType": "application/json",
        "channels": document.channels,
        "operations": document.operations,
        "components": {"messages": document.messages, "schemas": _schemas(document)},
    }


_ABOUT: Final = (
    "Topics, records and who sends or receives them. The key of a record, its partition and all headers are described "
    "in the wire format of Sagaline."
)


def _start(document: _Document, definition: AnyDefinition) -> None:
    name = definition.name
    payload: JsonObject = {
        "type": "object",
        "properties": {
            "definition": {"type": "string", "const": name},
            "key": _TEXT,
            "input": document.payload(definition.state, "validation"),
            "version": {"type": ["integer", "null"]},
        },
        "required": ["definition", "key", "input"],
    }
    message = document.message(document.topics.inputs, f"start.{name}", "sagaline.start", payload)
    document.operation("engine", "receive", message, ())


def _command(
    document: _Document, service: str, action: Literal["send", "receive"], contract: Contract[Any, Any]
) -> None:
    """A command on each lane of its queue, and the replies to it."""
    inputs, name = document.topics.inputs, contract.name
    payload = document.payload(contract.reply, "validation")
    completed = document.message(inputs, f"reply.{name}", "sagaline.reply.completed", payload, ("ce_commandid",))
    replies = [completed, *(_outcome(document, inputs, outcome) for outcome in _OUTCOMES)]
    for lane in contract.lanes:
        topic, payload = document.topics.commands(lane), document.payload(contract.command, "serialization")
        message = document.message(topic, f"command.{name}", name, payload, _COMMAND)
        document.operation(service, action, message, replies)


_OUTCOMES: Final[dict[str, tuple[str, ...]]] = {"rejected": ("reason", "code"), "failed": ("error",)}
"""The fields of a reply that is not completed, all of them texts."""


def _outcome(document: _Document, topic: str, outcome: str) -> str:
    fields = _OUTCOMES[outcome]
    payload: JsonObject = {"type": "object", "properties": dict.fromkeys(fields, _TEXT), "required": [*fields]}
    return document.message(topic, f"reply-{outcome}", f"sagaline.reply.{outcome}", payload, ("ce_commandid",))


def _event(document: _Document, event: Event[Any]) -> str:
    """An event on its way into its mailbox, and published; returns the reference of the published one."""
    topics, name = document.topics, event.name
    payload: JsonObject = {
        "type": "object",
        "properties": {
            "event": {"type": "string", "const": name},
            "key": _TEXT,
            "body": document.payload(event.model, "validation"),
            "keep_ms": {"type": "integer", "minimum": 0},
        },
        "required": ["event", "key", "body", "keep_ms"],
    }
    arriving = document.message(topics.inputs, f"publish.{name}", "sagaline.entity.published", payload)
    document.operation("engine", "receive", arriving, ())
    payload = document.payload(event.model, "validation")
    published = document.message(topics.events, f"event.{name}", name, payload, ("ce_subject",))
    document.operation("engine", "send", published, ())
    return published


def _schemas(document: _Document) -> dict[str, Any]:
    """The models' schemas, in which the places are now references to them."""
    wanted: list[Any] = list(document.models)
    references, definitions = models_json_schema(wanted, by_alias=False, ref_template="#/components/schemas/{model}")
    for pair, places in document.models.items():
        for place in places:
            place.update(references[pair])
    found: dict[str, Any] = _older(definitions.get("$defs", {}), names=True)
    return found


def _older(schema: Any, *, names: bool = False) -> Any:
    """JSON Schema 2020-12 as pydantic writes it, in the dialect of AsyncAPI, which is draft 7 with an own
    ``discriminator``. ``names``: the keys of this object are names, not keywords.
    """
    if isinstance(schema, list):
        return [_older(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {name: _older(each) for name, each in schema.items()}
    found = {
        word: value if word in ("const", "default", "enum", "examples") else _older(value, names=word == "properties")
        for word, value in schema.items()
    }
    if isinstance(found.get("discriminator"), dict):
        found["discriminator"] = found["discriminator"]["propertyName"]
    if "prefixItems" in found:
        found["items"] = found.pop("prefixItems")
    return found


def _key(topic: str) -> str:
    """A topic's name as a key of a component."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", topic)


def _last(channel: str) -> str:
    return channel.rpartition("/")[2]
