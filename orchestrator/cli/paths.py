"""API paths of the things that the command line names. A name is one segment and cannot change the path."""

from __future__ import annotations

from urllib.parse import quote

from ..messages.keys import id_wrong, instance_wrong
from .errors import Mistake

__all__ = ["instance_path", "segment"]


def instance_path(instance: str) -> str:
    """The API path of an instance.

    Raises:
        Mistake: it is not an instance id.
    """
    if (wrong := instance_wrong(instance)) is not None:
        text = f"{instance!r} is not an instance's id: it {wrong}; write definition/key, as `saga list` shows it"
        raise Mistake(text)
    definition, _, key = instance.partition("/")
    return f"/v1/instances/{segment(definition)}/{segment(key)}"


def segment(text: str) -> str:
    """A text as one segment of a path.

    Raises:
        Mistake: it cannot be a segment: it is empty, ``.`` or ``..``, or cannot be encoded.
    """
    wrong = "cannot be part of a URL" if text in (".", "..") else id_wrong(text)
    if wrong is not None:
        raise Mistake(f"{text!r} is not a name: it {wrong}; give the name as the API shows it")
    return quote(text, safe="")
