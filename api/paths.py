"""The URL path of an instance, for any key.

``/v1/instances/{definition}/{key}``: the key is ONE segment, fully percent-encoded (``/`` is ``%2F``). Routing uses the
path as it was sent, before decoding, so a key ``x/history`` (``x%2Fhistory``) and the history of ``x`` (``x/history``)
are never confused. Keys ``.`` and ``..`` do not exist: they are not possible in URLs.
"""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

from ..orchestrator.client.checks import split_instance
from ..orchestrator.errors import InvalidRequest

__all__ = ["INSTANCES", "SEGMENT_CHARS_MAX", "instance_of", "instance_path", "segment_of", "sent_path"]

INSTANCES = "/v1/instances"
SEGMENT_CHARS_MAX = 1_000


def instance_path(instance: str) -> str:
    """The path of an instance."""
    definition, _, key = instance.partition("/")
    return f"{INSTANCES}/{quote(definition, safe='')}/{quote(key, safe='')}"


def instance_of(definition: str, key: str) -> str:
    """The instance id of two path segments, as they were sent.

    Raises:
        InvalidRequest: they are not UTF-8, or not a valid definition and key.
    """
    try:
        instance = f"{unquote_to_bytes(definition).decode()}/{unquote_to_bytes(key).decode()}"
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            "the path is not percent-encoded UTF-8; encode the key as one segment", field="instance"
        ) from error
    split_instance(instance)
    return instance


def segment_of(sent: str, field: str) -> str:
    """The decoded text of one path segment.

    Raises:
        InvalidRequest: it is not UTF-8, or longer than ``SEGMENT_CHARS_MAX``.
    """
    try:
        text = unquote_to_bytes(sent).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("the path is not percent-encoded UTF-8; encode it as one segment", field=field) from error
    if len(text) > SEGMENT_CHARS_MAX:
        raise InvalidRequest(f"{field} has {len(text):,} characters; give at most {SEGMENT_CHARS_MAX:,}", field=field)
    return text


def sent_path(raw_path: bytes | None, path: str) -> str:
    """The path as it was sent: still percent-encoded, plain ASCII, without the query."""
    if raw_path is None:
        return quote(path, safe="/:@!$&'()*+,;=~")
    return quote(raw_path.partition(b"?")[0], safe="/:@!$&'()*+,;=~%")
