"""Hooks: what others send is verified, published once under its id, or refused in one way and not written."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio
import structlog
from standardwebhooks import Webhook as Sender

from sagaline.api import ApiSettings
from sagaline.orchestrator.client import recent
from sagaline.orchestrator.errors import ConfigurationError, TransientError
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.entities import KeptEvent, Table
from sagaline.orchestrator.messages.entity_messages import Rule
from sagaline.orchestrator.messages.hooks import HOOKS, Hook, Scheme
from sagaline.sagas.examples.order_fulfilment import order_fulfilment

from .stack import Stack, stack
from .test_api_instances import http

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = (b"k" * 32,)
CHOSEN = "chosen-by-the-sender"
FIELDS = {"order_id": "/data/order", "amount_cents": "/data/cents"}
BASE: dict[str, Any] = {"event": "order-paid", "key_at": "/data/order", "fields": FIELDS}
NOT_VERIFIED = "urn:sagaline:problem:not-verified"
Headers = dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with stack(tmp_path_factory.mktemp("hooks"), registry=Registry([order_fulfilment])) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    token = "a-token-of-the-settings-for-tests"
    settings = ApiSettings(
        webhook_keys=KEYS, hook_secrets={"chosen": (CHOSEN, "another-of-the-sender")}, tokens=(token,)
    )
    async with http(up, settings, headers={"authorization": f"Bearer {token}"}) as client:
        yield client


async def put(api: httpx.AsyncClient, name: str, **more: Any) -> str:
    """Registers a hook and returns its secret; empty: it has one of the settings."""
    answer = await api.put(f"/v1/hooks/{name}", json=BASE | more)
    assert answer.status_code == 201, answer.text
    return answer.json()["secret"] or ""


def paid(order: str, **more: Any) -> bytes:
    return json.dumps({"id": "evt-1", "type": "paid", "data": {"order": order, "cents": 900}, **more}).encode()


def standard(secret: str, body: bytes, *, id: str = "msg-1", at: float | None = None) -> Headers:
    when = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    signature = Sender(secret).sign(id, when, body.decode())
    return {"webhook-id": id, "webhook-timestamp": str(int(when.timestamp())), "webhook-signature": signature}


def as_github(secret: str, body: bytes) -> Headers:
    return {"x-hub-signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}


def as_stripe(secret: str, body: bytes, *, at: float | None = None) -> Headers:
    seconds = int(time.time() if at is None else at)
    made = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return {"stripe-signature": f"t={seconds},v1={'0' * 64},v1={made},v0=old"}


async def deliver(api: httpx.AsyncClient, name: str, body: bytes, headers: Headers) -> httpx.Response:
    """As a sender does: it has no key of the API."""
    anonymous = {"content-type": "application/json", "authorization": "", **headers}
    return await api.post(f"/v1/hooks/{name}", content=body, headers=anonymous)


async def kept(up: Stack, key: str) -> list[KeptEvent]:
    await up.projector.caught_up(timeout=10)
    box = await up.client.mailboxes.get("order-paid", key)
    return list(box.kept) if box is not None else []


@pytest.mark.parametrize(
    ("scheme", "sign", "more", "id"),
    [
        (Scheme.STANDARD, standard, {}, "msg-1"),
        (Scheme.HMAC, as_github, {}, None),
        (Scheme.HMAC, as_github, {"id_at": "/id"}, "evt-1"),
        (Scheme.TIMED_HMAC, as_stripe, {"id_at": "/id"}, "evt-1"),
    ],
)
async def test_a_delivery_is_in_the_log_before_it_is_answered_and_once_however_often_it_comes(
    up: Stack,
    api: httpx.AsyncClient,
    scheme: Scheme,
    sign: Callable[[str, bytes], Headers],
    more: dict[str, Any],
    id: str | None,
) -> None:
    name = f"{scheme}-{'given' if more else 'own'}"
    secret, key = await put(api, name, scheme=scheme, **more), f"O-{name}"
    body = paid(key)
    first, again = [await deliver(api, name, body, sign(secret, body)) for _ in range(2)]
    expected = f"{id or hashlib.sha256(body).hexdigest()}@/hooks/{name}"
    for each in (first, again):
        assert (each.status_code, each.json()) == (202, {"id": expected, "event": "order-paid", "key": key})
    (event,) = await kept(up, key)
    assert (event.id, event.body) == (expected, {"order_id": key, "amount_cents": 900})


async def test_nothing_that_is_not_verified_is_written_and_every_refusal_is_the_same(
    up: Stack, api: httpx.AsyncClient
) -> None:
    secrets = {each: await put(api, f"shut-{each}", scheme=each) for each in Scheme}
    body, now = paid("O-refused"), time.time()
    of_standard, of_stripe = standard(secrets[Scheme.STANDARD], body), as_stripe(secrets[Scheme.TIMED_HMAC], body)
    tries: list[tuple[str, bytes, Headers]] = [
        ("nobody", body, of_standard),
        ("shut-standard", body, {}),
        ("shut-standard", body + b" ", of_standard),
        ("shut-standard", body, of_standard | {"webhook-id": "msg-2"}),
        ("shut-standard", body, of_standard | {"webhook-signature": "v1,"}),
        ("shut-standard", body, of_standard | {"webhook-signature": "v1a," + of_standard["webhook-signature"][3:]}),
        ("shut-standard", body, standard(secrets[Scheme.STANDARD], body, at=now - 400)),
        ("shut-standard", body, standard(secrets[Scheme.STANDARD], body, at=now + 400)),
        ("shut-standard", body, of_standard | {"webhook-timestamp": "now"}),
        ("shut-standard", body, standard(secrets[Scheme.HMAC], body)),
        ("shut-hmac", body, {}),
        ("shut-hmac", body + b" ", as_github(secrets[Scheme.HMAC], body)),
        ("shut-hmac", body, as_github("", body)),
        ("shut-hmac", body, {"x-hub-signature-256": "sha256=%%"}),
        ("shut-timed-hmac", body, of_stripe | {"stripe-signature": "t=,v1="}),
        ("shut-timed-hmac", body, {"stripe-signature": of_stripe["stripe-signature"].partition(",")[2]}),
        ("shut-timed-hmac", body, as_stripe(secrets[Scheme.TIMED_HMAC], body, at=now - 400)),
        ("shut-timed-hmac", b"x" * 1_000, of_stripe),
    ]
    answers = [await deliver(api, *each) for each in tries]
    assert {each.status_code for each in answers} == {401}
    told = [{name: each.json()[name] for name in ("type", "title", "detail")} for each in answers]
    assert told[0]["type"] == NOT_VERIFIED
    assert [each for each in told if each != told[0]] == []
    assert await kept(up, "O-refused") == []
    too_much = await deliver(api, "shut-standard", b"x" * 300_000, {})
    assert too_much.status_code == 413
    form = await deliver(
        api, "shut-standard", body, of_standard | {"content-type": "application/x-www-form-urlencoded"}
    )
    assert form.status_code == 415
    good = await deliver(api, "shut-standard", body, of_standard)
    assert good.status_code == 202  # what was refused does not count


async def test_the_log_says_which_check_failed(api: httpx.AsyncClient) -> None:
    await put(api, "logged", scheme="hmac")
    with structlog.testing.capture_logs() as lines:
        await deliver(api, "logged", b"{}", {})
        await deliver(api, "logged", b"{}", as_github("a-wrong-secret", b"{}"))
    said = [(each["hook"], each["reason"]) for each in lines if each["event"] == "hook.not_verified"]
    assert said == [
        ("logged", "the header x-hub-signature-256 is there 0 times, not once"),
        ("logged", "no secret of the hook has made its signature"),
    ]


async def test_the_sender_may_choose_its_secrets_and_its_header(up: Stack, api: httpx.AsyncClient) -> None:
    assert await put(api, "chosen", scheme="hmac", header="X-Signature") == ""
    body = paid("O-chosen")
    for secret, status in ((CHOSEN, 202), ("another-of-the-sender", 202), ("whsec_none-of-them", 401)):
        made = base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()
        assert (await deliver(api, "chosen", body, {"x-signature": made})).status_code == status
    assert len(await kept(up, "O-chosen")) == 1
    for act in ("rotate", "secret"):
        refused = await api.post(f"/v1/hooks/chosen/{act}")
        assert (refused.status_code, refused.json()["field"]) == (422, "name")
        assert "SAGALINE_HOOK_SECRETS" in refused.json()["detail"]
    with pytest.raises(ConfigurationError, match="can be guessed"):
        ApiSettings(hook_secrets={"open": ("",)})


@pytest.mark.parametrize(
    ("kind", "body"),
    [("hooks", {"event": "order-paid", "key_at": "/id"}), ("webhooks", {"url": "https://example.com/hook"})],
)
async def test_a_deletion_that_is_repeated_answers_again_and_leaves_what_was_put_since(
    api: httpx.AsyncClient, kind: str, body: dict[str, Any]
) -> None:
    path, again = f"/v1/{kind}/twice", {"Idempotency-Key": "d-1"}
    other = {"Idempotency-Key": "d-2"}
    await api.put(path, json=body, headers={"Idempotency-Key": "d-1"})
    first = await api.delete(path, headers=again)
    for _ in range(3):
        repeated = await api.delete(path, headers=again)
        assert (repeated.status_code, repeated.json()) == (200, first.json())
    assert (await api.delete(path, headers=other)).status_code == 404, "nothing was deleted by this request"
    assert (await api.delete(path)).status_code == 404
    await api.put(path, json=body)
    assert (await api.delete(path, headers=again)).json() == first.json()
    assert (await api.get(path)).status_code == 200
    assert (await api.delete(path, headers=other)).status_code == 200


async def test_a_rotated_secret_counts_beside_the_new_one_for_its_overlap(api: httpx.AsyncClient) -> None:
    old = await put(api, "turning")
    turned = await api.post("/v1/hooks/turning/rotate", json={"overlap_seconds": 600})
    new = turned.json()["secret"]
    assert turned.json()["overlap_until"] is not None
    body = paid("O-turning")
    assert [(await deliver(api, "turning", body, standard(each, body))).status_code for each in (old, new)] == [202] * 2
    assert (await api.post("/v1/hooks/turning/secret")).json()["secret"] == new
    last = (await api.post("/v1/hooks/turning/rotate", json={"overlap_seconds": 0})).json()["secret"]
    statuses = [(await deliver(api, "turning", body, standard(each, body))).status_code for each in (old, new, last)]
    assert statuses == [401, 401, 202]
    assert (await api.delete("/v1/hooks/turning")).status_code == 200
    assert (await deliver(api, "turning", body, standard(last, body))).status_code == 401


async def test_a_rotation_that_is_repeated_makes_one_secret_and_shows_it_again(api: httpx.AsyncClient) -> None:
    old = await put(api, "repeated")
    again = {"idempotency-key": "r-1"}
    answers = [await api.post("/v1/hooks/repeated/rotate", headers=again) for _ in range(6)]
    assert {each.status_code for each in answers} == {200}
    (new,) = {each.json()["secret"] for each in answers}
    await api.put("/v1/hooks/repeated", json=BASE)
    assert (await api.post("/v1/hooks/repeated/rotate", headers=again)).json()["secret"] == new
    body = paid("O-repeated")
    for each in (old, new):
        assert (await deliver(api, "repeated", body, standard(each, body))).status_code == 202
    assert (await api.post("/v1/hooks/repeated/rotate", json={"request_id": "r-2"})).json()["secret"] not in (old, new)


async def test_deliveries_do_not_queue_for_a_read_model_that_fails(
    up: Stack, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, body = await put(api, "standing"), paid("O-standing")
    tries = list[str]()

    async def failing(name: str) -> Table:
        tries.append(name)
        raise TransientError("the read model is behind")

    assert (await deliver(api, "standing", body, standard(secret, body))).status_code == 202
    monkeypatch.setattr(up.client.tables, "read", failing)
    monkeypatch.setattr(recent, "_FRESH_SECONDS", 0.0)
    assert (await deliver(api, "standing", body, standard(secret, body))).status_code == 202, "as it was known last"
    monkeypatch.setattr(recent, "_FRESH_SECONDS", 3600.0)
    monkeypatch.setattr(recent, "_STALE_SECONDS", -1.0)
    for _ in range(5):
        assert (await deliver(api, "standing", body, standard(secret, body))).status_code == 503
    assert tries.count(HOOKS.table) == 1, "a try counts for all who come soon after it"


async def test_the_type_says_which_event_it_is_and_others_are_taken_and_dropped(
    up: Stack, api: httpx.AsyncClient
) -> None:
    by_body = {"event": "", "events": {"paid": "order-paid"}, "type_at": "/type", "id_at": "/id"}
    secret = await put(api, "typed", scheme="hmac", **by_body)
    for kind, event in (("paid", "order-paid"), ("refunded", None)):
        body = paid("O-typed", type=kind)
        assert (await deliver(api, "typed", body, as_github(secret, body))).json()["event"] == event
    secret = await put(api, "named", scheme="hmac", **by_body | {"type_at": "X-Event"})
    body = paid("O-typed")
    for kind, event in (("paid", "order-paid"), ("ping", None)):
        answer = await deliver(api, "named", body, {**as_github(secret, body), "x-event": kind})
        assert answer.json()["event"] == event
    assert [each.id for each in await kept(up, "O-typed")] == ["evt-1@/hooks/typed", "evt-1@/hooks/named"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"not json", 400, None),
        (b"[]", 422, "data.order"),
        (b'{"data": {}}', 422, "data.order"),
        (b'{"data": {"order": ""}}', 422, "data.order"),
        (b'{"data": {"order": true, "cents": 1}}', 422, "data.order"),
        (b'{"data": {"order": "O-wrong"}}', 422, "data.cents"),
        (b'{"data": {"order": "O-wrong", "cents": "many"}}', 422, "body.amount_cents"),
        (b'{"data": {"order": ".", "cents": 1}}', 422, "key"),
    ],
)
async def test_a_verified_delivery_that_cannot_be_mapped_is_told_why(
    up: Stack, api: httpx.AsyncClient, body: bytes, status: int, field: str | None
) -> None:
    if (await api.get("/v1/hooks/mapped")).status_code == 404:
        await put(api, "mapped", scheme="hmac")
    secret = up.client.hooks.secrets(await up.client.hooks.get("mapped"), KEYS)[0]
    answer = await deliver(api, "mapped", body, as_github(secret, body))
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text
    assert await kept(up, "O-wrong") == []


async def test_routes_show_hooks_without_secrets_and_say_what_is_wrong(api: httpx.AsyncClient) -> None:
    await put(api, "shown", body_at="", tolerance_seconds=60)
    shown = (await api.get("/v1/hooks/shown")).json()
    assert (shown["url"], shown["secret"], shown["fields"]) == ("/v1/hooks/shown", None, FIELDS)
    assert "shown" in [each["name"] for each in (await api.get("/v1/hooks")).json()["hooks"]]
    for change, says in (
        ({"event": "nothing"}, "there is no event 'nothing'"),
        ({"scheme": "md5"}, "there is no scheme 'md5'; there are standard, hmac, timed-hmac"),
        ({"key_at": "data"}, "is a JSON pointer"),
        ({"key_at": "/k~5"}, "is a JSON pointer"),
        ({"fields": {"order_id": "/items/-"}}, "is a JSON pointer"),
        ({"event": "", "events": {"a": "order-paid"}, "type_at": "/a~"}, "is a JSON pointer"),
        ({"event": "", "events": {"a": "order-paid"}, "type_at": "X\u2011Event"}, "is no name of a header"),
        ({"header": "X\u2011Signature"}, "is no name of a header"),
        ({"header": "bad header:"}, "is no name of a header"),
        ({"event": ""}, "give either the event, or"),
        ({"events": {"a": "order-paid"}}, "give either the event, or"),
        ({"type_at": "/type"}, "go together"),
        ({"body_at": "/data"}, "either fields or"),
        ({"tolerance_seconds": 0}, "give 1 to 3,600"),
        ({"header": "x" * 257}, "more than 256 characters"),
        ({"nonsense": 1}, "nonsense"),
    ):
        wrong = await api.put("/v1/hooks/wrong", json=BASE | change)
        assert wrong.status_code in (404, 422)
        assert says in wrong.json()["detail"], change
    missing = await api.get("/v1/hooks/wrong")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:sagaline:problem:unknown-hook")
    assert (await api.get("/v1/hooks/shown", headers={"authorization": ""})).status_code == 401
    assert (await api.delete("/v1/hooks/shown", headers={"authorization": ""})).status_code == 401
    assert (await api.post("/v1/hooks/shown/rotate", headers={"authorization": ""})).status_code == 401


async def test_rules_are_read_back_and_bounded() -> None:
    full = Hook(
        name="a",
        scheme=Scheme.HMAC,
        events={"x": "order-paid"},
        type_at="/t",
        key_at="/k",
        id_at="/i",
        body_at="/b",
        header="x-s",
        tolerance_seconds=5,
        generation=3,
        rotated_by="r-1",
        overlap_from=2,
        overlap_until_ms=9,
    )
    newer = Rule(when={"name": "b", "new": 1}, to="hmac")
    assert HOOKS.of([HOOKS.rule(full), newer]) == (full,)
    assert HOOKS.replaced([newer, HOOKS.rule(full)], "a", None) == [newer]
    many = [HOOKS.rule(Hook(name=f"a{n}", scheme=Scheme.HMAC, event="e", key_at="/k")) for n in range(101)]
    assert "at most 100" in (HOOKS.check(many) or "")
