"""The deterministic loop: virtual time, one order per seed, and deadlocks that are named. The clock stands on it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from sagaline.orchestrator.testing import Deadlock, EndlessRun, SimClock, run


async def interleaved() -> list[str]:
    said: list[str] = []

    async def say(name: str) -> None:
        for number in range(5):
            said.append(f"{name}{number}")
            await asyncio.sleep(0)

    await asyncio.gather(*(say(name) for name in "abcd"))
    return said


def test_hours_pass_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(3 * 3600)
        return asyncio.get_running_loop().time()

    assert run(main(), seed=1) == 3 * 3600


def test_the_seed_alone_decides_the_order_of_steps() -> None:
    assert run(interleaved(), seed=1) == run(interleaved(), seed=1)
    assert len({tuple(run(interleaved(), seed=seed)) for seed in range(10)}) > 1
    plain = asyncio.run(interleaved())
    assert run(interleaved(), seed=1, shuffle=False) == plain


def test_a_deadlock_names_who_waits_and_where() -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.create_task(stuck(), name="the waiter")

    with pytest.raises(Deadlock, match="the waiter: wait in"):
        run(main(), seed=1)


def test_a_run_without_end_is_stopped() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110  # the fault itself
            await asyncio.sleep(0)

    with pytest.raises(EndlessRun, match="1,000 steps"):
        run(main(), seed=1, steps_max=1_000)


def test_what_blocks_is_called_in_the_loops_own_thread() -> None:
    async def main() -> int:
        return await asyncio.to_thread(lambda: 7)

    assert run(main(), seed=1) == 7


def test_what_is_left_running_is_cancelled() -> None:
    ended: list[int] = []

    async def wait(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    async def main() -> None:
        for number in range(5):
            asyncio.create_task(wait(number))  # noqa: RUF006  # left running on purpose
        await asyncio.sleep(1)

    run(main(), seed=1, shuffle=False)
    assert ended == [0, 1, 2, 3, 4]


def test_the_wall_clock_jumps_and_the_monotonic_clock_does_not() -> None:
    async def main() -> tuple[int, float]:
        clock = SimClock(1)
        before = clock.now_ms()
        await asyncio.sleep(1.5)
        clock.jump(timedelta(hours=2))
        clock.jump(timedelta(hours=-3))
        return clock.now_ms() - before, clock.monotonic()

    assert run(main(), seed=1) == (1_500 - 3_600_000, 1.5)


def test_ids_come_from_the_seed() -> None:
    first, same, other = SimClock(1), SimClock(1), SimClock(2)
    ids = [first.new_id() for _ in range(3)]
    assert ids == [same.new_id() for _ in range(3)]
    assert len({*ids, other.new_id()}) == 4
    assert all(len(one) == 32 for one in ids)
