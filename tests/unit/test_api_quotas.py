"""Quotas on the real application: what is too much is 429 before it costs anything, for one credential and for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from structlog.testing import capture_logs

from sagaline.api import ApiSettings, create_app
from sagaline.api.limited import Limited
from sagaline.client import ApiUnreachable, RestClient
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.errors import TransientError
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.buckets import Bucket
from sagaline.orchestrator.messages.entity_messages import Rule
from sagaline.orchestrator.messages.quotas import QUOTAS_TABLE, Quota, check_quotas, quotas_of
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.sagas import Saga
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.sagas.examples.order_fulfilment import order_fulfilment
from sagaline.sagas.nodes import sleep

from .asgi import Closed, Socket, connected, streaming
from .stack import Stack, order, stack
from .test_api_access import BEARER, TOKEN, made
from .test_api_problems import told
from .test_hooks import standard


class Nap(BaseModel):
    n: int = 0


nap = Saga("nap", Nap, version=1, flow=[sleep("rest", timedelta(days=1))])
SETTINGS = ApiSettings(tokens=(TOKEN,), wait_default=timedelta(seconds=5), webhook_keys=(b"k" * 32,))
TABLE = f"/v1/tables/{QUOTAS_TABLE}"
ME = "/v1/me"


class StandingClock(SystemClock):
    """Monotonic time stands still until it is moved; the wall clock jumps as it is told."""

    seconds, jumped_ms = 1_000.0, 0

    def monotonic(self) -> float:
        return self.seconds

    def now_ms(self) -> int:
        return super().now_ms() + self.jumped_ms


async def read_by(app: FastAPI, wanted: Sequence[Quota], clock: StandingClock) -> None:
    """The node has read these quotas."""
    (quotas,) = (each.kwargs["quotas"] for each in app.user_middleware if each.cls is Limited)
    async with asyncio.timeout(10):
        while quotas.rules() != wanted:
            clock.seconds += 0.25
            await asyncio.sleep(0.01)


class Place:
    """The application with its quotas, and a key for each of two programs."""

    def __init__(self, up: Stack) -> None:
        self.up, self.clock, self.metrics = up, StandingClock(), Metrics()
        self.app: FastAPI = create_app(up.client, clock=self.clock, settings=SETTINGS, counters=self.metrics)
        self.api = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://localhost")
        self.ann: dict[str, str] = {}
        self.bob: dict[str, str] = {}

    async def set(self, *rules: tuple[str, str] | tuple[str, str, str]) -> None:
        """Quotas, each as of, to and by; and the node has read them."""
        listed = [{"when": {"of": of, **({"by": by[0]} if by else {})}, "to": to} for of, to, *by in rules]
        answer = await self.api.put(TABLE, json={"rules": listed}, headers=BEARER)
        assert answer.status_code == 200, answer.text
        await read_by(self.app, quotas_of([Rule(**each) for each in listed]), self.clock)
        self.clock.seconds += 4_000.0  # all buckets are full

    async def read_by(self, app: FastAPI) -> None:
        """Another application has read the quotas too."""
        rules = (await self.api.get(TABLE, headers=BEARER)).json()["rules"]
        await read_by(app, quotas_of([Rule(**each) for each in rules]), self.clock)

    async def got(self, path: str, header: Mapping[str, str]) -> httpx.Response:
        answer = await self.api.get(path, headers=header)
        assert answer.status_code == 200, answer.text
        return answer

    async def let_in(self, header: Mapping[str, str], tries: int = 50) -> int:
        """How many of so many requests at the same moment are answered."""
        answers = [await self.api.get(ME, headers=header) for _ in range(tries)]
        assert {each.status_code for each in answers} <= {200, 429}
        return sum(each.status_code == 200 for each in answers)

    async def start(self, key: str, header: Mapping[str, str]) -> httpx.Response:
        body = {"key": key, "input": order()}
        return await self.api.post("/v1/sagas/order-checkout", json=body, headers=header)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with stack(tmp_path, registry=Registry([checkout, order_fulfilment, nap])) as up:
        found = Place(up)
        async with found.api:
            found.ann, found.bob = await made(found.api, "ann", "operator"), await made(found.api, "bob", "operator")
            yield found


def exceeded(answer: httpx.Response, after: int) -> str:
    """What the problem says."""
    problem = told(answer, 429, "quota-exceeded")
    assert answer.headers["retry-after"] == str(after)
    return str(problem["detail"])


async def test_requests_of_a_credential_have_a_burst_and_come_back_evenly(place: Place) -> None:
    await place.set(("requests", "10/s burst 20", "ann"))
    assert await place.let_in(place.ann) == 20
    said = exceeded(await place.api.get(ME, headers=place.ann), 1)
    assert said == "ann has used up the quota of requests, 10 in 1 s; try again in 1 s"
    place.clock.seconds += 0.5
    assert await place.let_in(place.ann) == 5
    assert await place.let_in(place.bob) == 50


async def test_two_credentials_do_not_take_from_each_other(place: Place) -> None:
    """One floods with ten times what it may; the other one has all that it may, and the namespace some more."""
    await place.set(("requests", "10/s", "*"), ("requests", "25/s"))
    for _ in range(3):
        assert (await place.let_in(place.ann, 100), await place.let_in(place.bob, 10)) == (10, 10)
        place.clock.seconds += 1.0


async def test_the_namespace_has_its_quota_together_and_a_named_one_instead_of_that_of_each(place: Place) -> None:
    await place.set(("requests", "5/s", "*"), ("requests", "12/s", "ann"), ("requests", "14/s"))
    assert (await place.let_in(place.ann), await place.let_in(place.bob)) == (12, 2)
    assert exceeded(await place.api.get(ME, headers=place.bob), 1).startswith("this namespace has used up")


async def test_the_wait_of_a_slow_quota_is_said_whole_and_asked_for_up_to_a_minute(place: Place) -> None:
    await place.set(("requests", "2/m", "ann"), ("requests", "1/h", "bob"))
    assert await place.let_in(place.ann) == 2
    exceeded(await place.api.get(ME, headers=place.ann), 30)
    assert await place.let_in(place.bob) == 1
    assert "1 in 3,600 s; try again in 3,600 s" in exceeded(await place.api.get(ME, headers=place.bob), 60)


async def test_what_is_left_is_in_the_headers_of_answers_and_refusals(place: Place) -> None:
    await place.set(("requests", "10/s burst 20", "ann"), ("requests", "600/m"))
    answer = await place.got(ME, place.ann)
    assert answer.headers["ratelimit-policy"] == '"requests-own";q=10;w=1, "requests";q=600;w=60'
    assert answer.headers["ratelimit"] == '"requests-own";r=19;t=1, "requests";r=599;t=1'
    await place.let_in(place.ann)
    refused = await place.api.get(ME, headers=place.ann)
    assert refused.headers["ratelimit"].startswith('"requests-own";r=0;t=2')
    await place.set()
    assert "ratelimit" not in (await place.got(ME, place.ann)).headers


async def test_jumps_of_clocks_open_and_shut_nothing(place: Place) -> None:
    await place.set(("requests", "10/s", "ann"))
    assert await place.let_in(place.ann) == 10
    for jump in (86_400_000, -2 * 86_400_000):
        place.clock.jumped_ms += jump
        assert await place.let_in(place.ann) == 0
    place.clock.seconds += 86_400.0  # the machine slept: one burst, not a day's worth
    assert await place.let_in(place.ann) == 10
    bucket = Bucket(0.0)
    assert [bucket.fill(now, 1.0, 10.0) for now in (5.0, 3.0, 4.0)] == [5.0, 5.0, 6.0]


async def test_a_change_takes_effect_at_run_time_and_leaves_the_others_as_they_were(place: Place) -> None:
    await place.set(("requests", "3/h", "ann"), ("requests", "2/h", "bob"))
    assert (await place.let_in(place.ann), await place.let_in(place.bob)) == (3, 2)
    rules = [{"when": {"of": "requests", "by": who}, "to": to} for who, to in (("ann", "5/h"), ("bob", "2/h"))]
    assert (await place.api.put(TABLE, json={"rules": rules}, headers=BEARER)).status_code == 200
    await read_by(place.app, quotas_of([Rule(**each) for each in rules]), place.clock)
    assert (await place.let_in(place.ann), await place.let_in(place.bob)) == (5, 0)


async def test_starts_are_counted_by_themselves(place: Place) -> None:
    await place.set(("starts", "2/m", "*"))
    for number in range(2):
        assert (await place.start(f"A-{number}", place.ann)).status_code == 201
    assert "the quota of starts, 2 in 60 s" in exceeded(await place.start("A-2", place.ann), 30)
    assert (await place.start("A-2", place.bob)).status_code == 201
    assert await place.let_in(place.ann) == 50


async def test_who_may_not_start_takes_no_starts_from_those_who_may(place: Place) -> None:
    viewer = await made(place.api, "eve", "viewer")
    await place.set(("starts", "1/h"), ("unfinished", "1 at once"))
    for number in range(2):
        told(await place.start(f"A-{number}", viewer), 403, "not-permitted")
    assert (await place.start("A-2", place.ann)).status_code == 201
    told(await place.start("A-3", place.ann), 429, "quota-exceeded")


async def test_unfinished_instances_of_the_namespace_hold_starts_back_until_some_have_ended(place: Place) -> None:
    """Never more than the quota: what is counted and started at the same time may for a moment count twice."""
    await place.set(("unfinished", "4 at once"))

    async def naps(*keys: int) -> list[int]:
        sent = [{"key": f"N-{key}", "input": {}} for key in keys]
        return [(await place.api.post("/v1/sagas/nap", json=each, headers=place.ann)).status_code for each in sent]

    let_in = (await naps(*range(8))).count(201)
    assert 3 <= let_in <= 4
    while (await naps(100)) != [429]:  # one whose count was doubled has its place back
        place.clock.seconds += 2.0
        await asyncio.sleep(0.05)
    answer = await place.api.post("/v1/sagas/nap", json={"key": "N-9", "input": {}}, headers=place.bob)
    said = exceeded(answer, 5)
    assert said == "this namespace has used up the quota of unfinished instances, 4 at once; try again in 5 s"
    assert await place.let_in(place.bob) == 50
    await place.up.client.cancel("nap/N-0")
    async with asyncio.timeout(10):
        while (await naps(101)) != [201]:
            place.clock.seconds += 2.0
            await asyncio.sleep(0.05)


async def test_nobody_is_refused_by_a_count_of_long_ago(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time without starts, and while the read model is away; what was let in meanwhile is counted."""
    await place.set(("unfinished", "2 at once"))

    async def nap(key: int) -> int:
        sent = {"key": f"N-{key}", "input": {}}
        return (await place.api.post("/v1/sagas/nap", json=sent, headers=place.ann)).status_code

    async def naps_until_refused(first: int) -> int:
        return [await nap(first + number) for number in range(3)].index(429)

    assert await naps_until_refused(0) in (1, 2)
    for key in (0, 1):
        await place.api.post(f"/v1/instances/nap/N-{key}/cancel", headers=BEARER)
    async with asyncio.timeout(10):
        while await place.up.client.unfinished():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.02)
    place.clock.seconds += 3_600.0
    assert await naps_until_refused(10) in (1, 2)

    async def away() -> int:
        raise TransientError("away")

    with monkeypatch.context() as patch:
        patch.setattr(place.up.client, "unfinished", away)
        for turn in range(3):
            place.clock.seconds += 5.0
            assert await naps_until_refused(20 + 10 * turn) == 2
    place.clock.seconds += 5.0
    async with asyncio.timeout(10):
        while await nap(50) != 429:
            place.clock.seconds += 2.0
            await asyncio.sleep(0.05)


