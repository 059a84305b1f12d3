"""An API that is newer than the engine, over REST and on the command line: what it accepts waits, and begins later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, JsonValue
from typer.testing import CliRunner

from sagaline.api import ApiSettings, bind, create_app, serving
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.cli.app import app
from sagaline.orchestrator.errors import InvalidRequest, UnknownDefinition, UnknownInstance
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.ports.read_model import InstanceFilter
from sagaline.sagas import Contract, Event, Saga, step
from sagaline.sagas.process_manager import Next, ProcessManager

from .stack import Stack, stack
from .test_api_instances import http

WAITS = "'shop' version 2 is not deployed here; deploy it"


class Do(BaseModel):
    n: int


class Old(BaseModel):
    n: int


class New(BaseModel):
    n: int
    currency: str


def shop(version: int, state: Any) -> Any:
    @step(Contract("do-it", Do, Do, queue="work"), name="a")
    def a(s: Any) -> Do:
        return Do(n=s.n)

    return Saga("shop", state, version=version, flow=[a])


OLD, NEW = Registry([shop(1, Old)]), Registry([shop(1, Old), shop(2, New)])
INPUT: dict[str, JsonValue] = {"n": 1, "currency": "EUR"}


async def until(up: Stack, instance: str, wanted: Callable[[Document], bool]) -> Document:
    """The instance when it stands as wanted."""
    async with asyncio.timeout(10):
        while True:
            try:
                if wanted(document := await up.client.get(instance)):
                    return document
            except UnknownInstance:
                pass
            await asyncio.sleep(0.02)


async def test_a_start_for_an_older_engine_is_accepted_with_the_reason_and_begins_with_the_code(tmp_path: Path) -> None:
    async with stack(tmp_path, registry=NEW, deployed=OLD) as up, http(up) as api:
        first = await api.post("/v1/sagas/shop", json={"key": "A-1", "input": INPUT})
        assert (first.status_code, first.json()["reason"]) == (202, WAITS)
        assert first.headers["location"] == "/v1/instances/shop/A-1"
        shown = (await api.get(first.headers["location"])).json()
        assert (shown["status"], shown["attention"]["message"]) == ("attention", WAITS)
        assert [each["id"] for each in (await api.get("/v1/instances?status=attention")).json()["instances"]] == [
            "shop/A-1"
        ]
        again = await api.post("/v1/sagas/shop", json={"key": "A-1", "input": INPUT})
        assert (again.status_code, again.json()["status"]) == (200, "attention")
        other = await api.post("/v1/sagas/shop", json={"key": "A-1", "input": INPUT | {"n": 2}})
        assert other.status_code == 409
        await api.post("/v1/sagas/shop", json={"key": "A-2", "input": INPUT})
        closed = await api.post("/v1/instances/shop/A-2/abandon", json={"reason": "not needed"})
        assert (closed.status_code, closed.json()["status"]) == (200, "abandoned")
        old = await api.post("/v1/sagas/shop", json={"key": "A-3", "version": 1, "input": {"n": 1}})
        assert (old.status_code, old.json()["status"]) == (201, "running")
        unknown = await api.post("/v1/sagas/shopp", json={"input": INPUT})
        assert unknown.status_code == 404
        assert not any((await up.log.end_offsets([up.topics.dead])).values())
    async with stack(tmp_path, registry=NEW) as up:
        begun = await until(up, "shop/A-1", lambda d: d.status is Status.RUNNING)
        assert (begun.version, begun.state, list(begun.steps)) == (2, INPUT, ["a"])
        assert (await up.client.get("shop/A-2")).status is Status.ABANDONED


async def test_an_instance_is_of_the_version_whose_model_has_checked_its_input(tmp_path: Path) -> None:
    """The engine is newer: what an older API has checked does not fit the newest version."""
    async with stack(tmp_path, registry=OLD, deployed=NEW) as up:
        started = await up.client.start("shop", {"n": 1}, key="A-1")
        assert (started.created, started.waits, started.status) == (True, None, Status.RUNNING)
        assert (await up.client.get("shop/A-1")).version == 1
        with pytest.raises(InvalidRequest, match="version 2"):
            await up.client.start("shop", INPUT, version=2)
        with pytest.raises(UnknownDefinition):
            await up.client.start("shopp", INPUT)


async def test_the_command_line_says_that_a_start_waits(tmp_path: Path) -> None:
    settings = ApiSettings()
    async with stack(tmp_path, registry=NEW, deployed=OLD) as up:
        listener = bind("127.0.0.1", 0, settings)
        async with serving(create_app(up.client, clock=SystemClock()), listener, settings) as url:
            arguments = ["start", "shop", "--key", "A-1", "--input", '{"n": 1, "currency": "EUR"}', "--url", url]
            result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
            listed = await asyncio.to_thread(CliRunner().invoke, app, ["list", "--status", "attention", "--url", url])
    assert result.exit_code == 0, result.output
    assert f"shop/A-1 is accepted; waits to begin: {WAITS}; check with: saga show shop/A-1\n" in result.output
    assert "shop/A-1" in listed.output


async def test_an_event_for_a_process_manager_that_the_engine_does_not_know_starts_it_with_the_code(
    tmp_path: Path,
) -> None:
    paid = Event("paid", Do, keep=timedelta(hours=1))
    manager: ProcessManager[Old] = ProcessManager("billing", Old)

    @manager.starts_on(paid, key=lambda e: f"b-{e.n}")
    def begins(e: Do) -> Next[Old]:
        return Next("open", Old(n=e.n), timers={"late": timedelta(days=1)})

    @manager.on_timer("late", when="open")
    def late(s: Old) -> Next[Old]:
        return Next.complete()

    new = Registry([shop(1, Old), manager])
    async with stack(tmp_path, registry=new, deployed=OLD) as up:
        await up.client.publish(paid, Do(n=3), key="p-1")
        waits = await until(up, "billing/b-3", lambda d: d.status is Status.ATTENTION)
        assert waits.attention is not None
        assert waits.attention.message == "'billing' is not deployed here; deploy it"
        listed = await up.client.list(InstanceFilter(statuses=(Status.ATTENTION,)))
        assert [each.id for each in listed.documents] == ["billing/b-3"]
    async with stack(tmp_path, registry=new) as up:
        begun = await until(up, "billing/b-3", lambda d: d.status is Status.RUNNING)
        assert (begun.state, begun.version) == ({"n": 3}, 1)
        assert (await up.client.act("billing/b-3", ActName.CANCEL)).changed
