"""What a running worker tells about itself: one record every few seconds, keyed by the run."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from ..ports.log import Outgoing, Record

__all__ = ["Held", "HeldBy", "Presence", "QueueWork", "decode_presence", "encode_presence"]

HeldBy: TypeAlias = Literal["limit", "circuit"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Held(_Frozen):
    """Commands that a worker has read and does not begin now. ``name``: of the limit, or of the contract."""

    by: HeldBy
    name: str
    count: int


class QueueWork(_Frozen):
    """One queue, or lane of one, in one worker. ``unfinished``: commands read and not answered, with the held ones."""

    queue: str
    unfinished: int
    held: tuple[Held, ...] = ()


class Presence(_Frozen):
    """One run of a worker. ``ended``: it reads no more; this is its last record."""

    worker: str
    run: str
    queues: tuple[QueueWork, ...]
    ended: bool = False


def encode_presence(topic: str, presence: Presence) -> Outgoing:
    value = presence.model_dump_json().encode()
    return Outgoing(topic, presence.run.encode(), value, (("content-type", b"application/json"),), 0)


def decode_presence(record: Record) -> Presence | None:
    """None: it is not readable, as of a newer release; what it says is only shown."""
    try:
        return Presence.model_validate_json(record.value or b"")
    except ValidationError:
        return None
