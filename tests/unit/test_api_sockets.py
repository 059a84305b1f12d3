"""The WebSocket: subscriptions, acts and events over one connection, each answered under its own id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from sagaline.api import ApiSettings, create_app
from sagaline.orchestrator.adapters.clock import SystemClock

from .asgi import Closed, Socket, connected
from .stack import Stack, order, stack

TOKEN = "a-token-of-enough-length"
ID = "order-checkout/A-1"


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as up:
        yield up


def app_of(up: Stack, **settings: Any) -> FastAPI:
    return create_app(up.client, clock=SystemClock(), settings=ApiSettings(**settings))


@pytest.fixture
async def ws(up: Stack) -> AsyncIterator[Socket]:
    async with connected(app_of(up)) as ws:
        yield ws


async def start(up: Stack, *keys: str) -> None:
    for key in keys:
        await up.client.start("order-checkout", order(key), key=key)


def happened(event: dict[str, Any]) -> tuple[str, str]:
    return event["data"]["key"], event["type"].rpartition(".")[2]


async def test_a_subscription_has_its_events_and_continues_on_another_connection(up: Stack) -> None:
    app = app_of(up)
    async with connected(app) as ws:
        answer = await ws.answer(id="s", do="subscribe", filter={"type": ["started"]})
        assert set(answer) == {"cursor"}
        await start(up, "A-1", "A-2", "A-3")
        first = await ws.event("s")
    async with connected(app) as ws:
        await ws.answer(id="again", do="subscribe", after=first["cursor"], filter={"type": ["started"]})
        rest = [await ws.event("again"), await ws.event("again")]
    assert sorted(map(happened, [first, *rest])) == [(f"A-{n}", "started") for n in (1, 2, 3)]


async def test_two_subscriptions_of_a_connection_are_apart_and_one_can_be_ended(up: Stack, ws: Socket) -> None:
    await ws.answer(id="one", do="subscribe", filter={"key": ["A-1"]})
    await ws.answer(id="two", do="subscribe", filter={"key": ["A-2"]})
    await start(up, "A-1", "A-2")
    found = [await ws.next(), await ws.next()]
    assert sorted((each["subscription"], happened(each["event"])[0]) for each in found) == [
        ("one", "A-1"),
        ("two", "A-2"),
    ]
    assert await ws.answer(id="end", do="unsubscribe", subscription="one") == {}
    await up.client.cancel(ID)
    await up.client.cancel("order-checkout/A-2")
    assert happened(await ws.event("two")) == ("A-2", "compensating")
    assert (await ws.answer(id="end", do="unsubscribe", subscription="one"))["field"] == "subscription"


async def test_an_act_is_answered_under_its_id_with_its_result_or_its_problem(up: Stack, ws: Socket) -> None:
    await start(up, "A-1")
    paused = await ws.answer(id="p", do="act", instance=ID, act="pause", by="ann", reason="stock is counted")
    assert (paused["changed"], paused["status"], paused["revision"]) == (True, "running", 2)
    denied = await ws.answer(id="r", do="act", instance=ID, act="retry")
    assert (denied["type"], denied["status"]) == ("urn:sagaline:problem:paused", 409)
    unknown = await ws.answer(id="u", do="act", instance="order-checkout/B-1", act="pause")
    assert unknown["type"] == "urn:sagaline:problem:unknown-instance"
    history = await up.client.history(ID)
    assert [getattr(row.record.message, "by", "") for row in history][1] == "ann"


async def test_an_act_may_depend_on_the_revision_that_was_seen(up: Stack, ws: Socket) -> None:
    await start(up, "A-1")
    seen = f'"{(await up.client.get(ID)).tag}"'
    wrong = await ws.answer(id="w", do="act", instance=ID, act="pause", if_match="1")
    assert (wrong["status"], wrong["field"]) == (422, "if_match")
    assert (await ws.answer(id="p", do="act", instance=ID, act="pause", if_match=seen))["changed"]
    denied = await ws.answer(id="r", do="act", instance=ID, act="resume", if_match=seen)
    assert (denied["type"], denied["status"]) == ("urn:sagaline:problem:revision-differs", 412)
    assert (await ws.answer(id="a", do="act", instance=ID, act="resume", if_match="*"))["changed"]


async def test_an_event_is_published_or_its_problem_is_told(ws: Socket) -> None:
    unknown = await ws.answer(id="e", do="publish", event="paid", key="O-1", body={})
    assert unknown["type"] == "urn:sagaline:problem:unknown-event"


@pytest.mark.parametrize(
    ("text", "kind", "id"),
    [
        ("{", "not-json", None),
        ("[]", "invalid-request", None),
        ('{"id":"x"}', "invalid-request", "x"),
        ('{"id":"x","do":"dance"}', "invalid-request", "x"),
        ('{"id":7,"do":"unsubscribe","subscription":"s"}', "invalid-request", None),
        ('{"id":"x","do":"subscribe","colour":"red"}', "invalid-request", "x"),
        ('{"id":"x","do":"subscribe","filter":{"type":["begun"]}}', "invalid-request", "x"),
        ('{"id":"x","do":"subscribe","after":"x"}', "invalid-request", "x"),
        ('{"id":"x","do":"act","instance":"order-checkout/A-1","act":"sing"}', "invalid-request", "x"),
        ('{"id":"x","id":"y","do":"subscribe"}', "invalid-request", None),
        ("[" * 100 + "]" * 100, "invalid-request", None),
    ],
)
async def test_a_message_that_cannot_be_used_is_told_and_the_connection_goes_on(
    ws: Socket, text: str, kind: str, id: str | None
) -> None:
    ws.say_text(text)
    found = await ws.next()
    assert (found["id"], found["problem"]["type"]) == (id, f"urn:sagaline:problem:{kind}"), found
    assert "cursor" in await ws.answer(id="s", do="subscribe")


async def test_subscriptions_of_a_connection_are_limited_and_have_different_ids(ws: Socket) -> None:
    for number in range(20):
        assert "cursor" in await ws.answer(id=f"s{number}", do="subscribe")
    assert (await ws.answer(id="s1", do="subscribe"))["field"] == "id"
    assert "the limit" in (await ws.answer(id="more", do="subscribe"))["detail"]


async def test_many_acts_at_once_are_all_answered(up: Stack, ws: Socket) -> None:
    await start(up, "A-1")
    for number in range(50):
        ws.say(id=f"a{number}", do="act", instance=ID, act="pause")
    found = [await ws.next() for _ in range(50)]
    assert sorted(each["id"] for each in found) == sorted(f"a{number}" for number in range(50))
    assert sum(each["answer"]["changed"] for each in found) == 1


async def test_each_subscription_is_one_of_the_streams(up: Stack) -> None:
    app = app_of(up, streams_max=2)
    async with connected(app) as ws:
        for id in ("s1", "s2"):
            assert "cursor" in await ws.answer(id=id, do="subscribe")
        assert (await ws.answer(id="s3", do="subscribe"))["type"] == "urn:sagaline:problem:too-many-readers"
        await ws.answer(id="u", do="unsubscribe", subscription="s2")
        assert "cursor" in await ws.answer(id="s3", do="subscribe")


async def test_sockets_are_limited_with_other_streams(up: Stack) -> None:
    app = app_of(up, streams_max=1)
    async with connected(app):
        with pytest.raises(Closed) as refused:
            async with connected(app):
                pass
        assert (refused.value.status, refused.value.body["type"]) == (503, "urn:sagaline:problem:too-many-readers")
    async with connected(app) as ws:
        assert "cursor" in await ws.answer(id="s", do="subscribe")


@pytest.mark.parametrize(
    ("tokens", "headers", "status"),
    [
        ((TOKEN,), {}, 401),
        ((TOKEN,), {"authorization": "Bearer other"}, 401),
        ((TOKEN,), {"authorization": f"Bearer {TOKEN}"}, None),
        ((), {"host": "shop.example"}, 403),
        ((), {"origin": "http://evil.example"}, 403),
        ((TOKEN,), {"authorization": f"Bearer {TOKEN}", "origin": "http://evil.example"}, 403),
        ((), {"origin": "http://localhost"}, None),
    ],
)
async def test_the_guard_stands_before_a_websocket_too(
    up: Stack, tokens: tuple[str, ...], headers: dict[str, str], status: int | None
) -> None:
    found = None
    try:
        async with connected(app_of(up, tokens=tokens), headers=headers):
            pass
    except Closed as refused:
        found = refused.status
    assert found == status


async def test_a_reader_that_takes_nothing_holds_nothing_and_misses_nothing(up: Stack, ws: Socket) -> None:
    await ws.answer(id="s", do="subscribe", filter={"type": ["started"]})
    keys = [f"A-{number}" for number in range(150)]
    await asyncio.gather(*(start(up, key) for key in keys))
    assert sorted([happened(await ws.event("s"))[0] for _ in keys]) == sorted(keys)


async def test_who_acts_is_who_has_the_token(up: Stack) -> None:
    await start(up, "A-1")
    async with connected(app_of(up, tokens=(TOKEN,)), headers={"authorization": f"Bearer {TOKEN}"}) as ws:
        other = await ws.answer(id="o", do="act", instance=ID, act="pause", by="eve")
        assert (other["status"], other["field"]) == (422, "by")
        assert (await ws.answer(id="p", do="act", instance=ID, act="pause"))["changed"]
    history = await up.client.history(ID)
    assert [getattr(row.record.message, "by", "") for row in history] == ["", "administrator"]
