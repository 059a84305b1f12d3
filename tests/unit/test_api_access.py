"""Who may do what: every route asks for a permission, and who asks comes from the credential."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter

from sagaline.api import ApiSettings
from sagaline.api.identity import declared, needs
from sagaline.orchestrator.errors import DefinitionError

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
