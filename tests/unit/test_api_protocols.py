"""Which readers are cut off: those that take nothing, and not those that take a little."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import cast

import pytest

from sagaline.api import ApiSettings, bind
from sagaline.api.protocols import Stall


class Buffer:
    """The write buffer of a paused transport: how many bytes are left each time somebody looks."""

    def __init__(self, *left: int) -> None:
        self._left = iter(left)

    def get_write_buffer_size(self) -> int:
        return next(self._left)


async def looked(*left: int) -> list[int]:
    """What was not looked at when the connection ended."""
    ended = asyncio.get_running_loop().create_future()
    buffer = Buffer(*left)
    Stall(cast(asyncio.WriteTransport, buffer), 0.0, lambda: ended.set_result(None))
    async with asyncio.timeout(10):
        await ended
    return list(buffer._left)


async def test_a_reader_that_takes_nothing_is_ended_at_the_first_look() -> None:
    assert await looked(70_000, 70_000, 1) == [1]


async def test_a_reader_that_takes_a_little_each_time_goes_on_until_it_takes_nothing() -> None:
    assert await looked(70_000, 69_000, 68_999, 40_000, 40_000, 1) == [1]


class Pouring(asyncio.Protocol):
    """Writes as much as is taken, and is ended when nothing is."""

    was_cut = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._is_paused = transport, False
        self._pour()

    def _pour(self) -> None:
        while not self._is_paused and not self._transport.is_closing():
            self._transport.write(bytes(4_000))

    def pause_writing(self) -> None:
        self._is_paused = True
        self._stall = Stall(self._transport, 1.0, self._cut)

    def resume_writing(self) -> None:
        self._is_paused = False
        self._stall.cancel()
        asyncio.get_running_loop().call_soon(self._pour)

    def _cut(self) -> None:
        self.was_cut = True
        self._transport.abort()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system has no such option")
async def test_a_steady_reader_is_not_cut_off_though_it_takes_less_than_the_kernel_holds() -> None:
    loop, served = asyncio.get_running_loop(), Pouring()
    server = await loop.create_server(lambda: served, sock=bind("127.0.0.1", 0, ApiSettings()))
    with socket.create_connection(server.sockets[0].getsockname()) as reader:
        reader.setblocking(False)
        for _ in range(150):
            with suppress(BlockingIOError):
                reader.recv(8_000)
            await asyncio.sleep(0.02)
    server.close()
    assert not served.was_cut
