"""Two namespaces on one log and one read model: a tenant never sees, counts, acts on or follows anything of another.

The routes are those of the OpenAPI document, so that a new one is in these tests by itself.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from sagaline.api import ApiSettings, create_app
from sagaline.api.oidc import OidcSettings
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.cli.serving import api_settings
from sagaline.orchestrator.egress import EgressSettings, Guards
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.parcels import Letter, Posted, delayed_id, to_base64
from sagaline.orchestrator.ports.log import Outgoing, TopicPartition, TopicSpec
from sagaline.orchestrator.push import PushKey
from sagaline.orchestrator.settings import Settings
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.sagas.examples.order_fulfilment import order_fulfilment
from tests.push_kit import Browser

from .asgi import Closed, connected, streaming
from .stack import PARTITIONS, Stack, order, stack
from .test_api_dead import there
from .test_api_oidc import KEY, NOW, jwk, token
from .test_api_parcels import LATER_MS, post
from .test_api_parcels import told as decided
from .test_api_problems import told

pytestmark = pytest.mark.slow

SHOP_TOKEN, SESSION_KEY = "a-token-of-the-shop-only", "a-session-key-that-both-have"
SHOP = {"authorization": f"Bearer {SHOP_TOKEN}"}
MARK = "bank7id"
"""In every id and name of the bank."""
KEPT = "kept-by-the-bank"
"""In what the bank stores under its ids: a problem may repeat an id that was asked for, but never this."""
REGISTRY = Registry([checkout, order_fulfilment])
NAMES = {
    "definition": "order-checkout",
    "event": "order-paid",
    "group": "billing",
    "revision": "1",
    "topic": "bank.inputs",
}
"""Of the parameters of paths; the others are ``MARK``."""
MOVING = {"/readyz", "/v1/queues", "/openapi.json", "/metrics"}
"""What these answer differs from second to second."""


class Operation(NamedTuple):
    method: str
    template: str
    asked: str
    body: Any
    media_type: str

    @property
    def path(self) -> str:
        """With ids of the bank."""
        if self.template.startswith("/v1/tables/"):
            return self.template.format(name="queue.limits")
        if self.template.startswith("/v1/dead/"):
            return self.template.format(id="0-0")
        filled = self.template
        for part in {each.split("}")[0] for each in self.template.split("{")[1:]}:
            filled = filled.replace(f"{{{part}}}", NAMES.get(part, MARK))
        return filled + ("?after=wrong" if filled == "/v1/events/stream" else "")  # or it would not end


def operations(app: FastAPI) -> Iterator[Operation]:
    for path, found in app.openapi()["paths"].items():
        for method, each in found.items():
            content = each.get("requestBody", {}).get("content", {"": {}})
            media_type, described = next(iter(content.items()))
            body = json.loads(json.dumps(described.get("example")).replace("A-1", MARK))
            yield Operation(method.upper(), path, each["x-permission"], body, media_type)


@dataclass
class Tenant:
    up: Stack
    app: FastAPI
    api: httpx.AsyncClient

    async def send(self, what: Operation, headers: dict[str, str]) -> httpx.Response:
        typed = headers | ({"content-type": what.media_type} if what.body is not None else {})
        content = json.dumps(what.body) if what.body is not None else None
        return await self.api.request(what.method, what.path, content=content, headers=typed)

    async def ends(self) -> dict[TopicPartition, int]:
        """Where its topics end: no record of it can be new while this is the same."""
        names = [name for name in await self.up.log.topics() if name.startswith(f"{self.up.topics.namespace}.")]
        return dict(await self.up.log.end_offsets(names))


@asynccontextmanager
async def tenant(folder: Path, namespace: str, read_model: str | None, *, engine: bool = True) -> AsyncIterator[Tenant]:
    """Its settings share with those of the other one whatever can be shared; its tokens are its own."""
    file = folder / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk(KEY, "a")]}))
    settings = ApiSettings(
        tokens=(f"a-token-of-the-{namespace}-only",),
        session_key=SESSION_KEY,
        webhook_keys=(b"k" * 32,),
        push=PushKey(base64.urlsafe_b64encode(b"p" * 32).decode(), "mailto:ops@example.com"),
        egress=Guards(*2 * (EgressSettings(allowed=(ipaddress.ip_network("127.0.0.0/8"),)),)),
        oidc=OidcSettings(issuer="https://id.example", audience=namespace, jwks=str(file)),
    )
    async with stack(folder, engine=engine, registry=REGISTRY, tenancy=(namespace, read_model)) as up:
        await up.log.create_topics([up.topics.for_webhooks(PARTITIONS)])
        app = create_app(up.client, clock=SystemClock(), settings=settings, metrics=lambda: "")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
            yield Tenant(up, app, api)


async def furnish(bank: Tenant) -> dict[str, str]:
    """Fills the bank with one of each, and returns a header with its administrator's key."""
    api, topics = bank.api, bank.up.topics
    own = {"authorization": "Bearer a-token-of-the-bank-only"}

    async def done(method: str, path: str, body: Any) -> Any:
        answer = await api.request(method, path, json=body, headers=own)
        assert answer.status_code < 300, (path, answer.text)
        return answer.json()

    made = await done("POST", "/v1/keys", {"name": MARK, "role": "admin", "groups": [KEPT]})
    start = {"key": MARK, "input": order(customer=KEPT)}
    await done("POST", "/v1/sagas/order-checkout", start)
    await done("POST", f"/v1/instances/order-checkout/{MARK}/pause", {"reason": KEPT})
    await done("POST", "/v1/events/order-paid", {"key": MARK, "body": {"order_id": KEPT, "amount_cents": 1}})
    limit = {"when": {"queue": KEPT}, "to": "8 at once"}
    await done("PUT", "/v1/tables/queue.limits", {"rules": [limit], "reason": KEPT})
    schedule = {"definition": "order-checkout", "input": order(customer=KEPT), "cron": "30 2 1 1 *"}
    await done("PUT", f"/v1/schedules/{MARK}", schedule)
    await done("PUT", f"/v1/webhooks/{MARK}", {"url": f"https://127.0.0.1/{KEPT}"})
    fields = {"order_id": f"/{KEPT}", "amount_cents": "/cents"}
    await done("PUT", f"/v1/hooks/{MARK}", {"event": "order-paid", "key_at": "/order", "fields": fields})
    await done("POST", "/v1/push/subscriptions", Browser(f"https://127.0.0.1/{KEPT}").subscription())
    again = topics.redelivered("billing", None)
    await bank.up.log.create_topics([TopicSpec(again, 1, "delete")])
    parked = replace(post(17, MARK.encode(), park=True, value=KEPT.encode()), redeliver_to=again)
    letter = Letter(id=MARK, topic="mail", key=to_base64(b"k"), value=to_base64(KEPT.encode()))
    delayed = Posted(id="d", instance=delayed_id(MARK), letter=letter, due_ms=LATER_MS)
    await bank.up.log.append([Outgoing(topics.inputs, MARK.encode(), KEPT.encode(), (), 0)])  # becomes a dead letter
    await decided(bank.up, parked, delayed)
    await there(bank.up, 1)
    return {"authorization": f"Bearer {made['secret']}"}


