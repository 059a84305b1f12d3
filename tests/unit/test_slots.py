"""Slots: what one item's end, whatever it is, means for the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from contextvars import ContextVar
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


class Closing(Exception):
    """Ends the slots of a test."""


async def with_slots(hall: Hall, act: Awaitable[None]) -> None:
    """Slots while this acts; then their group ends as a consumer's does, and what ended it alone is raised."""
    try:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            hall.slots.open(group)
            await act
            raise Closing
    except* Closing:
        pass


async def test_the_cancel_of_a_slot_by_a_stranger_is_not_the_end_of_the_others() -> None:
    """User code kept the task of a handler that has ended, and cancels it."""
    hall = Hall(2)

    async def act() -> None:
        hall.put("a", 1)
        await turns()
        hall.tasks[0].cancel()
        for number in (2, 3):
            hall.put("a", number)
            await turns()
        hall.put("a", 4)  # wakes the slot
        hall.tasks[-1].cancel()  # before it runs
        await turns()
        for number in (5, 6):
            hall.put(f"key-{number}", number, waits())
        hall.put("b", 7)
        await turns()

    await with_slots(hall, act())
    assert hall.begun == [1, 2, 3, 4, 5, 6], "two at a time, as before"


async def test_a_slot_ends_with_its_group_though_what_runs_in_it_keeps_the_cancel_to_itself() -> None:
    hall = Hall(2)

    async def stubborn() -> None:
        try:
            await waits()
        except asyncio.CancelledError:
            pass

    async def act() -> None:
        hall.put("a", 1, stubborn())
        await turns()

    await with_slots(hall, act())


async def test_what_is_cancelled_behind_its_handler_ends_the_group_as_an_error_does() -> None:
    """Its outcome would be lost, and its key would wait for ever."""
    hall = Hall(2)

    async def act() -> None:
        hall.put("a", 1, waits())
        await turns()
        hall.tasks[0].cancel()
        await waits()

    with pytest.raises(ExceptionGroup) as ended:
        await with_slots(hall, act())
    assert ["start a task of your own" in str(error) for error in ended.value.exceptions] == [True]


async def test_each_item_has_a_context_of_its_own_and_keeps_it() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nothing")
    seen: list[str] = []

    async def act(mine: str) -> None:
        seen.append(variable.get())
        variable.set(mine)
        await asyncio.sleep(0)
        seen.append(variable.get())

    hall = Hall(1)
    variable.set("the opener's")

    async def both() -> None:
        variable.set("a stranger's")
        for number, mine in enumerate("xy"):
            hall.put("a", number, act(mine))
        await turns()

    await with_slots(hall, asyncio.create_task(both()))
    assert seen == ["the opener's", "x", "the opener's", "y"]


@pytest.mark.parametrize("waits_first", [True, False])
async def test_an_item_that_cancels_its_own_task_at_its_end_harms_no_other(waits_first: bool) -> None:
    done, cancelled = list[int](), list[int]()

    async def cancels_itself() -> None:
        await asyncio.sleep(0)
        cancel_this_task()

    async def innocent(number: int) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        done.append(number)

    def handle(number: int) -> Coroutine[Any, Any, None] | None:
        if number:
            return innocent(number)
        return cancels_itself() if waits_first else cancel_this_task()

    slots: Slots[int] = Slots(1, handle)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        slots.open(group)
        for number in range(3):
            slots.put(number)
        await turns()
        for task in list(group._tasks):  # type: ignore[attr-defined]  # what waits for work ends with the test
            task.cancel()
    assert (done, cancelled) == ([1, 2], [])


def cancel_this_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
