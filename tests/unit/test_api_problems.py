"""Every wrong request gets a problem that says what is wrong and where; none gets a 500."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from sagaline.api import ApiSettings, create_app
from sagaline.api.identity import needs
from sagaline.api.problems import told_of
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.errors import ConfigurationError, CorruptRecord
from sagaline.orchestrator.messages.inputs import ActName

from .stack import Stack, order, stack
from .test_api_instances import http

START = "/v1/sagas/order-checkout"
ITEM = "/v1/instances/order-checkout/A-1"
JSON = {"content-type": "application/json"}
TOKEN = "a-token-of-enough-length"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One system for all: what is refused leaves nothing behind."""
    async with stack(tmp_path_factory.mktemp("api")) as running_stack:
        yield running_stack


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with http(up) as client:
        yield client


def told(answer: httpx.Response, status: int, kind: str, field: str | None = None) -> dict[str, Any]:
    """The problem, after checking that it is a whole one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:sagaline:problem:{kind}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["trace_id"] == answer.headers["traceresponse"].split("-")[1]
    assert body.get("field") == field
    if field is not None:
        assert body["errors"][0]["field"] == field
    assert "Traceback" not in answer.text
    return body


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"nonsense",
        b"{'key': 1}",
        b'{"input": NaN}',
        b'{"input": Infinity}',
        b'{"key": "\\ud800", "input": {}}',
        b'\xef\xbb\xbf{"input": {}}',
        b'{"key": "\xff", "input": {}}',
        '{"input": {}}'.encode("utf-16"),
        b'{"input": {}} {}',
        b'{"version": ' + b"1" * 5000 + b"}",
    ],
)
async def test_what_is_not_json_is_400(api: httpx.AsyncClient, raw: bytes) -> None:
    told(await api.post(START, content=raw, headers=JSON), 400, "not-json")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], ""),
        ("text", ""),
        (None, ""),
        (7, ""),
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": "x"}, "input"),
        ({"input": {}, "more": 1}, "more"),
        ({"input": {}, "version": "1"}, "version"),
        ({"input": {}, "version": 0}, "version"),
        ({"input": {}, "version": 1.5}, "version"),
        ({"input": {}, "version": 10**30}, "version"),
        ({"input": order(), "version": 9}, "version"),
        ({"input": {}, "key": 7}, "key"),
        ({"input": order(), "key": ""}, "key"),
        ({"input": order(), "key": "x" * 257}, "key"),
        ({"input": order(), "key": "🛒" * 129}, "key"),
        ({"input": order(), "key": "a\u0000b"}, "key"),
        ({"input": order(), "key": "a\nb"}, "key"),
        ({"input": order(), "key": ".."}, "key"),
        ({"input": {}}, "input.order"),
        ({"input": {**order(), "more": 1}}, "input.more"),
        ({"input": order(colour="red")}, "input.order.colour"),
        ({"input": order(lines=[{"sku": "x", "quantity": 0}])}, "input.order.lines.0.quantity"),
    ],
)
async def test_a_wrong_field_is_422_and_named(api: httpx.AsyncClient, body: Any, field: str) -> None:
    told(await api.post(START, content=json.dumps(body, ensure_ascii=False).encode(), headers=JSON), 422,
         "invalid-request", field)  # fmt: skip


async def test_a_name_that_stands_twice_is_422(api: httpx.AsyncClient) -> None:
    raw = b'{"key": "A", "input": {"order": {"id": "1", "id": "2"}}}'
    told(await api.post(START, content=raw, headers=JSON), 422, "invalid-request", "id")


async def test_a_number_that_is_no_number_in_the_end_is_422(api: httpx.AsyncClient) -> None:
    told(
        await api.post(START, content=b'{"input": {"order": 1e999}}', headers=JSON),
        422,
        "invalid-request",
        "input.order",
    )


async def test_as_deep_as_allowed_passes_and_one_level_more_is_422(up: Stack) -> None:
    def nested(levels: int) -> bytes:
        return b'{"input": {"order": ' + b"[" * (levels - 2) + b"]" * (levels - 2) + b"}}"

    async with http(up, ApiSettings(depth_max=8)) as api:
        told(await api.post(START, content=nested(8), headers=JSON), 422, "invalid-request", "input.order")
        assert (
            "deeper"
            in told(await api.post(START, content=nested(9), headers=JSON), 422, "invalid-request", "")["detail"]
        )


@pytest.mark.parametrize("depth", [33, 200, 100_000])
async def test_a_body_that_is_too_deep_is_422(api: httpx.AsyncClient, depth: int) -> None:
    raw = b'{"input": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
    raw = raw[:200_000] if depth == 100_000 else raw
    assert "deeper" in told(await api.post(START, content=raw, headers=JSON), 422, "invalid-request", "")["detail"]


async def test_a_body_that_is_too_large_is_413_by_its_header(api: httpx.AsyncClient) -> None:
    raw = json.dumps({"input": {"x": "y" * 300_000}}).encode()
    told(await api.post(START, content=raw, headers=JSON), 413, "too-large")
    told(await api.post(f"{ITEM}/cancel", content=raw, headers=JSON), 413, "too-large")


async def test_a_body_without_a_length_is_counted_while_it_arrives(api: httpx.AsyncClient) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 1
            yield b"x" * 10_000

    told(await api.post(START, content=chunks(), headers=JSON), 413, "too-large")
    assert sent < 40


async def test_a_body_that_does_not_arrive_is_408(up: Stack) -> None:
    app = create_app(up.client, clock=SystemClock(), settings=ApiSettings(body_timeout=timedelta(milliseconds=20)))
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def receive() -> Any:
        for message in messages:
            return message
        return await asyncio.Event().wait()

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": START, "raw_path": START.encode(), "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")], "http_version": "1.1",
        "scheme": "http", "root_path": "",
    }  # fmt: skip
    await app(scope, receive, send)
    assert sent[0]["status"] == 408


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "multipart/form-data; boundary=x"},
    ],
)
async def test_another_content_type_is_415(api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    raw = json.dumps({"input": order()}).encode()
    told(await api.post(START, content=raw, headers=headers), 415, "media-type")
    told(await api.post(f"{ITEM}/cancel", content=b"{}", headers=headers), 415, "media-type")


async def test_json_with_its_charset_named_is_taken(api: httpx.AsyncClient) -> None:
    raw = json.dumps({"key": "C-1", "input": order()}).encode()
    headers = {"content-type": 'Application/JSON; charset="UTF-8"'}
    assert (await api.post(START, content=raw, headers=headers)).status_code == 201


async def test_an_unknown_definition_is_404(api: httpx.AsyncClient) -> None:
    problem = told(await api.post("/v1/sagas/nothing", json={"input": {}}), 404, "unknown-definition")
    assert "order-checkout" in problem["detail"]
    told(await api.post("/v1/sagas/%2e%2e%2fx", json={"input": {}}), 404, "unknown-definition")
    told(await api.post("/v1/sagas/%FF", json={"input": {}}), 404, "unknown-definition")


async def test_an_unknown_instance_is_404(api: httpx.AsyncClient) -> None:
    told(await api.get(ITEM), 404, "unknown-instance")
    told(await api.get(f"{ITEM}/history"), 404, "unknown-instance")
    for act in ActName:
        told(await api.post(f"{ITEM}/{act.value}"), 404, "unknown-instance")


@pytest.mark.parametrize(
    "path",
    ["order-checkout/%FF", "order-checkout/%00", "order-checkout/a%0Ab", "ORDER/x", "order-checkout/" + "x" * 2_100],
)
async def test_a_path_that_can_be_no_instance_is_422(api: httpx.AsyncClient, path: str) -> None:
    told(await api.get(f"/v1/instances/{path}"), 422, "invalid-request", "instance")
    told(await api.post(f"/v1/instances/{path}/cancel"), 422, "invalid-request", "instance")


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v2/x", "/v1/instances/", "/v1/instances/a", f"{ITEM}/", f"{ITEM}/explode", "/redoc",
             "/%76%31/definitions", "//v1/definitions", "/v1/definitions/"]
)  # fmt: skip
async def test_what_is_not_there_is_404(api: httpx.AsyncClient, path: str) -> None:
    told(await api.get(path), 404, "unknown-path")


async def test_another_method_is_405_with_those_that_are_possible(api: httpx.AsyncClient) -> None:
    answer = await api.delete(ITEM)
    told(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    told(await api.get(START), 405, "method-not-allowed")
    told(await api.put("/v1/instances"), 405, "method-not-allowed")
    several = await api.post("/v1/schedules/nightly", content=b"{}", headers=JSON)
    told(several, 405, "method-not-allowed")
    assert several.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=lost", "status.0"),
        ("stauts=running", "stauts"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("cursor=x", "cursor"),
        ("key=", "key"),
        ("key=%00", "key"),
        ("key=a&key=b", "key"),
        ("definition=" + "x" * 65, "definition"),
    ],
)
async def test_a_wrong_query_is_422_and_named(api: httpx.AsyncClient, query: str, field: str) -> None:
    told(await api.get(f"/v1/instances?{query}"), 422, "invalid-request", field)


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "inf", "x", "", "1e1", "٣"])
async def test_a_wrong_wait_is_422(api: httpx.AsyncClient, wait: str) -> None:
    told(await api.post(START, params={"wait": wait}, json={"input": order()}), 422, "invalid-request", "wait")


@pytest.mark.parametrize("prefer", ["wait=x", "wait=-1", "wait", "respond-async", "wait=999999", "\x80wait"])
async def test_a_preference_that_cannot_be_met_is_passed_over(api: httpx.AsyncClient, prefer: str) -> None:
    headers = httpx.Headers([(b"prefer", prefer.encode("latin-1"))])
    answer = await api.post(START, json={"key": "P-1", "input": order()}, headers=headers)
    assert answer.status_code in (200, 201)


@pytest.mark.parametrize(("body", "field"), [({"by": "x" * 257}, "by"), ({"why": 1}, "why"), ({"by": 1}, "by")])
async def test_a_wrong_act_is_422_and_named(api: httpx.AsyncClient, body: Any, field: str) -> None:
    told(await api.post(f"{ITEM}/cancel", json=body), 422, "invalid-request", field)


@pytest.mark.parametrize("traceparent", ["", "x", "00-0-0-0", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\x80"])
async def test_a_malformed_trace_context_begins_a_new_trace(api: httpx.AsyncClient, traceparent: str) -> None:
    headers = httpx.Headers([(b"traceparent", traceparent.encode("latin-1"))])
    answer = await api.get(ITEM, headers=headers)
    trace_id = told(answer, 404, "unknown-instance")["trace_id"]
    assert re.fullmatch(r"[0-9a-f]{32}", trace_id)
    assert set(trace_id) != {"0"}


@pytest.mark.slow
async def test_with_tokens_everything_but_health_and_the_document_asks_for_one(up: Stack) -> None:
    async with http(up, ApiSettings(tokens=("another-token-here", TOKEN))) as api:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"},
                        {"authorization": TOKEN}, {"authorization": "Bearer"}):  # fmt: skip
            for path in ("/v1/definitions", ITEM, "/v1/nothing", "/nothing", "/%76%31/definitions"):
                answer = await api.get(path, headers=headers)
                told(answer, 401, "unauthorized")
                assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/livez", "/readyz", "/openapi.json"):
            assert (await api.get(path, headers={"host": "shop.example"})).status_code == 200
        for scheme in ("Bearer", "bearer"):
            headers = {"authorization": f"{scheme} {TOKEN}", "host": "shop.example"}
            assert (await api.get("/v1/definitions", headers=headers)).status_code == 200
        assert (await api.post(START, content=b"x" * 500_000)).status_code == 401


@pytest.mark.parametrize(
    "host", ["shop.example", "localhost.example", "10.0.0.1:8080", "", "[::2]:80", "127.0.0.1.nip.io"]
)
async def test_without_a_token_another_host_name_is_refused(api: httpx.AsyncClient, host: str) -> None:
    told(await api.get("/v1/definitions", headers={"host": host}), 403, "forbidden-host")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://shop.example"},
        {"origin": "http://localhost:8081"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://localhost", "sec-fetch-site": "cross-site"},
    ],
)
@pytest.mark.parametrize("tokens", [(), (TOKEN,)])
async def test_a_page_of_another_origin_changes_nothing(
    up: Stack, headers: dict[str, str], tokens: tuple[str, ...]
) -> None:
    app = create_app(up.client, clock=SystemClock(), settings=ApiSettings(tokens=tokens))
    sent = {**headers, "authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
        for method, path in (("POST", START), ("POST", "/v1/bulk"), ("PUT", "/v1/tables/carriers")):
            told(await api.request(method, path, json={}, headers=sent), 403, "foreign-origin")
        assert (await api.get("/v1/definitions", headers=sent)).status_code == 200


@pytest.mark.parametrize("headers", [{"origin": "http://localhost"}, {"sec-fetch-site": "same-origin"}, {}])
async def test_a_page_of_this_server_is_served(api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await api.post(START, json={}, headers=headers)).status_code == 422


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:80", "127.1.2.3"])
async def test_without_a_token_this_machine_is_served(api: httpx.AsyncClient, host: str) -> None:
    assert (await api.get("/v1/definitions", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("token", ["", "short", "with space " * 3, "ü" * 20, "x" * 20 + "\n"])
async def test_a_token_that_anybody_could_guess_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError, match="secrets"):
        ApiSettings(tokens=(token,))


def broken(up: Stack, error: Exception) -> FastAPI:
    app = create_app(up.client, clock=SystemClock())

    @app.get("/v1/broken")
    @needs("identity")
    async def fails() -> None:
        raise error

    return app


@pytest.mark.parametrize("error", [RuntimeError("secret"), CorruptRecord("t/0/1", "secret"), KeyError("secret")])
async def test_what_fails_inside_is_a_500_that_tells_nothing_and_a_log_that_tells_all(
    up: Stack, error: Exception
) -> None:
    transport = httpx.ASGITransport(broken(up, error))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as api:
        with capture_logs() as logs:
            answer = await api.get("/v1/broken")
    told(answer, 500, "internal")
    assert "secret" not in answer.text
    assert any("secret" in repr(line.get("exc_info", line.get("reason"))) or line.get("exc_info") for line in logs)


async def test_one_line_per_request_with_its_trace_and_nothing_of_its_body(api: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        answer = await api.post(f"{START}?wait=5", json={"key": "S-1", "input": order(customer="SECRET")})
    (line,) = [line for line in logs if line["event"] == "request"]
    assert (line["method"], line["path"], line["status"]) == ("POST", START, 201)
    assert line["trace_id"] == answer.json()["trace_id"]
    assert "SECRET" not in repr(logs)


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def check_anything(answer: httpx.Response) -> None:
    """Whatever was sent, the answer is one of ours and never a 500."""
    assert answer.status_code in (200, 201, 204, 400, 404, 405, 409, 413, 415, 422), answer.text
    if answer.status_code >= 400:
        told(answer, answer.status_code, answer.json()["type"].rpartition(":")[2], answer.json().get("field"))


@pytest.mark.slow
@FUZZ
@given(raw=st.binary(max_size=300))
async def test_any_bytes_as_a_body_are_answered(api: httpx.AsyncClient, raw: bytes) -> None:
    check_anything(await api.post(START, content=raw, headers=JSON))


@pytest.mark.slow
@FUZZ
@given(body=st.dictionaries(st.sampled_from(["key", "input", "version", "more"]), VALUES) | VALUES)
async def test_any_json_as_a_body_is_answered(api: httpx.AsyncClient, body: Any) -> None:
    check_anything(await api.post(START, content=json.dumps(body).encode(), headers=JSON))


@pytest.mark.slow
@FUZZ
@given(inner=VALUES)
async def test_any_json_as_an_input_is_answered(api: httpx.AsyncClient, inner: Any) -> None:
    raw = json.dumps({"key": "F", "input": {"order": inner}}).encode()
    check_anything(await api.post(START, content=raw, headers=JSON))


@pytest.mark.slow
@FUZZ
@given(key=st.text(max_size=40))
async def test_any_text_as_a_key_is_refused_or_leads_back_to_itself(api: httpx.AsyncClient, key: str) -> None:
    raw = json.dumps({"key": key, "input": order()}).encode()
    answer = await api.post(START, content=raw, headers=JSON)
    check_anything(answer)
    if answer.status_code in (200, 201):
        assert (await api.get(answer.headers["location"])).json()["key"] == key


@pytest.mark.slow
@FUZZ
@given(
    path=st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=60),
    method=st.sampled_from(["GET", "POST", "PUT", "OPTIONS"]),
)
async def test_any_path_is_answered(api: httpx.AsyncClient, path: str, method: str) -> None:
    try:
        request = api.build_request(method, f"http://localhost/v1/instances/{path}")
    except httpx.InvalidURL:
        return
    check_anything(await api.send(request))


async def test_what_is_not_guarded_is_not_let_in(up: Stack) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1/live", "raw_path": b"/v1/live", "query_string": b"", "headers": []}
    await create_app(up.client, clock=SystemClock())(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_setting_that_is_missing_is_named_instead_of_an_internal_error() -> None:
    """As for webhooks: the operator reads what to set. Before, sealing without a key was 500 and said nothing."""
    told = told_of(ConfigurationError("there is no key to seal with: set SAGALINE_PERSONAL_KEYS"))
    assert (told.kind, told.detail) == ("unavailable", "there is no key to seal with: set SAGALINE_PERSONAL_KEYS")
