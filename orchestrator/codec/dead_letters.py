"""Dead letters: the original bytes and headers, and why and from where they came."""

from __future__ import annotations

from ..ports.log import Outgoing, Record

__all__ = ["dead_letter"]


def dead_letter(topic: str, partition: int | None, record: Record, reason: str) -> Outgoing:
    """The record for the dead letter topic: key, value and headers as they were, four headers more.

    ``dead-reason``, ``dead-topic``, ``dead-partition`` and ``dead-offset`` replace those of an earlier death.
    """
    kept = tuple((name, value) for name, value in record.headers if not name.startswith("dead-"))
    why = (
        ("dead-reason", reason[:1_000].encode(errors="replace")),
        ("dead-topic", record.topic.encode()),
        ("dead-partition", str(record.partition).encode()),
        ("dead-offset", str(record.offset).encode()),
    )
    return Outgoing(topic, record.key, record.value, kept + why, partition)
