"""A receiver of what the courier sends, and a small system round it: for tests of webhooks and of push."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from sagaline.api import ApiSettings, create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.egress import EgressSettings, Guards
from sagaline.orchestrator.ports.clock import Clock
from sagaline.orchestrator.ports.log import TopicSpec
from sagaline.orchestrator.push import PushKey
from sagaline.workers.webhooks import Courier

from .stack import PARTITIONS, Stack, stack

__all__ = ["GUARDS", "KEYS", "QUICK", "Receiver", "World", "courier_world"]

KEYS = (b"k" * 32,)
QUICK = timedelta(milliseconds=20)
_LOCAL = EgressSettings(plain=True, allowed=(ipaddress.ip_network("127.0.0.0/8"),), timeout=timedelta(seconds=5))
GUARDS = Guards(webhooks=_LOCAL, push=_LOCAL)


@dataclass
class Receiver:
    """An HTTP server that keeps what it gets; ``status`` says what it answers."""

    status: Callable[[dict[str, Any]], int] = lambda event: 200
    read: Callable[[bytes], dict[str, Any]] = json.loads
    head: str = ""
    """More headers of its answers."""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    accepted: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, unless a test lets it hang."""

    def __post_init__(self) -> None:
        self.answers.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                pairs = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line]
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers["content-length"]))
                self.got.append((headers, body))
                await self.answers.wait()
                event = self.read(body)
                status = self.status(event)
                if status < 300:
                    self.accepted.append(event)
                writer.write(f"HTTP/1.1 {status} X\r\n{self.head}content-length: 4\r\n\r\nwell".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@dataclass
class World:
    stack: Stack
    api: httpx.AsyncClient
    receiver: Receiver
    clock: Clock = field(default_factory=SystemClock)
    """Of the courier."""
    push: PushKey | None = None

    @asynccontextmanager
    async def courier(self) -> AsyncIterator[Courier]:
        at = self.stack
        courier = Courier(at.log, at.topics, self.clock, keys=KEYS, push=self.push, guards=GUARDS)
        run = asyncio.create_task(courier.run())
        try:
            await self.until(lambda: run.done() or courier.objection is None)
            yield courier
        finally:
            courier.stop()
            await run

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while True:
                if holds():
                    return
                await asyncio.sleep(0.01)

    async def put(self, name: str, **more: Any) -> dict[str, Any]:
        response = await self.api.put(f"/v1/webhooks/{name}", json={"url": self.receiver.url, **more})
        assert response.status_code in (200, 201), response.text
        return response.json()

    def seen(self, instance: str) -> list[str]:
        return [each["type"].rpartition(".")[2] for each in self.receiver.accepted if each["subject"] == instance]


@asynccontextmanager
async def courier_world(folder: Path, settings: ApiSettings, **more: Any) -> AsyncIterator[World]:
    """A system whose API has these settings, and a receiver."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with stack(folder) as up:
        topics = up.topics
        await up.log.create_topics([TopicSpec(topics.webhooks, PARTITIONS, "delete")])
        for group, topic in (("webhooks", topics.history), ("webhook-deliveries", topics.webhooks)):
            await up.log.create_topics(topics.subscribed(group, topic, PARTITIONS))
        app = create_app(up.client, clock=SystemClock(), settings=settings)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as api:
            yield World(up, api, receiver, **more)
    server.close()
