"""Flow control: which waiting command begins next, and what holds others back.

Limits may change while commands wait. Each process takes the share of its partitions: there is no coordinator.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import structlog
from pydantic import BaseModel

from ..orchestrator.codec.presences import Held
from ..orchestrator.messages.flow_limits import EACH_KEY, FlowLimit
from ..orchestrator.messages.texts import said
from ..orchestrator.ports.clock import Clock
from ..sagas.models import read
from .backlog import Backlog
from .gates import AtOnce, Circuit, Gate, Rate
from .work import Work

__all__ = ["FlowControl"]

_GATES_MAX: Final = 10_000
"""Of limits with a key: beyond it those used longest ago are forgotten, but none where something runs or waits."""
_logger = structlog.get_logger(__name__)


class FlowControl:
    """The backlog of one worker. ``put``, ``take`` and ``len`` are for its slots.

    Args:
        clock: for rates and circuits.
        too_late: why a command is not begun any more; it passes no gate. None: it may be begun.
        share: of a queue's partitions, how much of a whole number is this process's.
        wake: called when something may begin again.
    """

    def __init__(
        self,
        clock: Clock,
        too_late: Callable[[Work], str | None],
        share: Callable[[str, int], float],
        wake: Callable[[], None],
    ) -> None:
        self._clock, self._too_late, self._share, self._wake = clock, too_late, share, wake
        self._limits: tuple[FlowLimit, ...] = ()
        self._gates: dict[FlowLimit, Gate] = {}
        self._keyed: OrderedDict[tuple[FlowLimit, str], Gate] = OrderedDict()
        """Of limits with a key, that which was used longest ago first."""
        self._circuits: dict[str, Circuit] = {}
        self._unfair: set[str] = set()
        """The contracts whose ``fair_by`` has raised."""
        self._backlog: Backlog[Work] = Backlog(self._gates_of, clock.monotonic)
        self._timer: tuple[float, asyncio.TimerHandle] | None = None

    def __len__(self) -> int:
        return len(self._backlog)

    def put(self, work: Work) -> None:
        work.flow = (work.name, self._fair_value(work))
        self._backlog.put(work)

    def take(self) -> Work | None:
        work = self._backlog.take()
        if work is None:
            self._look_again()
        return work

    def finished(self, work: Work, failed: bool | None) -> None:
        """``failed`` None: the command was not carried out."""
        circuit = self._circuits.get(work.name)
        was_open = circuit is not None and circuit.is_open
        self._backlog.finished(work, failed)
        if circuit is not None and circuit.is_open is not was_open:
            say, news = (_logger.info, "closed") if was_open else (_logger.warning, "open")
            say(f"worker.circuit.{news}", contract=work.name)

    def held(self) -> dict[str, tuple[Held, ...]]:
        """What may not begin now, by topic."""
        counts: dict[str, dict[tuple[bool, str], int]] = {}
        for gate, first, count in self._backlog.held():
            mine = counts.setdefault(first.record.topic, {})
            key = (isinstance(gate, Circuit), gate.name)
            mine[key] = mine.get(key, 0) + count
        return {
            topic: tuple(
                Held(by="circuit" if circuit else "limit", name=name, count=count)
                for (circuit, name), count in held.items()
            )
            for topic, held in counts.items()
        }

    def stop(self) -> None:
        """From now on nothing is held back: what has not begun is dropped."""
        self._backlog.stop()
        self._resume()

    # Limits

    def limit(self, limits: tuple[FlowLimit, ...]) -> None:
        """From now on these limits hold, also for what waits; one that did not change goes on as it was."""
        if limits == self._limits:
            return
        self._limits = limits
        self._gates = {limit: gate for limit, gate in self._gates.items() if limit in limits}
        self._keyed = OrderedDict((key, gate) for key, gate in self._keyed.items() if key[0] in limits)
        _logger.info("worker.limits.set", limits=[each.name for each in limits])
        for work in self._backlog.clear():
            self.put(work)
        self._resume()

    def _gates_of(self, work: Work) -> list[Gate]:
        if work.handler is None or work.mark.lost:
            return []
        contract = work.handler.contract
        gates: list[Gate] = []
        if work.handler.circuit:
            gates.append(self._circuits.setdefault(contract.name, Circuit(contract.name)))
        for limit in self._limits:
            if limit.contract == contract.name or limit.queue == contract.queue:
                gates += self._gate_of(limit, work, contract.queue)
        return [] if gates and self._too_late(work) is not None else gates

    def _gate_of(self, limit: FlowLimit, work: Work, queue: str) -> list[Gate]:
        if limit.key is None:
            if (gate := self._gates.get(limit)) is None:
                gate = self._gates[limit] = _gate(limit, lambda count: self._share(queue, count))
            return [gate]
        key = self._key_of(work)
        if limit.key not in (EACH_KEY, key):
            return []
        gate = self._keyed.get((limit, key))
        if gate is None:
            fair = work.handler is not None and work.handler.fair_by is not None
            share = (lambda count: self._share(queue, count)) if fair else float  # a record's key is on one partition
            gate = self._keyed[limit, key] = _gate(limit, share)
            self._forget()
        self._keyed.move_to_end((limit, key))
        return [gate]

    def _forget(self) -> None:
        """Two are looked at for each new gate, so their number falls again when those that are in use become free."""
        for _ in range(min(2, len(self._keyed) - _GATES_MAX)):
            key, gate = next(iter(self._keyed.items()))
            if gate.is_empty and not self._backlog.holds_at(gate):
                del self._keyed[key]
            else:
                self._keyed.move_to_end(key)

    # Fairness

    def _key_of(self, work: Work) -> str:
        """The value that limits of a key are about: what the handler is fair by, else the record's key."""
        _, value = work.flow if isinstance(work.flow, tuple) else (None, None)
        return str(value) if value is not None else (work.record.key or b"").decode(errors="replace")

    def _fair_value(self, work: Work) -> str | None:
        handler = work.handler
        if handler is None:
            return None
        if handler.fair_by is None:
            by_key = any(
                limit.key is not None and (limit.contract == work.name or limit.queue == handler.contract.queue)
                for limit in self._limits
            )
            return (work.record.key or b"").decode(errors="replace") if by_key else None
        try:
            command: BaseModel = read(handler.contract.command, work.command.payload)
        except Exception:  # the handler's own check of the command says what is wrong with it
            return None
        try:
            return str(handler.fair_by(command))
        except Exception as error:
            if work.name not in self._unfair:
                self._unfair.add(work.name)
                why = f"fair_by raised {said(error)}: such commands take turns as one value; correct the function"
                _logger.warning("worker.fair_by.failed", contract=work.name, error=why)
            return None

    # Time

    def _look_again(self) -> None:
        """Sets a timer for when the first closed gate may open by itself."""
        at = self._backlog.opens_at()
        if at is None or (self._timer is not None and self._timer[0] <= at):
            return
        if self._timer is not None:
            self._timer[1].cancel()
        loop = asyncio.get_running_loop()
        self._timer = at, loop.call_later(max(0.001, at - self._clock.monotonic()), self._resume)

    def _resume(self) -> None:
        if self._timer is not None:
            self._timer[1].cancel()
            self._timer = None
        self._wake()


def _gate(limit: FlowLimit, share: Callable[[int], float]) -> Gate:
    if limit.seconds is None:
        return AtOnce(limit.name, limit.count, share)
    return Rate(limit.name, limit.count, limit.seconds, share)
