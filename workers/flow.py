"""Flow control: which waiting command begins next, and what holds others back.

The limits of queues and contracts are followed on their topic, so that a change takes effect while the worker runs.
Each process takes the share of its partitions: there is no coordinator.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

import structlog
from pydantic import BaseModel

from ..orchestrator.codec.limits import decode_limits
from ..orchestrator.codec.presences import Held
from ..orchestrator.errors import SagalineError
from ..orchestrator.messages.flow_limits import EACH_KEY, FlowLimit
from ..orchestrator.messages.texts import said
from ..orchestrator.ports.clock import Clock
from ..orchestrator.ports.log import Log, Record, Tail, TopicPartition
from ..sagas.models import read
from .backlog import Backlog
from .gates import AtOnce, Circuit, Gate, Rate
from .stage import pauses
from .work import Work

__all__ = ["FlowControl"]

_POLL_SECONDS: Final = 600.0
_POLL_RECORDS: Final = 100
_GATES_MAX: Final = 10_000
"""Of limits of each key: those of the keys that began longest ago are forgotten beyond it."""
_logger = structlog.get_logger(__name__)


class FlowControl:
    """The backlog of one worker. ``put``, ``take`` and ``len`` are for its lanes.

    Args:
        log, topic: where the limits are read.
        clock: for rates and circuits.
        share: of a queue's partitions, how much of a whole number is this process's.
        wake: called when something may begin again.
    """

    def __init__(
        self, log: Log, topic: str, clock: Clock, share: Callable[[str, int], float], wake: Callable[[], None]
    ) -> None:
        self._log, self._topic, self._clock, self._share, self._wake = log, topic, clock, share, wake
        self._limits: tuple[FlowLimit, ...] = ()
        self._gates: dict[tuple[FlowLimit, str | None], Gate] = {}
        self._circuits: dict[str, Circuit] = {}
        self._unfair: set[str] = set()
        """The contracts whose ``fair_by`` has raised."""
        self._backlog: Backlog[Work] = Backlog(self._gates_of, clock.monotonic)
        self._timer: tuple[float, asyncio.TimerHandle] | None = None
        self._tail: Tail | None = None

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
        self._backlog.open = True
        self._resume()

    # Limits

    async def open(self) -> None:
        """Reads the limits that are set now; they are followed by ``run``.

        Raises:
            SagalineError: they cannot be read now; ``run`` goes on trying.
        """
        self._tail = tail = await self._log.tail([self._topic], "earliest")
        end = (await self._log.end_offsets([self._topic]))[TopicPartition(self._topic, 0)]
        while tail.positions()[TopicPartition(self._topic, 0)] < end:
            self._set(await tail.poll(max_records=_POLL_RECORDS, timeout=1.0))

    async def run(self) -> NoReturn:
        """Follows the limits; what cannot be read now is read later, and the limits stay as they are until then."""
        failures = 0
        while True:
            try:
                if self._tail is None:
                    await self.open()
                assert self._tail is not None
                self._set(await self._tail.poll(max_records=_POLL_RECORDS, timeout=_POLL_SECONDS))
                failures = 0
            except SagalineError as error:
                failures += 1
                if failures == 1:
                    _logger.warning("worker.limits.unavailable", error=str(error))
                await self.close()
                await asyncio.sleep(pauses(failures))

    async def close(self) -> None:
        """Never raises."""
        tail, self._tail = self._tail, None
        if tail is not None:
            await tail.close()

    def _set(self, records: Sequence[Record]) -> None:
        for record in records:
            if (found := decode_limits(record)) is not None and found != self._limits:
                self._limits = found
                self._gates = {key: gate for key, gate in self._gates.items() if key[0] in found}
                _logger.info("worker.limits.set", limits=[each.name for each in found])
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
        return gates

    def _gate_of(self, limit: FlowLimit, work: Work, queue: str) -> list[Gate]:
        key = None if limit.key is None else self._key_of(work)
        if limit.key not in (None, EACH_KEY, key):
            return []
        gate = self._gates.get((limit, key))
        if gate is None:
            whole = key is not None and not self._is_fair(work)  # a record's key is on one partition

            def share(count: int) -> float:
                return count if whole else self._share(queue, count)

            if limit.seconds is None:
                gate = AtOnce(limit.name, limit.count, share)
            else:
                gate = Rate(limit.name, limit.count, limit.seconds, share)
            if len(self._gates) >= _GATES_MAX:
                del self._gates[next(iter(self._gates))]
            self._gates[limit, key] = gate
        return [gate]

    # Fairness

    def _is_fair(self, work: Work) -> bool:
        return work.handler is not None and work.handler.fair_by is not None

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
        self._backlog.resume()
        self._wake()
