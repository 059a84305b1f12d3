"""Signatures of webhooks by the Standard Webhooks specification, https://www.standardwebhooks.com, scheme ``v1``.

The secret of a webhook, or of a hook, is derived: HMAC-SHA256 of its namespace, name and generation with a key of the
settings. So no secret is stored in the log, a rotation is a higher generation, and a leaked one opens one webhook only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from ..messages.named_rules import Secret

__all__ = ["secrets_of", "signed_headers"]


def secrets_of(kind: str, thing: Secret, keys: Sequence[bytes], namespace: str, now_ms: int) -> list[str]:
    """The secrets of a webhook or hook that count now, the newest first, in the form that people get: ``whsec_…``.

    Args:
        kind: ``webhook`` or ``hook``.
        thing: during the overlap after rotations the secrets since it began count too.
        keys: of the settings, the newest first; each counts.
        namespace: of the log.
        now_ms: the time.
    """
    oldest = thing.overlap_from if now_ms < thing.overlap_until_ms else thing.generation
    return [
        f"whsec_{base64.b64encode(_secret(key, f'{kind}/{namespace}/{thing.name}/{generation}')).decode()}"
        for generation in range(thing.generation, oldest - 1, -1)
        for key in keys
    ]


def signed_headers(id: str, body: bytes, now_ms: int, secrets: Sequence[str]) -> Mapping[str, str]:
    """The headers of one request. A receiver accepts it if one of the signatures is by a secret that it knows."""
    timestamp = str(now_ms // 1000)
    signed = f"{id}.{timestamp}.".encode() + body
    signatures = [
        base64.b64encode(hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, "sha256")).decode()
        for secret in secrets
    ]
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }


def _secret(key: bytes, of: str) -> bytes:
    return hmac.digest(key, of.encode(), hashlib.sha256)