@pytest.fixture(params=["sqlite", "postgresql"])
def read_model(request: pytest.FixtureRequest) -> str | None:
    """Where both have their read model; None: in the file of the log."""
    if request.param == "sqlite":
        return None
    found: str = request.getfixturevalue("postgres").schema()
    return found


async def shown(shop: Tenant) -> dict[str, Any]:
    """What every route answers that needs no id, without the times in it."""
    found: dict[str, Any] = {}
    for each in operations(shop.app):
        if each.method == "GET" and "{" not in each.template and each.template not in MOVING:
            answer = await shop.send(each, SHOP)
            assert MARK not in answer.text, each
            assert KEPT not in answer.text, each
            found[each.path] = re.sub(r'"trace_id":"[0-9a-f]+"', "", answer.text)
    return found


async def test_no_route_shows_counts_or_changes_anything_of_another_tenant(
    tmp_path: Path, read_model: str | None
) -> None:
    async with tenant(tmp_path, "shop", read_model) as shop:
        before = await shown(shop)
        assert len(before) > 20
        async with tenant(tmp_path, "bank", read_model) as bank:
            await furnish(bank)
        assert await shown(shop) == before
        # Nobody decides for the bank any more, so nothing of it changes by itself.
        async with tenant(tmp_path, "bank", read_model, engine=False) as bank:
            ends, served = await bank.ends(), 0
            for each in operations(shop.app):
                answer = await shop.send(each, SHOP)
                assert KEPT not in answer.text, (each, answer.text)
                assert answer.status_code < 500, (each, answer.text)
                served += 1
            assert served > 90
            assert await bank.ends() == ends
            theirs = {"authorization": "Bearer a-token-of-the-bank-only"}
            assert KEPT in (await bank.api.get(f"/v1/instances/order-checkout/{MARK}", headers=theirs)).text


