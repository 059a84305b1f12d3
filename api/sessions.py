"""Sessions of browsers and one-time tickets: signed texts that expire, so that no restart and no node forgets them.

Both name the credential that they stand for by its digest, and hold only as long as it does. They are JWTs of this
server (HS256, one fixed algorithm); ``aud`` tells a session from a ticket, ``iss`` one namespace from another.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Literal

import jwt

from ..orchestrator.messages.access import Role
from .identity import Principal
from .problems import HttpProblem
from .settings import ApiSettings

__all__ = ["SESSION_SECONDS", "TICKET_SECONDS", "Sessions"]

SESSION_SECONDS: Final = 12 * 3_600
TICKET_SECONDS: Final = 30
_ALGORITHM: Final = "HS256"
_TEXT_CHARS_MAX: Final = 3_800
"""A browser keeps no cookie of more than 4,096 bytes, its name and attributes included."""
_USED_MAX: Final = 100_000

Kind = Literal["session", "ticket"]


class Sessions:
    """Signs and reads them. ``now_ms``: the wall clock."""

    def __init__(self, settings: ApiSettings, namespace: str, now_ms: Callable[[], int]) -> None:
        material = settings.session_key or "\n".join(settings.tokens)
        self._key = hmac.digest(material.encode(), b"sagaline sessions", hashlib.sha256)
        self._issuer, self._now_ms = f"sagaline/{namespace}", now_ms
        self._used: dict[str, int] = {}

    def sign(self, principal: Principal, kind: Kind) -> tuple[str, Principal]:
        """A session or ticket of an identity, and that identity as it will be read from a session.

        Raises:
            HttpProblem: it would be larger than a browser keeps.
        """
        now_s = self._now_ms() // 1000
        until_s = now_s + (SESSION_SECONDS if kind == "session" else TICKET_SECONDS)
        if principal.until_ms is not None:
            until_s = min(until_s, principal.until_ms // 1000)
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": kind,
            "exp": until_s,
            "jti": secrets.token_hex(16),
            "sub": principal.name,
            "role": principal.role.value,
            "groups": sorted(principal.groups),
            "how": principal.how,
            "proof": principal.proof,
            # What a ticket opens may stay open for longer than the ticket is valid.
            "until_ms": until_s * 1000 if kind == "session" else principal.until_ms,
        }
        text = jwt.encode(claims, self._key, algorithm=_ALGORITHM)
        if len(text) > _TEXT_CHARS_MAX:
            why = (
                f"the {len(principal.groups)} groups of {principal.name} do not fit into a {kind}; set "
                "SAGALINE_OIDC_GROUPS_CLAIM to a claim that has only the groups that questions are put to, "
                "or send the token itself: Authorization: Bearer <token>"
            )
            raise HttpProblem("invalid-request", why)
        return text, _principal(claims, self._csrf(claims))

    def read(self, text: str, kind: Kind) -> Principal | None:
        """The identity of a valid session or ticket, as it was when it was signed; None: it is not valid.

        A ticket is valid once on each node: it is meant for the next request, on whichever node that arrives.
        """
        if len(text) > _TEXT_CHARS_MAX:
            return None
        try:
            claims = jwt.decode(
                text,
                self._key,
                algorithms=[_ALGORITHM],
                audience=kind,
                issuer=self._issuer,
                options={"require": ["exp", "jti", "sub"], "verify_exp": False},
            )
        except jwt.PyJWTError:
            return None
        now_s = self._now_ms() // 1000
        if now_s >= claims["exp"] or (kind == "ticket" and not self._first(claims, now_s)):
            return None
        return _principal(claims, self._csrf(claims))

    def _first(self, claims: dict[str, Any], now_s: int) -> bool:
        if len(self._used) >= _USED_MAX:
            self._used = {id: until for id, until in self._used.items() if until > now_s}
        if claims["jti"] in self._used or len(self._used) >= _USED_MAX:
            return False
        self._used[claims["jti"]] = claims["exp"]
        return True

    def _csrf(self, claims: dict[str, Any]) -> str:
        """What requests with the session's cookie must say in a header, which a page of another origin cannot know."""
        return hmac.digest(self._key, f"csrf {claims['jti']}".encode(), hashlib.sha256).hex()


def _principal(claims: dict[str, Any], csrf: str) -> Principal:
    principal = Principal.of(
        claims["sub"], Role(claims["role"]), claims["how"], claims["groups"], proof=claims["proof"]
    )
    return replace(principal, until_ms=claims["until_ms"], csrf=csrf)
