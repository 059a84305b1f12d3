"""Readers of the feed over each transport, that come again after every failure and continue from their cursor; and what
the log says that they must have seen.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from sagaline.orchestrator.ports.log import Log

__all__ = ["KINDS", "Reader", "differences", "reading", "written"]

_AGAIN_SECONDS = 0.2
_OPEN_SECONDS = 20.0


class Reader(ABC):
    """Follows the feed from a cursor until it is cancelled. ``seen``: the ids of its events, in order."""

    def __init__(self, base: str, cursor: str) -> None:
        self.base, self.cursor = base, cursor
        self.seen: list[str] = []
        self.begun = 0

    async def run(self) -> None:
        while True:
            try:
                self.begun += 1
                await self.read()
            except (httpx.HTTPError, OSError, WebSocketException, TimeoutError):
                pass
            await asyncio.sleep(_AGAIN_SECONDS)

    def took(self, event: Mapping[str, Any]) -> None:
        self.seen.append(event["id"])
        self.cursor = event["cursor"]

    @abstractmethod
    async def read(self) -> None:
        """Reads until something fails."""


class StreamReader(Reader):
    """Server-Sent Events."""

    async def read(self) -> None:
        timeout = httpx.Timeout(_OPEN_SECONDS, read=60)
        async with (
            httpx.AsyncClient(base_url=self.base, timeout=timeout) as http,
            http.stream("GET", "/v1/events/stream", headers={"Last-Event-ID": self.cursor}) as answer,
        ):
            if answer.status_code != 200:
                return
            block: list[str] = []
            async for line in answer.aiter_lines():
                if line:
                    block.append(line)
                    continue
                fields = dict(each.split(": ", 1) for each in block if not each.startswith(":"))
                block = []
                if "event" not in fields and "data" in fields:
                    self.took(json.loads(fields["data"]))
                elif "id" in fields:
                    self.cursor = fields["id"]


class SocketReader(Reader):
    """A WebSocket."""

    async def read(self) -> None:
        address = self.base.replace("http://", "ws://")
        async with connect(f"{address}/v1/ws", open_timeout=_OPEN_SECONDS) as ws:
            await ws.send(json.dumps({"id": "s", "do": "subscribe", "after": self.cursor}))
            async for text in ws:
                message = json.loads(text)
                if "event" in message:
                    self.took(message["event"])
                elif "cursor" in message:
                    self.cursor = message["cursor"]
                elif "problem" in message:
                    return


class PollReader(Reader):
    """Long polling."""

    async def read(self) -> None:
        async with httpx.AsyncClient(base_url=self.base, timeout=60) as http:
            while True:
                answer = await http.get("/v1/events", params={"after": self.cursor}, headers={"Prefer": "wait=20"})
                if answer.status_code != 200:
                    return
                page = answer.json()
                for event in page["events"]:
                    self.took(event)
                self.cursor = page["cursor"]


KINDS: Mapping[str, type[Reader]] = {"sse": StreamReader, "ws": SocketReader, "poll": PollReader}


@asynccontextmanager
async def reading(readers: Sequence[Reader]) -> AsyncIterator[None]:
    """Runs the readers during the block."""
    runs = [asyncio.create_task(each.run()) for each in readers]
    try:
        yield
    finally:
        for each in runs:
            each.cancel()
        for outcome in await asyncio.gather(*runs, return_exceptions=True):
            if not isinstance(outcome, asyncio.CancelledError) and outcome is not None:
                raise outcome


async def written(log: Log, history: str) -> dict[int, list[str]]:
    """The ids that every reader must have seen, by partition and in order, from the records themselves."""
    ends = await log.end_offsets([history])
    tail = await log.tail([history], "earliest")
    found: dict[int, list[str]] = {at.partition: [] for at in ends}
    try:
        while any(tail.positions()[at] < end for at, end in ends.items()):
            for record in await tail.poll(max_records=1_000, timeout=1.0):
                value = json.loads(record.value or b"{}")
                if not (record.key or b"@").startswith(b"@") and value["outcome"] in ("applied", "deferred", "denied"):
                    found[record.partition].append(f"{record.partition}-{record.offset}")
    finally:
        await tail.close()
    return found


def differences(reader: Reader, expected: Mapping[int, Sequence[str]]) -> str:
    """How many events a reader has missed, seen twice, or seen in another order than that of their partition."""
    missed = doubled = reordered = 0
    for partition, ids in expected.items():
        seen = [each for each in reader.seen if each.startswith(f"{partition}-")]
        missed += len(set(ids) - set(seen))
        doubled += len(seen) - len(set(seen))
        reordered += seen != sorted(seen, key=lambda each: int(each.partition("-")[2]))
    return f"missed {missed}, doubled {doubled}, reordered {reordered}"
