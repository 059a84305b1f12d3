"""Search over REST and the client: many conditions at once, counts that follow, and messages that say what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.client.conditions import condition_of
from sagaline.orchestrator.errors import InvalidRequest
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.ports.read_model import Comparison
from sagaline.sagas.searchable import AttributeKind

from .stack import Stack, order, stack


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as made:
        for key, customer, cents in (("A-1", "ann", 900), ("A-2", "anna", 1_000), ("B-1", "ben", 20_000)):
            await made.client.start("order-checkout", order(key, customer=customer, total_cents=cents), key=key)
        await made.client.act("order-checkout/A-2", ActName.PAUSE)
        yield made


@pytest.fixture
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(up.client, clock=SystemClock()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ({}, ["B-1", "A-2", "A-1"]),
        ({"sort": "key"}, ["A-1", "A-2", "B-1"]),
        ({"sort": "-key", "key_prefix": "A"}, ["A-2", "A-1"]),
        ({"where": "customer=ann"}, ["A-1"]),
        ({"where": "customer^=ann"}, ["A-2", "A-1"]),
        ({"where": ["total_cents>=1000", "total_cents<20000"]}, ["A-2"]),
        ({"where": "total_cents>899.5", "paused": "false"}, ["B-1", "A-1"]),
        ({"where": "customer^=a", "paused": "true", "status": ["running", "attention"], "version": 1}, ["A-2"]),
        ({"overdue": "true"}, []),
        ({"code": "timeout"}, []),
        ({"started_since": "2020-01-01T00:00:00Z", "updated_until": "2020-01-01T00:00:00Z"}, []),
        ({"started_since": "2020-01-01T00:00:00Z", "definition": "order-checkout"}, ["B-1", "A-2", "A-1"]),
        ({"status": ["completed", "attention"]}, []),
    ],
)
async def test_the_list_and_the_count_take_the_same_filter(
    api: httpx.AsyncClient, query: dict[str, Any], keys: list[str]
) -> None:
    listed = (await api.get("/v1/instances", params=query)).json()
    assert [each["key"] for each in listed["instances"]] == keys
    counted = (await api.get("/v1/instances/count", params={k: v for k, v in query.items() if k != "sort"})).json()
    assert counted == {"count": len(keys), "exact": True}
    given = {"act": "pause", "older_than_seconds": 0, **query} if "status" not in query else None
    if given is not None and "sort" not in query:
        body = {name: {"true": True, "false": False}.get(str(value), value) for name, value in given.items()}
        planned = (await api.post("/v1/bulk", json=body)).json()
        assert [each["instance"].partition("/")[2] for each in planned["asked"]] == keys


@pytest.mark.parametrize(
    ("query", "field", "text"),
    [
        ({"where": "customer"}, "where", "'customer' is not a condition; write a name"),
        ({"where": "colour=red"}, "where", "there is no searchable field 'colour'; there are: customer, total_cents"),
        ({"where": "total_cents=much"}, "where", "total_cents is compared with a number such as 12.5, not with 'much'"),
        ({"where": "total_cents^=1"}, "where", "total_cents is a number, which has no beginning"),
        ({"where": ["customer=a"] * 11}, "where", "at most 10 items"),
        ({"sort": "size"}, "sort", "instances cannot be sorted by 'size'; give one of created_at, updated_at"),
        ({"started_since": "yesterday"}, "started_since", "'yesterday' is not a time with a zone"),
        ({"status": "asleep"}, "status.0", "Input should be 'running'"),
        ({"paused": "maybe"}, "paused", "Input should be a valid boolean"),
        ({"version": "x"}, "version", "Input should be a valid integer"),
        ({"attr": "x"}, "attr", "there is no query parameter 'attr'; possible are: status, definition"),
        ({"key": ["a", "b"]}, "key", "the query parameter 'key' appears twice; remove one"),
        ({"cursor": "?"}, "cursor", "the cursor is not one of this list"),
    ],
)
async def test_a_wrong_search_says_what_is_wrong(
    api: httpx.AsyncClient, query: dict[str, Any], field: str, text: str
) -> None:
    answer = await api.get("/v1/instances", params=query)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert text in answer.json()["detail"]


def test_only_equality_is_asked_of_a_text_beyond_its_ordered_beginning() -> None:
    long = "x" * 200
    for sign in Comparison:
        assert condition_of(f"at{sign}{long}", {"at": AttributeKind.TEXT}).value == long
    assert condition_of(f"at={long}y", {"at": AttributeKind.TEXT}).value == f"{long}y"
    for sign in set(Comparison) - {Comparison.EQUAL}:
        with pytest.raises(InvalidRequest, match="give at most so many, or use ="):
            condition_of(f"at{sign}{long}y", {"at": AttributeKind.TEXT})


def test_without_searchable_fields_the_message_says_how_to_mark_one() -> None:
    with pytest.raises(InvalidRequest, match=r"mark one with Searchable\(\) in its definition"):
        condition_of("a=1", {})


@pytest.mark.parametrize(
    ("text", "kind"), [("at>soon", AttributeKind.TIME), ("at=yes", AttributeKind.FLAG), ("at=", AttributeKind.NUMBER)]
)
def test_a_value_of_another_kind_is_refused_with_an_example(text: str, kind: AttributeKind) -> None:
    with pytest.raises(InvalidRequest, match="at is compared with"):
        condition_of(text, {"at": kind})
