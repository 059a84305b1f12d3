"""How uvicorn talks to a connection: with limits for those that send nothing, or take nothing.

- A new connection whose first request head is not complete in time is closed. After that uvicorn's keep-alive timeout
  applies, and ``api/bodies.py`` limits bodies.
- ``api/door.py`` says who makes room when there are too many. All of them are cut off: over TLS a close would wait for
  the other side.
- While a connection takes no data, the application waits before it writes more, so a slow reader costs one buffer. One
  that takes none for ``stall_seconds`` is cut off, and one that takes a little is not; a WebSocket is first told by
  close code 4008 to continue from its cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from .door import Door

__all__ = ["TOO_SLOW", "Stall", "http_protocol", "socket_protocol"]

TOO_SLOW = 4008
"""Close code of a WebSocket that did not take its data."""
_LAST_SECONDS = 5.0
_log = structlog.get_logger("sagaline.api")


class Stall:
    """Ends a connection that takes none of what is written to it for some time.

    Args:
        transport: of the connection; while it is paused nothing is added to its buffer.
        seconds: how long.
        end: called then.
    """

    def __init__(self, transport: asyncio.WriteTransport, seconds: float, end: Callable[[], None]) -> None:
        self._transport, self._seconds, self._end = transport, seconds, end
        self._left = transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def cancel(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        left = self._transport.get_write_buffer_size()
        if left >= self._left:
            _log.info("connection.too_slow", seconds=self._seconds, waiting_bytes=left)
            self._end()
            return
        self._left = left
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)


def http_protocol(head_seconds: float, stall_seconds: float, door: Door) -> type[H11Protocol]:
    """HTTP/1.1 within these limits."""

    class Punctual(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
            super().connection_made(transport)
            self.late = self.loop.call_later(head_seconds, transport.abort)
            self.stalled: Stall | None = None
            door.let_in(transport.get_extra_info("socket").fileno(), self, transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            is_socket = self.transport.get_protocol() is not self  # a WebSocket has a protocol of its own
            if self.cycle is not None or is_socket:
                self.late.cancel()
            if is_socket or not self._is_idle():
                door.busy(self)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._is_idle() and not self.transport.is_closing():
                door.idle(self, self.transport.abort)

        def _is_idle(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def pause_writing(self) -> None:
            super().pause_writing()
            self.stalled = Stall(self.transport, stall_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._goes_on()

        def connection_lost(self, exc: Exception | None) -> None:
            self.late.cancel()
            self._goes_on()
            door.busy(self)
            super().connection_lost(exc)

        def _goes_on(self) -> None:
            if self.stalled is not None:
                self.stalled.cancel()
                self.stalled = None

    return Punctual


def socket_protocol(stall_seconds: float) -> type[WebSocketsSansIOProtocol]:
    """WebSockets within this limit."""

    class Patient(WebSocketsSansIOProtocol):
        stalled: Stall | asyncio.TimerHandle | None = None

        def pause_writing(self) -> None:
            super().pause_writing()
            self.stalled = Stall(self.transport, stall_seconds, self._too_slow)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._goes_on()

        def connection_lost(self, exc: Exception | None) -> None:
            if self.stalled is not None:
                self.stalled.cancel()
            super().connection_lost(exc)

        def _too_slow(self) -> None:
            self.stalled = self.loop.call_later(_LAST_SECONDS, self.transport.abort)
            if self.handshake_complete and not self.close_sent:
                why = "you took no data; connect again and continue from your cursor"
                self.conn.send_close(TOO_SLOW, why)
                self.transport.write(b"".join(self.conn.data_to_send()))
                self.close_sent = True
            self.queue.put_nowait({"type": "websocket.disconnect", "code": TOO_SLOW, "reason": "too slow"})

        def _goes_on(self) -> None:
            if self.stalled is not None and not self.close_sent:
                self.stalled.cancel()
                self.stalled = None

    return Patient
