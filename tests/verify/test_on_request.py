"""``GET /v1/definitions/{definition}/verify``: what ``saga verify`` says, once and within bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from sagaline.api import create_app
from sagaline.api.verification import VerificationView, Verifier, not_checked
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.cli import verify
from sagaline.orchestrator.cli.verify import verification
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.verify import Bounds, Law
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.examples.order_checkout import checkout
from tests.dashboard.shop import long_way, parcel_return
from tests.unit.stack import stack


@asynccontextmanager
async def api(folder: Path, verifier: Verifier | None) -> AsyncIterator[httpx.AsyncClient]:
    async with stack(folder, registry=Registry([checkout, parcel_return])) as up:
        app = create_app(up.client, clock=SystemClock(), verifier=verifier)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            yield client


async def test_it_says_what_was_checked_and_what_was_found(tmp_path: Path) -> None:
    async with api(tmp_path, verification) as client:
        holds = (await client.get("/v1/definitions/order-checkout/verify")).json()
        assert (holds["wrong"], holds["findings"], holds["complete"], holds["version"]) == (None, [], True, 1)
        assert (set(holds["laws"]), holds["faults"]) == ({law.value for law in Law}, 2)
        broken = (await client.get("/v1/definitions/parcel-return/verify")).json()
        assert {each["law"] for each in broken["findings"]} == {"no-undo"}
        assert all(each["message"] and each["way"] for each in broken["findings"])
        assert (await client.get("/v1/definitions/nothing/verify")).status_code == 404


async def test_a_definition_is_checked_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def verifier(definition: AnyDefinition, registry: Registry) -> VerificationView:
        asked.append(definition.name)
        return not_checked(definition, "it is not checked here")

    async with api(tmp_path, verifier) as client:
        for _ in range(2):
            found = await client.get("/v1/definitions/order-checkout/verify")
            assert (found.status_code, found.json()["wrong"]) == (200, "it is not checked here")
    assert asked == ["order-checkout"]


async def test_a_server_that_checks_none_names_the_command(tmp_path: Path) -> None:
    async with api(tmp_path, None) as client:
        found = (await client.get("/v1/definitions/order-checkout/verify")).json()
    assert "saga verify" in found["wrong"]


def test_a_bound_that_is_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_ON_REQUEST", Bounds(states=20))
    found = verification(checkout, Registry([checkout]))
    assert (found.wrong, found.complete, found.states < 106) == (None, False, True)


def test_a_check_that_takes_too_long_ends_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(0, 10**9, 6_000))
    monkeypatch.setattr(verify, "now_ms", times.__next__)
    found = verification(long_way, Registry([long_way]))
    assert found.wrong == "it takes longer than 10 s; run `saga verify MODULE:SAGA`"
