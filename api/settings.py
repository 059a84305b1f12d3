"""What the API may be told. One frozen value; the command line fills it from the process's settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..orchestrator.errors import ConfigurationError

__all__ = ["ApiSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """``tokens``: any of them opens ``/v1``; none: open to this machine only.

    ``body_bytes_max`` and ``depth_max`` bound a request's body; ``body_timeout``: it has arrived within that.
    ``head_timeout``: a new connection has sent the head of its first request within that, or is closed.
    ``wait_default`` and ``wait_max``: how long a start or an act waits for its decision.

    Raises:
        ConfigurationError: a token that anybody could guess.
    """

    tokens: tuple[str, ...] = ()
    body_bytes_max: int = 262_144
    depth_max: int = 32
    body_timeout: timedelta = timedelta(seconds=30)
    head_timeout: timedelta = timedelta(seconds=10)
    wait_default: timedelta = timedelta(seconds=10)
    wait_max: timedelta = timedelta(seconds=60)

    def __post_init__(self) -> None:
        for token in self.tokens:
            if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
                raise ConfigurationError(
                    "an API token is shorter than 16 characters or has spaces or other than ASCII in it; "
                    "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
                )
