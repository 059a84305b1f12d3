"""``PushKey``: the key by which push services know this server (VAPID, RFC 8292).

- Browsers tie a subscription to its public half, so a new key ends all subscriptions of the old one. Hence the same key
  also seals what a browser gives: the endpoint, which is a capability (RFC 8030, 8.3), and the two keys of the payload.
  They stand sealed in the log, in the read model and in whatever shows records.
- Sealing the same twice is the same text: the nonce is a keyed digest of what is sealed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import httpx
import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..errors import ConfigurationError, InvalidRequest
from .encryption import encrypted

__all__ = ["Endpoint", "PushKey", "PushRequest"]

_CURVE: Final = ec.SECP256R1()
_NONCE_BYTES: Final = 12
_POINT_BYTES: Final = 65
_AUTH_BYTES: Final = 16
_TOKEN_SECONDS: Final = 12 * 3600
"""How long a token is valid; RFC 8292 allows a day."""


class PushRequest(NamedTuple):
    """A POST to a push service."""

    url: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What a browser has given; all of it is secret."""

    url: str = field(repr=False)
    p256dh: bytes = field(repr=False)
    auth: bytes = field(repr=False)


class PushKey:
    """Signs, seals and encrypts. It shows its private half nowhere.

    Args:
        private: 32 bytes in base64url, as ``saga push key`` makes them.
        contact: whom a push service may tell about trouble: ``mailto:…`` or ``https://…``.

    Raises:
        ConfigurationError: one of the two is not that; no message has the key.
    """

    def __init__(self, private: str, contact: str) -> None:
        try:
            raw = _from_base64(private.strip())
            self._key = ec.derive_private_key(int.from_bytes(raw), _CURVE)
            if len(raw) != 32:
                raise ValueError
        except ValueError:
            text = "SAGALINE_PUSH_KEY is no key, nor a file that has one; make one with: saga push key"
            raise ConfigurationError(text) from None
        if not contact.startswith(("mailto:", "https://")) or len(contact) < 10 or not contact.isprintable():
            text = (
                "SAGALINE_PUSH_CONTACT must say whom push services can reach: mailto:ops@example.com, or an https URL"
            )
            raise ConfigurationError(text)
        self._contact = contact
        sealing = HKDF(SHA256(), 32, salt=None, info=b"sagaline push subscription").derive(raw)
        self._sealing, self._cipher = sealing, AESGCM(sealing)
        self.public: Final = _text(self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        """For browsers: ``applicationServerKey``."""

    @staticmethod
    def make() -> str:
        """A new private half."""
        return _text(ec.generate_private_key(_CURVE).private_numbers().private_value.to_bytes(32))

    def seal(self, name: str, url: str, p256dh: str, auth: str) -> str:
        """A subscription as it is kept. Without its ``name`` it does not open.

        Raises:
            InvalidRequest: a key is not what a browser gives; the message names it and has nothing of it.
        """
        point = _decoded(p256dh, "keys.p256dh")
        try:
            if len(point) != _POINT_BYTES:
                raise ValueError
            ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point)
        except ValueError:
            text = f"keys.p256dh is no point of P-256: give the {_POINT_BYTES} bytes that the browser gives"
            raise InvalidRequest(text, field="keys.p256dh") from None
        if len(secret := _decoded(auth, "keys.auth")) != _AUTH_BYTES:
            text = f"keys.auth has {len(secret)} bytes; give the {_AUTH_BYTES} bytes that the browser gives"
            raise InvalidRequest(text, field="keys.auth")
        plain = json.dumps([url, _text(point), _text(secret)]).encode()
        nonce = hmac.digest(self._sealing, f"{name}\0".encode() + plain, "sha256")[:_NONCE_BYTES]
        return _text(nonce + self._cipher.encrypt(nonce, plain, name.encode()))

    def open(self, name: str, sealed: str) -> Endpoint | None:
        """What was sealed; None: it was sealed by another key, or is altered."""
        try:
            raw = _from_base64(sealed)
            plain = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], name.encode())
        except (ValueError, InvalidTag):
            return None
        url, p256dh, auth = json.loads(plain)
        return Endpoint(url=url, p256dh=_from_base64(p256dh), auth=_from_base64(auth))

    def request(self, endpoint: Endpoint, message: bytes, headers: dict[str, str], now_ms: int) -> PushRequest:
        """The request that delivers a message: encrypted for this browser alone, signed for its push service alone.

        Args:
            endpoint: of the browser.
            message: at most ``encryption.MESSAGE_BYTES_MAX`` bytes.
            headers: ``ttl``, ``urgency`` and ``topic``.
            now_ms: the time, for the token.
        """
        url = httpx.URL(endpoint.url)  # lower case, and without the port that is usual: an origin (RFC 6454, 6.2)
        claims = {
            "aud": f"{url.scheme}://{url.netloc.decode('ascii')}",
            "exp": now_ms // 1000 + _TOKEN_SECONDS,
            "sub": self._contact,
        }
        token = jwt.encode(claims, self._key, algorithm="ES256")
        sent = {
            **headers,
            "authorization": f"vapid t={token}, k={self.public}",
            "content-encoding": "aes128gcm",
            "content-type": "application/octet-stream",
        }
        return PushRequest(endpoint.url, encrypted(message, endpoint.p256dh, endpoint.auth), sent)


def _decoded(text: str, field: str) -> bytes:
    try:
        return _from_base64(text)
    except ValueError:
        raise InvalidRequest(f"{field} is not base64url", field=field) from None


def _from_base64(text: str) -> bytes:
    """Raises ValueError: it is not base64url, with or without padding."""
    try:
        plain = text.rstrip("=").encode("ascii").translate(bytes.maketrans(b"-_", b"+/"))
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from None


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
