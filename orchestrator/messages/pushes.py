"""Push subscriptions: browsers that are told what happens, as rules of the table ``events.push``.

``to`` is what the browser has given, sealed by the push key (``orchestrator/push``): nothing else here is secret.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from ...sagas.contract import is_name
from .instance_events import EventType
from .named_rules import NamedRules
from .receivers import conditions_wrong

__all__ = ["PUSHES", "PushSubscription", "push_name"]

_SEALED_CHARS_MAX: Final = 2_048
_SHOWN_CHARS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSubscription:
    """One browser, a ``Receiver``. ``host``: of its push service. ``by``: whose it is.

    ``expires_ms``: it gets nothing from then on; 0: never.
    """

    name: str
    sealed: str
    host: str
    by: str = ""
    types: tuple[EventType, ...] = ()
    definitions: tuple[str, ...] = ()
    created: int = 0
    expires_ms: int = 0

    def has_ended(self, now_ms: int) -> bool:
        return 0 < self.expires_ms <= now_ms


def push_name(endpoint: str) -> str:
    """The name of the subscription with this endpoint: a browser that comes again is the same one."""
    return f"p{hashlib.sha256(endpoint.encode()).hexdigest()[:31]}"


def _wrong(found: PushSubscription) -> str | None:
    if len(found.sealed) > _SEALED_CHARS_MAX:
        return f"its endpoint and keys together are longer than {_SEALED_CHARS_MAX:,} characters"
    if unknown := next((each for each in found.definitions if not is_name(each)), None):
        return f"{unknown[:_SHOWN_CHARS]!r} is no name of a definition; give those that GET /v1/definitions lists"
    return conditions_wrong(found)


PUSHES: Final = NamedRules(
    table="events.push",
    noun="push subscription",
    kind=PushSubscription,
    to="sealed",
    most=200,
    more="and delete those that nobody uses",
    hint="name, types, definitions",
    wrong=_wrong,
)
