"""Whether a process is ready: all its parts are, the log answers, and it neither starts nor stops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

__all__ = ["Readiness"]


class Readiness:
    """Parts are added as they are made; nothing is ready outside ``open``."""

    def __init__(self) -> None:
        self._phase: str | None = "the process is starting"
        self._parts: list[Callable[[], str | None]] = []
        self._checks: list[Callable[[], Awaitable[None]]] = []

    def add(self, objection: Callable[[], str | None]) -> None:
        """``objection``: why a part is not ready; None: it is."""
        self._parts.append(objection)

    def add_check(self, check: Callable[[], Awaitable[None]]) -> None:
        """``check`` asks others, as the log, and raises a TransientError that says what is wrong."""
        self._checks.append(check)

    @contextmanager
    def open(self) -> Iterator[None]:
        """The process can be ready during the block, and never again after it."""
        self._phase = None
        try:
            yield
        finally:
            self._phase = "the process is stopping: what it has begun ends, and nothing new begins"

    def objections(self) -> list[str]:
        """Why the process is not ready, as far as it knows itself; empty: it may be."""
        if self._phase is not None:
            return [self._phase]
        return [why for part in self._parts if (why := part()) is not None]

    async def check(self) -> None:
        """Asks others.

        Raises:
            TransientError: as the checks.
        """
        for check in self._checks:
            await check()
