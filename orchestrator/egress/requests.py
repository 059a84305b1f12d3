"""The one way out to addresses that users register: looked up once, checked, and connected to what was checked.

- The name is resolved once per connection; if one of its addresses may not be reached, none is. The connection goes to
  an address of that answer, so a name that changes its mind (DNS rebinding) changes nothing.
- What checks a URL and what connects to it use the same parsed value: no second parser reads it differently.
- No redirects, no proxies of the environment, no decoding of answers; the size of an answer and the time are limited.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple, cast

import httpcore
import httpx

from ..errors import CallerError, TransientError
from .addresses import Address, Network, is_reachable

__all__ = ["Answered", "Egress", "EgressDenied", "EgressFailed", "EgressSettings", "Guards", "check_url"]

_URL_CHARS_MAX: Final = 2_048
_LOOKUPS_MAX: Final = 16
_ADDRESSES_TRIED: Final = 3
_PORTS: Final = {"https": 443, "http": 80}


class EgressDenied(CallerError):
    """Nothing was sent: the address is not one that may be reached. The one who registered it must change it, or the
    operator allows its network.
    """


class EgressFailed(TransientError):
    """The other side did not answer as HTTP in time; it may have received the request."""


class Answered(NamedTuple):
    """The answer: names of ``headers`` in lower case; ``body`` up to the limit, ``whole`` False when there was more."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressSettings:
    """``allowed``: networks that may be reached though they are not public, such as 10.1.0.0/16. ``plain``: also http
    URLs, whose contents everybody on the way can read. ``timeout``: of one request from the look-up to the last byte.
    ``answer_bytes_max``: what is read of an answer. ``connections_max``: open at once. ``trust``: for certificates of
    an authority of your own; None: those of the package certifi.
    """

    allowed: tuple[Network, ...] = ()
    plain: bool = False
    timeout: timedelta = timedelta(seconds=15)
    answer_bytes_max: int = 65_536
    connections_max: int = 100
    trust: ssl.SSLContext | None = None


class Guards(NamedTuple):
    """What may be reached: by webhooks, which administrators register, and by push messages, for which a viewer can
    name any address.
    """

    webhooks: EgressSettings = EgressSettings()
    push: EgressSettings = EgressSettings()


class Egress:
    """Sends requests; close it with ``close``. Used by the tasks of one event loop."""

    def __init__(self, settings: EgressSettings | None = None) -> None:
        self._settings = settings or EgressSettings()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=self._settings.trust or httpx.create_ssl_context(trust_env=False),
            max_connections=self._settings.connections_max,
            max_keepalive_connections=self._settings.connections_max // 2,
            keepalive_expiry=5.0,
            network_backend=_Pinned(self._settings.allowed),
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        """Sends one POST and reads the answer, of whatever status.

        Raises:
            EgressDenied: the URL or one of its addresses is not allowed; nothing was sent.
            EgressFailed: no answer within the time, or none that is HTTP.
        """
        target = check_url(url, self._settings)
        name = f"{target.scheme}://{target.netloc.decode('ascii')}"  # the rest of it may be a secret
        sent = {"host": target.netloc.decode("ascii"), "content-length": str(len(body)), "user-agent": "Sagaline"}
        sent |= {key.lower(): value for key, value in headers.items()}
        request = httpcore.Request(
            b"POST",
            httpcore.URL(
                scheme=target.raw_scheme,
                host=target.raw_host,
                port=target.port or _PORTS[target.scheme],
                target=target.raw_path,
            ),
            headers=[(key.encode("ascii"), value.encode("latin-1")) for key, value in sent.items()],
            content=body,
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), self._seconds)},
        )
        try:
            async with asyncio.timeout(self._seconds):
                return await self._exchange(request)
        except (TimeoutError, httpcore.TimeoutException):
            raise EgressFailed(f"{name} did not answer within {self._seconds:g} s") from None
        except httpcore.ProtocolError:  # its text quotes what was answered
            raise EgressFailed(f"{name} did not answer as HTTP says") from None
        except (httpcore.NetworkError, ssl.SSLError, OSError) as error:
            raise EgressFailed(f"{name} cannot be reached: {error or type(error).__name__}") from error

    async def close(self) -> None:
        await self._pool.aclose()

    @property
    def _seconds(self) -> float:
        return self._settings.timeout.total_seconds()

    async def _exchange(self, request: httpcore.Request) -> Answered:
        response = await self._pool.handle_async_request(request)
        body, whole = bytearray(), True
        try:
            async for part in response.aiter_stream():
                body += part
                if len(body) > self._settings.answer_bytes_max:
                    del body[self._settings.answer_bytes_max :]
                    whole = False
                    break
        finally:
            await response.aclose()
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in response.headers}
        return Answered(response.status, headers, bytes(body), whole)


def check_url(url: str, settings: EgressSettings) -> httpx.URL:
    """The URL, if its form is one that is served. Its addresses are checked at every connection.

    Raises:
        EgressDenied: scheme, host, port or length is not allowed; the message says what to enter instead.
    """
    if len(url) > _URL_CHARS_MAX or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise EgressDenied(
            f"the URL is longer than {_URL_CHARS_MAX:,} characters, or has spaces, backslashes or others in it that "
            "are not printable ASCII; write it percent-encoded"
        )
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise EgressDenied(f"the URL cannot be read: {error}") from None
    schemes = ("https", "http") if settings.plain else ("https",)
    if parsed.scheme not in schemes:
        raise EgressDenied(f"the URL begins with {parsed.scheme or 'no scheme'!r}; it must begin with {schemes[0]}://")
    if parsed.userinfo:
        raise EgressDenied("the URL has a user or password in it, which would stand in logs; send them in a header")
    if not parsed.host:
        raise EgressDenied("the URL has no host; enter one such as https://example.com/hook")
    if parsed.port is not None and not 0 < parsed.port < 65_536:
        raise EgressDenied(f"the URL has port {parsed.port}; enter the port of the server, 1 to 65,535")
    literal = _literal(parsed.host)
    if literal is not None and not is_reachable(literal, settings.allowed):
        raise _denied(parsed.host, [literal])
    return parsed


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _denied(host: str, addresses: Sequence[Address]) -> EgressDenied:
    shown = ", ".join(map(str, addresses[:3]))
    return EgressDenied(
        f"{host} leads to {shown}, which is not a public address; enter a public one, or have its network allowed by "
        "the operator"
    )


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked a moment ago."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        # Of two declarations of this class, one for machines without anyio, pyright takes the wrong one.
        self._below = cast(httpcore.AsyncNetworkBackend, httpcore.AnyIOBackend())
        self._threads = ThreadPoolExecutor(_LOOKUPS_MAX, "lookup")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._lookup(host, port)
        if wrong := [each for each in addresses if not is_reachable(each, self._allowed)]:
            raise _denied(host, wrong)
        failed = httpcore.ConnectError("its name has no address")
        for address in addresses[:_ADDRESSES_TRIED]:
            try:
                return await self._below.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failed = error
        raise failed

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise EgressDenied("a file of this machine is no address of a receiver")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _lookup(self, host: str, port: int) -> list[Address]:
        """In the order of the resolver, each once; it also turns forms such as 2130706433 or 0x7f.1 into addresses."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, _resolve, host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"its name cannot be resolved: {error}") from error
        return list(dict.fromkeys(found))


def _resolve(host: str, port: int) -> list[Address]:
    return [ipaddress.ip_address(str(found[4][0])) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
