"""Webhooks: what happens to instances, sent to addresses that users register."""

from .courier import Courier, NotAccepted

__all__ = ["Courier", "NotAccepted"]
