"""The records: a window on the newest documents while a world runs, and everything after its end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sagaline.orchestrator.codec.documents import decode_document, decode_history
from sagaline.orchestrator.codec.entities import decode_entity
from sagaline.orchestrator.codec.wire import header_map
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Document
from sagaline.orchestrator.messages.entities import Entity
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.ports.log import Record, TopicPartition
from sagaline.orchestrator.ports.topics import POSITION_KEY, Topics
from sagaline.orchestrator.testing.broker import Broker
from sagaline.orchestrator.testing.memory_inbox import InboxStore
from sagaline.orchestrator.testing.partition import Partition
from sagaline.sagas.definition import AnyDefinition

from .agenda import LATER, Request
from .minds import Effect

__all__ = ["MARK", "Decided", "Evidence", "Window", "begins", "evidence", "is_garbage", "is_sent_on"]

MARK = "x-letter"
"""Header of a letter that was edited before it is redriven: its name."""
_STATUS = b'"status":"'


class Window:
    """The newest version of every document, as readers of the state topic see it; parsed on demand."""

    def __init__(self, broker: Broker, topics: Topics, queues: Sequence[str]) -> None:
        self._broker, self._topic, self._inputs = broker, topics.state, topics.inputs
        self._commands = [topics.commands(queue) for queue in queues]
        self._positions: dict[int, int] = {}
        self._next: dict[int, int] = {}
        self._values: dict[str, bytes] = {}
        self.seen: set[str] = set()
        """Every entity that ever existed."""

    def look(self) -> None:
        """Reads new records."""
        for number, part in enumerate(self._broker.topic(self._topic)):
            records = part.read(self._next.get(number, 0), len(part.records))
            for record in records:
                self._next[number] = record.offset + 1
                if record.key == POSITION_KEY and record.value is not None:
                    self._positions[number] = json.loads(record.value)["offset"]
                    continue
                id = (record.key or b"").decode()
                self.seen.add(id)
                if record.value is None:
                    self._values.pop(id, None)
                else:
                    self._values[id] = record.value

    @property
    def _queues(self) -> list[list[Partition]]:
        return [self._broker.topic(name) for name in self._commands]

    @property
    def decided(self) -> bool:
        """True when everything in ``inputs`` has been decided."""
        inputs = enumerate(self._broker.topic(self._inputs))
        return all(not part.records or part.records[-1].offset < self._positions.get(n, 0) for n, part in inputs)

    @property
    def answered(self) -> bool:
        """True when every command has been answered or dropped, according to the committed positions: a worker that
        lost a partition and has it again may have set them back.
        """
        reached = {place: offset for (_, place), offset in self._broker.groups.positions.items()}
        ends = {part.place: part.records[-1].offset for topic in self._queues for part in topic if part.records}
        return all(reached.get(place, 0) > end for place, end in ends.items())

    def statuses(self) -> dict[str, str]:
        """The status of every instance."""
        return {id: _status(value) for id, value in self._values.items() if not id.startswith("@")}

    def knows(self, id: str) -> bool:
        return id in self._values

    def holds(self, id: str, text: bytes) -> bool:
        """True when a document contains this text."""
        return text in self._values.get(id, b"")

    def document(self, id: str) -> Document:
        return decode_document(self._values[id])


def _status(value: bytes) -> str:
    begin = value.index(_STATUS) + len(_STATUS)
    return value[begin : value.index(b'"', begin)].decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A record of the history and its position."""

    record: HistoryRecord
    partition: int
    place: str
    """Its own id: the input that it decided about, by partition and offset, or the message."""
    written_ms: int


@dataclass(frozen=True, kw_only=True)
class Around:
    """Data of a world beside its log."""

    registry: Registry
    partitions: int
    accepted: Mapping[str, Request]
    advances: Sequence[tuple[int, TopicPartition, int]]
    """When a worker committed which position of a queue."""
    came_to_an_end: bool
    healed_ms: int
    ended_ms: int
    restless_ms: int
    """From when on the clock was moved to make an end of it."""
    right_ms: int
    """From when on every host's clock showed the log's time."""
    back_ms: int
    """By how much the log's clock went back."""


