"""Who may do what: every route asks for a permission, and who asks comes from the credential."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from fastapi import APIRouter
from structlog.testing import capture_logs

from sagaline.api import ApiSettings, auth, create_app
from sagaline.api.credentials import Credentials
from sagaline.api.identity import Principal, declared, needs
from sagaline.api.problems import HttpProblem
from sagaline.api.sessions import SESSION_SECONDS, Kind, Sessions
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.client import Client, asking, recent
from sagaline.orchestrator.errors import DefinitionError, TransientError
from sagaline.orchestrator.messages.access import Role
from sagaline.orchestrator.messages.entities import Table

from .asgi import Closed, connected
from .stack import Stack, order, stack
from .test_api_instances import http
from .test_api_problems import told

TOKEN = "a-token-of-enough-length"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as running_stack:
        yield running_stack


def test_a_route_that_declares_no_permission_stops_the_application() -> None:
    router = APIRouter(prefix="/v1")

    @router.get("/spoken")
    @needs("identity")
    async def spoken() -> None: ...

    assert declared(router.routes) == {("GET", "/v1/spoken"): "identity"}

    @router.post("/silent")
    async def silent() -> None: ...

    with pytest.raises(DefinitionError, match="POST /v1/silent declares no permission"):
        declared(router.routes)


async def test_a_token_of_the_settings_may_do_everything_also_answer_for_a_worker(up: Stack) -> None:
    async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
        for path in ("/v1/heartbeats", "/v1/replies"):
            assert (await api.post(path, json={}, headers=BEARER)).status_code == 422


async def test_a_route_that_came_later_and_declares_nothing_is_denied(up: Stack) -> None:
    async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
        app: Any = api._transport.app  # type: ignore[attr-defined]  # of httpx

        @app.get("/v1/late")
        async def late() -> None: ...

        told(await api.get("/v1/late", headers=BEARER), 403, "not-permitted")


@pytest.mark.parametrize("said", [{}, {"by": ""}, {"by": "administrator"}])
async def test_who_acts_is_who_has_the_token(up: Stack, said: dict[str, str]) -> None:
    async with http(up, ApiSettings(tokens=(TOKEN,)), headers=BEARER) as api:
        await api.post("/v1/sagas/order-checkout", json={"key": "A-1", "input": order()})
        item = "/v1/instances/order-checkout/A-1"
        assert (await api.post(f"{item}/pause", json=said)).status_code == 200
        entries = (await api.get(f"{item}/history")).json()["decisions"]
        assert entries[-1]["message"]["by"] == "administrator"


BODIES = [
    ("POST", "/v1/instances/order-checkout/A-1/cancel", {}),
    ("POST", "/v1/bulk", {"act": "retry", "status": "attention"}),
    ("POST", "/v1/dead/bulk", {"act": "discard"}),
    ("POST", "/v1/dead/0-17/redrive", {}),
    ("POST", "/v1/parked/g/k/redrive", {}),
    ("POST", "/v1/delayed/x/cancel", {}),
    ("PUT", "/v1/tables/carriers", {"rules": []}),
    ("POST", "/v1/schedules/nightly/pause", {}),
    ("DELETE", "/v1/schedules/nightly", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), BODIES)
async def test_another_name_than_that_of_the_credential_is_refused(
    up: Stack, method: str, path: str, body: dict[str, Any]
) -> None:
    async with http(up, ApiSettings(tokens=(TOKEN,)), headers=BEARER) as api:
        answer = await api.request(method, path, json={**body, "by": "eve"})
        told(answer, 422, "invalid-request", "by")
        assert "administrator" in answer.json()["detail"]


async def made(api: httpx.AsyncClient, name: str, role: str, **more: Any) -> dict[str, str]:
    """The header with a new key."""
    answer = await api.post("/v1/keys", json={"name": name, "role": role, **more}, headers=BEARER)
    assert answer.status_code == 201, answer.text
    return {"authorization": f"Bearer {answer.json()['secret']}"}


PERMITTED = {
    "viewer": {"view"},
    "starter": {"view", "start"},
    "operator": {"view", "start", "operate"},
    "admin": {"view", "start", "operate", "administer"},
    "worker": {"work"},
}


@pytest.mark.slow
async def test_every_route_serves_the_roles_that_its_document_says_and_no_other(up: Stack) -> None:
    """The matrix of routes and roles, from the document: a new route is in it by itself."""
    async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
        keys = {role: await made(api, role, role) for role in PERMITTED}
        document = (await api.get("/openapi.json")).json()
        cells = 0
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                asked, sent = operation["x-permission"], re.sub(r"\{\w+\}", "x", path)
                if path == "/v1/events/stream":
                    sent += "?after=wrong"  # or it would not end
                assert operation["security"] == ([] if asked == "none" else [{"token": []}, {"session": []}])
                nobody = await api.request(method, sent)
                unknown = nobody.status_code == 401 and nobody.json()["type"].endswith(":unauthorized")
                assert unknown is (asked != "none"), (method, path)
                for role, header in keys.items():
                    answer = await api.request(method, sent, headers=header)
                    allowed = asked in ("none", "identity") or asked in PERMITTED[role]
                    denied = answer.status_code == 403 and "needs the role" in answer.text
                    assert denied is not allowed, (method, path, role, answer.text)
                    assert asked == "none" or answer.status_code != 401, (method, path, role)
                    cells += 1
        assert cells > 5 * 60


async def test_a_denial_names_the_role_that_may(up: Stack) -> None:
    async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
        viewer = await made(api, "eve", "viewer")
        answer = await api.post("/v1/instances/order-checkout/A-1/cancel", headers=viewer)
        problem = told(answer, 403, "not-permitted")
        assert problem["detail"] == "eve has the role viewer; this needs the role operator: use such a key"


class TestKeys:
    """A key is made, rotated and revoked; its secret is shown once."""

    async def test_a_key_acts_under_its_name(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
            ann = await made(api, "ann@shop", "operator")
            await api.post("/v1/sagas/order-checkout", json={"key": "A-1", "input": order()}, headers=ann)
            item = "/v1/instances/order-checkout/A-1"
            assert (await api.post(f"{item}/pause", headers=ann)).status_code == 200
            told(await api.post(f"{item}/resume", json={"by": "bob"}, headers=ann), 422, "invalid-request", "by")
            decisions = (await api.get(f"{item}/history", headers=ann)).json()["decisions"]
            assert decisions[-1]["message"]["by"] == "ann@shop"

    async def test_it_is_listed_without_its_secret(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,)), headers=BEARER) as api:
            answer = await api.post("/v1/keys", json={"name": "ann", "role": "viewer", "groups": ["risk"]})
            secret = answer.json()["secret"]
            assert re.fullmatch(r"sgl_[0-9a-f]{64}", secret)
            listed = await api.get("/v1/keys")
            (key,) = listed.json()["keys"]
            assert (key["name"], key["role"], key["groups"], key["created_by"]) == (
                "ann", "viewer", ["risk"], "administrator",
            )  # fmt: skip
            assert secret not in listed.text
            assert hashlib.sha256(secret.encode()).hexdigest() not in listed.text

    async def test_a_revoked_key_ends_on_every_node(self, up: Stack) -> None:
        other = Client(up.parts)
        async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
            ann = await made(api, "ann", "viewer")
            node = create_app(other, clock=SystemClock(), settings=ApiSettings(tokens=(TOKEN,)))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(node), base_url="http://localhost") as second:
                for each in (api, second):
                    await until_status(each, ann, 200)
                assert (await api.delete("/v1/keys/ann", headers=BEARER)).json() == {"name": "ann"}
                told(await api.get("/v1/definitions", headers=ann), 401, "unauthorized")
                await until_status(second, ann, 401)

    async def test_a_rotated_key_keeps_its_old_secret_for_the_overlap(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
            old = await made(api, "ann", "viewer")
            answer = await api.post("/v1/keys/ann/rotate", headers=BEARER)
            new = {"authorization": f"Bearer {answer.json()['secret']}"}
            for header in (old, new):
                assert (await api.get("/v1/definitions", headers=header)).status_code == 200
            older, newer = (await api.get("/v1/keys", headers=BEARER)).json()["keys"]
            assert (older["expires_at"] is not None, newer["expires_at"]) == (True, None)
            await api.post("/v1/keys/ann/rotate", json={"overlap_seconds": 0}, headers=BEARER)
            for header in (old, new):
                told(await api.get("/v1/definitions", headers=header), 401, "unauthorized")

    async def test_a_rotation_that_is_repeated_ends_no_secret_that_is_in_use(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,)), headers=BEARER) as api:
            used = await made(api, "ann", "viewer")
            for again in range(3):
                answer = await api.post("/v1/keys/ann/rotate", headers={"idempotency-key": "r-1"})
                assert answer.status_code == (409 if again else 200)
            assert "rotate the key by a request with another id" in told(answer, 409, "request-taken")["detail"]
            for _ in range(4):
                answer = await api.post("/v1/keys/ann/rotate")
            assert "overlap of 0 seconds" in told(answer, 422, "invalid-request", "overlap_seconds")["detail"]
            assert (await api.get("/v1/definitions", headers=used)).status_code == 200
            assert len((await api.get("/v1/keys")).json()["keys"]) == 5
            assert (await api.post("/v1/keys/ann/rotate", json={"overlap_seconds": 0})).status_code == 200
            assert len((await api.get("/v1/keys")).json()["keys"]) == 1
            told(await api.get("/v1/definitions", headers=used), 401, "unauthorized")
            bob = {"name": "bob", "role": "viewer", "request_id": "c-1"}
            assert (await api.post("/v1/keys", json=bob)).status_code == 201
            told(await api.post("/v1/keys", json=bob), 409, "request-taken")

    async def test_a_rotation_does_not_move_the_end_of_a_key_and_revives_none_that_has_ended(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,)), headers=BEARER) as api:
            ends = (await api.post("/v1/keys", json={"name": "ann", "role": "viewer", "valid_for_seconds": 900})).json()
            assert (await api.post("/v1/keys/ann/rotate")).json()["expires_at"] == ends["expires_at"]
            longer = await api.post("/v1/keys/ann/rotate", json={"valid_for_seconds": 9000})
            assert longer.json()["expires_at"] > ends["expires_at"]
            await made(api, "bob", "viewer", valid_for_seconds=0.001)
            refused = told(await api.post("/v1/keys/bob/rotate"), 422, "invalid-request", "name")
            assert "revoke it, and create another one" in refused["detail"]

    async def test_the_node_that_revokes_a_key_refuses_it_also_while_nothing_follows_the_log(
        self, up: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
            ann = await made(api, "ann", "viewer")
            assert (await api.get("/v1/definitions", headers=ann)).status_code == 200
            monkeypatch.setattr(asking, "_READ_WAIT_SECONDS", 0.05)
            monkeypatch.setattr(up.projector, "_apply", standing_still)
            await up.client.keys.revoke("ann")
            told(await api.get("/v1/definitions", headers=ann), 401, "unauthorized")

    async def test_a_key_that_this_node_has_just_made_is_known_although_nothing_can_be_read_since(
        self, up: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also if no request has asked for keys before."""

        async def failing(name: str) -> Table:
            raise TransientError("the read model does not answer")

        client = Client(up.parts)
        await client.keys.create("ann", Role.VIEWER)
        monkeypatch.setattr(client.tables, "read", failing)
        assert [each.name for each in await client.keys.current()] == ["ann"]

    async def test_no_key_is_known_for_long_while_nothing_follows_the_log(
        self, up: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The database answers, but with what it had before."""
        async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
            ann = await made(api, "ann", "viewer")
            assert (await api.get("/v1/definitions", headers=ann)).status_code == 200
            monkeypatch.setattr(up.projector, "_apply", standing_still)
            monkeypatch.setattr(recent, "_STALE_SECONDS", 0.2)
            await up.client.start("order-checkout", order(), key="A-1")
            await until_status(api, ann, 503)
            assert (await api.get("/v1/definitions", headers=BEARER)).status_code == 200

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"name": "ann", "role": "viewer"}, "name"),
            ({"name": "administrator", "role": "viewer"}, "name"),
            ({"name": "-x", "role": "viewer"}, "name"),
            ({"name": "x" * 65, "role": "viewer"}, "name"),
            ({"name": "bob", "role": "root"}, "role"),
            ({"name": "bob", "role": "viewer", "groups": ["a b"]}, "groups"),
            ({"name": "risk", "role": "viewer"}, "name"),
            ({"name": "bob", "role": "viewer", "groups": ["desk", "ann"]}, "groups"),
            ({"name": "bob", "role": "viewer", "groups": ["administrator"]}, "groups"),
            ({"name": "bob", "role": "viewer", "valid_for_seconds": 0}, "valid_for_seconds"),
        ],
    )
    async def test_what_cannot_be_a_key_is_refused(self, up: Stack, body: dict[str, Any], field: str) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
            await made(api, "ann", "viewer", groups=["risk"])
            told(await api.post("/v1/keys", json=body, headers=BEARER), 422, "invalid-request", field)

    async def test_an_expired_key_is_not_accepted(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
            ann = await made(api, "ann", "viewer", valid_for_seconds=0.001)
            told(await api.get("/v1/definitions", headers=ann), 401, "unauthorized")

    async def test_its_table_is_nobodys_to_read_or_change(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,)), headers=BEARER) as api:
            await made(api, "ann", "viewer")
            for method, path in (("GET", ""), ("GET", "/history"), ("PUT", "")):
                answer = await api.request(method, f"/v1/tables/access.keys{path}", json={"rules": []})
                assert "/v1/keys" in told(answer, 422, "invalid-request", "name")["detail"]
            assert (await api.get("/v1/tables")).json()["tables"] == []

    async def test_without_authentication_none_is_made(self, up: Stack) -> None:
        async with http(up) as api:
            answer = await api.post("/v1/keys", json={"name": "ann", "role": "viewer"})
            assert "SAGALINE_API_TOKENS" in told(answer, 422, "invalid-request")["detail"]

    async def test_what_is_not_there_is_told(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,)), headers=BEARER) as api:
            told(await api.delete("/v1/keys/ann"), 404, "unknown-key")
            told(await api.post("/v1/keys/ann/rotate"), 404, "unknown-key")


async def standing_still(update: Any) -> None:
    """In place of what a projector does with records."""
    await asyncio.Event().wait()


async def until_status(api: httpx.AsyncClient, header: dict[str, str], status: int) -> None:
    async with asyncio.timeout(10):
        while True:
            if (await api.get("/v1/definitions", headers=header)).status_code == status:
                return
            await asyncio.sleep(0.02)


class TestSession:
    """A browser signs in with a key, and its cookie stands for it until one of them ends."""

    @staticmethod
    async def signed_in(api: httpx.AsyncClient, secret: str = TOKEN) -> dict[str, str]:
        """The header that this session's requests must have; the cookie is in the client."""
        answer = await api.post("/v1/login", json={"key": secret})
        assert answer.status_code == 200, answer.text
        return {"x-csrf-token": answer.json()["csrf_token"]}

    async def test_it_stands_for_its_key(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
            ann = await made(api, "ann", "operator", groups=["risk"])
            told(await api.post("/v1/login", json={"key": "wrong"}), 401, "unauthorized")
            answer = await api.post("/v1/login", json={"key": ann["authorization"].partition(" ")[2]})
            cookie = answer.headers["set-cookie"].lower()
            for part in ("httponly", "samesite=strict", "path=/", "max-age=43200"):
                assert part in cookie
            me = (await api.get("/v1/me")).json()
            assert (me["name"], me["role"], me["groups"]) == ("ann", "operator", ["risk"])
            assert me["permissions"] == ["view", "start", "operate"]
            assert me["csrf_token"] == answer.json()["csrf_token"]
            told(await api.get("/v1/keys"), 403, "not-permitted")
            await api.delete("/v1/keys/ann", headers=BEARER)
            assert "revoked" in told(await api.get("/v1/me"), 401, "unauthorized")["detail"]

    async def test_it_changes_nothing_without_its_header(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
            header = await self.signed_in(api)
            start = {"key": "A-1", "input": order()}
            for wrong in ({}, {"x-csrf-token": ""}, {"x-csrf-token": "0" * 64}):
                told(await api.post("/v1/sagas/order-checkout", json=start, headers=wrong), 403, "foreign-origin")
            assert (await api.post("/v1/sagas/order-checkout", json=start, headers=header)).status_code == 201
            assert (await api.post("/v1/logout", headers=header)).status_code == 204
            told(await api.get("/v1/me"), 401, "unauthorized")

    async def test_one_that_has_ended_can_sign_out(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,)), headers={"cookie": "sagaline_session=ended"}) as api:
            told(await api.get("/v1/me"), 401, "unauthorized")
            told(await api.post("/v1/logout", headers={"origin": "http://evil.example"}), 403, "foreign-origin")
            answer = await api.post("/v1/logout")
            assert (answer.status_code, "Max-Age=0" in answer.headers["set-cookie"]) == (204, True)

    async def test_each_server_of_this_machine_has_its_own_cookie(self, up: Stack) -> None:
        app = create_app(up.client, clock=SystemClock(), settings=ApiSettings(tokens=(TOKEN,)))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8081") as api:
            await self.signed_in(api)
            assert list(api.cookies) == ["sagaline_session_8081"]
            assert (await api.get("/v1/me")).status_code == 200

    async def test_beyond_this_machine_its_cookie_needs_tls(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,)), headers={"host": "shop.example"}) as api:
            cookie = (await api.post("/v1/login", json={"key": TOKEN})).headers["set-cookie"]
            assert cookie.startswith("__Host-sagaline_session=")
            assert "; Secure" in cookie

    async def test_a_page_of_another_origin_signs_nobody_in(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,)), headers={"origin": "http://evil.example"}) as api:
            told(await api.post("/v1/login", json={"key": TOKEN}), 403, "foreign-origin")

    async def test_without_authentication_there_is_nobody_to_sign_in_as(self, up: Stack) -> None:
        async with http(up) as api:
            told(await api.post("/v1/login", json={"key": TOKEN}), 422, "invalid-request")
            me = (await api.get("/v1/me")).json()
            assert (me["name"], me["csrf_token"]) == ("", None)
            assert me["permissions"] == ["view", "start", "operate", "administer", "work"]

    async def test_a_ticket_opens_one_stream(self, up: Stack) -> None:
        async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
            ticket = (await api.post("/v1/tickets", headers=BEARER)).json()["ticket"]
            stream = f"/v1/events/stream?after=wrong&ticket={ticket}"
            told(await api.get(f"/v1/me?ticket={ticket}"), 401, "unauthorized")
            told(await api.get(stream), 422, "invalid-request", "after")
            told(await api.get(stream), 401, "unauthorized")
            told(await api.get("/v1/events/stream?after=wrong&ticket=x"), 401, "unauthorized")


