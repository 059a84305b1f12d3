"""An instance at any of its revisions: what was decided, recomputed; or an error that says why not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from jsonpatch import apply_patch

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.client import Client
from sagaline.orchestrator.client.revisions import revision_of
from sagaline.orchestrator.errors import UnknownRevision
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.sagas import Saga
from sagaline.sagas.examples.order_checkout import Checkout, charge, checkout

from .kernel_nodes import command_named, flow_of, leg
from .stack import Stack, order, stack

ITEM = "/v1/instances/order-checkout/A-1"


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as made:
        await made.client.start("order-checkout", order(), key="A-1")
        for act in (ActName.PAUSE, ActName.RESUME, ActName.RESUME, ActName.CANCEL):
            await made.client.act("order-checkout/A-1", act, by="ann")
        await made.projector.caught_up(timeout=30)  # also for other clients
        yield made


@pytest.fixture
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(up.client, clock=SystemClock()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_each_revision_is_the_one_before_with_its_changes(up: Stack, api: httpx.AsyncClient) -> None:
    now = (await api.get(ITEM)).json()
    shown = [(await api.get(f"{ITEM}/revisions/{n}")).json() for n in range(1, now["revision"] + 1)]
    assert [each["instance"]["paused"] for each in shown] == [False, True, False, False]
    assert [each["decision"]["message"].get("act") for each in shown] == [None, "pause", "resume", "cancel"]
    assert {each["newest"] for each in shown} == {4}
    assert shown[0]["changed"] is None
    for before, after in pairwise(shown):
        assert after["changed"]
        assert apply_patch(before["instance"], after["changed"]) == after["instance"]
    assert shown[-1]["instance"] == {**now, "warnings": []}


async def test_a_revision_that_is_known_is_not_sent_again(api: httpx.AsyncClient) -> None:
    first = await api.get(f"{ITEM}/revisions/4")
    again = await api.get(f"{ITEM}/revisions/4", headers={"If-None-Match": f'"x", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    other = await api.get(f"{ITEM}/revisions/3", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


async def test_an_old_revision_is_sent_again_when_there_is_a_newer_one_than_it_says(
    up: Stack, api: httpx.AsyncClient
) -> None:
    before = await api.get(f"{ITEM}/revisions/3")
    await up.client.act("order-checkout/A-1", ActName.PAUSE, by="ann")
    await up.projector.caught_up(timeout=30)
    after = await api.get(f"{ITEM}/revisions/3", headers={"If-None-Match": before.headers["etag"]})
    assert (after.status_code, after.json()["newest"]) == (200, before.json()["newest"] + 1)


async def test_what_is_not_there_says_what_is(api: httpx.AsyncClient) -> None:
    missing = await api.get(f"{ITEM}/revisions/9")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:sagaline:problem:unknown-revision")
    assert "its history has revisions 1 to 4; give one of these" in missing.json()["detail"]
    assert (await api.get(f"{ITEM}/revisions/0")).status_code == 422
    nobody = await api.get("/v1/instances/order-checkout/none/revisions/1")
    assert nobody.json()["type"] == "urn:sagaline:problem:unknown-instance"


async def test_a_revision_of_too_long_a_history_is_named(up: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagaline.orchestrator.client.revisions._DECISIONS_MAX", 2)
    with pytest.raises(UnknownRevision, match=r"revision 3 of .* cannot be shown: its history has more than 2 dec"):
        await revision_of(up.client, "order-checkout/A-1", 3)


async def test_no_document_is_made_up_where_the_code_decides_otherwise_or_is_gone(up: Stack) -> None:
    def of(*definitions: Saga[Checkout]) -> Client:
        return Client(replace(up.parts, registry=Registry(definitions)))

    changed = Saga("order-checkout", Checkout, flow=[charge], version=checkout.version)
    with pytest.raises(UnknownRevision, match="the deployed code decides otherwise than it did then"):
        await revision_of(of(changed), "order-checkout/A-1", 2)
    with pytest.raises(UnknownRevision, match="its version is not deployed on this server"):
        await revision_of(of(), "order-checkout/A-1", 2)
    newest = await revision_of(of(), "order-checkout/A-1", 4)
    assert (newest.document.revision, newest.before) == (4, None)


async def test_of_a_later_run_it_is_said_that_only_the_first_can_be_recomputed(tmp_path: Path) -> None:
    async with stack(tmp_path, registry=Registry([flow_of(leg("a", undo=False))])) as up:
        await up.client.start("talk", {}, key="1")
        document = await up.client.get("talk/1")
        await up.client.commands.complete(command_named(document, "a/1"), {"ok": True})
        again = await up.client.start("talk", {}, key="1", conflict="queue")
        await up.client.act("talk/1", ActName.PAUSE)
        await up.projector.caught_up(timeout=30)
        with pytest.raises(
            UnknownRevision, match="it is of run 2 of its key, and only the first one can be recomputed"
        ):
            await revision_of(up.client, "talk/1", again.revision)
        newest = await revision_of(up.client, "talk/1", again.revision + 1)
        assert (newest.document.paused, newest.before) == (True, None)
