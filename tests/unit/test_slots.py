"""Slots: what one item's end, whatever it is, means for the others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple

import pytest

from sagaline.workers.slots import ByKey, Slots


class Item(NamedTuple):
    key: str
    number: int


class Hall:
    """Slots with an item per key at a time; what an item does is told by its coroutine function."""

    def __init__(self, count: int = 8) -> None:
        self.begun: list[int] = []
        self.acts: dict[int, Coroutine[Any, Any, None]] = {}
        self.tasks: list[asyncio.Task[Any]] = []
        self.slots: Slots[Item] = Slots(count, self._handle)
        self._by_key: ByKey[Item] = ByKey(self.slots.put)

    def put(self, key: str, number: int, act: Coroutine[Any, Any, None] | None = None) -> None:
        if act is not None:
            self.acts[number] = act
        self._by_key.admit(Item(key, number))

    def _handle(self, item: Item) -> Coroutine[Any, Any, None]:
        return self._rest(item)

    async def _rest(self, item: Item) -> None:
        self.begun.append(item.number)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        try:
            if (act := self.acts.pop(item.number, None)) is not None:
                await act
        finally:
            self._by_key.release(item)


async def turns() -> None:
    """Lets everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def waits() -> None:
    await asyncio.Event().wait()


async def fails() -> None:
    raise LookupError("no box")


async def test_when_one_crashes_its_error_alone_ends_the_group_though_others_wait_for_their_key() -> None:
    hall = Hall()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            hall.slots.open(group)
            hall.put("a", 1, waits())
            hall.put("a", 2)
            await turns()
            hall.put("b", 3, fails())

    with pytest.raises(ExceptionGroup) as ended:
        await run()
    assert [type(error) for error in ended.value.exceptions] == [LookupError]
    assert hall.begun == [1, 3]