async def test_bytes_of_bodies_are_counted_as_they_come_and_requests_without_one_are_free(place: Place) -> None:
    await place.set(("bytes", "6000/m", "ann"))
    body = {"key": "O-7", "body": {"order_id": "x" * 9_000, "amount_cents": 1}}
    sent = await place.api.post("/v1/events/order-paid", json=body, headers=place.ann)
    assert sent.status_code == 202, sent.text
    assert 'q=6000;w=60;qu="content-bytes"' in sent.headers["ratelimit-policy"]
    again = await place.api.post("/v1/events/order-paid", json=body, headers=place.ann)
    assert "the quota of bytes of bodies" in exceeded(again, 31)
    assert await place.let_in(place.ann) == 50

    async def chunks() -> AsyncIterator[bytes]:
        raise AssertionError("the body of what is refused is not read")
        yield b""

    exceeded(await place.api.post("/v1/events/order-paid", content=chunks(), headers=place.ann), 31)


async def test_streams_sockets_and_long_polls_share_one_quota(place: Place) -> None:
    await place.set(("streams", "2 at once", "ann"))
    begin = (await place.got("/v1/events", place.ann)).json()["cursor"]
    waits = {"after": begin, "wait": "0.05"}
    async with (
        streaming(place.app, "/v1/events/stream", place.ann) as sse,
        connected(place.app, headers=place.ann) as ws,
    ):
        await sse.next()
        exceeded(await place.api.get("/v1/events", params=waits, headers=place.ann), 5)
        exceeded(await place.api.get("/v1/events/stream", headers=place.ann), 5)
        with pytest.raises(Closed) as refused:
            async with connected(place.app, headers=place.ann):
                pass
        assert (refused.value.status, refused.value.body["type"]) == (429, "urn:sagaline:problem:quota-exceeded")
        await ws.answer(id="a", do="subscribe")
        assert (await ws.answer(id="b", do="subscribe"))["status"] == 429
        assert (await place.api.get("/v1/events", params=waits, headers=place.bob)).status_code == 200
        assert (await place.api.get("/v1/events", params={"after": begin}, headers=place.ann)).status_code == 200
    await asyncio.sleep(0.05)
    assert (await place.api.get("/v1/events", params=waits, headers=place.ann)).status_code == 200


