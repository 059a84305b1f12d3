"""Rules of a table that processes follow: all of them in one record, under the table's name."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from ..messages.outputs import Announce
from ..ports.log import Outgoing, Record

__all__ = ["decode_rules", "encode_rules"]

_ANNOUNCE = TypeAdapter(Announce)


def encode_rules(topic: str, rules: Announce) -> Outgoing:
    headers = (("content-type", b"application/json"),)
    return Outgoing(topic, rules.table.encode(), _ANNOUNCE.dump_json(rules), headers, 0)


def decode_rules(record: Record, table: str) -> Announce | None:
    """None: the record is of another table, or cannot be read; the rules before it stay."""
    if record.key != table.encode() or record.value is None:
        return None
    try:
        return _ANNOUNCE.validate_json(record.value)
    except ValidationError:
        return None
