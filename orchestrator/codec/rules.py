"""Rules of a table that processes follow: all of them in one record, under the table's name."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from ..messages.entity_messages import Rule
from ..ports.log import Outgoing, Record

__all__ = ["decode_rules", "encode_rules"]

_RULES: TypeAdapter[tuple[Rule, ...]] = TypeAdapter(tuple[Rule, ...])


def encode_rules(topic: str, table: str, rules: Sequence[Rule]) -> Outgoing:
    value = _RULES.dump_json(tuple(rules))
    return Outgoing(topic, table.encode(), value, (("content-type", b"application/json"),), 0)


def decode_rules(record: Record, table: str) -> tuple[Rule, ...] | None:
    """None: the record is of another table, or cannot be read; the rules before it stay."""
    if record.key != table.encode() or record.value is None:
        return None
    try:
        return _RULES.validate_json(record.value)
    except ValidationError:
        return None
