"""What a subscription and its parcels say to each other; see ``orchestrator.messages.parcels``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ..orchestrator.codec.entities import encode_entity_message
from ..orchestrator.codec.wire import header_map, trace_context
from ..orchestrator.messages.parcels import (
    ATTEMPT,
    PARCEL,
    RELEASE,
    SOURCE,
    TIMESTAMP,
    Handled,
    Posted,
    RetryPolicy,
    Source,
    parcel_id,
    parked_letter,
    single_id,
)
from ..orchestrator.ports.clock import Clock
from ..orchestrator.ports.log import Log, Outgoing, Record, check_size
from ..sagas.policy import to_ms
from .message import Place
from .subscription import Options

if TYPE_CHECKING:
    from .arrived import Arrived

__all__ = ["Letters", "Redelivered", "redelivered"]


class Redelivered(NamedTuple):
    """What a record of the topic of redeliveries says. ``release``: no message: the key is free up to that offset.

    ``timestamp_ms``: when the message was written; None: nobody knows.
    """

    parcel: str
    place: Place
    attempt: int
    release: int | None
    timestamp_ms: int | None


def redelivered(record: Record) -> Redelivered | None:
    """None: it cannot be read."""
    headers = header_map(record.headers)
    try:
        parcel = headers[PARCEL].decode()
        if (release := headers.get(RELEASE)) is not None:
            return Redelivered(parcel, Place(record.topic, record.partition, record.offset), 0, int(release), None)
        topic, partition, offset = headers[SOURCE].decode().rsplit("/", 2)
        written_ms = int(headers[TIMESTAMP]) if TIMESTAMP in headers else None
        return Redelivered(parcel, Place(topic, int(partition), int(offset)), int(headers[ATTEMPT]), None, written_ms)
    except (KeyError, ValueError):
        return None


class Letters:
    """Encodes them for one group on one topic.

    Args:
        inputs: where parcels are.
        group: of the subscription.
        redeliveries: the topic by which its parcels answer.
        source: for the envelope.
    """

    def __init__(self, inputs: str, group: str, redeliveries: str, *, source: str, log: Log, clock: Clock) -> None:
        self._inputs, self._group, self._redeliveries, self._source = inputs, group, redeliveries, source
        self._log, self._clock = log, clock

    def posted(
        self, arrived: Arrived, options: Options, error: str | None, detail: str = "", *, park: bool = False
    ) -> Outgoing:
        """The message of the source goes to its parcel. ``error`` None: it follows one that has failed.

        Raises:
            ValueTooLarge: it does not fit into a letter.
        """
        record, retry, place = arrived.record, options.retry, Source(**arrived.place._asdict())
        letter = parked_letter(self._group, place, record.key, record.value, record.headers)
        letter = replace(letter, timestamp_ms=record.timestamp_ms)
        in_order = options.order == "key" and record.key is not None
        message = Posted(
            id=f"{letter.id}/posted",
            instance=parcel_id(self._group, record.key) if in_order else single_id(self._group, place),
            letter=letter,
            group=self._group,
            redeliver_to=self._redeliveries,
            redeliver_partition=arrived.source.partition,
            retry=RetryPolicy(
                max_attempts=retry.max_attempts,
                first_ms=to_ms(retry.first_delay),
                factor=retry.factor,
                most_ms=to_ms(retry.max_delay),
            ),
            error=error,
            detail=detail,
            attempts=0 if error is None or park else 1,
            park=park,
        )
        outgoing = self._encoded(message, record)
        check_size(outgoing, "its letter", self._log.max_value_bytes)
        return outgoing

    def handled(
        self, arrived: Arrived, error: str | None = None, detail: str = "", *, poison: bool = False
    ) -> Outgoing:
        """The outcome of a redelivery; ``error`` None: it was handled."""
        assert arrived.redelivered is not None
        parcel, place, attempt, *_ = arrived.redelivered
        message = Handled(
            id=f"{self._group}/{place}/handled/{attempt}",
            instance=parcel,
            source=Source(**place._asdict()),
            attempt=attempt,
            ok=error is None,
            error=error or "",
            detail=detail,
            poison=poison,
        )
        return self._encoded(message, arrived.record)

    def _encoded(self, message: Posted | Handled, record: Record) -> Outgoing:
        trace = trace_context(header_map(record.headers))
        now_ms = self._clock.now_ms()
        return encode_entity_message(self._inputs, message, source=self._source, now_ms=now_ms, traceparent=trace)
