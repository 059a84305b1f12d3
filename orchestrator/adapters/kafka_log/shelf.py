"""An owner's documents in memory: the last ones as they are, the others packed.

Documents of one definition are nearly the same text. Each is deflated (RFC 1951) against an earlier one of its
definition, which leaves about a tenth of it and costs some microseconds, once, when it has not been used for a while.
So a million idle instances take less memory than their JSON.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterator

__all__ = ["Shelf"]

_RECENT_MAX = 2_000
_SAMPLES_MAX = 255
_SAMPLES_PER_KIND_MAX = 8
_SAMPLE_BYTES_MAX = 32_768
"""The window of deflate: no more of a sample is looked at."""
_PLAIN = b"\xff"


class Shelf:
    """Values by key, of any content."""

    def __init__(self) -> None:
        self._recent: OrderedDict[bytes, bytes] = OrderedDict()
        self._packed: dict[bytes, bytes] = {}
        self._samples: list[bytes] = []
        self._by_kind: dict[bytes, list[int]] = {}

    def __len__(self) -> int:
        return len(self._recent) + len(self._packed)

    def get(self, key: bytes) -> bytes | None:
        """The value as it was put."""
        value = self._recent.get(key)
        if value is None and (packed := self._packed.get(key)) is not None:
            return self._unpack(packed)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Keeps a value that is in use now."""
        self._packed.pop(key, None)
        self._recent[key] = value
        self._recent.move_to_end(key)
        if len(self._recent) > _RECENT_MAX:
            # One at a time: to pack thousands of large ones would hold the event loop for seconds.
            idle, unused = self._recent.popitem(last=False)
            self._packed[idle] = self._pack(idle, unused)

    def store(self, key: bytes, value: bytes) -> None:
        """Keeps a value that nobody uses now."""
        self._recent.pop(key, None)
        self._packed[key] = self._pack(key, value)

    def drop(self, key: bytes) -> None:
        """There is no such document any more."""
        self._recent.pop(key, None)
        self._packed.pop(key, None)

    def clear(self) -> None:
        """Frees everything."""
        for each in (self._recent, self._packed, self._samples, self._by_kind):
            each.clear()

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All that stood here at the call and stands here still."""
        for key in [*self._packed, *self._recent]:
            if (value := self.get(key)) is not None:
                yield key, value

    def _pack(self, key: bytes, value: bytes) -> bytes:
        kind, slash, _ = key.partition(b"/")
        numbers = self._by_kind.setdefault(kind if slash else b"", [])
        if numbers:
            packed = self._deflated(numbers[-1], value)
            if 2 * len(packed) <= len(value):
                return packed
        if (
            len(numbers) < _SAMPLES_PER_KIND_MAX
            and len(self._samples) < _SAMPLES_MAX
            and len(value) <= _SAMPLE_BYTES_MAX
        ):
            numbers.append(len(self._samples))
            self._samples.append(value)
            return self._deflated(numbers[-1], value)
        return _PLAIN + value

    def _deflated(self, number: int, value: bytes) -> bytes:
        deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 8, zlib.Z_DEFAULT_STRATEGY, self._samples[number])
        return bytes((number,)) + deflate.compress(value) + deflate.flush()

    def _unpack(self, packed: bytes) -> bytes:
        if packed.startswith(_PLAIN):
            return packed[1:]
        return zlib.decompressobj(-zlib.MAX_WBITS, self._samples[packed[0]]).decompress(packed[1:])
