"""The limits of queues and contracts, followed on their topic: a change takes effect while the worker runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from ..orchestrator.codec.limits import decode_limits
from ..orchestrator.errors import SagalineError
from ..orchestrator.messages.flow_limits import FlowLimit
from ..orchestrator.ports.log import Log, Record, Tail, TopicPartition
from .failures import Failures

__all__ = ["Limits"]

_POLL_SECONDS: Final = 600.0
_POLL_RECORDS: Final = 100


class Limits:
    """Reads the limits from a topic of a log and passes each change on to ``apply``."""

    def __init__(self, log: Log, topic: str, apply: Callable[[tuple[FlowLimit, ...]], None]) -> None:
        self._log, self._topic, self._apply = log, topic, apply
        self._tail: Tail | None = None

    async def open(self) -> None:
        """Applies the limits that are set now, and none that they have replaced; ``run`` follows later ones.

        Raises:
            SagalineError: they cannot be read now; ``run`` goes on trying.
        """
        tail = await self._log.tail([self._topic], "earliest")
        place, records = TopicPartition(self._topic, 0), list[Record]()
        try:
            end = (await self._log.end_offsets([self._topic]))[place]
            while tail.positions()[place] < end:
                records += await tail.poll(max_records=_POLL_RECORDS, timeout=1.0)
        except BaseException:
            await tail.close()
            raise
        self._tail = tail
        self._set(records)

    async def run(self) -> NoReturn:
        """Follows the limits; what cannot be read now is read later, and the limits stay as they are until then."""
        failures = Failures("worker.limits")
        while True:
            try:
                if self._tail is None:
                    await self.open()
                assert self._tail is not None
                self._set(await self._tail.poll(max_records=_POLL_RECORDS, timeout=_POLL_SECONDS))
                failures.succeeded()
            except SagalineError as error:
                failures.failed(error)
                await self.close()
                await failures.wait()

    async def close(self) -> None:
        """Never raises."""
        tail, self._tail = self._tail, None
        if tail is not None:
            await tail.close()

    def _set(self, records: Sequence[Record]) -> None:
        """The last one that can be read holds."""
        found = next((found for each in reversed(records) if (found := decode_limits(each)) is not None), None)
        if found is not None:
            self._apply(found)
