"""How uvicorn talks to a connection: with limits for those that send nothing, or take nothing.

- A new connection whose first request head is not complete in time is closed. After that uvicorn's keep-alive timeout
  applies, and ``api/bodies.py`` limits bodies.
- While a connection takes no data, the application waits before it writes more, so a slow reader costs one buffer. One
  that takes none for ``stall_seconds`` is cut off; a WebSocket is first told by close code 4008 to continue from its
  cursor.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

__all__ = ["TOO_SLOW", "http_protocol", "socket_protocol"]

TOO_SLOW = 4008
"""Close code of a WebSocket that did not take its data."""
_LAST_SECONDS = 5.0


def http_protocol(head_seconds: float, stall_seconds: float) -> type[H11Protocol]:
    """HTTP/1.1 within these limits."""

    class Punctual(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
            super().connection_made(transport)
            self.late = self.loop.call_later(head_seconds, transport.close)
            self.stalled: asyncio.TimerHandle | None = None

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None or self.transport.get_protocol() is not self:  # a WebSocket has its own
                self.late.cancel()

        def pause_writing(self) -> None:
            super().pause_writing()
            self.stalled = self.loop.call_later(stall_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._goes_on()

        def connection_lost(self, exc: Exception | None) -> None:
            self.late.cancel()
            self._goes_on()
            super().connection_lost(exc)

        def _goes_on(self) -> None:
            if self.stalled is not None:
                self.stalled.cancel()
                self.stalled = None

    return Punctual


def socket_protocol(stall_seconds: float) -> type[WebSocketsSansIOProtocol]:
    """WebSockets within this limit."""

    class Patient(WebSocketsSansIOProtocol):
        stalled: asyncio.TimerHandle | None = None

        def pause_writing(self) -> None:
            super().pause_writing()
            self.stalled = self.loop.call_later(stall_seconds, self._too_slow)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._goes_on()

        def connection_lost(self, exc: Exception | None) -> None:
            self._goes_on()
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
