"""Credentials: what proves who sends a request, and the identity that it proves.

In this order: a bearer token (a key, a token of the settings, or one of the identity provider), a one-time ticket in
the query of a stream, the cookie of a browser's session. A session or ticket holds only as long as the key or token
that it was made with. A session's request that changes something must also say what no page of another origin knows.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.requests import HTTPConnection

from ..orchestrator.client import Client, digest_of
from ..orchestrator.client.keys import PREFIX
from ..orchestrator.errors import TransientError
from ..orchestrator.messages.access import ADMINISTRATOR, Role
from ..orchestrator.ports.clock import Clock
from .hosts import host_of, is_loopback
from .identity import LOCAL, Permission, Principal
from .oidc import Provider
from .problems import HttpProblem
from .sessions import Sessions
from .settings import ApiSettings

__all__ = ["Credentials", "cookie_name"]

_TICKETED: Final = frozenset({"/v1/events/stream", "/v1/ws"})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_ASK: Final = "send the header: Authorization: Bearer <key>"


def cookie_name(connection: HTTPConnection) -> str:
    """The name of the session's cookie. With ``__Host-`` no other host of the domain, and no plain HTTP, can set it.

    On this machine it has the port: browsers send a cookie to every port of a host.
    """
    if not is_loopback(host_of(connection)):
        return "__Host-sagaline_session"
    _, port = connection.scope.get("server") or ("", None)
    return "sagaline_session" if port is None else f"sagaline_session_{port}"


class Tokens:
    """Accepts tokens of the settings only. ``required`` False: nothing is asked for."""

    def __init__(self, settings: ApiSettings) -> None:
        self.required = settings.authenticates
        self._tokens = [digest_of(token) for token in settings.tokens]

    async def identify(self, connection: HTTPConnection) -> Principal:
        """Who sends this; ``LOCAL`` if nothing is required.

        Raises:
            HttpProblem: ``unauthorized``: there is no credential, or none that is accepted.
        """
        if not self.required:
            return LOCAL
        scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self.proven(secret.strip())
        raise _unauthorized(f"this server requires a key or token; {_ASK}")

    async def proven(self, secret: str) -> Principal:
        """Whose secret this is.

        Raises:
            HttpProblem: ``unauthorized``: nobody's.
            TransientError: it is not known now.
        """
        found = await self._of_secret(secret)
        if found is None:
            raise _unauthorized(f"this server does not know this key or token, or it has ended; {_ASK}")
        return found

    async def holds(self, principal: Principal) -> bool:
        """True while the credential of an open connection is accepted."""
        return principal.how == "token"

    async def _of_secret(self, secret: str) -> Principal | None:
        return self._of_token(digest_of(secret))

    def _of_token(self, digest: str) -> Principal | None:
        if not _any(digest, self._tokens):
            return None
        # Of a token there is no narrower one to fall back on: it may do everything, also the part of a worker.
        found = Principal.of(ADMINISTRATOR, Role.ADMIN, "token", proof=digest)
        return replace(found, permissions=frozenset(Permission))


class Credentials(Tokens):
    """Accepts every kind of credential."""

    def __init__(self, settings: ApiSettings, client: Client, clock: Clock) -> None:
        super().__init__(settings)
        self._client = client
        self._provider = Provider(settings.oidc, clock) if settings.oidc is not None else None
        self.sessions = Sessions(settings, client.topics.namespace, lambda: client.now_ms)

    async def identify(self, connection: HTTPConnection) -> Principal:
        """As ``Tokens.identify``.

        Raises:
            HttpProblem: ``unauthorized``; or ``foreign-origin``: it does not come from a page of this server.
            TransientError: it is not known now whether a key is accepted.
        """
        if not self.required or "authorization" in connection.headers:
            return await super().identify(connection)
        if connection.scope["path"] in _TICKETED and (ticket := _taken_ticket(connection)) is not None:
            signed = self.sessions.read(ticket, "ticket")
            if signed is None:
                raise _unauthorized("the ticket is used up, expired or not ours; make another one: POST /v1/tickets")
            return replace(await self._still(signed), csrf="")
        if (cookie := connection.cookies.get(cookie_name(connection))) is not None:
            signed = self.sessions.read(cookie, "session")
            if signed is None:
                raise _unauthorized("the session has ended; sign in again: POST /v1/login")
            _check_csrf(connection, signed)
            return await self._still(signed)
        return await super().identify(connection)

    async def _of_secret(self, secret: str) -> Principal | None:
        digest = digest_of(secret)
        if (found := self._of_token(digest)) is not None:
            return found
        if secret.startswith(PREFIX):
            return await self._of_key(digest)
        if self._provider is not None and "." in secret:
            return await self._provider.identify(secret)
        return None

    async def _of_key(self, digest: str) -> Principal | None:
        keys = [key for key in await self._client.keys.current() if key.is_valid(self._client.now_ms)]
        found = _any(digest, [key.digest for key in keys])
        if not found:
            return None
        key = keys[found - 1]
        of = Principal.of(key.name, key.role, "key", key.groups, proof=digest)
        return replace(of, until_ms=key.expires_ms)

    async def holds(self, principal: Principal) -> bool:
        """As ``Tokens.holds``; False also while that is not known."""
        if principal.until_ms is not None and self._client.now_ms >= principal.until_ms:
            return False
        try:
            return principal.how != "key" or await self._of_key(principal.proof) is not None
        except TransientError:
            return False

    async def _still(self, signed: Principal) -> Principal:
        """The identity of a session, as its credential is now."""
        if signed.how == "jwt":
            if self._provider is None:
                raise _unauthorized("this server accepts no identity provider any more; sign in with a key")
            return signed
        now = self._of_token(signed.proof) if signed.how == "token" else await self._of_key(signed.proof)
        if now is None:
            raise _unauthorized("the key of this session has been revoked or has expired; sign in with another one")
        return replace(now, until_ms=signed.until_ms, csrf=signed.csrf)


def _unauthorized(text: str) -> HttpProblem:
    return HttpProblem("unauthorized", text)


def _taken_ticket(connection: HTTPConnection) -> str | None:
    """The ticket of the query. It is taken out, so that no log, span or route sees it."""
    scope = connection.scope
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    ticket = next((value for name, value in pairs if name == "ticket"), None)
    if ticket is not None:
        scope["query_string"] = urlencode([each for each in pairs if each[0] != "ticket"]).encode()
    return ticket


def _check_csrf(connection: HTTPConnection, signed: Principal) -> None:
    """A WebSocket cannot send the header; its ``Origin`` was checked, and must be there."""
    if connection.scope["type"] == "websocket":
        if "origin" in connection.headers:
            return
        text = "a WebSocket with a session's cookie must say its Origin; a program uses a key instead"
        raise HttpProblem("foreign-origin", text)
    if connection.scope["method"] in _SAFE:
        return
    said = connection.headers.get("x-csrf-token", "")
    if not hmac.compare_digest(said.encode(), signed.csrf.encode()):
        text = "send the header X-CSRF-Token with the csrf_token of GET /v1/me; a program uses a key instead"
        raise HttpProblem("foreign-origin", text)


def _any(digest: str, known: Sequence[str]) -> int:
    """The number of the one that is equal, counted from 1; 0: none is.

    Every one is compared, so that the time taken does not reveal which one was similar.
    """
    return sum(number * hmac.compare_digest(digest, each) for number, each in enumerate(known, start=1))
