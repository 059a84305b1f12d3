"""Serves the application with uvicorn; without a token only on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from fastapi import FastAPI

from ..orchestrator.errors import ConfigurationError, InUse, OperatorError
from .auth import is_loopback
from .door import AT_ONCE, Door
from .protocols import http_protocol, socket_protocol
from .settings import ApiSettings

__all__ = ["bind", "serve", "serving"]

_START_SECONDS = 10.0
_STOP_SECONDS = 5
_BACKLOG = 1024
_NOT_SENT_BYTES = 16_384
"""What the kernel takes before it is sent. By default it takes megabytes, and says only when a third of them has gone
that a slow reader takes anything.
"""


def bind(host: str, port: int, settings: ApiSettings, *, tries: int = 1, guarded: bool = True) -> Door:
    """A listening socket; with ``tries`` above 1 also on one of the following ports. Port 0: any free port.

    Not ``guarded``: also beyond loopback without a token, for what anybody may see.

    Raises:
        ConfigurationError: the host is not loopback and there is no token, the port is in use, or the host is not an
            address of this machine.
    """
    if guarded:
        _refuse_open_door(host, settings)
    last: OSError | None = None
    for candidate in range(port, min(port + max(tries, 1), 65_536)):
        try:
            return _listen(host, candidate)
        except OSError as error:
            last = error
            if error.errno != errno.EADDRINUSE:
                break
    if last is not None and last.errno == errno.EADDRINUSE:
        raise InUse(f"port {port} of {host} is taken; stop the program that listens there, or choose another port")
    raise ConfigurationError(f"cannot listen on {host} port {port} ({last}); choose an address of this machine")


def _listen(host: str, port: int) -> Door:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = Door(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if (low_water := getattr(socket, "TCP_NOTSENT_LOWAT", None)) is not None:
            listener.setsockopt(socket.IPPROTO_TCP, low_water, _NOT_SENT_BYTES)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _refuse_open_door(host: str, settings: ApiSettings) -> None:
    if not settings.authenticates and not is_loopback(host):
        raise ConfigurationError(
            f"refusing to listen on {host or 'every address'} without authentication: anybody could start and cancel "
            "everything; set a token (SAGALINE_API_TOKENS='[\"…\"]'), or listen on 127.0.0.1"
        )


@contextlib.asynccontextmanager
async def serving(app: FastAPI, listener: Door, settings: ApiSettings, *, guarded: bool = True) -> AsyncIterator[str]:
    """Serves on a socket while the block runs; yields the base URL once requests are answered.

    At the end of the block, requests that wait for a decision are answered at once (202, with a ``Location``), streams
    end, WebSockets are closed (1012), and other running requests get five seconds to finish. Signals are left to the
    caller.

    Raises:
        ConfigurationError: the socket is open to other machines and there is no token, or the certificate is not valid.
        OperatorError: the server did not start.
    """
    host, port = listener.getsockname()[:2]
    if guarded:
        _refuse_open_door(host, settings)
    stall_seconds = settings.stall_timeout.total_seconds()
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            http=http_protocol(settings.head_timeout.total_seconds(), stall_seconds, listener),
            ws=socket_protocol(stall_seconds),
            ssl_certfile=str(settings.tls[0]) if settings.tls else None,
            ssl_keyfile=str(settings.tls[1]) if settings.tls else None,
            ws_max_size=settings.body_bytes_max,
            ws_per_message_deflate=False,
            limit_concurrency=listener.most + 1,
            backlog=AT_ONCE,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )
    listener.made = server.server_state.connections
    runs = asyncio.create_task(server.serve(sockets=[listener]), name="api")
    try:
        await _started(server, runs)
        scheme = "https" if settings.tls else "http"
        yield f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    finally:
        getattr(app.state, "stop_waiting", _nobody)()
        server.should_exit = True
        await asyncio.wait([runs], timeout=2 * _STOP_SECONDS)
        if not runs.done():
            runs.cancel()
            await asyncio.wait([runs], timeout=_STOP_SECONDS)
        listener.close()


def _nobody() -> None:
    """For an application that is not ours, or wraps ours: there are no known waiters."""


async def serve(app: FastAPI, listener: Door, settings: ApiSettings) -> None:
    """Serves until it is cancelled."""
    async with serving(app, listener, settings):
        await asyncio.get_running_loop().create_future()


async def _started(server: uvicorn.Server, runs: asyncio.Task[None]) -> None:
    try:
        async with asyncio.timeout(_START_SECONDS):
            while not server.started:
                if runs.done():
                    raise OperatorError(f"the API did not start: {runs.exception() or 'see the log'}")
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise OperatorError(f"the API did not start within {_START_SECONDS:g} s; see the log") from None


class _Server(uvicorn.Server):
    """Does not handle signals: the process that runs it stops its parts in its own order.

    asyncio has one number for how many connections wait in the kernel and how many are accepted at once.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(_BACKLOG)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
