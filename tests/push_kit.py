"""A browser for tests of Web Push: its keys, and a reader of messages that shares no code with what makes them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Browser", "b64", "claims_of", "opened", "unb64"]

CURVE = ec.SECP256R1()


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _hmac(key: bytes, data: bytes) -> bytes:
    made = hmac.HMAC(key, hashes.SHA256())
    made.update(data)
    return made.finalize()


def opened(body: bytes, private: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """The message in a body, step by step as section 3.4 of RFC 8291 writes them, by HMAC and not by HKDF."""
    salt, size, length = body[:16], int.from_bytes(body[16:20]), body[20]
    server, sealed = body[21 : 21 + length], body[21 + length :]
    assert (size, length) == (4096, 65)
    own = public_of(private)
    shared = private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(CURVE, server))
    ikm = _hmac(_hmac(auth, shared), b"WebPush: info\x00" + own + server + b"\x01")
    prk = _hmac(salt, ikm)
    key = _hmac(prk, b"Content-Encoding: aes128gcm\x00\x01")[:16]
    nonce = _hmac(prk, b"Content-Encoding: nonce\x00\x01")[:12]
    plain = AESGCM(key).decrypt(nonce, sealed, None).rstrip(b"\x00")
    assert plain[-1:] == b"\x02", "the delimiter of the last record"
    return plain[:-1]


def public_of(private: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = private.public_key().public_numbers()
    return b"\x04" + numbers.x.to_bytes(32) + numbers.y.to_bytes(32)


def claims_of(authorization: str) -> tuple[dict[str, Any], str]:
    """The claims of a VAPID header and its public key; the signature is verified without a JWT library."""
    scheme, _, rest = authorization.partition(" ")
    assert scheme == "vapid"
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    head, claims, signature = parts["t"].split(".")
    assert json.loads(unb64(head)) == {"alg": "ES256", "typ": "JWT"}
    raw = unb64(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    key = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, unb64(parts["k"]))
    key.verify(der, f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
    return json.loads(unb64(claims)), parts["k"]


@dataclass
class Browser:
    """One subscription of a browser."""

    endpoint: str
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(CURVE))
    auth: bytes = b"sixteen bytes..."

    def subscription(self, **more: Any) -> dict[str, Any]:
        """As ``PushSubscription.toJSON()``."""
        keys = {"p256dh": b64(public_of(self.private)), "auth": b64(self.auth)}
        return {"endpoint": self.endpoint, "expirationTime": None, "keys": keys, **more}

    def read(self, body: bytes) -> dict[str, Any]:
        return json.loads(opened(body, self.private, self.auth))
