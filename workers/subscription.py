"""The declaration of a subscription: what a group reads, and with which guarantees its handler is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, TypedDict

from pydantic import BaseModel

from ..orchestrator.codec.wire import header_map
from ..orchestrator.ports.log import Record, Start
from ..sagas import DefinitionError, Event, Retry
from ..sagas.contract import check_name
from ..sagas.given import check_choice, check_is, check_span
from .dedup import Dedup
from .errors import Unreadable
from .filters import Filter, Takes, takes_of
from .injection import Callee, callee_of
from .message import Message
from .reads import JsonOf, Reads

__all__ = ["Begin", "Given", "Guarantee", "Options", "Order", "Subscription", "Where", "declare"]

Guarantee: TypeAlias = Literal["at_most_once", "at_least_once", "exactly_once"]
Order: TypeAlias = Literal["key", "none"]
Begin: TypeAlias = Literal["earliest", "latest"] | datetime
Where: TypeAlias = Callable[[Any], bool] | Filter
_DELIVERIES: Final = ("at_least_once", "at_most_once", "exactly_once")


_RETRY: Final = Retry()


class Given(TypedDict, total=False):
    """What may be given to ``subscribes`` and ``consumes``; see ``Options``."""

    group: str
    delivery: Guarantee
    order: Order
    retry: Retry
    expires_after: timedelta | None
    dedup: Dedup | None
    start: Begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a subscription's messages are delivered.

    Args:
        group: every group gets every message; processes of one group share them.
        delivery: ``at_least_once``: nothing is lost, and a crash repeats what was not committed. ``at_most_once``: the
            position is committed first; a crash loses what was at work, a failure is not retried. ``exactly_once``:
            what the handler publishes and its position are one commit, so its events appear once; its other effects
            may repeat, as with ``at_least_once``.
        order: ``key``: messages of one key one after the other, in order, also through retries: while one is retried,
            the later ones of its key wait behind it and other keys pass. ``none``: no order.
        where: only these messages are handled: a function of the body that returns True, or a filter on headers in the
            dialects of CloudEvents, as ``{"prefix": {"subject": "order-"}}``, for which no body is read.
        retry: when a failed message is delivered again. When its attempts are used up, its key is parked.
        expires_after: a message older than this, by the log's timestamps, is not handled but becomes a dead letter.
        dedup: messages that were handled before are dropped; None: as often as they come.
        start: where a new group begins; a group that has read before continues.

    Raises:
        DefinitionError: a value out of its range.
    """

    group: str
    delivery: Guarantee = "at_least_once"
    order: Order = "key"
    where: Where | None = None
    retry: Retry = _RETRY
    expires_after: timedelta | None = None
    dedup: Dedup | None = None
    start: Begin = "earliest"

    def __post_init__(self) -> None:
        check_name("group", self.group)
        at = f"subscription of group {self.group!r}"
        check_choice(f"{at}: delivery", self.delivery, _DELIVERIES)
        check_choice(f"{at}: order", self.order, ("key", "none"))
        check_is(f"{at}: retry", self.retry, Retry, "give a Retry")
        if self.expires_after is not None:
            check_span(f"{at}: expires_after", self.expires_after)
        if self.dedup is not None:
            check_is(f"{at}: dedup", self.dedup, Dedup, "give a Dedup, as in Dedup(within=timedelta(hours=1))")
        if isinstance(self.start, datetime):
            if self.start.tzinfo is None:
                raise DefinitionError(f"{at}: start {self.start} has no time zone; give one, as in tzinfo=UTC")
        else:
            check_choice(f"{at}: start", self.start, ("earliest", "latest"))

    @property
    def begin(self) -> Start:
        """``start`` for the log."""
        return round(self.start.timestamp() * 1000) if isinstance(self.start, datetime) else self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A handler, and what it gets.

    Args:
        topic: a foreign topic; None: the namespace's events.
        event: the event's name; None: every record of the topic.
        reads: makes the body.
        callee: the handler; async, or called in a thread.
        options: see ``Options``.
        takes: its filter on headers; None: there is none.
        likes: its filter on bodies; None: there is none.
    """

    topic: str | None
    event: str | None
    reads: Reads[BaseModel]
    callee: Callee
    options: Options
    takes: Takes | None
    likes: Callable[[Any], bool] | None

    @property
    def name(self) -> str:
        """For people and metrics."""
        return self.event or self.topic or ""

    def wants(self, record: Record) -> bool:
        """False: its filter on headers does not take the record. Reads no body."""
        return self.takes is None or self.takes(header_map(record.headers))

    def body(self, record: Record) -> BaseModel | None:
        """The body; None: its filter on bodies does not take it.

        Raises:
            Unreadable: the record's value is no body of this subscription.
            BaseException: what the filter raised.
        """
        if record.value is None:
            raise Unreadable("it has no value (a tombstone)")
        # JSON is JSON whatever the headers say.
        body = self.reads.read(record.value, {} if type(self.reads) is JsonOf else header_map(record.headers))
        return body if self.likes is None or self.likes(body) else None


def declare(
    at: str, of: Event[Any] | str, reads: Reads[BaseModel], function: Callable[..., object], options: Options
) -> Subscription:
    """The subscription of a handler.

    Raises:
        DefinitionError: as ``callee_of``.
    """
    topic, event = (of, None) if isinstance(of, str) else (None, of.name)
    callee = callee_of(at, function, reads.model, Message)
    where = options.where
    takes = None if where is None or callable(where) else takes_of(f"{at}: where", where)
    if options.dedup is not None:
        options.dedup.check(at, reads.model)
    likes = where if callable(where) else None
    return Subscription(topic=topic, event=event, reads=reads, callee=callee, options=options, takes=takes, likes=likes)
