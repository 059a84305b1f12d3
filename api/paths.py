"""The URL path of an instance, for any key.

``/v1/instances/{definition}/{key}``: the key is ONE segment, fully percent-encoded (``/`` is ``%2F``). Routing uses the
path as it was sent, before decoding, so a key ``x/history`` (``x%2Fhistory``) and the history of ``x`` (``x/history``)
are never confused. Keys ``.`` and ``..`` do not exist: they are not possible in URLs.
"""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

from ..orchestrator.client.checks import split_instance
from ..orchestrator.errors import InvalidRequest

__all__ = ["INSTANCES", "chars_max", "check_length", "instance_of", "instance_path", "segment_of", "sent_path"]

INSTANCES = "/v1/instances"
_CHARS_MAX = 1_000
_LENGTHS = {"key": 256, "definition": 64, "cursor": 4_096, "after": 4_096, "last-event-id": 4_096}


def chars_max(name: str) -> int:
    """Characters that the text of a parameter has at most."""
    return _LENGTHS.get(name, _CHARS_MAX)


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
        InvalidRequest: it is not UTF-8, or longer than ``chars_max``.
    """
    try:
        text = unquote_to_bytes(sent).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("the path is not percent-encoded UTF-8; encode it as one segment", field=field) from error
    check_length(field, text)
    return text


def check_length(name: str, text: str) -> None:
    """Raises InvalidRequest: the parameter is longer than ``chars_max``."""
    if len(text) > (most := chars_max(name)):
        raise InvalidRequest(f"{name} has {len(text):,} characters; give at most {most:,}", field=name)


def sent_path(raw_path: bytes | None, path: str) -> str:
    """The path as it was sent: still percent-encoded, plain ASCII, without the query."""
    if raw_path is None:
        return quote(path, safe="/:@!$&'()*+,;=~")
    return quote(raw_path.partition(b"?")[0], safe="/:@!$&'()*+,;=~%")
