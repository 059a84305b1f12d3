"""Which partition owns an entity: murmur2 of its id, as the Java client's default partitioner does.

Source of the rule: ``org.apache.kafka.common.utils.Utils.murmur2`` and ``toPositive``.
"""

from __future__ import annotations

from functools import lru_cache
from struct import unpack_from

__all__ = ["partition_of"]

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def _murmur2(data: bytes) -> int:
    h = 0x9747B28C ^ len(data)
    words = len(data) >> 2
    for word in unpack_from(f"<{words}I", data):
        k = (word * _M) & _MASK
        h = ((h * _M) & _MASK) ^ (((k ^ (k >> 24)) * _M) & _MASK)
    if len(data) & 3:
        h = ((h ^ int.from_bytes(data[words * 4 :], "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition in ``range(partitions)`` that owns ``key``."""
    return 0 if partitions == 1 else _hashed(key, partitions)


@lru_cache(maxsize=65_536)
def _hashed(key: bytes, partitions: int) -> int:
    return (_murmur2(key) & 0x7FFFFFFF) % partitions
