"""Webhooks from registration to the receiver: signed, in order per instance, again until they are accepted."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from sagaline.api import ApiSettings, create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.client import RequestOptions
from sagaline.orchestrator.errors import CursorTooOld, LogUnavailable
from sagaline.orchestrator.messages.entity_messages import Rule
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.messages.outputs import Announce
from sagaline.orchestrator.messages.webhooks import WEBHOOKS
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.sagas import Retry
from sagaline.workers import webhooks
from sagaline.workers.webhooks import Courier

from .courier_world import GUARDS, KEYS, QUICK, World, courier_world
from .stack import order


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with courier_world(tmp_path, ApiSettings(webhook_keys=KEYS, egress=GUARDS)) as up:
        yield up


async def test_what_happens_to_an_instance_arrives_signed_and_in_order(world: World) -> None:
    async with world.courier():
        made = await world.put("orders")
        await world.put("ends", types=["compensating"], definitions=["order-checkout"])
        await world.put("others", definitions=["flight-search"])
        await world.stack.client.start("order-checkout", order(), key="A-1")
        await world.stack.client.cancel("order-checkout/A-1", by="ann", reason="changed her mind")
        await world.until(lambda: len(world.receiver.accepted) >= 3)
    assert sorted(world.seen("order-checkout/A-1")) == ["compensating", "compensating", "started"]
    headers, body = world.receiver.got[0]
    assert headers["content-type"].startswith("application/cloudevents+json")
    assert Verifier(made["secret"]).verify(body, headers) == json.loads(body)
    forged = Verifier("whsec_" + base64.b64encode(b"x" * 32).decode())
    with pytest.raises(WebhookVerificationError):
        forged.verify(body, headers)
    ids = [(headers["webhook-id"], body) for headers, body in world.receiver.got]
    assert len({id for id, _ in ids}) < len(ids), "two webhooks of one receiver give one event one id"
    assert "secret" not in (await world.api.get("/v1/webhooks/orders")).json() or (
        (await world.api.get("/v1/webhooks/orders")).json()["secret"] is None
    )


async def test_a_refused_event_comes_again_before_the_later_ones_of_its_instance(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = Retry(max_attempts=4, first_delay=timedelta(milliseconds=20), max_delay=timedelta(milliseconds=20))
    monkeypatch.setattr(webhooks.courier, "RETRY", quick)
    refused: list[str] = []

    def status(event: dict[str, Any]) -> int:
        if event["subject"] == "order-checkout/A-1" and len(refused) < 2:
            refused.append(event["type"])
            return 503
        return 200

    world.receiver.status = status
    await world.put("orders")
    async with world.courier():
        for key in ("A-1", "A-2"):
            await world.stack.client.start("order-checkout", order(key), key=key)
            await world.stack.client.act(f"order-checkout/{key}", ActName.PAUSE)
        await world.until(lambda: world.seen("order-checkout/A-1") == world.seen("order-checkout/A-2") != [])
    assert world.seen("order-checkout/A-1") == ["started", "paused"]
    ids = [headers["webhook-id"] for headers, body in world.receiver.got if json.loads(body)["type"] == refused[0]]
    assert len(set(ids)) < len(ids), "the same event has the same id when it comes again"


async def test_a_receiver_that_is_gone_is_disabled_until_it_is_enabled_again(world: World) -> None:
    world.receiver.status = lambda event: 410
    async with world.courier():
        await world.put("orders")
        await world.stack.client.start("order-checkout", order(), key="A-1")
        for _ in range(1_000):
            shown = (await world.api.get("/v1/webhooks/orders")).json()["disabled"]
            if shown is not None:
                break
            await asyncio.sleep(0.02)
        assert shown == "it answered 410 Gone"
        world.receiver.status = lambda event: 200
        await world.stack.client.start("order-checkout", order("A-2"), key="A-2")
        await asyncio.sleep(0.2)
        assert world.receiver.accepted == []
        assert (await world.api.post("/v1/webhooks/orders/enable")).json()["disabled"] is None
        await world.stack.client.start("order-checkout", order("A-3"), key="A-3")
        await world.until(lambda: world.seen("order-checkout/A-3") == ["started"])


async def test_a_late_410_leaves_what_was_changed_since_the_request(world: World) -> None:
    world.receiver.status = lambda event: 410
    world.receiver.answers.clear()
    await world.put("orders")
    async with world.courier():
        await world.stack.client.start("order-checkout", order(), key="A-1")
        await world.until(lambda: len(world.receiver.got) == 1)
        changed = await world.put("orders", types=["completed"])
        await world.api.put("/v1/webhooks/last", json={"url": "https://example.com"})
        await asyncio.sleep(0.2)  # the courier has followed the rules
        world.receiver.answers.set()
        await asyncio.sleep(0.2)
    assert (await world.api.get("/v1/webhooks/orders")).json() == changed | {"trace_id": None}


async def test_an_event_for_rules_that_this_process_has_not_read_waits_for_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks.courier, "RETRY", Retry(max_attempts=200, first_delay=QUICK, max_delay=QUICK))
    topic, body = world.stack.topics.webhooks, json.dumps({"type": "x.started", "subject": "d/A"}).encode()
    await world.put("orders")
    created = b"%d" % (await world.stack.client.webhooks.get("orders")).created
    headers = (("webhook", b"orders"), ("created", created), ("rules", b"2"), ("ce_id", b"7"))
    async with world.courier():
        await world.stack.log.append([Outgoing(topic, b"orders/d/A", body, headers)])
        await asyncio.sleep(0.2)
        assert world.seen("d/A") == []
        await world.put("orders", types=["started"])
        await world.until(lambda: world.seen("d/A") == ["started"])


async def test_a_slow_receiver_holds_a_few_requests_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks.courier, "RETRY", Retry(max_attempts=200, first_delay=QUICK, max_delay=QUICK))
    monkeypatch.setattr(webhooks.pace, "_SLOW_SECONDS", 0.0)
    await world.put("orders", types=["started"])
    async with world.courier():
        await world.stack.client.start("order-checkout", order(), key="A")
        await world.until(lambda: len(world.receiver.accepted) == 1)
        world.receiver.answers.clear()
        keys = [f"B-{number}" for number in range(20)]
        for key in keys:
            await world.stack.client.start("order-checkout", order(key), key=key)
        await world.until(lambda: len(world.receiver.got) == 9)
        await asyncio.sleep(0.3)
        assert len(world.receiver.got) == 9
        world.receiver.answers.set()
        await world.until(lambda: all(world.seen(f"order-checkout/{key}") for key in keys))


async def test_all_slow_receivers_together_leave_slots_to_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks.courier, "RETRY", Retry(max_attempts=200, first_delay=QUICK, max_delay=QUICK))
    monkeypatch.setattr(webhooks.pace, "_SLOW_SECONDS", 0.0)
    monkeypatch.setattr(webhooks.receivers.WebhookReceivers, "slow_max", 12)
    world.receiver.answers.clear()
    for name in ("orders", "ends"):
        await world.put(name, types=["started"])
    async with world.courier():
        for number in range(10):
            await world.stack.client.start("order-checkout", order(f"B-{number}"), key=f"B-{number}")
        await world.until(lambda: len(world.receiver.got) == 12)
        await asyncio.sleep(0.3)
        assert len(world.receiver.got) == 12
        world.receiver.answers.set()
        await world.until(lambda: len(world.receiver.accepted) == 20)


async def test_a_receiver_that_begins_to_hang_holds_a_few_requests_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any request has told that it is slow, by the time of the oldest one."""
    monkeypatch.setattr(webhooks.courier, "RETRY", Retry(max_attempts=200, first_delay=QUICK, max_delay=QUICK))
    monkeypatch.setattr(webhooks.pace, "_SLOW_SECONDS", 0.0)
    world.receiver.answers.clear()
    await world.put("orders", types=["started"])
    keys = [f"B-{number}" for number in range(20)]
    async with world.courier():
        for key in keys:
            await world.stack.client.start("order-checkout", order(key), key=key)
        await world.until(lambda: len(world.receiver.got) == 8)
        await asyncio.sleep(0.3)
        assert len(world.receiver.got) == 8
        world.receiver.answers.set()
        await world.until(lambda: all(world.seen(f"order-checkout/{key}") for key in keys))


