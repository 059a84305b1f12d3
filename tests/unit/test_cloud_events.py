"""CloudEvents from outside, written by the official SDK: every mode of HTTP, whole batches, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cloudevents.core.bindings import http as binding
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from sagaline.api import ApiSettings
from sagaline.orchestrator.errors import LogUnavailable
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.entities import KeptEvent
from sagaline.sagas.examples.order_fulfilment import order_fulfilment

from .stack import Stack, stack
from .test_api_instances import http

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
WHOLE: dict[str, Any] = {"specversion": "1.0", "id": "pay-81", "source": "/pay", "type": "order-paid", "subject": "O-7"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with stack(tmp_path_factory.mktemp("events"), registry=Registry([order_fulfilment])) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with http(up) as client:
        yield client


def data(key: str) -> dict[str, Any]:
    return {"order_id": key, "amount_cents": 900}


def event(key: str = "O-7", id: str = "pay-81", body: Any = None, **more: Any) -> CloudEvent:
    about = {"datacontenttype": "application/json", "subject": key, **more}
    attributes = {"id": id, "source": "https://pay.example/v1", "type": "order-paid", **about}
    return CloudEvent(attributes, data(key) if body is None else body)


async def sent(api: httpx.AsyncClient, message: binding.HTTPMessage) -> httpx.Response:
    return await api.post("/v1/events", content=message.body, headers=message.headers)


async def batch(api: httpx.AsyncClient, events: list[Any]) -> httpx.Response:
    return await api.post("/v1/events", content=json.dumps(events), headers={"content-type": BATCH})


async def kept(up: Stack, key: str) -> list[KeptEvent]:
    await up.projector.caught_up(timeout=10)
    box = await up.client.mailboxes.get("order-paid", key)
    return list(box.kept) if box is not None else []


async def test_an_event_of_the_sdk_is_published_in_both_modes_and_once_for_its_source_and_id(
    up: Stack, api: httpx.AsyncClient
) -> None:
    expected = {"id": "pay-81@https://pay.example/v1", "event": "order-paid", "key": "O-7"}
    first = await sent(api, binding.to_binary_event(event()))
    again = await sent(api, binding.to_structured_event(event()))
    assert (first.status_code, first.json()) == (again.status_code, again.json()) == (202, expected)
    other = await sent(api, binding.to_binary_event(event(source="https://pay.example/v2")))
    assert other.json()["id"] == "pay-81@https://pay.example/v2"
    assert [each.id for each in await kept(up, "O-7")] == [expected["id"], other.json()["id"]]


async def test_source_and_id_are_joined_without_doubt(api: httpx.AsyncClient) -> None:
    found = [
        (await sent(api, binding.to_binary_event(event("O-8", id, source=source)))).json()["id"]
        for id, source in (("a@b", "c"), ("a", "b@c"), ("a%40b", "c"), ("a", "ü ünïcode/%"))
    ]
    assert found == ["a%40b@c", "a@b@c", "a%2540b@c", "a@ü ünïcode/%"]


async def test_the_key_is_the_partition_key_or_else_the_subject(api: httpx.AsyncClient) -> None:
    for message in (binding.to_binary_event, binding.to_structured_event):
        found = await sent(api, message(event("O-9", partitionkey="O-10")))
        assert found.json()["key"] == "O-10"
    nothing = await sent(api, binding.to_binary_event(CloudEvent({"source": "/x", "type": "order-paid"}, b"")))
    assert (nothing.status_code, nothing.json()["field"]) == (422, "subject")
    for wrong in ("", "."):
        found = await sent(api, binding.to_structured_event(event("O-9", partitionkey=wrong)))
        assert (found.status_code, found.json()["field"]) == (422, "partitionkey")


async def test_data_may_be_base64_and_the_trace_of_the_event_goes_on(up: Stack, api: httpx.AsyncClient) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    coded = event("O-11", body=json.dumps(data("O-11")).encode(), traceparent=trace)
    message = binding.to_structured_event(coded)
    assert "data_base64" in json.loads(message.body)
    assert (await sent(api, message)).status_code == 202
    assert (await kept(up, "O-11"))[0].body == data("O-11")
    (row,) = await up.read_model.history("@mailbox/order-paid/O-11", limit=9)
    assert (row.record.traceparent or "").split("-")[1] == trace.split("-")[1]


async def test_a_batch_has_a_result_for_each_and_keeps_the_order_of_a_key(up: Stack, api: httpx.AsyncClient) -> None:
    written = [json.loads(JSONFormat().write(event("O-20", f"e{number}"))) for number in range(5)]
    written[2]["type"] = "nothing"
    del written[3]["source"]
    answer = await batch(api, [*written, 17])
    assert answer.status_code == 207
    results = answer.json()["results"]
    assert [each["id"] for each in results] == [
        "e0@https://pay.example/v1",
        "e1@https://pay.example/v1",
        None,
        None,
        "e4@https://pay.example/v1",
        None,
    ]
    problems = [each["problem"] and (each["problem"]["status"], each["problem"].get("field")) for each in results]
    assert problems == [None, None, (404, None), (422, "3.source"), None, (422, "5")]
    assert [each.id for each in await kept(up, "O-20")] == [f"e{number}@https://pay.example/v1" for number in (0, 1, 4)]
    again = await batch(api, [written[0], written[4]])
    assert (again.status_code, len(await kept(up, "O-20"))) == (202, 3)
    assert (await batch(api, [])).json() == {"results": []}


async def test_after_an_event_that_may_not_be_in_the_log_no_later_one_of_its_key_is_published(
    up: Stack, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is sent again, and then the order holds; other keys go on."""
    written = [json.loads(JSONFormat().write(event(key, f"{key}-{n}"))) for n in range(3) for key in ("O-40", "O-41")]
    append, failed = up.log.append, list[str]()

    async def failing(records: Any) -> Any:
        if not failed and records[0].key.endswith(b"/O-40"):
            failed.append("once")
            raise LogUnavailable("the log is away")
        return await append(records)

    monkeypatch.setattr(up.log, "append", failing)
    first = (await batch(api, written)).json()["results"]
    kinds = [each["problem"] and each["problem"]["type"].rpartition(":")[2] for each in first]
    assert kinds == ["unavailable", None] * 3
    assert (await batch(api, written)).status_code == 202
    for key in ("O-40", "O-41"):
        assert [each.id.partition("@")[0] for each in await kept(up, key)] == [f"{key}-{n}" for n in range(3)]


