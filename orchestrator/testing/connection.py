"""One process's connection to the broker: every port call goes through it, and it applies the fault plan.

- A request that changes something is a *flight*: it arrives by a timer of its own, even if its caller is gone. If the
  connection breaks meanwhile, the plan draws whether it still arrives.
- A silent connection (cut, paused, killed) loses its group memberships after the member timeout.
- ``kill`` ends a process without leaving its groups; it sends nothing after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from ..errors import LogUnavailable
from .broker import Broker
from .faults import Fault, Operation
from .groups import Member

__all__ = ["Connection"]

T = TypeVar("T")

_NOTHING_DONE = "the log did not answer, nothing was done; try again"
_OUTCOME_UNKNOWN = "the log did not answer in time, the outcome is unknown; try again"


class _Flight(Generic[T]):
    """A request in flight. ``answer``: the future of its caller, if there is one."""

    def __init__(self, act: Callable[[], T], answer: asyncio.Future[T] | None) -> None:
        self.act, self.answer = act, answer
        self.handle: asyncio.Handle | None = None


class Connection:
    """Open when created; see ``MemoryLog`` for the parameters."""

    def __init__(
        self,
        broker: Broker,
        *,
        member_timeout_seconds: float,
        deadline_seconds: float,
        on_kill: Callable[[], None] | None = None,
    ) -> None:
        self.broker, self._faults = broker, broker.faults
        self._member_timeout, self._deadline, self._on_kill = member_timeout_seconds, deadline_seconds, on_kill
        self._flights: dict[_Flight[Any], None] = {}
        self._leftover: list[Member] = []
        self._listeners: dict[object, Callable[[], None]] = {}
        self._ended = ""
        self._cut = False
        self._paused: asyncio.Event | None = None
        self._silence: object | None = None
        """The time since which the connection is silent; None: it is not silent."""
        self._faults.at_heal(self, self.mend)

    # Its states

    @property
    def killed(self) -> bool:
        return self._ended == "killed"

    @property
    def reachable(self) -> bool:
        """True when requests reach the broker."""
        return self._silence is None and not self._ended

    def cut(self, seconds: float | None = None) -> None:
        """Cuts the connection, for this long or until ``mend``: calls raise at once."""
        self._cut = True
        self._fall_silent(seconds)
        self._sever()

    def pause(self, seconds: float | None = None) -> None:
        """Pauses the connection, for this long or until ``mend``: calls wait, and raise at their deadline."""
        self._paused = self._paused or asyncio.Event()
        self._fall_silent(seconds)

    def mend(self) -> None:
        """Ends a cut and a pause."""
        if self._ended:
            return
        self._cut, self._silence = False, None
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.set()
        leftover, self._leftover = self._leftover, []
        for member in leftover:
            self.broker.groups.remove(member)
        self.wake()

    def kill(self) -> None:
        """Ends the process: requests in flight may or may not arrive, and nothing is sent after that."""
        if not self._ended:
            self._fall_silent(None)
            self._end("killed")
            self._sever()
            if self._on_kill is not None:
                self._on_kill()

    def close(self) -> None:
        """Closes the connection and leaves its groups at once. Idempotent."""
        if not self._ended:
            if self.reachable:
                self.broker.groups.expire(self)
            else:
                asyncio.get_running_loop().call_later(self._member_timeout, self.broker.groups.expire, self)
            self._end("closed")

    def leave(self, member: Member) -> None:
        """Leaves a group, now or when the connection works again."""
        if self.reachable:
            self.broker.groups.remove(member)
        elif not self._ended:
            self._leftover.append(member)

    def listen(self, who: object, wake: Callable[[], None] | None) -> None:
        """Calls ``wake`` whenever the connection's state changes; None: stops that."""
        if wake is None:
            self._listeners.pop(who, None)
        else:
            self._listeners[who] = wake

    def wake(self) -> None:
        for wake in list(self._listeners.values()):
            wake()

    def check(self) -> None:
        """Raises: LogUnavailable, when nothing can get through."""
        if self._ended:
            raise LogUnavailable(f"this connection to the log is {self._ended}; open another one")
        if self._cut:
            raise LogUnavailable("the log is not reachable; wait until it is back, then try again")

    def _end(self, how: str) -> None:
        self._ended = how
        self._faults.at_heal(self, None)
        if self._paused is not None:
            self._paused.set()
        self.wake()

    def _fall_silent(self, seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        silence = self._silence = object()
        loop.call_later(self._member_timeout, self._expire, silence)
        if seconds is not None:
            loop.call_later(seconds, self._mend_of, silence)
        self.wake()

    def _expire(self, silence: object) -> None:
        if self._silence is silence:
            self.broker.groups.expire(self)

    def _mend_of(self, silence: object) -> None:
        if self._silence is silence:
            self.mend()

    def _sever(self) -> None:
        """Some requests in flight still arrive; no answer does."""
        flights, self._flights = self._flights, {}
        for flight in flights:
            if flight.handle is not None and self._faults.coin():
                flight.handle.cancel()
            if flight.answer is not None and not flight.answer.done():
                flight.answer.set_exception(LogUnavailable(_OUTCOME_UNKNOWN))

    # Calls

    async def read(self, operation: Operation) -> Fault | None:
        """Called before a call that changes nothing; returns a fault that only the caller can apply.

        Raises:
            LogUnavailable: the log is not reachable, or the plan says so.
        """
        fault = await self._enter(operation)
        if fault is Fault.DELAY:
            await asyncio.sleep(self._faults.seconds(fault))
            await self._reach()
            return None
        return fault

    async def write(
        self, operation: Operation, act: Callable[[], T], otherwise: Mapping[Fault, Callable[[], T]] | None = None
    ) -> T:
        """A call that changes something: ``act`` does it, at once.

        Args:
            operation: the kind of call, which decides its possible faults.
            act: the broker's action.
            otherwise: its action under these faults.

        Raises:
            LogUnavailable: it was not done, or the outcome is unknown.
        """
        fault = await self._enter(operation)
        if otherwise and fault is not None and fault in otherwise:
            return await self._fly(otherwise[fault])
        match fault:
            case Fault.DELAY:
                return await self._fly(act, self._faults.seconds(fault))
            case Fault.UNANSWERED:
                await self._settled(act)
                raise LogUnavailable(_OUTCOME_UNKNOWN)
            case Fault.LATE:
                self._launch(act, None, self._faults.seconds(fault))
                raise LogUnavailable(_OUTCOME_UNKNOWN)
            case Fault.REORDER:
                return await self._overtaken(act)
            case Fault.CRASH_BEFORE:
                self.kill()
                raise LogUnavailable(_NOTHING_DONE)
            case Fault.CRASH_AFTER:
                await self._settled(act)
                self.kill()
                raise LogUnavailable(_OUTCOME_UNKNOWN)
            case _:
                return await self._fly(act)

    async def _enter(self, operation: Operation) -> Fault | None:
        await self._reach()
        fault = self._faults.draw(operation)
        match fault:
            case None:
                return None
            case Fault.LOSE:
                await asyncio.sleep(0)
                raise LogUnavailable(_NOTHING_DONE)
            case Fault.CUT:
                self.cut(self._faults.seconds(fault))
                self.check()
            case Fault.PAUSE:
                self.pause(self._faults.seconds(fault))
                await self._reach()
            case Fault.FULL:
                self.broker.fill_disk(self._faults.seconds(fault))
            case Fault.MOVE:
                self.broker.groups.move(self._faults.random, self._faults.seconds(fault))
            case Fault.POISON:
                if not self.broker.poison():
                    self._faults.not_done(fault)
            case _:
                return fault
        return None

    async def _reach(self) -> None:
        self.check()
        if self._paused is not None:
            try:
                async with asyncio.timeout(self._deadline):
                    while self._paused is not None and not self._ended:
                        await self._paused.wait()
            except TimeoutError:
                raise LogUnavailable(f"the log did not answer within {self._deadline:g} s; try again") from None
            self.check()

    def _launch(self, act: Callable[[], T], answer: asyncio.Future[T] | None, seconds: float) -> None:
        loop, flight = asyncio.get_running_loop(), _Flight(act, answer)
        self._flights[flight] = None
        if seconds > 0:
            flight.handle = loop.call_later(seconds, self._arrive, flight)
        else:
            flight.handle = loop.call_soon(self._arrive, flight)

    def _arrive(self, flight: _Flight[Any]) -> None:
        self._flights.pop(flight, None)
        answer = flight.answer
        try:
            result = flight.act()
        except Exception as error:
            if answer is not None and not answer.done():
                answer.set_exception(error)
        else:
            if answer is not None and not answer.done():
                answer.set_result(result)

    async def _fly(self, act: Callable[[], T], seconds: float = 0.0) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._launch(act, answer, seconds)
        return await answer

    async def _settled(self, act: Callable[[], T]) -> None:
        """Carries it out and drops the answer."""
        try:
            await self._fly(act)
        except LogUnavailable:
            raise
        except Exception:
            return

    async def _overtaken(self, act: Callable[[], T]) -> T:
        """Delivers it after the next append of any process, or after a while."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        flight = _Flight(act, answer)
        self._flights[flight] = None

        def arrive(overtaken: bool) -> None:
            self.broker.after_append(flight, None)
            if handle.cancelled():  # the connection broke and the request was lost
                return
            if overtaken:
                handle.cancel()
            else:
                self._faults.not_done(Fault.REORDER)
            self._arrive(flight)

        handle = flight.handle = loop.call_later(self._faults.seconds(Fault.REORDER), arrive, False)
        self.broker.after_append(flight, lambda: arrive(True))
        return await answer
