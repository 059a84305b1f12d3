"""Translators: foreign formats become one model, and large payloads travel as references."""

from ..errors import Unreadable
from .blob import Blob, BlobAltered, BlobMissing, BlobsUnavailable
from .normalizer import Normalizer
from .store import BlobStore

__all__ = ["Blob", "BlobAltered", "BlobMissing", "BlobStore", "BlobsUnavailable", "Normalizer", "Unreadable"]
