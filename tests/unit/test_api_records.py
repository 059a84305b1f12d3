"""Raw records over HTTP: every topic of the namespace, newest first, by key, tied to its instance; no other topics."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaline.orchestrator.adapters.sqlite_log.schema import OFFSET_BITS, OFFSET_MASK
from sagaline.orchestrator.ports.log import Outgoing, TopicSpec

from .stack import Stack, order, stack
from .test_api_instances import http


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as running_stack:
        subscribed = running_stack.topics.subscribed("post", None, 1)
        await running_stack.log.create_topics([TopicSpec("mail", 1, "delete"), *subscribed])
        yield running_stack


@pytest.fixture
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with http(up) as client:
        yield client


async def records(api: httpx.AsyncClient, topic: str, **asked: Any) -> dict[str, Any]:
    answer = await api.get(f"/v1/topics/{topic}/records", params=asked)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_records_lead_from_a_topic_to_its_instance(up: Stack, api: httpx.AsyncClient) -> None:
    """A start stands in `inputs`, its document in `state`, the command in its queue: each names the instance."""
    await up.client.start("order-checkout", order(), key="A-1")
    listed = {each["topic"]: each["ends"] for each in (await api.get("/v1/topics")).json()["topics"]}
    specs = [*up.topics.specs(sorted(up.registry.queues), 2), *up.topics.subscribed("post", None, 1)]
    assert set(listed) == {each.name for each in specs}
    for topic in (up.topics.inputs, up.topics.state, up.topics.history, up.topics.commands("inventory")):
        found = [
            each
            for number in range(len(listed[topic]))
            for each in (await records(api, topic, partition=number))["records"]
        ]
        assert "order-checkout/A-1" in {each["instance"] for each in found}, topic
    commands = [(await records(api, up.topics.commands("inventory"), partition=n))["records"] for n in range(2)]
    (command,) = [each for page in commands for each in page]
    assert {each["name"] for each in command["headers"]} > {"ce_id", "ce_type"}
    assert command["bytes"] == len(command["value"]["text"])


async def test_pages_go_back_and_the_latest_of_each_key_is_shown_once(up: Stack, api: httpx.AsyncClient) -> None:
    """Tombstones are records too; a large value is cut."""
    dead = up.topics.dead
    values = [b"1", b"x" * 20_000, None, b"4", b"\xff"]
    keys = [b"a", b"b", b"a", b"c", None]
    await up.log.append([Outgoing(dead, key, value, partition=0) for key, value in zip(keys, values, strict=True)])
    newest = await records(api, dead, limit=2)
    assert [each["offset"] for each in newest["records"]] == [4, 3]
    assert newest["records"][0]["value"] == {"base64": "/w==", "text": None}
    older = await records(api, dead, before=newest["before"])
    assert [
        (each["offset"], each["value"] and len(each["value"]["text"]), each["bytes"]) for each in older["records"]
    ] == [
        (2, None, 0),
        (1, 16_384, 20_000),
        (0, 1, 1),
    ]
    assert older["before"] is None
    latest = await records(api, dead, latest=True)
    assert [each["offset"] for each in latest["records"]] == [4, 3, 2, 1]
    assert [each["offset"] for each in (await records(api, dead, key="a"))["records"]] == [2, 0]
    assert (await records(api, dead, before=0))["records"] == []


async def pages(api: httpx.AsyncClient, topic: str, **asked: Any) -> list[list[int]]:
    """The offsets of each page, from the newest on."""
    found = [await records(api, topic, **asked)]
    while found[-1]["before"] is not None:
        assert len(found) < 20
        found.append(await records(api, topic, before=found[-1]["before"], **asked))
    return [[each["offset"] for each in page["records"]] for page in found]


async def test_records_that_are_too_large_for_one_page_are_on_several(
    up: Stack, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter looks at as many as there is time for, and goes on there; without one only the page itself is read."""
    monkeypatch.setattr("sagaline.orchestrator.adapters.sqlite_log.feed._READ_BYTES_MAX", 0)  # a poll reads one record
    dead = up.topics.dead
    await up.log.append([Outgoing(dead, b"b" if n else b"a", b"x", partition=0) for n in range(300)])
    found = await pages(api, dead, key="a")
    assert (len(found), found[-1], found[0]) == (5, [0], [])
    assert await pages(api, dead, limit=100) == [[*range(end - 1, end - 101, -1)] for end in (300, 200, 100)]


async def test_a_page_is_as_full_as_its_window_allows_and_its_last_one_is_where_retention_ends(
    up: Stack, api: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagaline.orchestrator.client.records.WINDOW", 40)
    dead = up.topics.dead
    await up.log.append([Outgoing(dead, b"ab"[n % 2 :][:1], b"x", partition=0) for n in range(200)])
    latest = await records(api, dead, latest=True, limit=10)
    assert ([each["offset"] for each in latest["records"]], latest["before"]) == ([199, 198], 160)
    with closing(sqlite3.connect(tmp_path / "sagaline.db")) as file, file:
        file.execute(
            "DELETE FROM records WHERE id & ?1 < 190 AND id & ?1 NOT IN (170, 171) "
            "AND id >> ?2 = (SELECT first_part FROM topics WHERE name = ?3)",
            (OFFSET_MASK, OFFSET_BITS, dead),
        )
    assert await pages(api, dead, limit=11) == [[*range(199, 189, -1), 171], [170]]
    assert await pages(api, dead, key="a") == [[198, 196, 194, 192, 190, 170]]


@pytest.mark.parametrize(
    ("topic", "partition", "field"), [("mail", 0, "topic"), ("nowhere", 0, "topic"), ("", 2, "partition")]
)
async def test_other_topics_are_not_shown(
    up: Stack, api: httpx.AsyncClient, topic: str, partition: int, field: str
) -> None:
    answer = await api.get(f"/v1/topics/{topic or up.topics.state}/records", params={"partition": partition})
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]
