"""Messages between entities, events for the topic of events, and documents of entities other than instances."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from ...sagas.contract import is_name
from ..messages.dead import DeadRequest
from ..messages.entities import ENTITY_FORMAT, Entity, Mailbox, Parcel
from ..messages.entity_messages import (
    Acquire,
    ChildEnded,
    Deadlocked,
    Denied,
    EventDelivered,
    Expire,
    ExpiryRequested,
    Granted,
    Lookup,
    Probe,
    ProbeLock,
    Published,
    Release,
    Routed,
    SetRules,
    Unwatch,
    Unwind,
    Watch,
    mailbox_id,
)
from ..messages.inputs import Message
from ..messages.keys import instance_wrong, key_wrong
from ..messages.parcels import Discard, Edit, Handled, Posted, Redrive, Reschedule, Skip, is_delayed
from ..messages.schedules import (
    Backfill,
    DeleteSchedule,
    PauseSchedule,
    PutSchedule,
    ResumeSchedule,
    StartDecided,
    Trigger,
)
from ..messages.texts import end_of, storable
from ..messages.values import first_mistake
from ..ports.log import Outgoing
from .formats import Upcasts, upcast
from .wire import BODY_DEPTH_MAX, DEPTH_MAX, BadRecord, entity_key, envelope, finite, sound, with_pieces

__all__ = [
    "ENTITY",
    "PUBLISHED",
    "decode_entity_message",
    "decode_entity",
    "encode_entity_message",
    "encode_event",
    "encode_entity",
]

ENTITY = "sagaline.entity."
"""Prefix of ``ce_type`` for messages between entities; the kind of the message follows."""
PUBLISHED = f"{ENTITY}published"

_UPCASTS: Upcasts = {}
_ENTITY: TypeAdapter[Entity] = TypeAdapter(Annotated[Entity, Field(discriminator="kind")])
_CLASSES: tuple[type[Any], ...] = (
    Acquire,
    Backfill,
    ChildEnded,
    DeadRequest,
    Deadlocked,
    DeleteSchedule,
    Denied,
    Discard,
    Edit,
    EventDelivered,
    Granted,
    Expire,
    Handled,
    Lookup,
    ExpiryRequested,
    PauseSchedule,
    Posted,
    Probe,
    ProbeLock,
    Published,
    PutSchedule,
    Redrive,
    Release,
    Reschedule,
    ResumeSchedule,
    Routed,
    SetRules,
    Skip,
    StartDecided,
    Trigger,
    Unwatch,
    Unwind,
    Watch,
)
_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    f"{ENTITY}{next(field.default for field in fields(each) if field.name == 'kind')}": TypeAdapter(each)
    for each in _CLASSES
}
_ERROR_CHARS = 1_000
_DETAIL_CHARS = 8_000
_IN_HEADERS = {"id", "instance", "traceparent", "kind"}


def encode_entity_message(
    topic: str, message: Message, *, source: str, now_ms: int, traceparent: str | None
) -> Outgoing:
    """A message to an entity as a record for ``inputs``; its partition is the entity's.

    Raises:
        ValueError: it cannot be written, or could not be read back.
    """
    kind = ENTITY + message.kind
    depth_max = BODY_DEPTH_MAX if kind == PUBLISHED else DEPTH_MAX
    body = sound(_ADAPTERS[kind].dump_json(message, exclude=_IN_HEADERS), depth_max)
    headers = envelope(
        kind, id=message.id, source=source, subject=message.instance, now_ms=now_ms, traceparent=traceparent
    )
    return Outgoing(topic, entity_key(message.instance), body, headers)


def decode_entity_message(kind: str, body: dict[str, Any], attributes: dict[str, str | None]) -> Message:
    """The message of a record.

    Raises:
        BadRecord: the kind is unknown, the body does not match it, or an event's body is for another mailbox.
    """
    adapter = _ADAPTERS.get(kind)
    if adapter is None:
        raise BadRecord(f"ce_type {kind[:80]!r} is not known to this version")
    try:
        message: Message = adapter.validate_python(body | attributes)
    except ValidationError as error:
        raise BadRecord(f"{kind}: {': '.join(first_mistake(error))}") from error
    if isinstance(message, Published):
        _check_event(message)
    if isinstance(message, Posted):
        _check_posted(message)
    return _storable(message) if isinstance(message, Posted | Handled) else message


def _storable(message: Posted | Handled) -> Message:
    """The message with its texts cut to a size that fits into the parcel."""
    message = replace(message, detail=end_of(message.detail, _DETAIL_CHARS))
    return replace(message, error=storable(message.error, _ERROR_CHARS)) if message.error else message


def _check_posted(posted: Posted) -> None:
    if not posted.instance.startswith("@parcel/"):
        raise BadRecord(f"the record's key is {posted.instance[:300]!r}, which is not a parcel's id")
    if is_delayed(posted.instance):
        if posted.due_ms is None or posted.group:
            raise BadRecord("a delayed message needs due_ms, and has no group")
        return
    if posted.letter.source is None or posted.retry is None or not posted.redeliver_to or posted.due_ms is not None:
        raise BadRecord("a letter of a key needs its source, retry and redeliver_to, and has no due_ms")
    if "/" in posted.group or not posted.instance.startswith(f"@parcel/{posted.group}/"):
        raise BadRecord(f"the record's key is {posted.instance[:300]!r}, its body is of group {posted.group[:80]!r}")


def _check_event(event: Published) -> None:
    if not is_name(event.event):
        raise BadRecord(f"event is {event.event!r}, which is not a valid name")
    if (wrong := key_wrong(event.key)) is not None:
        raise BadRecord(f"the event's key {wrong}")
    if event.instance != mailbox_id(event.event, event.key):
        box = mailbox_id(event.event, event.key)
        raise BadRecord(f"the record's key is {event.instance!r}, its body is for {box!r}")
    for each in event.to:
        if (wrong := instance_wrong(each)) is not None:
            raise BadRecord(f"the event is for {each[:300]!r}, which {wrong}")


def encode_event(topic: str, event: Published, partition: int, *, source: str, now_ms: int) -> Outgoing:
    """An event as a record for the topic of events: the type is the event's name, the value its body.

    Raises:
        ValueError: it cannot be written, or could not be read back.
    """
    headers = envelope(
        event.event,
        id=event.id,
        source=event.source or source,
        subject=event.key,
        now_ms=now_ms,
        traceparent=event.traceparent,
    )
    return Outgoing(topic, event.key.encode(), sound(finite(to_json(event.body))), headers, partition)


def encode_entity(entity: Entity) -> bytes:
    """An entity's document as a value of the state topic.

    Raises:
        ValueError: it cannot be written, or could not be read back.
    """
    match entity:
        case Mailbox(kept=kept):
            return with_pieces(sound(_ENTITY.dump_json(entity, exclude={"kept"})), "kept", kept)
        case Parcel(letters=letters):
            return with_pieces(sound(_ENTITY.dump_json(entity, exclude={"letters"})), "letters", letters)
        case _:
            return sound(_ENTITY.dump_json(entity))


def decode_entity(value: bytes) -> Entity:
    """The entity's document of a record of the state topic.

    Raises:
        NewerFormat: its format number is above ours.
        BadRecord: it is not an entity's document.
    """
    try:
        entity: Entity = _ENTITY.validate_json(upcast(value, ENTITY_FORMAT, _UPCASTS))
    except ValidationError as error:
        raise BadRecord(f"not an entity's document: {': '.join(first_mistake(error))}") from error
    return entity