async def test_what_was_passed_on_to_a_deleted_webhook_does_not_go_to_another_one_of_its_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = Retry(max_attempts=200, first_delay=QUICK, max_delay=QUICK)
    monkeypatch.setattr(webhooks.courier, "RETRY", quick)
    world.receiver.status = lambda event: 503
    await world.put("orders")
    async with world.courier():
        await world.stack.client.start("order-checkout", order(), key="A-1")
        await world.until(lambda: len(world.receiver.got) > 0)
        await world.api.delete("/v1/webhooks/orders")
        await world.put("orders")
        world.receiver.status = lambda event: 200
        await world.stack.client.start("order-checkout", order("A-2"), key="A-2")
        await world.until(lambda: world.seen("order-checkout/A-2") == ["started"])
        await asyncio.sleep(0.3)
    assert world.seen("order-checkout/A-1") == []


async def test_an_administrator_sees_the_secret_again_and_that_is_recorded(world: World) -> None:
    made = (await world.put("orders"))["secret"]
    shown = await world.api.post("/v1/webhooks/orders/secret", json={"by": "ann", "reason": "lost"})
    assert (shown.status_code, shown.json()["secret"]) == (200, made)
    rows = (await world.api.get("/v1/operations")).json()["operations"]
    assert [(row["who"], row["why"]) for row in rows if "asked" in row["why"]] == [
        ("ann", "the secret of webhook orders was asked for: lost")
    ]


