"""Hooks: what others may send to us, as rules of the table ``events.hooks``; ``to`` is the scheme of the signature.

A hook says how a delivery is verified and what event it becomes. Values of the body are named by JSON pointers
(RFC 6901). The key, the id and the body of the event come from the body alone, because no scheme but Standard Webhooks
signs a header; only the type may come from a header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ...sagas.contract import is_name
from .named_rules import NamedRules, Secret

__all__ = ["HOOKS", "Hook", "Scheme"]

_MAPPED_MAX: Final = 50
_CHARS_MAX: Final = 256
_TOLERANCE_SECONDS_MAX: Final = 3_600
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token of RFC 9110."""
_POINTER: Final = re.compile(r"(/(?!-(/|$))([^~/]|~[01])*)+")
"""RFC 6901, without ``-``: what is behind the end of a list is never there."""


class Scheme(StrEnum):
    """How a delivery is signed."""

    STANDARD = "standard"
    """Standard Webhooks: an id and a time are signed with the body."""
    HMAC = "hmac"
    """HMAC-SHA256 of the body in one header, hexadecimal or base64, with or without ``sha256=``: as GitHub does."""
    TIMED_HMAC = "timed-hmac"
    """HMAC-SHA256 of a time and the body: ``t=…,v1=…`` in one header, as Stripe does."""


HEADERS: Final = {Scheme.HMAC: "x-hub-signature-256", Scheme.TIMED_HMAC: "stripe-signature"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook(Secret):
    """One sender.

    ``event``: what is published; empty: that is in ``events``. ``type_at``: a pointer, or the name of a header, that
    has the type of a delivery; ``events``: the event of each type, of which no other is published. ``key_at``: pointer
    to the key. ``id_at``: pointer to the id of the delivery; empty: the id that is signed, or else the digest of the
    body. ``body_at``: pointer to the body of the event; ``fields``: instead, its fields with the pointer of each.
    ``header``: of the signature; empty: that of the scheme. ``tolerance_seconds``: how far the signed time may be away.
    """

    scheme: Scheme
    event: str = ""
    events: Mapping[str, str] = field(default_factory=dict)
    type_at: str = ""
    key_at: str
    id_at: str = ""
    body_at: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    header: str = ""
    tolerance_seconds: int = 300

    @property
    def signature_header(self) -> str:
        """In lower case; of ``HMAC`` and ``TIMED_HMAC``."""
        return self.header.lower() or HEADERS[self.scheme]

    @property
    def names(self) -> tuple[str, ...]:
        """The events that it may publish."""
        return tuple(dict.fromkeys(self.events.values())) if self.events else (self.event,)


def _wrong(hook: Hook) -> str | None:
    if bool(hook.event) is bool(hook.events):
        return "give either the event, or the events of each type"
    if bool(hook.events) is not bool(hook.type_at):
        return "events of each type and where the type is go together; give both, or neither"
    if wrong := next((each for each in hook.names if not is_name(each)), None):
        return f"{wrong!r} is no name of an event; give it as it is declared, as in 'order-paid'"
    if hook.fields and hook.body_at:
        return "give either fields or the place of the body"
    pointers = [hook.key_at, hook.id_at, hook.body_at, *hook.fields.values()]
    headers = [hook.header]
    (pointers if hook.type_at.startswith("/") else headers).append(hook.type_at)
    if hook.key_at == "" or any(each and not _POINTER.fullmatch(each) for each in pointers):
        return (
            "a place in the body is a JSON pointer, as in '/data/order_id'; the key needs one. In a name, '~' is "
            "written '~0' and '/' is written '~1'; give the number of a list's item, not '-'"
        )
    if wrong := next((each for each in headers if each and not _HEADER.fullmatch(each)), None):
        return f"{wrong[:64]!r} is no name of a header; give it as it is sent, as in 'X-Signature'"
    if max(len(hook.events), len(hook.fields)) > _MAPPED_MAX:
        return f"it has more than {_MAPPED_MAX} events or fields; give fewer"
    texts = (*pointers, *headers, *hook.events, *hook.fields)
    if any(len(each) > _CHARS_MAX or not each.isprintable() for each in texts):
        return f"a place, a type or a header has more than {_CHARS_MAX} characters, or one that is not printable"
    if not 1 <= hook.tolerance_seconds <= _TOLERANCE_SECONDS_MAX:
        return f"tolerance_seconds is {hook.tolerance_seconds}; give 1 to {_TOLERANCE_SECONDS_MAX:,}"
    return None


HOOKS: Final = NamedRules(
    table="events.hooks",
    noun="hook",
    kind=Hook,
    to="scheme",
    most=100,
    more="and delete those that nobody uses",
    hint="name, event or events with type_at, key_at, id_at, body_at or fields, header, tolerance_seconds",
    wrong=_wrong,
)
