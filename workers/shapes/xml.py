"""XML by lxml, without document types: so without entities, external or growing, and without the network."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .formats import Parsed, Unfit, charset_name, needs

__all__ = ["Xml"]


@dataclass(frozen=True)
class Xml:
    """XML 1.0. The body is the root, an ``lxml.etree._Element``; its names are its tag, with and without namespace."""

    explicit = False

    def __post_init__(self) -> None:
        try:
            _lxml()
        except ImportError as error:
            raise needs("XML", "lxml", error) from error

    def parse(self, value: bytes, charset: str | None) -> Parsed:
        etree = _lxml()
        # A content type without a charset leaves it to the document (RFC 7303, section 3).
        encoding = charset_name(charset) if charset else None
        options = {"encoding": encoding, "resolve_entities": False, "no_network": True, "load_dtd": False}
        try:
            try:
                etree.fromstring(value, etree.XMLParser(target=_Prolog(), **options))
            except _Begun:
                pass
            # The rest was not read, and has no document type: libxml2's own limits of depth and size hold.
            root = etree.fromstring(
                value, etree.XMLParser(huge_tree=False, remove_comments=True, remove_pis=True, **options)
            )
        except (etree.LxmlError, ValueError, LookupError) as error:
            raise Unfit(f"it is no XML: {error}") from error
        tag = str(root.tag)
        return Parsed(root, frozenset({tag, tag.rpartition("}")[2]}))


def _lxml() -> Any:
    """lxml.etree, which has no types."""
    return import_module("lxml.etree")


class _Begun(Exception):
    """The root begins."""


class _Prolog:
    """Reads up to the root, and refuses a document type before anything in it is read."""

    def doctype(self, *_: object) -> None:
        raise Unfit("it has a document type (DOCTYPE), which is refused: it may hold entities; its sender must omit it")

    def start(self, *_: object) -> None:
        raise _Begun

    def close(self) -> None:
        return
