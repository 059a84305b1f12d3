"""The broker's address and our deadlines for it: values only, checked at creation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ...errors import ConfigurationError

__all__ = ["Connection", "Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Deadlines in seconds. Every await on the broker has one of them.

    ``commit_s`` must be below ``request_s``: a commit is abandoned, and its producer dropped, before aiokafka would
    send it again by itself (a late EndTxn could end the next transaction, KIP-890).
    """

    answer_s: float = 5.0
    commit_s: float = 8.0
    append_s: float = 8.0
    request_s: float = 30.0
    silence_s: float = 10.0
    take_s: float = 20.0
    session_s: float = 10.0
    rebalance_s: float = 30.0
    transaction_s: float = 60.0

    def __post_init__(self) -> None:
        if self.commit_s >= self.request_s:
            raise ConfigurationError(
                f"commit_s ({self.commit_s}) must be shorter than request_s ({self.request_s}): choose a shorter one"
            )


_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:,/]+):\d{1,5}")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The broker's address and the settings that all clients share."""

    bootstrap: str
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not all(_ADDRESS.fullmatch(one) for one in self.bootstrap.split(",")):
            raise ConfigurationError(
                f"the Kafka address {self.bootstrap!r} is not host:port (several: separated by commas), "
                "for example 127.0.0.1:9092"
            )

    def options(self, request_s: float) -> dict[str, object]:
        """Keyword arguments for every aiokafka client."""
        return {"bootstrap_servers": self.bootstrap.split(","), "request_timeout_ms": int(request_s * 1000)}

    def gone(self, doing: str, seconds: float | None = None) -> str:
        """The message of a LogUnavailable."""
        limit = f" within {seconds:g} s" if seconds is not None else ""
        return f"Kafka at {self.bootstrap} did not answer{limit} while {doing}; it is retried when the broker is back"
