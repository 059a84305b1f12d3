"""What a process says of its health: who may ask, and what is in the answer."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from sagaline.api.health import create_health_app
from sagaline.api.settings import ApiSettings
from sagaline.orchestrator.cli.readiness import Readiness
from sagaline.orchestrator.errors import LogUnavailable
from sagaline.workers import Worker, WorkerRuntime

from ..worker_world import audit, pack, worker_world

TOKEN = "a-token-that-nobody-guesses"


def client(readiness: Readiness, *tokens: str) -> httpx.AsyncClient:
    app = create_health_app(
        readiness.check, readiness.objections, lambda: "measured 1\n", ApiSettings(tokens=tuple(tokens))
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop.example:8081")


async def test_a_process_is_ready_only_between_start_and_stop_and_while_its_parts_and_the_log_are() -> None:
    readiness = Readiness()
    wrong: list[str] = []
    unavailable: list[str] = []

    async def check() -> None:
        if unavailable:
            raise LogUnavailable(unavailable[0])

    readiness.add(lambda: wrong[0] if wrong else None)
    readiness.add(lambda: wrong[1] if len(wrong) > 1 else None)
    readiness.add_check(check)

    async def says() -> tuple[int, str]:
        async with client(readiness) as health:  # a new one: good and bad answers of others are used for a second
            answer = await health.get("/readyz")
        assert answer.headers["content-type"].startswith("application/")
        return answer.status_code, answer.json().get("detail", "")

    assert await says() == (503, "the process is starting")
    with readiness.open():
        assert await says() == (200, "")
        unavailable.append("the log does not answer")
        assert await says() == (503, "the log does not answer")
        wrong += ["the engine is away", "the worker too"]
        assert await says() == (503, "the engine is away; the worker too")
        wrong.clear()
        unavailable.clear()
        assert await says() == (200, "")
    assert (await says())[1].startswith("the process is stopping")


async def test_a_part_that_fails_is_seen_at_once_though_the_log_answered_a_moment_ago() -> None:
    readiness = Readiness()
    async with client(readiness) as health:
        with readiness.open():
            assert (await health.get("/readyz")).status_code == 200
        assert (await health.get("/readyz")).status_code == 503


async def test_other_machines_may_ask_for_health_and_only_with_a_token_for_measurements() -> None:
    async with client(Readiness()) as health:
        assert (await health.get("/livez")).json() == {"status": "ok"}
        assert (await health.get("/metrics")).json()["type"] == "urn:sagaline:problem:forbidden-host"
        assert (await health.get("/metrics", headers={"host": "127.0.0.1:8081"})).text == "measured 1\n"
        assert (await health.get("/openapi.json")).status_code == 404
    async with client(Readiness(), TOKEN) as health:
        assert (await health.get("/livez")).status_code == 200
        assert (await health.get("/metrics")).status_code == 401
        assert (await health.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})).status_code == 200


@pytest.mark.slow
async def test_a_worker_objects_until_it_has_joined_and_when_it_stops(tmp_path: Path) -> None:
    worker = Worker("packer")
    for contract in (pack, audit):
        worker.handles(contract)(lambda command: None)  # type: ignore[arg-type, return-value]  # never called
    async with worker_world(tmp_path) as world:
        runtime = WorkerRuntime(worker, world.log, world.topics, world.clock)
        assert runtime.objection == "worker 'packer': it has not joined its queues"
        async with world.running(worker) as runtime:
            assert runtime.objection is None
        assert runtime.objection == "worker 'packer': it is stopping"