async def test_messages_of_a_websocket_are_requests_and_their_problem_has_their_id(place: Place) -> None:
    await place.set(("requests", "3/m", "ann"))
    async with connected(place.app, headers=place.ann) as ws:
        for id in ("a", "b"):
            assert "cursor" in await ws.answer(id=id, do="subscribe")
        problem = await ws.answer(id="c", do="act", instance="order-checkout/A-1", act="cancel")
        assert (problem["status"], problem["type"]) == (429, "urn:sagaline:problem:quota-exceeded")
        place.clock.seconds += 20.0
        assert (await ws.answer(id="d", do="unsubscribe", subscription="a")) == {}


async def test_messages_of_a_websocket_that_cannot_be_read_cost_as_much_as_others(place: Place) -> None:
    await place.set(("requests", "3/m", "ann"), ("bytes", "6000/m", "bob"))

    async def problem(ws: Socket, text: str) -> str:
        ws.say_text(text)
        return str((await ws.next())["problem"]["type"].removeprefix("urn:sagaline:problem:"))

    async with connected(place.app, headers=place.ann) as ws:
        texts = ("no JSON", "[" * 999, '{"id": "a", "id": "b"}')
        assert [await problem(ws, each) for each in texts] == ["not-json", "invalid-request", "quota-exceeded"]
    async with connected(place.app, headers=place.bob) as ws:
        assert [await problem(ws, each) for each in ("x" * 9_000, "x")] == ["not-json", "quota-exceeded"]


