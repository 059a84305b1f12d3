"""How long a request waits for its decision: ``?wait=`` in seconds, or ``Prefer: wait=`` (RFC 7240)."""

from __future__ import annotations

import re
from datetime import timedelta

from fastapi import Request

from ..orchestrator.errors import InvalidRequest
from .settings import ApiSettings

__all__ = ["wait_of"]

_PREFER = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?\s*(?:$|[,;])", re.IGNORECASE)
_SECONDS = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)


def wait_of(request: Request, settings: ApiSettings, default: timedelta | None = None) -> timedelta:
    """The wait of the query, else of the header (limited to the longest wait), else ``default``, else the settings'.

    Raises:
        InvalidRequest: ``?wait=`` is not a number from 0 to the longest wait. Field ``wait``.
    """
    longest = settings.wait_max.total_seconds()
    asked = request.query_params.get("wait")
    if asked is not None:
        if not _SECONDS.fullmatch(asked) or float(asked) > longest:
            raise InvalidRequest(f"wait is {asked[:32]!r}; give seconds from 0 to {longest:g}", field="wait")
        return timedelta(seconds=float(asked))
    preferred = _PREFER.search(request.headers.get("prefer", ""))
    if preferred:
        return timedelta(seconds=min(float(preferred[1]), longest))
    return settings.wait_default if default is None else default
