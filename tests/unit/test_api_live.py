"""Streams and WebSockets of a real server: they outlive the head's timeout, end with the server, and a connection that
takes no data is cut off.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from sagaline.api import ApiSettings, bind, create_app, serving
from sagaline.api.protocols import TOO_SLOW
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.codec.documents import encode_history
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.outputs import Outcome

from .stack import Stack, order, stack

pytestmark = pytest.mark.slow


@asynccontextmanager
async def served(up: Stack, **given: Any) -> AsyncIterator[int]:
    settings = ApiSettings(**given)
    listener = bind("127.0.0.1", 0, settings)
    app = create_app(up.client, clock=SystemClock(), settings=settings)
    async with serving(app, listener, settings):
        yield int(listener.getsockname()[1])


async def test_a_websocket_outlives_the_head_timeout_and_is_closed_when_the_server_stops(tmp_path: Path) -> None:
    async with stack(tmp_path) as up, asyncio.timeout(60):
        async with served(up, head_timeout=timedelta(milliseconds=100)) as port:
            ws = await connect(f"ws://127.0.0.1:{port}/v1/ws")
            await asyncio.sleep(0.3)  # longer than the head may take
            await ws.send(json.dumps({"id": "s", "do": "subscribe"}))
            assert "cursor" in json.loads(await ws.recv())["answer"]
            await up.client.start("order-checkout", order("A-1"), key="A-1")
            assert json.loads(await ws.recv())["event"]["subject"] == "order-checkout/A-1"
            with pytest.raises(InvalidStatus):
                await connect(f"ws://127.0.0.1:{port}/v1/other")
            large = await connect(f"ws://127.0.0.1:{port}/v1/ws")
            await large.send("x" * 300_000)
            with pytest.raises(ConnectionClosed) as too_large:
                await large.recv()
            assert too_large.value.rcvd is not None
            assert too_large.value.rcvd.code == 1009
        with pytest.raises(ConnectionClosed) as closed:
            await ws.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012


async def test_streams_and_waiting_requests_end_when_the_server_stops(tmp_path: Path) -> None:
    async with stack(tmp_path) as up, asyncio.timeout(60):
        opened = asyncio.Event()
        async with served(up) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as api:

            async def read() -> None:
                async with api.stream("GET", "/v1/events/stream") as answer:
                    async for _ in answer.aiter_lines():
                        opened.set()

            reads = asyncio.create_task(read())
            waits = asyncio.create_task(api.get("/v1/events?wait=60"))
            await opened.wait()
            while up.feed.window.waiting_count < 2:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.01)
            up.client.stop_waiting()
            await reads
            assert (await waits).json()["events"] == []


def deaf(port: int) -> socket.socket:
    """A connection with little room for what it does not read."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    one.connect(("127.0.0.1", port))
    one.setblocking(False)
    return one


async def receive(one: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(one, 65_536)


async def filled(up: Stack) -> None:
    """Appends so many decisions that the buffers of a connection cannot hold their events: some ten megabytes."""
    topic, records = up.topics.history, []
    for number in range(2_500):
        decided = HistoryRecord(
            instance="order-checkout/A-1",
            revision=number + 1,
            at_ms=number,
            outcome=Outcome.APPLIED,
            status=Status.RUNNING,
            message=None,
            reason="é" * 1_900,
        )
        records.append(encode_history(topic, 0, decided, id=f"0/{number}", request="r", source="/t/engine"))
    await up.log.append(records)


async def too_slow(told: list[EventDict]) -> None:
    """Returns when the server has found that its client takes nothing."""
    while not any(line["event"] == "connection.too_slow" for line in told):  # noqa: ASYNC110  # only its log tells
        await asyncio.sleep(0.05)


async def read_to_the_end(one: socket.socket) -> bytes:
    found = b""
    try:
        while chunk := await receive(one):
            found += chunk
    except ConnectionResetError:
        pass
    return found


async def test_a_stream_that_is_not_read_is_cut_off_and_others_go_on(tmp_path: Path) -> None:
    stall = timedelta(milliseconds=300)
    async with stack(tmp_path) as up, asyncio.timeout(100), served(up, stall_timeout=stall) as port:
        with deaf(port) as one, capture_logs() as told:
            one.sendall(b"GET /v1/events/stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
            begun = b""
            while b"event: cursor" not in begun:  # from here on it takes nothing
                chunk = await receive(one)
                assert chunk, "the stream has ended"
                begun += chunk
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as api:
                await filled(up)
                assert (await api.get("/livez")).status_code == 200
                await too_slow(told)
                assert (await api.get("/livez")).status_code == 200
            found = await read_to_the_end(one)
            assert not found.endswith(b"0\r\n\r\n")


async def test_a_websocket_that_is_not_read_is_told_to_continue_from_its_cursor(tmp_path: Path) -> None:
    stall = timedelta(milliseconds=300)
    async with stack(tmp_path) as up, asyncio.timeout(100), served(up, stall_timeout=stall) as port:
        with deaf(port) as one, capture_logs() as told:
            ws = await connect(f"ws://127.0.0.1:{port}/v1/ws", sock=one, max_queue=1)
            await ws.send(json.dumps({"id": "s", "do": "subscribe"}))
            await ws.recv()
            await filled(up)
            await too_slow(told)
            closed = await the_end(ws)
            assert closed.rcvd is not None
            assert closed.rcvd.code == TOO_SLOW


async def the_end(ws: ClientConnection) -> ConnectionClosed:
    while True:
        try:
            await ws.recv()
        except ConnectionClosed as closed:
            return closed
