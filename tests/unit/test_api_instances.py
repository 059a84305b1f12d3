"""The API over a real client, log and engine: what it answers when all is well, and at which paths."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from sagaline.api import ApiSettings, create_app
from sagaline.orchestrator.adapters.clock import SystemClock

from .stack import Stack, order, stack

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ITEM = "/v1/instances/order-checkout/A-1"


def http(up: Stack, settings: ApiSettings | None = None, **more: Any) -> httpx.AsyncClient:
    app = create_app(up.client, clock=SystemClock(), settings=settings)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", **more)


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as running_stack:
        yield running_stack


@pytest.fixture
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with http(up) as client:
        yield client


async def start(api: httpx.AsyncClient, key: str = "A-1", **more: Any) -> httpx.Response:
    return await api.post("/v1/sagas/order-checkout", json={"key": key, "input": order(**more)})


async def test_a_start_is_201_with_its_place_and_can_be_read_there(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        "/v1/sagas/order-checkout", json={"key": "A-1", "input": order()}, headers={"traceparent": TRACEPARENT}
    )
    assert answer.status_code == 201
    assert answer.headers["location"] == ITEM
    assert answer.headers["traceresponse"].split("-")[1] == TRACEPARENT.split("-")[1]
    body = answer.json()
    assert body["trace_id"] == TRACEPARENT.split("-")[1]
    assert (body["id"], body["created"], body["status"], body["revision"]) == ("order-checkout/A-1", True, "running", 1)
    assert body["links"]["self"] == ITEM
    shown = (await api.get(answer.headers["location"])).json()
    assert (shown["id"], shown["key"], shown["version"]) == ("order-checkout/A-1", "A-1", 1)
    assert shown["trace_id"] == body["trace_id"]
    assert shown["state"]["order"] == order()["order"]
    assert shown["steps"][0] | {"changed_at": ""} == {
        "name": "reserve",
        "status": "sent",
        "attempts": 1,
        "order": None,
        "changed_at": "",
        "error": None,
        "undo": {"contract": "release-stock", "attempts": 0},
        "heartbeat": None,
    }
    assert [timer["name"] for timer in shown["timers"]] == ["reserve:deadline"]
    assert shown["timers"][0]["due_at"].endswith("Z")
    assert shown["finished_at"] is None


async def test_the_same_again_is_200_and_another_input_409(api: httpx.AsyncClient) -> None:
    await start(api)
    again = await start(api)
    assert (again.status_code, again.json()["created"]) == (200, False)
    other = await start(api, total_cents=1)
    assert other.status_code == 409
    assert other.json()["type"] == "urn:sagaline:problem:start-conflict"
    assert other.json()["code"] == "key-taken"
    assert other.headers["location"] == ITEM


async def test_a_start_that_queues_is_202_until_it_begins_and_one_that_replaces_undoes_the_run_before(
    api: httpx.AsyncClient,
) -> None:
    await start(api)
    body = {"key": "A-1", "input": order(total_cents=1), "conflict": "queue", "request_id": "second"}
    waits = await api.post("/v1/sagas/order-checkout", json=body)
    assert (waits.status_code, waits.headers["location"]) == (202, ITEM)
    assert "until the run before it has ended" in waits.json()["reason"]
    again = await api.post("/v1/sagas/order-checkout", json=body)
    assert (again.status_code, again.json()["reason"]) == (202, waits.json()["reason"])
    replaces = await api.post("/v1/sagas/order-checkout", json=body | {"conflict": "replace", "request_id": "third"})
    assert replaces.status_code == 202
    assert (await api.get(ITEM)).json()["status"] == "compensating"
    wrong = await api.post("/v1/sagas/order-checkout", json=body | {"conflict": "later"})
    assert wrong.status_code == 422


async def test_a_start_without_a_key_gets_one(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/sagas/order-checkout", json={"input": order()})
    assert answer.status_code == 201
    assert (await api.get(answer.headers["location"])).json()["key"] == answer.json()["key"]


@pytest.mark.parametrize(("query", "headers"), [("?wait=0", {}), ("", {"Prefer": "respond-async, wait=0"})])
async def test_what_is_not_decided_within_the_wait_is_202_with_its_place(
    tmp_path: Path, query: str, headers: dict[str, str]
) -> None:
    async with stack(tmp_path, engine=False) as up, http(up) as api:
        answer = await api.post(
            f"/v1/sagas/order-checkout{query}", json={"key": "A-1", "input": order()}, headers=headers
        )
        assert (answer.status_code, answer.headers["location"]) == (202, ITEM)
        assert answer.json()["id"] == "order-checkout/A-1"
        assert int(answer.headers["retry-after"]) >= 1
        act = await api.post(f"{ITEM}/cancel?wait=0")
        assert (act.status_code, act.headers["location"]) == (202, ITEM)


async def test_acts_change_the_instance(api: httpx.AsyncClient) -> None:
    await start(api)
    paused = await api.post(f"{ITEM}/pause", json={"by": "ann"})
    assert (paused.status_code, paused.json()["changed"]) == (200, True)
    assert (await api.get(ITEM)).json()["paused"] is True
    assert (await api.post(f"{ITEM}/pause")).json()["changed"] is False
    assert (await api.post(f"{ITEM}/resume", json={})).json()["changed"] is True
    refused = await api.post(f"{ITEM}/retry")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:sagaline:problem:wrong-status")
    assert refused.json()["code"] == "wrong-status"
    assert (await api.post(f"{ITEM}/abandon")).status_code == 409
    cancelled = await api.post(f"{ITEM}/cancel", json={"by": "ann", "reason": "changed her mind"})
    assert cancelled.json()["status"] == "compensating"
    shown = (await api.get(ITEM)).json()
    assert shown["cause"]["message"] == "cancelled by ann: changed her mind"
    assert shown["backward"] is True


async def test_history_is_paged_oldest_first(api: httpx.AsyncClient) -> None:
    await start(api)
    await api.post(f"{ITEM}/pause", json={"by": "ann", "reason": "tea"})
    await api.post(f"{ITEM}/resume")
    first = (await api.get(f"{ITEM}/history", params={"limit": 2})).json()
    assert [each["message"]["kind"] for each in first["decisions"]] == ["start", "act"]
    assert first["decisions"][0]["sent"][0]["contract"] == "reserve-stock"
    assert first["decisions"][0]["message"]["input"] == order()
    assert first["decisions"][1]["message"]["reason"] == "tea"
    rest = (await api.get(f"{ITEM}/history", params={"after": first["next"]})).json()
    assert [each["message"]["act"] for each in rest["decisions"]] == ["resume"]
    assert rest["next"] is None
    newest = (await api.get(f"{ITEM}/history", params={"limit": 1, "newest_first": "true"})).json()
    assert [each["message"]["act"] for each in newest["decisions"]] == ["resume"]
    older = (await api.get(f"{ITEM}/history", params={"after": newest["next"], "newest_first": "true"})).json()
    assert older["decisions"] == first["decisions"][::-1]


async def test_lists_are_filtered_and_paged(api: httpx.AsyncClient) -> None:
    for key in ("A-1", "A-2", "A-3"):
        await start(api, key)
    await api.post("/v1/instances/order-checkout/A-2/cancel")
    only = (await api.get("/v1/instances", params={"status": "compensating", "definition": "order-checkout"})).json()
    assert [each["key"] for each in only["instances"]] == ["A-2"]
    assert "state" not in only["instances"][0]
    assert (await api.get("/v1/instances", params={"key": "A-3"})).json()["instances"][0]["id"] == "order-checkout/A-3"
    page = (await api.get("/v1/instances", params={"limit": 2})).json()
    rest = (await api.get("/v1/instances", params={"limit": 2, "cursor": page["cursor"]})).json()
    assert sorted(each["key"] for each in (*page["instances"], *rest["instances"])) == ["A-1", "A-2", "A-3"]
    assert rest["cursor"] is None


KEYS = ["x/history", "x/cancel", "history", "a?b", "a#b", "a%2Fb", "%", "50%", "a b", "..a", "ключ", "🛒", "a;b=c", "~"]
KEYS += ["a//b", "/", "a/..", "a\\b", '"', "+", "a+b c", "x" * 256]


@pytest.mark.slow
async def test_any_key_can_be_reached_at_its_own_path(api: httpx.AsyncClient) -> None:
    for key in KEYS:
        await reach(api, key)


async def reach(api: httpx.AsyncClient, key: str) -> None:
    answer = await start(api, key)
    assert answer.status_code == 201
    where = answer.headers["location"]
    assert where == f"/v1/instances/order-checkout/{quote(key, safe='')}"
    assert (await api.get(where)).json()["key"] == key
    decisions = (await api.get(f"{where}/history")).json()["decisions"]
    assert decisions[0]["message"]["key"] == key
    assert (await api.post(f"{where}/cancel")).json()["key"] == key
    found = (await api.get("/v1/instances", params={"key": key})).json()["instances"]
    assert [each["key"] for each in found] == [key]


async def test_a_key_that_looks_like_a_subpath_never_answers_for_another(api: httpx.AsyncClient) -> None:
    await start(api, "x")
    await start(api, "x/history")
    assert (await api.get("/v1/instances/order-checkout/x%2Fhistory")).json()["key"] == "x/history"
    assert "decisions" in (await api.get("/v1/instances/order-checkout/x/history")).json()
    assert (await api.get("/v1/instances/order-checkout/x/y")).status_code == 404
    assert (await api.post("/v1/instances/order-checkout/x%2Fcancel")).status_code == 405
    assert (await api.get("/v1/instances/order-checkout/x%2Fhistory")).json()["status"] == "running"


async def test_definitions_say_how_to_start_and_what_happens(api: httpx.AsyncClient) -> None:
    (shown,) = (await api.get("/v1/definitions")).json()["definitions"]
    assert (shown["name"], shown["version"], shown["newest"]) == ("order-checkout", 1, True)
    assert shown["input"]["required"] == ["order"]
    assert [each.get("name", each["kind"]) for each in shown["flow"]] == ["reserve", "charge", "book", "pivot", "ship"]
    reserve = shown["flow"][0]
    assert (reserve["contract"], reserve["queue"], reserve["timeout_seconds"]) == ("reserve-stock", "inventory", 30.0)
    assert reserve["retry"]["max_attempts"] == 5
    assert reserve["undo"]["contract"] == "release-stock"
    assert shown["flow"][-1]["undo"] is None


async def test_alive_and_ready(api: httpx.AsyncClient, up: Stack) -> None:
    await start(api)
    assert (await api.get("/livez")).json() == {"status": "ok"}
    assert (await api.get("/readyz")).json() == {"status": "ok", "warnings": []}


async def test_without_the_log_alive_but_not_ready_and_starts_are_503(api: httpx.AsyncClient, up: Stack) -> None:
    await start(api)
    await up.log.close()
    assert (await api.get("/livez")).status_code == 200
    ready = await api.get("/readyz")
    assert (ready.status_code, ready.headers["content-type"]) == (503, "application/problem+json")
    assert "closed" in ready.json()["detail"]
    refused = await start(api, "A-2")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert (await api.get(ITEM)).status_code == 200
