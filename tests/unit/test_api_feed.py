"""The feed over HTTP: polling, long polling and streams, over a real log, engine and read model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cloudevents.core.formats.json import JSONFormat
from fastapi import FastAPI

from sagaline.api import ApiSettings, create_app
from sagaline.api.cloud_events import BATCH
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.codec.feed_cursors import encode_cursor, log_identity

from .asgi import Sent, streaming
from .stack import Stack, order, stack

FOREIGN = encode_cursor(log_identity("t", 1), (0, 0))
OF_ANOTHER_NAMESPACE = encode_cursor(log_identity("other", 0), (0, 0))


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as up:
        yield up


def app_of(up: Stack, **settings: Any) -> FastAPI:
    return create_app(up.client, clock=SystemClock(), settings=ApiSettings(**settings))


@asynccontextmanager
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
        yield api


@pytest.fixture
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with http(app_of(up)) as api:
        yield api


async def begun(api: httpx.AsyncClient) -> str:
    answer = await api.get("/v1/events")
    assert (answer.status_code, answer.json()["events"]) == (200, [])
    return str(answer.json()["cursor"])


async def start(up: Stack, *keys: str) -> None:
    for key in keys:
        await up.client.start("order-checkout", order(key), key=key)


def seen(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 200, answer.text
    return [happened(each) for each in answer.json()["events"]]


def happened(event: dict[str, Any]) -> tuple[str, str]:
    return event["data"]["key"], event["type"].rpartition(".")[2]


async def until_waiting(up: Stack, count: int = 1) -> None:
    async with asyncio.timeout(10):
        while up.feed.window.waiting_count < count:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)


async def test_what_happens_after_a_cursor_is_read_once_and_in_order(up: Stack, api: httpx.AsyncClient) -> None:
    cursor = await begun(api)
    await start(up, "A-1", "A-2")
    await up.client.cancel("order-checkout/A-1", by="ann", reason="too late")
    answer = await api.get("/v1/events", params={"after": cursor})
    found = seen(answer)
    assert sorted(found) == [("A-1", "compensating"), ("A-1", "started"), ("A-2", "started")]
    assert [kind for key, kind in found if key == "A-1"] == ["started", "compensating"]
    for number, each in enumerate(answer.json()["events"]):
        rest = await api.get("/v1/events", params={"after": each["cursor"]})
        assert seen(rest) == found[number + 1 :]
    assert seen(await api.get("/v1/events", params={"after": answer.json()["cursor"]})) == []
    assert sorted(seen(await api.get("/v1/events", params={"after": "earliest"}))) == sorted(found)


async def test_an_event_is_a_cloud_event_without_contents(up: Stack, api: httpx.AsyncClient) -> None:
    cursor = await begun(api)
    await start(up, "A-1")
    await up.client.cancel("order-checkout/A-1", by="ann", reason="too late")
    _, cancelled = (await api.get("/v1/events", params={"after": cursor})).json()["events"]
    time, cursor = cancelled.pop("time"), cancelled.pop("cursor")
    assert time.endswith("Z")
    assert cursor.isascii()
    cancelled.pop("traceparent", None)
    assert cancelled.pop("id")
    assert cancelled == {
        "specversion": "1.0",
        "source": "/t",
        "type": "sagaline.instance.compensating",
        "subject": "order-checkout/A-1",
        "datacontenttype": "application/json",
        "data": {
            "definition": "order-checkout",
            "key": "A-1",
            "status": "compensating",
            "before": "running",
            "revision": 2,
            "code": None,
            "reason": "too late",
            "by": "ann",
        },
    }


async def test_pages_follow_each_other_without_a_gap(up: Stack, api: httpx.AsyncClient) -> None:
    cursor = await begun(api)
    keys = [f"A-{number}" for number in range(7)]
    await start(up, *keys)
    found: list[str] = []
    more = True
    while more:
        page = (await api.get("/v1/events", params={"after": cursor, "limit": 3})).json()
        found += [each["data"]["key"] for each in page["events"]]
        cursor, more = page["cursor"], page["more"]
    assert sorted(found) == keys


async def test_the_feed_is_read_as_batches_by_the_sdk_from_one_link_to_the_next(
    up: Stack, api: httpx.AsyncClient
) -> None:
    cursor, found = await begun(api), list[str]()
    await start(up, "A-1", "A-2", "A-3")
    following = f"/v1/events?after={cursor}&limit=2&type=started&definition=order-checkout"
    for size in (2, 1, 0):
        answer = await api.get(following, headers={"accept": f"{BATCH}, */*;q=0.1"})
        assert (answer.headers["content-type"], len(answer.json())) == (BATCH, size)
        events = [JSONFormat().read(None, json.dumps(each)) for each in answer.json()]
        found += [str(each.get_subject()) for each in events]
        following = answer.links["next"]["url"]
    assert sorted(found) == [f"order-checkout/A-{number}" for number in (1, 2, 3)]


async def test_a_filter_leaves_out_and_the_cursor_moves_past_what_it_left_out(
    up: Stack, api: httpx.AsyncClient
) -> None:
    cursor = await begun(api)
    await start(up, "A-1", "A-2", "A-3")
    await up.client.cancel("order-checkout/A-3")

    async def find(**where: Any) -> list[tuple[str, str]]:
        return sorted(seen(await api.get("/v1/events", params={"after": cursor, **where})))

    assert await find(key=["A-1", "A-3"], type="started") == [("A-1", "started"), ("A-3", "started")]
    assert await find(instance="order-checkout/A-2") == [("A-2", "started")]
    assert await find(status=["compensating", "compensated"]) == [("A-3", "compensating")]
    assert await find(definition="order-checkout", key="A-2") == [("A-2", "started")]
    nothing = await api.get("/v1/events", params={"after": cursor, "definition": "billing"})
    assert seen(nothing) == []
    assert seen(await api.get("/v1/events", params={"after": nothing.json()["cursor"]})) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("type=begun", "type"),
        ("status=lost", "status"),
        ("instance=A-1", "instance"),
        ("key=", "key"),
        ("colour=red", "colour"),
        ("limit=0", "limit"),
        ("wait=61", "wait"),
        ("after=x&after=y", "after"),
        ("after=x", "after"),
        ("after=AQ", "after"),
        (f"after={FOREIGN}", "after"),
        (f"after={OF_ANOTHER_NAMESPACE}", "after"),
        (f"after={FOREIGN[:-2]}AA", "after"),
    ],
)
async def test_a_wrong_question_is_told_before_anything_is_waited_for(
    up: Stack, api: httpx.AsyncClient, query: str, field: str
) -> None:
    for path in ("/v1/events", "/v1/events/stream"):
        if path.endswith("stream") and field in ("limit", "wait"):
            continue
        answer = await api.get(f"{path}?{query}")
        assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


async def test_the_same_events_are_not_sent_again(up: Stack, api: httpx.AsyncClient) -> None:
    cursor = await begun(api)
    empty = await api.get("/v1/events", params={"after": cursor, "key": "A-1"})
    known = {"If-None-Match": empty.headers["etag"]}
    await start(up, "A-2")
    again = await api.get("/v1/events", params={"after": cursor, "key": "A-1"}, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    await start(up, "A-1")
    changed = await api.get("/v1/events", params={"after": cursor, "key": "A-1"}, headers=known)
    assert seen(changed) == [("A-1", "started")]
    assert changed.headers["etag"] != empty.headers["etag"]
    first = await api.get("/v1/events", params={"after": cursor, "limit": 1})
    assert (first.json()["more"], "etag" in first.headers) == (True, False), "a 304 would keep the reader where it is"


async def test_a_request_waits_for_the_first_event_that_matches(up: Stack, api: httpx.AsyncClient) -> None:
    cursor = await begun(api)
    waits = api.get("/v1/events", params={"after": cursor, "key": "A-2"}, headers={"Prefer": "wait=30"})
    waiting = asyncio.create_task(waits)
    await until_waiting(up)
    await start(up, "A-1", "A-2")
    answer = await waiting
    assert seen(answer) == [("A-2", "started")]
    assert answer.headers["preference-applied"] == "wait=30"


async def test_a_wait_ends_when_the_server_stops(up: Stack, api: httpx.AsyncClient) -> None:
    cursor = await begun(api)
    waiting = asyncio.create_task(api.get("/v1/events", params={"after": cursor, "wait": "30"}))
    await until_waiting(up)
    up.client.stop_waiting()
    assert seen(await waiting) == []


async def test_more_waiters_than_the_limit_are_turned_away(up: Stack) -> None:
    async with http(app_of(up, waiters_max=1)) as api:
        cursor = await begun(api)
        first = asyncio.create_task(api.get("/v1/events", params={"after": cursor, "wait": "30"}))
        await until_waiting(up)
        second = await api.get("/v1/events", params={"after": cursor, "wait": "30"})
        assert (second.status_code, second.json()["type"]) == (503, "urn:sagaline:problem:too-many-readers")
        assert second.headers["retry-after"] == "5"
        assert (await api.get("/v1/events", params={"after": cursor})).status_code == 200
        up.client.stop_waiting()
        await first


async def test_many_waiters_are_woken_by_one_event_and_leave_nothing_behind(up: Stack) -> None:
    async with http(app_of(up)) as api:
        cursor = await begun(api)
        others = [
            asyncio.create_task(api.get("/v1/events", params={"after": cursor, "wait": "30", "key": f"B-{number}"}))
            for number in range(50)
        ]
        ours = [
            asyncio.create_task(api.get("/v1/events", params={"after": cursor, "wait": "30", "key": "A-1"}))
            for _ in range(50)
        ]
        await until_waiting(up, 100)
        await start(up, "A-1")
        assert [seen(each) for each in await asyncio.gather(*ours)] == [[("A-1", "started")]] * 50
        assert not any(each.done() for each in others)
        up.client.stop_waiting()
        await asyncio.gather(*others)
        assert up.feed.window.waiting_count == 0


# Streams


async def test_a_stream_has_every_event_and_continues_after_the_last_one_that_was_seen(up: Stack) -> None:
    app = app_of(up)
    async with streaming(app, "/v1/events/stream?type=started") as stream:
        opened = await stream.next()
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert opened == Sent("cursor", opened.id if opened else "", {"cursor": opened.id if opened else ""})
        await start(up, "A-1", "A-2", "A-3")
        first, second = await stream.event(), await stream.event()
        assert first.id == first.data["cursor"]
    async with streaming(app, "/v1/events/stream?after=x&type=started", {"Last-Event-ID": second.id}) as stream:
        third = await stream.event()
    assert sorted(happened(each.data)[0] for each in (first, second, third)) == ["A-1", "A-2", "A-3"]


async def test_a_quiet_stream_says_that_it_is_there_and_tells_where_the_cursor_has_come(up: Stack) -> None:
    app = app_of(up, heartbeat=timedelta(milliseconds=1))
    async with streaming(app, "/v1/events/stream?key=A-9") as stream:
        opened = await stream.next()
        assert await stream.next() == Sent(":", "", "heartbeat")
        await start(up, "A-1")
        while (moved := await stream.next()) == Sent(":", "", "heartbeat"):
            pass
        assert opened is not None
        assert moved is not None
        assert moved.kind == "cursor"
        assert moved.id != opened.id


async def test_a_stream_ends_when_the_server_stops(up: Stack) -> None:
    async with streaming(app_of(up), "/v1/events/stream") as stream:
        await stream.next()
        await until_waiting(up)
        up.client.stop_waiting()
        while await stream.next() is not None:
            pass


async def test_streams_are_limited_and_give_their_place_back(up: Stack) -> None:
    app = app_of(up, streams_max=1)
    async with streaming(app, "/v1/events/stream") as first:
        await first.next()
        async with streaming(app, "/v1/events/stream") as second:
            assert (await second.body())["type"] == "urn:sagaline:problem:too-many-readers"
            assert (second.status, second.headers["retry-after"]) == (503, "5")
    async with streaming(app, "/v1/events/stream") as third:
        await third.next()
        assert third.status == 200


async def test_a_reader_that_takes_nothing_holds_nothing_and_misses_nothing(up: Stack) -> None:
    async with streaming(app_of(up), "/v1/events/stream?type=started") as stream:
        await stream.next()
        keys = [f"A-{number}" for number in range(250)]
        await asyncio.gather(*(start(up, key) for key in keys))
        assert sorted([happened((await stream.event()).data)[0] for _ in keys]) == sorted(keys)
