"""Credentials: what proves who sends a request, and the identity that it proves."""

from __future__ import annotations

import hashlib
import hmac

from starlette.requests import HTTPConnection

from ..orchestrator.messages.access import Role
from .identity import ADMINISTRATOR, LOCAL, Principal
from .problems import HttpProblem
from .settings import ApiSettings

__all__ = ["Credentials"]


class Credentials:
    """Knows every credential that is accepted. ``required`` False: none is asked for."""

    def __init__(self, settings: ApiSettings) -> None:
        self.required = settings.authenticates
        self._tokens = [_digest(token) for token in settings.tokens]

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
        digest = _digest(secret.strip())
        # Every token is compared, so that the time taken does not reveal which one was similar.
        if sum(hmac.compare_digest(digest, known) for known in self._tokens):
            return Principal.of(ADMINISTRATOR, Role.ADMIN, "token")
        raise _unauthorized("this server does not know the token; send the header: Authorization: Bearer <token>")


def _unauthorized(text: str) -> HttpProblem:
    return HttpProblem("unauthorized", text)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", errors="surrogatepass")).digest()
