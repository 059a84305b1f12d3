"""A listening socket whose connections make room for others, and that takes the process not all of its files."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaline.api import ApiSettings, bind, create_app, serving
from sagaline.api.door import AT_ONCE, Door, connections_max
from sagaline.orchestrator.adapters.clock import SystemClock

from .stack import order, stack
from .test_api_serving import certificate


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_connections_that_only_stand_open_keep_nobody_out(tmp_path: Path, scheme: str) -> None:
    """The one that has been idle for the longest time makes room; what has a request is left alone.

    Over TLS they are those that never complete their handshake.
    """
    tls = certificate(tmp_path) if scheme == "https" else None
    settings, silent = ApiSettings(head_timeout=timedelta(minutes=1), tls=tls), list[Any]()
    trusted = ssl.create_default_context(cafile=tls[0]) if tls else True
    async with stack(tmp_path) as up:
        app = create_app(up.client, clock=SystemClock(), settings=settings)
        listener = bind("127.0.0.1", 0, settings)
        listener.most = 10
        feed = {"accept": "text/event-stream"}
        async with (
            serving(app, listener, settings) as url,
            httpx.AsyncClient(base_url=url, timeout=20, verify=trusted) as api,
            api.stream("GET", "/v1/events", headers=feed) as stream,
        ):
            assert url.startswith(f"{scheme}://")
            for number in range(30):
                silent.append(await asyncio.open_connection("127.0.0.1", listener.getsockname()[1]))
                silent[-1][1].write(b"GET /livez" if number % 2 and not tls else b"")
                assert (await api.get("/livez")).status_code == 200
            async with asyncio.timeout(20):
                assert await silent[0][0].read() == b""
                assert not silent[-1][0].at_eof()
                await up.client.start("order-checkout", order(), key="A-1")
                assert [line async for line in until("order-checkout/A-1", stream)]
            for _, writer in silent:
                writer.close()


async def until(text: str, stream: httpx.Response) -> AsyncIterator[str]:
    """The lines of a stream, up to one that has this text."""
    async for line in stream.aiter_lines():
        yield line
        if text in line:
            return


@pytest.mark.parametrize(
    ("files", "most"), [(resource.RLIM_INFINITY, 2_000), (20_000, 2_000), (1_024, 256), (300, AT_ONCE)]
)
def test_it_takes_as_many_as_files_are_left(monkeypatch: pytest.MonkeyPatch, files: int, most: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert connections_max() == most


def test_that_no_file_is_left_is_raised_once_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop asks on after an error, and logs each."""

    def full(_: socket.socket) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(socket.socket, "accept", full)
    with Door() as door:
        for _ in range(2):
            with pytest.raises(OSError, match="too many open files"):
                door.accept()
            with pytest.raises(BlockingIOError):
                door.accept()


def test_what_was_closed_in_its_handshake_is_forgotten() -> None:
    """Its number is that of another connection then, or it makes room first."""
    with Door() as door:
        door.most = 2
        door.bind(("127.0.0.1", 0))
        door.listen()
        for _ in range(3 * AT_ONCE):
            with socket.create_connection(door.getsockname()), door.accept()[0]:
                pass
        with socket.create_connection(door.getsockname()) as first, socket.create_connection(door.getsockname()):
            accepted = [door.accept()[0] for _ in range(2)]
            with socket.create_connection(door.getsockname()) as last:
                accepted.append(door.accept()[0])
                assert first.recv(1) == b"", "it has been silent for the longest time"
                last.setblocking(False)
                with pytest.raises(BlockingIOError):
                    last.recv(1)
            for each in accepted:
                each.close()


def test_with_nobody_to_make_room_a_new_one_is_closed() -> None:
    with Door() as door:
        door.most, door.made = 2, range(2 + AT_ONCE)
        door.bind(("127.0.0.1", 0))
        door.listen()
        with socket.create_connection(door.getsockname()) as late, door.accept()[0]:
            assert late.recv(1) == b""