@dataclass(frozen=True, kw_only=True)
class Evidence(Around):
    """All records of a finished run."""

    documents: Mapping[str, Document]
    versions: Mapping[str, Sequence[Document]]
    """Every version of each instance's document that readers have seen, oldest first."""
    entities: Mapping[str, Entity]
    history: Mapping[str, Sequence[Decided]]
    commands: Sequence[tuple[str, Record]]
    """Every command that was published, with its id; garbage excepted."""
    garbage: Sequence[Record]
    """What ``Fault.POISON`` has written for engines and workers to read."""
    replies: Mapping[str, int]
    """When the first reply to each command was written."""
    told: Sequence[str]
    """Ids of messages between entities, each as often as it stands in ``inputs``."""
    events: Sequence[tuple[str, Record]]
    """Events that were published, with their ids."""
    archived: Sequence[Record]
    later: Sequence[Record]
    """Delayed messages that were forwarded."""
    dead: Sequence[Record]
    marked: Sequence[str]
    """Of each record for engines or workers with a ``MARK``, what it says."""
    effects: Sequence[Effect]

    def lives(self) -> Iterator[tuple[Document, AnyDefinition, Sequence[Decided]]]:
        """Every existing instance with known code, with the history of its last run only."""
        for id, document in self.documents.items():
            definition = self.registry.find(document.definition, document.version)
            if definition is not None:
                yield document, definition, _last_run(self.history.get(id, ()))

    def seen(self, document: Document) -> Mapping[int, Document]:
        """The versions of an existing instance that readers have seen, by revision."""
        versions = self.versions.get(document.id, ())
        return {each.revision: each for each in versions if each.incarnation == document.incarnation}


def begins(record: HistoryRecord) -> bool:
    """True for the first decision of a run."""
    return any(change.what == "instance" and change.before is None for change in record.changes)


def _last_run(history: Sequence[Decided]) -> Sequence[Decided]:
    begun = (number for number, decided in enumerate(history) if begins(decided.record))
    return history[max(begun, default=0) :]


def evidence(broker: Broker, topics: Topics, store: InboxStore, around: Around) -> Evidence:
    """Reads everything."""
    topic = broker.snapshot()
    documents, versions, entities = _states(topic[topics.state])
    ids = [(_id(record), record) for records in topic[topics.inputs] for record in records]
    return Evidence(
        **vars(around),
        documents=documents,
        versions=versions,
        entities=entities,
        history=_history(topic[topics.history]),
        commands=[
            (_id(record), record)
            for name, partitions in topic.items()
            if name.startswith(topics.commands(""))
            for records in partitions
            for record in records
            if not is_garbage(record)
        ],
        garbage=[
            record
            for name in (topics.inputs, *(name for name in topic if name.startswith(topics.commands(""))))
            for records in topic[name]
            for record in records
            if is_garbage(record)
        ],
        replies=_replies(record for _, record in reversed(ids)),
        told=[
            id for id, record in ids if header_map(record.headers).get("ce_source") == f"/{topics.namespace}".encode()
        ],
        events=[(_id(record), record) for records in topic[topics.events] for record in records],
        archived=[record for records in topic[topics.archive] for record in records],
        later=[record for records in topic[LATER] for record in records],
        marked=[
            mark.decode()
            for name in (topics.inputs, *(name for name in topic if name.startswith(topics.commands(""))))
            for records in topic[name]
            for record in records
            if (mark := header_map(record.headers).get(MARK)) is not None
        ],
        dead=[record for records in topic[topics.dead] for record in records],
        effects=[
            Effect(effect_key=str(key), undo=bool(undo), had=bool(had))
            for key, undo, had in store.rows("SELECT effect_key, undo, had FROM effects ORDER BY seq")
        ],
    )


def _replies(backwards: Iterable[Record]) -> dict[str, int]:
    found: dict[str, int] = {}
    for record in backwards:
        command = header_map(record.headers).get("ce_commandid")
        if command is not None:
            found[command.decode()] = record.timestamp_ms
    return found


def is_sent_on(record: Record) -> bool:
    """True for a routing slip's command that a worker has written."""
    return b"/workers/" in header_map(record.headers).get("ce_source", b"")


def is_garbage(record: Record) -> bool:
    """True for a record written by ``Fault.POISON``."""
    headers = header_map(record.headers)
    return headers.get("ce_id") in (b"poison", None)


def _id(record: Record) -> str:
    return header_map(record.headers).get("ce_id", b"").decode()


def _states(
    partitions: Sequence[Sequence[Record]],
) -> tuple[dict[str, Document], dict[str, list[Document]], dict[str, Entity]]:
    documents: dict[str, Document] = {}
    versions: dict[str, list[Document]] = {}
    entities: dict[str, Entity] = {}
    for records in partitions:
        for record in records:
            if record.key is None or record.key == POSITION_KEY:
                continue
            id = record.key.decode()
            if record.value is None:
                documents.pop(id, None)
                entities.pop(id, None)
            elif id.startswith("@"):
                entities[id] = decode_entity(record.value)
            else:
                documents[id] = decode_document(record.value)
                versions.setdefault(id, []).append(documents[id])
    return documents, versions, entities


def _history(partitions: Sequence[Sequence[Record]]) -> dict[str, list[Decided]]:
    found: dict[str, list[Decided]] = {}
    for number, records in enumerate(partitions):
        for record in records:
            decided = Decided(
                record=decode_history(record), partition=number, place=_id(record), written_ms=record.timestamp_ms
            )
            found.setdefault(decided.record.instance, []).append(decided)
    return found