async def test_a_socket_whose_server_cannot_answer_is_closed_with_try_again_later(place: Place) -> None:
    await place.set(("requests", "1/h", "ann"))
    await place.let_in(place.ann, 1)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(name.encode(), value.encode()) for name, value in {"host": "localhost", **place.ann}.items()]
    scope = {
        "type": "websocket",
        "path": "/v1/ws",
        "headers": headers,
        "query_string": b"",
        "server": ("localhost", 80),
    }
    await place.app(scope, send, send)  # type: ignore[arg-type]  # nothing is received
    assert [(each["type"], each["code"]) for each in sent] == [("websocket.close", 1013)]


async def test_health_metrics_files_and_tokens_of_the_settings_are_never_limited(place: Place) -> None:
    await place.set(("requests", "1/h"), ("requests", "1/h", "*"))
    assert await place.let_in(place.ann) == 1
    app = create_app(place.up.client, clock=place.clock, settings=SETTINGS, metrics=lambda: "")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
        await place.read_by(app)
        assert (await api.get(ME, headers=place.bob)).status_code == 200
        exceeded(await api.get(ME, headers=place.ann), 60)
        for path in ("/livez", "/readyz", "/", "/openapi.json", "/docs", "/metrics"):
            assert [(await api.get(path, headers=place.ann)).status_code for _ in range(3)] == [200] * 3, path
        assert (await api.get(TABLE, headers=BEARER)).status_code == 200


async def test_without_authentication_a_delivery_to_a_hook_is_charged_once_and_open_paths_never(place: Place) -> None:
    answer = await place.api.put("/v1/hooks/shop", json={"event": "order-paid", "key_at": "/order_id"}, headers=BEARER)
    secret, body = answer.json()["secret"], b'{"order_id": "O-1", "amount_cents": 1}'
    await place.set(("requests", "2/h"), ("bytes", f"{2 * len(body)}/h"))
    app = create_app(place.up.client, clock=place.clock, settings=ApiSettings(webhook_keys=SETTINGS.webhook_keys))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
        await place.read_by(app)
        for number in range(3):
            sent = await api.post("/v1/hooks/shop", content=body, headers=standard(secret, body, id=f"m-{number}"))
            assert sent.status_code == (202 if number < 2 else 429), sent.text
        assert [(await api.get("/livez")).status_code for _ in range(2)] == [200] * 2


