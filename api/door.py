"""The listening socket of a server, and which of its connections make room when there are too many.

- With too many connections, a new one closes the one that has been without a request for the longest time: those that
  only stand open keep nobody out. One whose TLS handshake is not complete counts too.
- The limit is below what the process may open, so that its log and its databases are never left without a file.
"""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Callable, Sized
from contextlib import suppress
from functools import partial
from typing import Any, Final

__all__ = ["AT_ONCE", "Door", "connections_max"]

AT_ONCE: Final = 64
"""Connections accepted in one turn of the event loop."""
_CONNECTIONS_MAX: Final = 2_000
_OTHER_FILES: Final = 256
_DOORS: Final = 2
"""A process may listen for its API and for its health."""


def connections_max() -> int:
    """How many connections one listening socket may have: 2,000, or what the limit of open files leaves for it."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _CONNECTIONS_MAX
    return max(AT_ONCE, min(_CONNECTIONS_MAX, (files - _OTHER_FILES) // _DOORS - 2 * AT_ONCE))


class Door(socket.socket):
    """A listening socket with the connections that it has accepted.

    ``made``: those whose handshake is complete, as its server counts them.
    """

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.most = connections_max()
        self.made: Sized = ()
        self._idle: dict[object, Callable[[], object]] = {}
        """How to close each that has no request, the one that has had none for the longest time first."""
        self._shaking: dict[int, socket.socket] = {}
        self._full = False

    def accept(self) -> tuple[socket.socket, Any]:
        """As ``socket.accept``.

        Raises:
            OSError: no file is left; the event loop logs it and tries again in a second.
            BlockingIOError: nobody is waiting, or ``OSError`` was just raised: the loop would log it again at once.
        """
        if self._full:
            self._full = False
            raise BlockingIOError
        try:
            one, address = super().accept()
        except OSError as error:
            self._full = error.errno in (errno.EMFILE, errno.ENFILE)
            raise
        self._make_room(one)
        number = one.fileno()
        self._idle.pop(self._shaking.get(number), None)  # it was closed before its handshake was complete
        self._shaking[number] = one
        self._idle[one] = partial(self._give_up, number)
        return one, address

    def let_in(self, number: int, connection: object, close: Callable[[], object]) -> None:
        """The handshake of a connection is complete; ``number`` is that of its file."""
        self._idle.pop(self._shaking.pop(number, None), None)
        self.idle(connection, close)

    def idle(self, connection: object, close: Callable[[], object]) -> None:
        """It has no request, or none any more."""
        self._idle[connection] = close

    def busy(self, connection: object) -> None:
        """It has a request, or is closed."""
        self._idle.pop(connection, None)

    def _make_room(self, one: socket.socket) -> None:
        while self._count() >= self.most and self._idle:
            longest = next(iter(self._idle))
            self._idle.pop(longest)()
            if not isinstance(longest, socket.socket):
                return  # it is counted until it is closed
        if self._count() >= self.most + AT_ONCE:
            _cut(one)

    def _give_up(self, number: int) -> None:
        _cut(self._shaking.pop(number))

    def _count(self) -> int:
        return len(self.made) + len(self._shaking)


def _cut(one: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        one.shutdown(socket.SHUT_RDWR)
