"""Which records were finished ahead of an unfinished one: with ``exactly_once`` the next owner skips them."""

from __future__ import annotations

from pydantic_core import to_json

__all__ = ["Ahead"]


class Ahead:
    """The finished records of one partition that its committed position does not cover, in one document.

    Args:
        name: of the document.
    """

    def __init__(self, name: bytes) -> None:
        self.name = name
        self._restored: frozenset[int] = frozenset()
        self._finished: set[int] = set()
        self._written: frozenset[int] = frozenset()
        self.grown = False
        """There is something to write."""

    def restore(self, offsets: list[int]) -> None:
        """Takes over what the document says."""
        self._restored = self._written = frozenset(offsets)
        self._finished = set(self._restored)

    def __contains__(self, offset: int) -> bool:
        """True when the record was finished before this owner took the partition."""
        return offset in self._restored

    def finish(self, offset: int) -> None:
        self._finished.add(offset)
        self.grown = True

    def changes(self, position: int) -> dict[bytes, bytes | None]:
        """What to write together with this position: the document, or nothing if it is the same as before."""
        self.grown = False
        self._finished = {offset for offset in self._finished if offset >= position}
        if self._finished == self._written:
            return {}
        self._written = frozenset(self._finished)
        return {self.name: to_json(sorted(self._written)) if self._written else None}