def test_what_another_key_or_namespace_or_time_has_signed_is_not_accepted() -> None:
    now = [1_000_000]
    settings = ApiSettings(tokens=(TOKEN,))
    ours = Sessions(settings, "a", lambda: now[0])
    ann = Principal.of("ann", Role.VIEWER, "key", ["risk"], proof="f" * 64)
    text, signed = ours.sign(ann, "session")
    assert ours.read(text, "session") == signed
    assert ours.read(text, "ticket") is None
    opened = ours.read(ours.sign(ann, "ticket")[0], "ticket")
    assert opened is not None
    assert opened.until_ms is None, "what a ticket has opened ends with the key, not with the ticket"
    assert Sessions(settings, "b", lambda: now[0]).read(text, "session") is None
    assert Sessions(ApiSettings(tokens=(TOKEN * 2,)), "a", lambda: now[0]).read(text, "session") is None
    assert Sessions(settings, "a", lambda: now[0]).read(text, "session") == signed
    unsigned = jwt.encode(jwt.decode(text, options={"verify_signature": False}), None, algorithm="none")
    for wrong in (unsigned, text[:-2], text + "A", "", "x" * 10_000, text.replace(".", "")):
        assert ours.read(wrong, "session") is None
    now[0] += SESSION_SECONDS * 1000
    assert ours.read(text, "session") is None


