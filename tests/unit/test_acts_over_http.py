"""The larger acts of an operator over HTTP: an edit, a replaced undo, a restart and a fork, by the real engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.client import OnStep
from sagaline.orchestrator.codec.inputs import encode_reply
from sagaline.orchestrator.errors import ActDenied, InvalidRequest
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.inputs import ActName, Completed, Rejected, Reply
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.sagas import pivot

from .kernel_nodes import command_named, flow_of, leg
from .stack import PARTITIONS, Stack, stack

ITEM = "/v1/instances/talk/1"
PATCH = {"patch": [{"op": "replace", "path": "/n", "value": 7}]}


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    flow = flow_of(leg("a"), leg("b"), pivot, leg("c", undo=False))
    async with stack(tmp_path, registry=Registry([flow])) as running_stack:
        await running_stack.client.start("talk", {}, key="1")
        yield running_stack


@pytest.fixture
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(up.client, clock=SystemClock())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


async def say(up: Stack, command: str, *, ok: bool) -> None:
    """A worker answers, and the read model has seen what came of it."""
    id = command_named(await up.client.get("talk/1"), command)
    reply: Reply = (
        Completed(id=command, instance="talk/1", command_id=id, reply={"ok": True})
        if ok
        else Rejected(id=command, instance="talk/1", command_id=id, reason="no", code="no")
    )
    partition = partition_of(b"talk/1", PARTITIONS)
    await up.log.append([encode_reply(up.topics.inputs, partition, reply, source="/test", now_ms=0)])
    with pytest.raises((ActDenied, InvalidRequest)):  # what is asked after it is decided after it
        await up.client.act("talk/1", ActName.CLAIM, on=OnStep("none"))


async def post(api: httpx.AsyncClient, act: str, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await api.post(f"{ITEM}/{act}", json={"by": "ann", "reason": "it must be", **body})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_state_is_edited_over_http(api: httpx.AsyncClient) -> None:
    """A second request of the same id changes nothing; one that does not fit is invalid, with its reason."""
    assert (await post(api, "edit", value=PATCH, request_id="e-1"))["changed"]
    assert not (await post(api, "edit", value=PATCH, request_id="e-1"))["changed"]
    assert (await api.get(ITEM)).json()["state"]["n"] == 7
    wrong = {"patch": [{"op": "replace", "path": "/n", "value": "x"}]}
    refused = await post(api, "edit", 422, value=wrong)
    assert "the state would not fit Talk: n: Input should be a valid integer" in refused["detail"]


async def test_an_undo_that_failed_is_replaced_over_http(up: Stack, api: httpx.AsyncClient) -> None:
    """The step shows the contract that takes it back now."""
    await say(up, "a/1", ok=True)
    await say(up, "b/1", ok=False)
    await say(up, "a/undo/1", ok=False)
    value = {"contract": "undo-b", "command": {"n": 3}}
    assert (await post(api, "replace-undo", step="a", value=value))["status"] == "compensating"
    step = (await api.get(ITEM)).json()["steps"][0]
    assert (step["status"], step["undo"]) == ("undo_sent", {"contract": "undo-b", "attempts": 2})


async def test_what_left_nothing_is_restarted_and_forked_over_http(up: Stack, api: httpx.AsyncClient) -> None:
    """The fork says where it comes from."""
    for command in ("a/1", "b/1"):
        await say(up, command, ok=True)
    await say(up, "c/1", ok=False)
    case = (await api.get(f"{ITEM}/inspection")).json()
    assert {"step": "c", "act": "restart"} in case["on_steps"]
    assert (await post(api, "restart", step="c", value=PATCH))["status"] == "running"
    sent = [sent["id"] for row in (await api.get(f"{ITEM}/history")).json()["decisions"] for sent in row["sent"]]
    begun = await up.client.get("talk/1")
    assert sent == [command_named(begun, each) for each in ("a/1", "b/1", "c/1", "c+1/1")]
    await say(up, "c+1/1", ok=True)
    await post(api, "fork", step="c", value={"key": "2"})
    for _ in range(500):
        forked = await api.get("/v1/instances/talk/2")
        if forked.status_code == 200:
            break
        await asyncio.sleep(0.02)
    assert (forked.json()["forked_from"], forked.json()["status"]) == ("talk/1", "running")
    assert (await post(api, "fork", 422, step="c", value={"key": "a\nb"}))["field"] == "key"


async def test_an_act_is_rehearsed_without_being_asked(up: Stack) -> None:
    """It comes to what the engine would decide, and the log has seen nothing."""
    document = await up.client.get("talk/1")
    decision = await up.client.rehearse(document, ActName.EDIT, on=OnStep(value=PATCH))
    assert decision.document is not None
    assert (decision.outcome, decision.document.state["n"]) == (Outcome.APPLIED, 7)
    assert (await up.client.rehearse(document, ActName.RETRY)).reason == "it is running and does not need attention"
    assert (await up.client.get("talk/1")) == document
    with pytest.raises(InvalidRequest, match="by has 300 characters"):
        await up.client.rehearse(document, ActName.PAUSE, by="x" * 300)