async def test_a_replay_sends_the_events_after_a_cursor_again_in_order_with_their_ids(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sagaline.orchestrator.client import webhooks as of_client

    monkeypatch.setattr(of_client, "_REPLAY_PAGE", 2)
    monkeypatch.setattr(of_client, "_REPLAYED_MAX", 4)
    client, replay = world.stack.client, "/v1/webhooks/orders/replay"
    await client.start("order-checkout", order("A-0"), key="A-0")
    cursor = (await world.api.get("/v1/events")).json()["cursor"]
    await world.put("orders", types=["paused", "resumed"])
    assert (await world.api.post(replay.replace("orders", "none"), json={"after": cursor})).status_code == 404
    async with world.courier():
        for key in ("A-1", "A-2", "A-3"):
            await client.start("order-checkout", order(key), key=key)
            for act in (ActName.PAUSE, ActName.RESUME):
                await client.act(f"order-checkout/{key}", act)
        await world.until(lambda: len(world.receiver.accepted) == 6)
        first = {headers["webhook-id"] for headers, _ in world.receiver.got}
        world.receiver.accepted.clear()
        done = (await world.api.post(replay, json={"after": cursor, "by": "ann"})).json()
        assert (done["sent"], done["more"]) == (4, True)
        rest = (await world.api.post(replay, json={"after": done["cursor"]})).json()
        assert (rest["sent"], rest["more"]) == (2, False)
        await world.until(lambda: len(world.receiver.accepted) == 6)
    for key in ("A-1", "A-2", "A-3"):
        assert world.seen(f"order-checkout/{key}") == ["paused", "resumed"]
    assert {headers["webhook-id"] for headers, _ in world.receiver.got} == first, "the same ids"
    rows = (await world.api.get("/v1/operations")).json()["operations"]
    asked = f"a replay to webhook orders from {cursor} was asked for"
    assert ("ann", asked) in [(row["who"], row["why"]) for row in rows]


async def test_a_replay_is_recorded_before_anything_is_sent_or_it_sends_nothing(world: World) -> None:
    """And it does not pretend to happen once: it takes no id of a request."""
    up, replay, from_all = world.stack, "/v1/webhooks/orders/replay", {"after": "earliest"}
    await world.put("orders")
    await up.client.start("order-checkout", order(), key="A-1")

    async def sent() -> int:
        return sum((await up.log.end_offsets([up.topics.webhooks])).values())

    for wrong in ({"by": "b" * 257}, {"reason": "r" * 2_001}, {"request_id": "same"}):
        refused = await world.api.post(replay, json=from_all | wrong)
        assert (refused.status_code, refused.json()["field"]) == (422, next(iter(wrong)))
    key = {"idempotency-key": "same"}
    refused = await world.api.post(replay, json=from_all, headers=key)
    assert (refused.status_code, refused.json()["field"]) == (422, "Idempotency-Key")
    assert await sent() == 0
    done = await world.api.post(replay, json=from_all | {"by": "ann", "reason": "r" * 2_000})
    assert (done.status_code, done.json()["sent"], await sent()) == (200, 1, 1)
    rows = (await world.api.get("/v1/operations")).json()["operations"]
    (why,) = (row["why"] for row in rows if row["who"] == "ann")
    assert (why.startswith("a replay to webhook orders from "), why.endswith("rrr"), len(why)) == (True, True, 2_000)


async def test_what_cannot_be_replayed_is_refused_with_what_to_do(world: World) -> None:
    async def said(after: str) -> tuple[int, str]:
        response = await world.api.post("/v1/webhooks/orders/replay", json={"after": after})
        return response.status_code, response.json()["detail"]

    await world.put("orders")
    status, text = await said("no cursor")
    assert (status, "after" in text or "cursor" in text) == (422, True)

    async def too_old(*_: object, **__: object) -> None:
        raise CursorTooOld

    world.stack.client.changes.read = too_old  # type: ignore[method-assign,assignment]  # an old one takes days
    assert (await said("earliest"))[0] == 410
    rule = WEBHOOKS.rule(replace(await world.stack.client.webhooks.get("orders"), disabled="it answered 410 Gone"))
    await world.stack.client.tables.write(WEBHOOKS.table, [rule], version=None, options=RequestOptions())
    status, text = await said("earliest")
    assert (status, "enable it" in text) == (422, True)


async def test_no_rotation_cuts_off_a_receiver_within_the_overlap(world: World) -> None:
    first = (await world.put("orders"))["secret"]
    for _ in range(4):
        assert (await world.api.post("/v1/webhooks/orders/rotate")).status_code == 200
    refused = await world.api.post("/v1/webhooks/orders/rotate")
    assert refused.status_code == 422
    assert "saga webhooks secret" in refused.json()["detail"]
    async with world.courier():
        await world.stack.client.start("order-checkout", order(), key="A-1")
        await world.until(lambda: len(world.receiver.got) == 1)
    headers, body = world.receiver.got[0]
    assert Verifier(first).verify(body, headers)
    ended = await world.api.post("/v1/webhooks/orders/rotate", json={"overlap_seconds": 0})
    assert (ended.status_code, ended.json()["overlap_until"]) == (200, None)


async def test_a_webhook_of_a_newer_release_stands_in_nobody_s_way(world: World) -> None:
    newer = Rule(when={"name": "new", "batch": 5}, to="https://example.com")
    await world.stack.client.tables.write(WEBHOOKS.table, [newer], version=None, options=RequestOptions())
    await world.put("orders")
    assert [each["name"] for each in (await world.api.get("/v1/webhooks")).json()["webhooks"]] == ["orders"]
    refused = await world.api.put("/v1/webhooks/new", json={"url": world.receiver.url})
    assert (refused.status_code, "newer release" in refused.json()["detail"]) == (422, True)
    assert newer in (await world.stack.client.tables.read(WEBHOOKS.table)).rules


async def test_deliveries_end_when_the_rules_cannot_be_followed(world: World) -> None:
    at = world.stack
    courier = Courier(at.log, at.topics, SystemClock(), keys=KEYS, guards=GUARDS)

    def broken(found: object) -> None:
        raise ValueError("broken")

    courier._kinds[1].followed._apply = broken
    run = asyncio.create_task(courier.run())
    await world.until(lambda: run.done() or courier.objection is None)
    await world.put("orders")
    with pytest.raises(ValueError, match="broken"):
        async with asyncio.timeout(20):
            await run


async def test_it_is_not_ready_while_it_cannot_follow_the_webhooks(world: World) -> None:
    away = True
    async with world.courier() as courier:
        apply = courier._kinds[1].followed._apply

        def applied(found: Announce) -> None:
            if away:
                raise LogUnavailable("it is away")
            apply(found)

        courier._kinds[1].followed._apply = applied
        await world.put("orders")
        await world.until(lambda: "it is away" in (courier.objection or ""))
        away = False
        await world.until(lambda: courier.objection is None)
        await world.stack.client.start("order-checkout", order(), key="A-1")
        await world.until(lambda: world.seen("order-checkout/A-1") == ["started"])


async def test_a_webhook_that_is_made_again_has_another_secret(world: World) -> None:
    first = (await world.put("orders"))["secret"]
    await world.api.delete("/v1/webhooks/orders")
    assert (await world.put("orders"))["secret"] != first


async def test_a_new_secret_counts_beside_the_one_before_for_a_time(world: World) -> None:
    first = (await world.put("orders"))["secret"]
    second = (await world.api.post("/v1/webhooks/orders/rotate", json={"overlap_seconds": 60})).json()
    assert second["secret"] != first
    third = (await world.api.post("/v1/webhooks/orders/rotate", json={"overlap_seconds": 60})).json()
    assert second["overlap_until"] is not None
    async with world.courier():
        await world.stack.client.start("order-checkout", order(), key="A-1")
        await world.until(lambda: len(world.receiver.got) == 1)
    headers, body = world.receiver.got[0]
    for secret in (first, second["secret"], third["secret"]):
        assert Verifier(secret).verify(body, headers)


async def test_a_rotation_that_is_repeated_makes_one_secret(world: World) -> None:
    first = (await world.put("orders"))["secret"]
    asked = {"request_id": "r-1", "overlap_seconds": 0}
    made = {(await world.api.post("/v1/webhooks/orders/rotate", json=asked)).json()["secret"] for _ in range(6)}
    assert len(made - {first}) == len(made) == 1


async def test_routes_say_what_is_wrong(world: World) -> None:
    async def said(method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        response = await world.api.request(method, f"/v1/webhooks{path}", json=body)
        return response.status_code, response.json().get("detail", "")

    status, text = await said("PUT", "/orders", {"url": "http://[::1]/hook"})
    assert (status, "::1, which is not a public address" in text) == (422, True)
    status, text = await said("PUT", "/Orders", {"url": "https://example.com/"})
    assert (status, "is no name" in text) == (422, True)
    status, text = await said("PUT", "/orders", {"url": "https://example.com/", "types": ["finished"]})
    assert (status, "types" in text) == (422, True)
    for method, path in (("GET", "/none"), ("DELETE", "/none"), ("POST", "/none/rotate"), ("POST", "/none/enable")):
        status, text = await said(method, path)
        assert (status, text) == (404, "there is no webhook 'none'; list the webhooks, or put it")
    assert (await said("PUT", "/orders", {"url": "https://example.com/"}))[0] == 201
    assert (await said("PUT", "/orders", {"url": "https://example.com/b"}))[0] == 200
    assert (await said("DELETE", "/orders"))[0] == 200
    assert (await world.api.get("/v1/webhooks")).json() == {"webhooks": []}


async def test_without_a_key_nothing_is_registered(world: World) -> None:
    app = create_app(world.stack.client, clock=SystemClock(), settings=ApiSettings(egress=GUARDS))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as api:
        response = await api.put("/v1/webhooks/orders", json={"url": world.receiver.url})
    assert response.status_code == 503
    assert "SAGALINE_WEBHOOK_KEYS" in response.json()["detail"]
