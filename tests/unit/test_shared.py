"""One question for all who ask at once; nobody gets an answer that was asked for before he came."""

from __future__ import annotations

import asyncio

import pytest

from sagaline.orchestrator.errors import LogUnavailable
from sagaline.orchestrator.runtime.shared import Shared


class Counting:
    """Answers, when it may, with what stood when it was asked."""

    def __init__(self) -> None:
        self.stands = self.asked = 0
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.asked += 1
        stood = self.stands
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return stood


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_crowd_asks_twice_and_who_came_later_gets_the_later_answer() -> None:
    counting = Counting()
    shared = Shared(counting)
    early = [asyncio.create_task(shared()) for _ in range(50)]
    await turns()
    counting.stands = 1
    late = [asyncio.create_task(shared()) for _ in range(50)]
    await turns()
    counting.may_answer.set()
    assert set(await asyncio.gather(*early)) == {0}
    assert set(await asyncio.gather(*late)) == {1}
    assert counting.asked == 2
    counting.stands = 2
    assert (await shared(), counting.asked) == (2, 3)


async def test_one_that_is_cancelled_harms_nobody_and_an_error_reaches_all() -> None:
    counting = Counting()
    shared = Shared(counting)
    first, second = asyncio.create_task(shared()), asyncio.create_task(shared())
    await turns()
    first.cancel()
    counting.may_answer.set()
    assert await second == 0
    with pytest.raises(asyncio.CancelledError):
        await first
    counting.error = LogUnavailable("it is gone")
    found = await asyncio.gather(*(shared() for _ in range(3)), return_exceptions=True)
    assert found == [counting.error] * 3
    counting.error = None
    assert await shared() == 0
