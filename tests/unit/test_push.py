"""Web Push from the subscription to the browser: encrypted, signed, again until the push service takes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from sagaline.api import ApiSettings, create_app
from sagaline.orchestrator import wiring
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.client import RequestOptions
from sagaline.orchestrator.egress import EgressDenied, EgressSettings
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.messages.pushes import PUSHES, PushSubscription, push_name
from sagaline.orchestrator.push import PushKey
from sagaline.orchestrator.settings import Settings
from sagaline.sagas import Retry
from sagaline.workers import webhooks
from sagaline.workers.webhooks.receivers import Posting, PushReceivers
from tests.push_kit import Browser, b64, claims_of, public_of

from .courier_world import GUARDS, KEYS, QUICK, World, courier_world
from .stack import order
from .test_egress import HOSTS, Canary, canary

__all__ = ["canary"]

KEY = PushKey(PushKey.make(), "mailto:ops@example.com")
SETTINGS = ApiSettings(webhook_keys=KEYS, push=KEY, egress=GUARDS)
PATH = "/v1/push/subscriptions"
SUBSCRIPTION = PushSubscription(name="p1", sealed="x", host="push.example.net", created=1)


class LaterClock(SystemClock):
    """Ahead by ``by``."""

    by = timedelta(0)

    def now_ms(self) -> int:
        return super().now_ms() + round(self.by.total_seconds() * 1000)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(webhooks.courier, "RETRY", Retry(max_attempts=400, first_delay=QUICK, max_delay=QUICK))
    async with courier_world(tmp_path, SETTINGS, push=KEY, clock=LaterClock()) as up:
        yield up


@pytest.fixture
def browser(world: World) -> Browser:
    found = Browser(world.receiver.url + "/canary-endpoint")
    world.receiver.read = found.read
    return found


async def subscribe(world: World, browser: Browser, **more: Any) -> str:
    answer = await world.api.post(PATH, json=browser.subscription(**more))
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["name"])


async def names(world: World) -> list[str]:
    return [each["name"] for each in (await world.api.get(PATH)).json()["subscriptions"]]


async def until_gone(world: World) -> None:
    async with asyncio.timeout(20):
        while await names(world):  # noqa: ASYNC110  # over HTTP there is nothing to wait for
            await asyncio.sleep(0.02)


async def test_an_event_reaches_the_browser_encrypted_and_signed(world: World, browser: Browser) -> None:
    await world.put("orders", url="http://127.0.0.1:9/away")
    async with world.courier():
        await subscribe(world, browser, types=["started", "paused"])
        await world.stack.client.start("order-checkout", order(), key="A-1")
        await world.stack.client.act("order-checkout/A-1", ActName.PAUSE)
        await world.until(lambda: len(world.receiver.accepted) == 2)
    started, paused = world.receiver.accepted
    assert started == {
        "id": started["id"],
        "kind": "started",
        "instance": "order-checkout/A-1",
        "status": "running",
        "at_ms": started["at_ms"],
        "url": "/#/instances/order-checkout/A-1",
    }
    assert paused["kind"] == "paused"
    headers, body = world.receiver.got[0]
    claims, public = claims_of(headers["authorization"])
    assert claims["aud"] == browser.endpoint.partition("/hook")[0]
    assert claims["sub"] == "mailto:ops@example.com"
    assert public == (await world.api.get("/v1/push/key")).json()["key"]
    assert headers["content-encoding"] == "aes128gcm"
    assert 172_700 < int(headers["ttl"]) <= 172_800
    assert (headers["urgency"], len(headers["topic"])) == ("normal", 32)
    assert headers["topic"] == world.receiver.got[1][0]["topic"], "of one instance only the newest has to wait"
    assert b"order" not in body


async def test_only_what_a_subscription_wants_is_sent(world: World, browser: Browser) -> None:
    async with world.courier():
        await subscribe(world, browser, types=["paused"], definitions=["order-checkout"])
        await world.stack.client.start("order-checkout", order(), key="A-1")
        await world.stack.client.act("order-checkout/A-1", ActName.PAUSE)
        await world.until(lambda: len(world.receiver.accepted) == 1)
        await subscribe(world, browser, definitions=["flight-search"])
        await world.stack.client.act("order-checkout/A-1", ActName.RESUME)
        await asyncio.sleep(0.3)
    assert [each["kind"] for each in world.receiver.accepted] == ["paused"]


@pytest.mark.parametrize("status", [404, 410])
async def test_a_subscription_that_the_push_service_does_not_know_is_removed(
    world: World, browser: Browser, status: int
) -> None:
    world.receiver.status = lambda event: status
    async with world.courier():
        await subscribe(world, browser)
        await world.stack.client.start("order-checkout", order(), key="A-1")
        await until_gone(world)
    rows = (await world.api.get("/v1/operations")).json()["operations"]
    assert f"it answered {status}" in rows[0]["why"]
    assert len(world.receiver.got) == 1


async def test_a_push_service_that_is_away_for_a_day_gets_everything_and_after_two_days_nothing(
    world: World, browser: Browser
) -> None:
    assert isinstance(world.clock, LaterClock)
    world.receiver.status = lambda event: 503
    await subscribe(world, browser, types=["started"])
    keys = [f"A-{number}" for number in range(5)]
    async with world.courier():
        for key in keys:
            await world.stack.client.start("order-checkout", order(key), key=key)
        await world.until(lambda: len(world.receiver.got) > 10)
        world.clock.by = timedelta(days=1)
        world.receiver.status = lambda event: 201
        await world.until(lambda: len(world.receiver.accepted) == len(keys))
        assert int(world.receiver.got[-1][0]["ttl"]) <= 86_400
        world.receiver.status = lambda event: 503
        await world.stack.client.start("order-checkout", order("B"), key="B")
        await world.until(lambda: "/B" in str(world.receiver.read(world.receiver.got[-1][1])))
        world.clock.by = timedelta(days=3)
        world.receiver.status = lambda event: 201
        await asyncio.sleep(0.5)
    assert {each["instance"] for each in world.receiver.accepted} == {f"order-checkout/{key}" for key in keys}


async def test_a_push_service_that_asks_for_it_is_left_alone(world: World, browser: Browser) -> None:
    world.receiver.status = lambda event: 429
    world.receiver.head = "retry-after: 2\r\n"
    await subscribe(world, browser, types=["started"])
    async with world.courier():
        began = asyncio.get_running_loop().time()
        await world.stack.client.start("order-checkout", order(), key="A-1")
        await world.until(lambda: len(world.receiver.got) == 1)
        world.receiver.status = lambda event: 201
        await world.stack.client.start("order-checkout", order("A-2"), key="A-2")
        await world.until(lambda: len(world.receiver.accepted) == 2)
        assert asyncio.get_running_loop().time() - began >= 2
    assert len(world.receiver.got) == 3


async def test_a_message_that_is_too_large_for_a_push_service_is_not_tried_again(
    world: World, browser: Browser
) -> None:
    world.receiver.status = lambda event: 413
    await subscribe(world, browser, types=["started"])
    async with world.courier():
        await world.stack.client.start("order-checkout", order(), key="A-1")
        await world.until(lambda: len(world.receiver.got) == 1)
        await asyncio.sleep(0.3)
    assert len(world.receiver.got) == 1


async def test_a_test_message_arrives_and_a_subscription_that_ends_gets_none(world: World, browser: Browser) -> None:
    name = await subscribe(world, browser)
    missing = await world.api.post(f"{PATH}/p0/test")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:sagaline:problem:unknown-push")
    async with world.courier():
        assert (await world.api.post(f"{PATH}/{name}/test")).status_code == 200
        await world.until(lambda: len(world.receiver.accepted) == 1)
        ends = world.clock.now_ms() + 60_000
        await subscribe(world, browser, expirationTime=ends)
        world.clock.by = timedelta(minutes=2)  # type: ignore[attr-defined]  # a LaterClock
        await world.stack.client.start("order-checkout", order(), key="A-1")
        await asyncio.sleep(0.3)
    (said,) = world.receiver.accepted
    assert (said["kind"], said["instance"], said["url"]) == ("test", "", "/")


async def test_a_browser_that_comes_again_is_the_same_and_changes_nothing(world: World, browser: Browser) -> None:
    first = await world.api.post(PATH, json=browser.subscription(types=["attention"]))
    again = await world.api.post(PATH, json=browser.subscription(types=["attention"]))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() | {"trace_id": None} == again.json() | {"trace_id": None}
    assert (await world.stack.client.tables.read("events.push")).version == 1
    path, once = f"{PATH}/{first.json()['name']}", {"Idempotency-Key": "d-1"}
    answers = [await world.api.delete(path, headers=once) for _ in range(2)]
    assert [each.status_code for each in answers] == [200, 200]
    assert await names(world) == []


async def test_what_a_browser_gives_shows_nowhere(
    world: World, browser: Browser, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    browser.auth, shown = b"canary-auth-1234", list[str]()
    caplog.set_level(logging.DEBUG)
    world.receiver.status = lambda event: 500
    with capture_logs() as said:
        async with world.courier():
            name = await subscribe(world, browser)
            await world.stack.client.start("order-checkout", order(), key="A-1")
            await world.until(lambda: len(world.receiver.got) > 2)
        paths = (PATH, f"{PATH}/{name}", "/v1/operations", "/v1/parked", "/v1/records/t.inputs?partition=0")
        shown += [(await world.api.get(path)).text for path in paths]
    shown += [str(said), caplog.text]
    shown += [each.read_bytes().decode(errors="replace") for each in tmp_path.iterdir()]  # noqa: ASYNC240 - a few
    for secret in ("canary", b64(browser.auth), b64(public_of(browser.private))):
        assert [text[:200] for text in shown if secret in text] == []
    assert name in shown[0]


@pytest.mark.parametrize("echo", ["{path}", "HTTP/1.1 500 X\r\nx\0{path}: 1\r\n\r\n"])
async def test_a_push_service_that_echoes_the_endpoint_shows_it_nowhere(
    world: World, echo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in a body nor in an answer that is no HTTP."""
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        path = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1]
        asked += 1
        text = echo.format(path=path)
        head = "" if "HTTP" in echo else f"HTTP/1.1 500 X\r\ncontent-length: {len(text)}\r\n\r\n"
        writer.write(f"{head}{text}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    monkeypatch.setattr(webhooks.courier, "RETRY", Retry(max_attempts=3, first_delay=QUICK, max_delay=QUICK))
    with capture_logs() as said:
        async with world.courier():
            await subscribe(world, Browser(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/canary-path"))
            await world.stack.client.start("order-checkout", order(), key="A-1")
            await world.until(lambda: asked == 3)
            async with asyncio.timeout(20):
                while not (parked := (await world.api.get("/v1/parked")).json()["parked"]):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
    server.close()
    shown = str(parked) + str(said)
    assert "answered 500" in shown or "did not answer as HTTP" in shown
    assert "canary-path" not in shown


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_form_of_an_inner_address_is_reached(world: World, canary: Canary, scheme: str) -> None:
    """Also when such an endpoint was registered while its network was allowed."""
    assert len(HOSTS) > 200
    guards = GUARDS._replace(push=EgressSettings(plain=True, timeout=timedelta(seconds=2)))
    app = create_app(world.stack.client, clock=SystemClock(), settings=ApiSettings(push=KEY, egress=guards))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as api:
        taken = []
        for host in HOSTS:
            url = f"{scheme}://{host}:{canary.port}/push"
            answer = await api.post(PATH, json=Browser(url).subscription())
            if answer.status_code != 422:
                taken.append(url)
                await api.delete(f"{PATH}/{push_name(url)}")
    courier = webhooks.Courier(world.stack.log, world.stack.topics, SystemClock(), push=KEY, guards=guards)
    for host in HOSTS:
        posting = Posting(f"{scheme}://{host}:{canary.port}/push", b"", {})
        with pytest.raises(Exception, match=r"not a public address|cannot be reached|cannot be read|is longer|begins"):
            await courier._posted(courier._kinds[0], SUBSCRIPTION, posting)
    assert canary.connections == 0
    assert len(taken) < len(HOSTS) / 2, "most are refused when they are registered"


async def test_what_is_open_to_webhooks_is_closed_to_push_messages(world: World, browser: Browser) -> None:
    """A viewer can name any address; an inner one was allowed for what an administrator registers."""
    settings = Settings(webhook_networks=("127.0.0.0/8",), webhook_plain_http=True)  # type: ignore[arg-type]  # parsed
    guards = wiring.guards(settings)
    app = create_app(
        world.stack.client, clock=SystemClock(), settings=ApiSettings(push=KEY, webhook_keys=KEYS, egress=guards)
    )
    await subscribe(world, browser, types=["started"])
    courier = webhooks.Courier(world.stack.log, world.stack.topics, SystemClock(), push=KEY, guards=guards)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as api:
        assert (await api.put("/v1/webhooks/inner", json={"url": browser.endpoint})).status_code == 201
        for scheme in ("http", "https"):
            other = Browser(browser.endpoint.replace("http", scheme, 1) + "/2")
            assert (await api.post(PATH, json=other.subscription())).status_code == 422
    kind, posting = courier._kinds[0], Posting(browser.endpoint, b"", {})
    with pytest.raises(EgressDenied):
        await courier._posted(kind, SUBSCRIPTION, posting)
    assert world.receiver.got == []


def test_plain_http_is_for_push_messages_only_with_a_network_of_their_own() -> None:
    network = ("10.1.0.0/16",)
    for more, plain in (({}, False), ({"push_networks": network}, True)):
        found = wiring.guards(Settings(webhook_plain_http=True, **more))  # type: ignore[arg-type]  # parsed
        assert (found.push.plain, len(found.push.allowed)) == (plain, len(more))
    assert not wiring.guards(Settings(push_networks=network)).push.plain  # type: ignore[arg-type]  # parsed


async def test_one_owner_has_at_most_20_subscriptions_and_those_that_have_ended_leave(world: World) -> None:
    browsers = [Browser(f"{world.receiver.url}/{number}") for number in range(21)]
    full = [replace(SUBSCRIPTION, name=push_name(each.endpoint)) for each in browsers[:20]]
    rules = [PUSHES.rule(each) for each in (*full, replace(SUBSCRIPTION, name="ended", expires_ms=1))]
    await world.stack.client.tables.write(PUSHES.table, rules, version=None, options=RequestOptions())
    ended = await world.api.post(f"{PATH}/ended/test")
    assert (ended.status_code, "has ended" in ended.json()["detail"]) == (422, True)
    refused = await world.api.post(PATH, json=browsers[20].subscription())
    assert (refused.status_code, "saga push delete" in refused.json()["detail"]) == (422, True)
    assert len(await names(world)) == 21
    await subscribe(world, browsers[1], types=["attention"])
    assert sorted(await names(world)) == sorted(each.name for each in full)
    other = await world.api.post(PATH, json=browsers[20].subscription(by="bob"))
    assert other.status_code == 201


async def test_a_process_with_another_key_loses_nothing_and_says_that_it_has_another(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    posting, tries = PushReceivers.posting, list[str]()

    def counted(self: PushReceivers, receiver: PushSubscription, id: str, body: bytes, now_ms: int) -> Posting | None:
        tries.append(id)
        return posting(self, receiver, id, body, now_ms)

    monkeypatch.setattr(PushReceivers, "posting", counted)
    right, world.push = world.push, PushKey(PushKey.make(), "mailto:ops@example.com")
    async with world.courier() as courier:
        name = await subscribe(world, browser)
        await world.until(lambda: "another key than the one that sealed" in (courier.objection or ""))
        await world.stack.client.start("order-checkout", order(), key="A-1")
        await world.until(lambda: len(tries) > 1)
    assert (await names(world), world.receiver.got) == ([name], [])
    app = create_app(world.stack.client, clock=SystemClock(), settings=replace(SETTINGS, push=world.push))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as api:
        asked = await api.post(f"{PATH}/{name}/test")
    assert (asked.status_code, "sealed by another key" in asked.json()["detail"]) == (422, True)
    world.push = right
    async with world.courier() as courier:
        await world.until(lambda: len(world.receiver.accepted) == 1)
        assert courier.objection is None


async def test_a_process_without_the_key_is_not_ready_while_browsers_are_subscribed(
    world: World, browser: Browser
) -> None:
    world.push = None
    async with world.courier() as courier:
        name = await subscribe(world, browser)
        await world.until(lambda: "SAGALINE_PUSH_KEY" in (courier.objection or ""))
        await world.api.delete(f"{PATH}/{name}")
        await world.until(lambda: courier.objection is None)


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"endpoint": "http://push.example.net/1"}, "endpoint", "https"),
        ({"endpoint": "https://push.example.net/" + "x" * 1_024}, "endpoint", "at most 1,024"),
        ({"endpoint": "https://127.0.0.1/1"}, "endpoint", "not a public address"),
        ({"endpoint": ""}, "endpoint", "https"),
        ({"keys": {"p256dh": "AAAA", "auth": "AAAA"}}, "keys.p256dh", "no point of P-256"),
        ({"keys": {"p256dh": b64(public_of(Browser("").private)), "auth": "AAAA"}}, "keys.auth", "3 bytes"),
        ({"keys": {"p256dh": "x" * 100_000, "auth": "AAAA"}}, "keys.p256dh", "no point of P-256"),
        ({"keys": {"auth": "AAAA"}}, "keys.p256dh", ""),
        ({"keys": None}, "keys", ""),
        ({"expirationTime": 1}, "expirationTime", "is over"),
        ({"expirationTime": "soon"}, "expirationTime", ""),
        ({"expirationTime": 1e300}, "expirationTime", ""),
        ({"types": ["finished"]}, "types", "there is no types"),
        ({"definitions": ["d"] * 51}, "", "fewer"),
        ({"definitions": ["d" * 129]}, "", "no name of a definition"),
        ({"definitions": ["d\n"]}, "", "no name of a definition"),
        ({"other": 1}, "other", ""),
    ],
)
async def test_a_bad_subscription_is_told_what_is_wrong(
    world: World, change: dict[str, Any], field: str, says: str
) -> None:
    app = create_app(world.stack.client, clock=SystemClock(), settings=ApiSettings(push=KEY))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as api:
        body = Browser("https://push.example.net/1").subscription() | change
        answer = await api.post(PATH, json=body)
        assert answer.status_code == 422, answer.text
        assert says in answer.json()["detail"]
        assert (answer.json().get("field") or "").startswith(field)
        assert len(answer.text) < 1_500
        assert await names(world) == []


