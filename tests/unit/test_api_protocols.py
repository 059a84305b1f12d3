"""Which readers are cut off: those that take nothing, and not those that take a little."""

from __future__ import annotations

import asyncio
from typing import cast

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
