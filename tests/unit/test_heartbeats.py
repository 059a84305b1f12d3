"""Heartbeats, and answers that come from elsewhere: in the kernel, in a worker, through the client and over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.codec.inputs import decode_input
from sagaline.orchestrator.errors import InvalidRequest, ReplyNotAwaited, UnknownInstance
from sagaline.orchestrator.kernel import Registry, decide
from sagaline.orchestrator.messages.document import Status, progress_of
from sagaline.orchestrator.messages.inputs import ActName, Arrival, Completed, Failed, Heartbeat, JsonObject
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.workers import AnswerLater, Context, Worker

from ..worker_world import Pack, Packed, WorkerWorld, pack, worker_world
from .kernel_nodes import LIFE, command_named, flow_of, leg, timers_of
from .stack import Stack, stack
from .test_kernel_attempts import impatient

FIRST = f"talk/k/a~{LIFE}/1"
MINUTE = timedelta(minutes=1)


def beat(scene: Scene, progress: JsonObject | None = None, command: str = FIRST) -> Scene:
    return scene.play(Heartbeat(id="h", instance="talk/k", command_id=command, progress=progress))


# In the kernel


def test_a_heartbeat_postpones_the_timeout_of_its_attempt_and_not_the_steps() -> None:
    scene = Scene.start(flow_of(impatient(attempt=MINUTE))).advance(timedelta(seconds=40))
    heard = beat(scene, {"row": 7})
    assert timers_of(heard) == {"a:deadline": 3_600_000, "a:attempt": 100_000}
    assert progress_of(heard.document.steps["a"]) == {"row": 7}
    assert heard.last is not None
    assert (heard.last.outcome, heard.last.changes, heard.last.actions) == (Outcome.APPLIED, (), ())
    assert progress_of(beat(heard).document.steps["a"]) == {"row": 7}, "without one the last progress stays"
    assert timers_of(beat(Scene.start(flow_of(impatient())))) == {"a:deadline": 3_600_000}


def test_the_next_attempt_and_the_undo_are_given_the_last_progress() -> None:
    heard = beat(Scene.start(flow_of(impatient(), leg("b"))), {"row": 7})
    again = heard.crash("a").tick()
    assert again.sent[-1].progress == {"row": 7}
    turned = again.ok("a").rejects("b")
    assert (turned.sent[-1].undo, turned.sent[-1].progress) == (True, {"row": 7})


def test_a_heartbeat_that_nobody_waits_for_changes_nothing() -> None:
    """A late one, one of an attempt before, one of a step that there is not, and one after the end."""
    begun = Scene.start(flow_of(impatient()))
    again = begun.crash("a").tick()
    ended = begun.ok("a")
    for scene, command in [(again, FIRST), (ended, FIRST), (begun, FIRST.replace("/a~", "/z~")), (begun, "talk/k")]:
        after = beat(scene, {"row": 1}, command)
        assert after.last is not None
        assert (after.last.outcome, after.document) == (Outcome.IGNORED, scene.document)


def test_a_heartbeat_in_a_pause_keeps_its_progress_and_the_clocks_stand() -> None:
    paused = Scene.start(flow_of(impatient(attempt=MINUTE))).act(ActName.PAUSE)
    heard = beat(paused, {"row": 7})
    assert progress_of(heard.document.steps["a"]) == {"row": 7}
    assert heard.document.held == paused.document.held


def test_without_the_code_the_progress_is_kept_and_the_timer_stays() -> None:
    begun = Scene.start(flow_of(impatient(attempt=MINUTE)))
    arrival = Arrival(message=Heartbeat(id="h", instance="talk/k", command_id=FIRST, progress={"row": 7}), now_ms=9_000)
    decision = decide(None, begun.document, arrival)
    assert decision.document is not None
    assert progress_of(decision.document.steps["a"]) == {"row": 7}
    assert decision.document.timers == begun.document.timers
    assert (decision.outcome, decision.code) == (Outcome.APPLIED, ReasonCode.CODE_NOT_DEPLOYED)


# In a worker


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


def packer(function: Any, **options: Any) -> Worker:
    worker = Worker("packer", **options)
    worker.handles(pack)(function)
    return worker


async def inputs(world: WorkerWorld, count: int) -> list[Any]:
    return [decode_input(record) for record in await world.reply_records(count)]


async def test_the_first_heartbeat_leaves_at_once_and_the_last_progress_goes_with_a_failure(world: WorkerWorld) -> None:
    """Hundreds in between do not travel; from a thread it is the same."""

    async def handle(command: Pack, ctx: Context) -> Packed:
        for row in range(300):
            await asyncio.to_thread(ctx.heartbeat, {"row": row})
        raise RuntimeError("the disk is full")

    async with world.running(packer(handle)):
        await world.send(world.command())
        first, last, reply = await inputs(world, 3)
    assert isinstance(first, Heartbeat)
    assert isinstance(last, Heartbeat)
    assert isinstance(reply, Failed)
    assert (first.command_id, first.progress, last.progress) == (reply.command_id, {"row": 0}, {"row": 299})


async def test_heartbeats_come_three_times_in_the_timeout_of_the_attempt(world: WorkerWorld) -> None:
    async def handle(command: Pack, ctx: Context) -> Packed:
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.5
        while loop.time() < until:
            ctx.heartbeat()
            await asyncio.sleep(0.01)
        return Packed(parcel="P")

    async with world.running(packer(handle)):
        await world.send(world.command(attempt_timeout_ms=300))
        found: list[Any] = []
        while not found or not isinstance(found[-1], Completed):
            found += await inputs(world, 1)
    assert 3 <= len(found) <= 7, "one per 100 ms of 500 ms, and the reply"


async def test_heartbeats_prolong_the_timeout_of_the_handler_up_to_the_deadline_of_the_step(world: WorkerWorld) -> None:
    async def handle(command: Pack, ctx: Context) -> Packed:
        for _ in range(40 if command.item == "long" else 4000):
            ctx.heartbeat()
            await asyncio.sleep(0.01)
        return Packed(parcel="P")

    async with world.running(packer(handle, handler_timeout=timedelta(milliseconds=200), concurrency=2)):
        await world.send(world.command(payload=Pack(item="long")))
        _, reply = await inputs(world, 2)
        assert isinstance(reply, Completed)
        await world.send(world.command("order/B", payload=Pack(item="endless"), due_in_ms=500))
        _, late = await inputs(world, 2)
    assert isinstance(late, Failed)
    assert "at the command's deadline" in late.error


async def test_what_cannot_be_progress_is_told_to_the_handler(world: WorkerWorld) -> None:
    wrong: list[str] = []

    async def handle(command: Pack, ctx: Context) -> Packed:
        for progress in ([1], {"a": object()}, {"a": "x" * 5_000}, {"a": "\ud800"}, {"a": float("inf")}):
            with pytest.raises(ValueError, match="progress") as error:
                ctx.heartbeat(progress)  # type: ignore[arg-type]
            wrong.append(str(error.value))
        return Packed(parcel="P")

    async with world.running(packer(handle)):
        (reply,) = await world.ask(world.command())
    assert isinstance(reply, Completed)
    assert len(wrong) == 5
    assert "the limit is 4,096; keep a reference" in wrong[2]


async def test_an_attempt_finds_the_progress_of_the_one_before(world: WorkerWorld) -> None:
    seen: list[JsonObject | None] = []

    async def handle(command: Pack, ctx: Context) -> Packed:
        seen.append(ctx.progress)
        return Packed(parcel="P")

    async with world.running(packer(handle)):
        await world.ask(world.command("order/A"), world.command("order/B", attempt=2, progress={"row": 7, "é": "ü"}))
    assert sorted(seen, key=lambda each: each is None) == [{"row": 7, "é": "ü"}, None]


async def test_a_command_that_is_answered_later_is_handled_and_says_nothing(world: WorkerWorld) -> None:
    async def handle(command: Pack, ctx: Context) -> Packed | AnswerLater:
        return AnswerLater() if command.item == "slow" else Packed(parcel="P")

    async with world.running(packer(handle)) as runtime:
        await world.send(world.command("order/A", payload=Pack(item="slow")))
        (reply,) = await world.ask(world.command("order/B"))
    assert isinstance(reply, Completed)
    assert reply.instance == "order/B"
    assert (runtime.counts.later, runtime.counts.completed) == (1, 1)
    assert await world.uncommitted() == []


# Through the client and over HTTP


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path, registry=Registry([flow_of(leg("a"), leg("b"))])) as running_stack:
        await running_stack.client.start("talk", {}, key="1")
        yield running_stack


@pytest.fixture
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(up.client, clock=SystemClock())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


async def command(up: Stack, name: str) -> str:
    return command_named(await up.client.get("talk/1"), name)


async def test_a_command_is_answered_through_the_client(up: Stack) -> None:
    first = await command(up, "a/1")
    heard = await up.client.commands.heartbeat(first, {"row": 1})
    assert heard.status is Status.RUNNING
    assert progress_of((await up.client.get("talk/1")).steps["a"]) == {"row": 1}
    with pytest.raises(InvalidRequest, match=r"reply\.ok"):
        await up.client.commands.complete(first, {"ok": "perhaps"})
    await up.client.commands.complete(first, {"ok": True})
    with pytest.raises(ReplyNotAwaited, match=r"no answer to .* is awaited: no open attempt"):
        await up.client.commands.complete(first, {"ok": True})
    second = await command(up, "b/1")
    ended = await up.client.commands.reject(second, "sold out", code="sold-out")
    assert ended.status is Status.COMPENSATING
    undo = await command(up, "a/undo/1")
    failed = await up.client.commands.fail(undo, "not now")
    assert failed.status is Status.COMPENSATING
    for wrong in ("", "talk/1", "a/b/c", "talk/1/a~x/one"):
        with pytest.raises(InvalidRequest, match=r"not a command's id|empty"):
            await up.client.commands.heartbeat(wrong)
    with pytest.raises(UnknownInstance):
        await up.client.commands.fail(first.replace("talk/1", "talk/none"), "x")


async def test_a_command_is_answered_over_http(up: Stack, api: httpx.AsyncClient) -> None:
    first = await command(up, "a/1")
    beat = await api.post("/v1/heartbeats", json={"command_id": first, "progress": {"row": 3}})
    assert beat.status_code == 200, beat.text
    (step,) = (await api.get("/v1/instances/talk/1")).json()["steps"]
    assert step["heartbeat"]["progress"] == {"row": 3}
    for body in ({}, {"completed": {"ok": True}, "failed": {"error": "x"}}):
        wrong = await api.post("/v1/replies", json={"command_id": first, **body})
        assert (wrong.status_code, wrong.json()["detail"]) == (
            422,
            "give exactly one of completed, rejected and failed",
        )
    done = await api.post("/v1/replies", json={"command_id": first, "completed": {"ok": True}})
    assert (done.status_code, done.json()["status"]) == (200, "running")
    late = await api.post("/v1/replies", json={"command_id": first, "rejected": {"code": "x", "reason": "y"}})
    assert (late.status_code, late.json()["type"], late.json()["code"]) == (
        409,
        "urn:sagaline:problem:reply-not-awaited",
        "stale",
    )


def test_a_command_carries_progress_and_the_timeout_of_its_attempt() -> None:
    """As they were written."""
    again = beat(Scene.start(flow_of(impatient(attempt=MINUTE))), {"row": 7}).crash("a").tick()
    assert (again.sent[-1].attempt_timeout_ms, again.sent[-1].progress) == (60_000, {"row": 7})
