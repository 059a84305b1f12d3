"""``RestClient``: the REST API as typed Python methods, and ``SyncRestClient`` for programs without an event loop.

Every write has an id, given or made here, and every request is repeated while nothing answers: a lost answer is never
asked for by a second act. What the API answers are the models of the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, JsonValue, RootModel

from ..orchestrator.adapters.clock import SystemClock
from ..orchestrator.errors import InvalidRequest
from ..orchestrator.loop_thread import Blocking, waiting
from ..orchestrator.messages.inputs import ActName, OnConflict
from ..sagas.models import Unwritable, as_json
from .bodies import one_of
from .definitions import DefinitionList
from .events import EventBody, EventView
from .feed_views import FeedView, InstanceEventView
from .inspections import InspectionView
from .instances import ActBody, StartBody
from .paths import instance_path
from .rates import RatesView
from .rest_calls import RestCalls
from .searching import InstanceWhere
from .timelines import TimelineView
from .views import (
    AcceptedView,
    CountView,
    DecisionView,
    HistoryView,
    InstanceList,
    InstanceSummary,
    InstanceView,
    OutcomeView,
)
from .what_if import WhatIfView

__all__ = ["RestClient", "SyncRestClient"]

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_WAIT = timedelta(seconds=10)
DEFAULT_DEADLINE = timedelta(seconds=30)
_POLL = timedelta(seconds=20)
_CLOCK = SystemClock()


class _Anything(RootModel[dict[str, JsonValue]]):
    pass


class RestClient:
    """Starts, queries and operates instances over HTTP. Safe for concurrent use by tasks of one event loop.

    Use it as ``async with RestClient(url) as client:``.

    Args:
        url: the address of the API, ``http://host:port``.
        token: a key of the API; None: none is sent.
        deadline: how long a request is repeated while nothing answers, or the API is overloaded (429, 502, 503, 504).
        transport: None: HTTP; for tests another one of httpx, such as ``httpx.ASGITransport``.

    Raises:
        ConfigurationError: the address or the token cannot be sent.

    Every method raises ``ApiProblem`` when the API refuses the request, and ``ApiUnreachable`` when the deadline has
    passed; ``InvalidRequest``, before anything is sent, when a model cannot be written or there is no such act.
    Personal values that are not sealed are sent as they are: the API seals them.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        deadline: timedelta = DEFAULT_DEADLINE,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._calls = RestCalls(url, token, deadline, transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._calls.close()

    async def start(
        self,
        definition: str,
        input: BaseModel | Mapping[str, JsonValue],
        *,
        key: str | None = None,
        version: int | None = None,
        conflict: OnConflict = "reject",
        request_id: str | None = None,
        wait: timedelta = DEFAULT_WAIT,
    ) -> OutcomeView | AcceptedView:
        """Starts an instance; never lost after this. As ``Client.start``, with its arguments.

        A start whose first answer was lost has ``created`` False: the repeat found the instance.

        Returns: the outcome; or, not decided within ``wait`` or waiting for its code, an ``AcceptedView``.
        """
        body = StartBody(
            key=_fresh() if key is None else key,
            input=_json_of(input, "input"),
            version=version,
            conflict=conflict,
            request_id=_fresh() if request_id is None else request_id,
        )
        return self._outcome(await self._calls.ask("POST", f"/v1/sagas/{_segment(definition)}", body=body, wait=wait))

    async def act(
        self,
        instance: str,
        act: ActName | str,
        *,
        reason: str = "",
        by: str = "",
        step: str = "",
        value: Mapping[str, JsonValue] | None = None,
        request_id: str | None = None,
        wait: timedelta = DEFAULT_WAIT,
    ) -> OutcomeView | AcceptedView:
        """Sends an operator's act. As ``Client.act``; ``by`` is used only by an API without authentication.

        Returns: the outcome; or, not decided within ``wait``, an ``AcceptedView``.
        """
        id = _fresh() if request_id is None else request_id
        body = ActBody(by=by, reason=reason, request_id=id, step=step, value=_plain(value))
        return self._outcome(await self._calls.ask("POST", _act_path(instance, act), body=body, wait=wait))

    async def rehearse(
        self,
        instance: str,
        act: ActName | str,
        *,
        reason: str = "",
        by: str = "",
        step: str = "",
        value: Mapping[str, JsonValue] | None = None,
    ) -> WhatIfView:
        """What an act would do to the instance as it is now. Nothing is changed."""
        body = ActBody(by=by, reason=reason, step=step, value=_plain(value), request_id=None)
        answer = await self._calls.ask("POST", _act_path(instance, act), query={"dry_run": "true"}, body=body)
        return self._calls.parsed(WhatIfView, answer)

    async def publish(
        self, event: str, body: BaseModel | Mapping[str, JsonValue], *, key: str, id: str | None = None
    ) -> EventView:
        """Publishes an event; it is in the log when this returns. With the same ``id`` it happens once."""
        content = EventBody(key=key, id=_fresh() if id is None else id, body=_json_of(body, "body"))
        return self._calls.parsed(
            EventView, await self._calls.ask("POST", f"/v1/events/{_segment(event)}", body=content)
        )

    async def get(self, instance: str) -> InstanceView:
        """The instance ``definition/key``."""
        return await self._calls.read(InstanceView, instance_path(instance))

    async def inspect(self, instance: str) -> InspectionView:
        """What an instance waits for and why, what stands, and which acts are possible."""
        return await self._calls.read(InspectionView, f"{instance_path(instance)}/inspection")

    async def read(self, path: str, /, **query: Any) -> dict[str, JsonValue]:
        """The JSON of any other GET, by its path such as ``/v1/schedules``; parameters that are None are not sent."""
        return (await self._calls.read(_Anything, path, **query)).root

    async def list(
        self,
        where: InstanceWhere | None = None,
        *,
        sort: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> InstanceList:
        """A page of instances; ``cursor`` is that of the page before."""
        return await self._calls.read(
            InstanceList, "/v1/instances", **_conditions(where), sort=sort, limit=limit, cursor=cursor
        )

    async def each(
        self, where: InstanceWhere | None = None, *, sort: str | None = None
    ) -> AsyncIterator[InstanceSummary]:
        """Every instance of the filter, page by page."""
        cursor: str | None = None
        while True:
            page = await self.list(where, sort=sort, limit=100, cursor=cursor)
            for found in page.instances:
                yield found
            if (cursor := page.cursor) is None:
                return

    async def count(self, where: InstanceWhere | None = None) -> CountView:
        """How many instances match, exactly up to 10,000."""
        return await self._calls.read(CountView, "/v1/instances/count", **_conditions(where))

    async def rates(self, *, hours: int = 24, definition: str | None = None) -> RatesView:
        """How many instances started in each of the last hours, 1 to 48, by the status that they have now."""
        return await self._calls.read(RatesView, "/v1/instances/rates", hours=hours, definition=definition)

    async def history(self, instance: str) -> AsyncIterator[DecisionView]:
        """The decisions about an instance, oldest first."""
        after: int | None = None
        while True:
            page = await self._calls.read(HistoryView, f"{instance_path(instance)}/history", after=after)
            for decision in page.decisions:
                yield decision
            if (after := page.next) is None:
                return

    async def timeline(self, instance: str, *, limit: int | None = None) -> TimelineView:
        """The last run of a key as bars over time, from its newest ``limit`` decisions: 1 to 10,000, by default 500."""
        return await self._calls.read(TimelineView, f"{instance_path(instance)}/timeline", limit=limit)

    async def definitions(self) -> DefinitionList:
        """The deployed definitions, each with the JSON schema of its input."""
        return await self._calls.read(DefinitionList, "/v1/definitions")

    async def changes(
        self, /, *, after: str | None = None, **where: str | Sequence[str]
    ) -> AsyncIterator[InstanceEventView]:
        """What happens to instances, as it happens and in order; ends only when it is left.

        It goes on after the API was away. To continue later, keep the ``cursor`` of the last event.

        Args:
            after: a cursor, or ``earliest``; None: from now on.
            where: ``definition``, ``instance``, ``key``, ``type``, ``status``; any of several values matches.
        """
        page = await self._calls.read(FeedView, "/v1/events", after=after, **where)
        while True:
            for event in page.events:
                yield event
            wait = timedelta(0) if page.more else _POLL
            asked = {**where, "after": page.cursor}
            page = self._calls.parsed(FeedView, await self._calls.ask("GET", "/v1/events", query=asked, wait=wait))

    def _outcome(self, response: httpx.Response) -> OutcomeView | AcceptedView:
        if response.status_code == 202:
            return self._calls.parsed(AcceptedView, response)
        return self._calls.parsed(OutcomeView, response)


def _drawn(
    method: Callable[Concatenate[RestClient, P], AsyncIterator[T]],
) -> Callable[Concatenate[SyncRestClient, P], Iterator[T]]:
    @wraps(method)
    def draw(self: SyncRestClient, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        values = method(self._inner, *args, **kwargs)

        async def following() -> list[T]:
            return [value async for value in _first(values)]

        while found := self._thread.result(following()):
            yield from found

    return draw


async def _first(values: AsyncIterator[T]) -> AsyncIterator[T]:
    """The next value alone, if there is one."""
    async for value in values:
        yield value
        return


class SyncRestClient(Blocking):
    """The methods of ``RestClient``, each returning when it is done. For any number of threads.

    Use it as ``with SyncRestClient(url) as client:``, or ``open()`` it where a process begins and ``close()`` it where
    it ends. The arguments are those of ``RestClient``.

    Raises:
        ConfigurationError: it is used while it is not open, or in a process forked from the one that opened it.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        deadline: timedelta = DEFAULT_DEADLINE,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(RestClient(url, token=token, deadline=deadline, transport=transport), "REST client")

    start = waiting(RestClient.start)
    act = waiting(RestClient.act)
    rehearse = waiting(RestClient.rehearse)
    inspect = waiting(RestClient.inspect)
    read = waiting(RestClient.read)
    publish = waiting(RestClient.publish)
    get = waiting(RestClient.get)
    list = waiting(RestClient.list)
    each = _drawn(RestClient.each)
    count = waiting(RestClient.count)
    rates = waiting(RestClient.rates)
    history = _drawn(RestClient.history)
    timeline = waiting(RestClient.timeline)
    definitions = waiting(RestClient.definitions)
    changes = _drawn(RestClient.changes)


def _fresh() -> str:
    return _CLOCK.new_id()


def _act_path(instance: str, act: ActName | str) -> str:
    return f"{instance_path(instance)}/{one_of(ActName, act, 'act')}"


def _json_of(value: BaseModel | Mapping[str, JsonValue], field: str) -> dict[str, JsonValue]:
    if not isinstance(value, BaseModel):
        return dict(value)
    try:
        return as_json(value, openly=True)
    except Unwritable as error:
        raise InvalidRequest(f"{field}: {error}", field=field) from error


def _plain(value: Mapping[str, JsonValue] | None) -> dict[str, JsonValue] | None:
    return None if value is None else dict(value)


def _segment(text: str) -> str:
    return quote(text, safe="")


def _conditions(where: InstanceWhere | None) -> dict[str, Any]:
    return {} if where is None else where.model_dump(mode="json", exclude_unset=True)
