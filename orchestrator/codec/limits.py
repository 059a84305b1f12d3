"""The limits of queues as workers read them: the rules of their table in one record."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from ..messages.entity_messages import Rule
from ..messages.flow_limits import FlowLimit, limits_of
from ..ports.log import Outgoing, Record

__all__ = ["decode_limits", "encode_limits"]

_KEY = b"limits"
_RULES: TypeAdapter[tuple[Rule, ...]] = TypeAdapter(tuple[Rule, ...])


def encode_limits(topic: str, rules: Sequence[Rule]) -> Outgoing:
    value = _RULES.dump_json(tuple(rules))
    return Outgoing(topic, _KEY, value, (("content-type", b"application/json"),), 0)


def decode_limits(record: Record) -> tuple[FlowLimit, ...] | None:
    """None: it is another record, or cannot be read; the limits before it stay."""
    if record.key != _KEY or record.value is None:
        return None
    try:
        return limits_of(_RULES.validate_json(record.value))
    except ValidationError:
        return None
