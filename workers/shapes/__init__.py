"""Translators: foreign formats become one model, and large payloads travel as references."""

from ..errors import Unreadable
from .normalizer import Normalizer

__all__ = ["Normalizer", "Unreadable"]
