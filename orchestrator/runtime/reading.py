"""Converts records of the log to one update of the read model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import structlog

from ..codec.dead_letters import read_dead_letter
from ..codec.documents import decode_document, decode_history
from ..codec.entities import decode_entity
from ..codec.wire import BadRecord
from ..kernel import Registry, names_instance
from ..messages.dead import DeadRecord
from ..messages.document import Document
from ..messages.entities import Entity
from ..ports.log import Record, TopicPartition
from ..ports.read_model import DocumentRow, EntityRow, HistoryRow, Update
from ..ports.topics import POSITION_KEY, Topics
from .landmarks import landmark_of
from .metrics import Metrics

__all__ = ["Reading"]

_log = structlog.get_logger("sagaline.projector")

E = TypeVar("E", Document, Entity)

_DECODE_CHUNK = 64


class Reading:
    """Converts records to one update: only the last document of each entity is parsed.

    Yields to the event loop in between, because the engine often runs in it too.
    """

    def __init__(self, topics: Topics, metrics: Metrics, registry: Registry) -> None:
        self._topics, self._metrics, self._registry = topics, metrics, registry

    async def read(self, records: Sequence[Record], positions: Mapping[TopicPartition, int]) -> Update:
        """The update, still without its time and its generation."""
        last: dict[bytes, Record] = {}
        history: list[HistoryRow] = []
        letters: list[DeadRecord] = []
        latest: dict[TopicPartition, Record] = {}
        for number, record in enumerate(records):
            if number % _DECODE_CHUNK == _DECODE_CHUNK - 1:
                await asyncio.sleep(0)
            if record.topic == self._topics.state:
                if record.key is not None and record.key != POSITION_KEY:
                    last[record.key] = record
                continue
            if record.topic == self._topics.dead:
                letters.append(read_dead_letter(record))
                continue
            latest[TopicPartition(record.topic, record.partition)] = record
            try:
                history.append(HistoryRow(record.offset, decode_history(record), record.partition))
            except BadRecord as error:
                self._skip(record, error)
        documents: dict[str, DocumentRow] = {}
        entities: dict[str, EntityRow] = {}
        for number, (key, record) in enumerate(last.items()):
            if number % _DECODE_CHUNK == _DECODE_CHUNK - 1:
                await asyncio.sleep(0)
            at = TopicPartition(record.topic, record.partition)
            try:
                entity = key.decode()
                if not names_instance(entity):
                    entities[entity] = EntityRow(record.offset, _read(entity, record.value, decode_entity), at)
                else:
                    document = _read(entity, record.value, decode_document)
                    attributes = self._registry.attributes(document) if document is not None else ()
                    documents[entity] = DocumentRow(record.offset, document, attributes, at)
            except (BadRecord, UnicodeDecodeError) as error:
                self._skip(record, error)
        landmarks = {at: landmark_of(record) for at, record in latest.items()}
        return Update(documents, history, positions, entities, landmarks, letters)

    def _skip(self, record: Record, error: Exception) -> None:
        place = f"{record.topic}/{record.partition}/{record.offset}"
        _log.error("a record that cannot be read is not shown", place=place, reason=str(error))
        self._metrics.add("projector.skipped")


def _read(entity: str, value: bytes | None, decode: Callable[[bytes], E]) -> E | None:
    document = decode(value) if value is not None else None
    if document is not None and document.id != entity:
        raise BadRecord(f"the record's key is {entity!r}, its document is {document.id!r}")
    return document
