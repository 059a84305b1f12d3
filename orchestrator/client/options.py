"""``RequestOptions``: who asks something of an entity, why, and how long to wait for the decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from ..ports.clock import Clock
from .checks import BY_CHARS_MAX, ID_CHARS_MAX, REASON_CHARS_MAX, check_text

__all__ = ["PLAIN", "RequestOptions", "Told", "told"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """Who asks and how long to wait.

    Args:
        by: the caller's name, for the history; at most 256 characters.
        reason: why, for the history and for dead letters; at most 2,000 characters.
        request_id: the request's id; the same again changes nothing. None: a new one is generated.
        wait: how long to wait for the decision.
        traceparent: the W3C trace context to continue; None: a new trace.
    """

    by: str = ""
    reason: str = ""
    request_id: str | None = None
    wait: timedelta = timedelta(seconds=10)
    traceparent: str | None = None


PLAIN = RequestOptions()


class Told(NamedTuple):
    """The part of a request that is the same in each."""

    id: str
    by: str
    reason: str


def told(options: RequestOptions, clock: Clock) -> Told:
    """The checked texts of a request, and its id.

    Raises:
        InvalidRequest: one is too long or cannot be encoded.
    """
    given = options.request_id
    return Told(
        check_text(given, "request_id", ID_CHARS_MAX) if given else clock.new_id(),
        check_text(options.by, "by", BY_CHARS_MAX),
        check_text(options.reason, "reason", REASON_CHARS_MAX),
    )
