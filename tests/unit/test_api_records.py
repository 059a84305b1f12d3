"""Raw records over HTTP: every topic of the namespace, newest first, by key, tied to its instance; no other topics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaline.orchestrator.ports.log import Outgoing, TopicSpec

from .stack import Stack, order, stack
from .test_api_instances import http


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as running_stack:
        await running_stack.log.create_topics([TopicSpec("mail", 1, "delete")])
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
    assert {up.topics.inputs, up.topics.state, up.topics.history, up.topics.dead} < set(listed)
    assert "mail" not in listed
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


@pytest.mark.parametrize(
    ("topic", "partition", "field"), [("mail", 0, "topic"), ("nowhere", 0, "topic"), ("", 2, "partition")]
)
async def test_other_topics_are_not_shown(
    up: Stack, api: httpx.AsyncClient, topic: str, partition: int, field: str
) -> None:
    answer = await api.get(f"/v1/topics/{topic or up.topics.state}/records", params={"partition": partition})
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]