async def test_who_views_sees_and_removes_what_is_his_own(world: World) -> None:
    app = create_app(
        world.stack.client, clock=SystemClock(), settings=ApiSettings(push=KEY, tokens=("a-token-of-the-settings-1",))
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as api:
        admin = {"authorization": "Bearer a-token-of-the-settings-1"}
        who = {}
        for name, role in (("ann", "viewer"), ("bob", "viewer"), ("w", "worker")):
            made = await api.post("/v1/keys", json={"name": name, "role": role}, headers=admin)
            who[name] = {"authorization": f"Bearer {made.json()['secret']}"}
        own = await api.post(PATH, json=Browser("https://push.example.net/ann").subscription(), headers=who["ann"])
        assert (own.status_code, own.json()["by"]) == (201, "ann")
        path = f"{PATH}/{own.json()['name']}"

        async def statuses(headers: dict[str, str]) -> list[int]:
            seen = [await api.get(path, headers=headers), await api.post(f"{path}/test", headers=headers)]
            return [each.status_code for each in seen]

        listed = {
            name: [each["by"] for each in (await api.get(PATH, headers=headers)).json()["subscriptions"]]
            for name, headers in (("ann", who["ann"]), ("bob", who["bob"]), ("admin", admin))
        }
        assert listed == {"ann": ["ann"], "bob": [], "admin": ["ann"]}
        assert await statuses(who["ann"]) == await statuses(admin) == [200, 200]
        assert await statuses(who["bob"]) == [404, 404]
        assert (await api.get(PATH, headers=who["w"])).status_code == 403
        assert (await api.delete(path, headers=who["bob"])).status_code == 404
        assert (await api.delete(path, headers=who["ann"])).status_code == 200
        said = await api.post(PATH, json=Browser("https://x.example/1").subscription(by="ann"), headers=who["bob"])
        assert (said.status_code, said.json()["field"]) == (422, "by")


async def test_without_a_key_there_is_nothing_to_subscribe_to(world: World) -> None:
    app = create_app(world.stack.client, clock=SystemClock(), settings=ApiSettings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as api:
        assert (await api.get("/v1/push/key")).json() == {"key": None}
        answer = await api.post(PATH, json=Browser("https://push.example.net/1").subscription())
    assert (answer.status_code, "SAGALINE_PUSH_KEY" in answer.json()["detail"]) == (503, True)