@pytest.mark.parametrize("kind", ["session", "ticket"])
def test_what_a_browser_would_not_keep_is_refused_when_it_is_made(kind: Kind) -> None:
    sessions = Sessions(ApiSettings(tokens=(TOKEN,)), "a", lambda: 0)
    many = Principal.of("ann", Role.VIEWER, "jwt", [f"/department/{number:03}" for number in range(200)])
    with pytest.raises(HttpProblem, match=r"the 200 groups of ann do not fit .* SAGALINE_OIDC_GROUPS_CLAIM"):
        sessions.sign(many, kind)
    most = Principal.of("x" * 64, Role.VIEWER, "key", [f"{number:064}" for number in range(20)], proof="f" * 64)
    assert sessions.read(sessions.sign(most, kind)[0], kind) is not None


async def test_an_idle_socket_ends_with_its_key(up: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(auth, "_IDLE_CHECK_SECONDS", 0.02)
    app = create_app(up.client, clock=SystemClock(), settings=ApiSettings(tokens=(TOKEN,)))
    async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
        ann = await made(api, "ann", "viewer")
    async with connected(app, headers=ann) as ws:
        assert "cursor" in await ws.answer(id="s", do="subscribe")
        await up.client.keys.revoke("ann")
        with pytest.raises(Closed) as closed:
            await ws.next()
    assert closed.value.status == 1008


async def test_the_log_of_requests_says_who_sent_them(up: Stack) -> None:
    app = create_app(up.client, clock=SystemClock(), settings=ApiSettings(tokens=(TOKEN,)))
    async with http(up, ApiSettings(tokens=(TOKEN,))) as api:
        ann = await made(api, "ann", "starter")
        with capture_logs() as logs:
            await api.post("/v1/events/unknown", json={}, headers=ann)
            await api.get("/v1/definitions")
            async with connected(app, headers=ann) as ws:
                await ws.answer(id="e", do="publish", event="paid", key="O-1", body={})
    lines = [(line["method"], line["path"], line["by"]) for line in logs if line["event"] == "request"]
    assert lines == [
        ("POST", "/v1/events/unknown", "ann"),
        ("GET", "/v1/definitions", ""),
        ("WS", "/v1/events/paid", "ann"),
    ]


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_an_open_connection_ends_with_its_key(up: Stack, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_CHECK_SECONDS", 0.0)
    settings = ApiSettings(tokens=(TOKEN,))
    sent: list[dict[str, Any]] = []
    part = {"type": "websocket.send", "text": "x"}
    if kind == "http":
        part = {"type": "http.response.body", "body": b"x", "more_body": True}

    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        await send(part)
        await up.client.keys.revoke("ann")
        for _ in range(3):
            await send(part)

    async def send(message: Any) -> None:
        sent.append(message)

    async with http(up, settings) as api:
        ann = await made(api, "ann", "viewer")
    guard = auth.Guard(streaming, Credentials(settings, up.client, SystemClock()))
    header = [(b"authorization", ann["authorization"].encode()), (b"host", b"localhost")]
    await guard({"type": kind, "method": "GET", "path": "/v1/x", "headers": header, "query_string": b""}, send, send)
    ending = {"type": "http.response.body", "body": b"", "more_body": False}
    assert sent[0] == part
    assert len(sent) == 2
    assert sent[1] == ending if kind == "http" else sent[1]["code"] == 1008
