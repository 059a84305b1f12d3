"""Web Push: the key of this server, what it seals of a subscription, and what is sent to a push service."""

from .key import PushKey, PushRequest

__all__ = ["PushKey", "PushRequest"]