async def test_who_is_limited_cannot_lift_the_limit(place: Place) -> None:
    admin = await made(place.api, "eve", "admin")
    answer = await place.api.put(TABLE, json={"rules": []}, headers=admin)
    assert "a token of the settings only" in told(answer, 403, "not-permitted")["detail"]
    assert (await place.api.get(TABLE, headers=admin)).status_code == 200


async def test_refusals_are_counted_and_logged_once_in_ten_seconds(place: Place) -> None:
    await place.set(("requests", "1/h", "ann"), ("requests", "2/h"))
    with capture_logs() as logs:
        await place.let_in(place.ann, 21)
        await place.let_in(place.bob, 6)
        place.clock.seconds += 10.0
        await place.let_in(place.ann, 1)
    lines = [line for line in logs if line["event"] == "quota.refused"]
    assert [line["count"] for line in lines] == [1, 25]
    assert lines[1]["by"] == {"ann": 20, "bob": 5}
    assert sum(line["event"] == "request" for line in logs) == 2
    found = {name: count for name, count in place.metrics.counts.items() if name.startswith("quotas.refused")}
    assert found == {
        "quotas.refused": 26, "quotas.refused[requests,credential]": 21, "quotas.refused[requests,namespace]": 5,
    }  # fmt: skip


@pytest.mark.slow
async def test_the_python_client_waits_until_its_quota_has_room_again(place: Place) -> None:
    """By the real clock: the wait that the API asks for is kept, and within the deadline only."""
    await place.set(("requests", "1/s", "ann"))
    app = create_app(place.up.client, clock=SystemClock(), settings=SETTINGS)
    await read_by(app, quotas_of([Rule(when={"of": "requests", "by": "ann"}, to="1/s")]), StandingClock())
    transport, token = httpx.ASGITransport(app), place.ann["authorization"].removeprefix("Bearer ")
    async with RestClient("http://localhost", transport=transport, token=token) as client:
        began = asyncio.get_running_loop().time()
        for _ in range(2):
            await client.count()
        assert asyncio.get_running_loop().time() - began >= 1.0
    await place.set(("requests", "1/h", "ann"))
    await read_by(app, quotas_of([Rule(when={"of": "requests", "by": "ann"}, to="1/h")]), StandingClock())
    short = timedelta(seconds=0.5)
    async with RestClient("http://localhost", transport=transport, token=token, deadline=short) as client:
        with pytest.raises(ApiUnreachable, match="used up the quota of requests"):
            await asyncio.gather(*(client.count() for _ in range(2)))


async def test_every_route_that_is_limited_documents_it(place: Place) -> None:
    for path, operations in place.app.openapi()["paths"].items():
        for method, each in operations.items():
            limited = each["x-permission"] != "none" or (path, method) == ("/v1/hooks/{name}", "post")
            assert ("429" in each["responses"]) is limited, path


@pytest.mark.parametrize(
    ("when", "to", "wrong"),
    [
        ({"of": "requests"}, "8 at once", "'100/s burst 200'"),
        ({"of": "streams"}, "8/s", "'8 at once'"),
        ({"of": "requests"}, "0/s", "'0/s' is no quota of requests"),
        ({"of": "requests"}, "10/s burst 0", "is no quota of requests"),
        ({"of": "pages"}, "10/s", "one of requests, starts, bytes, streams, unfinished"),
        ({}, "10/s", "there is nothing None to count"),
        ({"of": "requests", "by": ""}, "10/s", "the name of a key"),
        ({"of": "requests", "by": 7}, "10/s", "the name of a key"),
        ({"of": "unfinished", "by": "ann"}, "10 at once", "omit by"),
        ({"of": "requests", "key": "x"}, "10/s", "key is unknown"),
    ],
)
async def test_a_rule_that_is_no_quota_is_refused(place: Place, when: dict[str, Any], to: str, wrong: str) -> None:
    answer = await place.api.put(TABLE, json={"rules": [{"when": when, "to": to}]}, headers=BEARER)
    said = told(answer, 422, "invalid-request", "rules")["detail"]
    assert said.startswith("quota 1: ")
    assert wrong in said


def test_quotas_are_few_and_different_and_those_of_a_newer_release_are_left_out() -> None:
    rule = Rule(when={"of": "requests"}, to="10/s")
    assert check_quotas([rule, rule]) == "quota 2 is the same as quota 1; remove one of them"
    assert "at most 200" in (check_quotas([rule] * 201) or "")
    assert [each.count for each in quotas_of([rule, Rule(when={"of": "wishes"}, to="1/s"), rule])] == [10]
