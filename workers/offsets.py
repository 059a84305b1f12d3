"""Tracks which records of a subscription are finished, and which position of each partition may be committed.

The rule: a committed position never passes an unfinished record, even if later records are finished.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from ..orchestrator.ports.log import Record, TopicPartition

__all__ = ["Mark", "Offsets"]


class _Track:
    __slots__ = ("lost", "marks", "next", "offsets", "place", "position")

    def __init__(self, offsets: Offsets, place: TopicPartition) -> None:
        self.offsets, self.place = offsets, place
        self.marks: deque[Mark] = deque()
        self.next = -1
        """One past the last record that was polled."""
        self.position = -1
        """What may be committed, and was not taken yet; -1: nothing."""
        self.lost = False


class Mark:
    """One polled record."""

    __slots__ = ("_track", "finished", "offset")

    def __init__(self, track: _Track, offset: int) -> None:
        self._track, self.offset, self.finished = track, offset, False

    @property
    def place(self) -> TopicPartition:
        return self._track.place

    @property
    def lost(self) -> bool:
        """True when this worker has lost the record's partition: the record is delivered to another worker."""
        return self._track.lost

    def finish(self) -> None:
        """The record is finished: its answer is durable, or it gets none. Idempotent."""
        self.finished = True
        track = self._track
        if track.marks and track.marks[0] is self:
            track.offsets._advance(track)


class Offsets:
    """Tracks records between poll and commit."""

    def __init__(self) -> None:
        self._tracks: dict[TopicPartition, _Track] = {}
        self._last: _Track | None = None
        """Of the last record: most follow another one of their partition."""
        self.pending = 0
        """Polled records that a commit does not yet cover."""
        self.moved = False
        """There are positions to take."""

    def polled(self, record: Record) -> Mark:
        """Starts to track a record. If it was polled before, it was redelivered: its partition's tracking is reset."""
        track = self._last
        if track is None or track.place.partition != record.partition or track.place.topic != record.topic:
            track = self._tracks.get(TopicPartition(record.topic, record.partition))
        if track is not None and record.offset < track.next:
            self._drop(track)
            track = None
        if track is None:
            place = TopicPartition(record.topic, record.partition)
            track = self._tracks[place] = _Track(self, place)
        self._last = track
        mark = Mark(track, record.offset)
        track.marks.append(mark)
        track.next = record.offset + 1
        self.pending += 1
        return mark

    def keep(self, held: Iterable[TopicPartition]) -> None:
        """Drops the partitions that this worker no longer owns."""
        stays = frozenset(held)
        for place in [place for place in self._tracks if place not in stays]:
            self._drop(self._tracks[place])

    def behind(self, ends: Mapping[TopicPartition, int]) -> int:
        """How many records up to these ends are not finished, at most: markers, and records finished ahead of others,
        count too. Of a partition that has given none, none are known.
        """
        firsts = {at: track.marks[0].offset if track.marks else track.next for at, track in self._tracks.items()}
        return sum(max(0, ends[at] - first) for at, first in firsts.items() if at in ends)

    def take_positions(self) -> dict[TopicPartition, int]:
        """The positions that changed since the last call."""
        self.moved, positions = False, dict[TopicPartition, int]()
        for place, track in self._tracks.items():
            if track.position >= 0:
                positions[place], track.position = track.position, -1
        return positions

    def put_back(self, positions: dict[TopicPartition, int]) -> None:
        """Returns positions that could not be committed, unless they have advanced since or are no longer owned."""
        for place, position in positions.items():
            if (track := self._tracks.get(place)) is not None:
                track.position = max(track.position, position)
                self.moved = True

    def pending_of(self, place: TopicPartition) -> int:
        """``pending`` of one partition."""
        track = self._tracks.get(place)
        return len(track.marks) if track is not None else 0

    def _advance(self, track: _Track) -> None:
        marks = track.marks
        while marks and marks[0].finished:
            track.position = marks.popleft().offset + 1
            self.pending -= 1
        self.moved = True

    def _drop(self, track: _Track) -> None:
        track.lost = True
        self.pending -= len(track.marks)
        track.marks.clear()
        del self._tracks[track.place]
        self._last = None
