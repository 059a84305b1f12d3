"""Credentials: what proves who sends a request, and the identity that it proves."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.requests import HTTPConnection

from ..orchestrator.client import Client, digest_of
from ..orchestrator.client.keys import PREFIX
from ..orchestrator.messages.access import ADMINISTRATOR, Role
from .identity import LOCAL, Principal
from .problems import HttpProblem
from .settings import ApiSettings

__all__ = ["Credentials"]


class Credentials:
    """Knows every credential that is accepted. ``required`` False: none is asked for."""

    def __init__(self, settings: ApiSettings, client: Client | None = None) -> None:
        """``client`` None: there are no keys, only tokens."""
        self.required = settings.authenticates
        self._tokens = [digest_of(token) for token in settings.tokens]
        self._client = client

    async def identify(self, connection: HTTPConnection) -> Principal:
        """Who sends this; ``LOCAL`` if nothing is required.

        Raises:
            HttpProblem: ``unauthorized``: there is no credential, or none that is accepted.
        """
        if not self.required:
            return LOCAL
        scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized("this server requires a token; send the header: Authorization: Bearer <token>")
        digest = digest_of(secret.strip())
        if _any(digest, self._tokens):
            return Principal.of(ADMINISTRATOR, Role.ADMIN, "token")
        if self._client is not None and secret.startswith(PREFIX):
            valid = [key for key in await self._client.keys.current() if key.is_valid(self._client.now_ms)]
            if found := _any(digest, [key.digest for key in valid]):
                key = valid[found - 1]
                return Principal.of(key.name, key.role, "key", key.groups)
        raise _unauthorized("this server does not know the token; send the header: Authorization: Bearer <token>")


def _unauthorized(text: str) -> HttpProblem:
    return HttpProblem("unauthorized", text)


def _any(digest: str, known: Sequence[str]) -> int:
    """The number of the one that is equal, counted from 1; 0: none is.

    Every one is compared, so that the time taken does not reveal which one was similar.
    """
    return sum(number * hmac.compare_digest(digest, each) for number, each in enumerate(known, start=1))
