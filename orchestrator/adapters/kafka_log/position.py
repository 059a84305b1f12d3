"""The ``~position`` record of the state topic: its content and how it is read.

``{"offset": next input to read, "now_ms": time of the last decision, "touched": [[topic, partition], ...]}``. It is
the last state record of every commit; ``touched`` names every partition of that transaction, so that a successor can
find one where a dying broker has not written the transaction marker.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from ...errors import CorruptRecord
from ...ports.log import Position, TopicPartition

__all__ = ["Mark", "read_mark", "write_mark"]


class Mark(NamedTuple):
    position: Position
    touched: frozenset[TopicPartition]


def write_mark(position: Position, touched: Iterable[TopicPartition]) -> bytes:
    document = {"offset": position.offset, "now_ms": position.now_ms, "touched": [list(one) for one in touched]}
    return json.dumps(document, separators=(",", ":")).encode()


def read_mark(value: bytes | None, where: str) -> Mark:
    """Raises CorruptRecord when the bytes are not such a record."""
    try:
        document = json.loads(value or b"")
        position = Position(int(document["offset"]), int(document["now_ms"]))
        touched = frozenset(TopicPartition(str(topic), int(partition)) for topic, partition in document["touched"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptRecord(where, f"this is not a position record ({error!r}): {(value or b'')[:100]!r}") from error
    if position.offset < 0:
        raise CorruptRecord(where, f"the position {position.offset} is negative")
    return Mark(position, touched)
