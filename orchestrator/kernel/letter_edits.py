"""Which letters may be edited: an edit repairs contents, and never changes what a record is or who has sent it.

A record of ``inputs`` is a request to the engine, which takes from it whose it is. So only starts, published events and
replies of workers can be repaired, and stay what they are: an act, or a change of a table, would be another one in
somebody else's name. What goes to a webhook is signed as ours.
"""

from __future__ import annotations

from typing import Final

from ..messages.parcels import Letter

__all__ = ["edit_wrong"]

_INPUTS: Final = ".inputs"
_WEBHOOKS: Final = ".webhooks"
_TYPE: Final = "ce_type"
_EDITABLE: Final = tuple(
    f"sagaline.{kind}".encode()
    for kind in ("start", "entity.published", "reply.completed", "reply.rejected", "reply.failed")
)


def edit_wrong(before: Letter, after: Letter) -> str | None:
    """Why the letter may not become that, and what to do instead; None: it may."""
    if before.topic.endswith(_WEBHOOKS):
        return "it is signed as ours when it is sent, so it cannot be edited; redrive it as it is, or discard it"
    if not before.topic.endswith(_INPUTS):
        return None
    kinds = _types(before)
    if len(kinds) != 1 or kinds[0] not in _EDITABLE:
        return "only starts, events and replies can be edited; send another request in its place, then discard this one"
    if _types(after) != kinds:
        return f"the header {_TYPE} says what it is and cannot be edited; send a new request, then discard this one"
    return None


def _types(letter: Letter) -> list[bytes]:
    """As the engine reads headers: names in any case."""
    return [value for name, value in letter.raw_headers if name.lower() == _TYPE]
