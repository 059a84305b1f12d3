"""The settings of the API: one frozen value; the command line fills it from the process's settings."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ..orchestrator.egress import Guards
from ..orchestrator.errors import ConfigurationError
from .oidc import OidcSettings

if TYPE_CHECKING:
    from ..orchestrator.push import PushKey

__all__ = ["ApiSettings"]

_SECRET_CHARS_MIN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """``tokens``: each of them gives access to ``/v1``; none: only this machine has access.

    ``oidc``: whose tokens are accepted besides; none: nobody's.
    ``session_key``: signs the sessions of browsers, the same on every node; none: derived from the tokens.
    ``tls``: the files of the certificate and of its private key; none: plain HTTP.
    ``body_bytes_max`` and ``depth_max`` limit a request's body; ``body_timeout``: it must arrive within this time.
    ``head_timeout``: a new connection that has not sent the head of its first request within this time is closed.
    ``wait_default`` and ``wait_max``: how long a start or an act waits for its decision.
    ``webhook_keys``: what the secrets of webhooks are derived from, the newest first; none: there are no webhooks.
    ``hook_secrets``: by the name of a hook, those that its sender has chosen; other hooks have secrets of ours.
    ``push``: signs and seals push subscriptions; none: there are none.
    ``egress``: which URLs may be registered.
    ``streams_max``: how many streams of events may be open on this node, a WebSocket once for each subscription (at
    most 20 of a connection); ``waiters_max``: how many requests may wait for events on this node.
    ``heartbeat``: how often a stream without events says that it is there. ``stall_timeout``: a connection that takes
    none of its data for so long is closed; one that takes a little goes on.

    Raises:
        ConfigurationError: a token or a hook's secret is easy to guess, or the certificate and the key do not fit.
    """

    tokens: tuple[str, ...] = ()
    oidc: OidcSettings | None = None
    session_key: str | None = None
    tls: tuple[Path, Path] | None = None
    body_bytes_max: int = 262_144
    depth_max: int = 32
    body_timeout: timedelta = timedelta(seconds=30)
    head_timeout: timedelta = timedelta(seconds=10)
    wait_default: timedelta = timedelta(seconds=10)
    wait_max: timedelta = timedelta(seconds=60)
    webhook_keys: tuple[bytes, ...] = ()
    hook_secrets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    push: PushKey | None = None
    egress: Guards = field(default_factory=Guards)
    streams_max: int = 500
    waiters_max: int = 1_200
    heartbeat: timedelta = timedelta(seconds=15)
    stall_timeout: timedelta = timedelta(seconds=20)

    @property
    def authenticates(self) -> bool:
        """True: every request must prove who sends it. False: everybody on this machine may do everything."""
        return bool(self.tokens) or self.oidc is not None

    def __post_init__(self) -> None:
        for token in (*self.tokens, *([] if self.session_key is None else [self.session_key])):
            if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
                raise ConfigurationError(
                    "an API token, or the session key, is shorter than 16 characters or has spaces or other than ASCII "
                    "in it; "
                    "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
                )
        for name, secrets in self.hook_secrets.items():
            if not secrets or any(len(each) < _SECRET_CHARS_MIN for each in secrets):
                raise ConfigurationError(
                    f"the hook {name!r} has no secret in SAGALINE_HOOK_SECRETS, or one of less than "
                    f"{_SECRET_CHARS_MIN} characters, which can be guessed; set a longer one at the sender and here"
                )
        if self.oidc is not None and not self.tokens and self.session_key is None:
            text = "sessions of browsers have no key; set SAGALINE_SESSION_KEY, the same on every node of the API"
            raise ConfigurationError(text)
        if self.tls is not None:
            certificate, key = self.tls
            try:  # an encrypted key is refused, not asked about on the terminal
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
            except OSError as error:
                text = (
                    f"TLS cannot be served with {certificate} and {key}: {error}; give a certificate and its key, PEM"
                )
                raise ConfigurationError(text) from error