async def cookie_of(bank: Tenant, header: dict[str, str]) -> dict[str, str]:
    """A session of a browser with the same key, as a header of its requests."""
    key = header["authorization"].removeprefix("Bearer ")
    answer = await bank.api.post("/v1/login", json={"key": key})
    return {
        "cookie": f"sagaline_session={bank.api.cookies['sagaline_session']}",
        "x-csrf-token": answer.json()["csrf_token"],
    }


async def test_no_credential_of_another_tenant_is_accepted_by_any_route(tmp_path: Path) -> None:
    async with tenant(tmp_path, "shop", None) as shop, tenant(tmp_path, "bank", None) as bank:
        key = await furnish(bank)
        oidc = {"authorization": f"Bearer {token(exp=NOW * 2, aud='bank', roles=['admin', 'worker'])}"}
        own = {"authorization": "Bearer a-token-of-the-bank-only"}
        theirs = [own, key, oidc, await cookie_of(bank, key), await cookie_of(bank, oidc)]
        for header in theirs:
            assert (await bank.api.get("/v1/keys", headers=header)).status_code == 200
            for each in operations(shop.app):
                if each.asked != "none":
                    told(await shop.send(each, header), 401, "unauthorized")
        ticket = (await bank.api.post("/v1/tickets", headers=key)).json()["ticket"]
        told(await shop.api.get(f"/v1/events/stream?after=wrong&ticket={ticket}"), 401, "unauthorized")
        for target, header in ((f"/v1/ws?ticket={ticket}", {}), *(("/v1/ws", each) for each in theirs)):
            with pytest.raises(Closed) as refused:
                async with connected(shop.app, target, {**header, "origin": "http://localhost"}):
                    pass
            assert refused.value.status == 401


async def test_a_token_of_a_provider_is_of_the_namespaces_that_are_its_audience(tmp_path: Path) -> None:
    async with tenant(tmp_path, "shop", None) as shop, tenant(tmp_path, "bank", None) as bank:
        for audience, accepted in (("bank", [bank]), ("shop", [shop]), (["bank", "shop"], [bank, shop]), ("other", [])):
            header = {"authorization": f"Bearer {token(exp=NOW * 2, aud=audience)}"}
            for each in (bank, shop):
                status = (await each.api.get("/v1/me", headers=header)).status_code
                assert status == (200 if each in accepted else 401), audience


def test_the_audience_of_a_namespace_is_its_name_where_the_settings_say_none(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    more = {"oidc_issuer": "https://id.example", "oidc_jwks": str(file), "session_key": SecretStr(SESSION_KEY)}
    for given, audience in (({}, "shop"), ({"oidc_audience": "sagas"}, "sagas")):
        found = api_settings(Settings.model_validate({"namespace": "shop", **more, **given}))
        assert found.oidc is not None
        assert found.oidc.audience == audience


async def test_no_transport_of_the_feed_follows_another_tenant(tmp_path: Path) -> None:
    async with tenant(tmp_path, "shop", None) as shop, tenant(tmp_path, "bank", None) as bank:
        own = {"authorization": "Bearer a-token-of-the-bank-only"}
        cursor = (await bank.api.get("/v1/events", headers=own)).json()["cursor"]
        told(await shop.api.get("/v1/events", params={"after": cursor}, headers=SHOP), 422, "invalid-request", "after")
        begin = (await shop.api.get("/v1/events", headers=SHOP)).json()["cursor"]
        async with streaming(shop.app, "/v1/events/stream", SHOP) as sse, connected(shop.app, headers=SHOP) as ws:
            assert await sse.next() is not None  # its cursor: it has begun
            await ws.answer(id="s", do="subscribe")
            for each, header in ((bank, own), (shop, SHOP)):
                body = {"key": each.up.topics.namespace, "input": order()}
                await each.api.post("/v1/sagas/order-checkout", json=body, headers=header)
            first = (await sse.event()).data, await ws.event("s")
            page = (await shop.api.get("/v1/events", params={"after": begin}, headers=SHOP)).json()["events"]
            assert {each["subject"] for each in (*first, *page)} == {"order-checkout/shop"}
