"""A deterministic event loop: virtual time, no threads, no IO, and all scheduling drawn from one seed.

- When nothing is ready, time jumps to the next scheduled handle; a run of hours takes milliseconds.
- Steps of different tasks that are ready at the same moment run in an order drawn from the seed. All else keeps
  asyncio's order. Tasks are numbered when they are created, so that no order depends on an address or a hash.
- Nothing ready and nothing scheduled is a deadlock and raises an error. A limit on steps stops endless runs.
- ``run_in_executor`` (``asyncio.to_thread``) calls the function at once, in the same thread.

It derives from ``asyncio.BaseEventLoop`` and replaces its ``_run_once``; this works on CPython 3.11 and 3.12.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from itertools import count
from typing import Any, TypeVar, TypeVarTuple

__all__ = ["Deadlock", "EndlessRun", "SimLoop", "SimulationError", "run"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STEPS_MAX = 20_000_000
_CLEAN_UP_STEPS = 200_000
_CLEAN_UP_ROUNDS = 10
_CANCELLED_MAX = 1_000
_NAMED_MAX = 50


class SimulationError(Exception):
    """The simulated program cannot continue; the message names what it was doing."""


class Deadlock(SimulationError):
    """Nothing is ready and nothing is scheduled: the waiting tasks can never continue."""


class EndlessRun(SimulationError):
    """The limit on steps is reached: the program loops forever, or the limit is too small."""


def run(main: Coroutine[Any, Any, T], *, seed: int | str, shuffle: bool = True, steps_max: int = STEPS_MAX) -> T:
    """Runs a coroutine to its end on a new ``SimLoop``; tasks left running are cancelled, oldest first.

    Args:
        main: the whole simulated world.
        seed: of everything random in the loop.
        shuffle: False: ready steps keep asyncio's own order.
        steps_max: how many callbacks may run.

    Raises:
        Deadlock: all tasks wait forever.
        EndlessRun: more than ``steps_max`` callbacks.
    """
    loop = SimLoop(seed=seed, shuffle=shuffle, steps_max=steps_max)
    try:
        return loop.run_until_complete(main)
    finally:
        try:
            loop.clean_up()
        finally:
            loop.close()


class SimLoop(asyncio.BaseEventLoop):
    """The deterministic event loop. Use ``run`` unless several runs must share one loop."""

    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(self, *, seed: int | str, shuffle: bool = True, steps_max: int = STEPS_MAX) -> None:
        super().__init__()
        self._random = random.Random(f"{seed}/loop")
        self._shuffle, self._steps_max = shuffle, steps_max
        self._now = 0.0
        self._order = count()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._cancelled_count = 0
        self._living: dict[asyncio.Task[Any], int] = {}
        self._prune_at = 1_000
        self.set_task_factory(self._make)
        self.steps = 0
        """The number of callbacks that have run."""

    # Time

    def time(self) -> float:
        """Seconds of virtual time since the loop was created."""
        return self._now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._check_open()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """asyncio calls this at each ``TimerHandle.cancel``."""
        self._cancelled_count += 1
        if self._cancelled_count > _CANCELLED_MAX and self._cancelled_count * 2 > len(self._timers):
            # The handle being cancelled is marked only after this call.
            self._timers = [entry for entry in self._timers if not entry[2].cancelled() and entry[2] is not handle]
            heapq.heapify(self._timers)
            self._cancelled_count = 0

    # What runs

    def _make(self, loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
        """asyncio's task factory: tasks are numbered, and named after their coroutine."""
        number = next(self._order)
        more["name"] = str(more.get("name") or f"{getattr(coro, '__qualname__', 'unknown')}-{number}")
        made: asyncio.Task[Any] = asyncio.Task(coro, loop=self, **more)
        self._living[made] = number
        if len(self._living) > self._prune_at:
            self._living = {one: number for one, number in self._living.items() if not one.done()}
            self._prune_at = max(1_000, 2 * len(self._living))
        return made

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Calls the function at once in this thread; a given executor is not used."""
        answer: asyncio.Future[T] = self.create_future()
        try:
            answer.set_result(func(*args))
        except Exception as error:
            answer.set_exception(error)
        return answer

    def clean_up(self) -> None:
        """Cancels the remaining tasks in the order of their creation, and runs them to their end.

        Raises:
            SimulationError: a cancelled task does not end.
        """
        self._steps_max = self.steps + _CLEAN_UP_STEPS
        for _ in range(_CLEAN_UP_ROUNDS):
            left = [one for one in self._living if not one.done()]
            if not left:
                break
            for one in left:
                one.cancel()
            self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.run_until_complete(self.shutdown_asyncgens())

    def _run_once(self) -> None:
        """One round: asyncio's ``run_forever`` calls it until it is told to stop."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
            self._cancelled_count -= 1
        if not self._ready and not self._stopping:
            if not timers:
                raise Deadlock(self._who_waits("nothing is ready and nothing is scheduled; these tasks wait forever:"))
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(timers)[2])
        batch = list(self._ready)
        self._ready.clear()
        self._run_batch(self._in_order(batch))

    def _run_batch(self, batch: list[asyncio.Handle]) -> None:
        for index, handle in enumerate(batch):
            if handle.cancelled():
                continue
            self.steps += 1
            if self.steps > self._steps_max:
                self._ready.extendleft(reversed(batch[index:]))
                raise EndlessRun(self._who_waits(f"{self._steps_max:,} steps are done, at {self._now:g} s there are:"))
            try:
                handle._run()
            except BaseException:  # SystemExit and KeyboardInterrupt end the run; remaining tasks can be cleaned up
                self._ready.extendleft(reversed(batch[index + 1 :]))
                raise

    def _in_order(self, batch: list[asyncio.Handle]) -> list[asyncio.Handle]:
        """Sorts steps of tasks by task number, then shuffles them among their places; other callbacks stay in place.

        Sorted first because cancelling a set of tasks makes them ready in the order of their addresses.
        """
        if len(batch) < 2:
            return batch
        places, steps = [], []
        for place, handle in enumerate(batch):
            owner = getattr(getattr(handle, "_callback", None), "__self__", None)
            if isinstance(owner, asyncio.Task):
                number = self._living.get(owner)
                if number is None:
                    number = self._living[owner] = next(self._order)
                places.append(place)
                steps.append((number, place, handle))
        if len(steps) > 1:
            steps.sort(key=_number)
            if self._shuffle:
                self._random.shuffle(steps)
            for place, (_, _, handle) in zip(places, steps, strict=True):
                batch[place] = handle
        return batch

    def _process_events(self, event_list: object) -> None:
        """Does nothing: there is no IO."""

    def _write_to_self(self) -> None:
        """Does nothing: no other thread wakes this loop; a task that waits for one is a deadlock."""

    def _check_open(self) -> None:
        if self.is_closed():
            raise RuntimeError("this simulation has ended; start another one with run()")

    def _who_waits(self, what: str) -> str:
        waiting = [one for one in self._living if not one.done()]
        lines = [f"  {one.get_name()}: {_place(one.get_coro())}" for one in waiting[:_NAMED_MAX]]
        if len(waiting) > _NAMED_MAX:
            lines.append(f"  and {len(waiting) - _NAMED_MAX} more")
        hint = "(threads and sockets do not work in a simulation: use parts that run in memory)"
        return "\n".join([what, *lines, hint])


def _number(step: tuple[int, int, asyncio.Handle]) -> tuple[int, int]:
    return step[0], step[1]


def _place(waiting: Any) -> str:
    """Where a coroutine is suspended: its innermost frame."""
    found = "not begun"
    for _ in range(100):
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "ag_frame", None)
        if frame is None:
            break
        found = f"{frame.f_code.co_name} in {frame.f_code.co_filename}:{frame.f_lineno}"
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "ag_await", None)
    return found
