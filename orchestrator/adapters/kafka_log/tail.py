"""A groupless reader over every partition of some topics; see ``ports.log.Tail``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import aiokafka.errors as errors

from ...errors import LogUnavailable
from ...ports.log import Record, TopicPartition
from .reader import Reader
from .topics import Catalog

__all__ = ["KafkaTail"]


class KafkaTail:
    def __init__(self, reader: Reader, catalog: Catalog, on_close: Callable[[KafkaTail], None]) -> None:
        self._reader = reader
        self._catalog = catalog
        self._on_close = on_close
        self._closed = False

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        if self._closed:
            raise LogUnavailable("this tail has been closed: open another")
        try:
            return await self._reader.poll(max_records=max_records, timeout=timeout)
        except LogUnavailable as error:
            topics = {place.topic for place in self._reader.positions()}
            raise await self._catalog.explained(error, topics) from error
        except errors.OffsetOutOfRangeError as error:
            # Deleted by retention, or the topic was created again: either way continue at the earliest record.
            for where in error.args[0]:
                place = TopicPartition(where.topic, where.partition)
                self._reader.move(place, await self._catalog.earliest(place))
            return ()

    def positions(self) -> Mapping[TopicPartition, int]:
        return self._reader.positions()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._on_close(self)
        await self._reader.stop()
