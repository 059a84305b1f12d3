"""The rules of a table, followed on their topic: a change takes effect while the process runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from ..orchestrator.codec.rules import decode_rules
from ..orchestrator.errors import SagalineError
from ..orchestrator.messages.outputs import Announce
from ..orchestrator.ports.log import Log, Record, Tail, TopicPartition
from .failures import Failures

__all__ = ["Followed"]

_POLL_SECONDS: Final = 600.0
_CHECK_SECONDS: Final = 1.0
"""After a failure: soon it is known whether they can be read again."""
_POLL_RECORDS: Final = 100


class Followed:
    """Reads the rules of one table from ``topics.rules`` and passes each change on to ``apply``."""

    def __init__(self, log: Log, topic: str, table: str, apply: Callable[[Announce], None]) -> None:
        self._log, self._topic, self._table, self._apply = log, topic, table, apply
        self._tail: Tail | None = None
        self._failures = Failures("rules", table=table)

    @property
    def objection(self) -> str | None:
        """Why later changes do not take effect; None: they do."""
        last = self._failures.last
        return f"the rules {self._table!r} cannot be read: {last}" if last is not None else None

    async def open(self) -> None:
        """Applies the rules that are set now, and none that they have replaced; ``run`` follows later ones.

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
        """Follows the rules; what cannot be read now is read later, and the rules stay as they are until then."""
        failures = self._failures
        while True:
            try:
                if self._tail is None:
                    await self.open()
                assert self._tail is not None
                seconds = _POLL_SECONDS if failures.last is None else _CHECK_SECONDS
                self._set(await self._tail.poll(max_records=_POLL_RECORDS, timeout=seconds))
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
        rules = next(
            (found for each in reversed(records) if (found := decode_rules(each, self._table)) is not None), None
        )
        if rules is not None:
            self._apply(rules)
