"""Message encryption for Web Push: RFC 8291, on the one record of the content coding aes128gcm (RFC 8188).

Each message has a key pair and a salt of its own. docs/decisions/0031-web-push.md says why this is no library.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["BODY_BYTES_MAX", "MESSAGE_BYTES_MAX", "encrypted"]

BODY_BYTES_MAX: Final = 4096
"""What each push service must accept (RFC 8030, 7.2)."""
_HEAD: Final = struct.Struct(">16sIB65s")
_LAST: Final = b"\x02"
MESSAGE_BYTES_MAX: Final = BODY_BYTES_MAX - _HEAD.size - len(_LAST) - 16
"""Without the head, the delimiter of the last record and the tag: 3,993."""


def encrypted(
    message: bytes,
    p256dh: bytes,
    auth: bytes,
    *,
    private: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """The body of a request.

    Args:
        message: at most ``MESSAGE_BYTES_MAX`` bytes.
        p256dh: the public key of the browser, 65 bytes.
        auth: its secret, 16 bytes.
        private: of this message alone; None: a new one, as it must be outside of tests.
        salt: of this message alone, 16 bytes; None: a new one.

    Raises:
        ValueError: the message is too long, or ``p256dh`` is no point.
    """
    if len(message) > MESSAGE_BYTES_MAX:
        raise ValueError(f"a message of {len(message):,} bytes; at most {MESSAGE_BYTES_MAX:,} fit")
    private = private or ec.generate_private_key(ec.SECP256R1())
    salt = salt or os.urandom(16)
    public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    shared = private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), p256dh))
    secret = _derived(shared, auth, b"WebPush: info\0" + p256dh + public, 32)
    key = _derived(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(secret, salt, b"Content-Encoding: nonce\0", 12)
    head = _HEAD.pack(salt, BODY_BYTES_MAX, len(public), public)
    return head + AESGCM(key).encrypt(nonce, message + _LAST, None)


def _derived(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=salt, info=info).derive(secret)
