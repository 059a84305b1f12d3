"""What every transport of the feed shares: the filter and the cursor of a request, the event as JSON, and how many
connections may read at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from fastapi import Request
from pydantic import BaseModel, Field
from pydantic_core import to_json

from ..orchestrator.client import Client, EventFilter, FeedEvent, FeedPage
from ..orchestrator.codec.feed_cursors import Positions
from ..orchestrator.codec.instance_events import event_json
from ..orchestrator.errors import InvalidRequest
from ..orchestrator.messages.document import Status
from ..orchestrator.messages.instance_events import EventType
from .bodies import one_of
from .problems import HttpProblem
from .quotas import Allowance

__all__ = ["FILTERS", "FeedTexts", "FeedView", "InstanceEventView", "Places", "filter_of", "filter_parameters"]

FILTERS = {
    "definition": "only events of this definition",
    "instance": "only events of this instance, `definition/key`",
    "key": "only events of instances with this key",
    "type": f"only events of this type: {', '.join(EventType)}",
    "status": "only events after which the instance has this status",
}
"""The names of the conditions. Each may be given several times: then any of its values matches."""
_VALUES_MAX = 100
_TEXTS_MAX = 4_096


class EventData(BaseModel):
    """The summary of an event; never the document, and no contents of messages."""

    definition: str
    key: str
    status: Status | None = Field(description="after the decision; null: the instance was removed")
    before: Status | None = Field(description="the status that it has left; null: it did not, or it is new")
    revision: int = Field(description="of the instance after the decision: what GET shows with it, or later")
    code: str | None = Field(description="reason code of the decision, or of a worker's rejection")
    reason: str | None = Field(description="why, of the decision, the act or the worker's reply")
    by: str | None = Field(description="who sent the act")


class InstanceEventView(BaseModel):
    """What has happened to an instance: a CloudEvent 1.0."""

    specversion: str
    id: str = Field(description="the same on every node, and when it is read again")
    source: str = Field(description="the namespace: `/sagaline`")
    type: str = Field(description=f"`sagaline.instance.` and one of: {', '.join(EventType)}")
    subject: str = Field(description="the instance, `definition/key`")
    time: str = Field(description="of the decision; the order is that of the events, not of their times")
    datacontenttype: str
    traceparent: str | None = Field(default=None, description="of the decision; absent without tracing")
    cursor: str = Field(description="continue after this event with it; on any node")
    data: EventData


class FeedView(BaseModel):
    """Events, oldest first."""

    events: list[InstanceEventView]
    cursor: str = Field(description="the next `after`; it is also past events that the filter has left out")
    more: bool = Field(description="ask again at once: there may be more events now")


class FeedTexts:
    """Events as JSON. Many connections send the same text, so the latest are kept."""

    def __init__(self, client: Client) -> None:
        changes, namespace = client.changes, client.topics.namespace

        @lru_cache(maxsize=_TEXTS_MAX)
        def text(each: FeedEvent) -> str:
            return to_json(event_json(each.event, namespace, changes.cursor_of(each.positions))).decode()

        self.event = text
        self._changes = changes

    def cursor(self, positions: Positions) -> str:
        return self._changes.cursor_of(positions)

    def page(self, page: FeedPage) -> bytes:
        """A ``FeedView``."""
        more = b"true" if page.more else b"false"
        cursor = self.cursor(page.positions).encode()
        return b'{"events":%b,"cursor":"%b","more":%b}' % (self.batch(page), cursor, more)

    def batch(self, page: FeedPage) -> bytes:
        """Its events, as a batch of CloudEvents."""
        return f"[{','.join(map(self.event, page.events))}]".encode()


class Places:
    """How many connections of one kind may read at once."""

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what, self._taken = most, what, 0

    @property
    def taken_count(self) -> int:
        return self._taken

    @contextmanager
    def one(self, allowance: Allowance) -> Iterator[None]:
        """A place during the block.

        Raises:
            HttpProblem: all are taken; or ``quota-exceeded``: all of the quota that who asks has.
        """
        if self._taken >= self._most:
            raise HttpProblem(
                "too-many-readers",
                f"{self._most:,} {self._what} are open on this node, the limit; try again later, or on another node",
            )
        with allowance.stream():
            self._taken += 1
            try:
                yield
            finally:
                self._taken -= 1


def filter_parameters(request: Request, *others: str) -> EventFilter:
    """The filter in the query of a request; ``others`` are its other parameters, each at most once.

    Raises:
        InvalidRequest: an unknown parameter, one that appears twice, or a wrong value; ``field`` says which.
    """
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if name not in FILTERS and name not in others:
            possible = ", ".join((*others, *FILTERS))
            raise InvalidRequest(
                f"there is no query parameter {name[:64]!r}; possible are: {possible}", field=name[:64]
            )
        found.setdefault(name, []).append(value)
        if name in others and len(found[name]) > 1:
            raise InvalidRequest(f"the query parameter {name!r} appears twice; remove one", field=name)
    return filter_of({name: values for name, values in found.items() if name in FILTERS})


def filter_of(values: Mapping[str, Sequence[str]]) -> EventFilter:
    """The filter of these conditions.

    Raises:
        InvalidRequest: a condition has a wrong value, or too many; ``field`` is its name.
    """
    for name, given in values.items():
        if len(given) > _VALUES_MAX:
            raise InvalidRequest(f"{name} has {len(given)} values, the limit is {_VALUES_MAX}", field=name)
        if any(not value for value in given):
            raise InvalidRequest(f"{name} is empty; give a value, or omit it", field=name)
    wrong = [value for value in values.get("instance", ()) if "/" not in value]
    if wrong:
        raise InvalidRequest(f"instance is {wrong[0][:64]!r}; give definition/key", field="instance")
    chosen: dict[str, Any] = {name: frozenset(values.get(name, ())) for name in ("definition", "instance", "key")}
    return EventFilter(
        definitions=chosen["definition"],
        instances=chosen["instance"],
        keys=chosen["key"],
        types=frozenset(one_of(EventType, value, "type") for value in values.get("type", ())),
        statuses=frozenset(one_of(Status, value, "status") for value in values.get("status", ())),
    )
