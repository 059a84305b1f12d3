"""Verifies deliveries to a hook. Which check failed is for the log of the operator, never for the sender.

Every secret is compared, in constant time. A secret of the form ``whsec_…`` is a key in base64 for Standard Webhooks,
and a plain text for the other schemes, as those who use them do.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, Protocol

from ..errors import CallerError
from ..messages.hooks import Hook, Scheme

__all__ = ["Headers", "NotVerified", "verified"]

_SIGNATURES_MAX: Final = 20
_ID_CHARS_MAX: Final = 128


class NotVerified(CallerError):
    """It is not from the sender, or not from now; the message says which check failed, for the operator."""


class Headers(Protocol):
    """The headers of a request; names in any case."""

    def getlist(self, key: str) -> list[str]: ...


def verified(hook: Hook, headers: Headers, body: bytes, now_ms: int, secrets: Sequence[str]) -> str:
    """The id of a delivery: the one that is signed, else the digest of the body; at most 128 characters.

    Raises:
        NotVerified: no secret has made its signature, or its time is too far away.
    """
    match hook.scheme:
        case Scheme.STANDARD:
            id, at = _only(headers, "webhook-id"), _only(headers, "webhook-timestamp")
            _check_time(hook, at, now_ms)
            given = [
                part.removeprefix("v1,") for part in _only(headers, "webhook-signature").split(" ") if "v1," in part
            ]
            _check(f"{id}.{at}.".encode() + body, given, [_standard_key(each) for each in secrets])
            return id if 0 < len(id) <= _ID_CHARS_MAX else _digest(id.encode())
        case Scheme.HMAC:
            _check(body, [_only(headers, hook.signature_header).removeprefix("sha256=")], _plain_keys(secrets))
        case Scheme.TIMED_HMAC:
            pairs = [part.strip().partition("=") for part in _only(headers, hook.signature_header).split(",")]
            at = next((value for name, _, value in pairs if name == "t"), "")
            _check_time(hook, at, now_ms)
            _check(f"{at}.".encode() + body, [value for name, _, value in pairs if name == "v1"], _plain_keys(secrets))
    return _digest(body)


def _only(headers: Headers, name: str) -> str:
    found = headers.getlist(name)
    if len(found) != 1:
        raise NotVerified(f"the header {name} is there {len(found)} times, not once")
    return found[0]


def _check_time(hook: Hook, at: str, now_ms: int) -> None:
    if not at.isdecimal() or not at.isascii() or len(at) > 12:
        raise NotVerified("its time is no number of seconds")
    away = abs(now_ms // 1000 - int(at))
    if away > hook.tolerance_seconds:
        raise NotVerified(f"its time is {away:,} s away, the limit is {hook.tolerance_seconds:,}")


def _check(signed: bytes, given: Sequence[str], keys: Sequence[bytes]) -> None:
    made = [hmac.digest(key, signed, "sha256") for key in keys]
    found = [_bytes_of(each) for each in given[:_SIGNATURES_MAX]]
    # All pairs are compared, so that the time taken does not reveal which one was similar.
    if not sum(hmac.compare_digest(ours, theirs) for ours in made for theirs in found):
        raise NotVerified("no secret of the hook has made its signature")


def _bytes_of(signature: str) -> bytes:
    """Hexadecimal has 64 characters, base64 of the same has 44."""
    try:
        return bytes.fromhex(signature) if len(signature) == 64 else base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error):
        return b""


def _standard_key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (ValueError, binascii.Error):
        return secret.encode()


def _plain_keys(secrets: Sequence[str]) -> list[bytes]:
    return [each.encode() for each in secrets]


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