async def test_once_the_time_of_a_batch_is_over_no_other_key_is_tried_while_the_log_is_away(
    up: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the answer takes no longer than those that are under way."""
    tried: list[bytes] = []

    async def away(records: Any) -> Any:
        tried.append(records[0].key)
        raise LogUnavailable("the log is away")

    monkeypatch.setattr(up.log, "append", away)
    async with http(up, ApiSettings(wait_default=timedelta(0))) as api:
        answer = await batch(api, [json.loads(JSONFormat().write(event(f"O-{n}"))) for n in range(100, 200)])
    assert [each["problem"]["status"] for each in answer.json()["results"]] == [503] * 100
    assert 1 <= len(tried) <= 16


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"specversion": None}, "specversion"),
        ({"id": ""}, "id"),
        ({"id": 5}, "id"),
        ({"id": "x" * 300}, "id"),
        ({"id": "a\u0000"}, "id"),
        ({"source": ""}, "source"),
        ({"type": ""}, "type"),
        ({"subject": ""}, "subject"),
        ({"subject": "."}, "subject"),
        ({"time": "yesterday"}, "time"),
        ({"time": "2026-01-01T00:00:00"}, "time"),
        ({"Extension": "x"}, "Extension"),
        ({"x": {"nested": 1}}, "x"),
        ({"x": 1.5}, "x"),
        ({"data": [1]}, "data"),
        ({"data": "text"}, "data"),
        ({"data": None, "data_base64": "%%"}, "data_base64"),
        ({"data_base64": "e30="}, "data_base64"),
        ({"datacontenttype": "text/xml"}, "datacontenttype"),
        ({"data": {"order_id": "O-7", "amount_cents": "many"}}, "data.amount_cents"),
    ],
)
async def test_what_is_wrong_with_an_event_is_told_and_nothing_is_published(
    up: Stack, api: httpx.AsyncClient, change: dict[str, Any], field: str
) -> None:
    whole = {**WHOLE, "subject": "O-30", "data": data("O-30"), **change}
    answer = await api.post("/v1/events", content=json.dumps(whole), headers={"content-type": STRUCTURED})
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert await kept(up, "O-30") == []


async def test_null_is_as_if_it_were_not_there(api: httpx.AsyncClient) -> None:
    whole = {
        **WHOLE,
        "subject": "O-31",
        "data": data("O-31"),
        "time": None,
        "extension": None,
        "count": 7,
        "flag": True,
    }
    answer = await api.post("/v1/events", content=json.dumps(whole), headers={"content-type": STRUCTURED})
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ([("content-type", "application/json")], 415, "media-type"),
        ([("content-type", "text/plain"), ("ce-specversion", "1.0")], 422, "invalid-request"),
        ([("content-type", "application/cloudevents+avro")], 415, "media-type"),
        ([("content-type", f"{STRUCTURED}; charset=latin-1")], 415, "media-type"),
        ([("content-type", STRUCTURED), ("content-encoding", "gzip")], 415, "media-type"),
        ([("content-type", "application/json"), ("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-id", "2")], 422, ""),
        ([("content-type", "application/json"), ("ce-specversion", "1.0"), ("ce-id", "%ff")], 422, ""),
        ([("content-type", STRUCTURED)], 422, "invalid-request"),
        ([("content-type", BATCH)], 422, "invalid-request"),
    ],
)
async def test_other_contents_are_refused(
    api: httpx.AsyncClient, headers: list[tuple[str, str]], status: int, kind: str
) -> None:
    answer = await api.post("/v1/events", content=b'"text"', headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["type"].endswith(kind)


async def test_a_batch_is_bounded(api: httpx.AsyncClient) -> None:
    answer = await batch(api, [{}] * 501)
    assert (answer.status_code, answer.json()["detail"][:30]) == (422, "the batch has 501 events, the ")
    assert (await batch(api, ["x" * 300_000])).status_code == 413
    assert (await api.post("/v1/events", content=b"[", headers={"content-type": BATCH})).status_code == 400


async def test_an_event_is_accepted_at_once_where_no_engine_answers_and_none_is_waited_for(tmp_path: Path) -> None:
    """It is in the log: an engine that comes later delivers it."""
    plain = {"key": "O-9", "id": "e-1", "body": data("O-9")}
    whole = {**WHOLE, "data": data("O-7")}
    async with stack(tmp_path, registry=Registry([order_fulfilment]), engine=False) as up, http(up) as api:
        async with asyncio.timeout(8):  # the default waits ten seconds, each
            assert (await api.post("/v1/events/order-paid?wait=0", json=plain)).status_code == 202
            one = await api.post("/v1/events?wait=0", json=whole, headers={"content-type": STRUCTURED})
            many = await api.post(
                "/v1/events", json=[whole, whole], headers={"content-type": BATCH, "prefer": "wait=0"}
            )
        assert (one.status_code, many.status_code) == (202, 202)
        assert (await api.post("/v1/events?wait=no", json=whole)).json()["field"] == "wait"
        ends = await up.log.end_offsets([up.topics.inputs])
        assert sum(ends.values()) >= 4
